//! Child, inside, trusts nothing: from its birth to the execution of the code.
//!
//! Set-up order is the security property, so each phase is a type and each step consumes the one
//! before: [`Born`] → [`Isolated`] → [`Apart`] → [`Lowered`] → [`Rooted`] → [`Sealed`]; only `Sealed`
//! executes. Where `Isolated` becomes `Apart`, the process splits: one half builds the root and stays
//! as the init ([`crate::init`]), the other makes the network namespace, which takes the kernel as
//! long as everything else, gives up its rights, and becomes the code.
//! Nothing here formats text: a failure is a step, a mount of the plan and an errno.

use std::convert::Infallible;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::Resource;
use stockade_core::container;
use stockade_core::facts::RuntimeKind;
use stockade_core::ground::Ground;
use stockade_core::layer::{Layer, Layers};
use stockade_core::paths;
use stockade_core::plan::{Groups, INSIDE_ID, Plan};
use stockade_core::request::{ResultDescriptor, Streams};
use stockade_core::warm::Role;

use crate::failure::Step;
use crate::handover::{self, Handover, Word};
use crate::hooks::{self, Side};
use crate::seccomp::{Instruction, Telling};
use crate::sources::Given;
use crate::sys::{self, Forked};
use crate::table::Handed;
use crate::warm::cell;
use crate::wire::{self, Event, Order, Received};
use crate::{bare, cgroup, confine, disk, init, network, outside};

const NEW_TIME: u64 = 0x80;
const NEW_CGROUP: u64 = 0x0200_0000;
const NEW_USER: u64 = 0x1000_0000;

/// What went wrong inside: sent up as a fixed frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) step: Step,
    pub(crate) mount: u32,
    pub(crate) errno: Errno,
}

/// Says of which step an errno is.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failed>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Failed> {
        self.map_err(|errno| Failed { step, mount: u32::MAX, errno })
    }
}

/// The descriptors a sandbox is born with. Nothing else of the caller enters.
#[derive(Debug)]
pub(crate) struct Kit {
    /// The control socket.
    pub(crate) control: OwnedFd,
    /// Everything else.
    pub(crate) rest: Rest,
}

/// A [`Kit`] without its control socket, which outlives every phase to tell of a failure.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Standard input, output, error.
    pub(crate) streams: [OwnedFd; 3],
    /// The result descriptor, when the plan has one.
    pub(crate) result: Option<OwnedFd>,
    /// Tables, and their numbers inside.
    pub(crate) tables: Vec<Handed>,
    /// What was done outside (by root) about each mount of the plan; empty when nothing was.
    pub(crate) sources: Vec<Given>,
    /// Scratch on disk, if it is there.
    pub(crate) scratch: disk::Given,
    /// The host's `/proc`, to write id maps where no own one can be had; closed before the code.
    pub(crate) host_proc: OwnedFd,
    /// Whether a cgroup bounds the tree.
    pub(crate) has_cgroup: bool,
    /// Through which this process lets itself into its cgroups (version 1).
    pub(crate) doors: Vec<OwnedFd>,
    /// The lock that proves that somebody of the run lives (without namespaces).
    pub(crate) alive: Option<OwnedFd>,
    /// Processes and threads that count against the same limit and are none of the run's.
    pub(crate) tasks_before: u64,
    /// What clone3 was asked to make new.
    pub(crate) namespaces: Layers,
    /// The compiled system-call filter of the code.
    pub(crate) filter: Vec<Instruction>,
    /// The same for the init.
    pub(crate) init_filter: Vec<Instruction>,
    /// The host's uptime, to let clocks begin at zero: seconds.
    pub(crate) uptime_seconds: u64,
}

/// Runs the child's side to its end; tells a failure and ends the process.
pub(crate) fn run(plan: &Plan, kit: Kit) -> ! {
    hooks::enter(Side::Inside);
    let control = sys::leak(kit.control);
    let failed = match set_up(plan, kit.rest, control) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    tell_failure(control, failed);
    sys::exit_now(1)
}

/// Best effort: if the supervisor cannot be told, it sees the socket close.
pub(crate) fn tell_failure(control: BorrowedFd<'_>, failed: Failed) {
    if wire::tell(control, Event::Failed(failed.step as u8, failed.mount, failed.errno.raw_os_error()), None).is_err() {
        sys::exit_now(2);
    }
}

