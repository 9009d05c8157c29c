//! Inside, pid 1 of the sandbox: ours, never the code.
//!
//! Builds the root, while the other half of the child makes the network. Then reaps, forwards signals,
//! dies with the supervisor (parent-death signal and the control socket as a lifeline), and when the
//! code has ended kills whatever is left. It is not dumpable, has no capability and hardly a system
//! call, so the code finds nothing in it to take over.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
use stockade_core::layer::{Layer, Layers};
use stockade_core::request::Scratch;
use stockade_core::warm::Role;

use crate::bare::tree::Children;
use crate::failure::Step;
use crate::handover::{Handover, Word};
use crate::hooks::{self, Side};
use crate::inside::{self, At, Carried, Failed};
use crate::seccomp::Instruction;
use crate::wire::{self, Drained, Event, Order, Received};
use crate::{disk, network, root, sources, sys};

/// How long the init waits for the next helper of the ended code, and how often at most.
const HELPER_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const HELPER_WAITS: u32 = 5;

/// The process that will be the code, as its init knows it.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) handover: Handover,
}

/// Builds the root, hands it over, and watches over the code until the supervisor lets go.
pub(crate) fn run(mut carried: Carried<'_>, code: &Code) -> ! {
    hooks::enter(Side::Init);
    if let Err(failed) = build_and_hand_over(&mut carried, code) {
        inside::tell_failure(carried.control, failed);
        sys::exit_now(1)
    }
    let watched =
        if matches!(carried.plan.role, Role::Template(_)) { Watched::Template(code) } else { Watched::Code(code) };
    watch_over_namespace(&watched, carried.control, &carried.kit.init_filter)
}

/// Ends with everything inside; an init that cannot be guarded ends too, and with it, by the kernel, all the rest.
pub(crate) fn watch_over_namespace(watched: &Watched<'_>, control: BorrowedFd<'_>, filter: &[Instruction]) -> ! {
    sys::exit_now(if watch_over(watched, control, filter, &Tree::Namespace).is_ok() { 0 } else { 3 })
}

/// The same without namespaces: there is nothing to build, and nobody but this process ends the others.
pub(crate) fn run_bare(carried: &Carried<'_>, code: &Code) -> ! {
    hooks::enter(Side::Init);
    let Ok(children) = Children::of_this_process() else { sys::exit_now(3) };
    let tree = Tree::Below { children, alive: carried.kit.alive.as_ref().map(AsRawFd::as_raw_fd) };
    let watched = watch_over(&Watched::Code(code), carried.control, &carried.kit.init_filter, &tree);
    let ended = kill_the_rest(&tree);
    sys::exit_now(if watched.is_ok() && ended.is_ok() { 0 } else { 3 })
}

/// Who is inside, besides the init.
enum Tree {
    /// Everyone in its pid namespace, whom the kernel kills with it.
    Namespace,
    /// Whoever descends from it.
    Below {
        children: Children,
        /// The lock it holds until nobody is left.
        alive: Option<RawFd>,
    },
}

impl Tree {
    /// Kills everyone it can reach now.
    fn kill(&self) -> Result<(), Errno> {
        match self {
            Self::Namespace => sys::kill_all().or_else(none_left),
            Self::Below { children, .. } => children.kill(),
        }
    }

    fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::Namespace => Vec::new(),
            Self::Below { children, alive } => alive.iter().copied().chain([children.as_raw_fd()]).collect(),
        }
    }
}

fn build_and_hand_over(carried: &mut Carried<'_>, code: &Code) -> Result<(), Failed> {
    // Unreadable before anything else could look.
    sys::set_dumpable(false).at(Step::ParentDeath)?;
    let (root, built) = build_root(carried, Some(&code.handover))?;
    code.handover.wait_for(Word::NetworkStands).at(Step::Supervisor)?;
    if !hooks::removed(Layer::Network) {
        network::enter_network_of(code.pidfd.as_fd()).at(Step::Namespaces)?;
    }
    code.handover.say(Word::RootStands(built)).at(Step::Supervisor)?;
    // The kernel takes its time to let go of the host; the code's process seals itself meanwhile.
    root.finish()
}

/// The root, complete but for the host that still lies in it, and which layers that gave. Whoever has another half
/// waits for it in between.
pub(crate) fn build_root(
    carried: &mut Carried<'_>,
    other_half: Option<&Handover>,
) -> Result<(root::Root, Layers), Failed> {
    let plan = carried.plan;
    let mut built = Layers::of(&[Layer::Root]);
    let sources = sources::open_all(plan, std::mem::take(&mut carried.kit.sources))?;
    let scratch = std::mem::replace(&mut carried.kit.scratch, disk::Given::Memory);
    let mut root = root::Root::begin(plan, scratch)?;
    // On disk it is watched from outside, not walled.
    if plan.scratch == Scratch::Memory {
        built = built.with(Layer::Scratch);
    }
    carried.tell(Event::Scratch, Some(root.scratch()))?;
    if plan.waits_for_staging() {
        carried.wait_to_proceed()?;
    }
    if let Some(handover) = other_half {
        handover.wait_for(Word::MountsLocked).at(Step::Supervisor)?;
    }
    // A container has one of its own, and what that is like only a look from inside shows.
    if root.enter()? && plan.ground.runtime().is_none() {
        built = built.with(Layer::Proc);
    }
    for (number, (mount, source)) in (0..).zip(plan.mounts.iter().zip(&sources)) {
        let mounted = root.mount(number, mount, source.as_ref().map(AsFd::as_fd));
        match mounted.map_err(|failed| Failed { mount: number, ..failed })? {
            root::Mounted::Done => {}
            root::Mounted::OverlayRefused => {
                carried.tell(Event::OverlayRefused(number), None)?;
                carried.wait_to_proceed()?;
                root.mount_copy(number, mount)?;
            }
        }
    }
    Ok((root, built))
}

