//! The watchdog for machines without control groups: it looks at the tree of
//! a run every 50 ms. *Parent, outside, may still be privileged.*
//!
//! Everything it reads about sandboxed processes is untrusted text, read into
//! fixed buffers; the work of one tick is bounded, and a sample says when it
//! is cut short. What it finds is approximate and must never be called
//! enforced. Not seen: growth and decline between two ticks, memfds that are
//! only in flight in a socket or in a descriptor table that one thread keeps
//! for itself, pipe and socket buffers, swapped pages while little else is
//! resident, processor time of children nobody waits for.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, RawDir, StatxFlags, fstatfs, memfd_create, openat, readlinkat_raw, statx,
};
use rustix::io::Errno;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::Pid;
use rustix::system::sysinfo;

use crate::cgroup::{Limits, number, read_at};

/// Processes looked at in one tick.
pub const PROCESSES_MAX: usize = 4096;
/// Descriptors looked at in one process; a run watched this way should have
/// its limit of open files no higher.
pub const DESCRIPTORS_MAX: usize = 1024;

/// Threads asked for their children in one tick.
const THREADS_MAX: usize = 8192;
/// Numeric entries of /proc looked at where the kernel lists no children.
const HOST_PROCESSES_MAX: usize = 32_768;
const TEXT_BYTES: usize = 64 << 10;
/// Time for proportional sizes, and for descriptors, in one tick.
const BUDGET: Duration = Duration::from_millis(4);
/// Descriptors are looked at this often even if nothing seems to grow.
const TICKS_BETWEEN_SCANS: u64 = 4;
/// An estimate over the limit for longer, 1 s, is believed.
const TICKS_DOUBTFUL_MAX: u64 = 20;
/// A round over all descriptors that takes longer, 1 s, counts as cut short.
const TICKS_IN_ROUND_MAX: u64 = 20;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The tree at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Memory of the tree, in-memory scratch and memfds included.
    pub memory_bytes: u64,
    /// How far `memory_bytes` can be believed.
    pub precision: Precision,
    /// Whether `memory_bytes` is over the limit.
    pub verdict: Verdict,
    /// Processor time of the living and of the dead they waited for; never
    /// falls from one sample to the next.
    pub cpu_usec: u64,
    /// Processes.
    pub processes: u64,
    /// Threads, at least one for each process.
    pub threads: u64,
    /// Bytes in the scratch folder, if that is in memory.
    pub scratch_bytes: u64,
    /// Bytes in memfds that some process has open; as of a few ticks ago when
    /// there are too many descriptors to look at in one.
    pub memfd_bytes: u64,
    /// Processes whose descriptors may not be read; the sandbox's init is one
    /// when the supervisor is not root.
    pub unreadable: u64,
    /// Whether a bound cut the work short, so that more may exist.
    pub truncated: bool,
}

/// How a sample's memory was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Resident pages added up: shared ones count once per process, so the
    /// truth is at or below. Used while this is under 80 % of the limit.
    #[default]
    UpperBound,
    /// Shared pages divided among their users; disk cache not counted.
    Proportional,
    /// As proportional, but some processes by their own pages, or by an older
    /// weight and what they have grown since: the truth may be below.
    Estimated,
}

/// Whether the tree holds more memory than its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It does not.
    #[default]
    Within,
    /// An estimate says so; wait for the next samples, which decide within
    /// a second.
    Doubtful,
    /// It does: end the run.
    Over,
}

/// The watchdog of one run.
#[derive(Debug)]
pub struct Watch {
    proc: OwnedFd,
    init: Pid,
    memory_bytes_max: u64,
    listing: Listing,
    memfd_device: (u32, u32),
    memfds: Memfds,
    text: Box<[u8]>,
    tree: Vec<Stat>,
    seen: HashSet<u64>,
    weights: HashMap<u64, Weight>,
    round: u64,
    ticks_doubtful: u64,
    peak: Sample,
}

/// How the children of a process are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The kernel lists them (`CONFIG_PROC_CHILDREN`).
    Children,
    /// Every process of the host names its parent.
    Parents,
}

/// Memfds found so far; a scan too long for one tick goes on in the next.
#[derive(Debug, Default)]
struct Memfds {
    found: HashMap<u64, u64>,
    bytes: u64,
    resume_at: usize,
    ticks_since: u64,
    ticks_in_round: u64,
    host_shared_bytes: u64,
    unreadable: u64,
}