fn set_up(plan: &Plan, kit: Rest, control: BorrowedFd<'static>) -> Result<Infallible, Failed> {
    if matches!(plan.ground, Ground::Host { .. }) {
        return bare::inside::set_up(plan, kit, control);
    }
    let isolated = Born::new(plan, kit, control)?.isolate()?;
    if plan.role == Role::Engine {
        return cell::furnish(isolated.for_engine());
    }
    isolated.split()?.lower()?.enter_root()?.seal()?.execute()
}

/// What every phase carries on.
pub(crate) struct Carried<'p> {
    pub(crate) plan: &'p Plan,
    // Never dropped: its descriptors are closed by number, and a failure must still be told after.
    pub(crate) kit: ManuallyDrop<Rest>,
    pub(crate) control: BorrowedFd<'static>,
    pub(crate) enforced: Layers,
}

impl Carried<'_> {
    pub(crate) fn enforce(&mut self, layer: Layer) {
        self.enforced = self.enforced.with(layer);
    }

    pub(crate) fn tell(&self, event: Event, attached: Option<BorrowedFd<'_>>) -> Result<(), Failed> {
        wire::tell(self.control, event, attached).at(Step::Supervisor)
    }

    pub(crate) fn wait_to_proceed(&self) -> Result<(), Failed> {
        match wire::next_order(self.control).at(Step::Supervisor)? {
            Received::Frame(Order::Proceed) => Ok(()),
            Received::Frame(Order::Signal(_) | Order::Kill) | Received::Closed => {
                Err(Errno::CANCELED).at(Step::Supervisor)
            }
        }
    }
}

/// Just cloned; the host is still visible.
struct Born<'p>(Carried<'p>);

/// Lets this process into its cgroups, and what it makes after.
pub(crate) fn enter_groups(kit: &mut Rest) -> Result<(), Failed> {
    for door in std::mem::take(&mut kit.doors) {
        hooks::fault("cgroup").and_then(|()| cgroup::enter(door.as_fd())).at(Step::Cgroup)?;
    }
    Ok(())
}

/// What every sandbox begins with: no descriptor and no terminal of the caller.
pub(crate) fn born<'p>(plan: &'p Plan, kit: Rest, control: BorrowedFd<'static>) -> Result<Carried<'p>, Failed> {
    let mut kept: Vec<RawFd> = [control.as_raw_fd(), kit.host_proc.as_raw_fd()].into();
    kept.extend(kit.streams.iter().chain(&kit.result).chain(&kit.alive).chain(&kit.doors).map(AsRawFd::as_raw_fd));
    kept.extend(kit.tables.iter().map(|(table, _)| table.as_raw_fd()));
    kept.extend(
        kit.sources
            .iter()
            .filter_map(|given| if let Given::Opened(mount) = given { Some(mount.as_raw_fd()) } else { None }),
    );
    kept.extend(if let disk::Given::Opened(scratch) = &kit.scratch { Some(scratch.as_raw_fd()) } else { None });
    kept.sort_unstable();
    // The init keeps no stream of the caller: from here on 0, 1 and 2 are the run's own pipes.
    for (number, stream) in (0..).zip(&kit.streams) {
        sys::place_descriptor(stream.as_fd(), number).at(Step::Descriptors)?;
    }
    sys::close_all_but(&kept).at(Step::Descriptors)?;
    sys::ignore_terminal_signals();
    // Folders and files of the root get exactly the modes they are made with.
    rustix::process::umask(rustix::fs::Mode::empty());
    sys::start_session().at(Step::Session)?;
    let enforced = kit.namespaces;
    Ok(Carried { plan, kit: ManuallyDrop::new(kit), control, enforced })
}

impl<'p> Born<'p> {
    fn new(plan: &'p Plan, mut kit: Rest, control: BorrowedFd<'static>) -> Result<Self, Failed> {
        enter_groups(&mut kit)?;
        born(plan, kit, control).map(Self)
    }

