//! Parent, outside, may still be privileged: from a recorded plan to code that runs.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use stockade_core::audit::Recorded;
use stockade_core::container;
use stockade_core::ground::Ground;
use stockade_core::layer::{Layer, Layers};
use stockade_core::network::Network;
use stockade_core::plan::{Groups, INSIDE_ID, Mount, Plan};
use stockade_core::request::{CgroupMode, ResultDescriptor};
use stockade_core::syscalls::Profile;
use stockade_core::warm::Role;

use crate::bare::folder::Folder;
use crate::bare::tree::Orphans;
use crate::bare::{self, Ready};
use crate::cgroup::{self, Group};
use crate::container::Proofs;
use crate::disk::{self, Disk};
use crate::failure::{Failure, MAKE_NAMESPACES, Step, errno_text, told_errno};
use crate::finished::Finished;
use crate::hooks::{self, Side};
use crate::inside::{self, Kit, Rest};
use crate::network::GateSockets;
use crate::seccomp::{self, Telling};
use crate::session::Caller;
use crate::sources::{self, Given};
use crate::stage::{self, Staged};
use crate::streams::Streams;
use crate::sys::{self, Forked};
use crate::table;
use crate::warm::Entrances;
use crate::wire::{self, Event, Order, Received};

/// What clone3 makes new. The network namespace is made later, beside other work: alone it takes the
/// kernel as long as all the rest.
const NAMESPACES: [(u64, Layer); 5] = [
    (0x1000_0000, Layer::UserNamespace),
    (0x0002_0000, Layer::MountNamespace),
    (0x2000_0000, Layer::PidNamespace),
    (0x0800_0000, Layer::IpcNamespace),
    (0x0400_0000, Layer::UtsNamespace),
];

/// The filter of the code as the kernel takes it, for tools that load one: bytes of `struct sock_filter`.
///
/// Calls that are told are refused silently in it.
#[must_use]
pub fn filter_bytes(profile: &Profile) -> Vec<u8> {
    let program = seccomp::compile(profile, Telling::Silent).unwrap_or_default();
    program.into_iter().flat_map(seccomp::Instruction::to_bytes).collect()
}

/// What the report says when scratch on disk had to be bound.
const PATH_SHOWS: &str = "the path of scratch on disk shows inside: its file system or the kernel refused an overlay";

/// What the init may call, and nothing else.
const INIT_PROFILE: &str = include_str!("../../../profiles/init.txt");
/// And what it may call besides where it has to find its children itself.
const BARE_INIT_PROFILE: &str = include_str!("../../../profiles/init-landlock.txt");

/// Says of what an errno is.
pub(crate) fn failed(step: &'static str, object: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
    let object = object.into();
    move |errno| Failure::Outside { step, object, errno }
}

/// The sandbox's init, seen from outside. Dropping it kills it, and with it, by the kernel,
/// everything inside, and waits until all is gone.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// Without a pid namespace: who is left when it is killed.
    pub(crate) orphans: Option<Orphans>,
    /// The init of a template, among whose processes may be a parent of what is inside.
    pub(crate) keeper: Option<Rc<OwnedFd>>,
    is_disowned: bool,
}

impl Drop for Init {
    fn drop(&mut self) {
        if self.is_disowned {
            return;
        }
        // Without a pid namespace its end would spare the others. It kills them itself when the control
        // socket is closed, as it is by now.
        if self.orphans.is_some() {
            self.wait_for_end();
        }
        // It may be gone already; the wait below is what counts.
        rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL).ok();
        // The kernel waits until somebody took notice of each dead process inside. A template that keeps one
        // from that ends itself.
        if self.keeper.is_some() && !self.wait_for_end() {
            self.kill_keeper();
        }
        // Nobody else waits for it, so it is there to be waited for.
        sys::reap(Some(self.pid), true).ok();
        self.end_orphans();
    }
}

