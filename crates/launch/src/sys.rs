//! System calls, one function each, safe to call, no policy. With `network/sys.rs` the only file with `unsafe`.
//!
//! Every call that builds a wall goes through here, also those that rustix already makes safe, so
//! that the fault tests can fail the n-th of them (see [`crate::hooks`]).
#![expect(unsafe_code, reason = "the one file that may: system calls that no kept crate wraps")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::Pid;

use crate::hooks;
use crate::seccomp::Instruction;

/// The result of a system call.
pub(crate) type Sys<T> = Result<T, Errno>;

pub(crate) fn call<T>(name: &'static str, result: impl FnOnce() -> Sys<T>) -> Sys<T> {
    hooks::fault(name)?;
    result()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

pub(crate) fn check(returned: libc::c_long) -> Sys<libc::c_long> {
    if returned < 0 { Err(last_errno()) } else { Ok(returned) }
}

/// What a fork-like call returned.
#[derive(Debug)]
pub(crate) enum Forked {
    /// In the child.
    Child,
    /// In the parent.
    Parent {
        /// The child's process id, in the parent's pid namespace.
        pid: Pid,
        /// Its pidfd.
        pidfd: OwnedFd,
    },
}

/// clone3(2) without `CLONE_VM`: a fork into new namespaces, and into `cgroup` (v2) when given.
///
/// The caller must be single-threaded: the child goes on in a copy of this memory, where a lock
/// held by another thread would never be released. [`single_threaded`] checks it.
pub(crate) fn clone_into(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Sys<Forked> {
    clone_as(Kin::Child, namespaces, cgroup)
}

/// The same, and this process's own parent is the parent: it waits for the new one, and outlives it.
pub(crate) fn clone_beside(namespaces: u64) -> Sys<Forked> {
    clone_as(Kin::Sibling, namespaces, None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kin {
    Child,
    Sibling,
}

fn clone_as(kin: Kin, namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Sys<Forked> {
    const PIDFD: u64 = 0x1000;
    const PARENT: u64 = 0x8000;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    call("clone3", || {
        let mut pidfd: RawFd = -1;
        let mut arguments = CloneArgs {
            flags: namespaces | PIDFD,
            pidfd: (&raw mut pidfd).addr().try_into().map_err(|_| Errno::INVAL)?,
            exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
            ..CloneArgs::default()
        };
        if kin == Kin::Sibling {
            // Its end is signalled as this one's (clone(2)).
            arguments.flags |= PARENT;
            arguments.exit_signal = 0;
        }
        if let Some(cgroup) = cgroup {
            arguments.flags |= INTO_CGROUP;
            arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        }
        // SAFETY: `arguments` is a `struct clone_args` of the size given; without CLONE_VM the child
        // has its own copy of this stack, so returning twice is as with fork(2).
        let returned = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) };
        let returned = match check(returned) {
            // Default containers answer so, for a filter cannot read its flags; a plain fork is permitted.
            Err(Errno::NOSYS) if kin == Kin::Child && namespaces == 0 && cgroup.is_none() => {
                let flags = PIDFD | u64::from(libc::SIGCHLD.unsigned_abs());
                // SAFETY: as above; with CLONE_PIDFD the third argument is where the descriptor goes, on
                // both architectures, and the others are not read.
                check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) })?
            }
            other => other?,
        };
        match Pid::from_raw(i32::try_from(returned).map_err(|_| Errno::INVAL)?) {
            None => Ok(Forked::Child),
            Some(pid) => {
                // SAFETY: the kernel stored a new descriptor, owned by nobody else, on success.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Forked::Parent { pid, pidfd })
            }
        }
    })
}

/// Whether this process has one thread only, which [`clone_into`] needs.
pub(crate) fn single_threaded() -> bool {
    rustix::fs::stat("/proc/self/task").is_ok_and(|tasks| tasks.st_nlink == 3)
}

