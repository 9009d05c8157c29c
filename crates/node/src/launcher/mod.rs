//! The launcher: the only process of the node that starts anything. One thread, one poll loop, no network.
//!
//! It takes nothing from the node on trust: a frame is parsed into a message of known form, an order is checked again,
//! names of runs are sixteen digits, and every word of a command line is put together here. A run's supervisor is the
//! neighbour `stockade run`, so a run here is a run of the command, walls and report alike; where a warm engine waits,
//! a process of the same program that follows it already (`warm.rs`).
//!
//! When the node's end of the socket closes, everything is killed; when this process dies, the kernel kills the
//! supervisors, and they hold their sandboxes.

mod birth;
mod claims;
mod command;
mod folders;
mod kind;
mod looks;
mod outbox;
mod parked;
mod pools;
mod sessions;
mod supervisor;
mod tables;
mod users;
mod warm;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use stockade_core::limits::Limit;

use crate::opening::Opening;
use crate::order::Bounds;
use crate::range::Range;
use crate::refusal::{Kind, Refusal};
use crate::wire::{self, Answer, Ask, Beside, Frame, RunId};
pub(crate) use birth::{become_launcher, wait_for};
use claims::Claims;
use command::Task;
use folders::{Folders, Place};
use outbox::Outbox;
use parked::Parking;
use pools::Pools;
use sessions::Sessions;
use supervisor::Supervisor;
use users::{Lease, Users};

/// What a launcher is made with; none of it comes from the node's callers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's folder.
    pub folder: PathBuf,
    /// `stockade`, the command.
    pub program: PathBuf,
    /// Policies that every run is held against.
    pub policies: Vec<PathBuf>,
    /// Most runs at once.
    pub concurrent: usize,
    /// Most sessions at once.
    pub sessions: usize,
    /// Most pools of warm engines at once.
    pub pools: usize,
    /// Users of runs; without them all have this process's own.
    pub users: Option<Range>,
    /// The number of what was seen of the machine's files before, which all that is started inherits.
    pub witness: Option<i32>,
}

/// Descriptors of every task that are no files: where streams and report go.
const STREAMS: usize = 3;

/// Ids that each run has: the code's, and the gate's.
const IDS_OF_RUN: u32 = 2;

/// How long a run may take beside its time: environments are built before it, outputs are collected after it.
const BESIDE: Duration = Duration::from_secs(1_800);

/// How long an engine that is told to end may take, before it is ended.
const CLOSING: Duration = Duration::from_secs(10);

/// Serves until the node closes its end.
///
/// # Errors
/// When the folder of runs cannot be used, or the socket fails.
pub fn serve(control: OwnedFd, settings: Settings) -> io::Result<()> {
    let mut launcher = Launcher::new(control, settings)?;
    launcher.outbox.say(&Answer::Ready {}, None);
    let served = launcher.follow();
    launcher.end_all();
    served
}

struct Launcher {
    control: OwnedFd,
    settings: Settings,
    bounds: Bounds,
    folders: Folders,
    users: Option<Users>,
    runs: BTreeMap<RunId, Supervisor>,
    /// Those of the runs that are sessions.
    sessions: Sessions,
    /// Those of the runs that run nothing.
    looks: BTreeSet<RunId>,
    /// Those of the runs that warm engines have.
    claims: Claims,
    pools: Pools,
    /// Of runs for which no engine waited: what pool would have one.
    wanted: BTreeMap<RunId, kind::Kind>,
    /// Runs that wait for the next engine.
    parked: Parking,
    outbox: Outbox,
}

impl Launcher {
    fn new(control: OwnedFd, settings: Settings) -> io::Result<Self> {
        let folders = Folders::open(&settings.folder)?;
        let bounds = Bounds::default();
        let users = settings.users.map(Users::new).transpose()?;
        Ok(Self {
            pools: Pools::new(settings.pools, Duration::from_millis(bounds.most.wall_ms) + BESIDE),
            claims: Claims::default(),
            wanted: BTreeMap::new(),
            parked: Parking::default(),
            folders,
            settings,
            bounds,
            users,
            runs: BTreeMap::new(),
            sessions: Sessions::default(),
            looks: BTreeSet::new(),
            outbox: Outbox::default(),
            control,
        })
    }

