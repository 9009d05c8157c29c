//! Commands in turn, side by side: each round has one of every side, so that what disturbs the machine disturbs
//! all of them, and what counts is the middle of the rounds' ratios and differences.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::median;
use crate::tools::{Done, say};

/// The kernel's unit of what programs are told: the same everywhere.
const TICK_MS: f64 = 10.0;

/// One side of a comparison.
pub(super) struct Side<'a> {
    pub(super) name: &'static str,
    /// Not timed.
    pub(super) before: Box<dyn Fn() -> Done + 'a>,
    /// Timed, one after the other.
    pub(super) commands: Vec<Command>,
    pub(super) clock: Clock,
    pub(super) goal: Option<Goal>,
}

/// Whose clock counts.
#[derive(Clone, Copy)]
pub(super) enum Clock {
    /// From the start of the commands to their end.
    Whole,
    /// What the last command prints of itself, in seconds.
    Own,
}

/// The most a side may take, held against the first one.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    Ratio(f64),
    MoreMs(f64),
}

/// Runs a command to its end; what it says of its failure.
pub(super) fn run(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs the sides in turn, forwards and backwards; the differences and ratios are those of each round. The time
/// of processors is the mean: it tells the sides apart on a machine where others work too.
pub(super) fn compare(title: &str, rounds: usize, sides: &mut [Side<'_>]) -> Done {
    say(&format!("\n{title} ({rounds} rounds in turn)"));
    let mut times: Vec<Vec<Duration>> = sides.iter().map(|_| Vec::new()).collect();
    let mut ticks: Vec<u64> = sides.iter().map(|_| 0).collect();
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (Some(side), Some(times), Some(ticks)) = (sides.get_mut(at), times.get_mut(at), ticks.get_mut(at))
            else {
                continue;
            };
            let (took, worked) = side.time()?;
            // The first round warms caches up.
            if round > 0 {
                times.push(took);
                *ticks = ticks.saturating_add(worked);
            }
        }
    }
    say(&format!(
        "  {:<28} {:>12} {:>10} {:>13} {:>12} {:>10}",
        "", "median", "ratio", "difference", "processors", "ratio"
    ));
    let base = times.first().cloned().unwrap_or_default();
    let ticks: Vec<f64> = ticks.iter().map(|ticks| u32::try_from(*ticks).map_or(f64::INFINITY, f64::from)).collect();
    let base_ticks = ticks.first().copied().unwrap_or_default().max(1.0);
    let runs = u32::try_from(rounds).map_or(1.0, f64::from);
    for ((side, times), ticks) in sides.iter().zip(&times).zip(&ticks) {
        let pairs = || times.iter().zip(&base).map(|(own, base)| (own.as_secs_f64(), base.as_secs_f64()));
        let ratio = middle(pairs().map(|(own, base)| own / base.max(1e-9)));
        let more_ms = middle(pairs().map(|(own, base)| (own - base) * 1e3));
        let median_ms = median(times).as_secs_f64() * 1e3;
        let goal = side.goal.map_or_else(String::new, |goal| goal.line(ratio, more_ms));
        let (worked_ms, worked) = (ticks * TICK_MS / runs, ticks / base_ticks);
        say(&format!(
            "  {:<28} {median_ms:>9.1} ms {ratio:>8.3} × {more_ms:>+10.2} ms {worked_ms:>9.1} ms {worked:>8.3} ×{goal}",
            side.name
        ));
    }
    Ok(())
}

impl Side<'_> {
    /// How long it took, and the ticks of processors.
    fn time(&mut self) -> Result<(Duration, u64), String> {
        (self.before)()?;
        let mut printed = Vec::new();
        let (began, ticks) = (Instant::now(), ticks_of_children());
        for command in &mut self.commands {
            let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
            printed = output.stdout;
        }
        let (took, worked) = (began.elapsed(), ticks_of_children().saturating_sub(ticks));
        match self.clock {
            Clock::Whole => Ok((took, worked)),
            Clock::Own => {
                let text = String::from_utf8_lossy(&printed);
                let seconds = text.trim().parse().map_err(|_| format!("{} printed no time", self.name))?;
                Duration::try_from_secs_f64(seconds).map(|took| (took, worked)).map_err(|error| error.to_string())
            }
        }
    }
}

/// What all that this process started and saw ending took of processors: proc_pid_stat(5), fields 16 and 17.
/// The gate serves several builds, and is not among it.
fn ticks_of_children() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

impl Goal {
    fn line(self, ratio: f64, more_ms: f64) -> String {
        let (goal, met) = match self {
            Self::Ratio(most) => (format!("{most} ×"), ratio <= most),
            Self::MoreMs(most) => (format!("+{most} ms"), more_ms <= most),
        };
        format!("   goal: at most {goal}, {}", if met { "met" } else { "missed" })
    }
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
