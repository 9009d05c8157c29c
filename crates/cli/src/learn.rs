//! `--learn FILE`: a commented proposal of what the code asked for. Nothing in it is granted until a
//! person edits it; names come from the code and are marked so.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use stockade_core::limits::Limit;
use stockade_core::outcome::{Denial, Outcome};
use stockade_core::text;

use crate::problem::Problem;

const NEXT: &str = "name a file you may write";

/// The file of the proposal, opened before the code runs: a link it plants meanwhile leads nowhere.
#[derive(Debug)]
pub(crate) struct Proposal<'a> {
    path: &'a Path,
    file: std::fs::File,
}

impl<'a> Proposal<'a> {
    /// Opens the file; what it holds stays until the proposal is written.
    pub(crate) fn open(path: &'a Path) -> Result<Self, Problem> {
        // Not through a link, and not waiting for the reader of a FIFO.
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        if file.metadata().is_ok_and(|status| status.is_file()) {
            return Ok(Self { path, file });
        }
        Err(Problem::new(
            format!("cannot write the proposal to `{}`", text::shown(&path.to_string_lossy(), 400)),
            "it is not a regular file",
            NEXT,
        ))
    }

    /// Writes the proposal.
    pub(crate) fn write(mut self, outcome: &Outcome) -> Result<(), Problem> {
        let text = proposal(outcome);
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|error| failed(self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Problem {
    Problem::path("write the proposal to", path, error, NEXT)
}

fn proposal(outcome: &Outcome) -> String {
    let mut lines = vec![
        "# What a run asked for beyond its policy. Every line is a comment: nothing here is granted.".to_owned(),
        "# Names were chosen by the code. Uncomment only what you would have granted unasked.".to_owned(),
    ];
    for denial in &outcome.denials {
        lines.push(format!("\n# evidence: {}", denial.what()));
        lines.push(match denial {
            Denial::Name { name } => format!("# egress = [ {{ host = \"{name}\" }} ]   # said by the code"),
            Denial::Gate { asked, .. } => format!("# egress: {asked}   # said by the code"),
            Denial::GateMore { .. } => "# egress: more, see the audit trail".to_owned(),
            Denial::Addresses { .. } => "# egress: which addresses is not known".to_owned(),
            Denial::SystemCall { name, .. } => format!("# no policy permits system call {name}"),
            Denial::Full { limit } => format!("# limits.{} = \"MORE\"", limit.key()),
            Denial::DiskFull => "# no policy makes a disk larger".to_owned(),
            Denial::Processes { .. } => format!("# limits.{} = MORE", Limit::Processes.key()),
        });
    }
    if outcome.denials.is_empty() {
        lines.push("\n# Nothing was refused that can be known.".to_owned());
    }
    lines.join("\n") + "\n"
}
