//! Every property, what it means there, and what becomes of it here. `docs/operate/custom-properties.md` is this table.

/// A property.
#[derive(Debug)]
pub struct Property {
    /// Its exact name.
    pub name: &'static str,
    /// What it is there when nobody says.
    pub usual: &'static str,
    /// What becomes of it.
    pub becomes: Becomes,
    /// A value that people would write.
    pub sample: &'static str,
    reading: Reading,
}

/// What becomes of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// These flags of `start`.
    Flags(&'static [&'static str]),
    /// One value says what holds here anyway; others are refused.
    Itself,
    /// It has no counterpart.
    Refused,
}

/// Why a value cannot be had, and what to do.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) next: &'static str,
}

#[derive(Debug)]
enum Reading {
    /// A whole number in a range.
    Number {
        least: u32,
        most: u32,
        next: &'static str,
    },
    /// A size in MiB, as Spring writes it.
    Mebibytes {
        most: u32,
    },
    /// A level of Log4j.
    Level,
    /// One value, whatever the case of its letters.
    Only {
        value: &'static str,
        why: &'static str,
        next: &'static str,
    },
    Never {
        why: &'static str,
        next: &'static str,
    },
}

impl Property {
    /// The flags that a value becomes.
    pub(super) fn read(&self, value: &str) -> Result<Vec<String>, Refused> {
        let value = self.reading.read(value)?;
        let Becomes::Flags(names) = self.becomes else { return Ok(Vec::new()) };
        Ok(names.iter().map(|name| format!("{name}={value}")).collect())
    }
}

impl Reading {
    fn read(&self, value: &str) -> Result<String, Refused> {
        match *self {
            Self::Number { least, most, next } => match value.parse::<u32>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
                Ok(_) | Err(_) => Err(Refused { why: format!("it is a whole number from {least} to {most}"), next }),
            },
            Self::Mebibytes { most } => mebibytes(value)
                .filter(|mib| (1..=most).contains(mib))
                .map(|mib| mib.to_string())
                .ok_or_else(|| Refused {
                    why: format!("it is a size from 1MB to {most}MB"),
                    next: "write whole megabytes, such as 100MB",
                }),
            Self::Level => {
                let level = value.to_ascii_lowercase();
                let known = ["off", "error", "warn", "info", "debug", "trace"];
                if known.contains(&level.as_str()) {
                    return Ok(level);
                }
                Err(Refused { why: "it is no level".to_owned(), next: "use OFF, ERROR, WARN, INFO, DEBUG or TRACE" })
            }
            Self::Only { value: only, why, next } if !value.eq_ignore_ascii_case(only) => {
                Err(Refused { why: why.to_owned(), next })
            }
            Self::Only { .. } => Ok(String::new()),
            Self::Never { why, next } => Err(Refused { why: why.to_owned(), next }),
        }
    }
}

/// `100MB`, `1GB`; a plain number is bytes, and too exact for this.
fn mebibytes(value: &str) -> Option<u32> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits)?;
    let number: u32 = number.parse().ok()?;
    match unit.trim().to_ascii_uppercase().as_str() {
        "MB" => Some(number),
        "GB" => number.checked_mul(1_024),
        _ => None,
    }
}

const BUILD: &str = "remove the line, and build an environment: `stockade env build NAME requirements.txt`";