impl Init {
    pub(crate) const fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, orphans: None, keeper: None, is_disowned: false }
    }

    /// In a fork of the process whose child it is: it is not this one's to end.
    pub(crate) const fn disown(&mut self) {
        self.is_disowned = true;
    }

    /// Kills its template, which keeps the kernel from taking its walls down.
    pub(crate) fn kill_keeper(&self) {
        if let Some(keeper) = &self.keeper {
            // It may be gone already.
            rustix::process::pidfd_send_signal(keeper, rustix::process::Signal::KILL).ok();
        }
    }

    /// Waits for the end of one that is another process's child, which comes soon after it was told to end.
    pub(crate) fn wait_beside(&self) -> Result<(), Errno> {
        if self.wait_for_end() {
            return Ok(());
        }
        self.kill_keeper();
        if self.wait_for_end() { Ok(()) } else { Err(Errno::TIMEDOUT) }
    }

    /// Kills it, and everything inside.
    pub(crate) fn kill(&self) -> Result<(), Errno> {
        rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL)?;
        if self.orphans.is_some() {
            self.wait_for_end();
            self.end_orphans();
        }
        Ok(())
    }

    /// Kills what an init left that was killed itself; with a pid namespace the kernel did.
    pub(crate) fn end_orphans(&self) {
        if let Some(orphans) = &self.orphans {
            orphans.end();
        }
    }

    /// Says whether it has ended, at most some seconds later.
    fn wait_for_end(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&patience)), Ok(1..))
    }
}

impl Running {
    /// In a fork of the process whose child it is: it is not this one's to end, or to take down.
    pub(crate) fn disown(&mut self) {
        self.init.disown();
        self.group.iter_mut().for_each(Group::disown);
    }
}

/// A sandbox whose code runs. Dropping it kills everything inside.
#[derive(Debug)]
pub struct Running {
    pub(crate) plan: Plan,
    pub(crate) control: OwnedFd,
    pub(crate) ends: Ends,
    pub(crate) scratch: Option<OwnedFd>,
    pub(crate) shared_memory: Option<OwnedFd>,
    pub(crate) sockets: GateSockets,
    pub(crate) entrances: Entrances,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) refusals: Option<OwnedFd>,
    // Before the group: fields are dropped in this order, and a group with a process stays.
    pub(crate) init: Init,
    pub(crate) group: Option<Group>,
    pub(crate) folder: Option<Folder>,
    pub(crate) proofs: Option<Proofs>,
    // After the init, whose code writes to it.
    pub(crate) disk: Option<Disk>,
    pub(crate) enforced: Layers,
    pub(crate) staged: Vec<Staged>,
    pub(crate) copied_mounts: Vec<u32>,
    pub(crate) notes: Vec<String>,
    pub(crate) started: Instant,
    pub(crate) began: (i64, u64),
}

/// The supervisor's ends of the run's pipes.
#[derive(Debug)]
pub(crate) struct Ends {
    /// `None` once nothing more comes.
    pub(crate) input: Option<OwnedFd>,
    pub(crate) output: OwnedFd,
    pub(crate) error: OwnedFd,
    pub(crate) result: Option<OwnedFd>,
}

/// Starts the run of a plan that is on record; returns when the code is about to run.
///
/// # Errors
/// [`Failure`]; then no process runs and nothing is left mounted or in a cgroup.
pub fn start(recorded: Recorded) -> Result<Running, Failure> {
    hooks::enter(Side::Outside);
    sys::expect_children();
    if !sys::single_threaded() {
        return Err(Failure::Threads);
    }
    let plan = recorded.into_plan();
    let mut notes = Vec::new();
    let ready = bare::make_ready(&plan)?;
    let group = make_group(&plan, &mut notes)?;
    let disk = Disk::make(&plan, &mut notes)?;
    let scratch = disk.as_ref().map_or(Ok(disk::Given::Memory), |disk| disk.given(&plan))?;
    let sources = open_sources_as_root(&plan)?;
    let tables = table::open_all(&plan)?;
    let (ends, streams, result) = pipes(&plan)?;
    let (control, control_inside) = control_pair()?;
    let host_proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", "/proc"))?;
    let rest = Rest {
        streams,
        result,
        tables,
        sources,
        scratch,
        host_proc,
        has_cgroup: group.is_some(),
        doors: doors(&plan, group.as_ref()).map_err(Failure::Cgroup)?,
        alive: bare::alive(ready.as_ref())?,
        tasks_before: ready.as_ref().map_or(0, |ready| ready.tasks_before),
        namespaces: namespaces_wanted(&plan),
        filter: seccomp::compile(&code_profile(&plan, group.is_some()), telling(&plan))
            .map_err(|_| failed("compile", "profiles/seccomp.txt")(Errno::TOOBIG))?,
        init_filter: init_filter(&plan)?,
        uptime_seconds: uptime_seconds(),
    };
    let flags = namespace_flags(rest.namespaces);
    let kit = Kit { control: control_inside, rest };
    let door = group.as_ref().filter(|_| ready.is_none()).and_then(Group::fd);
    let step = if ready.is_none() { MAKE_NAMESPACES } else { "start the processes of" };
    let forked = sys::clone_into(flags, door).map_err(failed(step, plan.run.clone()))?;
    let init = match forked {
        Forked::Child => {
            drop((ends, control));
            inside::run(&plan, kit)
        }
        Forked::Parent { pid, pidfd } => Init::new(pid, pidfd),
    };
    drop(kit);
    let mut running = Running::new(plan, (control, ends), init, group);
    (running.disk, running.notes) = (disk, notes);
    if let Some(Ready { folder, staged, orphans, .. }) = ready {
        running.scratch =
            Some(rustix::io::fcntl_dupfd_cloexec(&folder.open, 3).map_err(failed("copy", "a descriptor"))?);
        (running.folder, running.staged, running.init.orphans) = (Some(folder), staged, Some(orphans));
        running.hear_until_sealed()?;
    } else {
        running.bring_up()?;
    }
    Ok(running)
}