/// mount_setattr(2): attributes of a mount, or of a tree of mounts, given by descriptor.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: MountAttrFlags,
    id_map: Option<BorrowedFd<'_>>,
) -> Sys<()> {
    const RECURSIVE: libc::c_uint = 0x8000;
    const EMPTY_PATH: libc::c_uint = 0x1000;
    const IDMAP: u64 = 0x0010_0000;
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    call("mount_setattr", || {
        let mut attributes = MountAttr { attr_set: u64::from(set.bits()), attr_clr: 0, propagation: 0, userns_fd: 0 };
        if let Some(namespace) = id_map {
            attributes.attr_set |= IDMAP;
            attributes.userns_fd = u64::from(namespace.as_raw_fd().unsigned_abs());
        }
        let flags = if recursive { RECURSIVE | EMPTY_PATH } else { EMPTY_PATH };
        // SAFETY: the path is an empty C string, `attributes` a `struct mount_attr` of the size given.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw const attributes,
                size_of::<MountAttr>(),
            )
        };
        check(returned).map(drop)
    })
}

/// Makes every mount of this namespace private, so that nothing done here is seen outside.
pub(crate) fn make_mounts_private() -> Sys<()> {
    call("mount private", || {
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
    })
}

/// A clone of the mount tree at `path`, detached.
pub(crate) fn open_tree(folder: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Sys<OwnedFd> {
    call("open_tree", || {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if path.is_empty() {
            flags |= OpenTreeFlags::AT_EMPTY_PATH;
        }
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        rustix::mount::open_tree(folder, path, flags)
    })
}

/// Attaches a detached mount at `path`.
pub(crate) fn move_mount(mount: BorrowedFd<'_>, path: &CStr) -> Sys<()> {
    call("move_mount", || {
        rustix::mount::move_mount(mount, c"", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    })
}

/// Attaches a detached mount on an open mount point.
pub(crate) fn move_mount_onto(mount: BorrowedFd<'_>, point: BorrowedFd<'_>) -> Sys<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    call("move_mount", || rustix::mount::move_mount(mount, c"", point, c"", flags))
}

/// Opens one folder of an open folder, never through a link; makes it when it is missing.
pub(crate) fn enter_or_make(folder: BorrowedFd<'_>, name: &CStr) -> Sys<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    let enter = || call("openat2", || rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve));
    match enter() {
        Err(Errno::NOENT) => {
            call("mkdir", || rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)))?;
            enter()
        }
        other => other,
    }
}

/// A new file system of the kind, with options, detached.
pub(crate) fn new_mount(kind: &CStr, options: &[(&CStr, &CStr)], attributes: MountAttrFlags) -> Sys<OwnedFd> {
    call("fsmount", || {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            if value.is_empty() {
                rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?;
            } else {
                rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
            }
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })
}

/// Makes the working directory the root; the old root lies at `old`, below it, from then on.
pub(crate) fn pivot_root(old: &CStr) -> Sys<()> {
    call("pivot_root", || rustix::process::pivot_root(c".", old))?;
    rustix::process::chdir("/")
}

/// Binds `source` and what is mounted below it at `target`, with the attributes it has there.
pub(crate) fn bind(source: &CStr, target: &CStr) -> Sys<()> {
    call("mount bind", || rustix::mount::mount_bind_recursive(source, target))
}

/// Detaches what is mounted at `path`.
pub(crate) fn detach(path: &CStr) -> Sys<()> {
    call("umount", || rustix::mount::unmount(path, UnmountFlags::DETACH))
}

/// Changes the working directory to a descriptor.
pub(crate) fn enter_folder(folder: BorrowedFd<'_>) -> Sys<()> {
    call("fchdir", || rustix::process::fchdir(folder))
}

