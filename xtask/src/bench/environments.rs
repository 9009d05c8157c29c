//! Environments beside plain uv, in turn, in one run; prints ratios, and the goals beside them.
//!
//! Both sides are what users have: the release binary, and the uv that it found itself; both ask the package
//! index that this machine is configured for. Everything is kept below one folder, which goes at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::compare::{Clock, Goal, Side, compare, run};
use super::resolved_python;
use crate::tools::{self, Done, say};

/// What is built: five packages, and what they need.
const FIVE: &str = "pandas\nscikit-learn\nmatplotlib\nduckdb\nstatsmodels\n";
const MANY: usize = 500;
const PARTS: [&str; 4] = ["start", "import", "cached", "cold"];
const COLD_ROUNDS: usize = 3;
const CACHED_ROUNDS: usize = 5;
const START_ROUNDS: usize = 300;
/// What environments are to come to.
const COLD: Option<Goal> = Some(Goal::Ratio(1.25));
const CACHED: Option<Goal> = Some(Goal::Ratio(1.15));

/// Where everything is, and with what.
struct Place {
    work: PathBuf,
    stockade: PathBuf,
    python: String,
    uv: PathBuf,
}

/// Times everything, or only `cold` or `cached` builds, `start` or `import`.
pub(super) fn bench(part: Option<&str>) -> Done {
    if let Some(unknown) = part.filter(|part| !PARTS.contains(part)) {
        return Err(format!("there is no part `{unknown}`: leave it out, or say one of {}", PARTS.join(", ")));
    }
    tools::run(&["cargo", "build", "--release", "--package", "stockade"])?;
    let work = std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id()));
    let made = Place::new(&work);
    let done = made.and_then(|place| place.measure(|name| part.is_none_or(|part| part == name)));
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
            python: interpreter(work)?,
            uv: PathBuf::new(),
        };
        run(place.stockade(&["env", "build", "--quiet", "small", "--with", "six"]).stderr(Stdio::inherit()))?;
        let fetched = std::fs::read_dir(place.store("tools")).into_iter().flatten().flatten();
        let fetched = fetched.map(|folder| folder.path().join("uv")).find(|uv| uv.is_file());
        place.uv = fetched.or_else(of_path).ok_or("there is no uv")?;
        std::fs::write(place.at("requirements.in"), FIVE).map_err(|error| error.to_string())?;
        run(&mut place.compile("pylock.toml"))?;
        Ok(place)
    }

    /// Builds a first time on both sides, and measures the parts that are asked for.
    fn measure(&self, is_asked: impl Fn(&str) -> bool) -> Done {
        say(&format!("uv is {}, Python {}", self.version()?, self.python));
        run(&mut self.build("five", &[&self.text("pylock.toml")]))?;
        self.venv("bare")?;
        run(&mut self.sync("pylock.toml", "bare", true))?;
        let parts: [fn(&Self) -> Done; 4] = [Self::starts, Self::import, Self::cached, Self::cold];
        PARTS.iter().zip(parts).filter(|(name, _)| is_asked(name)).try_for_each(|(_, part)| part(self))
    }

    fn cold(&self) -> Done {
        let uv = || self.put_away(&[self.at("uv")], false).and_then(|()| self.venv("venv"));
        let ours = || self.empty_store(&["wheels", "index"]);
        let of_requirements = self.build("five", &["--requirements", &self.text("requirements.in")]);
        let resolved = vec![self.compile("pylock.cold.toml"), self.sync("pylock.cold.toml", "venv", true)];
        compare(
            "cold build from requirements: five packages and theirs, resolved, fetched, byte-compiled",
            COLD_ROUNDS,
            &mut [
                self.side("uv pip compile, sync", uv, resolved, None),
                self.side("stockade env build", ours, vec![of_requirements], COLD),
            ],
        )?;
        compare(
            "cold build from a lock: fetched, byte-compiled",
            COLD_ROUNDS,
            &mut [
                self.side("uv pip sync", uv, vec![self.sync("pylock.toml", "venv", true)], None),
                self.side("stockade env build", ours, vec![self.build("five", &[&self.text("pylock.toml")])], COLD),
            ],
        )
    }

    fn cached(&self) -> Done {
        let (uv, ours) = (|| self.venv("venv"), || self.empty_store(&[]));
        let sync = |compiled| vec![self.sync("pylock.toml", "venv", compiled)];
        compare(
            "cached build from a lock: the package files are at hand, byte-compiled",
            CACHED_ROUNDS,
            &mut [
                self.side("uv pip sync", uv, sync(true), None),
                self.side("stockade env build", ours, vec![self.build("five", &[&self.text("pylock.toml")])], CACHED),
                self.side("uv pip sync, no bytecode", uv, sync(false), None),
            ],
        )
    }

    fn starts(&self) -> Done {
        self.many()?;
        self.shim()?;
        let start = |flags: &[&str]| {
            let words = [&["run", "--quiet"], flags, &["-c", "pass"]].concat();
            vec![self.stockade(&words)]
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.at("shim")).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).map_err(|error| error.to_string())?;
        let mut shimmed = start(&[]);
        for command in &mut shimmed {
            command.env("PATH", &path);
        }
        let (python, more) = (self.python.as_str(), Some(Goal::MoreMs(0.3)));
        let side = |name, commands, goal| self.side(name, || Ok(()), commands, goal);
        compare(
            "start of a run: stockade run -c pass",
            START_ROUNDS,
            &mut [
                side("no environment", start(&["--python", python]), None),
                side("the same again", start(&["--python", python]), None),
                side("python3 is a shim", shimmed, more),
                side("five packages, and theirs", start(&["--python", python, "--environment", "five"]), more),
                side("500 packages", start(&["--python", python, "--environment", "many"]), more),
            ],
        )?;
        let plain = |python: PathBuf| {
            let mut command = Command::new(python);
            command.args(["-c", "pass"]);
            vec![command]
        };
        compare(
            "what of it is Python's own: python -c pass, without stockade",
            START_ROUNDS,
            &mut [
                side("no environment", plain(PathBuf::from(python)), None),
                side("five packages, and theirs", plain(self.at("bare/bin/python")), None),
                side("500 packages", plain(self.at("many-venv/bin/python")), None),
            ],
        )
    }

    /// 500 tiny packages, in an environment of ours and in a virtual one.
    fn many(&self) -> Done {
        let mut make = Command::new(&self.python);
        make.args(["-I", "-c", MAKE_MANY]).arg(self.store("")).arg(self.at("many")).arg(MANY.to_string());
        run(&mut make)?;
        run(&mut self.build("many", &[&self.text("many/pylock.toml")]))?;
        self.venv("many-venv")?;
        let mut install = self.uv();
        install.args(["pip", "install", "--offline", "--no-index", "--no-deps", "--compile-bytecode", "--find-links"]);
        install.arg(self.at("many")).arg("--python").arg(self.at("many-venv/bin/python"));
        install.arg("--requirements").arg(self.at("many/requirements.txt"));
        run(&mut install)
    }

    fn import(&self) -> Done {
        const IMPORT: &str =
            "import time\nbegan = time.perf_counter()\nimport pandas\nprint(time.perf_counter() - began)";
        let bare = || {
            let mut command = Command::new(self.at("bare/bin/python"));
            command.args(["-c", IMPORT]);
            vec![command]
        };
        let inside = || vec![self.stockade(&["run", "--quiet", "--environment", "five", "-c", IMPORT])];
        for (title, clock, goal) in [
            ("import pandas, by the clock of the code", Clock::Own, Some(Goal::Ratio(1.05))),
            ("import pandas, the whole process", Clock::Whole, None),
        ] {
            let side = |name, commands, goal| Side { clock, ..self.side(name, || Ok(()), commands, goal) };
            compare(
                title,
                25,
                &mut [side("bare, in a venv of uv", bare(), None), side("stockade run", inside(), goal)],
            )?;
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

    fn uv(&self) -> Command {
        let mut command = Command::new(&self.uv);
        command.arg("--cache-dir").arg(self.at("uv")).arg("--quiet");
        command
    }

    fn compile(&self, lock: &str) -> Command {
        let mut command = self.uv();
        command.args(["pip", "compile", "--only-binary", ":all:", "--format", "pylock.toml", "--python", &self.python]);
        command.arg("--output-file").arg(self.at(lock)).arg(self.at("requirements.in"));
        command
    }

    fn sync(&self, lock: &str, venv: &str, compiled: bool) -> Command {
        let mut command = self.uv();
        command.args(["pip", "sync"]).arg("--python").arg(self.at(venv).join("bin/python")).arg(self.at(lock));
        command.args(compiled.then_some("--compile-bytecode"));
        command
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

    /// Puts folders out of the way. Nothing is removed before the end: some file systems make files slowly for
    /// minutes after many went. Their room is given back, unless the files have another name elsewhere.
    fn put_away(&self, folders: &[PathBuf], is_shared: bool) -> Done {
        let away = self.at("away");
        std::fs::create_dir_all(&away).map_err(|error| error.to_string())?;
        for folder in folders.iter().filter(|folder| folder.exists()) {
            let number = std::fs::read_dir(&away).map_err(|error| error.to_string())?.count();
            let to = away.join(number.to_string());
            std::fs::rename(folder, &to).map_err(|error| format!("{}: {error}", folder.display()))?;
            if !is_shared {
                run(Command::new("chmod").args(["-R", "u+w"]).arg(&to))?;
                run(Command::new("find").arg(&to).args(["-type", "f", "-exec", "truncate", "-s", "0", "{}", "+"]))?;
            }
        }
        Ok(())
    }

    /// A virtual environment with nothing in it.
    fn venv(&self, name: &str) -> Done {
        self.put_away(&[self.at(name)], true)?;
        run(self.uv().args(["venv", "--python", &self.python]).arg(self.at(name)))
    }

    /// Takes every environment out of the store, and these folders besides.
    fn empty_store(&self, more: &[&str]) -> Done {
        let made = ["envs", "requests", "files", "names", "uses", "imports", "locks"];
        let folders: Vec<PathBuf> = made.iter().chain(more).map(|name| self.store(name)).collect();
        self.put_away(&folders, false)
    }
}

/// Writes tiny wheels into a store, as if they had been fetched.
const MAKE_MANY: &str = include_str!("make_many.py");

/// The machine's interpreter: a copy of it where that can be made, without what its owner installed into it,
/// which would be a part of every start without an environment, and of no other.
fn interpreter(work: &Path) -> Result<String, String> {
    let python = resolved_python()?;
    let Some(prefix) = Path::new(&python).parent().and_then(Path::parent).filter(|prefix| !prefix.starts_with("/usr"))
    else {
        return Ok(python);
    };
    let copy = work.join("python");
    let (all, lib) = (prefix.join("."), copy.join("lib"));
    run(Command::new("cp").arg("-a").arg(all).arg(&copy))?;
    for folder in std::fs::read_dir(lib).map_err(|error| error.to_string())?.flatten() {
        let packages = folder.path().join("site-packages");
        if packages.is_dir() {
            std::fs::remove_dir_all(&packages)
                .and_then(|()| std::fs::create_dir(&packages))
                .map_err(|error| error.to_string())?;
        }
    }
    let below = Path::new(&python).strip_prefix(prefix).map_err(|error| error.to_string())?;
    Ok(copy.join(below).to_string_lossy().into_owned())
}

/// The `uv` that `PATH` leads to.
fn of_path() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join("uv")).find(|uv| uv.is_file())
}
