//! What R cannot do itself in a session: messages with descriptors beside them, and files by their descriptors.
//!
//! Inside the sandbox, loaded by R; trusted by nobody. `build.rs` makes a library of this file alone, which is part of
//! this crate and needs nothing but the C library that R has loaded already. R calls it with `.C`: every argument is
//! the address of a vector, as long as the call's R code in `session.R` makes it. The frames are those of
//! `stockade_session.py`.
#![no_std]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

const HEAD: usize = 24;
const TEXT_BYTES_MAX: usize = 1024;
const DESCRIPTORS_MAX: usize = 4;
const EXECUTE: u8 = 3;
const PUT: u8 = 4;
const GET: u8 = 5;
const TABLE: u8 = 6;
const GET_BYTES_MAX: u64 = 100 << 20;
const PARTIAL: *const c_char = c".stockade.partial".as_ptr();

const EINTR: c_int = 4;
const EISDIR: c_int = 21;
const EFBIG: c_int = 27;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_NOSIGNAL: c_int = 0x4000;
const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;
const F_GETFD: c_int = 1;
const F_SETFD: c_int = 2;
const F_DUPFD_CLOEXEC: c_int = 1030;
const FD_CLOEXEC: c_int = 1;
const AT_FDCWD: c_int = -100;
const AT_EMPTY_PATH: c_int = 0x1000;
const STATX_TYPE_AND_SIZE: c_uint = 0x1 | 0x200;
const SIGINT: c_int = 2;
const SIG_UNBLOCK: c_int = 1;
const O_WRONLY: c_int = 1;
const O_CREAT: c_int = 0o100;
const O_NOCTTY: c_int = 0o400;
const O_TRUNC: c_int = 0o1000;
const O_NONBLOCK: c_int = 0o4000;
const O_CLOEXEC: c_int = 0o2_000_000;

#[cfg(target_arch = "x86_64")]
mod arch {
    pub(super) const SYS_STATX: super::c_long = 332;
    pub(super) const O_DIRECTORY: super::c_int = 0o200_000;
    pub(super) const O_NOFOLLOW: super::c_int = 0o400_000;
}
#[cfg(target_arch = "aarch64")]
mod arch {
    pub(super) const SYS_STATX: super::c_long = 291;
    pub(super) const O_DIRECTORY: super::c_int = 0o40_000;
    pub(super) const O_NOFOLLOW: super::c_int = 0o100_000;
}
use arch::{O_DIRECTORY, O_NOFOLLOW, SYS_STATX};

#[repr(C)]
struct Piece {
    base: *mut c_void,
    length: usize,
}

