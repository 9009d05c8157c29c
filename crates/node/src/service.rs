//! What the node does, whoever asks: accepts runs, lets them wait, starts them, ends them, tells of them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use sha2::{Digest, Sha256};
use stockade_store::{Acceptance, Event, File, NewEvent, NewRun, Run, State, Which};
use tokio::sync::{Notify, watch};

use crate::asked::Asked;
use crate::classes::Classes;
use crate::keeper::Keeper;
use crate::link::Link;
use crate::log::Log;
use crate::looks::Looks;
use crate::metrics::{Load, Metrics};
use crate::order::{Bounds, Order};
use crate::outcome;
use crate::pressure::Pressure;
use crate::queue::{Caps, Crowded, Queue};
use crate::refusal::{Kind, Refusal};
use crate::room::Room;
use crate::runner;
use crate::security::Security;
use crate::sessions::{self, Sessions, Slot};
use crate::tables::{Table, Tables};
use crate::users::Engines;
use crate::wire::RunId;

/// How often to look for what is outdated.
const TIDY: Duration = Duration::from_secs(60);
/// How long to leave it alone after that.
const REST: Duration = Duration::from_secs(2);
/// How long who cancels an execution waits for its end.
const INTERRUPTED: Duration = Duration::from_secs(3);
/// Events that are read at once.
const EVENT_BYTES: usize = 256 << 10;

/// What a node is made with.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) caps: Caps,
    pub(crate) classes: Classes,
    /// How long what is over is kept.
    pub(crate) keep: Duration,
    /// How many runs that are over are kept of one principal.
    pub(crate) keep_each: i64,
    /// How many bytes of what they said and made.
    pub(crate) keep_bytes: i64,
    pub(crate) sessions: sessions::Terms,
    pub(crate) bounds: Bounds,
    /// Largest form, with all its files.
    pub(crate) form_bytes: usize,
    /// Bytes of tables of one principal.
    pub(crate) table_bytes: u64,
    pub(crate) log: Log,
    /// Whom engines are on the host.
    pub(crate) engines: Engines,
    /// What the machine calls itself since it was started.
    pub(crate) boot: String,
}

/// Why something is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its principal wants that.
    Asked,
    /// What it says cannot be kept.
    NoRoom,
}

/// Where something that is accepted will wait for its turn.
enum Place {
    Queue,
    Session(Slot),
    InSession(sessions::Place),
}

/// What a caller wants to run.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) asked: Asked,
    /// The script, if it has one, then the inputs.
    pub(crate) files: Vec<Bytes>,
    /// The tables that it names.
    pub(crate) tables: Vec<Table>,
    pub(crate) key: Option<String>,
    /// Whether its caller, or anybody else, may ask for it again: it then is on the disk before it is answered for.
    pub(crate) durable: bool,
}

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) keeper: Keeper,
    pub(crate) link: Link,
    pub(crate) metrics: Metrics,
    pub(crate) bounds: Bounds,
    pub(crate) form_bytes: usize,
    pub(crate) log: Log,
    /// Who may do what.
    pub(crate) security: Security,
    pub(crate) room: Room,
    pub(crate) sessions: Sessions,
    pub(crate) looks: Looks,
    /// Whose runs come first, and what each principal may have.
    pub(crate) classes: Classes,
    pub(crate) tables: Tables,
    pressure: Pressure,
    terms: Terms,
    queue: Mutex<Queue>,
    live: Mutex<HashMap<RunId, Live>>,
    /// Something may be startable.
    wake: Notify,
    draining: watch::Sender<bool>,
    /// A run ended, so that there may be too much now.
    grown: Notify,
}

/// A run that is not over.
#[derive(Debug)]
struct Live {
    /// The number of its last event; closed when it is over.
    last: watch::Sender<i64>,
    cancelled: bool,
    /// Those that it names, until it is over.
    tables: Vec<Table>,
}

impl Node {
    /// Whom engines are on the host.
    pub(crate) const fn engines(&self) -> Engines {
        self.terms.engines
    }

