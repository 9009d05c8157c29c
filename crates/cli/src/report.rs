//! The report after a run: a few lines for people, one document for programs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stockade_core::layer::{Layer, Layers};
use stockade_core::outcome::{Accounting, Cause, Denial, Outcome, ScratchPlace};
use stockade_core::request::Tier;
use stockade_core::text;

use crate::outputs::{Outputs, REMOVED};

/// The protocol of connections whose bytes nobody looked at.
const UNCHECKED: &str = "tcp";
/// Lines of one kind that are shown to people.
const SHOWN: usize = 20;

/// How the process of a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Begun {
    /// By being executed.
    Cold,
    /// By a fork of one that had imported ahead.
    Warm,
}

/// Everything there is to say about a run that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// The run.
    pub(crate) run: &'a str,
    /// What the walls were made of.
    pub(crate) tier: Tier,
    /// How its process began.
    pub(crate) begun: Begun,
    /// The user of the host that the code was.
    pub(crate) host_user: u32,
    /// What was measured.
    #[serde(flatten)]
    pub(crate) outcome: &'a Outcome,
    /// Digest of the environment, or `none`.
    pub(crate) environment: &'a str,
    /// What the caller should know of what was given; people were told before the run.
    pub(crate) remarks: &'a [String],
    /// What became of the outputs.
    pub(crate) outputs: &'a Outputs,
    /// What may help.
    pub(crate) hints: &'a [String],
}

impl Report<'_> {
    /// Whether there is nothing that the caller must know.
    pub(crate) fn went_well(&self) -> bool {
        let outcome = self.outcome;
        outcome.cause.exit_status() == 0 && outcome.denials.is_empty() && self.outputs.left_out.is_empty()
    }

    /// For people, in so many columns if they sit at a terminal.
    pub(crate) fn lines(&self, columns: Option<usize>) -> String {
        let outcome = self.outcome;
        let mut lines = vec![self.headline(), wrapped(&format!("  layers: {}", outcome.enforced), columns)];
        let mut expected = match outcome.scratch {
            ScratchPlace::Memory => expected(),
            // Asked for; a note says what it means.
            ScratchPlace::Disk => expected().without(Layer::Scratch),
        };
        if outcome.network.is_some() {
            expected = expected.with(Layer::Gate);
        }
        let mut missing = expected.missing_from(outcome.enforced);
        if self.tier != Tier::Namespaces {
            let never = match self.tier {
                // An ordinary user's has no throw-away user either.
                Tier::Namespaces | Tier::Landlock => Layers::of(&Layer::ALL),
                Tier::Gvisor | Tier::Oci => self.tier.goes_without(),
            };
            let lacked = missing.missing_from(never);
            let without = missing.missing_from(lacked);
            lines.push(wrapped(&format!("  tier {} goes without: {without}", self.tier.name()), columns));
            missing = lacked;
        }
        if !missing.is_empty() {
            lines.push(format!("  missing: {missing}\n    next: `stockade doctor` says why"));
        }
        if outcome.processes_left > 0 {
            let processes = text::count(outcome.processes_left, "process", "processes");
            lines.push(format!("  ended with the code: {processes} still running"));
        }
        lines.extend(self.network_lines());
        lines.extend(self.output_lines());
        lines.extend(self.denial_lines());
        lines.extend(self.hints.iter().map(|hint| format!("  hint: {hint}")));
        lines.extend(outcome.notes.iter().map(|note| format!("  note: {}", text::shown(note, 1000))));
        lines.extend(next(outcome.cause).map(|next| format!("  next: {next}")));
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

    fn network_lines(&self) -> Vec<String> {
        let Some(reached) = &self.outcome.network else { return Vec::new() };
        listed(&reached.connections, reached.connections_more, "  network: ", |to| {
            let checked = match (to.protocol.as_str(), to.inspected) {
                (UNCHECKED, _) => ", unchecked",
                (_, true) => ", looked into",
                (_, false) => "",
            };
            format!(
                "{}:{}, {}, {} up, {} down{checked} (by `{}`)",
                to.host,
                to.port,
                text::count(to.count, "connection", "connections"),
                text::bytes(to.bytes_up),
                text::bytes(to.bytes_down),
                to.rule
            )
        })
    }

    fn output_lines(&self) -> Vec<String> {
        let outputs = self.outputs;
        let mut lines = Vec::new();
        if !outputs.files.is_empty() {
            let files = text::count(outputs.files.len(), "file", "files");
            lines.push(format!("  outputs: {files}, {}, {}", text::bytes(outputs.bytes), outputs.place));
        }
        lines.extend(listed(&outputs.files, 0, "    ", |file| {
            format!("{} {} ({})", file.state, text::quoted(&file.path, 200), text::bytes(file.bytes))
        }));
        let applied: BTreeSet<&str> = outputs.applied.iter().map(|applied| applied.path.as_str()).collect();
        let untouched: Vec<&String> = outputs.removed.iter().filter(|path| !applied.contains(path.as_str())).collect();
        lines.extend(listed(&untouched, outputs.removed_more, "  removed: ", |path| {
            format!("{} (the original is untouched)", text::quoted(path, 200))
        }));
        lines.extend(listed(&outputs.left_out, outputs.left_out_more, "  left out: ", |left| {
            format!("{} ({})", text::shown(&left.name, 200), left.why)
        }));
        if outputs.caches > 0 {
            lines.push(format!("  left out: {} of tools", text::count(outputs.caches, "cache", "caches")));
        }
        lines.extend(listed(&outputs.applied, 0, "  applied: ", |applied| {
            let what = match (applied.state.as_ref(), applied.newly_executable) {
                (REMOVED, _) => " (removed)",
                (_, true) => " (now executable)",
                (_, false) => "",
            };
            text::quoted(&applied.path, 200) + what
        }));
        lines
    }

    /// Each denial, and once for those of a kind what to do.
    fn denial_lines(&self) -> Vec<String> {
        let alike = |one: &Denial, other: &Denial| is_name(one) && is_name(other) || one.next() == other.next();
        let groups: Vec<&[Denial]> = self.outcome.denials.chunk_by(alike).collect();
        let mut lines: Vec<String> = groups.iter().take(SHOWN).copied().flat_map(group_lines).collect();
        let more: usize = groups.iter().skip(SHOWN).map(|group| group.len()).sum();
        if more > 0 {
            lines.push(format!("  denied: {more} more (--json lists them)"));
        }
        if !groups.is_empty() {
            lines.extend(self.attempt_lines());
        }
        lines
    }

    /// Which libraries it may have been that were refused something.
    fn attempt_lines(&self) -> Vec<String> {
        listed(&self.outcome.attempts, 0, "  the code says: ", |attempt| {
            let what = match attempt.event.as_str() {
                "subprocess.Popen" | "os.exec" | "os.posix_spawn" | "os.system" => "started",
                _ => "reached for",
            };
            let libraries: Vec<String> = attempt.libraries.iter().map(|name| text::quoted(name, 100)).collect();
            format!("{} {what} {}", libraries.join(" called by "), text::quoted(&attempt.target, 200))
        })
    }
}

