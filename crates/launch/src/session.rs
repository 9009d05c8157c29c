//! Parent, outside: a sandbox that is kept between pieces of code. Orders come from whoever opened the session, one
//! act at a time; each gets pipes of its own, so that what a child of an earlier one still writes reaches nobody.
//!
//! Believes nothing that comes from inside: an engine that says what is no answer is ended.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pipe::PipeFlags;
use stockade_core::limits::Limit;
use stockade_core::outcome::Cause;
use stockade_core::session::{Answer, GET_BYTES_MAX};

use crate::streams::{Output, Outward};

/// After the interrupt at the end of its time an act has this long to end, or the session ends with it.
const GRACE: Duration = Duration::from_secs(2);
/// How much an act may say beside its output.
const SAID_BYTES_MAX: usize = 64 << 10;
/// How much a session may.
const SAID_BYTES_MAX_IN_ALL: usize = 1 << 20;
/// Longest frame that an engine sends.
const FRAME_BYTES_MAX: usize = 4096;
/// Frames heard in one turn, so that an engine that talks all the time keeps nobody from anything.
const FRAMES_MAX: usize = 64;

/// An act, ready to be handed to the engine: nothing of the caller's is in it.
#[derive(Debug)]
pub struct Act {
    /// Its name.
    pub name: u64,
    /// What is to be done.
    pub what: What,
    /// How long it may take.
    pub longest: Duration,
    /// Where its output goes.
    pub output: Option<OwnedFd>,
    /// Where its error output goes.
    pub error: Option<OwnedFd>,
}

/// What is to be done.
#[derive(Debug)]
pub enum What {
    /// Executes this sealed file of memory.
    Execute(OwnedFd),
    /// Writes this sealed file of memory to the file of this name.
    Put(String, OwnedFd),
    /// Makes this table the file of this name: it was checked, and can only be read.
    Table(String, OwnedFd),
    /// Sends the file of this name.
    Get(String),
}

/// What was heard of the caller.
#[derive(Debug)]
pub enum Heard {
    /// Nothing more at the moment.
    Nothing,
    /// Something to be done; it is on record.
    Act(Act),
    /// An act is to be interrupted.
    Interrupt(u64),
    /// The session is to end.
    Close,
    /// Nobody is there any more, or somebody who says what nobody says.
    Gone,
}

/// How an act ended.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub name: u64,
    /// Why it ended.
    pub cause: Cause,
    /// Whether the session goes on.
    pub goes_on: bool,
    /// How long it took, from the order to the engine until its answer and what it had written were here.
    pub wall: Duration,
    /// Bytes of its streams.
    pub stream_bytes: u64,
    /// What it said beside: a claim of the code.
    pub said: Vec<u8>,
}

/// Who orders and is answered.
pub trait Caller {
    /// Where orders come from.
    fn socket(&self) -> BorrowedFd<'_>;
    /// The next order, without waiting.
    fn next(&mut self) -> Heard;
    /// An act is over.
    fn done(&mut self, done: Done);
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needed {
    Nothing,
    /// An interrupt for the code.
    Interrupt,
    /// The end of the session, because of this.
    Stop(Cause),
}

struct Current {
    name: u64,
    began: Instant,
    deadline: Instant,
    /// Its time was over, and it was told so.
    is_late: bool,
    streams: [Option<Outward<'static>>; 2],
    bytes_max: u64,
    status: Option<u8>,
    said: Vec<u8>,
}

/// The session of one supervisor.
pub(crate) struct Relay<'a> {
    caller: &'a mut dyn Caller,
    /// `None` once the engine has closed its end.
    channel: Option<OwnedFd>,
    current: Option<Current>,
    is_closing: bool,
    /// Since the last order the code was sent an interrupt, which may reach it after its answer.
    was_interrupted: bool,
    /// By when an engine that has closed its end must have ended.
    end_by: Option<Instant>,
    /// What the engine said beside its output in all: a claim of the code.
    pub(crate) said: Vec<u8>,
    /// What happened to it that no session should see.
    pub(crate) note: Option<&'static str>,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(caller: &'a mut dyn Caller, channel: OwnedFd) -> Self {
        Self {
            caller,
            channel: Some(channel),
            current: None,
            is_closing: false,
            was_interrupted: false,
            end_by: None,
            said: Vec::new(),
            note: None,
        }
    }

    /// What to wait for: the caller, the engine, the streams of the act.
    pub(crate) fn wait(&self) -> [Option<PollFd<'_>>; 4] {
        use rustix::event::PollFlags;
        let [output, error] = match &self.current {
            Some(current) => current.streams.each_ref().map(|stream| stream.as_ref().and_then(Outward::wait)),
            None => [None, None],
        };
        [
            (!self.is_closing).then(|| PollFd::from_borrowed_fd(self.caller.socket(), PollFlags::IN)),
            self.channel.as_ref().map(|channel| PollFd::new(channel, PollFlags::IN)),
            output,
            error,
        ]
    }

