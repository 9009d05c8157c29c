//! Makes the walls of a template's engines: a process of ours, beside the launcher, not of the template.
//!
//! The kernel lets a process enter only user and pid namespaces below its own, so an engine's must be made below
//! those of its template. This process lives in them, with rights over the template's users and nothing else, and
//! in the mounts of the host, of which the walls are made. The template runs as another user and cannot signal or
//! trace it. What it makes are children of the launcher, as all sandboxes are.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stockade_core::plan::{INSIDE_ID, Identity, Mount, Plan};
use stockade_core::warm::Ids;

use super::sys::{act_as, enter_users_and_processes_of, process_of};
use super::wire as orders;
use crate::disk;
use crate::failure::{Failure, told_errno};
use crate::inside::{self, Kit, Rest};
use crate::outside::{self, Init, failed};
use crate::seccomp::Instruction;
use crate::sources::Given;
use crate::sys::{self, Forked};
use crate::wire::{self, Event, Received};

/// The maker, as the launcher knows it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Maker {
    socket: OwnedFd,
    proc: OwnedFd,
    // Killed and reaped when dropped.
    process: Init,
    is_lost: bool,
}

impl Maker {
    /// Starts the maker of a template's walls, all by this plan.
    pub(crate) fn start(template: BorrowedFd<'_>, ids: Ids, plan: &Plan) -> Result<Self, Failure> {
        let (socket, inside) = super::heard_pair()?;
        let proc = host_proc()?;
        let step = failed("start the maker of", "an engine's walls");
        match sys::clone_into(0, None).map_err(step)? {
            Forked::Child => {
                drop(socket);
                // Whatever fails is seen by the closed socket.
                sys::exit_now(i32::from(go_between(template, ids, plan, inside, proc).is_err()))
            }
            Forked::Parent { pid, .. } => {
                drop(inside);
                sys::reap(Some(pid), true).map_err(failed("wait for", "the maker of an engine's walls"))?;
                let process = next_process(&socket, proc.as_fd())?;
                Ok(Self { socket, proc, process, is_lost: false })
            }
        }
    }

    pub(crate) const fn pid(&self) -> rustix::process::Pid {
        self.process.pid
    }

    /// In a fork of the process whose child it is.
    pub(crate) const fn disown(&mut self) {
        self.process.disown();
    }

    /// Orders walls, whose init speaks on the far end of `control`.
    pub(crate) fn order(&self, user: u32, control: OwnedFd, trees: &[Given]) -> Result<(), Failure> {
        let opened =
            trees.iter().filter_map(|tree| if let Given::Opened(tree) = tree { Some(tree.as_fd()) } else { None });
        let attached: Vec<BorrowedFd<'_>> = [control.as_fd()].into_iter().chain(opened).collect();
        orders::order_walls(self.socket.as_fd(), user, &attached)
            .map_err(failed("speak to", "the maker of an engine's walls"))
    }

    /// The init of the walls that were ordered first.
    pub(crate) fn next_process(&mut self) -> Result<Init, Failure> {
        let next = next_process(&self.socket, self.proc.as_fd());
        self.is_lost |= matches!(next, Err(Failure::Lost));
        next
    }

    /// Whether an answer of its did not come: what comes later answers nobody can say which order.
    pub(crate) const fn is_lost(&self) -> bool {
        self.is_lost
    }
}

fn host_proc() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", "/proc"))
}

/// A process that was made for the launcher: its pidfd comes attached.
fn next_process(socket: &OwnedFd, proc: BorrowedFd<'_>) -> Result<Init, Failure> {
    match wire::next_event(socket.as_fd()) {
        Ok(Received::Frame((Event::Guarded, Some(pidfd)))) => {
            let pid = process_of(pidfd.as_fd(), proc).map_err(failed("find", "the process of an engine's walls"))?;
            Ok(Init::new(pid, pidfd))
        }
        Ok(Received::Frame((Event::Failed(_, _, errno), _))) => {
            Err(failed("make", "an engine's walls")(told_errno(errno)))
        }
        Ok(Received::Frame(_) | Received::Closed) | Err(_) => Err(Failure::Lost),
    }
}

/// In a process between: only children come to live in another pid namespace.
fn go_between(template: BorrowedFd<'_>, ids: Ids, plan: &Plan, socket: OwnedFd, proc: OwnedFd) -> Result<(), Errno> {
    enter_users_and_processes_of(template)?;
    match sys::clone_beside(0)? {
        Forked::Parent { pidfd, .. } => wire::tell(socket.as_fd(), Event::Guarded, Some(pidfd.as_fd())),
        Forked::Child => {
            let socket = sys::leak(socket);
            let served = settle(ids, socket, &proc).and_then(|()| serve(plan, socket, &proc));
            sys::exit_now(i32::from(served.is_err()))
        }
    }
}