/// Opens a path with every symbolic and magic link refused.
pub(crate) fn open_without_links(path: &CStr, flags: OFlags) -> Sys<OwnedFd> {
    call("openat2", || {
        rustix::fs::openat2(
            rustix::fs::CWD,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    })
}

/// Makes a folder; one that exists is as good.
pub(crate) fn make_folder(path: &CStr, mode: u32) -> Sys<()> {
    match call("mkdir", || rustix::fs::mkdir(path, Mode::from_raw_mode(mode))) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Makes an empty file (a mount point) or one with contents.
pub(crate) fn make_file(path: &CStr, contents: &[u8]) -> Sys<()> {
    call("create", || {
        let file = rustix::fs::open(
            path,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::from_raw_mode(0o644),
        )?;
        let mut rest = contents;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    })
}

/// Sets an extended attribute; many file systems know of none.
pub(crate) fn set_attribute(path: &CStr, name: &CStr) -> Sys<()> {
    call("setxattr", || rustix::fs::setxattr(path, name, b"y", rustix::fs::XattrFlags::empty()))
}

/// Makes a symbolic link.
pub(crate) fn make_link(path: &CStr, text: &CStr) -> Sys<()> {
    call("symlink", || rustix::fs::symlink(text, path))
}

/// Makes an overlay whiteout: a character device 0:0, which needs no privilege (Linux 5.8).
pub(crate) fn make_whiteout(path: &CStr) -> Sys<()> {
    call("mknod", || {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::CharacterDevice, Mode::empty(), 0)
    })
}

/// Writes a small kernel file (`uid_map`, `cgroup.procs`) in one call, as those need.
pub(crate) fn write_kernel_file(folder: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> Sys<()> {
    call("write kernel file", || {
        let file = rustix::fs::openat(folder, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        if rustix::io::write(&file, text)? == text.len() { Ok(()) } else { Err(Errno::IO) }
    })
}

/// Becomes the user and group, in all three senses, keeping the capabilities of the namespace.
pub(crate) fn become_user(id: u32, drop_groups: bool) -> Sys<()> {
    if drop_groups {
        call("setgroups", || rustix::thread::set_thread_groups(&[]))?;
    }
    let (user, group) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
    call("setresgid", || rustix::thread::set_thread_res_gid(group, group, group))?;
    call("setresuid", || rustix::thread::set_thread_res_uid(user, user, user))
}

/// Does `work` with the rights of another user of this process's namespace, and becomes root of it again.
pub(crate) fn with_effective_user<T>(user: u32, work: impl FnOnce() -> Sys<T>) -> Sys<T> {
    use rustix::thread::set_thread_res_uid;
    let root = rustix::fs::Uid::ROOT;
    over_changes_of_user(|| {
        call("seteuid", || set_thread_res_uid(root, rustix::fs::Uid::from_raw(user), root))?;
        let done = work();
        // If it could not become itself again, nothing after this may be trusted.
        call("seteuid back", || set_thread_res_uid(root, root, root))?;
        done
    })
}

/// Keeps what the kernel takes from a process whose user changes (`commit_creds`): its end with its parent, and its
/// own `/proc` files, and those of its children.
fn over_changes_of_user<T>(work: impl FnOnce() -> Sys<T>) -> Sys<T> {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getppid, parent_process_death_signal};
    let (dumpable, signal, parent) = (dumpable_behavior()?, parent_process_death_signal()?, getppid());
    let done = work();
    if dumpable == DumpableBehavior::Dumpable {
        set_dumpable(true)?;
    }
    if signal.is_some() {
        call("parent death", || rustix::process::set_parent_process_death_signal(signal))?;
        // It ended meanwhile, which nobody was told.
        if getppid() != parent {
            return Err(Errno::SRCH);
        }
    }
    done
}

/// Gives a file to a user.
pub(crate) fn give_file(folder: BorrowedFd<'_>, name: &str, user: u32) -> Sys<()> {
    call("fchownat", || {
        let user = rustix::fs::Uid::from_raw(user);
        rustix::fs::chownat(folder, name, Some(user), None, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
    })
}

/// Moves this process into namespaces of its own.
pub(crate) fn unshare(namespaces: u64) -> Sys<()> {
    call("unshare", || {
        let flags = libc::c_int::try_from(namespaces).map_err(|_| Errno::INVAL)?;
        // SAFETY: unshare(2) without CLONE_FILES or CLONE_VM touches no memory.
        check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
    })
}

/// Sets the host name of this UTS namespace.
pub(crate) fn set_host_name(name: &[u8]) -> Sys<()> {
    call("sethostname", || rustix::system::sethostname(name))
}

/// No program this process executes gains rights: prctl(PR_SET_NO_NEW_PRIVS).
pub(crate) fn set_no_new_privileges() -> Sys<()> {
    call("no_new_privs", || rustix::thread::set_no_new_privs(true))
}

/// Dies when the thread that made this process ends: prctl(PR_SET_PDEATHSIG).
pub(crate) fn die_with_parent() -> Sys<()> {
    call("pdeathsig", || rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)))
}

/// Whether others of its user may read memory, descriptors and environment of this process.
pub(crate) fn set_dumpable(dumpable: bool) -> Sys<()> {
    use rustix::process::DumpableBehavior as Behavior;
    call("dumpable", || {
        rustix::process::set_dumpable_behavior(if dumpable { Behavior::Dumpable } else { Behavior::NotDumpable })
    })
}

/// Keeps capabilities over a change of user: prctl(PR_SET_KEEPCAPS).
pub(crate) fn keep_capabilities() -> Sys<()> {
    call("keepcaps", || rustix::thread::set_keep_capabilities(true))
}

/// Raises the permitted capabilities to effective ones, after a change of user cleared those.
pub(crate) fn raise_capabilities() -> Sys<()> {
    call("capset raise", || {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.effective = sets.permitted;
        rustix::thread::set_capabilities(None, sets)
    })
}

/// Gives up every capability of this process; one that never executes gets none back.
pub(crate) fn drop_capabilities() -> Sys<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    call("capset drop", || rustix::thread::set_capabilities(None, none))
}