    fn isolate(self) -> Result<Isolated<'p>, Failed> {
        let Self(mut carried) = self;
        sys::set_host_name(b"sandbox").at(Step::HostName)?;
        sys::make_mounts_private().at(Step::Mount)?;
        // So that the change of root moves both halves, wherever the caller was.
        rustix::process::chdir("/").at(Step::WorkingFolder)?;
        // The id maps are written outside meanwhile; without them there is nobody to become.
        carried.wait_to_proceed()?;
        become_own_user(carried.plan.identity.groups == Groups::Dropped)?;
        carried.enforce(Layer::ThrowAwayUser);
        // After the last change of user, which clears it.
        sys::die_with_parent().at(Step::ParentDeath)?;
        Ok(Isolated(carried))
    }
}

/// From whoever made the namespaces to the one user they have, keeping the rights over them.
pub(crate) fn become_own_user(drop_groups: bool) -> Result<(), Failed> {
    sys::keep_capabilities().at(Step::User)?;
    sys::become_user(INSIDE_ID, drop_groups).at(Step::User)?;
    sys::raise_capabilities().at(Step::User)?;
    // The change of user took its own `/proc` files away from it; clocks are set through one.
    sys::set_dumpable(true).at(Step::User)
}

/// In namespaces of its own.
pub(crate) struct Isolated<'p>(Carried<'p>);

impl<'p> Isolated<'p> {
    /// What the walls of an engine are made from.
    fn for_engine(self) -> Carried<'p> {
        self.0
    }

    /// Splits: this process builds the root, becomes the init and never returns; its child goes on
    /// to the code.
    fn split(self) -> Result<Apart<'p>, Failed> {
        let Self(mut carried) = self;
        hide_groups_and_clocks(&mut carried);
        let (inits, codes) = handover::pair().at(Step::Fork)?;
        match sys::clone_into(0, None).at(Step::Fork)? {
            Forked::Child => drop(inits),
            Forked::Parent { pid, pidfd } => {
                drop(codes);
                init::run(carried, &init::Code { pid, pidfd, handover: inits })
            }
        }
        Ok(Apart { carried, handover: codes })
    }
}

/// Two namespaces that not every kernel has; the clocks are those of children.
pub(crate) fn hide_groups_and_clocks(carried: &mut Carried<'_>) {
    if sys::unshare(NEW_CGROUP).is_ok() {
        carried.enforce(Layer::CgroupNamespace);
    }
    if begin_clocks_at_zero(carried).is_ok() {
        carried.enforce(Layer::TimeNamespace);
    }
}

/// Makes monotonic and boot clocks of the code count from now (time_namespaces(7)).
fn begin_clocks_at_zero(carried: &Carried<'_>) -> Result<(), Errno> {
    if carried.kit.uptime_seconds == 0 {
        return Err(Errno::NOTSUP);
    }
    sys::unshare(NEW_TIME)?;
    let mut text = [0_u8; 96];
    let length = {
        use std::io::Write;
        let mut rest = text.as_mut_slice();
        let seconds = carried.kit.uptime_seconds;
        write!(rest, "monotonic -{seconds} 0\nboottime -{seconds} 0\n").map_err(|_| Errno::OVERFLOW)?;
        96 - rest.len()
    };
    sys::write_kernel_file(
        carried.kit.host_proc.as_fd(),
        c"self/timens_offsets",
        text.get(..length).unwrap_or_default(),
    )
}

/// The code's own process; the root is being built meanwhile.
struct Apart<'p> {
    carried: Carried<'p>,
    handover: Handover,
}

impl<'p> Apart<'p> {
    fn lower(self) -> Result<Lowered<'p>, Failed> {
        let Self { mut carried, handover } = self;
        lock_mounts(&mut carried)?;
        handover.say(Word::MountsLocked).at(Step::Supervisor)?;
        sys::die_with_parent().at(Step::ParentDeath)?;
        network::make(&mut carried)?;
        handover.say(Word::NetworkStands).at(Step::Supervisor)?;
        sys::start_session().at(Step::Session)?;
        set_rlimits(&mut carried)?;
        let given_up = give_up_rights()?;
        // A container runtime gets new capabilities, over namespaces of its own.
        let is_runtime = carried.plan.ground.runtime().is_some();
        let given_up = if is_runtime { given_up.without(Layer::NoCapabilities) } else { given_up };
        carried.enforced = carried.enforced.and(given_up);
        Ok(Lowered { carried, handover })
    }
}

