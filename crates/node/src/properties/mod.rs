//! `custom.properties`, as administrators of Spotfire Service for Python have it: each property means here what it
//! means there, or is refused with what to do. None is passed over, and none weakens the walls.

mod file;
mod table;

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

pub use table::{Becomes, PROPERTIES, Property};

use crate::refusal::Refusal;

/// Largest file that is read.
const BYTES_MAX: u64 = 64 << 10;

/// The flags of `start` that a file stands for.
///
/// # Errors
/// The [`Refusal`] of the first line that cannot be had.
pub fn flags(path: &Path) -> Result<Vec<String>, Refusal> {
    let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
    let failed = |why: String| {
        Refusal::invalid(format!("the properties `{shown}` cannot be read"), why, "name a file that can be read")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(crate::system_text(&error)))?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(crate::system_text(&error)))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > BYTES_MAX) {
        return Err(failed(format!("it has more than {} KiB", BYTES_MAX >> 10)));
    }
    of_text(&text)
}

fn of_text(text: &str) -> Result<Vec<String>, Refusal> {
    let mut flags = Vec::new();
    for line in file::lines(text)? {
        let Some(property) = PROPERTIES.iter().find(|property| property.name == line.name) else {
            let names: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
            return Err(Refusal::invalid(
                format!("line {}: there is no property `{}`", line.number, shown(line.name)),
                "a property that nobody knows would be passed over in silence",
                stockade_core::near::next(line.name, &names),
            ));
        };
        flags.extend(property.read(line.value).map_err(|refused| {
            Refusal::invalid(
                format!("line {}: `{}: {}` cannot be had", line.number, property.name, shown(line.value)),
                refused.why,
                refused.next,
            )
        })?);
    }
    Ok(flags)
}

fn shown(text: &str) -> String {
    stockade_core::text::shown(text, 100)
}

/// A command line with what a file says added, where the command line does not say it itself.
#[must_use]
pub fn added(mut words: Vec<OsString>, flags: Vec<String>) -> Vec<OsString> {
    for flag in flags {
        let name = flag.split('=').next().unwrap_or_default();
        let with_value = format!("{name}=");
        let named = |word: &OsString| word == name || word.to_str().is_some_and(|word| word.starts_with(&with_value));
        if !words.iter().any(named) {
            words.push(flag.into());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings::{Arguments, Command, Start};

    fn start(text: &str, words: &[&str]) -> Start {
        let words = ["stockade-node", "start"].iter().chain(words).map(OsString::from).collect();
        let words = added(words, of_text(text).unwrap());
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Start(start) => *start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_mean_what_they_say() {
        let text = "# ours\nuse.engine.containers: TRUE\nram.limit=1000\nengine.session.max : 3\n\
                    engine.execution.timeout: 60\nengine.session.maxtime: 1800\nengine.prune: 10\n\
                    dynamic.prune.threshold: 0\nloggingLevel: WARN\n\
                    spring.servlet.multipart.max-file-size: 50MB\ndisable.spotfire.trust.checks: FALSE\n";
        let start = start(text, &[]);
        assert_eq!((start.run_memory_mib, start.run_time), (Some(1000), Some(60)));
        assert_eq!((start.runs, start.sessions, start.session_maxtime, start.session_idle), (Some(3), 3, 1800, 10));
        assert_eq!((start.log_level.as_deref(), start.form_mib), (Some("warn"), 50));
    }

    #[test]
    fn a_flag_comes_before_the_file() {
        let both = start("engine.session.max: 3", &["--runs=5"]);
        assert_eq!((both.runs, both.sessions), (Some(5), 3));
        assert_eq!(start("engine.session.max: 3", &["--sessions", "7"]).sessions, 7);
    }

    #[test]
    fn an_unknown_property_is_an_error_that_names_the_closest() {
        let refused = of_text("engine.sesion.max: 3").unwrap_err();
        assert_eq!(refused.what, "line 1: there is no property `engine.sesion.max`");
        assert!(refused.next.starts_with("did you mean `engine.session.max`?"), "{}", refused.next);
    }

    #[test]
    fn nothing_turns_isolation_or_trust_off() {
        for text in [
            "use.engine.containers: FALSE",
            "use.engine.containers: false",
            "use.engine.containers: no",
            "use.engine.containers:",
            "dangerousNoIsolation: true",
            "dangerousNoIsolation: true\nuse.engine.containers: FALSE",
            "disable.spotfire.trust.checks: TRUE",
        ] {
            let refused = of_text(text).unwrap_err();
            assert!(!refused.why.is_empty() && !refused.next.is_empty(), "{text}");
        }
        let refused = of_text("use.engine.containers: FALSE").unwrap_err();
        assert!(refused.why.contains("dangerousNoIsolation"), "{}", refused.why);
    }

    #[test]
    fn what_has_no_counterpart_is_refused_and_never_passed_over() {
        for property in &PROPERTIES {
            let flags = of_text(&format!("{}: {}", property.name, property.sample)).map(|flags| flags.len());
            match property.becomes {
                Becomes::Refused => assert!(flags.is_err(), "{}", property.name),
                Becomes::Itself => assert_eq!(flags, Ok(0), "{}", property.name),
                Becomes::Flags(names) => assert_eq!(flags, Ok(names.len()), "{}", property.name),
            }
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for line in [
            "ram.limit: lots",
            "ram.limit: 15",
            "ram.limit: 999999999999999999999",
            "ram.limit: -1",
            "engine.session.max: 0",
            "engine.session.max: 1 --policy=/etc/passwd",
            "engine.session.maxtime: -1",
            "engine.execution.timeout: 1e9",
            "dynamic.prune.threshold: 60",
            "loggingLevel: LOUD",
            "spring.servlet.multipart.max-file-size: 1000GB",
            "engine.prune: ٣",
        ] {
            assert!(of_text(line).is_err(), "{line}");
        }
    }
}