impl Watch {
    /// Watches the tree below `init`, the first process of the sandbox's pid
    /// namespace: orphans go to it, so everything descends from it. The
    /// caller has not waited for it yet, so that its number stays its own.
    ///
    /// # Errors
    /// When /proc does not show the process.
    pub fn new(init: Pid, limits: &Limits) -> Result<Watch, Errno> {
        let proc = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut watch = Watch {
            proc,
            init,
            memory_bytes_max: limits.memory_bytes,
            listing: Listing::Children,
            memfd_device: memfd_device()?,
            memfds: Memfds { ticks_since: TICKS_BETWEEN_SCANS, ..Memfds::default() },
            text: vec![0; TEXT_BYTES].into_boxed_slice(),
            tree: Vec::new(),
            seen: HashSet::new(),
            weights: HashMap::new(),
            round: 0,
            ticks_doubtful: 0,
            peak: Sample::default(),
        };
        let first = watch.init.as_raw_nonzero();
        Stat::read(&watch.proc, &format!("{first}/stat"))?;
        let children = format!("{first}/task/{first}/children");
        if read_at(&watch.proc, &children, &mut watch.text) == Err(Errno::NOENT) {
            watch.listing = Listing::Parents;
        }
        Ok(watch)
    }

    /// Looks once. `scratch` is the run's tmpfs, which must have a size; a
    /// folder on disk holds no memory and is passed over.
    pub fn tick(&mut self, scratch: Option<BorrowedFd<'_>>) -> Sample {
        let mut sample = Sample::default();
        self.tree.clear();
        self.seen.clear();
        match self.listing {
            Listing::Children => self.descend(&mut sample),
            Listing::Parents => self.scan_host(&mut sample),
        }
        let mut resident_pages: u64 = 0;
        let mut cpu_ticks: u64 = 0;
        for stat in &self.tree {
            resident_pages = resident_pages.saturating_add(stat.resident_pages);
            cpu_ticks = cpu_ticks.saturating_add(stat.cpu_ticks);
            sample.threads = sample.threads.saturating_add(stat.threads.max(1));
        }
        sample.processes = count(self.tree.len());
        // A process seen just before its end is not yet in its parent's
        // account; hence the peak and not the plain sum.
        let cpu_usec = cpu_ticks.saturating_mul(1_000_000 / clock_ticks_per_second().max(1));
        sample.cpu_usec = cpu_usec.max(self.peak.cpu_usec);
        sample.scratch_bytes = scratch.map_or(0, scratch_bytes);

        self.look_for_memfds(&mut sample);
        let files = sample.scratch_bytes.saturating_add(sample.memfd_bytes);
        sample.memory_bytes = pages(resident_pages).saturating_add(files);
        if sample.memory_bytes > self.memory_bytes_max / 5 * 4 {
            self.weigh(files, &mut sample);
        } else {
            self.ticks_doubtful = 0;
        }
        self.remember(&sample);
        sample
    }

    /// The most of each number in any sample so far.
    #[must_use]
    pub fn peak(&self) -> &Sample {
        &self.peak
    }

    fn remember(&mut self, sample: &Sample) {
        let peak = &mut self.peak;
        if sample.memory_bytes >= peak.memory_bytes {
            peak.memory_bytes = sample.memory_bytes;
            peak.precision = sample.precision;
            peak.verdict = sample.verdict;
        }
        peak.cpu_usec = sample.cpu_usec;
        peak.processes = peak.processes.max(sample.processes);
        peak.threads = peak.threads.max(sample.threads);
        peak.scratch_bytes = peak.scratch_bytes.max(sample.scratch_bytes);
        peak.memfd_bytes = peak.memfd_bytes.max(sample.memfd_bytes);
        peak.unreadable = peak.unreadable.max(sample.unreadable);
        peak.truncated |= sample.truncated;
    }