/// How the sandbox enters its cgroup: its first process is born in it (version 2) or enters by itself;
/// without a pid namespace only the code's own process does.
pub(crate) fn doors(plan: &Plan, group: Option<&Group>) -> Result<Vec<OwnedFd>, cgroup::Failure> {
    match (group, &plan.ground) {
        (None, _) => Ok(Vec::new()),
        (Some(group), Ground::OwnRoot | Ground::Container(_)) => group.doors(),
        (Some(group), Ground::Host { .. }) => group.entrances(),
    }
}

/// As clone3 takes them.
pub(crate) fn namespace_flags(wanted: Layers) -> u64 {
    NAMESPACES.iter().filter(|(_, layer)| wanted.has(*layer)).fold(0, |flags, (flag, _)| flags | flag)
}

pub(crate) fn namespaces_wanted(plan: &Plan) -> Layers {
    if matches!(plan.ground, Ground::Host { .. }) {
        return Layers::NONE;
    }
    NAMESPACES.iter().map(|(_, layer)| *layer).filter(|layer| !hooks::removed(*layer)).fold(Layers::NONE, Layers::with)
}

/// Nobody hears of what a container runtime is refused, or a template, whose engines inherit its filter.
pub(crate) const fn telling(plan: &Plan) -> Telling {
    match plan.role {
        Role::Template(_) => Telling::Silent,
        Role::Run | Role::Engine if plan.ground.runtime().is_some() => Telling::Silent,
        Role::Run | Role::Engine => Telling::Listener,
    }
}

/// Without a cgroup, memory that no process owns is refused.
pub(crate) fn code_profile(plan: &Plan, has_cgroup: bool) -> Profile {
    if has_cgroup { plan.syscalls.clone() } else { plan.syscalls.clone().watched() }
}

pub(crate) fn init_filter(plan: &Plan) -> Result<Vec<seccomp::Instruction>, Failure> {
    let bad = || failed("compile", "profiles/init.txt")(Errno::INVAL);
    let text = match plan.ground {
        Ground::OwnRoot | Ground::Container(_) => Cow::Borrowed(INIT_PROFILE),
        Ground::Host { .. } => Cow::Owned([INIT_PROFILE, BARE_INIT_PROFILE].concat()),
    };
    let profile = Profile::parse(&text, plan.syscalls.architecture()).map_err(|_| bad())?;
    seccomp::compile(&profile, Telling::Silent).map_err(|_| bad())
}

/// Whole seconds since the machine started, 0 when that is not known.
pub(crate) fn uptime_seconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0)
}

