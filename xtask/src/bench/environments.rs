//! Environments beside plain uv, in turn, in one run; prints ratios, and the goals beside them.
//!
//! Both sides are what users have: the release binary, and the uv that it found itself; both ask the package
//! index that this machine is configured for. Everything is kept below one folder, which goes at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{median, resolved_python};
use crate::tools::{self, Done, say};

/// What is built: five packages, and what they need.
const FIVE: &str = "pandas\nscikit-learn\nmatplotlib\nduckdb\nstatsmodels\n";
const MANY: usize = 500;

/// Where everything is, and with what.
struct Place {
    work: PathBuf,
    stockade: PathBuf,
    python: String,
    uv: PathBuf,
}

/// One side of a comparison.
struct Side<'a> {
    name: &'static str,
    /// Not timed.
    before: Box<dyn Fn() -> Done + 'a>,
    /// Timed, one after the other.
    commands: Vec<Command>,
    clock: Clock,
    goal: Option<Goal>,
}

/// Whose clock counts.
#[derive(Clone, Copy)]
enum Clock {
    /// From the start of the commands to their end.
    Whole,
    /// What the last command prints of itself, in seconds.
    Own,
}

/// The most a side may take, held against the first one.
#[derive(Clone, Copy)]
enum Goal {
    Ratio(f64),
    MoreMs(f64),
}

pub(super) fn bench() -> Done {
    tools::run(&["cargo", "build", "--release", "--package", "stockade"])?;
    let work = std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id()));
    let made = Place::new(&work);
    let done = made.and_then(|place| place.all());
    // Environments are read-only, and so hard to remove.
    drop(run(Command::new("chmod").arg("-R").arg("u+w").arg(&work)));
    std::fs::remove_dir_all(&work).map_err(|error| error.to_string())?;
    done
}

impl Place {
    /// Builds one small environment, so that uv and the interpreter are found as the product finds them.
    fn new(work: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(work).map_err(|error| error.to_string())?;
        let mut place = Self {
            work: work.to_path_buf(),
            stockade: tools::built("release/stockade"),
            python: resolved_python()?,
            uv: PathBuf::new(),
        };
        run(place.stockade(&["env", "build", "--quiet", "small", "--with", "six"]).stderr(Stdio::inherit()))?;
        let fetched = std::fs::read_dir(place.store("tools")).into_iter().flatten().flatten();
        let fetched = fetched.map(|folder| folder.path().join("uv")).find(|uv| uv.is_file());
        place.uv = fetched.or_else(of_path).ok_or("there is no uv")?;
        std::fs::write(place.at("requirements.in"), FIVE).map_err(|error| error.to_string())?;
        run(&mut place.compile("cache", "pylock.toml"))?;
        Ok(place)
    }

    fn all(&self) -> Done {
        say(&format!("uv is {}, Python {}", self.version()?, self.python));
        self.builds()?;
        self.starts()?;
        self.import()
    }

    fn builds(&self) -> Done {
        let nothing = || {
            self.empty(&["uv-cold", "venv"])?;
            self.empty_store(&["wheels", "index"])?;
            self.venv()
        };
        let (lock, requirements) = (self.text("pylock.toml"), self.text("requirements.in"));
        compare(
            "cold build from requirements: five packages, nothing at hand, resolved, byte-compiled",
            5,
            &mut [
                self.side("uv pip compile, uv pip sync", nothing, vec![self.compile("uv-cold", "cold.toml"), self.sync("uv-cold", "cold.toml", true)], None),
                self.side("stockade env build", nothing, vec![self.build("five", &["--requirements", &requirements])], Some(Goal::Ratio(1.25))),
            ],
        )?;
        compare(
            "cold build from a lock: five packages, nothing at hand, byte-compiled",
            5,
            &mut [
                self.side("uv pip sync", nothing, vec![self.sync("uv-cold", "pylock.toml", true)], None),
                self.side("stockade env build", nothing, vec![self.build("five", &[&lock])], Some(Goal::Ratio(1.25))),
            ],
        )?;
        // Both have every package file now.
        let files_only = || {
            self.empty(&["venv"])?;
            self.empty_store(&[])?;
            self.venv()
        };
        compare(
            "cached build from a lock: five packages, their files at hand, byte-compiled",
            9,
            &mut [
                self.side("uv pip sync", files_only, vec![self.sync("uv-cold", "pylock.toml", true)], None),
                self.side("stockade env build", files_only, vec![self.build("five", &[&lock])], Some(Goal::Ratio(1.15))),
                self.side("uv pip sync, no bytecode", files_only, vec![self.sync("uv-cold", "pylock.toml", false)], None),
            ],
        )
    }

