//! `stockade audit`: the local trail, read.

use std::collections::VecDeque;
use std::process::ExitCode;

use serde_json::Value;
use stockade_audit::{Entry, Error, Expected, Format, Place, PublicKey, Records, Report};
use stockade_core::text;

use crate::args::{AuditDisplay, AuditExport, AuditFormat, AuditPlace, AuditVerify, TrailCommand};
use crate::printer;
use crate::problem::Problem;

/// Something is wrong with the trail.
const WRONG: u8 = 1;
/// Repairs that people are shown; `--json` has more.
const REPAIRS_SHOWN: usize = 10;

pub(crate) fn audit(command: &TrailCommand) -> Result<ExitCode, Problem> {
    match command {
        TrailCommand::Verify(arguments) => verify(arguments),
        TrailCommand::Display(arguments) => display(arguments),
        TrailCommand::Export(arguments) => export(arguments),
    }
}

impl TrailCommand {
    /// Whether a refusal is to be a document, too.
    pub(crate) const fn wants_document(&self) -> bool {
        matches!(self, Self::Verify(AuditVerify { json: true, .. }) | Self::Display(AuditDisplay { json: true, .. }))
    }
}

fn place(arguments: &AuditPlace) -> Place {
    Place::new(arguments.trail.clone().unwrap_or_else(crate::files::state))
}

fn verify(arguments: &AuditVerify) -> Result<ExitCode, Problem> {
    let place = place(&arguments.place);
    let key = match &arguments.key {
        Some(text) => PublicKey::parse(text).ok_or_else(|| {
            Problem::new(
                "the key cannot be used",
                format!("`{}` is no public key", text::shown(text, 80)),
                "give the 64 hexadecimal digits of `audit.pub`, as they were when the trail began",
            )
        })?,
        None => PublicKey::beside(&place)?,
    };
    let shown = key.to_string();
    let accepted = arguments.accept.iter().copied().collect();
    let report = stockade_audit::verify(&place, &Expected { key, links: arguments.expect.clone(), accepted })?;
    printer::page(&if arguments.json { printer::document(&report) + "\n" } else { lines(&report, &shown) });
    Ok(if report.bad.is_none() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn lines(report: &Report, key: &str) -> String {
    let records = text::count(report.records, "record", "records");
    let files = text::count(report.files, "file", "files");
    let mut lines = match &report.bad {
        None => format!("whole: {records} in {files}\n"),
        Some(bad) => {
            let seq = bad.seq.map_or_else(String::new, |seq| format!(", record {seq}"));
            let file = text::shown(&bad.file, 80);
            format!(
                "wrong: {file}, line {}{seq}: {}\n  before it, {records} are as they were written\n",
                bad.line, bad.what
            )
        }
    };
    let checkpoints = text::count(report.checkpoints, "checkpoint", "checkpoints");
    lines += &format!("  signed up to record {} by {checkpoints} of key {key}\n", report.vouched);
    lines += &format!("  last record {}:{}\n", report.seq, report.hash);
    if report.key_was_there {
        lines += "  record 1 says that the key was there before it: what was signed with it then is not here\n";
    }
    for seq in report.repaired.iter().take(REPAIRS_SHOWN) {
        lines += &format!(
            "  record {seq} says that something was repaired: a process or the machine ended, or the file was changed\n"
        );
    }
    lines
}

fn display(arguments: &AuditDisplay) -> Result<ExitCode, Problem> {
    let mut last = VecDeque::new();
    for entry in Records::of(place(&arguments.place))? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                show(&last, arguments.json);
                return found(error);
            }
        };
        if arguments.run.as_deref().is_some_and(|run| entry.value().get("run").and_then(Value::as_str) != Some(run)) {
            continue;
        }
        if last.len() >= arguments.last {
            last.pop_front();
        }
        last.push_back(entry);
        last.truncate(arguments.last);
    }
    show(&last, arguments.json);
    Ok(ExitCode::SUCCESS)
}

/// A record that was changed is something found; everything else is a failure.
fn found(error: Error) -> Result<ExitCode, Problem> {
    let damaged = matches!(error, Error::Damaged { .. });
    let problem = Problem::from(error);
    Err(if damaged { problem.with_status(WRONG) } else { problem })
}

fn show(entries: &VecDeque<Entry>, json: bool) {
    let line = |entry: &Entry| if json { entry.line.clone() } else { line(entry) };
    printer::page(&entries.iter().map(|entry| line(entry) + "\n").collect::<String>());
}

/// What tells one record from another, and who and what it is about.
const SHOWN: [&str; 19] = [
    "run",
    "principal",
    "source",
    "method",
    "privilege",
    "resource",
    "decision",
    "rule",
    "target",
    "command",
    "phase",
    "label",
    "environment_digest",
    "event",
    "host",
    "port",
    "asked",
    "reason",
    "error",
];

/// One record for people: when, which, and what it has of what is shown.
fn line(entry: &Entry) -> String {
    let record = entry.value();
    let time = record.get("time_ms").and_then(Value::as_u64).map_or_else(String::new, |ms| text::utc(ms / 1000));
    let mut line = format!("{} {time} {}", entry.link.seq, entry.kind());
    for key in SHOWN {
        let value = match record.get(key) {
            Some(Value::String(value)) => value.clone(),
            Some(value @ Value::Number(_)) => value.to_string(),
            _ => continue,
        };
        line += &format!(" {key}={}", text::quoted(&value, 200));
    }
    let cause = record.pointer("/outcome/cause/kind").and_then(Value::as_str);
    line + &cause.map_or_else(String::new, |cause| format!(" cause={}", text::quoted(cause, 40)))
}

fn export(arguments: &AuditExport) -> Result<ExitCode, Problem> {
    let format = match arguments.format {
        AuditFormat::Jsonl => Format::JsonLines,
        AuditFormat::Ocsf => Format::Ocsf,
    };
    let records = Records::of(place(&arguments.place))?;
    match printer::stream(|out| stockade_audit::export(records, format, out)) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        // `| head`: a reader that went away is no error.
        Err(Error::Output { cause }) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => found(error),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(error.to_string(), error.why(), error.next())
    }
}