/// Empties the bounding and ambient sets and locks the secure bits, then drops every capability, so
/// that no identity change or execution brings one back.
pub(crate) fn drop_capabilities_for_good() -> Sys<()> {
    empty_bounding_set()?;
    lock_secure_bits()?;
    clear_ambient_capabilities()?;
    drop_capabilities()
}

/// No execution gives a capability any more.
pub(crate) fn empty_bounding_set() -> Sys<()> {
    use rustix::thread::CapabilitySet;
    call("capbset drop", || {
        // The kernel answers EINVAL for the first number it does not know (capabilities(7)).
        for capability in 0..64 {
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability))
            {
                Ok(()) => {}
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    })
}

/// Root's number means nothing any more, for good.
pub(crate) fn lock_secure_bits() -> Sys<()> {
    use rustix::thread::CapabilitiesSecureBits as Bits;
    call("securebits", || {
        let bits = Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
        rustix::thread::set_capabilities_secure_bits(bits)
    })
}

/// No capability survives an execution by itself.
pub(crate) fn clear_ambient_capabilities() -> Sys<()> {
    call("ambient clear", rustix::thread::clear_ambient_capability_set)
}

/// Processes below this one that lose their parent become its children: prctl(PR_SET_CHILD_SUBREAPER).
pub(crate) fn become_reaper() -> Sys<()> {
    call("subreaper", || rustix::process::set_child_subreaper(Some(rustix::process::getpid())))
}

/// Sets a resource limit, soft and hard.
pub(crate) fn limit(resource: rustix::process::Resource, most: u64) -> Sys<()> {
    call("setrlimit", || {
        let hard = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
        rustix::process::setrlimit(resource, rustix::process::Rlimit { current: Some(hard), maximum: Some(hard) })
    })
}

