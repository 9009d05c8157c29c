//! `stockade node`: its neighbour `stockade-node` takes this process over.
//!
//! A program of its own, since a command that runs one script shall not carry a server with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::args::Doctor;
use crate::problem::{Problem, plain};

/// The program, beside this one.
const PROGRAM: &str = "stockade-node";

/// The words after the name of the program, where it is called by the name that the existing product has: a link to
/// this one behaves as `stockade admin`.
pub(crate) fn words_of_epadmin(mut words: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = words.next()?;
    (Path::new(&program).file_name()? == "epadmin").then(|| words.collect())
}

/// `stockade admin`, `login` and `logout` are the node's program too.
pub(crate) fn called(command: &str, words: Vec<OsString>) -> Result<ExitCode, Problem> {
    node(&[vec![command.into()], words].concat())
}

/// So is the doctor of a node.
pub(crate) fn doctor(arguments: &Doctor) -> Result<ExitCode, Problem> {
    let mut words: Vec<OsString> = vec!["doctor".into()];
    for (name, value) in [("--user=", &arguments.user), ("--folder=", &arguments.folder)] {
        if let Some(value) = value {
            let mut word = OsString::from(name);
            word.push(value);
            words.push(word);
        }
    }
    if arguments.json {
        words.push("--json".into());
    }
    node(&words)
}

/// Becomes the node's program; comes back only when that cannot be done.
pub(crate) fn node(words: &[OsString]) -> Result<ExitCode, Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(
            format!("cannot start `{PROGRAM}`"),
            plain(&error.to_string()),
            "install it beside `stockade`, in the same version",
        )
    };
    let program = std::env::current_exe().map_err(failed)?.with_file_name(PROGRAM);
    Err(failed(Command::new(program).args(words).exec()))
}
