//! The report after a run: a few lines for people, one document for programs.

use serde::Serialize;
use stockade_core::layer::{Layer, Layers};
use stockade_core::outcome::{Accounting, Cause, Outcome};
use stockade_core::text;

use crate::outputs::Outputs;

/// Outputs that are listed by name for people.
const OUTPUTS_SHOWN: usize = 20;

/// Everything there is to say about a run that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// The run.
    pub(crate) run: &'a str,
    /// What was measured.
    #[serde(flatten)]
    pub(crate) outcome: &'a Outcome,
    /// Digest of the environment, or `none`.
    pub(crate) environment: &'a str,
    /// What became of the outputs.
    pub(crate) outputs: &'a Outputs,
    /// What may help.
    pub(crate) hints: &'a [String],
}

impl Report<'_> {
    /// As one JSON document.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    /// For people.
    pub(crate) fn lines(&self) -> String {
        let outcome = self.outcome;
        let mut lines = vec![self.headline()];
        lines.push(format!("  layers: {}", outcome.enforced));
        let missing = expected().missing_from(outcome.enforced);
        if !missing.is_empty() {
            lines.push(format!("  missing: {missing}\n    next: `stockade doctor` says why"));
        }
        if outcome.processes_left > 0 {
            lines.push(format!("  ended with the code: {} still running", processes(outcome.processes_left)));
        }
        lines.extend(self.output_lines());
        for denial in &outcome.denials {
            lines.push(format!("  denied: {}\n    next: {}", denial.what(), denial.next()));
        }
        lines.extend(self.hints.iter().map(|hint| format!("  hint: {hint}")));
        lines.extend(outcome.notes.iter().map(|note| format!("  note: {}", text::shown(note, 1000))));
        if let Cause::Limit { limit } = outcome.cause {
            lines.push(format!("  next: --limit {limit}=MORE"));
        }
        match outcome.cause {
            Cause::NotFound => lines.push(
                "  next: name a program of the machine or of an environment, or a file of yours by a path with a slash"
                    .to_owned(),
            ),
            Cause::NotExecutable => {
                lines.push("  next: make it executable, or name what runs it: -- PROGRAM FILE".to_owned())
            }
            Cause::Exited { .. } | Cause::Signalled { .. } | Cause::Limit { .. } | Cause::Cancelled => {}
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let usage = &self.outcome.usage;
        let sampled = if self.outcome.accounting == Accounting::Watchdog { " (sampled)" } else { "" };
        format!(
            "stockade: {} · {} · cpu {} · memory {}{sampled}",
            self.outcome.cause,
            text::span(usage.wall_ms),
            text::span(usage.cpu_ms),
            text::bytes(usage.memory_peak_bytes)
        )
    }

    fn output_lines(&self) -> Vec<String> {
        let outputs = self.outputs;
        let mut lines = Vec::new();
        if !outputs.files.is_empty() {
            let place = outputs.folder.as_ref().map_or_else(
                || "not kept (--out DIR keeps them)".to_owned(),
                |folder| format!("in {}", text::shown(folder, 200)),
            );
            lines.push(format!("  outputs: {}, {}, {place}", files(outputs.files.len()), text::bytes(outputs.bytes)));
            lines.extend(outputs.files.iter().take(OUTPUTS_SHOWN).map(|file| {
                format!("    {} {} ({})", file.state, text::shown(&file.path, 200), text::bytes(file.bytes))
            }));
            if outputs.files.len() > OUTPUTS_SHOWN {
                lines.push(format!("    and {} more (--json lists all)", outputs.files.len() - OUTPUTS_SHOWN));
            }
        }
        lines.extend(
            outputs
                .removed
                .iter()
                .take(OUTPUTS_SHOWN)
                .map(|path| format!("    removed {} (the original is untouched)", text::shown(path, 200))),
        );
        lines.extend(
            outputs
                .left_out
                .iter()
                .take(OUTPUTS_SHOWN)
                .map(|left| format!("  left out: {} ({})", text::shown(&left.name, 200), left.why)),
        );
        let more =
            outputs.left_out.len().saturating_sub(OUTPUTS_SHOWN) + usize::try_from(outputs.left_out_more).unwrap_or(0);
        if more > 0 {
            lines.push(format!("  left out: {more} more"));
        }
        lines.extend(outputs.applied.iter().map(|path| format!("  applied: {}", text::shown(path, 200))));
        lines
    }
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// What every run should have on a machine in order; the watchdog only stands in for a cgroup.
fn expected() -> Layers {
    Layers::of(&Layer::ALL).without(Layer::Watchdog).without(Layer::Cgroup)
}