/// Loads a seccomp filter; with `listener`, refusals that are told arrive at the returned descriptor.
pub(crate) fn load_filter(program: &[Instruction], listener: bool) -> Sys<Option<OwnedFd>> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Instruction,
    }
    call("seccomp", || {
        let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
        let argument = Program { length, filter: program.as_ptr() };
        let flags = if listener { NEW_LISTENER } else { 0 };
        // SAFETY: `argument` is a `struct sock_fprog`; `Instruction` has the layout of `struct sock_filter`.
        let returned = check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const argument) })?;
        if !listener {
            return Ok(None);
        }
        let descriptor = RawFd::try_from(returned).map_err(|_| Errno::INVAL)?;
        // SAFETY: with NEW_LISTENER a success is a new descriptor that nobody else owns.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    })
}

/// One refused system call, as the kernel told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    id: u64,
    /// Its number on this architecture.
    pub(crate) number: i32,
}

/// Takes one refused call from the listener: `SECCOMP_IOCTL_NOTIF_RECV`.
pub(crate) fn next_refused(listener: BorrowedFd<'_>) -> Sys<Refused> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    // SAFETY: seccomp_notif is plain data, for which zeroes are valid and demanded (seccomp_unotify(2)).
    let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request reads and writes one `struct seccomp_notif`.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut told) }))?;
    Ok(Refused { id: told.id, number: told.data.nr })
}

/// Answers a refused call with EPERM; it is never continued.
pub(crate) fn answer_refused(listener: BorrowedFd<'_>, refused: Refused) -> Sys<()> {
    const SEND: libc::c_ulong = 0xc018_2101;
    let answer = libc::seccomp_notif_resp { id: refused.id, val: 0, error: -libc::EPERM, flags: 0 };
    // SAFETY: the request reads one `struct seccomp_notif_resp`.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) })).map(drop)
}

/// The process that connected a Unix socket: `SO_PEERPIDFD` of unix(7), Linux 6.5.
pub(crate) fn peer_process(socket: BorrowedFd<'_>) -> Sys<OwnedFd> {
    const PEER_PIDFD: libc::c_int = 77;
    let mut descriptor: RawFd = -1;
    let mut size = libc::socklen_t::try_from(size_of::<RawFd>()).map_err(|_| Errno::INVAL)?;
    let (value, length) = ((&raw mut descriptor).cast(), &raw mut size);
    // SAFETY: the option writes at most `size` bytes, which is one descriptor, and says how many it wrote.
    let got = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, PEER_PIDFD, value, length) };
    check(libc::c_long::from(got))?;
    if descriptor < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: a success is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The user namespace of a process: `PIDFD_GET_USER_NAMESPACE` of linux/pidfd.h, Linux 6.11.
pub(crate) fn user_namespace(process: BorrowedFd<'_>) -> Sys<OwnedFd> {
    const GET_USER_NAMESPACE: libc::c_ulong = 0xff09;
    // SAFETY: the request takes no argument.
    let got = check(libc::c_long::from(unsafe { libc::ioctl(process.as_raw_fd(), GET_USER_NAMESPACE, 0) }))?;
    let descriptor = RawFd::try_from(got).map_err(|_| Errno::INVAL)?;
    // SAFETY: a success is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The Landlock ABI of this kernel, 0 when there is none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel reads no memory.
    let returned =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(returned).unwrap_or(0)
}

/// Lets a Landlock ruleset hold for this process and its children.
pub(crate) fn restrict_self(ruleset: BorrowedFd<'_>) -> Sys<()> {
    call("landlock_restrict_self", || {
        // SAFETY: landlock_restrict_self(2) touches no memory.
        let returned = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        check(returned).map(drop)
    })
}

/// Executes a program; returns only when it could not.
pub(crate) fn execute(path: &CStr, argv: &[CString], vars: &[CString]) -> Errno {
    if let Err(errno) = hooks::fault("execve") {
        return errno;
    }
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, vars) = (pointers(argv), pointers(vars));
    // SAFETY: both arrays end with a null pointer and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), vars.as_ptr()) };
    last_errno()
}