/// The time of day, as files are stamped with it.
pub(crate) fn wall_clock() -> (i64, u64) {
    // Files carry the coarse clock (ktime_get_coarse_real_ts64), which lags behind the fine one.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec, u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// The run's cgroup, made before its first process so that nothing in it is ever outside.
pub(crate) fn make_group(plan: &Plan, notes: &mut Vec<String>) -> Result<Option<Group>, Failure> {
    if plan.cgroup == CgroupMode::Off || hooks::removed(Layer::Cgroup) {
        return Ok(None);
    }
    let available = cgroup::find();
    // What earlier, killed supervisors left; what cannot be removed is the next one's.
    let _swept = cgroup::sweep(&available);
    match Group::create(&available, &plan.run, &tree_limits(plan)) {
        Ok(group) => Ok(Some(group)),
        Err(why) if plan.required.has(Layer::Cgroup) => Err(Failure::Cgroup(why)),
        Err(why) => {
            let errno = errno_text(why.errno());
            notes.push(format!("no cgroup: {why}: {errno}; memory and CPU are watched, which is approximate"));
            Ok(None)
        }
    }
}

/// The limits on the tree, as cgroups and the watchdog take them; two processes are ours.
pub(crate) fn tree_limits(plan: &Plan) -> cgroup::Limits {
    let own_tasks = plan.ground.runtime().map_or(0, |runtime| container::own_tasks(runtime.kind));
    cgroup::Limits {
        memory_bytes: plan.limits.memory_bytes,
        pids: plan.limits.processes.saturating_add(2).saturating_add(own_tasks),
        cpu_percent: u32::try_from(plan.limits.cpu_percent).unwrap_or(u32::MAX),
    }
}

/// Root can open what its throw-away user cannot, so it opens the sources itself, and maps the
/// owner of what is given to the throw-away user.
pub(crate) fn open_sources_as_root(plan: &Plan) -> Result<Vec<Given>, Failure> {
    if plan.identity.groups != Groups::Dropped || plan.ground.folder().is_some() {
        return Ok(Vec::new());
    }
    plan.mounts.iter().map(|mount| open_as_root(plan, mount)).collect()
}

fn open_as_root(plan: &Plan, mount: &Mount) -> Result<Given, Failure> {
    let (Mount::Layered { source, .. } | Mount::CopyOnWrite { source, .. } | Mount::Shared { source, .. }) = mount
    else {
        return Ok(Given::Nothing);
    };
    // Most trees that are only read are open to all, and a map costs as much as a namespace.
    let must_map = !(matches!(mount, Mount::Layered { .. }) && source.is_open_to_all());
    let shown = source.path.to_string_lossy().into_owned();
    let Some(tree) = sources::open_one(mount).map_err(|bad| open_failure(&shown, bad))? else {
        return Ok(Given::Nothing);
    };
    match must_map.then(|| stage::map_owner(tree.as_fd(), source, plan.identity)) {
        None | Some(Ok(())) => Ok(Given::Opened(tree)),
        // The file system does not know of idmapped mounts.
        Some(Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM)) if matches!(mount, Mount::CopyOnWrite { .. }) => {
            Ok(Given::ToBeCopied)
        }
        Some(Err(errno)) => Err(failed("map the owner of", shown)(errno)),
    }
}

fn open_failure(path: &str, bad: inside::Failed) -> Failure {
    if bad.step == Step::SourceChanged {
        return Failure::Changed { path: path.to_owned() };
    }
    Failure::Outside { step: "open", object: path.to_owned(), errno: bad.errno }
}

pub(crate) type Pipes = (Ends, [OwnedFd; 3], Option<OwnedFd>);

pub(crate) fn pipes(plan: &Plan) -> Result<Pipes, Failure> {
    let pipe = || {
        hooks::fault("pipe")
            .and_then(|()| rustix::pipe::pipe_with(PipeFlags::CLOEXEC))
            .map_err(failed("make the pipes of", plan.run.clone()))
    };
    let (input_inside, input) = pipe()?;
    let (output, output_inside) = pipe()?;
    let (error, error_inside) = pipe()?;
    let (result, result_inside) = match plan.result {
        // It hears orders there.
        ResultDescriptor::Open if matches!(plan.role, Role::Template(_)) => {
            control_pair().map(|(ours, inside)| (Some(ours), Some(inside)))?
        }
        ResultDescriptor::Conversation => control_pair().map(|(ours, inside)| (Some(ours), Some(inside)))?,
        ResultDescriptor::Open => pipe().map(|(out, inside)| (Some(out), Some(inside)))?,
        ResultDescriptor::None => (None, None),
    };
    for end in [&input, &output, &error].into_iter().chain(&result) {
        rustix::io::ioctl_fionbio(end, true).map_err(failed("set up the pipes of", plan.run.clone()))?;
    }
    Ok((Ends { input: Some(input), output, error, result }, [input_inside, output_inside, error_inside], result_inside))
}