    fn descend(&mut self, sample: &mut Sample) {
        let mut waiting = vec![u64::from(self.init.as_raw_nonzero().get().unsigned_abs())];
        let mut threads_asked = 0;
        while let Some(pid) = waiting.pop() {
            // One that moved to another parent meanwhile may be listed twice.
            if !self.seen.insert(pid) {
                continue;
            }
            if self.tree.len() >= PROCESSES_MAX {
                sample.truncated = true;
                return;
            }
            // The directory pins the process: a reused number is not read.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(dir) = openat(&self.proc, pid.to_string(), flags, Mode::empty()) else {
                continue;
            };
            let Ok(stat) = Stat::read(&dir, "stat") else {
                continue;
            };
            self.tree.push(stat.through_living_thread(&dir, "task"));
            threads_asked += usize::try_from(stat.threads).unwrap_or(usize::MAX);
            if stat.threads <= 1 {
                self.children_of(&dir, pid, &mut waiting, sample);
            } else if threads_asked <= THREADS_MAX {
                for thread in numbers_in(&dir, "task", THREADS_MAX) {
                    self.children_of(&dir, thread, &mut waiting, sample);
                }
            } else {
                sample.truncated = true;
            }
        }
    }

    fn children_of(&mut self, dir: &OwnedFd, thread: u64, waiting: &mut Vec<u64>, sample: &mut Sample) {
        let Ok(text) = read_at(dir, &format!("task/{thread}/children"), &mut self.text) else {
            return;
        };
        sample.truncated |= text.len() == TEXT_BYTES;
        waiting.extend(text.split(|byte| *byte == b' ').filter_map(number).take(PROCESSES_MAX));
    }

    /// Slow, as it reads one line of every process on the host.
    fn scan_host(&mut self, sample: &mut Sample) {
        let all = numbers_in(&self.proc, "", HOST_PROCESSES_MAX);
        sample.truncated |= all.len() == HOST_PROCESSES_MAX;
        let mut families: HashMap<u64, Vec<Stat>> = HashMap::new();
        let mut waiting = Vec::new();
        for stat in all.iter().filter_map(|pid| Stat::read(&self.proc, &format!("{pid}/stat")).ok()) {
            if stat.pid == u64::from(self.init.as_raw_nonzero().get().unsigned_abs()) {
                waiting.push(stat);
            } else {
                families.entry(stat.parent).or_default().push(stat);
            }
        }
        while let Some(stat) = waiting.pop() {
            if self.tree.len() >= PROCESSES_MAX {
                sample.truncated = true;
                return;
            }
            self.tree.push(stat.through_living_thread(&self.proc, &format!("{}/task", stat.pid)));
            waiting.extend(families.remove(&stat.pid).unwrap_or_default());
        }
    }

    /// Reads descriptors only when memfds can have grown: all memory of that
    /// kind on the host is one number, which costs one system call.
    fn look_for_memfds(&mut self, sample: &mut Sample) {
        let info = sysinfo();
        let shared = info.sharedram.saturating_mul(u64::from(info.mem_unit));
        let grown = shared.saturating_sub(self.memfds.host_shared_bytes);
        self.memfds.ticks_since += 1;
        let due = self.memfds.ticks_since >= TICKS_BETWEEN_SCANS || self.memfds.resume_at > 0;
        if due || grown > (self.memory_bytes_max / 64).max(1 << 20) {
            self.memfds.host_shared_bytes = shared;
            self.memfds.ticks_since = 0;
            self.scan_descriptors(sample);
        } else if grown == 0 {
            self.memfds.host_shared_bytes = shared;
        }
        sample.memfd_bytes = self.memfds.bytes;
        sample.unreadable = self.memfds.unreadable;
    }

    fn scan_descriptors(&mut self, sample: &mut Sample) {
        let until = Instant::now() + BUDGET;
        let start = self.memfds.resume_at;
        if start == 0 {
            self.memfds.found.clear();
            self.memfds.unreadable = 0;
        }
        self.memfds.resume_at = 0;
        for (index, stat) in self.tree.iter().enumerate().skip(start) {
            if Instant::now() >= until {
                self.memfds.resume_at = index;
                break;
            }
            match memfds_of(&self.proc, stat.reader, self.memfd_device, &mut self.memfds.found) {
                Ok(Extent::Whole) => {}
                Ok(Extent::Part) => sample.truncated = true,
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(_) => self.memfds.unreadable += 1,
            }
        }
        let bytes = self.memfds.found.values().fold(0, |sum: u64, more| sum.saturating_add(*more));
        self.memfds.bytes = match self.memfds.resume_at {
            0 => bytes,
            _ => bytes.max(self.memfds.bytes),
        };
        self.memfds.ticks_in_round = match self.memfds.resume_at {
            0 => 0,
            _ => self.memfds.ticks_in_round + 1,
        };
        sample.truncated |= self.memfds.ticks_in_round > TICKS_IN_ROUND_MAX;
    }

    /// Near the limit: proportional sizes. Walking page tables takes about
    /// 1 ms for 200 MB, hence only here and with a budget; the stalest first,
    /// the others by their last weight and what they have grown since.
    ///
    /// What is mapped from scratch or a memfd is in the processes' shared part
    /// as well as in `files`. The larger of the two is taken: adding them
    /// would end honest runs at half their limit. So the smaller of the two
    /// can hide, which the scratch size bounds.
    fn weigh(&mut self, files: u64, sample: &mut Sample) {
        self.weigh_stalest();
        sample.precision = Precision::Proportional;
        let (mut own, mut shared, mut shared_once, mut largest): (u64, u64, u64, u64) = (0, 0, 0, 0);
        for stat in &self.tree {
            let mine = if let Some(weight) = self.weights.get(&stat.pid) {
                let grown = pages(stat.resident_pages.saturating_sub(weight.resident_pages));
                if grown > 0 {
                    sample.precision = Precision::Estimated;
                }
                shared = shared.saturating_add(weight.shared);
                weight.own.saturating_add(grown)
            } else {
                sample.precision = Precision::Estimated;
                let (mine, others) = resident(&self.proc, stat.reader).unwrap_or((0, 0));
                shared_once = shared_once.max(pages(others));
                pages(mine)
            };
            own = own.saturating_add(mine);
            largest = largest.max(mine);
        }
        sample.memory_bytes = own.saturating_add(files.max(shared.max(shared_once)));
        self.judge(largest.saturating_add(files), sample);
    }

    /// An estimate errs above, where forks share much, so it is trusted only
    /// when it persists, or when one process alone is over the limit.
    fn judge(&mut self, at_least: u64, sample: &mut Sample) {
        let is_over = sample.memory_bytes > self.memory_bytes_max;
        let is_estimate = sample.precision == Precision::Estimated;
        self.ticks_doubtful = if is_over && is_estimate { self.ticks_doubtful + 1 } else { 0 };
        let is_sure = !is_estimate || at_least > self.memory_bytes_max || self.ticks_doubtful > TICKS_DOUBTFUL_MAX;
        sample.verdict = match (is_over, is_sure) {
            (false, _) => Verdict::Within,
            (true, false) => Verdict::Doubtful,
            (true, true) => Verdict::Over,
        };
    }

    fn weigh_stalest(&mut self) {
        let until = Instant::now() + BUDGET;
        self.round += 1;
        let mut before = std::mem::take(&mut self.weights);
        let mut order = Vec::with_capacity(self.tree.len());
        for stat in &self.tree {
            let weight = before.remove(&stat.pid).filter(|weight| weight.started == stat.started);
            order.push((weight.as_ref().map_or(0, |weight| weight.round), *stat));
            self.weights.extend(weight.map(|weight| (stat.pid, weight)));
        }
        order.sort_unstable_by_key(|(round, _)| *round);
        for (_, stat) in order {
            let (own, shared) = match proportional(&self.proc, stat.reader) {
                Ok(weight) => weight,
                Err(Errno::NOENT | Errno::SRCH) => (0, 0),
                Err(_) => continue,
            };
            let Stat { started, resident_pages, .. } = stat;
            let weight = Weight { started, resident_pages, own, shared, round: self.round };
            self.weights.insert(stat.pid, weight);
            // After the work, so that the slowest machine still gets on.
            if Instant::now() >= until {
                return;
            }
        }
    }
}