/// No right over anything from here on, and no way to one.
pub(crate) fn give_up_rights() -> Result<Layers, Failed> {
    let mut given_up = Layers::NONE;
    if !hooks::removed(Layer::NoCapabilities) {
        sys::drop_capabilities_for_good().at(Step::Capabilities)?;
        given_up = given_up.with(Layer::NoCapabilities);
    }
    if !hooks::removed(Layer::NoNewPrivileges) {
        sys::set_no_new_privileges().at(Step::NoNewPrivileges)?;
        given_up = given_up.with(Layer::NoNewPrivileges);
    }
    Ok(given_up)
}

/// A second user namespace: the mounts belong to the first, so whatever the code may become in its
/// own, it has no right over them; and a mount namespace made there would find them locked
/// (mount_namespaces(7)). One of its own here would only cost its copy and its end.
fn lock_mounts(carried: &mut Carried<'_>) -> Result<(), Failed> {
    // Its engines' users would have to be mapped into it.
    let is_for_others = matches!(carried.plan.role, Role::Template(_));
    if !is_for_others && enter_own_users(carried.kit.host_proc.as_fd())? {
        carried.enforce(Layer::LockedMounts);
    }
    Ok(())
}

/// Says whether the kernel gave the namespace: when its limit on nested ones is reached the layer is missing, and
/// the report says so.
pub(crate) fn enter_own_users(proc: BorrowedFd<'_>) -> Result<bool, Failed> {
    if hooks::removed(Layer::LockedMounts) {
        return Ok(false);
    }
    match sys::unshare(NEW_USER) {
        Ok(()) => {}
        Err(Errno::NOSPC | Errno::USERS) => return Ok(false),
        Err(errno) => return Err(errno).at(Step::LockMounts),
    }
    sys::write_kernel_file(proc, c"self/uid_map", b"1000 1000 1").at(Step::LockMounts)?;
    // Without this the kernel refuses gid_map to whoever lacks the right in the parent namespace.
    sys::write_kernel_file(proc, c"self/setgroups", b"deny").at(Step::LockMounts)?;
    sys::write_kernel_file(proc, c"self/gid_map", b"1000 1000 1").at(Step::LockMounts)?;
    Ok(true)
}

