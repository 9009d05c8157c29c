//! Warm Python: what a template needs, and how an engine of it is spoken to.
//!
//! Everything that comes from an engine is the word of the code: bounded, and believed for nothing.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use stockade_core::paths::InsidePath;
use stockade_core::request::{MadeFile, ResultDescriptor, Start, Tree};
use stockade_launch::warm::{Claimed, Sealing};

use crate::assets;
use crate::interpreter::Interpreter;
use crate::python::{self, PythonCode};

const MAIN: &str = "/opt/stockade/engine/warm.py";
const LIBRARY: &str = "/opt/stockade/engine/libstockade_warm.so";
const SEALING: &str = "/opt/stockade/engine/sealing";
/// How many threads numerical libraries start: one while a template imports them.
const THREADS: [&str; 4] = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"];

/// The most code that a claim carries; more comes as a sealed file of memory.
const CODE_INLINE_MAX: usize = 8192;
/// Kinds of claims, as `warm.py` knows them.
const CODE: u8 = 1;
const SCRIPT: u8 = 6;
const SESSION: u8 = 7;
/// As a run's.
const SAID_MAX: usize = 1 << 20;
const FRAME_BYTES: usize = 16;

/// What a Python template needs inside: what its engines do, and it imports `modules`, and then forks engines that
/// seal themselves with `sealing`; `library` is the file of ours that forks.
#[must_use]
pub fn template(engine: &Start, modules: &[String], library: Vec<u8>, sealing: &Sealing) -> Start {
    let Start { mut argv, mut vars, trees, mut files, .. } = engine.clone();
    argv.extend([MAIN, LIBRARY, SEALING].map(ToOwned::to_owned));
    argv.extend(modules.iter().cloned());
    let made =
        |path: &'static str, contents: Vec<u8>| MadeFile { target: InsidePath::fixed(path), contents: contents.into() };
    files.extend(assets::warm().chain([made(LIBRARY, library), made(SEALING, sealing.to_bytes())]));
    // One thread only: a fork copies no other.
    vars.extend(THREADS.map(|name| (name.to_owned(), "1".to_owned())));
    Start { argv, vars, trees, files, result: ResultDescriptor::Open }
}

/// What an engine needs inside: what a script does. `executable` and `trees` are the interpreter's or environment's.
#[must_use]
pub fn engine(interpreter: &Interpreter, executable: &str, trees: Vec<Tree>) -> Start {
    let script = python::python(PythonCode::Warm, Vec::new(), interpreter, executable);
    Start { trees, ..script }
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error.
    pub error: Vec<u8>,
    /// What it said on its result descriptor: a claim of the code.
    pub said: Vec<u8>,
    /// How it ended.
    pub ended: Ended,
}

/// How the code of a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status, as it says.
    Exited(u8),
    /// Without a word: what its process ended of, the template's init knows.
    Silent,
    /// It took longer than it might.
    TimedOut,
    /// It wrote more than it might.
    TooMuch,
    /// It said something that is no answer.
    Nonsense,
}

/// Bounds of one claim.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the claim to the answer.
    pub longest: Duration,
    /// Both streams together.
    pub stream_bytes_max: usize,
}

/// Gives an engine its code and follows it to its answer; the engine lives on until it is dropped.
///
/// # Errors
/// When the system refuses; what the engine does is no error.
pub fn run(claimed: &Claimed, code: &[u8], bounds: Bounds) -> Result<Answer, Errno> {
    let deadline = Instant::now() + bounds.longest;
    // It may be gone before it was claimed: its socket tells.
    send_or_gone(claimed, CODE, code)?;
    let mut heard = Heard { output: Vec::new(), error: Vec::new(), said: Vec::new(), bounds };
    let ended = loop {
        if let Some(ended) = heard.next(claimed, deadline)? {
            break ended;
        }
    };
    // What it wrote before it answered lies in the pipes.
    let is_too_much = heard.take_all(claimed);
    let Heard { output, error, said, .. } = heard;
    let ended = if is_too_much && matches!(ended, Ended::Exited(_)) { Ended::TooMuch } else { ended };
    Ok(Answer { output, error, said, ended })
}

