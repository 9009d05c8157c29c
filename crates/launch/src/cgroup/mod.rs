//! Control groups: the walls around memory, process count and CPU share of a
//! whole tree. *Parent, outside, may still be privileged.*
//!
//! It makes one child group per run below this process's own group, fills in
//! the limits, lets the run's first process in, reads what was used, and
//! removes the group. It must never touch a group it did not make, except the
//! leaf [`SUPERVISOR`] it may move itself into (see [`find`]).
//!
//! Memory is charged to the group of whoever touches a page first, so tmpfs
//! files and memfds count against the run that fills them; pages touched
//! before entering stay charged to the supervisor, as do inputs it copied.

mod delegate;
mod find;
mod sweep;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::{Errno, read, write};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::sched_getaffinity;

use find::alone;
use sweep::Owner;

pub use delegate::{Delegated, sweep_delegated};
pub use find::{Absent, Available, Controllers, Hierarchy, Unified, Why, find};
pub use sweep::{Swept, sweep};

/// The leaf the supervisor moves into on version 2, to free its own group.
pub const SUPERVISOR: &str = "stockade.supervisor";

/// The kernel's default period; a quota is meaningful only relative to it.
const PERIOD_US: u64 = 100_000;
const MEMBERS_BYTES_MAX: usize = 256 << 10;
/// Descriptors held at once while killing; far below any usual limit on files.
const KILL_BATCH: usize = 128;
const KILL_PATIENCE: Duration = Duration::from_millis(500);
const REMOVE_PATIENCE: Duration = Duration::from_millis(100);
const DROP_PATIENCE: Duration = Duration::from_millis(10);

/// What a run's tree may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the whole tree, tmpfs and memfds included; swap is not extra.
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub pids: u64,
    /// Share of processor time: 100 is one whole processor; at least 1.
    pub cpu_percent: u32,
}

/// Which generation of control groups holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Separate trees.
    V1,
    /// The unified tree.
    V2,
}

/// State of one wall that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// In force.
    Held,
    /// Asked for, and this machine cannot.
    Missing,
    /// The limit is not below what the machine has.
    NotAsked,
}

/// What the kernel accepted; memory and pids always, or there is no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// The generation.
    pub version: Version,
    /// Whether swap counts within the memory limit.
    pub swap: Wall,
    /// Whether the CPU share is held.
    pub cpu: Wall,
    /// Whether running out of memory kills the whole tree at once; where it
    /// is missing one process dies, [`Group::oom_kills`] rises, and the
    /// caller ends the run.
    pub oom_kills_tree: Wall,
}

/// What a tree has used; `None` where this kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory held at once.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time of all processes, living, dead and never waited for.
    pub cpu_usec: Option<u64>,
    /// The most processes and threads at once.
    pub pids_peak: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// Forks refused by the limit.
    pub pids_refused: Option<u64>,
}

/// A step with a control group that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    step: Step,
    path: PathBuf,
    errno: Errno,
}

/// Steps that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are in `Step::words`")]
pub enum Step {
    Name,
    Absent,
    Open,
    Make,
    Enable,
    MoveSelf,
    Limit,
    Enter,
    Read,
    Kill,
    Remove,
}

/// A run's group; dropping it removes it.
#[derive(Debug)]
pub struct Group {
    name: String,
    branches: Vec<Branch>,
    enforced: Enforced,
}

/// The group's directory in one tree.
#[derive(Debug)]
struct Branch {
    parent: OwnedFd,
    dir: OwnedFd,
    path: PathBuf,
    controllers: Controllers,
}

impl Group {
    /// Makes the group of the run `run` and sets its limits; the group is
    /// named `stockade-<run>-<pid namespace>-<our pid>-<our start time>`.
    ///
    /// # Errors
    /// When a directory cannot be made or a required limit is refused;
    /// nothing is left behind then.
    pub fn create(available: &Available, run: &str, limits: &Limits) -> Result<Group, Failure> {
        let name = Owner::this()?.name(run)?;
        let wants_cpu = u64::from(limits.cpu_percent) < 100 * cpus();
        match available {
            Available::V2(place) => Group::unified(place, name, limits, wants_cpu),
            Available::V1(trees) => Group::legacy(trees, name, limits, wants_cpu),
            Available::None(absent) => Err(Failure {
                step: Step::Absent,
                path: absent.path.clone(),
                errno: absent.errno.unwrap_or(Errno::NOTSUP),
            }),
        }
    }