fn watch_over(
    watched: &Watched<'_>,
    control: BorrowedFd<'_>,
    filter: &[Instruction],
    tree: &Tree,
) -> Result<(), Errno> {
    let code = watched.code();
    let children = sys::signal_descriptor(&[libc::SIGCHLD])?;
    let mut kept = vec![control.as_raw_fd(), children.as_raw_fd()];
    kept.extend(code.map(|code| code.handover.as_raw_fd()));
    kept.extend(tree.descriptors());
    kept.sort_unstable();
    sys::close_all_but(&kept)?;
    sys::close_streams();
    sys::drop_capabilities()?;
    sys::set_no_new_privileges()?;
    sys::load_filter(filter, false)?;
    // Only now does the code run on; it may have failed already, which it then told by itself.
    if let Some(code) = code {
        code.handover.say(Word::Guarded).or_else(|errno| if errno == Errno::PIPE { Ok(()) } else { Err(errno) })?;
    } else {
        wire::tell(control, Event::Guarded, None)?;
    }
    let mut guard = Guard { code: code.map(|code| code.pid), watched, control, ended: None, tree };
    // The code may have ended before there was a descriptor to tell of it.
    while !guard.look_after_children(control, &children)? {
        let mut waited = [PollFd::from_borrowed_fd(control, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
        match rustix::event::poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let [from_control, from_children] = waited.map(|one| !one.revents().is_empty());
        if from_children {
            while sys::next_signal(children.as_fd()).is_some() {}
        }
        if from_control {
            match wire::next_order(control)? {
                Received::Closed => return Ok(()),
                // Whoever came in from elsewhere is nobody's to wait for in here: the kernel ends all with the init.
                Received::Frame(Order::Kill) if code.is_none() => return Ok(()),
                Received::Frame(Order::Kill) => tree.kill()?,
                Received::Frame(Order::Signal(signal)) => guard.forward(signal)?,
                Received::Frame(Order::Proceed) => return Err(Errno::PROTO),
            }
        }
    }
    // The supervisor goes on while the kernel takes the namespaces down.
    Ok(())
}

/// Whom an init watches over.
pub(crate) enum Watched<'c> {
    /// The code of a run.
    Code(&'c Code),
    /// A template, whose engines lose their parent to this init.
    Template(&'c Code),
    /// Whoever comes in: the process of an engine, and what that starts.
    Comers,
}

impl<'c> Watched<'c> {
    const fn code(&self) -> Option<&'c Code> {
        match self {
            Self::Code(code) | Self::Template(code) => Some(code),
            Self::Comers => None,
        }
    }
}

struct Guard<'t> {
    code: Option<Pid>,
    watched: &'t Watched<'t>,
    control: BorrowedFd<'t>,
    ended: Option<i32>,
    tree: &'t Tree,
}

impl Guard<'_> {
    /// Reaps; when the code is among the dead, tells so, kills the rest, tells that, and says so.
    fn look_after_children(&mut self, control: BorrowedFd<'_>, children: &OwnedFd) -> Result<bool, Errno> {
        self.reap_ended()?;
        let Some(status) = self.ended.take() else { return Ok(false) };
        wire::tell(control, Event::Exited(status), None)?;
        let killed = if wait_for_helpers(children)? { 0 } else { kill_the_rest(self.tree)? };
        let used = sys::used_by_children()?;
        wire::tell(control, Event::Drained(Drained { killed, used }), None)?;
        Ok(true)
    }

    fn reap_ended(&mut self) -> Result<(), Errno> {
        loop {
            match sys::reap(None, false) {
                Ok(Some(ended)) if Some(ended.pid) == self.code => self.ended = Some(ended.status),
                Ok(Some(ended)) => self.tell_of_engine(ended)?,
                Ok(None) => return Ok(()),
                Err(Errno::CHILD) if self.ended.is_some() || self.code.is_none() => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Nobody but its parent learns how a process ended.
    fn tell_of_engine(&self, ended: sys::Ended) -> Result<(), Errno> {
        if !matches!(self.watched, Watched::Template(_)) {
            return Ok(());
        }
        let pid = ended.pid.as_raw_nonzero().get().unsigned_abs();
        wire::tell_if_heard(self.control, Event::EngineEnded(pid, ended.status))
    }

    fn forward(&self, signal: i32) -> Result<(), Errno> {
        let Some(code) = self.code else { return Err(Errno::PROTO) };
        sys::signal_group(code.as_raw_nonzero().get(), signal).or_else(none_left)
    }
}

/// Helpers of the code (the resource tracker of Python's multiprocessing) end by themselves when it
/// does, a moment later; says whether all have.
fn wait_for_helpers(children: &OwnedFd) -> Result<bool, Errno> {
    for _ in 0..HELPER_WAITS {
        loop {
            match sys::reap(None, false) {
                Ok(Some(_)) => {}
                Err(Errno::CHILD) => return Ok(true),
                Ok(None) => break,
                Err(errno) => return Err(errno),
            }
        }
        match rustix::event::poll(&mut [PollFd::new(children, PollFlags::IN)], Some(&HELPER_WAIT)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        while sys::next_signal(children.as_fd()).is_some() {}
    }
    Ok(false)
}

fn none_left(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::SRCH { Ok(()) } else { Err(errno) }
}

/// Kills until nobody is left; says how many there were.
fn kill_the_rest(tree: &Tree) -> Result<u32, Errno> {
    let mut killed = 0;
    loop {
        tree.kill()?;
        match sys::reap(None, true) {
            Ok(Some(_)) => killed += 1,
            Err(Errno::CHILD) => return Ok(killed),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