/// The C library's `msghdr`; musl's lengths are half as wide, with zeros behind them.
#[repr(C)]
struct Message {
    name: *mut c_void,
    name_length: c_uint,
    pieces: *mut Piece,
    count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

/// One control message, with room for the descriptors of an order.
#[repr(C)]
struct Control {
    length: usize,
    level: c_int,
    kind: c_int,
    given: [c_int; DESCRIPTORS_MAX],
}

/// `struct statx`, of which the mode is at 28 and the size at 40.
#[repr(C, align(8))]
struct Status([u8; 256]);

/// The longest `struct sigaction` and `sigset_t` of a C library, by far.
#[repr(C, align(16))]
struct Kept([u64; 64]);

unsafe extern "C" {
    fn recvmsg(socket: c_int, message: *mut Message, flags: c_int) -> isize;
    fn send(socket: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize;
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn openat(folder: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn renameat(from: c_int, old: *const c_char, to: c_int, new: *const c_char) -> c_int;
    fn symlinkat(target: *const c_char, folder: c_int, path: *const c_char) -> c_int;
    fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn sendfile(to: c_int, from: c_int, offset: *mut i64, count: usize) -> isize;
    fn read(descriptor: c_int, bytes: *mut c_void, length: usize) -> isize;
    fn fflush(stream: *mut c_void) -> c_int;
    fn getpid() -> c_int;
    fn _exit(status: c_int) -> !;
    fn syscall(number: c_long, ...) -> c_long;
    fn sigemptyset(set: *mut Kept) -> c_int;
    fn sigaddset(set: *mut Kept, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const Kept, old: *mut Kept) -> c_int;
    fn sigaction(signal: c_int, new: *const Kept, old: *mut Kept) -> c_int;
    fn __errno_location() -> *mut c_int;
}

/// The socket, under a number that code does not close by chance; -1 before [`stockade_begin`].
static CHANNEL: AtomicI32 = AtomicI32::new(-1);
/// Where files are put and fetched.
static FOLDER: AtomicI32 = AtomicI32::new(-1);
static OWN: AtomicI32 = AtomicI32::new(0);
/// The code of the order under way.
static CODE: AtomicI32 = AtomicI32::new(-1);
/// The name of the order under way.
static NAME: AtomicU64 = AtomicU64::new(0);
/// What R does at an interrupt.
static mut HANDLER: Kept = Kept([0; 64]);

#[cfg(not(test))]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it ends the process.
    unsafe { _exit(125) }
}

fn errno() -> c_int {
    // SAFETY: the C library's own place, of this thread.
    unsafe { *__errno_location() }
}

fn shut(descriptor: c_int) {
    if descriptor >= 0 {
        // SAFETY: the number is one that was given to this file.
        unsafe { close(descriptor) };
    }
}

/// Takes the socket, and the working folder as it is now. `done` becomes 1.
///
/// # Safety
/// `number` and `done` are vectors of one integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_begin(number: *const c_int, done: *mut c_int) {
    // SAFETY: the caller's promise.
    let number = unsafe { *number };
    // SAFETY: plain numbers; what is not open answers with an error.
    let channel = unsafe { fcntl(number, F_DUPFD_CLOEXEC, 10 as c_int) };
    // SAFETY: as above.
    let flags = unsafe { fcntl(number, F_GETFD) };
    // SAFETY: as above.
    let closes = unsafe { fcntl(number, F_SETFD, flags | FD_CLOEXEC) };
    // SAFETY: the path is a C string.
    let folder = unsafe { openat(AT_FDCWD, c".".as_ptr(), O_DIRECTORY | O_CLOEXEC) };
    // SAFETY: R calls from one thread; the place is long enough for any `struct sigaction`.
    let asked = unsafe { sigaction(SIGINT, null(), &raw mut HANDLER) };
    let mut set = Kept([0; 64]);
    // SAFETY: `set` is longer than any `sigset_t`.
    unsafe { sigemptyset(&raw mut set) };
    // SAFETY: as above.
    unsafe { sigaddset(&raw mut set, SIGINT) };
    // It was blocked from the start of the process, so that one for the first piece of code waits for that. From here
    // on R itself keeps it until code runs, for `session.R` suspends it.
    // SAFETY: as above.
    let unblocked = unsafe { sigprocmask(SIG_UNBLOCK, &raw const set, null_mut()) };
    CHANNEL.store(channel, Relaxed);
    FOLDER.store(folder, Relaxed);
    // SAFETY: it has no arguments.
    OWN.store(unsafe { getpid() }, Relaxed);
    let is_well = channel >= 0 && flags >= 0 && closes >= 0 && folder >= 0 && asked == 0 && unblocked == 0;
    // SAFETY: the caller's promise.
    unsafe { *done = c_int::from(is_well) };
}

/// Waits for the next piece of code, whose output goes where its order says. `size` becomes its length, or negative
/// when nobody orders any more; `stale`, whether an interrupt was sent for an earlier one.
///
/// # Safety
/// Both are vectors of one integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_next(size: *mut c_int, stale: *mut c_int) {
    let found = next();
    // SAFETY: the caller's promise.
    unsafe { *size = found.map_or(-1, |(size, _)| size) };
    // SAFETY: the caller's promise.
    unsafe { *stale = c_int::from(found.is_some_and(|(_, is_stale)| is_stale)) };
}

fn next() -> Option<(c_int, bool)> {
    loop {
        // One byte more than a text may have stays zero, so that it ends as C's do.
        let mut frame = [0; HEAD + TEXT_BYTES_MAX + 1];
        let (length, given) = receive(&mut frame)?;
        let (head, text) = frame.split_at(HEAD);
        if length < HEAD {
            return None;
        }
        NAME.store(u64::from_le_bytes(*head.last_chunk()?), Relaxed);
        let [first, second, third, _] = given;
        let text = text.as_ptr().cast::<c_char>();
        match *head.first()? {
            EXECUTE => {
                connect(first, second);
                CODE.store(third, Relaxed);
                let (_, size) = kind_and_size(third).unwrap_or((0, 0));
                return Some((c_int::try_from(size).unwrap_or(c_int::MAX), *head.get(1)? != 0));
            }
            PUT => {
                let status = put(text, first);
                given.into_iter().for_each(shut);
                answer(status);
            }
            GET => {
                let status = get(text, first);
                given.into_iter().for_each(shut);
                answer(status);
            }
            TABLE => {
                let status = table(text, first);
                given.into_iter().skip(usize::from(status == 0)).for_each(shut);
                answer(status);
            }
            _ => return None,
        }
    }
}

