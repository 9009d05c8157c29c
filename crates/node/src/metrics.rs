//! Figures for Prometheus, in its text form.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockade_store::Kind;

use crate::outcome::{Begun, Outcome};
use crate::users::Engines;

/// Upper bounds of the buckets, seconds.
const BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// What waits and runs at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    /// How many wait, by class.
    pub(crate) classes: Vec<(String, usize)>,
    pub(crate) sessions: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Figures>);

#[derive(Debug, Default)]
struct Figures {
    accepted: u64,
    ended: BTreeMap<String, u64>,
    sessions: u64,
    sessions_ended: BTreeMap<String, u64>,
    executions: u64,
    executions_ended: BTreeMap<String, u64>,
    warm: u64,
    cold: u64,
    denials: u64,
    cpu_ms: u64,
    over_quota: u64,
    waited: Histogram,
    ran: Histogram,
    /// How often it was found out who asks and what that one may, and what that took in all.
    accesses: (u64, Duration),
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

/// How the node is at the moment.
#[derive(Debug)]
pub(crate) struct Now {
    /// What waits and runs.
    pub(crate) load: Load,
    /// How many tables there are, and their bytes.
    pub(crate) tables: (usize, u64),
    /// Whom engines are.
    pub(crate) engines: Engines,
}

impl Metrics {
    pub(crate) fn accepted(&self, kind: Kind) {
        let mut figures = self.lock();
        *match kind {
            Kind::Run => &mut figures.accepted,
            Kind::Session => &mut figures.sessions,
            Kind::Execution => &mut figures.executions,
        } += 1;
    }

