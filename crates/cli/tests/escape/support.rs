//! What the attacks share: a prelude in Python, calls, expectations.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use stockade_testkit::{Call, Folder, Ran, User, call, processes_with, skipped, users};

pub(crate) const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// In front of every attack: system calls by name, and one line for each attempt.
pub(crate) const PRELUDE: &str = include_str!("prelude.py");

/// How long anything may take to show before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A call that runs this attack inside, reported as JSON.
pub(crate) fn attack(user: User, flags: &[&str], code: &str) -> Call {
    call(STOCKADE, user).args(["run", "--json"]).args(flags).args(["-c", &format!("{PRELUDE}\n{code}")])
}

/// The same attack without walls, in this folder.
pub(crate) fn outside(folder: &Path, code: &str) -> Ran {
    let output =
        Command::new("python3").args(["-c", &format!("{PRELUDE}\n{code}")]).current_dir(folder).output().unwrap();
    Ran::from(output)
}

/// The lines of an attack: what was tried, and how it ended.
pub(crate) fn said(ran: &Ran) -> BTreeMap<String, String> {
    ran.stdout
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(what, how)| (what.to_owned(), how.to_owned()))
        .collect()
}

/// Every attempt ended as expected, and no other was made.
#[track_caller]
pub(crate) fn assert_said(ran: &Ran, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(what, how)| ((*what).to_owned(), (*how).to_owned())).collect();
    assert_eq!(said(ran), expected, "stdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
}

/// Every attempt ended in one of these ways, and there was one.
#[track_caller]
pub(crate) fn assert_all(ran: &Ran, permitted: &[&str]) {
    let said = said(ran);
    assert!(!said.is_empty(), "nothing was tried: {ran:?}");
    for (what, how) in &said {
        assert!(permitted.contains(&how.as_str()), "{what}: {how}\nstderr:\n{}", ran.stderr);
    }
}

/// A word that no other process has in its command line.
pub(crate) fn mark(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("mark-{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Waits until it holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No process with this mark is left.
#[track_caller]
pub(crate) fn assert_gone(mark: &str) {
    eventually("processes of the run are gone", || processes_with(mark).is_empty());
}

/// The ordinary user of the test kit, whose own files a test gives to it.
const ORDINARY_USER: u32 = 61_234;

/// Makes everything below a folder the user's own, as what a caller gives to a run is.
pub(crate) fn give_to(user: User, folder: &Path) {
    if user != User::Ordinary {
        return;
    }
    let mut left = vec![folder.to_path_buf()];
    while let Some(path) = left.pop() {
        std::os::unix::fs::lchown(&path, Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A call of the command under a terminal of the caller; what the terminal showed is its standard output.
pub(crate) fn at_terminal(user: User, arguments: &[&str]) -> Call {
    const TERMINAL: &str = "
import os, pty, sys
def read(master):
    return os.read(master, 65536)
status = pty.spawn(sys.argv[1:], read)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(status))
";
    call("python3", user).args(["-c", TERMINAL, STOCKADE, "run"]).args(arguments)
}