    fn starts(&self) -> Done {
        run(Command::new(&self.python).args(["-I", "-c", MAKE_MANY]).arg(self.store("")).arg(self.at("many")).arg(MANY.to_string()))?;
        run(&mut self.build("many", &[&self.text("many/pylock.toml")]))?;
        self.shim()?;
        let start = |flags: &[&str]| {
            let mut words = vec!["run", "--quiet"];
            words.extend(flags);
            words.extend(["-c", "pass"]);
            vec![self.stockade(&words)]
        };
        let mut shimmed = start(&[]);
        for command in &mut shimmed {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(self.at("shim")).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders).map_err(|error| error.to_string())?);
        }
        let more = Some(Goal::MoreMs(0.3));
        compare(
            "start of a run",
            300,
            &mut [
                self.side("no environment", || Ok(()), start(&["--python", &self.python]), None),
                self.side("python3 is a shim", || Ok(()), shimmed, more),
                self.side("five packages, and theirs", || Ok(()), start(&["--python", &self.python, "--environment", "five"]), more),
                self.side("500 packages", || Ok(()), start(&["--python", &self.python, "--environment", "many"]), more),
            ],
        )
    }

    fn import(&self) -> Done {
        const IMPORT: &str =
            "import time\nbegan = time.perf_counter()\nimport pandas\nprint(time.perf_counter() - began)";
        self.empty(&["venv"])?;
        self.venv()?;
        run(&mut self.sync("uv-cold", "pylock.toml", true))?;
        let bare = || {
            let mut command = Command::new(self.at("venv/bin/python"));
            command.args(["-c", IMPORT]);
            vec![command]
        };
        let inside = || vec![self.stockade(&["run", "--quiet", "--environment", "five", "-c", IMPORT])];
        for (title, clock, goal) in [
            ("import pandas, by the clock of the code", Clock::Own, Some(Goal::Ratio(1.05))),
            ("import pandas, the whole process", Clock::Whole, None),
        ] {
            let side = |name, commands, goal| Side { clock, ..self.side(name, || Ok(()), commands, goal) };
            compare(title, 25, &mut [side("bare, in a venv of uv", bare(), None), side("stockade run", inside(), goal)])?;
        }
        Ok(())
    }

    fn side<'a>(
        &self,
        name: &'static str,
        before: impl Fn() -> Done + 'a,
        commands: Vec<Command>,
        goal: Option<Goal>,
    ) -> Side<'a> {
        Side { name, before: Box::new(before), commands, clock: Clock::Whole, goal }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_string_lossy().into_owned()
    }

    fn store(&self, folder: &str) -> PathBuf {
        self.work.join("stockade/environments").join(folder)
    }

    /// A command of ours, with its files here.
    fn stockade(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.stockade);
        command.args(words).env("STOCKADE_CACHE_DIR", self.at("stockade")).env("STOCKADE_STATE_DIR", self.at("state"));
        command
    }

    fn build(&self, name: &str, words: &[&str]) -> Command {
        let mut all = vec!["env", "build", "--quiet", name, "--python", &self.python];
        all.extend(words);
        self.stockade(&all)
    }

    fn uv(&self, cache: &str) -> Command {
        let mut command = Command::new(&self.uv);
        command.arg("--cache-dir").arg(self.at(cache)).arg("--quiet");
        command
    }

    fn compile(&self, cache: &str, lock: &str) -> Command {
        let mut command = self.uv(cache);
        command.args(["pip", "compile", "--only-binary", ":all:", "--format", "pylock.toml", "--python", &self.python]);
        command.arg("--output-file").arg(self.at(lock)).arg(self.at("requirements.in"));
        command
    }

    fn sync(&self, cache: &str, lock: &str, compiled: bool) -> Command {
        let mut command = self.uv(cache);
        command.args(["pip", "sync"]).arg("--python").arg(self.at("venv/bin/python")).arg(self.at(lock));
        command.args(compiled.then_some("--compile-bytecode"));
        command
    }

    fn venv(&self) -> Done {
        run(self.uv("cache").args(["venv", "--python", &self.python]).arg(self.at("venv")))
    }

    fn version(&self) -> Result<String, String> {
        let answer = Command::new(&self.uv).arg("--version").output().map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    }

    /// A `python3` that would be seen if it were started by every run.
    fn shim(&self) -> Done {
        use std::os::unix::fs::PermissionsExt;
        let shim = self.at("shim/python3");
        let text = format!("#!/bin/sh\nsleep 0.2\nexec '{}' \"$@\"\n", self.python);
        std::fs::create_dir_all(self.at("shim"))
            .and_then(|()| std::fs::write(&shim, text))
            .and_then(|()| std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)))
            .map_err(|error| error.to_string())
    }

    fn empty(&self, folders: &[&str]) -> Done {
        for folder in folders.iter().map(|name| self.at(name)).filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(())
    }

    /// Takes every environment out of the store, and these folders besides.
    fn empty_store(&self, more: &[&str]) -> Done {
        let made = ["envs", "requests", "files", "names", "uses", "imports", "locks"].map(|name| self.store(name));
        run(Command::new("chmod").args(["-R", "u+w"]).args(made.iter().filter(|path| path.exists())))?;
        for folder in made.into_iter().chain(more.iter().map(|name| self.store(name))).filter(|path| path.exists()) {
            std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(())
    }
}