    fn unified(place: &Unified, name: String, limits: &Limits, wants_cpu: bool) -> Result<Group, Failure> {
        let parent = open_dir(&place.dir).map_err(Failure::at(Step::Open, &place.dir))?;
        let wants_cpu_here = wants_cpu && place.controllers.cpu;
        prepare(&parent, &place.dir, wants_cpu_here)?;
        let branch = Branch::make(parent, &place.dir, &name, place.controllers)?;
        let enforced =
            Enforced { version: Version::V2, swap: Wall::Missing, cpu: Wall::NotAsked, oom_kills_tree: Wall::Missing };
        let mut group = Group { name, branches: vec![branch], enforced };
        group.limit("memory.max", limits.memory_bytes)?;
        group.limit("pids.max", limits.pids)?;
        group.enforced.swap = group.limit_if_known("memory.swap.max", 0)?;
        group.enforced.oom_kills_tree = group.limit_if_known("memory.oom.group", 1)?;
        if wants_cpu {
            let text = format!("{} {PERIOD_US}", quota_us(limits));
            group.enforced.cpu = group.limit_if_known("cpu.max", text)?;
        }
        Ok(group)
    }

    fn legacy(trees: &[Hierarchy], name: String, limits: &Limits, wants_cpu: bool) -> Result<Group, Failure> {
        let cpu = if wants_cpu { Wall::Missing } else { Wall::NotAsked };
        let enforced = Enforced { version: Version::V1, swap: Wall::Missing, cpu, oom_kills_tree: Wall::Missing };
        let mut group = Group { name, branches: Vec::with_capacity(trees.len()), enforced };
        for tree in trees {
            // Each tree costs about 25 µs; one for cpu alone is not needed
            // unless its limit is. Time used is always counted, though: in
            // /proc the time of children nobody waits for is lost.
            let c = tree.controllers;
            if c.memory || c.pids || c.cpuacct || (c.cpu && wants_cpu) {
                let parent = open_dir(&tree.dir).map_err(Failure::at(Step::Open, &tree.dir))?;
                let branch = Branch::make(parent, &tree.dir, &group.name, c)?;
                group.branches.push(branch);
            }
        }
        group.limit("memory.limit_in_bytes", limits.memory_bytes)?;
        group.limit("pids.max", limits.pids)?;
        // Memory and swap together, so it follows the limit and equals it.
        group.enforced.swap = group.limit_if_known("memory.memsw.limit_in_bytes", limits.memory_bytes)?;
        if wants_cpu && group.branch("cpu.").is_some() {
            group.limit("cpu.cfs_period_us", PERIOD_US)?;
            group.enforced.cpu = group.limit_if_known("cpu.cfs_quota_us", quota_us(limits))?;
        }
        Ok(group)
    }

    /// Name of the group in every tree.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel accepted.
    #[must_use]
    pub fn enforced(&self) -> Enforced {
        self.enforced
    }