/// Gives an engine the words of a script that lies in its working folder. It may be gone already, which is heard of
/// when it is followed.
///
/// # Errors
/// When the system refuses.
pub fn begin<'w>(claimed: &Claimed, words: impl Iterator<Item = &'w String>) -> Result<(), Errno> {
    let text: Vec<u8> = words.flat_map(|word| word.bytes().chain([0])).collect();
    send_or_gone(claimed, SCRIPT, &text)
}

/// Lets an engine serve a session, whose orders come over the same socket. It may be gone already, as above.
///
/// # Errors
/// When the system refuses.
pub fn begin_session(claimed: &Claimed) -> Result<(), Errno> {
    send_or_gone(claimed, SESSION, &[])
}

fn send_or_gone(claimed: &Claimed, kind: u8, text: &[u8]) -> Result<(), Errno> {
    match send(claimed.socket(), kind, text) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn send(socket: BorrowedFd<'_>, kind: u8, code: &[u8]) -> Result<(), Errno> {
    let mut header = [0; FRAME_BYTES];
    let length = u64::try_from(code.len()).map_err(|_| Errno::TOOBIG)?.to_le_bytes();
    for (to, from) in header.iter_mut().zip([kind, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(length)) {
        *to = from;
    }
    if code.len() <= CODE_INLINE_MAX {
        let mut none = SendAncillaryBuffer::new(&mut []);
        let words = [IoSlice::new(&header), IoSlice::new(code)];
        return rustix::net::sendmsg(socket, &words, &mut none, SendFlags::NOSIGNAL).map(drop);
    }
    let file = file_of(code)?;
    let attached = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&attached)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&header)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// A file of memory that nobody changes any more.
///
/// # Errors
/// When the system refuses.
pub fn file_of(code: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::SealFlags;
    let file = rustix::fs::memfd_create("code", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = code;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// What came so far.
struct Heard {
    output: Vec<u8>,
    error: Vec<u8>,
    said: Vec<u8>,
    bounds: Bounds,
}

impl Heard {
    fn next(&mut self, claimed: &Claimed, deadline: Instant) -> Result<Option<Ended>, Errno> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(Ended::TimedOut));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let wait = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        let mut waited = vec![wait(claimed.socket()), wait(claimed.output()), wait(claimed.error())];
        waited.extend(claimed.result().map(wait));
        match rustix::event::poll(&mut waited, Some(&timeout)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let mut socket = PollFlags::empty();
        let mut has_stream = false;
        for (number, one) in waited.iter().enumerate() {
            if number == 0 { socket = one.revents() } else { has_stream |= one.revents().contains(PollFlags::IN) }
        }
        if has_stream && self.take_all(claimed) {
            return Ok(Some(Ended::TooMuch));
        }
        Ok(if socket.is_empty() { None } else { Some(answer(claimed.socket())) })
    }

    /// Takes what waits; says whether it is more than it may be.
    fn take_all(&mut self, claimed: &Claimed) -> bool {
        let Self { output, error, said, bounds } = self;
        let most = bounds.stream_bytes_max;
        let is_over = take(claimed.output(), output, most.saturating_sub(error.len()))
            | take(claimed.error(), error, most.saturating_sub(output.len()));
        if let Some(result) = claimed.result() {
            // As with a run, the rest is not heard.
            take(result, said, SAID_MAX);
        }
        is_over
    }
}

/// Takes what waits, to at most `most` bytes in all; says whether there was more.
fn take(from: BorrowedFd<'_>, to: &mut Vec<u8>, most: usize) -> bool {
    let mut buffer = [0; 8192];
    loop {
        match rustix::io::read(from, &mut buffer) {
            Ok(count @ 1..) => {
                let room = most.saturating_sub(to.len());
                to.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
                if count > room {
                    return true;
                }
                if count < buffer.len() {
                    return false;
                }
            }
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Its one answer.
fn answer(socket: BorrowedFd<'_>) -> Ended {
    let mut frame = [0; FRAME_BYTES];
    match rustix::net::recv(socket, &mut frame, rustix::net::RecvFlags::DONTWAIT) {
        Ok((_, 0)) | Err(Errno::CONNRESET) => Ended::Silent,
        Ok((_, FRAME_BYTES)) => match frame {
            [2, 0, 0, 0, status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Ended::Exited(status),
            _ => Ended::Nonsense,
        },
        Ok(_) | Err(_) => Ended::Nonsense,
    }
}