/// The proportional size of a process when it was last weighed.
#[derive(Clone, Copy, Debug)]
struct Weight {
    started: u64,
    resident_pages: u64,
    own: u64,
    shared: u64,
    round: u64,
}

/// Whether all descriptors of a process were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

/// The kernel's own mount on which every memfd lies.
fn memfd_device() -> Result<(u32, u32), Errno> {
    let sample = memfd_create("stockade", MemfdFlags::CLOEXEC)?;
    let stat = statx(&sample, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor))
}

fn memfds_of(proc: &OwnedFd, pid: u64, device: (u32, u32), found: &mut HashMap<u64, u64>) -> Result<Extent, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(proc, format!("{pid}/fd"), flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut space);
    let mut looked_at = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if number(entry.file_name().to_bytes()).is_none() {
            continue;
        }
        looked_at += 1;
        if looked_at > DESCRIPTORS_MAX {
            return Ok(Extent::Part);
        }
        // The name first: asking a file on a dead network mount could hang.
        let mut name = [0; 7];
        let named = readlinkat_raw(&dir, entry.file_name(), &mut name[..]).is_ok() && name == *b"/memfd:";
        if !named {
            continue;
        }
        // The name alone can be forged, the device cannot.
        let wanted = StatxFlags::INO | StatxFlags::BLOCKS;
        if let Ok(stat) = statx(&dir, entry.file_name(), AtFlags::STATX_DONT_SYNC, wanted)
            && (stat.stx_dev_major, stat.stx_dev_minor) == device
        {
            found.insert(stat.stx_ino, stat.stx_blocks.saturating_mul(512));
        }
    }
    Ok(Extent::Whole)
}

