//! Figures for Prometheus, in its text form.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::users::Engines;

/// Upper bounds of the buckets, seconds.
const BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Figures>);

#[derive(Debug, Default)]
struct Figures {
    accepted: u64,
    ended: BTreeMap<String, u64>,
    waited: Histogram,
    ran: Histogram,
    answers: BTreeMap<u16, u64>,
    connections: u64,
    connections_refused: u64,
}

#[derive(Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, span: Duration) {
        let seconds = span.as_secs_f64();
        for (count, most) in self.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= most);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Metrics {
    pub(crate) fn accepted(&self) {
        self.lock().accepted += 1;
    }

    /// A run left the queue after so long.
    pub(crate) fn started(&self, waited_ms: i64) {
        self.lock().waited.add(Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)));
    }

    pub(crate) fn ended(&self, cause: &str, ran: Option<Duration>) {
        let mut figures = self.lock();
        *figures.ended.entry(cause.to_owned()).or_default() += 1;
        if let Some(ran) = ran {
            figures.ran.add(ran);
        }
    }

    pub(crate) fn answered(&self, status: u16) {
        *self.lock().answers.entry(status).or_default() += 1;
    }

    pub(crate) fn connected(&self) {
        self.lock().connections += 1;
    }

    pub(crate) fn refused_connection(&self) {
        self.lock().connections_refused += 1;
    }

    /// All of them, with how many wait and run.
    pub(crate) fn text(&self, (waiting, running): (usize, usize), engines: Engines) -> String {
        let figures = self.lock();
        let mut text = String::new();
        gauge(&mut text, "stockade_runs_waiting", "Runs that wait.", waiting);
        gauge(&mut text, "stockade_runs_running", "Runs under way.", running);
        let ids = if let Engines::Own(range) = engines { range.count() } else { 0 };
        let help = "Ids of the host for engines; 0: all have the node's own.";
        gauge(&mut text, "stockade_engine_users", help, usize::try_from(ids).unwrap_or(usize::MAX));
        counter(&mut text, "stockade_runs_accepted_total", "Runs that were accepted.", [("", figures.accepted)]);
        let causes: Vec<(String, u64)> =
            figures.ended.iter().map(|(cause, count)| (format!("{{cause=\"{cause}\"}}"), *count)).collect();
        let causes = causes.iter().map(|(labels, count)| (labels.as_str(), *count));
        counter(&mut text, "stockade_runs_ended_total", "Runs that ended, by cause.", causes);
        figures.waited.write(&mut text, "stockade_run_wait_seconds", "From acceptance to the start of a run.");
        figures.ran.write(&mut text, "stockade_run_seconds", "From the start of a run to its end.");
        let answers: Vec<(String, u64)> =
            figures.answers.iter().map(|(status, count)| (format!("{{status=\"{status}\"}}"), *count)).collect();
        let answers = answers.iter().map(|(labels, count)| (labels.as_str(), *count));
        counter(&mut text, "stockade_http_answers_total", "Answers, by status.", answers);
        let connections = [("", figures.connections)];
        counter(&mut text, "stockade_connections_total", "Connections that were taken.", connections);
        let refused = [("", figures.connections_refused)];
        counter(&mut text, "stockade_connections_refused_total", "Connections beyond what may be open.", refused);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: usize) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
}

fn counter<'a>(text: &mut String, name: &str, help: &str, values: impl IntoIterator<Item = (&'a str, u64)>) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n"));
    for (labels, value) in values {
        text.push_str(&format!("{name}{labels} {value}\n"));
    }
}

impl Histogram {
    fn write(&self, text: &mut String, name: &str, help: &str) {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} histogram\n"));
        for (count, most) in self.counts.iter().zip(BUCKETS) {
            text.push_str(&format!("{name}_bucket{{le=\"{most}\"}} {count}\n"));
        }
        let Self { count, sum, .. } = self;
        text.push_str(&format!("{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.accepted();
        metrics.ended("exited", Some(Duration::from_millis(50)));
        let text = metrics.text((3, 1), Engines::Shared);
        for line in [
            "stockade_runs_waiting 3",
            "stockade_engine_users 0",
            "stockade_runs_ended_total{cause=\"exited\"} 1",
            "stockade_run_seconds_bucket{le=\"0.025\"} 0",
            "stockade_run_seconds_bucket{le=\"0.1\"} 1",
            "stockade_run_seconds_count 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