pub(crate) fn control_pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    hooks::fault("socketpair")
        .and_then(|()| rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None))
        .map_err(failed("make the control socket of", "the sandbox"))
}

impl Running {
    /// A sandbox that is being made.
    pub(crate) fn new(plan: Plan, (control, ends): (OwnedFd, Ends), init: Init, group: Option<Group>) -> Self {
        Self {
            plan,
            control,
            ends,
            folder: None,
            proofs: None,
            scratch: None,
            shared_memory: None,
            sockets: GateSockets::default(),
            entrances: Entrances::default(),
            terminal: None,
            refusals: None,
            init,
            enforced: Layers::of(&[if group.is_some() { Layer::Cgroup } else { Layer::Watchdog }]),
            group,
            disk: None,
            staged: Vec::new(),
            copied_mounts: Vec::new(),
            notes: Vec::new(),
            started: Instant::now(),
            began: wall_clock(),
        }
    }

    /// What the egress gate is to serve, if the plan grants network; whoever takes it answers for the run's names.
    pub fn take_gate_sockets(&mut self) -> Option<GateSockets> {
        matches!(self.plan.network, Network::Gate(_)).then(|| std::mem::take(&mut self.sockets))
    }

    /// Follows the run to its end.
    ///
    /// # Errors
    /// [`Failure`] when the sandbox ended without a word; everything in it is dead then.
    pub fn wait(self, streams: Streams<'_>) -> Result<Finished, Failure> {
        crate::supervise::wait(self, streams, None)
    }

