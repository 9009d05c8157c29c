//! `stockade doctor --node`: what a node cannot enforce by itself, looked at on this machine. Changes nothing.

mod account;
mod machine;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde::Serialize;

use crate::plain;
use crate::settings::Doctor;

/// Most of one file that is looked at.
const BYTES_MAX: u64 = 1 << 20;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Good,
    /// Not so.
    Bad,
    /// It cannot be known from here; counts as bad in the score.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do, unless it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
    /// What it counts.
    pub weight: u32,
}

impl Finding {
    fn good(check: &'static str, weight: u32, detail: impl Into<String>) -> Self {
        Self { check, state: State::Good, detail: detail.into(), next: None, weight }
    }

    fn bad(check: &'static str, weight: u32, detail: impl Into<String>, next: &'static str) -> Self {
        Self { check, state: State::Bad, detail: detail.into(), next: Some(next), weight }
    }

    fn unknown(check: &'static str, weight: u32, detail: impl Into<String>, next: &'static str) -> Self {
        Self { check, state: State::Unknown, detail: detail.into(), next: Some(next), weight }
    }

    /// Good where nothing bad was found.
    fn of(check: &'static str, weight: u32, bad: &[String], good: &str, next: &'static str) -> Self {
        if bad.is_empty() { Self::good(check, weight, good) } else { Self::bad(check, weight, bad.join("; "), next) }
    }
}

/// The machine, or a folder that looks like one.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The beginning of a file.
    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut bytes = Vec::new();
        let file = plain::open(&self.path(path.as_ref())).ok()?;
        file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path.as_ref()).symlink_metadata().is_ok()
    }

    /// Names within a folder, in order; none when it cannot be read.
    fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder.as_ref())).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).take(1_000).collect();
        names.sort();
        names
    }
}

/// All that is looked at.
#[must_use]
pub fn examine(asked: &Doctor) -> Vec<Finding> {
    let host = Host { root: asked.root.clone() };
    let mut findings = account::examine(&host, asked);
    findings.extend(machine::examine(&host, asked));
    if asked.root == Path::new("/") {
        findings.push(layers());
    }
    findings
}

/// Of 100.
#[must_use]
pub fn score(findings: &[Finding]) -> u32 {
    let all: u32 = findings.iter().map(|finding| finding.weight).sum();
    let good: u32 = findings.iter().filter(|finding| finding.state == State::Good).map(|finding| finding.weight).sum();
    (good * 100).checked_div(all).unwrap_or(100)
}

/// As one document.
#[must_use]
pub fn document(findings: &[Finding]) -> serde_json::Value {
    let passed = findings.iter().all(|finding| finding.state != State::Bad);
    serde_json::json!({ "passed": passed, "score": score(findings), "findings": findings })
}

/// Prints what was found; what cannot be looked at is a finding too.
#[must_use]
pub fn doctor(asked: &Doctor) -> ExitCode {
    let findings = examine(asked);
    let text = if asked.json { format!("{}\n", document(&findings)) } else { page(&findings) };
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::from(u8::from(findings.iter().any(|finding| finding.state == State::Bad)))
}

fn page(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, state, detail, next, .. } in findings {
        let state = match state {
            State::Good => "good",
            State::Bad => "BAD",
            State::Unknown => "unknown",
        };
        text += &format!("{state:8} {check:14} {}\n", stockade_core::text::shown(detail, 500));
        if let Some(next) = next {
            text += &format!("{:8} {:14} next: {next}\n", "", "");
        }
    }
    text + &format!("\nscore: {} of 100\n", score(findings))
}

/// The walls, by the command that tries to break them.
fn layers() -> Finding {
    const NEXT: &str = "run `stockade doctor` as the node's user, and do what it says";
    let program = std::env::current_exe().map(|program| program.with_file_name("stockade"));
    let ran =
        program.and_then(|program| Command::new(program).args(["doctor", "--json"]).stdin(Stdio::null()).output());
    match ran {
        Ok(output) if output.status.success() => Finding::good("layers", 4, "every layer that a run requires holds"),
        Ok(_) => Finding::bad("layers", 4, "a layer that runs require is missing or broken", NEXT),
        Err(error) => Finding::unknown("layers", 4, crate::system_text(&error), NEXT),
    }
}

#[cfg(test)]
mod tests;