const fn is_name(denial: &Denial) -> bool {
    matches!(denial, Denial::Name { .. })
}

/// Denials about which the same can be done, and what that is.
fn group_lines(group: &[Denial]) -> Vec<String> {
    let mut lines = listed(group, 0, "  denied: ", Denial::what);
    let next = match group {
        [Denial::Name { .. }, _, ..] => {
            Some("--net with each name, or fetch it beforehand and stage it with --in FILE".to_owned())
        }
        group => group.first().map(Denial::next),
    };
    lines.extend(next.map(|next| format!("    next: {next}")));
    lines
}

/// A line for each of the first things, and one for how many more there are.
fn listed<T>(all: &[T], beyond: u64, before: &str, line: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(SHOWN).map(|one| format!("{before}{}", line(one))).collect();
    let more = u64::try_from(all.len().saturating_sub(SHOWN)).unwrap_or(u64::MAX).saturating_add(beyond);
    if more > 0 {
        let rest = if beyond > 0 { "" } else { " (--json lists them)" };
        lines.push(format!("{before}{more} more{rest}"));
    }
    lines
}

/// What to do about the end of a run.
fn next(cause: Cause) -> Option<String> {
    match cause {
        Cause::Limit { limit } => Some(format!("--limit {limit}=MORE")),
        Cause::NotFound => {
            Some("name a program of the machine or of an environment, or a file of yours by a path with a slash".into())
        }
        Cause::NotExecutable => Some("make it executable, or name what runs it: -- PROGRAM FILE".into()),
        Cause::Exited { .. } | Cause::Signalled { .. } | Cause::Cancelled => None,
    }
}

/// A line broken between its words, the rest indented.
fn wrapped(line: &str, columns: Option<usize>) -> String {
    const INDENT: &str = "\n    ";
    let Some(columns) = columns else { return line.to_owned() };
    let mut text = String::new();
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        if used + word.trim_end().len() > columns {
            text.truncate(text.trim_end().len());
            text.push_str(INDENT);
            used = INDENT.len() - 1;
        }
        text.push_str(word);
        used += word.len();
    }
    text
}

/// What every run should have on a machine in order; the watchdog only stands in for a cgroup, where
/// there is a network namespace sockets harm nobody, and without a grant there is no gate.
fn expected() -> Layers {
    let when_asked = [Layer::Watchdog, Layer::Cgroup, Layer::NoSockets, Layer::Gate, Layer::SecondKernel];
    when_asked.into_iter().fold(Layers::of(&Layer::ALL), Layers::without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_for_a_terminal_only() {
        let line = "  layers: user mount no-new-privileges pid";
        assert_eq!(wrapped(line, None), line);
        assert_eq!(wrapped(line, Some(42)), line);
        assert_eq!(wrapped(line, Some(41)), "  layers: user mount no-new-privileges\n    pid");
        assert_eq!(wrapped(line, Some(20)), "  layers: user mount\n    no-new-privileges\n    pid");
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let all: Vec<usize> = (0..SHOWN + 2).collect();
        let lines = |beyond| listed(&all, beyond, "- ", ToString::to_string);
        assert_eq!(
            (lines(0).len(), lines(0).last().map(String::as_str)),
            (SHOWN + 1, Some("- 2 more (--json lists them)"))
        );
        assert_eq!(lines(5).last().map(String::as_str), Some("- 7 more"));
        assert_eq!(listed(&[1], 0, "- ", ToString::to_string), ["- 1"]);
    }
}
