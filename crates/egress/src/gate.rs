//! One process that serves many runs: each with its own listeners, rules, budgets and secrets.
//!
//! The listener identifies the run, and nothing else does. When a run is removed, every connection of it is cut,
//! whoever inside still holds an end.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::dial::Resolve;
use crate::doors::{Doors, Listener};
use crate::event::{Sink, Totals, What};
use crate::front::{self, Arrival};
use crate::inspect::{Authority, Secret, Secrets, Trust};
use crate::pace::Pace;
use crate::resolver;
use crate::rules::Rules;
use crate::run::{Run, Shared};
use crate::sockets::Sockets;
use crate::tally::RunReport;
use crate::watch::Watcher;
use stockade_core::budget::Budget;

/// Runs that are open at one time.
const RUNS_MAX: usize = 10_000;
/// How long accepting pauses when the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// The gate.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    runs: Mutex<HashMap<String, Held>>,
}

/// A run to be opened.
#[derive(Debug, Default)]
pub struct NewRun {
    /// Its name in events.
    pub id: String,
    /// What it may reach.
    pub rules: Rules,
    /// How much of it.
    pub budget: Budget,
    /// What it may use without having it.
    pub secrets: Vec<Secret>,
    /// Authorities that its inspected servers may have their certificates from, beside the gate's own.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// The way into a run that is served.
#[derive(Clone, Debug)]
pub struct Handle {
    run: Arc<Run>,
}

impl Handle {
    /// The certificate that the sandbox must trust, if anything is inspected.
    #[must_use]
    pub fn authority_pem(&self) -> Option<&str> {
        self.run.authority.as_ref().map(Authority::pem)
    }
}

/// Why the gate cannot do what it was told.
#[derive(Debug, Error)]
pub enum GateFailure {
    /// A descriptor is not the socket that it was said to be.
    #[error("the run's {kind} cannot be served: {source}")]
    Socket {
        /// What it was said to be.
        kind: &'static str,
        /// What came of it.
        source: io::Error,
    },
    /// The keys of the run's authority could not be made.
    #[error("the run's certificate authority cannot be made: {0}")]
    Authority(#[source] io::Error),
    /// A run of this name is open already.
    #[error("a run of this name is open already")]
    Known,
    /// No run of this name is open.
    #[error("no run of this name is open")]
    Gone,
    /// The run is served already.
    #[error("the run is served already")]
    Served,
    /// As many runs as a gate holds are open.
    #[error("the gate holds {RUNS_MAX} runs already")]
    Full,
}

impl GateFailure {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "pass listening TCP or Unix sockets, a bound UDP socket, and raw IPv4 sockets",
            Self::Authority(_) => "try again; if it stays, look at the machine's source of random numbers",
            Self::Known => "close it first, or give the new run another name",
            Self::Gone => "open it first",
            Self::Served => "hand over all sockets of a run at once",
            Self::Full => "close runs that are over, or start another gate",
        }
    }
}

/// A run that is open, and the task that serves it.
#[derive(Debug)]
struct Held {
    run: Arc<Run>,
    serving: Option<JoinHandle<()>>,
    watchers: Vec<Arc<Watcher>>,
}

