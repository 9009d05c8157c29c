//! Sessions that are open: who has how many, what each does next, and when it ends.
//!
//! What is kept of a session and of its executions is kept as of runs, by the same code; here is only their order:
//! one thing at a time in each, first come, first served.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stockade_core::session::Act;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::link::Ending;
use crate::opening::Opening;
use crate::refusal::{Kind, Refusal};
use crate::runner::{self, memory};
use crate::service::{Node, now_ms};
use crate::wire::RunId;

/// What may wait in one session, the one under way included.
const WAITING_MAX: usize = 16;

/// How many sessions there may be, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) all: usize,
    /// How long one may be idle.
    pub(crate) idle: Duration,
    /// How long one lives.
    pub(crate) life: Duration,
}

/// Every open session.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) terms: Terms,
    open: Mutex<HashMap<RunId, Arc<Session>>>,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Session {
    id: RunId,
    principal: String,
    pub(crate) opening: Opening,
    jobs: mpsc::UnboundedSender<Job>,
    places: Arc<Semaphore>,
    /// The launcher knows of it.
    handed_over: Notify,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// What it executes.
    current: Option<RunId>,
    is_busy: bool,
    used: Instant,
    used_ms: i64,
    /// Why it was told to end.
    ending: Option<&'static str>,
}

/// A place for one session of a principal, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    principal: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.principal);
            }
        }
    }
}

/// A place for one thing to be done in a session.
#[derive(Debug)]
pub(crate) struct Place(Arc<Session>, OwnedSemaphorePermit);

/// Something to be done in a session.
#[derive(Debug)]
enum Job {
    Execute(RunId, OwnedSemaphorePermit),
    File(Act, Vec<OwnedFd>, oneshot::Sender<Result<(Ending, Vec<u8>), Refusal>>, OwnedSemaphorePermit),
}

/// How a session is at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) executing: Option<String>,
    pub(crate) waiting: usize,
    pub(crate) used_ms: i64,
    pub(crate) is_ending: bool,
}

