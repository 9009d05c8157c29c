//! Warm engines, outside: a template that is started once, and engines that are forked from it behind walls that
//! were made for each before.
//!
//! A template is an ordinary sandbox ([`crate::start`]) whose code imports libraries and then forks on orders. The
//! walls of an engine are those of a run, made by the same phases (`cell`) in a process of ours (`maker`); the
//! engine is a fork of the template that is born into them and seals itself (`enter`) before a line of any code
//! runs. The launcher looks at it (`verify`) before it trusts it with anything.

pub(crate) mod cell;
pub(crate) mod ending;
mod engine;
pub mod enter;
mod entrance;
mod maker;
mod sealing;
mod strays;
mod sys;
pub mod twin;
mod verify;
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
use stockade_core::audit::Recorded;
use stockade_core::layer::{Layer, Layers};
use stockade_core::plan::{Identity, Plan};
use stockade_core::request::CgroupMode;
use stockade_core::warm::{Ids, Role};

pub use engine::{Claimed, Dying, Engine};
pub(crate) use entrance::Entrances;
pub use sealing::Sealing;

use crate::cgroup::Group;
use crate::failure::{Failure, Step, told_errno};
use crate::outside::{self, Running, failed};
use crate::warm::entrance::Entrance;
use crate::warm::maker::Maker;
use crate::warm::wire::Said;
use crate::wire::{self as frames, Event, Received};

/// How long an engine may take from the order to its walls; it takes two milliseconds.
const BIRTH: Duration = Duration::from_secs(10);

/// A process that forks engines.
#[derive(Debug)]
pub struct Template {
    // Dropped in this order: whoever makes walls below the template's, then it.
    maker: Maker,
    orders: OwnedFd,
    running: Running,
    engine: Plan,
    ids: Ids,
    next_user: u32,
    users: Rc<RefCell<BTreeSet<u32>>>,
    ended: BTreeMap<u32, i32>,
    /// How many walls were begun.
    made: u64,
    /// How many engines were ordered, and which orders failed.
    ordered: u32,
    failed: BTreeMap<u32, i32>,
    /// By its init, which ends it.
    keeper: Rc<OwnedFd>,
    rising: VecDeque<Rising>,
    stand: VecDeque<Cell>,
    said: Vec<u8>,
    is_disowned: bool,
}

impl Drop for Template {
    fn drop(&mut self) {
        if self.is_disowned {
            return;
        }
        // Their inits are this process's to wait for.
        while !self.rising.is_empty() {
            if self.finish_cell().is_err() {
                break;
            }
        }
        self.rising.clear();
        self.stand.clear();
        // Before anything waits for its init: the kernel ends that when all in its walls are taken notice of.
        self.running.init.kill().ok();
        strays::reap(&self.running.init, self.ids);
    }
}

/// A host id of an engine, its own until it and everything of it is gone.
#[derive(Debug)]
struct Lease {
    user: u32,
    users: Rc<RefCell<BTreeSet<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.users.borrow_mut().remove(&self.user);
    }
}

/// Walls that wait for an engine. Dropping them takes them down.
#[derive(Debug)]
pub struct Cell {
    running: Running,
    streams: [OwnedFd; 3],
    result: Option<OwnedFd>,
    // After the walls.
    lease: Lease,
}

/// Walls that are being made.
#[derive(Debug)]
struct Rising {
    plan: Plan,
    control: OwnedFd,
    pipes: outside::Pipes,
    group: Option<Group>,
    notes: Vec<String>,
    lease: Lease,
}

/// An engine that was ordered. Dropping it takes its walls down.
#[derive(Debug)]
pub struct Coming {
    running: Running,
    socket: OwnedFd,
    /// Of its order.
    number: u32,
    // After the walls.
    lease: Lease,
}