/// The terminal of the code: its master side goes outside.
fn open_terminal(carried: &Carried<'_>) -> Result<OwnedFd, Failed> {
    use rustix::pty::OpenptFlags;
    let master =
        rustix::fs::open("/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .at(Step::Terminal)?;
    rustix::pty::unlockpt(&master).at(Step::Terminal)?;
    let terminal =
        rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .at(Step::Terminal)?;
    carried.tell(Event::Terminal, Some(master.as_fd()))?;
    Ok(terminal)
}

pub(crate) fn connect_streams(carried: &Carried<'_>, terminal: Option<&OwnedFd>) -> Result<(), Failed> {
    if let Some(terminal) = terminal {
        sys::take_terminal(terminal.as_fd()).at(Step::Streams)?;
        for number in 0..3 {
            sys::place_descriptor(terminal.as_fd(), number).at(Step::Streams)?;
        }
    }
    if let Some(result) = &carried.kit.result {
        sys::place_descriptor(result.as_fd(), 3).at(Step::Streams)?;
    }
    Ok(())
}

/// Gives each table the number that its link names. What was open there before is closed by that, so it must be
/// nothing that is still needed.
fn place_tables(carried: &Carried<'_>, needed: &[RawFd]) -> Result<Vec<RawFd>, Failed> {
    let placed: Vec<(&OwnedFd, RawFd)> = carried
        .kit
        .tables
        .iter()
        .map(|(table, number)| Ok((table, RawFd::try_from(*number).map_err(|_| Errno::BADF).at(Step::Descriptors)?)))
        .collect::<Result<_, _>>()?;
    for (table, number) in &placed {
        let is_taken = needed.contains(number) || placed.iter().any(|(other, _)| other.as_raw_fd() == *number);
        if is_taken {
            return Err(Errno::EXIST).at(Step::Descriptors);
        }
        sys::place_descriptor(table.as_fd(), *number).at(Step::Descriptors)?;
    }
    Ok(placed.into_iter().map(|(_, number)| number).collect())
}

pub(crate) fn set_rlimits(carried: &mut Carried<'_>) -> Result<(), Failed> {
    if hooks::removed(Layer::Rlimits) {
        return Ok(());
    }
    for (resource, most) in rlimits(carried.plan, carried.kit.has_cgroup, carried.kit.tasks_before) {
        sys::limit(resource, most).at(Step::Rlimits)?;
    }
    if !has_second_kernel(carried.plan) {
        carried.enforce(Layer::Rlimits);
    }
    Ok(())
}

fn has_second_kernel(plan: &Plan) -> bool {
    plan.ground.runtime().is_some_and(|runtime| runtime.kind == RuntimeKind::Runsc)
}

/// What each process of the run is held to.
pub(crate) fn rlimits(plan: &Plan, has_cgroup: bool, tasks_before: u64) -> Vec<(Resource, u64)> {
    let limits = &plan.limits;
    let runtime = plan.ground.runtime();
    let own = runtime.map_or(0, |runtime| container::own_tasks(runtime.kind));
    let processes = limits.processes.saturating_add(tasks_before).saturating_add(own);
    // Files and descriptors of the second kernel are not the code's, and its memory is a file.
    let is_kernel = has_second_kernel(plan);
    let is_left_out = |resource| {
        let is_of_kernel = is_kernel && matches!(resource, Resource::Nofile | Resource::Fsize);
        // The code is process 1 of its container, which does not hear the first warning: the tree is watched.
        is_of_kernel || (runtime.is_some() && matches!(resource, Resource::Cpu))
    };
    let all = [
        // 1, not 0: with 0 a crash still starts the host's handler of a piped core_pattern, as root
        // (fs/coredump.c); a dump of one byte is none.
        (Resource::Core, 1),
        // Without a cgroup memfds are found among descriptors, of which the watchdog reads this many.
        (
            Resource::Nofile,
            if has_cgroup {
                limits.open_files
            } else {
                limits.open_files.min(u64::try_from(crate::watch::DESCRIPTORS_MAX).unwrap_or(1024))
            },
        ),
        (Resource::Fsize, limits.file_bytes),
        // Per user namespace here, so it bounds the tree (see DESIGN, traps).
        // A cgroup counts what it refuses, so it is to refuse first.
        (Resource::Nproc, if has_cgroup { processes.saturating_add(16) } else { processes }),
        (Resource::Cpu, limits.cpu_ms.div_ceil(1_000).max(1)),
        (Resource::Memlock, 64 << 20),
        (Resource::Msgqueue, 1 << 20),
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
    ];
    // Its engines are counted with it and inherit what it is held to, which they lower.
    let is_for_others = matches!(plan.role, Role::Template(_));
    let is_counted = |resource| matches!(resource, Resource::Nproc | Resource::Cpu);
    all.into_iter()
        .filter(|(resource, _)| !(is_left_out(*resource) || is_for_others && is_counted(*resource)))
        .collect()
}

/// Without rights over anything.
struct Lowered<'p> {
    carried: Carried<'p>,
    handover: Handover,
}

impl<'p> Lowered<'p> {
    /// Waits until the root stands; the init's change of root was this process's too.
    fn enter_root(self) -> Result<Rooted<'p>, Failed> {
        let Self { mut carried, handover } = self;
        carried.enforced = carried.enforced.and(handover.wait_for_root().at(Step::Supervisor)?);
        rustix::process::chdir(paths::JOB).at(Step::WorkingFolder)?;
        let terminal = match carried.plan.streams {
            Streams::Pipes => None,
            Streams::Terminal => Some(open_terminal(&carried)?),
        };
        connect_streams(&carried, terminal.as_ref())?;
        Ok(Rooted { carried, handover })
    }
}

/// Below the new root; the old one is being let go of.
pub(crate) struct Rooted<'p> {
    carried: Carried<'p>,
    handover: Handover,
}