    pub(crate) fn new(
        (keeper, security): (Keeper, Security),
        link: Link,
        room: Room,
        pressure: Pressure,
        terms: Terms,
    ) -> Arc<Self> {
        Arc::new(Self {
            keeper,
            link,
            metrics: Metrics::default(),
            bounds: terms.bounds.clone(),
            form_bytes: terms.form_bytes,
            log: terms.log.clone(),
            security,
            room,
            sessions: Sessions::new(terms.sessions),
            looks: Looks::default(),
            tables: Tables::new(terms.table_bytes),
            pressure,
            queue: Mutex::new(Queue::new(terms.caps, terms.classes.clone())),
            classes: terms.classes.clone(),
            terms,
            live: Mutex::default(),
            wake: Notify::new(),
            draining: watch::Sender::new(false),
            grown: Notify::new(),
        })
    }

    /// Takes up what a former process left: what ran is lost, what waited goes on waiting.
    pub(crate) async fn recover(&self) -> Result<(), Refusal> {
        let (boot, (document, event)) = (self.terms.boot.clone(), outcome::lost());
        let found = self.keeper.with(move |store| store.recover(&boot, &document, &[event], now_ms())).await?;
        for run in found.lost {
            tracing::warn!(run = %run.id, principal = %run.principal, "the run was under way when the node ended: lost");
            self.metrics.ended(run.kind, "lost", None);
            // Its outputs are half of something.
            if let Some(id) = RunId::parse(&run.id) {
                self.link.forget(&id).await?;
            }
        }
        for run in found.waiting {
            let Some(id) = RunId::parse(&run.id) else { continue };
            tracing::info!(run = %run.id, principal = %run.principal, "the run still waits");
            // Its tables were with the former process, and it will be told so in its turn.
            self.lives(&id, Vec::new());
            self.queue().enter_again(&run.principal, id);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Marks what runs as lost, since nobody follows it any more.
    pub(crate) async fn lose(&self) -> Result<(), Refusal> {
        let (boot, (document, event)) = (self.terms.boot.clone(), outcome::lost());
        let found = self.keeper.with(move |store| store.recover(&boot, &document, &[event], now_ms())).await?;
        for run in found.lost {
            tracing::error!(run = %run.id, principal = %run.principal, "the launcher is gone: lost");
        }
        Ok(())
    }

    /// Starts what may start, for ever.
    pub(crate) async fn dispatch(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            while let Some((principal, run)) = self.next() {
                let node = Arc::clone(&self);
                tokio::spawn(async move {
                    runner::run(&node, &principal, &run).await;
                    node.lock_live().remove(&run);
                    node.queue().ended(&principal);
                    node.wake.notify_one();
                    node.grown.notify_one();
                });
            }
        }
    }

    fn next(&self) -> Option<(String, RunId)> {
        // Without a launcher what waits goes on waiting, for the next node.
        if *self.draining.borrow() || self.link.is_over() { None } else { self.queue().take_next() }
    }

    /// What a session may have: its time is its life, not that of a run.
    pub(crate) fn session_bounds(&self) -> Bounds {
        let mut bounds = self.bounds.clone();
        let life = u64::try_from(self.sessions.terms.life.as_millis()).unwrap_or(u64::MAX);
        (bounds.usual.wall_ms, bounds.most.wall_ms) = (life, life);
        bounds
    }

    /// Whether something could be accepted at the moment, but for a place to wait in.
    fn check(&self, asked: &Asked) -> Result<(), Refusal> {
        match asked {
            Asked::Session(opening) => opening.check(&self.session_bounds())?,
            other @ (Asked::Run(_) | Asked::Execution(_)) => other.check(&self.bounds)?,
        }
        if *self.draining.borrow() {
            return Err(Refusal::new(
                Kind::Unavailable,
                "the node is ending",
                "it takes no new runs",
                "try again later",
            ));
        }
        self.room.check()?;
        if asked.kind() != stockade_store::Kind::Execution {
            self.pressure.check()?;
        }
        Ok(())
    }

    /// Refuses a run that would not be accepted now, in the same words.
    pub(crate) async fn check_run(&self, principal: &str, order: &Order) -> Result<(), Refusal> {
        let asked = Asked::Run(order.clone());
        self.check(&asked)?;
        self.check_cpu(principal).await?;
        self.reserve(principal, &asked).map(|place| self.release(principal, place))
    }

    /// Accepts a run; when this returns it will run, whatever happens to the node.
    ///
    /// A caller who goes away meanwhile changes nothing.
    pub(crate) async fn accept(self: &Arc<Self>, principal: &str, submission: Submission) -> Result<Run, Refusal> {
        self.check(&submission.asked)?;
        let (node, principal) = (Arc::clone(self), principal.to_owned());
        let accepted = tokio::spawn(async move {
            let mut submission = submission;
            let tables = std::mem::take(&mut submission.tables);
            let asked = submission.asked.clone();
            // Who asks again for what is known needs no time and no place.
            let reserved = match node.check_cpu(&principal).await {
                Ok(()) => node.reserve(&principal, &asked),
                Err(refusal) => Err(refusal),
            };
            let written = node.write_down(&principal, submission, reserved.is_ok()).await;
            match (written, reserved) {
                (Ok(Some((id, true))), Ok(place)) => {
                    node.metrics.accepted(asked.kind());
                    node.lives(&id, tables);
                    node.enter(&principal, &id, asked, place).await;
                    node.run(&principal, id.as_str()).await
                }
                (written, reserved) => {
                    let why = reserved.map(|place| node.release(&principal, place)).err();
                    match (written?, why) {
                        (Some((id, _)), _) => node.run(&principal, id.as_str()).await,
                        (None, Some(why)) => Err(why),
                        (None, None) => Err(Refusal::failed("the run was not accepted", "it is not known")),
                    }
                }
            }
        });
        accepted.await.map_err(|_| ending("the run may have been accepted"))?
    }

    fn reserve(&self, principal: &str, asked: &Asked) -> Result<Place, Refusal> {
        match asked {
            Asked::Run(_) => self.queue().reserve(principal).map(|()| Place::Queue).map_err(crowded),
            Asked::Session(_) => {
                self.sessions.reserve(principal, self.classes.share(principal).sessions).map(Place::Session)
            }
            Asked::Execution(execution) => {
                let session = self.sessions.find(principal, execution.session.as_str());
                session.ok_or_else(sessions::over_refusal)?.reserve().map(Place::InSession)
            }
        }
    }

    fn release(&self, principal: &str, place: Place) {
        match place {
            Place::Queue => self.queue().release(principal),
            // Free again by being dropped.
            Place::Session(_) | Place::InSession(_) => {}
        }
    }

    async fn enter(self: &Arc<Self>, principal: &str, id: &RunId, asked: Asked, place: Place) {
        match (place, asked) {
            (Place::Session(slot), Asked::Session(opening)) => sessions::open(self, principal, id, opening, slot),
            (Place::InSession(place), _) => {
                if !place.execute(id.clone()) {
                    runner::end_refused(self, id, &sessions::over_refusal()).await;
                    self.is_over(id);
                }
            }
            (Place::Queue | Place::Session(_), _) => {
                self.queue().enter(principal, id.clone());
                self.wake.notify_one();
            }
        }
    }

    /// The run's name, and whether it is a new one; none when there is no place for a new one and it would be one.
    async fn write_down(
        &self,
        principal: &str,
        submission: Submission,
        has_place: bool,
    ) -> Result<Option<(RunId, bool)>, Refusal> {
        let id = RunId::random().map_err(|error| Refusal::failed("the run was not accepted", error))?;
        let request = submission.asked.to_text()?;
        let digest = digest(&submission.asked.to_compared()?, &submission.files);
        let (run, owner) = (id.clone(), principal.to_owned());
        let acceptance = self
            .keeper
            .with(move |store| {
                let files: Vec<File<'_>> = submission.files.iter().map(|bytes| File(bytes)).collect();
                let new = NewRun {
                    id: run.as_str(),
                    kind: submission.asked.kind(),
                    session: submission.asked.session(),
                    principal: &owner,
                    request: &request,
                    digest: &digest,
                    idempotency_key: submission.key.as_deref(),
                    files: &files,
                    events: &[NewEvent::new("accepted", "{}")],
                    durable: submission.durable,
                };
                // Who asks again for what is known needs no place.
                if has_place { store.accept(&new, now_ms()).map(Some) } else { store.known(&new) }
            })
            .await?;
        match acceptance {
            None => Ok(None),
            Some(Acceptance::New) => {
                tracing::info!(run = %id, principal, "accepted");
                Ok(Some((id, true)))
            }
            Some(Acceptance::Known(run)) => {
                let id = RunId::parse(&run.id).ok_or_else(|| Refusal::failed("the run cannot be told", "its name"))?;
                Ok(Some((id, false)))
            }
            Some(Acceptance::Conflict) => Err(Refusal::new(
                Kind::Conflict,
                "the idempotency key was used for another run",
                "a key stands for one request, to the last byte",
                "use a new key for a new request",
            )),
        }
    }

    /// A run of this principal.
    pub(crate) async fn run(&self, principal: &str, id: &str) -> Result<Run, Refusal> {
        let (owner, id) = (principal.to_owned(), id.to_owned());
        self.keeper.with(move |store| store.run(&owner, &id)).await?.ok_or_else(missing)
    }

    /// Runs of this principal, the youngest first.
    pub(crate) async fn runs(&self, principal: &str, before: i64, most: i64) -> Result<Vec<Run>, Refusal> {
        let owner = principal.to_owned();
        self.keeper.with(move |store| store.runs(&owner, Which::Runs, before, most)).await
    }

    /// Sessions of this principal, or what was executed in one of them, the youngest first.
    pub(crate) async fn in_sessions(
        &self,
        principal: &str,
        session: Option<&str>,
        before: i64,
        most: i64,
    ) -> Result<Vec<Run>, Refusal> {
        let (owner, session) = (principal.to_owned(), session.map(ToOwned::to_owned));
        self.keeper
            .with(move |store| {
                let which = session.as_deref().map_or(Which::Sessions, Which::Executions);
                store.runs(&owner, which, before, most)
            })
            .await
    }

    /// A session of this principal, whether it is open or not.
    pub(crate) async fn session(&self, principal: &str, id: &str) -> Result<Run, Refusal> {
        let of_session = |refusal: Refusal| if refusal.kind == Kind::Missing { sessions::missing() } else { refusal };
        let run = self.run(principal, id).await.map_err(of_session)?;
        if run.kind == stockade_store::Kind::Session { Ok(run) } else { Err(sessions::missing()) }
    }

    /// A file that was kept for something.
    pub(crate) async fn kept_file(&self, run: &str, file: i64) -> Result<Bytes, Refusal> {
        let mut whole = Vec::new();
        for part in 0_i64.. {
            let id = run.to_owned();
            let Some(bytes) = self.keeper.with(move |store| store.part_of_file(&id, file, part)).await? else { break };
            whole.extend(bytes);
        }
        Ok(whole.into())
    }

    /// How many are served before it, and itself.
    pub(crate) fn position(&self, run: &Run) -> Option<usize> {
        let id = RunId::parse(&run.id)?;
        self.queue().position(&run.principal, &id)
    }

    /// Events of a run from a number on; none when there are none yet.
    pub(crate) async fn events(&self, run: &str, from: i64) -> Result<Vec<Event>, Refusal> {
        let run = run.to_owned();
        self.keeper.with(move |store| store.events(&run, from, EVENT_BYTES)).await
    }

    /// Tells when events are added to a run, and by closing when it is over; `None` when it is.
    pub(crate) fn follow(&self, run: &str) -> Option<watch::Receiver<i64>> {
        let id = RunId::parse(run)?;
        self.lock_live().get(&id).map(|live| live.last.subscribe())
    }

    /// Waits until a run is over, and tells it again.
    pub(crate) async fn over(&self, principal: &str, id: &str) -> Result<Run, Refusal> {
        loop {
            if let Some(mut last) = self.follow(id) {
                while last.changed().await.is_ok() {}
            }
            let run = self.run(principal, id).await?;
            if run.state.is_over() {
                return Ok(run);
            }
            // Another request is about to accept it, or the node is about to end.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends a run and waits for its end. One that is over stays as it is.
    pub(crate) async fn cancel(self: &Arc<Self>, principal: &str, id: &str) -> Result<Run, Refusal> {
        let run = self.run(principal, id).await?;
        let Some(id) = RunId::parse(&run.id).filter(|_| !run.state.is_over()) else { return Ok(run) };
        let (node, principal) = (Arc::clone(self), principal.to_owned());
        let cancelled = tokio::spawn(async move {
            node.mark_cancelled(&id);
            let waited = match run.kind {
                stockade_store::Kind::Run => node.queue().remove(&principal, &id),
                stockade_store::Kind::Session => false,
                stockade_store::Kind::Execution => node.sessions.executing(&id).is_none(),
            };
            if waited {
                runner::end_unstarted(&node, &id).await;
                node.lock_live().remove(&id);
            } else {
                node.stop(&id, Stop::Asked).await?;
            }
            if run.kind == stockade_store::Kind::Execution {
                // Code may take an interrupt for whatever it likes.
                let over = tokio::time::timeout(INTERRUPTED, node.over(&principal, id.as_str())).await;
                return match over {
                    Ok(over) => over,
                    Err(_) => node.run(&principal, id.as_str()).await,
                };
            }
            node.over(&principal, id.as_str()).await
        });
        cancelled.await.map_err(|_| ending("the run may have been cancelled"))?
    }

    /// Has something that was handed over end: a run by its supervisor, a session by its engine; what is executed in a
    /// session is interrupted, and when what it says cannot be kept the session ends with it.
    pub(crate) async fn stop(&self, run: &RunId, why: Stop) -> Result<(), Refusal> {
        if let Some(session) = self.sessions.executing(run) {
            if why == Stop::Asked {
                return self.link.interrupt(session.id(), run).await;
            }
            return self.link.cancel(session.id()).await;
        }
        match self.sessions.open_by(run) {
            Some(session) if why == Stop::Asked => {
                session.close(self, "closed").await;
                Ok(())
            }
            Some(_) | None => self.link.cancel(run).await,
        }
    }

    /// Keeps that somebody wants the end of something.
    pub(crate) fn mark_cancelled(&self, run: &RunId) {
        if let Some(live) = self.lock_live().get_mut(run) {
            live.cancelled = true;
        }
    }

    /// Nobody has to follow it any more.
    pub(crate) fn is_over(&self, run: &RunId) {
        self.lock_live().remove(run);
        self.grown.notify_one();
    }

    /// Forgets a run that is over, with its outputs.
    pub(crate) async fn forget(&self, run: &Run) -> Result<(), Refusal> {
        let Some(id) = RunId::parse(&run.id).filter(|_| run.state.is_over()) else {
            return Err(Refusal::new(Kind::Conflict, "the run is not over", "it is still needed", "cancel it first"));
        };
        // Its files first: a run that is not known any more would leave them for ever.
        self.link.forget(&id).await?;
        self.keeper
            .with(move |store| {
                store.forget(id.as_str())?;
                store.shrink()
            })
            .await
    }

    /// Forgets what is outdated, for ever, a little at a time.
    pub(crate) async fn tidy(self: Arc<Self>) {
        loop {
            drop(tokio::time::timeout(TIDY, self.grown.notified()).await);
            tokio::time::sleep(REST).await;
            if let Err(refusal) = self.forget_outdated().await {
                tracing::warn!(what = %refusal.what, why = %refusal.why, "what is outdated stays");
            }
        }
    }

    async fn forget_outdated(&self) -> Result<(), Refusal> {
        let Terms { keep, keep_each, keep_bytes, .. } = self.terms;
        let before = now_ms() - i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        for run in self.keeper.with(move |store| store.outdated(before, keep_each, keep_bytes)).await? {
            self.forget(&run).await?;
        }
        Ok(())
    }

    /// Whether a run was cancelled.
    pub(crate) fn is_cancelled(&self, run: &RunId) -> bool {
        self.lock_live().get(run).is_some_and(|live| live.cancelled)
    }

    /// Keeps a table until a session is over, which has it from now on; lets go of it when that is over.
    pub(crate) fn keep_table(&self, session: &RunId, table: Table) {
        if let Some(live) = self.lock_live().get_mut(session) {
            live.tables.push(table);
        }
    }

    /// Descriptors of the tables of a run, which it still has.
    ///
    /// # Errors
    /// [`Refusal`] when they were with a former process.
    pub(crate) fn tables_of(&self, run: &RunId, count: usize) -> Result<Vec<OwnedFd>, Refusal> {
        let live = self.lock_live();
        let held = live.get(run).map_or([].as_slice(), |live| live.tables.as_slice());
        if held.len() != count {
            let why = "the node has ended since they were handed over, and they were in memory";
            return Err(Refusal::new(Kind::Unavailable, "the tables of the run are gone", why, "ask for it anew"));
        }
        let failed = |error: std::io::Error| Refusal::failed("the run cannot be started", crate::system_text(&error));
        held.iter().map(|table| table.for_run().map_err(failed)).collect()
    }

    /// Tells those who follow a run that there is more.
    pub(crate) fn tell(&self, run: &RunId, last: i64) {
        if let Some(live) = self.lock_live().get(run) {
            live.last.send_replace(last);
        }
    }

    /// Takes no more runs, starts none that wait, and waits until none runs.
    pub(crate) async fn drain(&self) {
        self.draining.send_replace(true);
        while self.queue().running() > 0 || self.sessions.count() > 0 {
            self.sessions.close_idle(self).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What waits and runs.
    pub(crate) fn load(&self) -> Load {
        let queue = self.queue();
        let names = self.classes.shares().iter().map(|share| share.name.clone());
        Load {
            waiting: queue.waiting(),
            running: queue.running(),
            classes: names.zip(queue.waiting_by_class()).collect(),
            sessions: self.sessions.count(),
        }
    }

    /// How many runs of a principal wait, and how many run.
    pub(crate) fn load_of(&self, principal: &str) -> (usize, usize) {
        self.queue().load_of(principal)
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    fn lives(&self, run: &RunId, tables: Vec<Table>) {
        self.lock_live().insert(run.clone(), Live { last: watch::Sender::new(0), cancelled: false, tables });
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_live(&self) -> MutexGuard<'_, HashMap<RunId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Also what is said of runs of others.
pub(crate) fn missing() -> Refusal {
    Refusal::new(Kind::Missing, "there is no such run", "you have none of this name", "list yours with GET /v1/runs")
}

/// The node ends in the middle of it.
fn ending(what: &str) -> Refusal {
    let next = "ask again when it is back, with the same idempotency key";
    Refusal::new(Kind::Unavailable, what, "the node is ending, and cannot say", next)
}

fn crowded(crowded: Crowded) -> Refusal {
    let why = match crowded {
        Crowded::Node => "the node has as many as it lets wait",
        Crowded::Principal => "you have as many as one may let wait",
    };
    Refusal::new(Kind::TooMany, "too many runs wait", why, "try again when some have ended")
}

/// Of everything that makes two requests the same.
fn digest(request: &str, files: &[Bytes]) -> String {
    let mut hash = Sha256::new();
    for bytes in std::iter::once(request.as_bytes()).chain(files.iter().map(AsRef::as_ref)) {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How a state is called outside.
pub(crate) const fn state_name(state: State) -> &'static str {
    match state {
        State::Accepted => "queued",
        State::Running => "running",
        State::Ended => "ended",
        State::Lost => "lost",
    }
}