impl Template {
    /// Starts a template, and what makes its engines' walls; their plan is an engine's, of any user.
    ///
    /// # Errors
    /// [`Failure`]; then nothing is left.
    pub fn start(template: Recorded, engine: Plan) -> Result<Self, Failure> {
        let mut running = outside::start(template)?;
        let Role::Template(ids) = running.plan.role else { return Err(Failure::Lost) };
        // What stands for an engine's template stands for it too: its own filter is what differs.
        if running.plan.syscalls != engine.syscalls.clone().of_template() {
            return Err(Failure::Missing { missing: Layers::of(&[Layer::Seccomp]) });
        }
        let orders = running.ends.result.take().ok_or(Failure::Lost)?;
        let keeper = rustix::io::fcntl_dupfd_cloexec(&running.init.pidfd, 3).map_err(failed("copy", "a descriptor"))?;
        let keeper = Rc::new(keeper);
        let maker = Maker::start(running.init.pidfd.as_fd(), ids, &engine)?;
        Ok(Self {
            maker,
            orders,
            running,
            engine,
            ids,
            next_user: ids.engines().start,
            users: Rc::default(),
            ended: BTreeMap::new(),
            made: 0,
            ordered: 0,
            failed: BTreeMap::new(),
            keeper,
            rising: VecDeque::new(),
            stand: VecDeque::new(),
            said: Vec::new(),
            is_disowned: false,
        })
    }

    /// Waits until it has imported what it was to.
    ///
    /// # Errors
    /// [`Failure`] when it ended, or took longer.
    pub fn wait_until_ready(&mut self, longest: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + longest;
        loop {
            let waited = [self.orders.as_fd(), self.running.control.as_fd(), self.running.ends.error.as_fd()];
            let [orders, control, error] = ready(waited, deadline)?;
            if error {
                self.hear_complaints();
            }
            if orders {
                return match wire::next_said(self.orders.as_fd()) {
                    Ok(Some(Said::Ready)) => Ok(()),
                    Ok(Some(Said::Failed(..)) | None) | Err(_) => Err(Failure::Lost),
                };
            }
            if control || Instant::now() >= deadline {
                return Err(Failure::Lost);
            }
        }
    }

    /// What it wrote to its standard error, at most the last part: for the log.
    #[must_use]
    pub fn complaints(&mut self) -> &[u8] {
        self.hear_complaints();
        &self.said
    }

