//! One run as the gate knows it: its rules, budgets, secrets, and what it has done.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::address::OwnAddresses;
use crate::budget::{Excess, Spent};
use crate::dial::Resolve;
use crate::event::{Connection, Counters, Event, Sink, What, now_ms};
use crate::flow::Way;
use crate::inspect::{Authority, Secrets, Trust};
use crate::names::Names;
use crate::refusal::Refusal;
use crate::rules::Rules;
use crate::tally::{Entry, RunReport, Tally};
use crate::tunnel::{Buffers, Pipes};
use stockade_core::budget::Budget;

/// How many different refusals are remembered, so as not to tell them again; after that they are counted only.
const TOLD_MAX: usize = 4_096;

/// What all runs of a gate share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) own: OwnAddresses,
    pub(crate) trust: Arc<Trust>,
    pub(crate) counters: Counters,
    pub(crate) numbers: AtomicU64,
    pub(crate) buffers: Buffers,
    pub(crate) pipes: Pipes,
}

/// A connection to a server that counts against the run's budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Dialled(Arc<Run>);

impl Dialled {
    pub(crate) fn enter(run: &Arc<Run>) -> Result<Self, Excess> {
        run.spent.dialled().enter(&run.budget)?;
        Ok(Self(Arc::clone(run)))
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.0.spent.dialled().leave();
    }
}

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) rules: Rules,
    pub(crate) budget: Budget,
    pub(crate) secrets: Secrets,
    /// Only where something is inspected.
    pub(crate) authority: Option<Authority>,
    /// What the names it looks up stand for.
    pub(crate) names: Names,
    /// The gate's, unless the run has roots of its own.
    pub(crate) trust: Arc<Trust>,
    pub(crate) shared: Arc<Shared>,
    spent: Spent,
    counters: Counters,
    tally: Tally,
    told: Mutex<HashSet<(Way, String, &'static str)>>,
    tasks: TaskTracker,
    closed: Notify,
}

impl Run {
    pub(crate) fn new(
        id: String,
        rules: Rules,
        budget: Budget,
        secrets: Secrets,
        authority: Option<Authority>,
        trust: Arc<Trust>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            id,
            rules,
            budget,
            secrets,
            authority,
            names: Names::default(),
            trust,
            shared,
            spent: Spent::default(),
            counters: Counters::default(),
            tally: Tally::default(),
            told: Mutex::default(),
            tasks: TaskTracker::new(),
            closed: Notify::new(),
        }
    }

    pub(crate) const fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Bytes that may still go up and down.
    pub(crate) fn left(&self) -> (u64, u64) {
        self.spent.left(&self.budget)
    }

    /// The run's own counters and those of the gate.
    fn each_counter(&self, count: impl Fn(&Counters)) {
        count(&self.counters);
        count(&self.shared.counters);
    }

    pub(crate) fn report(&self) -> RunReport {
        self.tally.report(self.counters.totals())
    }

    /// Records a connection, then counts it; without a record there is none.
    pub(crate) fn opened(&self, connection: &Connection) -> io::Result<Entry> {
        self.record(What::Opened { connection: connection.clone() })?;
        self.each_counter(Counters::opened);
        Ok(self.tally.opened(connection))
    }

    /// Counts and tells the end of a connection.
    pub(crate) fn ended(&self, entry: Entry, what: What) {
        if let What::Closed { bytes_up, bytes_down, .. } = what {
            self.each_counter(|counters| counters.closed(bytes_up, bytes_down));
            self.tally.closed(entry, bytes_up, bytes_down);
        }
        self.tell(what);
        self.closed.notify_waiters();
    }

    /// Writes an event that must be kept before what it speaks of may happen.
    fn record(&self, what: What) -> io::Result<()> {
        self.shared.sink.take(&Event { time_ms: now_ms(), run: self.id.clone(), what })
    }

    /// Writes an event about what has happened already. If it is lost, the next connection is refused, because
    /// its own record fails.
    pub(crate) fn tell(&self, what: What) {
        drop(self.record(what));
    }

    /// Counts a refusal, and tells it unless the run has filled its share of the records.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refuse(refusal, true);
    }

    /// As [`Run::refused`], for what programs repeat by themselves: told the first time, only counted after that.
    pub(crate) fn refused_once(&self, refusal: &Refusal) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (refusal.way, refusal.asked.clone(), refusal.reason.code());
        let new = told.len() < TOLD_MAX && told.insert(key);
        drop(told);
        self.refuse(refusal, new);
    }

    fn refuse(&self, refusal: &Refusal, tell: bool) {
        let code = refusal.reason.code();
        let before = self.counters.refused(code);
        self.shared.counters.refused(code);
        self.tally.refused(refusal);
        if tell && before < self.budget.refusals_told {
            self.tell(What::Refused {
                way: refusal.way,
                asked: refusal.asked.clone(),
                reason: code.to_owned(),
                why: refusal.reason.to_string(),
                next: refusal.next(),
            });
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a task of the run.
    pub(crate) fn spawn(&self, set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        set.spawn(self.tasks.track_future(task));
    }

    /// Waits until no task and no connection of the run is left.
    pub(crate) async fn all_closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.counters.open() == 0 {
                return;
            }
            closed.await;
        }
    }
}