/// Closes every descriptor from 3 up but `kept`, which must be sorted.
pub(crate) fn close_all_but(kept: &[RawFd]) -> Sys<()> {
    call("close_range", || {
        let mut first: libc::c_uint = 3;
        let close = |first: libc::c_uint, last: libc::c_uint| {
            if first > last {
                return Ok(());
            }
            // SAFETY: close_range(2) touches no memory; the caller owns none of these any more.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
        };
        for descriptor in kept {
            let descriptor = descriptor.unsigned_abs();
            if descriptor > first {
                close(first, descriptor - 1)?;
            }
            first = first.max(descriptor + 1);
        }
        close(first, libc::c_uint::MAX)
    })
}

/// Makes `to` a copy of `from` that survives an execution.
pub(crate) fn place_descriptor(from: BorrowedFd<'_>, to: RawFd) -> Sys<()> {
    call("dup2", || {
        if from.as_raw_fd() == to {
            return rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty());
        }
        // SAFETY: dup2(2) touches no memory; what `to` was before is given up on purpose.
        check(libc::c_long::from(unsafe { libc::dup2(from.as_raw_fd(), to) })).map(drop)
    })
}

/// Makes the terminal the controlling one of this session.
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> Sys<()> {
    call("setctty", || rustix::process::ioctl_tiocsctty(terminal))
}

/// Starts a session: no controlling terminal, a process group of its own.
pub(crate) fn start_session() -> Sys<()> {
    call("setsid", || rustix::process::setsid().map(drop))
}

/// Blocks signals and makes a descriptor that reads them instead (signalfd(2)).
pub(crate) fn signal_descriptor(signals: &[libc::c_int]) -> Sys<OwnedFd> {
    call("signalfd", || {
        // SAFETY: sigset_t is plain data; sigemptyset fills it.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a valid sigset_t.
        unsafe { libc::sigemptyset(&raw mut set) };
        for signal in signals {
            // SAFETY: `set` was initialised above.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        // SAFETY: `set` is valid; no old set is asked for.
        check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) }))?;
        // SAFETY: `set` is valid; -1 asks for a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        check(libc::c_long::from(descriptor))?;
        // SAFETY: a success is a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    })
}

/// The highest signal number, signal(7).
const SIGNALS: libc::c_int = 64;

/// No signal of this process waits any more. No wall, so no fault either.
pub(crate) fn unblock_signals() -> Sys<()> {
    // SAFETY: sigset_t is plain data; sigemptyset fills it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid sigset_t.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is valid; no old set is asked for.
    let returned = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    check(libc::c_long::from(returned)).map(drop)
}

/// An interrupt waits until it is asked for.
pub(crate) fn hold_interrupts() -> Sys<()> {
    // SAFETY: sigset_t is plain data; sigemptyset fills it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid sigset_t.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: the same.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGINT) };
    // SAFETY: `set` is valid; no old set is asked for.
    let returned = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    check(libc::c_long::from(returned)).map(drop)
}

/// Every signal has its default effect and none is blocked, as a program expects at its start.
pub(crate) fn reset_signals() -> Sys<()> {
    unblock_signals()?;
    call("reset signals", || {
        // What the caller ignores stays ignored over an execution. By the call itself, since the C
        // library's function keeps two for itself. SIGKILL and SIGSTOP answer EINVAL and need nothing.
        // All zero, the kernel's `struct sigaction` is the default; its last word is a mask of 8 bytes.
        let default = [0_u64; 4];
        for signal in 1..=SIGNALS {
            // SAFETY: the kernel reads one `struct sigaction`; no old one is asked for.
            unsafe {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u8>(), 8_usize)
            };
        }
        Ok(())
    })
}

