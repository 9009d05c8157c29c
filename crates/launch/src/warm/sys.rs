//! System calls of warm engines, one function each, safe to call, no policy.
#![expect(unsafe_code, reason = "system calls that no kept crate wraps")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys::{Sys, call, check, exit_now};

/// Moves this process (for process ids: its children) into a namespace, given by its own descriptor: setns(2).
pub(crate) fn enter_namespace(namespace: BorrowedFd<'_>) -> Sys<()> {
    call("setns", || {
        // SAFETY: setns(2) touches no memory.
        check(libc::c_long::from(unsafe { libc::setns(namespace.as_raw_fd(), 0) })).map(drop)
    })
}

/// Moves this process into the user and (for its children) pid namespace of another, given by pidfd.
pub(crate) fn enter_users_and_processes_of(process: BorrowedFd<'_>) -> Sys<()> {
    call("setns", || {
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID;
        // SAFETY: setns(2) touches no memory.
        check(libc::c_long::from(unsafe { libc::setns(process.as_raw_fd(), flags) })).map(drop)
    })
}

/// Becomes these users: real and saved, by which others may signal it, and effective, by which it acts.
pub(crate) fn act_as(own: u32, effective: u32) -> Sys<()> {
    let (own_user, user) = (rustix::fs::Uid::from_raw(own), rustix::fs::Uid::from_raw(effective));
    let (own_group, group) = (rustix::fs::Gid::from_raw(own), rustix::fs::Gid::from_raw(effective));
    call("setgroups", || rustix::thread::set_thread_groups(&[]))?;
    call("setresgid", || rustix::thread::set_thread_res_gid(own_group, group, own_group))?;
    call("setresuid", || rustix::thread::set_thread_res_uid(own_user, user, own_user))
}

/// The process behind a pidfd, in the pid namespace of this process's `/proc`.
pub(crate) fn process_of(pidfd: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> Sys<Pid> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("self/fdinfo/{}", pidfd.as_raw_fd());
    let file = rustix::fs::openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; 512];
    let length = rustix::io::read(&file, &mut bytes)?;
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(Errno::BADMSG)?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    number.and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

/// What the passing process does and which process goes on.
struct Passage<'w> {
    enter: &'w mut dyn FnMut() -> Sys<()>,
    failed: Option<Errno>,
}

/// Forks through a third process, which does `enter` before and is gone after: says in which process it returns.
///
/// The third shares this one's memory, as after vfork(2), so that memory is copied once. It is for what the child
/// must be born into and this process must not become part of. Its parent is this one's parent, and so will be the
/// child's, which loses its own at once.
pub(crate) fn fork_through(mut enter: impl FnMut() -> Sys<()>) -> Sys<Side> {
    let mut passage = Passage { enter: &mut enter, failed: None };
    let blocked = Blocked::all()?;
    // SAFETY: `pass` gets the passage, which outlives the call: this process waits in it for the third one's end.
    let returned = unsafe { clone_and_pass((&raw mut passage).cast()) };
    drop(blocked);
    match (returned, passage.failed) {
        (_, Some(errno)) => Err(errno),
        (0, None) => Ok(Side::Child),
        (returned, None) if returned < 0 => {
            Err(Errno::from_raw_os_error(i32::try_from(returned.unsigned_abs()).unwrap_or(libc::EINVAL)))
        }
        (_, None) => Ok(Side::Parent),
    }
}

/// Where [`fork_through`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Child,
    Parent,
}

/// Every signal blocked, until dropped: no handler runs in the third process, on memory that is not its own.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Sys<Self> {
        // SAFETY: sigset_t is plain data; both calls below fill it.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
        // SAFETY: `all` is a valid sigset_t.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both are valid.
        check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before) }))?;
        Ok(Self(before))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the kernel.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Runs in the third process; returns in the child only.
extern "C" fn pass(passage: *mut c_void) {
    // SAFETY: it is the passage of `fork_through`, whose frame waits.
    let passage = unsafe { &mut *passage.cast::<Passage<'_>>() };
    if let Err(errno) = (passage.enter)() {
        passage.failed = Some(errno);
        exit_now(1);
    }
    // The C library's own fork, so that what it keeps of this thread is right in the child.
    // SAFETY: one thread only; the memory is that of a process that waits, consistent as at any fork.
    match unsafe { libc::fork() } {
        0 => {}
        -1 => {
            passage.failed = Some(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN));
            exit_now(1);
        }
        _ => exit_now(0),
    }
}

const SHARING: u64 = 0x100 | 0x4000 | 0x8000; // CLONE_VM, CLONE_VFORK, CLONE_PARENT

/// clone(2) without a stack of its own: the third process calls `pass` below this very frame, and never returns
/// through it. The child does, as a copy of this process. Zero there; else the third's id, or minus an errno.
///
/// # Safety
/// `passage` is what `pass` takes, and outlives the call.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_and_pass(passage: *mut c_void) -> i64 {
    let mut returned = libc::SYS_clone;
    // SAFETY: this process stands still in the call until the third has ended, so nothing of this frame is in use
    // twice: what the third calls lies below it, beyond the 128 bytes that the ABI keeps free there. Registers that
    // a called function may change are declared as changed.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov r13, rsp",
            "sub rsp, 256",
            "and rsp, -16",
            "mov rdi, r12",
            "call r14",
            "mov rsp, r13",
            "xor eax, eax",
            "2:",
            inlateout("rax") returned,
            inlateout("rdi") SHARING => _,
            inlateout("rsi") 0_u64 => _,
            inlateout("rdx") 0_u64 => _,
            inlateout("r10") 0_u64 => _,
            inlateout("r8") 0_u64 => _,
            in("r12") passage,
            in("r14") pass as extern "C" fn(*mut c_void),
            out("r13") _,
            clobber_abi("C"),
        );
    }
    returned
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_and_pass(passage: *mut c_void) -> i64 {
    let mut returned = SHARING;
    // SAFETY: as above; this ABI keeps nothing free below the stack pointer.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "blr x21",
            "mov x0, xzr",
            "2:",
            inlateout("x0") returned,
            inlateout("x8") libc::SYS_clone => _,
            inlateout("x1") 0_u64 => _,
            inlateout("x2") 0_u64 => _,
            inlateout("x3") 0_u64 => _,
            inlateout("x4") 0_u64 => _,
            in("x20") passage,
            in("x21") pass as extern "C" fn(*mut c_void),
            clobber_abi("C"),
        );
    }
    returned.cast_signed()
}