    /// When to look at the clock.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let of_act = self.current.as_ref().filter(|current| current.status.is_none()).map(|current| current.deadline);
        of_act.into_iter().chain(self.end_by).min()
    }

    /// Serves what has something.
    pub(crate) fn serve(&mut self, ready: [bool; 4], streams_max: u64, buffer: &mut [u8]) -> Needed {
        let [caller, engine, output, error] = ready;
        let mut needed = self.relay([output, error], buffer);
        if engine && needed == Needed::Nothing {
            needed = self.hear_engine(buffer);
        }
        if caller && needed == Needed::Nothing {
            needed = self.hear_caller(streams_max);
        }
        self.heed(needed)
    }

    /// Once the session has to end, nothing more is heard of its engine: what it was stopped for counts.
    fn heed(&mut self, needed: Needed) -> Needed {
        self.was_interrupted |= needed == Needed::Interrupt;
        if matches!(needed, Needed::Stop(_)) {
            (self.channel, self.is_closing, self.end_by) = (None, true, None);
        } else {
            self.conclude();
        }
        needed
    }

    /// An act whose time is over is interrupted; one that does not end then ends the session.
    pub(crate) fn look_at_the_clock(&mut self, now: Instant) -> Needed {
        let needed = self.late(now);
        self.heed(needed)
    }

    fn late(&mut self, now: Instant) -> Needed {
        if self.end_by.is_some_and(|end_by| now >= end_by) {
            self.end_by = None;
            self.note = Some("the engine closed the socket of its session");
            return Needed::Stop(Cause::Cancelled);
        }
        match &mut self.current {
            Some(current) if current.status.is_none() && now >= current.deadline => {
                if current.is_late {
                    return Needed::Stop(Cause::Limit { limit: Limit::Time });
                }
                (current.is_late, current.deadline) = (true, now + GRACE);
                Needed::Interrupt
            }
            _ => Needed::Nothing,
        }
    }

    /// The sandbox has ended: so has the act, for this reason.
    pub(crate) fn end(&mut self, cause: Cause, buffer: &mut [u8]) {
        let Some(mut current) = self.current.take() else { return };
        for stream in current.streams.iter_mut().flatten() {
            let most = current.bytes_max;
            stream.drain(buffer, most, None);
        }
        self.caller.done(current.into_done(cause, false));
    }

    fn relay(&mut self, ready: [bool; 2], buffer: &mut [u8]) -> Needed {
        let Some(current) = &mut self.current else { return Needed::Nothing };
        for (number, is_ready) in ready.into_iter().enumerate() {
            let room = current.bytes_max.saturating_sub(current.bytes());
            if let Some(stream) = current.streams.get_mut(number).and_then(Option::as_mut).filter(|_| is_ready) {
                stream.advance(buffer, room);
            }
        }
        if current.bytes() > current.bytes_max {
            return Needed::Stop(Cause::Limit { limit: Limit::Streams });
        }
        Needed::Nothing
    }

    fn hear_engine(&mut self, buffer: &mut [u8]) -> Needed {
        for _ in 0..FRAMES_MAX {
            let Some(channel) = &self.channel else { break };
            let buffer = buffer.get_mut(..FRAME_BYTES_MAX).unwrap_or_default();
            // Without room for descriptors: the kernel closes what comes.
            let length = match rustix::net::recv(channel, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Needed::Nothing,
                Err(_) => 0,
            };
            let frame = buffer.get(..length.min(FRAME_BYTES_MAX)).unwrap_or_default();
            match (frame.first(), &mut self.current) {
                // An engine that closes its end takes no more orders.
                (None, _) if self.is_closing => self.channel = None,
                // One that ends closes everything, a moment before its end is heard of.
                (None, _) => {
                    (self.channel, self.is_closing) = (None, true);
                    self.end_by = Some(Instant::now() + GRACE);
                }
                (Some(b'{'), current) => {
                    keep(&mut self.said, frame, SAID_BYTES_MAX_IN_ALL);
                    if let Some(current) = current {
                        keep(&mut current.said, frame, SAID_BYTES_MAX);
                    }
                }
                (Some(_), current) => match (Answer::parse(frame), current) {
                    (Some(answer), Some(current)) if answer.act == current.name && current.status.is_none() => {
                        current.answered(answer.status);
                        return Needed::Nothing;
                    }
                    _ => {
                        self.note = Some("the engine said what is no answer");
                        return Needed::Stop(Cause::Cancelled);
                    }
                },
            }
        }
        Needed::Nothing
    }

    fn hear_caller(&mut self, streams_max: u64) -> Needed {
        match self.caller.next() {
            Heard::Nothing => Needed::Nothing,
            Heard::Gone => {
                self.is_closing = true;
                Needed::Stop(Cause::Cancelled)
            }
            Heard::Close => self.close(),
            Heard::Interrupt(name) => match &self.current {
                Some(current) if current.name == name && current.status.is_none() => Needed::Interrupt,
                // It is over, or not the one that was meant.
                Some(_) | None => Needed::Nothing,
            },
            // One at a time is what both sides have agreed on.
            Heard::Act(_) if self.current.is_some() => {
                self.is_closing = true;
                Needed::Stop(Cause::Cancelled)
            }
            Heard::Act(act) => match self.begin(act, streams_max) {
                Ok(()) => Needed::Nothing,
                Err(_) => {
                    self.note = Some("the engine takes no orders any more");
                    Needed::Stop(Cause::Cancelled)
                }
            },
        }
    }

    /// An idle engine ends by itself; a busy one is ended.
    fn close(&mut self) -> Needed {
        self.is_closing = true;
        if self.current.is_some() {
            return Needed::Stop(Cause::Cancelled);
        }
        let told = self.channel.as_ref().map(|channel| rustix::net::shutdown(channel, rustix::net::Shutdown::Write));
        if matches!(told, Some(Ok(()))) { Needed::Nothing } else { Needed::Stop(Cause::Cancelled) }
    }

    fn begin(&mut self, act: Act, streams_max: u64) -> Result<(), Errno> {
        let Act { name, what, longest, output, error } = act;
        let began = Instant::now();
        let bytes_max = if matches!(what, What::Get(_)) { GET_BYTES_MAX } else { streams_max };
        let (mut streams, mut given) = ([None, None], Vec::new());
        for (stream, to) in streams.iter_mut().zip([output, error]) {
            if let Some(to) = to {
                let (ours, inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&ours, true)?;
                *stream = Some(Outward::new(ours, Output::Owned(to)));
                given.push(inside);
            }
        }
        let (kind, file, content) = match what {
            What::Execute(code) => (3, String::new(), Some(code)),
            What::Put(file, content) => (4, file, Some(content)),
            What::Get(file) => (5, file, None),
            What::Table(file, memory) => (6, file, Some(memory)),
        };
        given.extend(content);
        self.current = Some(Current {
            name,
            began,
            deadline: began.checked_add(longest).unwrap_or(began),
            is_late: false,
            streams,
            bytes_max,
            status: None,
            said: Vec::new(),
        });
        let channel = self.channel.as_ref().ok_or(Errno::PIPE)?;
        let was_interrupted = std::mem::take(&mut self.was_interrupted);
        send(channel.as_fd(), (kind, was_interrupted), name, &file, &given)
    }

    /// Tells the caller of an act that has answered, when all it wrote before is passed on.
    fn conclude(&mut self) {
        let is_over = self
            .current
            .as_ref()
            .is_some_and(|current| current.status.is_some() && current.streams.iter().flatten().all(Outward::is_done));
        if is_over && let Some(current) = self.current.take() {
            let cause = match current.status {
                _ if current.is_late => Cause::Limit { limit: Limit::Time },
                status => Cause::Exited { status: i32::from(status.unwrap_or(0)) },
            };
            self.caller.done(current.into_done(cause, true));
        }
    }
}

