//! What the tests share: the command under test, scratch folders, ordinary users, what is left over, and
//! networks of a test's own ([`world`]).
//!
//! Never shipped. Everything here may panic: it runs in tests only.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise"
)]

pub mod cran;
pub mod oidc;
pub mod ports;
pub mod slapd;
pub mod world;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A user without rights, for tests that are started by root.
const ORDINARY_USER: u32 = 61_234;

/// A scratch folder that an ordinary user may enter and write to, removed at its end.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// A fresh folder.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("stockade-test-").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Self(folder)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below it, with the folders it needs, readable for all.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// Reads a file below it.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// Who starts the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Caller,
    /// A user without rights; when the tests are not run by root, their caller.
    Ordinary,
}

impl User {
    /// Whether it is another user than the one that runs the tests.
    fn is_lowered(self) -> bool {
        self == Self::Ordinary && rustix::process::geteuid().is_root()
    }
}

/// Both users when root runs the tests, else the caller alone (and says so).
#[must_use]
pub fn users() -> Vec<User> {
    if rustix::process::geteuid().is_root() {
        vec![User::Caller, User::Ordinary]
    } else {
        skipped("runs as root", "the tests are run by an ordinary user");
        vec![User::Caller]
    }
}

/// Says that something was not tested; CI counts these lines.
pub fn skipped(what: &str, why: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "SKIPPED: {what}: {why}").unwrap();
}

/// One call of the command under test.
#[derive(Debug)]
pub struct Call {
    command: Command,
    state: Option<Folder>,
    input: Option<Vec<u8>>,
    has_input_file: bool,
}

/// What a call came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128+n when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Calls `binary` (`env!("CARGO_BIN_EXE_stockade")`) with state of its own, so that tests neither
/// see nor disturb each other. The cache of environments is shared: it is made for that.
#[must_use]
pub fn call(binary: &str, user: User) -> Call {
    let mut command = Command::new(binary);
    if user.is_lowered() {
        use std::os::unix::process::CommandExt;
        // As an ordinary login has it: no supplementary group.
        command.uid(ORDINARY_USER).gid(ORDINARY_USER);
    }
    prepared(command, user)
}

/// A call of a command that becomes this user.
fn prepared(mut command: Command, user: User) -> Call {
    let state = Folder::new();
    if user.is_lowered() {
        // A home of its own.
        command.env("HOME", state.path()).env("STOCKADE_CACHE_DIR", "/var/tmp/stockade-test-cache-ordinary");
        // The interpreter of a user who cannot enter root's folders.
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    }
    command
        .env("STOCKADE_STATE_DIR", state.path().join("state"))
        .env_remove("STOCKADE_TEST_FAULT")
        .env_remove("STOCKADE_TEST_WITHOUT");
    Call { command, state: Some(state), input: None, has_input_file: false }
}

impl Call {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts in this folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it standard input; without this it is empty.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Gives it an open file as standard input, as `< file` does.
    #[must_use]
    pub fn input_file(mut self, file: std::fs::File) -> Self {
        self.command.stdin(file);
        self.has_input_file = true;
        self
    }

    /// The audit trail it wrote, as records, without those about the trail itself; call after [`Call::run_keeping`].
    #[must_use]
    pub fn trail(state: &Folder) -> Vec<Value> {
        std::fs::read_to_string(state.path().join("state/audit.jsonl"))
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|record| !["begun", "checkpoint", "continued"].iter().any(|own| record["record"] == *own))
            .collect()
    }

    /// Starts it and returns at once, with its output piped.
    #[must_use]
    pub fn start(mut self) -> (Child, Folder) {
        let_files_age();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (self.command.spawn().unwrap(), self.state.take().unwrap())
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(self) -> Ran {
        self.run_keeping().0
    }

    /// Runs it to its end and keeps its state folder.
    #[must_use]
    pub fn run_keeping(mut self) -> (Ran, Folder) {
        let_files_age();
        let state = self.state.take().unwrap();
        let output = match self.input.take() {
            // Standard input set by `input_file` stays; unset, it is empty.
            None => {
                if !self.has_input_file {
                    self.command.stdin(Stdio::null());
                }
                self.command.output().unwrap()
            }
            Some(bytes) => {
                let mut child =
                    self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                let mut pipe = child.stdin.take().unwrap();
                let writer = std::thread::spawn(move || drop(pipe.write_all(&bytes)));
                let output = child.wait_with_output().unwrap();
                writer.join().unwrap();
                output
            }
        };
        (Ran::from(output), state)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            status: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The report of `--json`: the last line of standard error.
    #[must_use]
    pub fn report(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_else(|| panic!("no report: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Stops the test unless the status is this one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Files are stamped with a clock that ticks every few milliseconds; one stamped in the tick in which a
/// run begins counts as changed since.
fn let_files_age() {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let before = now();
    while now() == before {
        std::thread::yield_now();
    }
}

/// Cgroups of runs that are left below this process's own, by name; none is right.
#[must_use]
pub fn cgroups_left() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if name.starts_with("stockade-") {
                    found.push(entry.path().to_string_lossy().into_owned());
                } else {
                    folders.push(entry.path());
                }
            }
        }
    }
    found
}

/// Processes whose command line holds `mark`, this one excepted: what a run left alive.
#[must_use]
pub fn processes_with(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
        })
        .collect()
}
