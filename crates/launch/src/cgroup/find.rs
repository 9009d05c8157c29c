//! Where groups for runs can be made: reads what the kernel shows of this process's own groups, changes
//! nothing. *Parent, outside, may still be privileged.*

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::getxattr;
use rustix::io::Errno;
use rustix::process::getpid;

use super::{SUPERVISOR, members, open_dir, read_at};

/// A mount table larger than this is not read to its end.
const TABLE_BYTES_MAX: u64 = 4 << 20;

/// Where groups for runs can be made on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    /// One tree for all controllers.
    V2(Unified),
    /// One tree per controller or set of controllers.
    V1(Vec<Hierarchy>),
    /// No usable groups; the run needs a [`crate::watch::Watch`].
    None(Absent),
}

/// A version 2 directory below which runs' groups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unified {
    /// The directory.
    pub dir: PathBuf,
    /// What it can hand to its children.
    pub controllers: Controllers,
}

/// This process's own directory in one version 1 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The directory.
    pub dir: PathBuf,
    /// Which controllers the tree carries.
    pub controllers: Controllers,
}

/// A set of the controllers used here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set, one member each")]
pub struct Controllers {
    /// Bytes.
    pub memory: bool,
    /// Processes and threads.
    pub pids: bool,
    /// Share of processor time.
    pub cpu: bool,
    /// Processor time used (version 1 only; version 2 always counts it).
    pub cpuacct: bool,
}

/// Why no group can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The kind of obstacle.
    pub why: Why,
    /// Where it was met.
    pub path: PathBuf,
    /// What the kernel said, if it was asked.
    pub errno: Option<Errno>,
}

/// Kinds of obstacle to making groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A file that describes the groups cannot be read.
    Unreadable,
    /// No control group file system shows this process's own group.
    NotMounted,
    /// The memory or pids controller is not handed to this process's group.
    NoControllers,
    /// Other processes share this process's group, so that version 2 cannot
    /// limit its children.
    Occupied,
}

/// Finds where groups can be made; reads only, changes nothing.
///
/// Version 2 is taken if it carries memory and pids, else version 1. Whether
/// this process may make a group there shows in `Group::create`.
///
/// Version 2 lets a group hold either processes or limited children. So the
/// place is, in this order:
/// 1. our own group, if it hands out memory and pids already or is the root;
/// 2. the group above, if it hands them out and is known to be ours to use:
///    we sit in the leaf [`SUPERVISOR`], or systemd marked it as delegated,
///    or it is the top of a container's view;
/// 3. our own group, if no process but this one is in it (a systemd scope with
///    `Delegate=yes`): `create` then moves this process into the leaf, once.
///    Call this before the first child is started, or the child is in the way.
///
/// Otherwise the answer is [`Why::Occupied`].
#[must_use]
pub fn find() -> Available {
    look().unwrap_or_else(Available::None)
}

fn look() -> Result<Available, Absent> {
    let own = table("/proc/self/cgroup")?;
    let mounts = table("/proc/self/mountinfo")?;
    let absent = match unified(&own, &mounts) {
        Ok(place) => return Ok(Available::V2(place)),
        Err(absent) => absent,
    };
    let trees = hierarchies(&own, &mounts);
    let has = |wanted: fn(&Controllers) -> bool| trees.iter().any(|t| wanted(&t.controllers));
    if has(|c| c.memory) && has(|c| c.pids) {
        return Ok(Available::V1(trees));
    }
    Err(absent)
}

fn table(path: &str) -> Result<Vec<u8>, Absent> {
    let mut text = Vec::with_capacity(8 << 10);
    File::open(path)
        .and_then(|file| file.take(TABLE_BYTES_MAX).read_to_end(&mut text))
        .map(|_| text)
        .map_err(|error| Absent { why: Why::Unreadable, path: path.into(), errno: Errno::from_io_error(&error) })
}

fn unified(own: &[u8], mounts: &[u8]) -> Result<Unified, Absent> {
    let nowhere = |why, path: &Path, errno| Absent { why, path: path.into(), errno };
    let not_mounted = || nowhere(Why::NotMounted, Path::new("/proc/self/mountinfo"), None);
    let (_, path) = memberships(own).find(|(names, _)| names.is_empty()).ok_or_else(not_mounted)?;
    let (top, dir) = directory(mounts, None, path).ok_or_else(not_mounted)?;
    let listed = |dir: &Path, name: &str| {
        let mut text = [0; 512];
        let handle = open_dir(dir).map_err(|e| nowhere(Why::Unreadable, dir, Some(e)))?;
        let text = read_at(&handle, name, &mut text).map_err(|e| nowhere(Why::Unreadable, &dir.join(name), Some(e)))?;
        Ok(Controllers::named(text, b' '))
    };
    let controllers = listed(&dir, "cgroup.controllers");
    let hands_out = |dir: &Path| listed(dir, "cgroup.subtree_control").is_ok_and(Controllers::suffice);
    // Only the true root has no type; there processes and children may mix.
    if hands_out(&dir) || !dir.join("cgroup.type").exists() {
        let controllers = controllers?;
        return match controllers.suffice() {
            true => Ok(Unified { dir, controllers }),
            false => Err(nowhere(Why::NoControllers, &dir, None)),
        };
    }
    if let Some(above) = dir.parent().filter(|above| above.starts_with(&top)) {
        // The top of a container's view belongs to the container; the true
        // root, which has no type, to the host.
        let container = above == top && above.join("cgroup.type").exists();
        let ours = dir.file_name() == Some(OsStr::new(SUPERVISOR)) || container || delegated(above);
        if ours && hands_out(above) {
            let controllers = listed(above, "cgroup.controllers")?;
            return Ok(Unified { dir: above.into(), controllers });
        }
    }
    let controllers = controllers?;
    if !controllers.suffice() {
        return Err(nowhere(Why::NoControllers, &dir, None));
    }
    match open_dir(&dir).and_then(|handle| alone(&handle)) {
        Ok(true) => Ok(Unified { dir, controllers }),
        Ok(false) => Err(nowhere(Why::Occupied, &dir, None)),
        Err(errno) => Err(nowhere(Why::Unreadable, &dir, Some(errno))),
    }
}