impl Sessions {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, open: Mutex::default(), taken: Arc::default() }
    }

    /// Takes a place for one more session, of as many as each may have.
    pub(crate) fn reserve(&self, principal: &str, each: usize) -> Result<Slot, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let next = "close a session, or try again when one has ended";
        let crowded = |why: String| Refusal::new(Kind::TooMany, "there are too many sessions", why, next);
        if taken.values().sum::<usize>() >= self.terms.all {
            return Err(crowded(format!("the node has {}, as many as it may", self.terms.all)));
        }
        let count = taken.entry(principal.to_owned()).or_default();
        if *count >= each {
            return Err(crowded(format!("you have {each}, as many as you may")));
        }
        *count += 1;
        Ok(Slot { taken: Arc::clone(&self.taken), principal: principal.to_owned() })
    }

    /// How many of this principal are open, or about to be.
    pub(crate) fn count_of(&self, principal: &str) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(principal).copied().unwrap_or(0)
    }

    /// An open session of this principal.
    pub(crate) fn find(&self, principal: &str, id: &str) -> Option<Arc<Session>> {
        let id = RunId::parse(id)?;
        self.lock().get(&id).filter(|session| session.principal == principal).cloned()
    }

    pub(crate) fn open_by(&self, id: &RunId) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The session that does this at the moment.
    pub(crate) fn executing(&self, run: &RunId) -> Option<Arc<Session>> {
        self.lock().values().find(|session| session.lock().current.as_ref() == Some(run)).cloned()
    }

    /// From here on the launcher knows of a session.
    pub(crate) fn handed_over(&self, id: &RunId) {
        if let Some(session) = self.lock().get(id) {
            session.handed_over.notify_one();
        }
    }

    /// Why a session was told to end.
    pub(crate) fn reason(&self, id: &RunId) -> Option<&'static str> {
        self.lock().get(id).and_then(|session| session.lock().ending)
    }

    /// Tells those that do nothing to end.
    pub(crate) async fn close_idle(&self, node: &Node) {
        let all: Vec<Arc<Session>> = self.lock().values().cloned().collect();
        for session in all.into_iter().filter(|session| session.places.available_permits() == WAITING_MAX) {
            session.close(node, "drained").await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a session that was accepted: it lives until its engine has ended.
pub(crate) fn open(node: &Arc<Node>, principal: &str, id: &RunId, opening: Opening, slot: Slot) {
    let (jobs, waiting) = mpsc::unbounded_channel();
    let session = Arc::new(Session {
        id: id.clone(),
        principal: principal.to_owned(),
        opening,
        jobs,
        places: Arc::new(Semaphore::new(WAITING_MAX)),
        handed_over: Notify::new(),
        now: Mutex::new(Now { current: None, is_busy: false, used: Instant::now(), used_ms: now_ms(), ending: None }),
    });
    node.sessions.lock().insert(id.clone(), Arc::clone(&session));
    let (ended, over) = oneshot::channel();
    tokio::spawn(serve(Arc::clone(node), Arc::clone(&session), waiting, over));
    let node = Arc::clone(node);
    tokio::spawn(async move {
        runner::run(&node, &session.principal, &session.id).await;
        node.sessions.lock().remove(&session.id);
        // Whoever waited for its end may open another one at once.
        drop(slot);
        node.is_over(&session.id);
        if ended.send(()).is_err() {
            tracing::error!(session = %session.id, "nobody served the session");
        }
    });
}

/// Does one thing after the other until the session is over, and then says no to what still waits.
async fn serve(
    node: Arc<Node>,
    session: Arc<Session>,
    mut waiting: mpsc::UnboundedReceiver<Job>,
    mut over: oneshot::Receiver<()>,
) {
    // What is asked for earlier waits until the launcher knows of the session.
    let begun = tokio::select! {
        _ = &mut over => false,
        () = session.handed_over.notified() => true,
    };
    if begun {
        converse(&node, &session, &mut waiting, &mut over).await;
    }
    waiting.close();
    while let Some(job) = waiting.recv().await {
        match job {
            // With the launcher everything is lost, which is said of all at once.
            Job::Execute(..) if node.link.is_over() => {}
            Job::Execute(run, _) => {
                runner::end_refused(&node, &run, &over_refusal()).await;
                node.is_over(&run);
            }
            // Who asked may have gone away.
            Job::File(_, _, asked, _) => drop(asked.send(Err(over_refusal()))),
        }
    }
}

/// Until the session is over, or nobody can ask any more.
async fn converse(
    node: &Node,
    session: &Session,
    waiting: &mut mpsc::UnboundedReceiver<Job>,
    over: &mut oneshot::Receiver<()>,
) {
    loop {
        let idle_until = session.idle_until();
        tokio::select! {
            biased;
            _ = &mut *over => return,
            job = waiting.recv() => match job {
                Some(job) => session.carry_out(node, job).await,
                None => return,
            },
            () = sleep_until(idle_until) => session.close(node, "idle").await,
        }
    }
}

impl Session {
    pub(crate) fn id(&self) -> &RunId {
        &self.id
    }

    /// Takes a place for something to be done.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Place, Refusal> {
        if self.lock().ending.is_some() {
            return Err(over_refusal());
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let why = format!("{WAITING_MAX} wait in it already");
            Refusal::new(Kind::TooMany, "the session has enough to do", why, "try again when some have ended")
        })?;
        Ok(Place(Arc::clone(self), permit))
    }

    pub(crate) fn seen(&self) -> Seen {
        let taken = WAITING_MAX - self.places.available_permits();
        let now = self.lock();
        Seen {
            executing: now.current.as_ref().map(ToString::to_string),
            waiting: taken - usize::from(now.is_busy && taken > 0),
            used_ms: now.used_ms,
            is_ending: now.ending.is_some(),
        }
    }

    /// What it executes at the moment is to be interrupted.
    pub(crate) async fn interrupt(&self, node: &Node) -> Result<Option<RunId>, Refusal> {
        let Some(current) = self.lock().current.clone() else { return Ok(None) };
        node.mark_cancelled(&current);
        node.link.interrupt(&self.id, &current).await?;
        Ok(Some(current))
    }

    /// Tells its engine to end; that it has ended is heard elsewhere.
    pub(crate) async fn close(&self, node: &Node, why: &'static str) {
        {
            let mut now = self.lock();
            if now.ending.is_some() {
                return;
            }
            now.ending = Some(why);
        }
        tracing::info!(session = %self.id, why, "the session is told to end");
        if let Err(refusal) = node.link.close_session(&self.id).await {
            tracing::warn!(session = %self.id, why = %refusal.why, "the session cannot be told to end");
        }
    }

    async fn carry_out(&self, node: &Node, job: Job) {
        match job {
            Job::Execute(run, _place) => {
                self.begin(Some(run.clone()));
                runner::run(node, &self.principal, &run).await;
                self.begin(None);
                node.is_over(&run);
            }
            Job::File(what, descriptors, asked, _place) => {
                self.lock().is_busy = true;
                // Who asked may have gone away.
                drop(asked.send(self.file(node, what, descriptors).await));
            }
        }
        let mut now = self.lock();
        (now.is_busy, now.used, now.used_ms) = (false, Instant::now(), now_ms());
    }

    fn begin(&self, run: Option<RunId>) {
        let mut now = self.lock();
        now.is_busy = run.is_some();
        now.current = run;
    }

    async fn file(&self, node: &Node, what: Act, given: Vec<OwnedFd>) -> Result<(Ending, Vec<u8>), Refusal> {
        let failed = |error| Refusal::failed("the file cannot be moved", error);
        let act = RunId::random().map_err(failed)?;
        let report = memory("report").map_err(failed)?;
        let mut descriptors = vec![report.try_clone().map_err(failed)?.into()];
        descriptors.extend(given);
        let ending = node.link.act(&self.id, &act, what, descriptors).await?.await.map_err(|_| over_refusal())?;
        let report = runner::read_report(report, &ending);
        Ok((ending, report))
    }

    fn idle_until(&self) -> Instant {
        let now = self.lock();
        let idle = Duration::from_millis(self.opening.idle_ms);
        // One that was told to end already is not told again.
        if now.ending.is_some() { now.used + Duration::from_secs(86_400) } else { now.used + idle }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Has an execution that was accepted wait for its turn; `false` when the session is over.
    pub(crate) fn execute(self, run: RunId) -> bool {
        let Self(session, permit) = self;
        session.jobs.send(Job::Execute(run, permit)).is_ok()
    }

    /// Has a file written or read in its turn, and waits for that.
    pub(crate) async fn file(self, what: Act, descriptors: Vec<OwnedFd>) -> Result<(Ending, Vec<u8>), Refusal> {
        let Self(session, permit) = self;
        let (asked, answer) = oneshot::channel();
        session.jobs.send(Job::File(what, descriptors, asked, permit)).map_err(|_| over_refusal())?;
        answer.await.map_err(|_| over_refusal())?
    }
}

/// What is said of a session that is over, to whom it belongs.
pub(crate) fn over_refusal() -> Refusal {
    let next = "open another one, with POST /v1/sessions; GET of this one says how it ended";
    Refusal::new(Kind::Conflict, "the session is over", "its engine has ended, and its variables with it", next)
}

/// Also what is said of sessions of others.
pub(crate) fn missing() -> Refusal {
    let next = "list yours with GET /v1/sessions";
    Refusal::new(Kind::Missing, "there is no such session", "you have none of this name", next)
}