/// Own bytes, swapped ones included, and the share of shared memory.
fn proportional(proc: &OwnedFd, pid: u64) -> Result<(u64, u64), Errno> {
    let mut text = [0; 2048];
    let text = read_at(proc, &format!("{pid}/smaps_rollup"), &mut text)?;
    let value = |key: &[u8]| {
        let rest = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key))?;
        Some(number(rest.trim_ascii().strip_suffix(b" kB")?.trim_ascii())?.saturating_mul(1024))
    };
    let swapped = value(b"SwapPss:").unwrap_or(0);
    match (value(b"Pss_Anon:"), value(b"Pss_Shmem:"), value(b"Pss:")) {
        (Some(own), Some(shared), _) => Ok((own.saturating_add(swapped), shared)),
        // Before 5.9 there is only the sum.
        (_, _, Some(all)) => Ok((all.saturating_add(swapped), 0)),
        // A process without memory: a zombie.
        _ => Ok((0, 0)),
    }
}

/// Own and shared resident pages, where the exact sizes are refused.
fn resident(proc: &OwnedFd, pid: u64) -> Option<(u64, u64)> {
    let mut text = [0; 256];
    let text = read_at(proc, &format!("{pid}/statm"), &mut text).ok()?;
    let mut fields = text.split(|byte| *byte == b' ').skip(1).map(number);
    let (all, shared) = (fields.next()??, fields.next()??);
    Some((all.saturating_sub(shared), shared))
}

fn scratch_bytes(scratch: BorrowedFd<'_>) -> u64 {
    let Ok(stat) = fstatfs(scratch) else { return 0 };
    if stat.f_type != TMPFS_MAGIC {
        return 0;
    }
    let block = u64::try_from(stat.f_bsize).unwrap_or(0);
    stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(block)
}

fn numbers_in(dir: &OwnedFd, name: &str, most: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let name = if name.is_empty() { "." } else { name };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(dir, name, flags, Mode::empty()) else {
        return found;
    };
    let mut space = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&dir, &mut space);
    while let Some(Ok(entry)) = entries.next() {
        found.extend(number(entry.file_name().to_bytes()));
        if found.len() >= most {
            break;
        }
    }
    found
}

fn pages(count: u64) -> u64 {
    count.saturating_mul(self::count(page_size()))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u64,
    /// The thread through which memory and descriptors are read.
    reader: u64,
    is_zombie: bool,
    pub(crate) parent: u64,
    /// Own time and that of the children waited for: so each process counts
    /// once in the sum over a tree.
    cpu_ticks: u64,
    threads: u64,
    pub(crate) started: u64,
    resident_pages: u64,
}

impl Stat {
    /// Reads it for a process number or `self`, in the host's /proc.
    pub(crate) fn of(process: &str) -> Result<Stat, Errno> {
        Stat::read(CWD, &format!("/proc/{process}/stat"))
    }

    pub(crate) fn read(dir: impl AsFd, path: &str) -> Result<Stat, Errno> {
        let mut text = [0; 1024];
        Stat::parse(read_at(dir, path, &mut text)?).ok_or(Errno::INVAL)
    }