/// Every property that is known.
pub const PROPERTIES: [Property; 16] = [
    Property {
        name: "use.engine.containers",
        usual: "TRUE",
        becomes: Becomes::Itself,
        sample: "TRUE",
        reading: Reading::Only {
            value: "TRUE",
            why: "engines without walls would need dangerousNoIsolation, which this node does not have: isolation is never off",
            next: "remove the line, or set it to TRUE",
        },
    },
    Property {
        name: "dangerousNoIsolation",
        usual: "false",
        becomes: Becomes::Itself,
        sample: "false",
        reading: Reading::Only { value: "false", why: "isolation is never off on this node", next: "remove the line" },
    },
    Property {
        name: "ram.limit",
        usual: "1000",
        becomes: Becomes::Flags(&["--run-memory-mib"]),
        sample: "1000",
        reading: Reading::Number { least: 16, most: 4_096, next: "write megabytes as a plain number" },
    },
    Property {
        name: "engine.session.max",
        usual: "CPUs − 1",
        becomes: Becomes::Flags(&["--runs", "--sessions"]),
        sample: "3",
        reading: Reading::Number { least: 1, most: 1_000, next: "say how many engines there may be at once" },
    },
    Property {
        name: "engine.queue.size",
        usual: "CPUs / 4, within 1..10",
        becomes: Becomes::Refused,
        sample: "2",
        reading: Reading::Never {
            why: "it says how many engines wait ahead of demand; here that follows the demand",
            next: "remove the line; --warm says for how many kinds of runs engines wait",
        },
    },
    Property {
        name: "engine.execution.timeout",
        usual: "600",
        becomes: Becomes::Flags(&["--run-time"]),
        sample: "600",
        reading: Reading::Number { least: 1, most: 3_600, next: "write seconds, an hour at most" },
    },
    Property {
        name: "engine.session.maxtime",
        usual: "1800",
        becomes: Becomes::Flags(&["--session-maxtime"]),
        sample: "1800",
        reading: Reading::Number {
            least: 1,
            most: 3_600,
            next: "write seconds, an hour at most; no session lives for ever here, so −1 cannot be had",
        },
    },
    Property {
        name: "engine.prune",
        usual: "10",
        becomes: Becomes::Flags(&["--session-idle"]),
        sample: "10",
        reading: Reading::Number { least: 1, most: 3_600, next: "write seconds, an hour at most" },
    },
    Property {
        name: "dynamic.prune.threshold",
        usual: "60",
        becomes: Becomes::Itself,
        sample: "0",
        reading: Reading::Only {
            value: "0",
            why: "idle sessions end here however many there are, as with a threshold of 0",
            next: "remove the line, or set it to 0",
        },
    },
    Property {
        name: "engine.connection.timeout.millis",
        usual: "",
        becomes: Becomes::Refused,
        sample: "2000",
        reading: Reading::Never {
            why: "engines listen on no port: there is no connection to an engine that could take long",
            next: "remove the line",
        },
    },
    Property {
        name: "startup.hook.script",
        usual: "",
        becomes: Becomes::Refused,
        sample: "/opt/hook.sh",
        reading: Reading::Never {
            why: "it would run before people's code, with packages that nobody has locked",
            next: BUILD,
        },
    },
    Property {
        name: "packagePath",
        usual: "",
        becomes: Becomes::Refused,
        sample: "/opt/packages",
        reading: Reading::Never { why: "a folder of packages has neither versions nor hashes", next: BUILD },
    },
    Property {
        name: "docker.image.name",
        usual: "",
        becomes: Becomes::Refused,
        sample: "python:3.12",
        reading: Reading::Never {
            why: "engines see the machine's own interpreter and an environment, not an image",
            next: BUILD,
        },
    },
    Property {
        name: "loggingLevel",
        usual: "INFO",
        becomes: Becomes::Flags(&["--log-level"]),
        sample: "DEBUG",
        reading: Reading::Level,
    },
    Property {
        name: "spring.servlet.multipart.max-file-size",
        usual: "100MB",
        becomes: Becomes::Flags(&["--form-mib"]),
        sample: "100MB",
        reading: Reading::Mebibytes { most: 100 },
    },
    Property {
        name: "disable.spotfire.trust.checks",
        usual: "FALSE",
        becomes: Becomes::Itself,
        sample: "FALSE",
        reading: Reading::Only {
            value: "FALSE",
            why: "what a policy keeps for trusted libraries is kept; nothing turns that off",
            next: "remove the line; say whom you trust: `stockade env trust add`",
        },
    },
];