    /// The directory for `CLONE_INTO_CGROUP`, on version 2.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self.enforced.version {
            Version::V2 => self.branches.first().map(|branch| branch.dir.as_fd()),
            Version::V1 => None,
        }
    }

    /// Opens the doors through which a fresh child lets itself in with
    /// [`enter`], on version 1; none on version 2.
    ///
    /// Measured (6.18): a parent writing a pid waits 5 ms for a grace period
    /// of the kernel's lock on thread groups, once for all trees together; a
    /// thread that writes 0 to `tasks` moves only itself and takes no lock:
    /// 37 µs for memory and pids. The descriptors carry the supervisor's
    /// rights: the child closes them before it runs anything foreign.
    ///
    /// # Errors
    /// When a door cannot be opened.
    pub fn doors(&self) -> Result<Vec<OwnedFd>, Failure> {
        if self.enforced.version == Version::V2 { Ok(Vec::new()) } else { self.entrances() }
    }

    /// What a process of one thread writes to by [`enter`], whichever the version.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, Failure> {
        let name = if self.enforced.version == Version::V2 { "cgroup.procs" } else { "tasks" };
        let open = |branch: &Branch| {
            openat(&branch.dir, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(Failure::at(Step::Enter, &branch.path))
        };
        self.branches.iter().map(open).collect()
    }

    /// Moves a whole process of `user` in from outside: milliseconds, so only where
    /// neither [`Group::fd`] nor [`Group::doors`] will do.
    ///
    /// # Errors
    /// When the kernel refuses; the process may then be in some trees only.
    pub fn attach(&self, pid: Pid, user: u32) -> Result<(), Failure> {
        let text = pid.as_raw_nonzero().to_string();
        let put = |branch: &Branch| {
            let put = match write_at(&branch.dir, "cgroup.procs", &text) {
                // Version 1 asks who opened the file: the host's root, or the user of the process
                // (`__cgroup1_procs_write`). Root of a user namespace is the latter only by becoming it.
                Err(Errno::ACCESS) => put_as(&branch.dir, &text, user),
                other => other,
            };
            put.map_err(Failure::at(Step::Enter, &branch.path))
        };
        self.branches.iter().try_for_each(put)
    }

    /// What the tree has used so far; read it before [`Group::remove`].
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (memory_peak, cpu_usec) = match self.enforced.version {
            Version::V1 => ("memory.max_usage_in_bytes", self.number("cpuacct.usage").map(|ns| ns / 1000)),
            Version::V2 => ("memory.peak", self.keyed("cpu.stat", b"usage_usec")),
        };
        Usage {
            memory_peak_bytes: self.number(memory_peak),
            cpu_usec,
            pids_peak: self.number("pids.peak"),
            oom_kills: self.oom_kills(),
            pids_refused: self.keyed("pids.events", b"max"),
        }
    }

    /// Processes killed for lack of memory: one small read, for each tick.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        match self.enforced.version {
            Version::V1 => self.keyed("memory.oom_control", b"oom_kill"),
            Version::V2 => self.keyed("memory.events", b"oom_kill"),
        }
    }

    /// Kills every process in the group and waits, at most half a second,
    /// until it is empty. A second string: the end of the sandbox's init
    /// already ends its whole pid namespace.
    ///
    /// # Errors
    /// When processes remain, for instance in an uninterruptible wait.
    pub fn kill(&self) -> Result<(), Failure> {
        let Some(branch) = self.branches.first() else {
            return Ok(());
        };
        let failed = Failure::at(Step::Kill, &branch.path);
        match write_at(&branch.dir, "cgroup.kill", "1") {
            Ok(()) => {}
            // Older than 5.14, or version 1: one by one, so stop forks first.
            Err(Errno::NOENT) => self.limit("pids.max", 0)?,
            Err(errno) => return Err(failed(errno)),
        }
        branch.kill_each(Instant::now() + KILL_PATIENCE).map_err(failed)
    }

    /// Removes the group; its processes must have ended.
    ///
    /// # Errors
    /// When it is still busy after a tenth of a second; a later [`sweep`]
    /// by another process takes it then.
    pub fn remove(mut self) -> Result<(), Failure> {
        self.remove_within(REMOVE_PATIENCE)
    }

    fn remove_within(&mut self, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        let mut outcome = Ok(());
        while let Some(branch) = self.branches.pop() {
            outcome = outcome.and(branch.remove(until));
        }
        outcome
    }

    /// The tree that has the file: its name begins with its controller's.
    fn branch(&self, file: &str) -> Option<&Branch> {
        let (controller, _) = file.split_once('.')?;
        self.branches.iter().find(|branch| match controller {
            "memory" => branch.controllers.memory,
            "pids" => branch.controllers.pids,
            "cpuacct" => branch.controllers.cpuacct,
            // On version 2 the time is counted without the controller.
            "cpu" => branch.controllers.cpu || self.enforced.version == Version::V2,
            _ => false,
        })
    }

    fn limit(&self, file: &str, value: impl ToString) -> Result<(), Failure> {
        let Some(branch) = self.branch(file) else {
            return Err(Failure { step: Step::Limit, path: file.into(), errno: Errno::NOENT });
        };
        write_at(&branch.dir, file, &value.to_string()).map_err(Failure::at(Step::Limit, &branch.path.join(file)))
    }

    fn limit_if_known(&self, file: &str, value: impl ToString) -> Result<Wall, Failure> {
        match self.limit(file, value) {
            Ok(()) => Ok(Wall::Held),
            Err(failure) if failure.errno == Errno::NOENT => Ok(Wall::Missing),
            Err(failure) => Err(failure),
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        let mut text = [0; 64];
        number(read_at(&self.branch(file)?.dir, file, &mut text).ok()?.trim_ascii())
    }

    fn keyed(&self, file: &str, key: &[u8]) -> Option<u64> {
        let mut text = [0; 2048];
        let text = read_at(&self.branch(file)?.dir, file, &mut text).ok()?;
        text.split(|byte| *byte == b'\n').find_map(|line| {
            let (name, value) = line.split_at_checked(key.len())?;
            (name == key && value.starts_with(b" ")).then(|| number(value.trim_ascii()))?
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody can be told here; what stays is swept by a later run.
        self.remove_within(DROP_PATIENCE).ok();
    }
}

/// Lets the calling thread into one tree. *Child, inside, trusts nothing:*
/// one system call, no memory taken, for a child with one thread only.
///
/// # Errors
/// What the kernel said; the run must not start then.
pub fn enter(door: BorrowedFd<'_>) -> Result<(), Errno> {
    match write(door, b"0")? {
        1 => Ok(()),
        _ => Err(Errno::IO),
    }
}

fn put_as(dir: &OwnedFd, pid: &str, user: u32) -> Result<(), Errno> {
    crate::sys::give_file(dir.as_fd(), "cgroup.procs", user)?;
    let file = crate::sys::with_effective_user(user, || {
        openat(dir, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
    })?;
    if write(&file, pid.as_bytes())? == pid.len() { Ok(()) } else { Err(Errno::IO) }
}

impl Branch {
    fn make(parent: OwnedFd, above: &Path, name: &str, controllers: Controllers) -> Result<Branch, Failure> {
        let path = above.join(name);
        mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(Failure::at(Step::Make, &path))?;
        let opened = openat(&parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        match opened {
            Ok(dir) => Ok(Branch { parent, dir, path, controllers }),
            Err(errno) => {
                unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(Failure::at(Step::Remove, &path))?;
                Err(Failure { step: Step::Open, path, errno })
            }
        }
    }

    fn kill_each(&self, until: Instant) -> Result<(), Errno> {
        loop {
            let before = members(&self.dir)?;
            if before.is_empty() {
                return Ok(());
            }
            let held: Vec<_> = before
                .into_iter()
                .flatten()
                .take(KILL_BATCH)
                .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
                .collect();
            // A number may have gone to a stranger between the reading and
            // the opening. One still listed now belongs to whom we hold, or
            // to nobody we hold, and then the signal goes nowhere.
            let after = members(&self.dir)?;
            for (pid, handle) in &held {
                if after.contains(&Some(*pid)) {
                    match pidfd_send_signal(handle, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => return Err(errno),
                    }
                }
            }
            if Instant::now() >= until {
                return Err(Errno::TIMEDOUT);
            }
            pause(held.first().map(|(_, handle)| handle));
        }
    }

    /// A group is busy until its last process has been torn down, which is a
    /// moment after the process can be waited for; so look again, briefly.
    fn remove(&self, until: Instant) -> Result<(), Failure> {
        let failed = Failure::at(Step::Remove, &self.path);
        let name = self.path.file_name().unwrap_or_default();
        loop {
            match unlinkat(&self.parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() < until => {
                    let first = members(&self.dir).unwrap_or_default().into_iter().flatten().next();
                    pause(first.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).as_ref());
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

/// Waits for the end of a process, 5 ms at most; without one, for 0.2 ms.
fn pause(process: Option<&OwnedFd>) {
    let nanos = if process.is_some() { 5_000_000 } else { 200_000 };
    let timeout = Timespec { tv_sec: 0, tv_nsec: nanos };
    let mut waited: Vec<PollFd<'_>> = process.map(|fd| PollFd::new(fd, PollFlags::IN)).into_iter().collect();
    // Interrupted or refused, the caller's loop looks again and is bounded.
    poll(&mut waited, Some(&timeout)).ok();
}

/// Makes the version 2 directory able to limit its children.
fn prepare(dir: &OwnedFd, path: &Path, cpu: bool) -> Result<(), Failure> {
    let mut text = [0; 512];
    let control = path.join("cgroup.subtree_control");
    let handed = read_at(dir, "cgroup.subtree_control", &mut text).map_err(Failure::at(Step::Read, &control))?;
    let handed = Controllers::named(handed, b' ');
    let missing: String = [("+memory ", !handed.memory), ("+pids ", !handed.pids), ("+cpu ", cpu && !handed.cpu)]
        .iter()
        .filter_map(|(word, is_missing)| is_missing.then_some(*word))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let enable = || write_at(dir, "cgroup.subtree_control", missing.trim_end());
    match enable() {
        Err(Errno::BUSY) => move_self(dir, path)?,
        other => return other.map_err(Failure::at(Step::Enable, &control)),
    }
    enable().map_err(Failure::at(Step::Enable, &control))
}

/// Empties our own group by moving into a leaf, if nobody else is in it.
fn move_self(dir: &OwnedFd, path: &Path) -> Result<(), Failure> {
    if !alone(dir).map_err(Failure::at(Step::Read, path))? {
        return Err(Failure { step: Step::MoveSelf, path: path.into(), errno: Errno::BUSY });
    }
    let leaf = path.join(SUPERVISOR);
    match mkdirat(dir, SUPERVISOR, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => {
            return Err(Failure { step: Step::Make, path: leaf, errno });
        }
    }
    let file = Path::new(SUPERVISOR).join("cgroup.procs");
    openat(dir, &file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|procs| enter(procs.as_fd()))
        .map_err(Failure::at(Step::MoveSelf, &leaf))
}

impl Failure {
    /// What was being done.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// What the kernel said.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self.step {
            Step::Name => "use letters, digits, `-` and `_` in the run's name",
            Step::Absent | Step::Open | Step::Make | Step::Enable | Step::Limit | Step::Enter => {
                "run inside a delegated scope (`systemd-run --user --scope -p Delegate=yes`), or use `--cgroup off`"
            }
            Step::MoveSelf => "start stockade alone in its group, before other processes join it",
            Step::Read => "mount /proc and the control groups readable for this user",
            Step::Kill | Step::Remove => "see which processes the group's `cgroup.procs` lists",
        }
    }

    fn at(step: Step, path: &Path) -> impl Fn(Errno) -> Failure + use<> {
        let path = path.to_path_buf();
        move |errno| Failure { step, path: path.clone(), errno }
    }
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Step::Name => "name a control group after",
            Step::Absent => "find usable control groups at",
            Step::Open => "open the control group",
            Step::Make => "make the control group",
            Step::Enable => "enable controllers in",
            Step::MoveSelf => "move into a leaf of the control group",
            Step::Limit => "set the limit",
            Step::Enter => "enter the control group",
            Step::Read => "read",
            Step::Kill => "kill the processes of the control group",
            Step::Remove => "remove the control group",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        write!(f, "cannot {} `{}`", self.step.words(), path.escape_debug())
    }
}

impl std::error::Error for Failure {}

fn cpus() -> u64 {
    // Not `available_parallelism`, which reads the group files once more.
    sched_getaffinity(None).map_or(u64::MAX / 100, |set| u64::from(set.count()))
}

fn quota_us(limits: &Limits) -> u64 {
    u64::from(limits.cpu_percent.max(1)) * (PERIOD_US / 100)
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

impl Group {
    /// In a fork of the process that made it: it is not this one's to remove.
    pub(crate) fn disown(&mut self) {
        self.branches.clear();
    }

    /// How many processes are in it besides this one; none where that cannot be seen.
    #[must_use]
    pub fn others_than(&self, process: Pid) -> u32 {
        let Some(branch) = self.branches.first() else { return 0 };
        let others = members(&branch.dir).unwrap_or_default().into_iter().filter(|one| *one != Some(process)).count();
        u32::try_from(others).unwrap_or(u32::MAX)
    }
}

/// Processes in the group; `None` for one that our pid namespace cannot see.
fn members(dir: &OwnedFd) -> Result<Vec<Option<Pid>>, Errno> {
    let mut text = vec![0; 4096];
    while read_at(dir, "cgroup.procs", &mut text)?.len() == text.len() && text.len() < MEMBERS_BYTES_MAX {
        text.resize(text.len() * 4, 0);
    }
    let text = read_at(dir, "cgroup.procs", &mut text)?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| number(line).and_then(|n| Pid::from_raw(i32::try_from(n).ok()?))).collect())
}

/// Reads at most the buffer's length of a small kernel file.
pub(crate) fn read_at<'b>(dir: impl AsFd, name: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match read(&file, rest)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

fn write_at(dir: &OwnedFd, name: &str, text: &str) -> Result<(), Errno> {
    let file = openat(dir, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match write(file, text.as_bytes())? {
        count if count == text.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// A plain decimal number, nothing else.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_and_where_without_control_characters() {
        let failure = Failure { step: Step::Make, path: "/a\x1b[2J".into(), errno: Errno::ACCESS };
        let text = failure.to_string();
        assert_eq!(text, "cannot make the control group `/a\\u{1b}[2J`");
    }
}