impl Gate {
    /// A gate that serves nobody yet; servers are verified against the roots of this machine.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, sink: Arc<dyn Sink>) -> Self {
        Self::trusting(resolver, sink, Vec::new())
    }

    /// As [`Gate::new`], with authorities that inspected servers may have their certificates from as well.
    #[must_use]
    pub fn trusting(resolver: Arc<dyn Resolve>, sink: Arc<dyn Sink>, extra: Vec<CertificateDer<'static>>) -> Self {
        let shared = Shared {
            resolver,
            sink,
            own: Default::default(),
            trust: Arc::new(Trust::new(extra)),
            counters: Default::default(),
            numbers: Default::default(),
            buffers: Default::default(),
            pipes: Default::default(),
        };
        Self { shared: Arc::new(shared), runs: Mutex::default() }
    }

    /// Makes everything of a run but serves nothing yet. Returns the certificate, as PEM, that its sandbox must trust
    /// if anything is inspected.
    ///
    /// # Errors
    /// [`GateFailure`]; then the gate knows nothing of the run.
    pub fn open(&self, new: NewRun) -> Result<Option<String>, GateFailure> {
        let mut runs = self.runs();
        if runs.contains_key(&new.id) {
            return Err(GateFailure::Known);
        }
        if runs.len() >= RUNS_MAX {
            return Err(GateFailure::Full);
        }
        let secrets = Secrets::new(new.secrets);
        let authority = if secrets.is_empty() && !new.rules.need_authority() {
            None
        } else {
            Some(Authority::new().map_err(GateFailure::Authority)?)
        };
        let authority_pem = authority.as_ref().map(Authority::pem).map(str::to_owned);
        let (shared, trust) = (Arc::clone(&self.shared), self.shared.trust.and(new.extra_roots));
        let run = Run::new(new.id.clone(), new.rules, new.budget, secrets, authority, trust, shared);
        runs.insert(new.id, Held { run: Arc::new(run), serving: None, watchers: Vec::new() });
        Ok(authority_pem)
    }

    /// Begins to serve an open run. Must be called within the runtime.
    ///
    /// # Errors
    /// [`GateFailure`]; then nothing of the run is served.
    pub fn serve(&self, id: &str, sockets: Sockets) -> Result<Handle, GateFailure> {
        let mut runs = self.runs();
        let held = runs.get_mut(id).ok_or(GateFailure::Gone)?;
        if held.serving.is_some() {
            return Err(GateFailure::Served);
        }
        let doors = Doors::new(sockets)?;
        let (run, taken) = (&held.run, doors.taken());
        held.watchers = doors.watchers.into_iter().map(|socket| Arc::new(Watcher::new(run, socket, &taken))).collect();
        let serving = serve(Arc::clone(run), doors.listeners, doors.resolver, held.watchers.clone());
        held.serving = Some(tokio::spawn(serving));
        Ok(Handle { run: Arc::clone(&held.run) })
    }

    /// Opens a run and serves it at once.
    ///
    /// # Errors
    /// As [`Gate::open`] and [`Gate::serve`]; then the gate knows nothing of the run.
    pub fn add(&self, new: NewRun, sockets: Sockets) -> Result<Handle, GateFailure> {
        let id = new.id.clone();
        self.open(new)?;
        let served = self.serve(&id, sockets);
        if served.is_err() {
            self.runs().remove(&id);
        }
        served
    }

    /// Ends a run: closes its listeners, cuts its connections, and tells what it did.
    ///
    /// # Errors
    /// [`GateFailure::Gone`].
    pub async fn remove(&self, id: &str) -> Result<RunReport, GateFailure> {
        let held = self.runs().remove(id).ok_or(GateFailure::Gone)?;
        if let Some(serving) = held.serving {
            serving.abort();
            // Cancelled, as it was told to be.
            drop(serving.await);
        }
        held.run.all_closed().await;
        held.watchers.iter().for_each(|watcher| watcher.drain());
        let report = held.run.report();
        held.run.tell(What::Ended { totals: report.totals.clone() });
        Ok(report)
    }

    /// Ends every run.
    pub async fn clear(&self) {
        let all: Vec<String> = self.runs().keys().cloned().collect();
        for id in all {
            // Gone already is what it shall be.
            drop(self.remove(&id).await);
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums over all runs, past ones too.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.counters.totals()
    }
}

/// Takes what comes from inside until the task is aborted; then everything it serves goes with it.
async fn serve(run: Arc<Run>, listeners: Vec<Listener>, resolver: Option<UdpSocket>, watchers: Vec<Arc<Watcher>>) {
    let (mut served, mut standing) = (JoinSet::new(), JoinSet::new());
    let (sender, mut accepted) = mpsc::channel(1);
    for listener in listeners {
        run.spawn(&mut standing, accept(listener, sender.clone()));
    }
    if let Some(socket) = resolver {
        run.spawn(&mut standing, resolver::serve(Arc::clone(&run), socket));
    }
    for watcher in watchers {
        run.spawn(&mut standing, watcher.serve());
    }
    drop(sender);
    loop {
        let arrival = tokio::select! {
            Some(arrival) = accepted.recv() => arrival,
            Some(_) = served.join_next() => continue,
            Some(_) = standing.join_next() => continue,
            else => return,
        };
        run.spawn(&mut served, front::serve(Arc::clone(&run), arrival));
    }
}

async fn accept(listener: Listener, arrivals: mpsc::Sender<Arrival>) {
    let mut pace = Pace::new();
    loop {
        match listener.accept().await {
            Ok(arrival) => {
                if arrivals.send(arrival).await.is_err() {
                    return;
                }
                pace.step().await;
            }
            // Out of descriptors or memory, or a client that left: what waits in the queue is not lost.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