fn settle(ids: Ids, socket: BorrowedFd<'_>, proc: &OwnedFd) -> Result<(), Errno> {
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..3 {
        sys::place_descriptor(nothing.as_fd(), number)?;
    }
    let mut kept = [socket.as_raw_fd(), proc.as_raw_fd()];
    kept.sort_unstable();
    std::mem::forget(nothing);
    sys::close_all_but(&kept)?;
    sys::ignore_terminal_signals();
    sys::start_session()?;
    sys::keep_capabilities()?;
    // The kernel gives rights over a namespace to whose user made it, if he is one above it. By this the template's
    // children may enter.
    act_as(ids.maker(), INSIDE_ID)?;
    sys::raise_capabilities()?;
    // It writes the maps of what it makes, which have its owner.
    sys::set_dumpable(true)?;
    sys::die_with_parent()
}

/// Makes walls until nobody orders any.
fn serve(plan: &Plan, socket: BorrowedFd<'static>, proc: &OwnedFd) -> Result<(), Errno> {
    let filter = outside::init_filter(plan).map_err(|_| Errno::TOOBIG)?;
    while let Some((user, attached)) = orders::next_walls(socket)? {
        match make((plan, &filter), user, attached, proc) {
            Ok(pidfd) => wire::tell(socket, Event::Guarded, Some(pidfd.as_fd()))?,
            Err(errno) => wire::tell(socket, Event::Failed(0, 0, errno.raw_os_error()), None)?,
        }
    }
    Ok(())
}

fn make(
    (plan, filter): (&Plan, &[Instruction]),
    user: u32,
    attached: Vec<OwnedFd>,
    proc: &OwnedFd,
) -> Result<OwnedFd, Errno> {
    let identity = Identity { outside_uid: user, outside_gid: user, groups: plan.identity.groups };
    let wanted = outside::namespaces_wanted(plan);
    match sys::clone_beside(outside::namespace_flags(wanted))? {
        Forked::Parent { pidfd, .. } => {
            let pid = process_of(pidfd.as_fd(), proc.as_fd())?;
            let mapped = outside::write_id_maps(pid, &Plan { identity, ..plan.clone() });
            mapped.map_err(|_| Errno::PERM)?;
            Ok(pidfd)
        }
        Forked::Child => {
            let kit = kit(plan, filter.to_vec(), attached, proc).unwrap_or_else(|_| sys::exit_now(1));
            inside::run(&Plan { identity, ..plan.clone() }, kit)
        }
    }
}

/// In the new process.
fn kit(plan: &Plan, init_filter: Vec<Instruction>, attached: Vec<OwnedFd>, proc: &OwnedFd) -> Result<Kit, Errno> {
    let copy = |number: i32| {
        let stream = match number {
            0 => rustix::stdio::stdin(),
            1 => rustix::stdio::stdout(),
            _ => rustix::stdio::stderr(),
        };
        rustix::io::fcntl_dupfd_cloexec(stream, 3)
    };
    let mut attached = attached.into_iter();
    let control = attached.next().ok_or(Errno::BADMSG)?;
    // The launcher opened the trees, one for each such mount, in their order.
    let sources = plan
        .mounts
        .iter()
        .map(|mount| {
            let opened = if matches!(mount, Mount::Layered { .. }) { attached.next() } else { None };
            opened.map_or(Given::Nothing, Given::Opened)
        })
        .collect();
    let rest = Rest {
        streams: [copy(0)?, copy(1)?, copy(2)?],
        result: None,
        tables: Vec::new(),
        sources,
        scratch: disk::Given::Memory,
        host_proc: rustix::io::fcntl_dupfd_cloexec(proc, 3)?,
        has_cgroup: false,
        doors: attached.collect(),
        alive: None,
        tasks_before: 0,
        namespaces: outside::namespaces_wanted(plan),
        filter: Vec::new(),
        init_filter,
        uptime_seconds: outside::uptime_seconds(),
    };
    Ok(Kit { control, rest })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    /// A maker that says what a test says; its process ends with the test.
    fn maker() -> (Maker, OwnedFd, Child) {
        let (socket, far) = outside::control_pair().unwrap();
        let process = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&process);
        let process_of_it = Init::new(pid, pidfd_open(pid, PidfdFlags::empty()).unwrap());
        (Maker { socket, proc: host_proc().unwrap(), process: process_of_it, is_lost: false }, far, process)
    }

    #[test]
    fn a_maker_that_failed_goes_on_and_one_that_did_not_answer_is_lost() {
        let (mut maker, far, _process) = maker();
        wire::tell(far.as_fd(), Event::Failed(0, 0, Errno::NOMEM.raw_os_error()), None).unwrap();
        assert!(maker.next_process().is_err() && !maker.is_lost(), "it has answered");
        drop(far);
        assert!(maker.next_process().is_err() && maker.is_lost());
    }

    #[test]
    fn a_maker_that_answers_something_else_is_lost_and_stays_so() {
        let (mut maker, far, _process) = maker();
        // A process without its descriptor.
        wire::tell(far.as_fd(), Event::Guarded, None).unwrap();
        assert!(maker.next_process().is_err() && maker.is_lost());
        wire::tell(far.as_fd(), Event::Failed(0, 0, Errno::NOMEM.raw_os_error()), None).unwrap();
        assert!(maker.next_process().is_err() && maker.is_lost());
    }
}