    /// A first thread that ends before the others leaves a process that shows
    /// neither memory nor descriptors, except through another thread.
    fn through_living_thread(self, dir: &OwnedFd, threads: &str) -> Stat {
        if !self.is_zombie || self.threads <= 1 {
            return self;
        }
        let others = numbers_in(dir, threads, THREADS_MAX);
        let mut read = others.iter().filter_map(|id| Stat::read(dir, &format!("{threads}/{id}/stat")).ok());
        match read.find(|other| !other.is_zombie) {
            Some(other) => Stat { reader: other.pid, resident_pages: other.resident_pages, ..self },
            None => self,
        }
    }

    /// The second field is the process's own choice and may hold anything,
    /// `) R 1 (` too; nothing after its last bracket holds another.
    fn parse(text: &[u8]) -> Option<Stat> {
        let pid = number(text.split(|byte| *byte == b' ').next()?)?;
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = text.get(end..)?.strip_prefix(b") ")?;
        let is_zombie = rest.starts_with(b"Z");
        // From the third field on; `at` counts as proc(5) does.
        let mut fields = rest.split(|byte| *byte == b' ').enumerate();
        let mut at = |wanted: usize| {
            let (_, field) = fields.find(|(index, _)| index + 3 == wanted)?;
            // Times of a process in trouble have been seen negative.
            if field.starts_with(b"-") { Some(0) } else { number(field) }
        };
        let parent = at(4)?;
        let cpu_ticks = [14, 15, 16, 17].iter().try_fold(0, |sum: u64, n| Some(sum.saturating_add(at(*n)?)))?;
        let (threads, started, resident_pages) = (at(20)?, at(22)?, at(24)?);
        Some(Stat { pid, reader: pid, is_zombie, parent, cpu_ticks, threads, started, resident_pages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &[u8] = b" S 7 1 1 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 3 0 5555 1000 66 18446744073709551615 1 1\n";

    fn with_name(name: &[u8]) -> Vec<u8> {
        [b"42 (", name, b")", TAIL].concat()
    }

    #[test]
    fn a_hostile_process_name_changes_nothing() {
        let plain = Stat::parse(&with_name(b"cat")).unwrap();
        let wanted = Stat {
            pid: 42,
            reader: 42,
            is_zombie: false,
            parent: 7,
            cpu_ticks: 110,
            threads: 3,
            started: 5555,
            resident_pages: 66,
        };
        assert_eq!(plain, wanted);
        let names: [&[u8]; 7] =
            [b"a) R 1 (", b")", b"((((", b"", b") S 1 1 1 1 1 1 1 1 1", b"\xff\n\x00 ) ", b") R 9 9 9 (x)"];
        for name in names {
            assert_eq!(Stat::parse(&with_name(name)), Some(wanted), "{name:?}");
        }
    }

    #[test]
    fn broken_lines_are_refused_without_a_panic() {
        let whole = with_name(b"x");
        // Cut anywhere before the 24th field, it is not a stat line.
        let until = whole.windows(4).position(|w| w == b" 66 ").unwrap();
        for length in 0..=until {
            assert_eq!(Stat::parse(&whole[..length]), None, "{length}");
        }
        for text in [&b"(x) S 1"[..], b"-1 (x) S", b"42 (x)S 7", b"42 x S 7", b"\xff\xff"] {
            assert_eq!(Stat::parse(text), None);
        }
    }

    #[test]
    fn huge_and_negative_numbers_do_not_overflow() {
        let text = b"1 (x) S 0 1 1 0 -1 4 1 0 0 0 18446744073709551615 18446744073709551615 -5 -1 20 0 1 0 1 1 18446744073709551615 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.cpu_ticks, u64::MAX);
        assert_eq!(pages(stat.resident_pages), u64::MAX);
    }

    #[test]
    fn both_ways_of_listing_see_the_same_tree() {
        let script = "sleep 20 & sleep 20 & (sleep 20 & wait) & wait";
        let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let init = Pid::from_child(&child);
        let limits = Limits { memory_bytes: 1 << 30, pids: 64, cpu_percent: 100 };
        let mut watch = Watch::new(init, &limits).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while watch.tick(None).processes < 5 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let listed = watch.tick(None);
        watch.listing = Listing::Parents;
        let scanned = watch.tick(None);
        let pids: Vec<u64> = watch.tree.iter().map(|stat| stat.pid).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        for pid in pids {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            if pid != init {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        assert_eq!((listed.processes, scanned.processes), (5, 5));
        assert_eq!(listed.threads, scanned.threads);
    }
}