fn receive(frame: &mut [u8; HEAD + TEXT_BYTES_MAX + 1]) -> Option<(usize, [c_int; DESCRIPTORS_MAX])> {
    let mut piece = Piece { base: frame.as_mut_ptr().cast(), length: HEAD + TEXT_BYTES_MAX };
    let mut control = Control { length: 0, level: 0, kind: 0, given: [-1; DESCRIPTORS_MAX] };
    let control_size = core::mem::size_of::<Control>();
    let length = loop {
        let mut message = Message {
            name: null_mut(),
            name_length: 0,
            pieces: &raw mut piece,
            count: 1,
            control: (&raw mut control).cast(),
            control_length: control_size,
            flags: 0,
        };
        // SAFETY: every address in `message` is of something that lives here, with its length.
        let length = unsafe { recvmsg(CHANNEL.load(Relaxed), &raw mut message, MSG_CMSG_CLOEXEC) };
        if length >= 0 {
            let is_theirs = message.control_length >= control_size - core::mem::size_of_val(&control.given)
                && (control.level, control.kind) == (SOL_SOCKET, SCM_RIGHTS);
            if !is_theirs {
                control.given = [-1; DESCRIPTORS_MAX];
            }
            break length;
        }
        if errno() != EINTR {
            return None;
        }
    };
    Some((usize::try_from(length).ok()?, control.given))
}

/// Output and error go there from here on.
fn connect(output: c_int, error: c_int) {
    // What code closed may have been opened again as one of these.
    // SAFETY: plain numbers; what is not open answers with an error.
    let (output_copy, error_copy) =
        unsafe { (fcntl(output, F_DUPFD_CLOEXEC, 3 as c_int), fcntl(error, F_DUPFD_CLOEXEC, 3 as c_int)) };
    for descriptor in [output, error] {
        if descriptor > 2 {
            shut(descriptor);
        }
    }
    for (copy, number) in [(output_copy, 1), (error_copy, 2)] {
        // SAFETY: as above.
        unsafe { dup2(copy, number) };
        shut(copy);
    }
}

/// The code of the order under way, and R's handler of interrupts, whatever became of it. `length` becomes what was
/// read.
///
/// # Safety
/// `bytes` is a vector of as many bytes as `length`, a vector of one integer, says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_code(bytes: *mut u8, length: *mut c_int) {
    let code = CODE.swap(-1, Relaxed);
    // SAFETY: the caller's promise.
    let most = usize::try_from(unsafe { *length }).unwrap_or(0);
    let mut done = 0;
    while done < most {
        // SAFETY: `done` is less than `most`, which is the length of `bytes`.
        let count = unsafe { read(code, bytes.add(done).cast(), most - done) };
        match usize::try_from(count) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) if errno() == EINTR => {}
            Err(_) => break,
        }
    }
    shut(code);
    // SAFETY: it was filled by `stockade_begin`.
    unsafe { sigaction(SIGINT, &raw const HANDLER, null_mut()) };
    // SAFETY: the caller's promise.
    unsafe { *length = c_int::try_from(done).unwrap_or(0) };
}

/// The piece of code has ended with this status; what is said after it, is nobody's.
///
/// # Safety
/// `status` is a vector of one integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_answer(status: *const c_int) {
    // SAFETY: the caller's promise.
    let status = unsafe { *status };
    // SAFETY: all streams.
    unsafe { fflush(null_mut()) };
    // SAFETY: it has no arguments.
    if unsafe { getpid() } != OWN.load(Relaxed) {
        // A child of the code's that came back here is none of ours.
        // SAFETY: it ends the process.
        unsafe { _exit(status & 0xff) };
    }
    // SAFETY: the path is a C string.
    let nowhere = unsafe { openat(AT_FDCWD, c"/dev/null".as_ptr(), O_WRONLY | O_CLOEXEC) };
    // SAFETY: plain numbers.
    let again = unsafe { fcntl(nowhere, F_DUPFD_CLOEXEC, 3 as c_int) };
    connect(nowhere, again);
    answer(status);
}