    /// A run left the queue after so long.
    pub(crate) fn started(&self, kind: Kind, waited_ms: i64) {
        if kind != Kind::Run {
            return;
        }
        self.lock().waited.add(Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)));
    }

    pub(crate) fn ended(&self, kind: Kind, cause: &str, ran: Option<Duration>) {
        let mut figures = self.lock();
        let ended = match kind {
            Kind::Run => &mut figures.ended,
            Kind::Session => &mut figures.sessions_ended,
            Kind::Execution => &mut figures.executions_ended,
        };
        *ended.entry(cause.to_owned()).or_default() += 1;
        if let Some(ran) = ran.filter(|_| kind == Kind::Run) {
            figures.ran.add(ran);
        }
    }

    /// It was found out who asks and what that one may.
    pub(crate) fn looked(&self, took: Duration) {
        let accesses = &mut self.lock().accesses;
        *accesses = (accesses.0 + 1, accesses.1.saturating_add(took));
    }

    /// What its report tells of it besides.
    pub(crate) fn reported(&self, outcome: &Outcome) {
        let mut figures = self.lock();
        match outcome.begun {
            Some(Begun::Warm) => figures.warm += 1,
            Some(Begun::Cold) => figures.cold += 1,
            None => {}
        }
        figures.denials += u64::try_from(outcome.denials).unwrap_or(0);
    }

    /// CPU time that principals were charged with.
    pub(crate) fn used(&self, cpu_ms: i64) {
        let mut figures = self.lock();
        figures.cpu_ms = figures.cpu_ms.saturating_add(u64::try_from(cpu_ms).unwrap_or(0));
    }

    /// Somebody has no CPU time left today.
    pub(crate) fn over_quota(&self) {
        self.lock().over_quota += 1;
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

    /// All of them, with how the node is at the moment.
    pub(crate) fn text(&self, now: &Now) -> String {
        let Now { load, tables: (tables, table_bytes), engines } = now;
        let (tables, table_bytes, engines) = (*tables, *table_bytes, *engines);
        let figures = self.lock();
        let mut text = String::new();
        gauge(&mut text, "stockade_tables_held", "Tables by descriptor that are needed.", tables);
        let bytes = usize::try_from(table_bytes).unwrap_or(usize::MAX);
        gauge(&mut text, "stockade_tables_held_bytes", "Bytes of them, which are their callers' memory.", bytes);
        gauge(&mut text, "stockade_runs_waiting", "Runs that wait.", load.waiting);
        gauge(&mut text, "stockade_runs_running", "Runs under way.", load.running);
        let name = "stockade_class_runs_waiting";
        text.push_str(&format!("# HELP {name} Runs that wait, by class of principals.\n# TYPE {name} gauge\n"));
        for (class, waiting) in &load.classes {
            text.push_str(&format!("{name}{{class=\"{class}\"}} {waiting}\n"));
        }
        let used = [("", figures.cpu_ms / 1_000)];
        counter(&mut text, "stockade_cpu_seconds_total", "CPU time that principals were charged with.", used);
        let refused = [("", figures.over_quota)];
        counter(&mut text, "stockade_cpu_quota_refusals_total", "Refused for want of CPU time of the day.", refused);
        let ids = if let Engines::Own(range) = engines { range.count() } else { 0 };
        let help = "Ids of the host for engines; 0: all have the node's own.";
        gauge(&mut text, "stockade_engine_users", help, usize::try_from(ids).unwrap_or(usize::MAX));
        counter(&mut text, "stockade_runs_accepted_total", "Runs that were accepted.", [("", figures.accepted)]);
        by_cause(&mut text, "stockade_runs_ended_total", "Runs that ended, by cause.", &figures.ended);
        let begun = [("{begun=\"warm\"}", figures.warm), ("{begun=\"cold\"}", figures.cold)];
        let help = "Runs that began in an engine that waited for them, or in one that was made for them.";
        counter(&mut text, "stockade_runs_begun_total", help, begun);
        let denials = [("", figures.denials)];
        counter(&mut text, "stockade_denials_total", "What runs asked for and were denied, as told.", denials);
        gauge(&mut text, "stockade_sessions_open", "Sessions that are open.", load.sessions);
        counter(&mut text, "stockade_sessions_opened_total", "Sessions that were opened.", [("", figures.sessions)]);
        by_cause(&mut text, "stockade_sessions_ended_total", "Sessions that ended, by cause.", &figures.sessions_ended);
        let executions = [("", figures.executions)];
        counter(&mut text, "stockade_executions_accepted_total", "Executions that were accepted.", executions);
        by_cause(
            &mut text,
            "stockade_executions_ended_total",
            "Executions that ended, by cause.",
            &figures.executions_ended,
        );
        figures.waited.write(&mut text, "stockade_run_wait_seconds", "From acceptance to the start of a run.");
        figures.ran.write(&mut text, "stockade_run_seconds", "From the start of a run to its end.");
        let (count, took) = figures.accesses;
        let name = "stockade_access_seconds";
        text.push_str(&format!("# HELP {name} Finding out who asks, what that one may, and its records.\n"));
        text.push_str(&format!("# TYPE {name} summary\n{name}_sum {}\n{name}_count {count}\n", took.as_secs_f64()));
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

fn by_cause(text: &mut String, name: &str, help: &str, causes: &BTreeMap<String, u64>) {
    let causes: Vec<(String, u64)> =
        causes.iter().map(|(cause, count)| (format!("{{cause=\"{cause}\"}}"), *count)).collect();
    counter(text, name, help, causes.iter().map(|(labels, count)| (labels.as_str(), *count)));
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
        metrics.accepted(Kind::Run);
        metrics.ended(Kind::Run, "exited", Some(Duration::from_millis(50)));
        metrics.ended(Kind::Execution, "limit", Some(Duration::from_millis(50)));
        metrics.used(2_900);
        metrics.looked(Duration::from_millis(2));
        let classes = vec![("usual".to_owned(), 2), ("first".to_owned(), 1)];
        let load = Load { waiting: 3, running: 1, classes, sessions: 2 };
        let text = metrics.text(&Now { load, tables: (1, 5), engines: Engines::Shared });
        for line in [
            "stockade_runs_waiting 3",
            "stockade_sessions_open 2",
            "stockade_class_runs_waiting{class=\"first\"} 1",
            "stockade_cpu_seconds_total 2",
            "stockade_executions_ended_total{cause=\"limit\"} 1",
            "stockade_access_seconds_sum 0.002",
            "stockade_access_seconds_count 1",
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