/// Ignores the signals a terminal sends, in a process that only watches over others.
pub(crate) fn ignore_terminal_signals() {
    for signal in
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGHUP, libc::SIGPIPE]
    {
        // SAFETY: SIG_IGN is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The next signal of a [`signal_descriptor`], if one waits.
pub(crate) fn next_signal(descriptor: BorrowedFd<'_>) -> Option<i32> {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let length = rustix::io::read(descriptor, &mut buffer).ok()?;
    // signalfd_siginfo begins with the number, a u32 (signalfd(2)).
    let number = buffer.first_chunk::<4>().filter(|_| length == size_of::<libc::signalfd_siginfo>())?;
    i32::try_from(u32::from_ne_bytes(*number)).ok()
}

/// One child that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The process.
    pub(crate) pid: Pid,
    /// As wait(2) encodes it.
    pub(crate) status: i32,
}

/// Reaps one child (any without `pid`); `None` when none has ended yet.
pub(crate) fn reap(pid: Option<Pid>, block: bool) -> Sys<Option<Ended>> {
    use rustix::process::WaitOptions;
    let options = if block { WaitOptions::empty() } else { WaitOptions::NOHANG };
    // `waitpid(None)` would wait for this process group only.
    let ended = match pid {
        Some(pid) => rustix::process::waitpid(Some(pid), options)?,
        None => rustix::process::wait(options)?,
    };
    Ok(ended.map(|(pid, status)| Ended { pid, status: status.as_raw() }))
}

/// What processes used that were waited for: getrusage(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// User and system time, milliseconds.
    pub(crate) cpu_ms: u32,
    /// Largest resident set of one process, KiB.
    pub(crate) resident_peak_kib: u32,
}

impl From<libc::rusage> for Used {
    fn from(usage: libc::rusage) -> Self {
        let microseconds = |time: libc::timeval| time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_usec);
        let cpu_usec = microseconds(usage.ru_utime).saturating_add(microseconds(usage.ru_stime));
        Self {
            cpu_ms: u32::try_from(cpu_usec / 1_000).unwrap_or(u32::MAX),
            resident_peak_kib: u32::try_from(usage.ru_maxrss).unwrap_or(u32::MAX),
        }
    }
}

/// What the children this process has waited for, and theirs, used.
pub(crate) fn used_by_children() -> Sys<Used> {
    // SAFETY: rusage is plain data, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    check(libc::c_long::from(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) }))?;
    Ok(usage.into())
}