fn answer(status: c_int) {
    let [low, ..] = status.to_le_bytes();
    let mut frame = [2, 0, 0, 0, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(name) = frame.last_chunk_mut() {
        *name = NAME.load(Relaxed).to_le_bytes();
    }
    say(frame.as_ptr(), frame.len());
}

fn say(bytes: *const u8, length: usize) {
    // SAFETY: the callers' promise. Who does not hear it is gone, which the next order tells.
    unsafe { send(CHANNEL.load(Relaxed), bytes.cast(), length, MSG_NOSIGNAL) };
}

/// Tells a line of what the code knows.
///
/// # Safety
/// `bytes` is a vector of as many bytes as `length`, a vector of one integer, says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stockade_say(bytes: *const u8, length: *const c_int) {
    // SAFETY: the caller's promise.
    say(bytes, usize::try_from(unsafe { *length }).unwrap_or(0));
}

/// Writes a file of the working folder; an errno if that cannot be done.
fn put(name: *const c_char, content: c_int) -> c_int {
    let folder = FOLDER.load(Relaxed);
    let flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    // SAFETY: the path is a C string.
    let file = unsafe { openat(folder, PARTIAL, flags, 0o644 as c_uint) };
    if file < 0 {
        return errno();
    }
    let mut status = copy(file, content, u64::MAX);
    shut(file);
    // SAFETY: both are C strings.
    if status == 0 && unsafe { renameat(folder, PARTIAL, folder, name) } != 0 {
        status = errno();
    }
    if status != 0 {
        // SAFETY: the path is a C string.
        unsafe { unlinkat(folder, PARTIAL, 0) };
    }
    status
}

/// Keeps a descriptor open, which a link of the working folder leads to; an errno if that cannot be done.
fn table(name: *const c_char, memory: c_int) -> c_int {
    let folder = FOLDER.load(Relaxed);
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    let (mut rest, mut digits) = (u32::try_from(memory).unwrap_or(0), 1);
    while rest.checked_div(10_u32.pow(digits)).is_some_and(|more| more > 0) && digits < 9 {
        digits += 1;
    }
    let from = b"/proc/self/fd/".len();
    for place in path.iter_mut().skip(from).take(usize::try_from(digits).unwrap_or(0)).rev() {
        let [digit, ..] = (rest % 10).to_le_bytes();
        (*place, rest) = (b'0' + digit, rest / 10);
    }
    // SAFETY: plain numbers. As those that a run begins with: what is executed in its place has it too.
    let kept = unsafe { fcntl(memory, F_SETFD, 0 as c_int) };
    // SAFETY: both are C strings.
    if kept < 0 || unsafe { symlinkat(path.as_ptr().cast(), folder, PARTIAL) } != 0 {
        return errno();
    }
    // SAFETY: both are C strings.
    if unsafe { renameat(folder, PARTIAL, folder, name) } != 0 {
        let status = errno();
        // SAFETY: the path is a C string.
        unsafe { unlinkat(folder, PARTIAL, 0) };
        return status;
    }
    0
}

/// Sends a regular file of the working folder; an errno if that cannot be done.
fn get(name: *const c_char, output: c_int) -> c_int {
    let flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW;
    // SAFETY: the path is a C string.
    let file = unsafe { openat(FOLDER.load(Relaxed), name, flags) };
    if file < 0 {
        return errno();
    }
    let status = match kind_and_size(file) {
        Some((0o100_000, size)) if size <= GET_BYTES_MAX => copy(output, file, GET_BYTES_MAX),
        Some((0o100_000, _)) => EFBIG,
        _ => EISDIR,
    };
    shut(file);
    status
}

fn copy(to: c_int, from: c_int, most: u64) -> c_int {
    let mut left = most;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 20);
        // SAFETY: plain numbers; without an offset.
        let done = unsafe { sendfile(to, from, null_mut(), count) };
        match u64::try_from(done) {
            Ok(0) => break,
            Ok(done) => left -= done.min(left),
            Err(_) if errno() == EINTR => {}
            Err(_) => return errno(),
        }
    }
    0
}

/// Which kind of file it is, as the upper bits of its mode say, and how long.
fn kind_and_size(file: c_int) -> Option<(u32, u64)> {
    let mut status = Status([0; 256]);
    // SAFETY: the path is a C string, and `status` has the length that the kernel writes.
    let asked = unsafe {
        syscall(SYS_STATX, file, c"".as_ptr(), AT_EMPTY_PATH, STATX_TYPE_AND_SIZE, &raw mut status)
    };
    if asked != 0 {
        return None;
    }
    let mode = u16::from_ne_bytes(*status.0.get(28..)?.first_chunk()?);
    let size = u64::from_ne_bytes(*status.0.get(40..)?.first_chunk()?);
    Some((u32::from(mode) & 0o170_000, size))
}