impl<'p> Rooted<'p> {
    /// In its working folder, with its streams; where there is no root of its own, that is all.
    pub(crate) const fn new(carried: Carried<'p>, handover: Handover) -> Self {
        Self { carried, handover }
    }

    pub(crate) fn seal(self) -> Result<Sealed<'p>, Failed> {
        let Self { mut carried, handover } = self;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        sys::reset_signals().at(Step::Streams)?;
        if carried.plan.result == ResultDescriptor::Conversation {
            // One for the first order may come before the engine has started.
            sys::hold_interrupts().at(Step::Streams)?;
        }
        confine::to_plan(&mut carried)?;
        let mut kept = vec![carried.control.as_raw_fd(), handover.as_raw_fd()];
        kept.extend(carried.kit.result.as_ref().map(|_| 3));
        kept.extend(place_tables(&carried, &kept)?);
        kept.sort_unstable();
        sys::close_all_but(&kept).at(Step::Descriptors)?;
        let listener = seal_calls(&mut carried)?;
        let bounded = if carried.kit.has_cgroup { Layer::Cgroup } else { Layer::Watchdog };
        let given = carried.enforced.with(bounded).and(hooks::unrequired());
        let missing = carried.plan.required.missing_from(given.and(carried.plan.proven_inside()));
        if !missing.is_empty() {
            return Err(Failed { step: Step::Missing, mount: missing.bits(), errno: Errno::NOTSUP });
        }
        // No line of the code runs while the host is in sight, or beside an init that could be taken over.
        handover.wait_for(Word::Guarded).at(Step::Supervisor)?;
        carried.tell(Event::Sealed(carried.enforced.bits()), listener.as_ref().map(AsFd::as_fd))?;
        drop(listener);
        Ok(Sealed(carried))
    }
}

fn seal_calls(carried: &mut Carried<'_>) -> Result<Option<OwnedFd>, Failed> {
    if hooks::removed(Layer::Seccomp) {
        return Ok(None);
    }
    // What a container runtime tries is none of the code's doing, so nobody is told of it.
    let is_told = outside::telling(carried.plan) == Telling::Listener;
    let listener = sys::load_filter(&carried.kit.filter, is_told).at(Step::Seccomp)?;
    if !carried.plan.proven_inside().has(Layer::Seccomp) {
        carried.enforce(Layer::Seccomp);
    }
    if matches!(carried.plan.ground, Ground::Host { .. }) {
        // The profile of such a plan makes none (`Profile::without_namespaces`).
        carried.enforce(Layer::NoSockets);
    }
    Ok(listener)
}

/// Descriptors closed, Landlock and seccomp on.
pub(crate) struct Sealed<'p>(Carried<'p>);

impl Sealed<'_> {
    pub(crate) fn execute(self) -> Result<Infallible, Failed> {
        let Self(carried) = self;
        let word = |text: &String| CString::new(text.as_bytes()).map_err(|_| Errno::INVAL);
        let (argv, vars) = carried.plan.executed();
        let program = argv.first().map_or("", String::as_str);
        let path = vars.get("PATH").map_or("", String::as_str);
        let words: Vec<CString> = argv.iter().map(word).collect::<Result<_, _>>().at(Step::Execute)?;
        let pairs: Vec<CString> = vars
            .iter()
            .map(|(name, value)| word(&format!("{name}={value}")))
            .collect::<Result<_, _>>()
            .at(Step::Execute)?;
        Err(search_and_execute(program, path, &words, &pairs)).at(Step::Execute)
    }
}

/// As execvp(3): a name without a slash is looked up in `PATH`; "permission denied" somewhere
/// outlasts "not found" elsewhere.
fn search_and_execute(program: &str, search: &str, argv: &[CString], vars: &[CString]) -> Errno {
    let try_one = |path: String| CString::new(path).map_or(Errno::INVAL, |path| sys::execute(&path, argv, vars));
    if program.contains('/') || program.is_empty() {
        return try_one(program.to_owned());
    }
    let mut worst = Errno::NOENT;
    for folder in search.split(':') {
        match try_one(format!("{folder}/{program}")) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            errno => return errno,
        }
    }
    worst
}

/// What new mounts of the host's files get.
pub(crate) fn read_only() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}