    fn hear_complaints(&mut self) {
        const KEPT: usize = 8192;
        let mut buffer = [0; 4096];
        for from in [&self.running.ends.error, &self.running.ends.output] {
            while let Ok(count @ 1..) = rustix::io::read(from, &mut buffer) {
                self.said.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        }
        let surplus = self.said.len().saturating_sub(KEPT);
        self.said.drain(..surplus);
    }

    fn lease(&mut self) -> Result<Lease, Failure> {
        let all = self.ids.engines();
        let mut users = self.users.borrow_mut();
        for _ in all.clone() {
            let user = self.next_user;
            self.next_user = if user + 1 < all.end { user + 1 } else { all.start };
            if users.insert(user) {
                return Ok(Lease { user, users: Rc::clone(&self.users) });
            }
        }
        Err(failed("find a user for", "an engine")(Errno::USERS))
    }

    /// Makes walls for an engine, ahead of it.
    ///
    /// # Errors
    /// [`Failure`]; then nothing is left.
    pub fn make_cell(&mut self) -> Result<Cell, Failure> {
        self.begin_cell()?;
        while self.rising.len() > 1 {
            let earlier = self.finish_cell()?;
            self.stand.push_back(earlier);
        }
        self.finish_cell()
    }

    /// Has walls made; [`Template::finish_cell`] waits for them, in the order in which they were begun.
    ///
    /// # Errors
    /// [`Failure`]; then nothing is left.
    pub fn begin_cell(&mut self) -> Result<(), Failure> {
        let lease = self.lease()?;
        let identity = Identity { outside_uid: lease.user, outside_gid: lease.user, ..self.engine.identity };
        self.made = self.made.wrapping_add(1);
        // No name comes twice: what could not be taken down stands in the way of nothing.
        let plan = Plan { run: format!("{}-{}", self.engine.run, self.made), identity, ..self.engine.clone() };
        let mut notes = Vec::new();
        let group = outside::make_group(&plan, &mut notes)?;
        let pipes = outside::pipes(&plan)?;
        let (control, inside) = heard_pair()?;
        let trees = outside::open_sources_as_root(&plan)?;
        self.maker.order(lease.user, inside, &trees)?;
        self.rising.push_back(Rising { plan, control, pipes, group, notes, lease });
        Ok(())
    }

    /// Waits for the walls that were begun first.
    ///
    /// # Errors
    /// [`Failure`]; then they are gone.
    pub fn finish_cell(&mut self) -> Result<Cell, Failure> {
        if let Some(cell) = self.stand.pop_front() {
            return Ok(cell);
        }
        let rising = self.rising.pop_front().ok_or(Failure::Lost)?;
        let Rising { plan, control, pipes: (ends, streams, result), group, notes, lease } = rising;
        let mut init = self.maker.next_process()?;
        init.keeper = Some(Rc::clone(&self.keeper));
        let mut running = Running::new(plan, (control, ends), init, group);
        running.notes = notes;
        // Nobody samples what an engine uses.
        running.enforced = running.enforced.without(Layer::Watchdog);
        running.proceed()?;
        running.hear_until_sealed()?;
        Ok(Cell { running, streams, result, lease })
    }

    /// Has an engine forked into walls that were made.
    ///
    /// # Errors
    /// [`Failure`]; then the walls are gone too.
    pub fn fork(&mut self, cell: Cell) -> Result<Engine, Failure> {
        let coming = self.order(cell)?;
        self.receive(coming)
    }

    /// Orders an engine; [`Template::receive`] waits for it.
    ///
    /// # Errors
    /// [`Failure`]; then the walls are gone too.
    pub fn order(&mut self, cell: Cell) -> Result<Coming, Failure> {
        self.hear_of_ends()?;
        self.hear_complaints();
        let Cell { mut running, streams, result, lease } = cell;
        let (socket, inside) = outside::control_pair()?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)
            .map_err(failed("set up the socket of", "an engine"))?;
        let [input, output, error] = &streams;
        let own = [
            (Entrance::Control, Some(inside.as_fd())),
            (Entrance::Input, Some(input.as_fd())),
            (Entrance::Output, Some(output.as_fd())),
            (Entrance::Error, Some(error.as_fd())),
            (Entrance::Result, result.as_ref().map(AsFd::as_fd)),
        ];
        let own = own.into_iter().filter_map(|(which, descriptor)| Some((which, descriptor?)));
        let all: Vec<(Entrance, BorrowedFd<'_>)> = running.entrances.iter().chain(own).collect();
        wire::order_engine(self.orders.as_fd(), &all).map_err(failed("speak to", "a template"))?;
        drop(all);
        // What was made for it is compared with what it is in; nobody enters by these any more.
        running.entrances.keep_namespaces();
        self.ordered = self.ordered.wrapping_add(1);
        // Its standard input is at its end.
        running.ends.input = None;
        Ok(Coming { running, socket, number: self.ordered, lease })
    }

    /// Waits for an engine that was ordered, and looks at it.
    ///
    /// # Errors
    /// [`Failure`]; then the walls are gone too.
    pub fn receive(&mut self, coming: Coming) -> Result<Engine, Failure> {
        let Coming { mut running, socket, number, lease } = coming;
        let (pid, layers) = self.await_birth(&socket, number)?;
        let seen = verify::look(pid, lease.user, &running.entrances, running.enforced)
            .map_err(failed("believe the walls of", "an engine"))?;
        // Its number may have been another's, of whose end nobody asked.
        self.hear_of_ends()?;
        self.ended.remove(&seen.pid_in_template);
        if let Some(group) = &running.group {
            group.attach(pid, lease.user).map_err(Failure::Cgroup)?;
        }
        running.entrances = Entrances::default();
        // Of itself it can say no more than what it seals.
        running.enforced = running.enforced.and(layers.shared_with(sealing::OWN));
        running.check_required()?;
        Ok(Engine { running, socket, seen, lease })
    }

    /// What an engine says of itself, and who it is by the kernel's word.
    fn await_birth(&mut self, socket: &OwnedFd, number: u32) -> Result<(Pid, Layers), Failure> {
        let deadline = Instant::now() + BIRTH;
        loop {
            if let Some(errno) = self.failed.remove(&number) {
                return Err(failed("fork", "an engine")(told_errno(errno)));
            }
            let [said, failed_to] = ready([socket.as_fd(), self.orders.as_fd()], deadline)?;
            if said {
                return match wire::next_from_engine(socket.as_fd()) {
                    Ok((Event::Sealed(layers), pid)) => Ok((pid, Layers::from_bits(layers))),
                    Ok((Event::Failed(step, _, errno), _)) => Err(Failure::Inside {
                        step: Step::parse(step).ok_or(Failure::Lost)?,
                        object: None,
                        errno: told_errno(errno),
                    }),
                    Ok(_) | Err(_) => Err(Failure::Lost),
                };
            }
            if !failed_to {
                return Err(Failure::Lost);
            }
            match wire::next_said(self.orders.as_fd()) {
                // Of another order, whose engine nobody waits for any more or yet.
                Ok(Some(Said::Failed(order, errno))) if self.failed.len() < ENDS_MAX => {
                    self.failed.insert(order, errno);
                }
                Ok(_) | Err(_) => return Err(Failure::Lost),
            }
        }
    }

    /// How engines ended that the template's init waited for: by their id in its namespace, as wait(2) has it.
    fn hear_of_ends(&mut self) -> Result<(), Failure> {
        loop {
            let [told] = ready([self.running.control.as_fd()], Instant::now())?;
            if !told {
                return Ok(());
            }
            match frames::next_event(self.running.control.as_fd()) {
                Ok(Received::Frame((Event::EngineEnded(pid, status), _))) => {
                    // More ids than any namespace has at once are none of ours.
                    if self.ended.len() > ENDS_MAX {
                        self.ended.clear();
                    }
                    self.ended.insert(pid, status);
                }
                Ok(_) | Err(_) => return Err(Failure::Lost),
            }
        }
    }

    /// How an engine ended, if it has: as wait(2) has it.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the template is gone, and all its engines with it.
    pub fn end_of(&mut self, engine: &Engine) -> Result<Option<i32>, Failure> {
        self.end_by_number(engine.seen.pid_in_template)
    }

    fn end_by_number(&mut self, pid_in_template: u32) -> Result<Option<i32>, Failure> {
        self.hear_of_ends()?;
        Ok(self.ended.remove(&pid_in_template))
    }

    /// Whether it can make walls no more, and so no engines: those that there are go on.
    #[must_use]
    pub const fn makes_no_more(&self) -> bool {
        self.maker.is_lost()
    }

    /// The process that makes walls: its id.
    #[must_use]
    pub const fn maker(&self) -> Pid {
        self.maker.pid()
    }

    /// The processes of the template itself, for accounts: its init's id.
    #[must_use]
    pub const fn init(&self) -> Pid {
        self.running.init.pid
    }
}

/// How many ends of engines wait to be asked about.
const ENDS_MAX: usize = 1 << 16;

/// Whether engines of this plan have a cgroup, so far as can be known before there is one.
#[must_use]
pub fn has_cgroup(plan: &Plan) -> bool {
    plan.cgroup != CgroupMode::Off
        && !crate::hooks::removed(Layer::Cgroup)
        && !matches!(crate::cgroup::find(), crate::cgroup::Available::None(_))
}

/// A pair of sockets, the far end's for who makes walls: one who does not speak for so long is not heard any more.
fn heard_pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (near, far) = outside::control_pair()?;
    rustix::net::sockopt::set_socket_timeout(&near, rustix::net::sockopt::Timeout::Recv, Some(BIRTH))
        .map_err(failed("set up the socket of", "an engine"))?;
    Ok((near, far))
}

/// Which of these have something, waiting until one has or it is too late.
fn ready<const COUNT: usize>(waited: [BorrowedFd<'_>; COUNT], deadline: Instant) -> Result<[bool; COUNT], Failure> {
    let mut slots = waited.map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match rustix::event::poll(&mut slots, Some(&timeout)) {
            Ok(_) => return Ok(slots.map(|slot| !slot.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for", "an engine")(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{Timeout, socket_timeout};

    use super::*;

    #[test]
    fn nobody_who_makes_walls_is_waited_for_without_end() {
        let (near, _far) = heard_pair().unwrap();
        assert_eq!(socket_timeout(&near, Timeout::Recv).unwrap(), Some(BIRTH));
    }
}