impl Current {
    fn bytes(&self) -> u64 {
        self.streams.iter().flatten().map(|stream| stream.bytes).sum()
    }

    fn answered(&mut self, status: u8) {
        self.status = Some(status);
        for stream in self.streams.iter_mut().flatten() {
            stream.end_here();
        }
    }

    fn into_done(self, cause: Cause, goes_on: bool) -> Done {
        Done {
            name: self.name,
            cause,
            goes_on,
            wall: self.began.elapsed(),
            stream_bytes: self.bytes(),
            said: self.said,
        }
    }
}

/// Keeps a line whole or not at all.
fn keep(said: &mut Vec<u8>, line: &[u8], most: usize) {
    if line.len() <= most.saturating_sub(said.len()) {
        said.extend_from_slice(line);
    }
}

/// One order for the engine, in the frames of `stockade_session.py`.
fn send(
    channel: BorrowedFd<'_>,
    (kind, was_interrupted): (u8, bool),
    name: u64,
    text: &str,
    given: &[OwnedFd],
) -> Result<(), Errno> {
    let mut frame = vec![kind, u8::from(was_interrupted), 0, 0, 0, 0, 0, 0];
    frame.extend(u64::try_from(text.len()).map_err(|_| Errno::TOOBIG)?.to_le_bytes());
    frame.extend(name.to_le_bytes());
    frame.extend(text.as_bytes());
    let attached: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&attached)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(channel, &[IoSlice::new(&frame)], &mut control, flags).map(drop)
}