    fn follow(&mut self) -> io::Result<()> {
        loop {
            self.outbox.flush(self.control.as_fd())?;
            if !self.wait()? {
                continue;
            }
            // One frame a turn, so that runs that end are seen however much the node asks.
            match wire::receive(&self.control, Beside::Descriptors) {
                Ok(Frame::End) => return Ok(()),
                Ok(Frame::Whole(bytes, descriptors)) => self.hear(&bytes, descriptors)?,
                Ok(Frame::Broken) => return Err(io::Error::other("a frame of the node's was too large")),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for whatever comes first; says whether the node has something.
    fn wait(&mut self) -> io::Result<bool> {
        let parked = self.serve_parked();
        let now = Instant::now();
        let pressed = self.runs.values_mut().filter_map(|run| run.press(now));
        let next = pressed.chain(self.pools.press(now)).chain(parked).min();
        let timeout = next
            .map(|next| Timespec::try_from(next.saturating_duration_since(now)))
            .transpose()
            .map_err(io::Error::other)?;
        let mut flags = PollFlags::IN;
        if self.outbox.has_something() {
            flags |= PollFlags::OUT;
        }
        let mut polled = vec![PollFd::new(&self.control, flags)];
        polled.extend(self.runs.values().map(|run| PollFd::new(run.pidfd(), PollFlags::IN)));
        polled.extend(self.sessions.sockets().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        polled.extend(self.claims.sockets().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
        polled.extend(self.pools.polled());
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = polled.iter().map(|one| !one.revents().is_empty());
        let asked = ready.next().unwrap_or(false);
        let ended: Vec<RunId> =
            self.runs.keys().zip(&mut ready).filter(|(_, ready)| *ready).map(|(run, _)| run.clone()).collect();
        let answered: Vec<RunId> = self
            .sessions
            .sockets()
            .zip(&mut ready)
            .filter(|(_, ready)| *ready)
            .map(|((run, _), _)| run.clone())
            .collect();
        let told: Vec<RunId> = self
            .claims
            .sockets()
            .zip(&mut ready)
            .filter(|(_, ready)| *ready)
            .map(|((run, _), _)| run.clone())
            .collect();
        let has_pools_something = ready.any(|ready| ready);
        drop(polled);
        // Before the ends: what was said last counts.
        for session in answered {
            self.hear_session(&session);
        }
        for run in told {
            self.hear_claim(&run);
        }
        for run in ended {
            self.reap(&run);
        }
        if has_pools_something {
            self.hear_pools();
            // Before what is asked for next: who waits comes first.
            self.serve_parked();
        }
        Ok(asked)
    }

    fn reap(&mut self, run: &RunId) {
        // One that has reported, and ends, is heard first.
        self.hear_claim(run);
        let Some(status) = self.runs.get_mut(run).and_then(Supervisor::ended) else { return };
        if let Some(anew) = self.claims.remove(run) {
            return self.start_anew(run, anew);
        }
        self.hear_session(run);
        let lease = self.runs.remove(run).and_then(|supervisor| supervisor.lease());
        self.give_back(lease);
        let (status, killed) = supervisor::status(status);
        if self.looks.remove(run) {
            self.folders.remove(run);
            return self.outbox.say(&Answer::Ended { run: run.clone(), status, killed }, None);
        }
        self.learn_from(run, if killed { None } else { Some(status) });
        self.end_session(run, status, killed);
        self.folders.remove_inputs(run);
        self.outbox.say(&Answer::Ended { run: run.clone(), status, killed }, None);
    }

    /// Lets go of a session that is over, if it is one, with what it had to do.
    fn end_session(&mut self, run: &RunId, status: i32, killed: bool) {
        match self.sessions.remove(run) {
            Some(act) if killed => self.outbox.say(&Answer::Ended { run: act, status, killed }, None),
            // A supervisor that ends by itself answers what it has begun.
            Some(act) => self.outbox.say(&Answer::Refused { run: act, refusal: sessions::over() }, None),
            None => {}
        }
    }

    /// # Errors
    /// When the node says something that it never says: it is not itself any more.
    fn hear(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let ask = wire::parse::<Ask>(bytes).ok_or_else(|| io::Error::other("the node said something unknown"))?;
        match ask {
            Ask::Begin { .. } => return Err(io::Error::other("the node said something that it says once")),
            Ask::Start { run, principal, order } => {
                let started = order
                    .check(&self.bounds)
                    .and_then(|()| self.start(&run, &principal, Task::Run(&order), descriptors));
                self.refuse(&run, started);
            }
            Ask::Look { run, principal, what } => {
                let begun = self.look(&run, &principal, &what, &descriptors);
                self.refuse(&run, begun);
            }
            Ask::OpenSession { run, principal, opening } => {
                let opened = self.open_session(&run, &principal, &opening, descriptors);
                self.refuse(&run, opened);
            }
            Ask::Act { session, act, what } => {
                let begun = self.sessions.act(&session, &act, what, &descriptors);
                self.refuse(&act, begun);
            }
            Ask::Interrupt { session, act } => self.sessions.interrupt(&session, &act),
            Ask::CloseSession { session } => self.close_session(&session),
            Ask::Cancel { run } => {
                if !self.unpark(&run)
                    && let Some(supervisor) = self.runs.get_mut(&run)
                {
                    supervisor.cancel(Instant::now());
                }
            }
            Ask::Open { number, run, path } => match self.output(&run, &path) {
                Ok((file, bytes)) => self.outbox.say(&Answer::Opened { number, bytes }, Some(file)),
                Err(refusal) => self.outbox.say(&Answer::Failed { number, refusal }, None),
            },
            Ask::Beside { number } => match beside(&descriptors) {
                Ok(()) => self.outbox.say(&Answer::Done { number }, None),
                Err(refusal) => self.outbox.say(&Answer::Failed { number, refusal }, None),
            },
            Ask::Forget { number, run } => match self.forget(&run) {
                Ok(()) => self.outbox.say(&Answer::Done { number }, None),
                Err(refusal) => self.outbox.say(&Answer::Failed { number, refusal }, None),
            },
        }
        Ok(())
    }

    fn refuse(&mut self, run: &RunId, started: Result<(), Refusal>) {
        if let Err(refusal) = started {
            tracing::warn!(run = %run, what = %refusal.what, why = %refusal.why, "it is refused");
            self.outbox.say(&Answer::Refused { run: run.clone(), refusal }, None);
        }
    }

    /// Starts the supervisor of a task that was checked.
    fn start(
        &mut self,
        run: &RunId,
        principal: &str,
        task: Task<'_>,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        if !is_principal(principal) {
            return Err(Refusal::failed("the run has no asker", "its principal has another form"));
        }
        let (there, most) = match task {
            Task::Run(_) | Task::Look(_) => {
                let runs = self.runs.len() + self.parked.count();
                (runs - self.sessions.count() - self.looks.len(), self.settings.concurrent)
            }
            Task::Session(..) => (self.sessions.count(), self.settings.sessions),
        };
        if there >= most {
            return Err(Refusal::new(Kind::TooMany, "too many at once", "as many run as may", "wait for one"));
        }
        if self.is_there(run) {
            return Err(Refusal::failed("the run was started before", "its name is taken"));
        }
        if descriptors.len() != task.files().count() + STREAMS + task.tables().len() {
            return Err(Refusal::failed("the run cannot be started", "its files are not those that it names"));
        }
        if self.claim(run, principal, task, &mut descriptors)? {
            return Ok(());
        }
        let place = self.folders.make(run).map_err(|error| not_spooled(&error))?;
        self.start_in(run, principal, task, &descriptors, &place)
    }

    /// Starts a supervisor, for a run that has its place.
    fn start_in(
        &mut self,
        run: &RunId,
        principal: &str,
        task: Task<'_>,
        descriptors: &[OwnedFd],
        place: &Place,
    ) -> Result<(), Refusal> {
        let Some((files, tables)) = descriptors.split_at_checked(STREAMS + task.files().count()) else {
            return Err(Refusal::failed("the run cannot be started", "descriptors are missing"));
        };
        let [out, error, report, files @ ..] = files else {
            return Err(Refusal::failed("the run cannot be started", "descriptors are missing"));
        };
        tables::check(task.tables(), tables).inspect_err(|_| self.folders.remove(run))?;
        let lease = self.lease().inspect_err(|_| self.folders.remove(run))?;
        let asker = command::Asker { principal, user: lease.map(|lease| lease.first) };
        let started = place
            .spool(task.files(), files)
            .and_then(|()| {
                let streams = command::Streams { out, error, report };
                let given = command::Given { streams, inputs: place.inputs(), tables };
                let child = command::spawn(&self.settings, asker, task, given)?;
                let wall = Duration::from_millis(task.limit(Limit::Time).unwrap_or(0));
                Supervisor::of(child, lease, Instant::now() + wall + BESIDE)
            })
            .map_err(|error| {
                self.folders.remove(run);
                not_spooled(&error)
            });
        match started {
            Ok(supervisor) => {
                self.runs.insert(run.clone(), supervisor);
                Ok(())
            }
            Err(refusal) => {
                self.give_back(lease);
                Err(refusal)
            }
        }
    }

    /// The host's ids of a run, where runs have their own.
    fn lease(&mut self) -> Result<Option<Lease>, Refusal> {
        let Some(users) = &mut self.users else { return Ok(None) };
        let next = "try again in a moment, or start the node with more: --uid-range START:COUNT";
        match users.lease(IDS_OF_RUN) {
            Ok(Some(lease)) => Ok(Some(lease)),
            Ok(None) => {
                let why = "all ids of the node are in use, or processes of former runs are still alive";
                Err(Refusal::new(Kind::Unavailable, "there is no user for the run", why, next))
            }
            Err(error) => {
                let why = crate::system_text(&error);
                Err(Refusal::new(Kind::Failed, "it cannot be seen which users are free", why, next))
            }
        }
    }

    fn give_back(&mut self, lease: Option<Lease>) {
        if let (Some(users), Some(lease)) = (&mut self.users, lease) {
            users.give_back(lease);
        }
    }

    fn open_session(
        &mut self,
        run: &RunId,
        principal: &str,
        opening: &Opening,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        opening.check(&self.bounds)?;
        let (near, far) = wire::pair().map_err(|error| not_spooled(&error))?;
        self.start(run, principal, Task::Session(opening, &far), descriptors)?;
        self.sessions.insert(run, near);
        Ok(())
    }

    /// Passes on what a supervisor says of its session; one that says what none says is killed.
    fn hear_session(&mut self, session: &RunId) {
        match self.sessions.hear(session) {
            Ok(Some((run, status))) => {
                self.outbox.say(&Answer::Ended { run, status, killed: false }, None);
                // It may go on for long: what it has shown of its environment counts now.
                self.learn_from(session, Some(status));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(run = %session, error = %error, "a supervisor is not itself any more");
                if let Some(supervisor) = self.runs.get_mut(session) {
                    supervisor.kill();
                }
            }
        }
    }

    /// An engine that does not end by itself is ended.
    fn close_session(&mut self, session: &RunId) {
        if self.unpark(session) {
            return;
        }
        let Some(supervisor) = self.runs.get_mut(session) else { return };
        match self.sessions.close(session) {
            Ok(()) => supervisor.end_by(Instant::now() + CLOSING),
            Err(_) => supervisor.cancel(Instant::now()),
        }
    }

    /// Whether it has been started and is not over.
    fn is_there(&self, run: &RunId) -> bool {
        self.runs.contains_key(run) || self.parked.has(run)
    }

    fn output(&self, run: &RunId, path: &str) -> Result<(OwnedFd, u64), Refusal> {
        if self.is_there(run) {
            return Err(missing());
        }
        self.folders.output(run, path).map_err(|_| missing())
    }

    fn forget(&mut self, run: &RunId) -> Result<(), Refusal> {
        if self.is_there(run) {
            return Err(Refusal::failed("the run is not over", "its files are in use"));
        }
        self.folders.remove(run);
        Ok(())
    }

    /// Kills every run and waits until none is there.
    fn end_all(&mut self) {
        for supervisor in self.runs.values_mut() {
            supervisor.kill();
        }
        self.pools.end_all();
        for (run, supervisor) in std::mem::take(&mut self.runs) {
            supervisor.wait();
            self.folders.remove_inputs(&run);
        }
    }
}

/// Refuses a process of another user namespace: every run has its own.
fn beside(process: &[OwnedFd]) -> Result<(), Refusal> {
    let refused =
        |why: &str| Refusal::new(Kind::Denied, "it is not believed who asks", why, "ask from outside of a run");
    let [process] = process else { return Err(refused("nobody is named")) };
    match stockade_launch::users::is_beside_us(process) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused("it is in another user namespace")),
        Err(error) => Err(refused(&crate::system_text(&error))),
    }
}

fn missing() -> Refusal {
    Refusal::new(Kind::Missing, "there is no such output", "the run has none of this path", "see the run's outputs")
}

fn not_spooled(error: &io::Error) -> Refusal {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let kind = if full { Kind::Full } else { Kind::Failed };
    let next = if full { "free some space in the node's folder" } else { "the node's log says more" };
    tracing::error!(error = %error, "a run cannot be started");
    Refusal::new(kind, "the run cannot be started", crate::system_text(error), next)
}

/// `NAME@REALM` of plain characters, where the name may be one of e-mail: it goes into the audit record. The realm is
/// what follows the last `@`, and has none, so no two principals are written the same.
pub(crate) fn is_principal(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let is_name = |name: &str| match name.split_once('@') {
        Some((local, domain)) => plain(local) && plain(domain),
        None => plain(name),
    };
    text.len() <= 200 && text.rsplit_once('@').is_some_and(|(name, realm)| is_name(name) && plain(realm))
}
