//! The report after a run: a few lines for people, one document for programs.

use serde::Serialize;
use stockade_core::audit::Closed;
use stockade_core::layer::{Layer, Layers};
use stockade_core::outcome::{Accounting, Cause, Outcome};
use stockade_core::text;

/// The document of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    run: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
    exit_status: i32,
}

/// The report as one JSON document.
pub(crate) fn json(run: &str, closed: &Closed) -> String {
    let outcome = closed.get();
    let document = Document { run, outcome, exit_status: outcome.cause.exit_status() };
    serde_json::to_string(&document).unwrap_or_else(|error| format!("{{\"run\":\"{run}\",\"error\":\"{error}\"}}"))
}

/// The report for people.
pub(crate) fn lines(closed: &Closed) -> String {
    let outcome = closed.get();
    let usage = &outcome.usage;
    let mut lines = vec![format!(
        "stockade: {} · {} · cpu {} · memory {}{}",
        outcome.cause,
        text::span(usage.wall_ms),
        text::span(usage.cpu_ms),
        text::bytes(usage.memory_peak_bytes),
        if outcome.accounting == Accounting::Watchdog { " (sampled)" } else { "" },
    )];
    lines.push(format!("  layers: {}", outcome.enforced));
    let missing = expected().missing_from(outcome.enforced);
    if !missing.is_empty() {
        lines.push(format!("  missing: {missing}\n    next: `stockade doctor` says why"));
    }
    if outcome.processes_left > 0 {
        lines.push(format!("  ended with the code: {} still running", processes(outcome.processes_left)));
    }
    for denial in &outcome.denials {
        lines.push(format!("  denied: {}\n    next: {}", denial.what(), denial.next()));
    }
    for note in &outcome.notes {
        lines.push(format!("  note: {}", text::shown(note, 1000)));
    }
    if let Cause::Limit { limit } = outcome.cause {
        lines.push(format!("  next: --limit {limit}=MORE"));
    }
    lines.join("\n")
}

fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// What every run should have on a machine in order; the watchdog only stands in for a cgroup.
fn expected() -> Layers {
    Layers::of(&Layer::ALL).without(Layer::Watchdog).without(Layer::Cgroup)
}