/// Whether systemd marked the group as its owner's to divide; without the
/// mark, making groups there breaks systemd's rule of a single writer.
fn delegated(dir: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0; 1];
        getxattr(dir, name, &mut value[..]).is_ok() && value == *b"1"
    };
    marked("user.delegate") || marked("trusted.delegate")
}

pub(super) fn alone(dir: &OwnedFd) -> Result<bool, Errno> {
    Ok(members(dir)?.iter().all(|member| *member == Some(getpid())))
}

fn hierarchies(own: &[u8], mounts: &[u8]) -> Vec<Hierarchy> {
    let place = |(names, path): (&[u8], &[u8])| {
        let controllers = Controllers::named(names, b',');
        let first = names.split(|byte| *byte == b',').next()?;
        let (_, dir) = directory(mounts, Some(first), path)?;
        (controllers != Controllers::default()).then_some(Hierarchy { dir, controllers })
    };
    memberships(own).filter(|(names, _)| !names.is_empty()).filter_map(place).collect()
}

/// Pairs of controller names and path; the unified tree has no names.
fn memberships(own: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    own.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        Some((fields.next()?, fields.next()?))
    })
}

/// Where a group's path is visible: the mount's own directory, and the group's.
fn directory(mounts: &[u8], controller: Option<&[u8]>, path: &[u8]) -> Option<(PathBuf, PathBuf)> {
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let root = unescape(fields.next()?);
        let point = PathBuf::from(OsStr::from_bytes(&unescape(fields.next()?)));
        let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, options) = (tail.next()?, tail.nth(1)?);
        let carries = match controller {
            None => kind == b"cgroup2",
            Some(name) => kind == b"cgroup" && options.split(|byte| *byte == b',').any(|o| o == name),
        };
        // A bind mount, or another group namespace, shows only a part.
        let below = Path::new(OsStr::from_bytes(path)).strip_prefix(OsStr::from_bytes(&root)).ok()?;
        let dir = if below.as_os_str().is_empty() { point.clone() } else { point.join(below) };
        carries.then_some((point, dir))
    })
}

/// The mount table writes blanks, tabs, line ends and backslashes in octal.
fn unescape(field: &[u8]) -> Vec<u8> {
    let octal = |text: &[u8]| {
        let digits = std::str::from_utf8(text.first_chunk::<3>()?).ok()?;
        u8::from_str_radix(digits, 8).ok()
    };
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = if first == b'\\' { octal(tail) } else { None };
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    plain
}

impl Controllers {
    pub(super) fn named(text: &[u8], separator: u8) -> Controllers {
        let has = |name: &[u8]| text.trim_ascii().split(|byte| *byte == separator).any(|n| n == name);
        Controllers { memory: has(b"memory"), pids: has(b"pids"), cpu: has(b"cpu"), cpuacct: has(b"cpuacct") }
    }

    pub(super) fn suffice(self) -> bool {
        self.memory && self.pids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 /docker/ab /sys/fs/c\\040group/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_group_is_found_below_a_partial_mount_with_blanks_in_its_path() {
        let own = b"4:memory:/a:b/c\n2:cpu,cpuacct:/docker/ab/run\n1:name=systemd:/\n0::/x\n";
        let found = hierarchies(own, MOUNTS);
        let dirs: Vec<_> = found.iter().map(|tree| tree.dir.to_str().unwrap()).collect();
        assert_eq!(dirs, ["/sys/fs/cgroup/memory/a:b/c", "/sys/fs/c group/cpu,cpuacct/run"]);
        assert!(found[1].controllers.cpu && found[1].controllers.cpuacct && !found[1].controllers.memory);
        let (top, dir) = directory(MOUNTS, None, b"/x").unwrap();
        assert_eq!((top.to_str(), dir.to_str()), (Some("/sys/fs/cgroup/unified"), Some("/sys/fs/cgroup/unified/x")));
    }

    #[test]
    fn a_group_outside_the_mounted_part_is_not_found() {
        assert_eq!(directory(MOUNTS, Some(b"cpu"), b"/docker/abc"), None);
        assert_eq!(directory(MOUNTS, Some(b"cpu"), b"/"), None);
        assert_eq!(directory(b"garbage\n1 2 3\n\n", None, b"/"), None);
    }

    #[test]
    fn octal_escapes_are_undone_and_broken_ones_kept() {
        assert_eq!(unescape(br"a\040b\134c"), br"a b\c");
        assert_eq!(unescape(br"\04"), br"\04");
        assert_eq!(unescape(br"\999x\"), br"\999x\");
    }
}