    /// Follows a session to its end: `caller` orders, and is answered.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn converse(self, streams: Streams<'_>, caller: &mut dyn Caller) -> Result<Finished, Failure> {
        crate::supervise::wait(self, streams, Some(caller))
    }

    /// From a cloned child to sealed code: maps, staging, descriptors.
    fn bring_up(&mut self) -> Result<(), Failure> {
        write_id_maps(self.init.pid, &self.plan)?;
        self.proceed()?;
        self.hear_until_sealed()
    }

    pub(crate) fn hear_until_sealed(&mut self) -> Result<(), Failure> {
        loop {
            let (event, attached) = match wire::next_event(self.control.as_fd()) {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::Closed) | Err(Errno::CONNRESET) => return Err(Failure::Unbegun),
                Err(errno) => return Err(failed("hear from", "the sandbox")(errno)),
            };
            match event {
                Event::Scratch => self.stage_files(attached)?,
                Event::OverlayRefused(mount) => self.stage_copy(mount)?,
                Event::Resolver => self.sockets.resolver = attached,
                Event::Proxy => self.sockets.proxy = attached,
                Event::Transparent => self.sockets.transparent.extend(attached),
                Event::Watcher => self.sockets.watchers.extend(attached),
                Event::Terminal => self.terminal = attached,
                Event::Failed(step, mount, errno) => return Err(self.inside_failure(step, mount, errno)),
                Event::Sealed(layers) => {
                    self.enforced = self.enforced.and(Layers::from_bits(layers));
                    self.refusals = attached;
                    self.started = Instant::now();
                    return self.check_required();
                }
                Event::Entrance(which) => self.entrances.take(which, attached)?,
                Event::Stands(layers) => self.enforced = self.enforced.and(Layers::from_bits(layers)),
                Event::Guarded => return Ok(()),
                Event::Exited(_) | Event::Drained(_) | Event::EngineEnded(..) => return Err(Failure::Lost),
            }
        }
    }

    /// The last look, outside: what the plan requires is in force, or what has just begun is killed. The
    /// code's half has looked already, at everything that it can know of.
    pub(crate) fn check_required(&self) -> Result<(), Failure> {
        // What only a look from inside shows is looked at when the run has ended.
        let given = self.enforced.and(hooks::unrequired()).and(self.plan.proven_inside());
        let missing = self.plan.required.missing_from(given);
        if missing.is_empty() { Ok(()) } else { Err(Failure::Missing { missing }) }
    }

    pub(crate) fn proceed(&self) -> Result<(), Failure> {
        wire::order(self.control.as_fd(), Order::Proceed).map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET => Failure::Unbegun,
            errno => failed("speak to", "the sandbox")(errno),
        })
    }

    fn stage_files(&mut self, scratch: Option<OwnedFd>) -> Result<(), Failure> {
        let in_memory = scratch.ok_or(Failure::Lost)?;
        let scratch = match &self.disk {
            None => in_memory,
            // Reached by our own descriptor: nothing that is mounted inside lies over it.
            Some(disk) => {
                self.shared_memory = Some(in_memory);
                rustix::io::fcntl_dupfd_cloexec(disk.folder(), 3).map_err(failed("copy", "a descriptor"))?
            }
        };
        self.staged = stage::copy_files(&self.plan, scratch.as_fd())?;
        self.proofs = Proofs::lay_out(&self.plan, scratch.as_fd())?;
        let waits = self.plan.waits_for_staging();
        self.scratch = Some(scratch);
        if waits { self.proceed() } else { Ok(()) }
    }

    fn stage_copy(&mut self, number: u32) -> Result<(), Failure> {
        let mount = usize::try_from(number).ok().and_then(|index| self.plan.mounts.get(index));
        if let (Some(Mount::Scratch { .. }), Some(_)) = (mount, &self.disk) {
            self.notes.push(PATH_SHOWS.to_owned());
            self.notes.dedup();
            return self.proceed();
        }
        let (Some(Mount::CopyOnWrite { source, hidden, .. }), Some(scratch)) = (mount, &self.scratch) else {
            let object = mount.map(ToString::to_string);
            return Err(Failure::Inside { step: Step::Overlay, object, errno: Errno::OPNOTSUPP });
        };
        let copied = stage::copy_tree(&self.plan, source, hidden, scratch.as_fd(), number)?;
        self.notes.push(format!(
            "`{}` was copied: the kernel refused an overlay or a map of its owner",
            stockade_core::text::shown(&source.path.to_string_lossy(), 200)
        ));
        self.staged.extend(copied);
        self.copied_mounts.push(number);
        self.proceed()
    }

    pub(crate) fn inside_failure(&self, step: u8, mount: u32, errno: i32) -> Failure {
        let Some(step) = Step::parse(step) else { return Failure::Lost };
        if step == Step::Missing {
            return Failure::Missing { missing: Layers::from_bits(mount) };
        }
        let object = usize::try_from(mount).ok().and_then(|index| self.plan.mounts.get(index)).map(ToString::to_string);
        Failure::Inside { step, object, errno: told_errno(errno) }
    }
}

/// One id of the sandbox is one id outside; nothing else is mapped.
pub(crate) fn write_id_maps(init: Pid, plan: &Plan) -> Result<(), Failure> {
    let identity = plan.identity;
    let folder = format!("/proc/{}", init.as_raw_nonzero());
    let folder = rustix::fs::open(folder.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", folder.clone()))?;
    let write = |name: &std::ffi::CStr, text: &str| {
        sys::write_kernel_file(folder.as_fd(), name, text.as_bytes())
            .map_err(failed("write", format!("the sandbox's {}", name.to_string_lossy())))
    };
    // Its engines' users have the same number inside.
    let others = match plan.role {
        Role::Template(ids) => {
            let (first, count) = ids.others();
            format!("\n{first} {first} {count}")
        }
        Role::Run | Role::Engine => String::new(),
    };
    write(c"uid_map", &format!("{INSIDE_ID} {} 1{others}", identity.outside_uid))?;
    if identity.groups == Groups::Unmapped {
        // An ordinary user may map a group only after giving up setgroups(2), user_namespaces(7).
        write(c"setgroups", "deny")?;
    }
    write(c"gid_map", &format!("{INSIDE_ID} {} 1{others}", identity.outside_gid))
}

/// The host's view of a mount's folder on scratch.
pub(crate) fn scratch_part(plan: &Plan, scratch: BorrowedFd<'_>, number: u32) -> Result<OwnedFd, Errno> {
    let mount = usize::try_from(number).ok().and_then(|index| plan.mounts.get(index));
    let target = mount.and_then(Mount::written_to).ok_or(Errno::NOENT)?;
    let name = plan.ground.scratch_name(number, target);
    rustix::fs::openat2(
        scratch,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS,
    )
}