/// Writes tiny wheels into a store, as if they had been fetched, and a lock that names them.
const MAKE_MANY: &str = r#"
import hashlib, io, json, os, pathlib, sys, zipfile
store, folder, count = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
hosts = [json.loads(file.read_text())["values"][0] for file in (store / "index").iterdir()]
host = next(host for host in hosts if "/" not in host)
lock = ['lock-version = "1.0"', 'created-by = "bench"']
for number in range(count):
    name, version = f"tiny{number}", "1.0"
    about, packed = f"{name}-{version}.dist-info", io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"number = {number}\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"{name}/__init__.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    sha256, file = hashlib.sha256(packed.getvalue()).hexdigest(), f"{name}-{version}-py3-none-any.whl"
    place = store / "wheels" / sha256
    place.mkdir(parents=True, exist_ok=True)
    (place / file).write_bytes(packed.getvalue())
    lock += ["[[packages]]", f'name = "{name}"', f'version = "{version}"']
    lock += [f'wheels = [{{ url = "https://{host}/{file}", hashes = {{ sha256 = "{sha256}" }} }}]']
folder.mkdir(exist_ok=True)
(folder / "pylock.toml").write_text("\n".join(lock) + "\n")
"#;

/// The `uv` that `PATH` leads to.
fn of_path() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join("uv")).find(|uv| uv.is_file())
}

fn run(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs the sides in turn, forwards and backwards; the differences and ratios are those of each round.
fn compare(title: &str, rounds: usize, sides: &mut [Side<'_>]) -> Done {
    say(&format!("\n{title} ({rounds} rounds in turn)"));
    let mut times: Vec<Vec<Duration>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (Some(side), Some(times)) = (sides.get_mut(at), times.get_mut(at)) else { continue };
            let took = side.time()?;
            // The first round warms caches up.
            if round > 0 {
                times.push(took);
            }
        }
    }
    say(&format!("  {:<28} {:>12} {:>10} {:>13}", "", "median", "ratio", "difference"));
    let base = times.first().cloned().unwrap_or_default();
    for (side, times) in sides.iter().zip(&times) {
        let pairs = || times.iter().zip(&base).map(|(own, base)| (own.as_secs_f64(), base.as_secs_f64()));
        let ratio = middle(pairs().map(|(own, base)| own / base.max(1e-9)));
        let more_ms = middle(pairs().map(|(own, base)| (own - base) * 1e3));
        let median_ms = median(times).as_secs_f64() * 1e3;
        let goal = side.goal.map_or_else(String::new, |goal| goal.line(ratio, more_ms));
        say(&format!("  {:<28} {median_ms:>9.1} ms {ratio:>8.3} × {more_ms:>+10.2} ms{goal}", side.name));
    }
    Ok(())
}

impl Side<'_> {
    fn time(&mut self) -> Result<Duration, String> {
        (self.before)()?;
        let mut printed = Vec::new();
        let began = Instant::now();
        for command in &mut self.commands {
            let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
            printed = output.stdout;
        }
        let took = began.elapsed();
        match self.clock {
            Clock::Whole => Ok(took),
            Clock::Own => {
                let text = String::from_utf8_lossy(&printed);
                let seconds = text.trim().parse().map_err(|_| format!("{} printed no time", self.name))?;
                Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
            }
        }
    }
}

impl Goal {
    fn line(self, ratio: f64, more_ms: f64) -> String {
        let (goal, met) = match self {
            Self::Ratio(most) => (format!("{most} ×"), ratio <= most),
            Self::MoreMs(most) => (format!("+{most} ms"), more_ms <= most),
        };
        format!("   goal: at most {goal}, {}", if met { "met" } else { "missed" })
    }
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