/// Waits until a child, given by pidfd, has ended, and leaves it to be reaped; what it used, with all
/// that it waited for. An init ends only when everything in its pid namespace has.
pub(crate) fn wait_for_end(child: BorrowedFd<'_>) -> Sys<Used> {
    // SAFETY: siginfo_t and rusage are plain data, for which zeroes are valid.
    let (mut told, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT;
    loop {
        // The C library's waitid(3) has no place for the account; the system call has.
        // SAFETY: both pointers are to live values of the right type.
        let returned = unsafe {
            libc::syscall(libc::SYS_waitid, libc::P_PIDFD, child.as_raw_fd(), &raw mut told, options, &raw mut usage)
        };
        match check(returned) {
            Ok(_) => return Ok(usage.into()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Lets ended children be waited for, whatever the caller left set: ignored, the kernel reaps them by itself.
pub(crate) fn expect_children() {
    // SAFETY: SIG_DFL is no function of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Sends a signal to every process this one may signal, itself excepted: in a pid namespace's init,
/// all of the namespace.
pub(crate) fn kill_all() -> Sys<()> {
    // SAFETY: kill(2) touches no memory.
    check(libc::c_long::from(unsafe { libc::kill(-1, libc::SIGKILL) })).map(drop)
}

/// Sends a signal to the process group of `pid`.
pub(crate) fn signal_group(pid: i32, signal: i32) -> Sys<()> {
    // SAFETY: kill(2) touches no memory.
    check(libc::c_long::from(unsafe { libc::kill(-pid, signal) })).map(drop)
}

/// Sends a signal to the process group that a process leads, by its pidfd; where the kernel cannot
/// (pidfd_send_signal(2): PIDFD_SIGNAL_PROCESS_GROUP is of Linux 6.9), by its number. No error when it has ended.
pub(crate) fn signal_session((leader, pid): (BorrowedFd<'_>, Pid), signal: rustix::process::Signal) -> Sys<()> {
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    match send_to(leader, signal.as_raw(), PROCESS_GROUP) {
        Err(Errno::INVAL) => signal_session_by_number(leader, pid, signal.as_raw()),
        sent => sent,
    }
    .or_else(|errno| if errno == Errno::SRCH { Ok(()) } else { Err(errno) })
}

/// Once the process is known to be there (no signal is sent for 0): then the number is its own.
fn signal_session_by_number(leader: BorrowedFd<'_>, pid: Pid, signal: i32) -> Sys<()> {
    send_to(leader, 0, 0).and_then(|()| signal_group(pid.as_raw_nonzero().get(), signal))
}

fn send_to(process: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> Sys<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null pointer says that the kernel is to fill in who sends it.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, flags) }).map(drop)
}

/// Ends this process without running anything else.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) runs no destructor and touches no memory.
    unsafe { libc::_exit(status) }
}

/// Gives a descriptor up to the process: it stays open until the process ends or executes.
pub(crate) fn leak(descriptor: OwnedFd) -> BorrowedFd<'static> {
    let number = descriptor.into_raw_fd();
    // SAFETY: nobody owns the descriptor any more, so nobody closes it before the process ends.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Does `work` with the file rights of another user: what it creates belongs to that user.
///
/// A file system mounted in a user namespace takes no file of a user it does not map, root included.
pub(crate) fn with_file_user<T>(user: u32, group: u32, work: impl FnOnce() -> Sys<T>) -> Sys<T> {
    let become_file_user = |user: u32, group: u32| {
        // SAFETY: setfsgid(2) and setfsuid(2) touch no memory.
        unsafe { libc::setfsgid(group) };
        // SAFETY: as above.
        unsafe { libc::setfsuid(user) };
        // They report no failure; asking for an impossible id changes nothing and tells the present one.
        // SAFETY: as above.
        let now = unsafe { libc::setfsuid(u32::MAX) };
        if now.cast_unsigned() == user { Ok(()) } else { Err(Errno::PERM) }
    };
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if own.0 == user {
        return work();
    }
    over_changes_of_user(|| {
        call("setfsuid", || become_file_user(user, group))?;
        let done = work();
        // Root may always become itself again; if not, nothing after this may be trusted.
        become_file_user(own.0, own.1)?;
        done
    })
}

/// Closes the three streams.
pub(crate) fn close_streams() {
    for stream in 0..3 {
        // SAFETY: close(2) touches no memory; nothing uses the streams after.
        unsafe { libc::close(stream) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, Signal};

    use super::*;

    type Way<'a> = &'a dyn Fn(BorrowedFd<'_>, Pid) -> Sys<()>;

    #[test]
    fn a_signal_reaches_the_group_of_a_process_by_either_way() {
        let by_number = |leader: BorrowedFd<'_>, pid| signal_session_by_number(leader, pid, libc::SIGTERM);
        let by_pidfd = |leader: BorrowedFd<'_>, pid| signal_session((leader, pid), Signal::TERM);
        let ways: [(Way<'_>, Sys<()>); 2] = [(&by_pidfd, Ok(())), (&by_number, Err(Errno::SRCH))];
        for (send, when_it_has_ended) in ways {
            let code = "sleep 1000 & echo $!; wait";
            let mut leader =
                Command::new("sh").args(["-c", code]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(leader.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            let helper = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
            let helper = rustix::process::pidfd_open(helper, PidfdFlags::empty()).unwrap();
            let pid = Pid::from_child(&leader);
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
            send(pidfd.as_fd(), pid).unwrap();
            rustix::event::poll(&mut [rustix::event::PollFd::new(&helper, rustix::event::PollFlags::IN)], None)
                .unwrap();
            leader.wait().unwrap();
            assert_eq!(send(pidfd.as_fd(), pid), when_it_has_ended);
        }
    }
}
