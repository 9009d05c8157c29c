//! A session that the node keeps: its orders come over standard input, a socket; each is put on record before the
//! engine hears of it, and answered with a report.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use serde_json::json;
use sha2::{Digest, Sha256};
use stockade_core::audit::{Record, Trail};
use stockade_core::session::{self, Answer, Order};
use stockade_core::text;
use stockade_engines::Said;
use stockade_frames::{Beside, Frame};
use stockade_launch::session::{Act, Caller, Done, Heard, What};

use crate::printer;
use crate::problem::Problem;
use crate::trail::now_ms;

/// Largest code, and largest file that is put.
const CONTENT_BYTES_MAX: u64 = 128 << 20;
/// How long a file may take to be written or read inside.
const FILES: Duration = Duration::from_secs(60);
/// Figures that a report names.
const FIGURES_MAX: usize = 100;

/// The other end of standard input.
#[derive(Debug)]
pub(crate) struct Conversation(OwnedFd);

/// The same, with what records need.
pub(crate) struct Recorded<'a> {
    socket: &'a OwnedFd,
    trail: &'a mut dyn Trail,
    run: &'a str,
    principal: &'a str,
    /// Where the report of the act under way goes.
    report: Option<File>,
}

impl Conversation {
    /// Takes standard input for it.
    pub(crate) fn take() -> Result<Self, Problem> {
        let failed = |error: std::io::Error| {
            Problem::new("cannot begin the session", error.to_string(), "sessions are the node's: POST /v1/sessions")
        };
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        Self::on(socket).ok_or_else(|| failed(Errno::NOTSOCK.into()))
    }

    /// On this, if it is such a socket.
    pub(crate) fn on(socket: OwnedFd) -> Option<Self> {
        let kind = rustix::net::sockopt::socket_type(&socket);
        (kind == Ok(rustix::net::SocketType::SEQPACKET)).then_some(Self(socket))
    }

    pub(crate) fn recorded<'a>(&'a self, trail: &'a mut dyn Trail, run: &'a str, principal: &'a str) -> Recorded<'a> {
        Recorded { socket: &self.0, trail, run, principal, report: None }
    }
}

impl Caller for Recorded<'_> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn next(&mut self) -> Heard {
        let (bytes, given) = match stockade_frames::receive(self.socket, Beside::Descriptors) {
            Ok(Frame::Whole(bytes, given)) => (bytes, given),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Heard::Nothing;
            }
            Ok(Frame::Broken | Frame::End) | Err(_) => return Heard::Gone,
        };
        match Order::parse(&bytes) {
            Some(Order::Act { act, what }) if given.len() == what.descriptors() => self.act(act, what, given),
            Some(Order::Interrupt { act }) if given.is_empty() => Heard::Interrupt(act),
            Some(Order::Close) if given.is_empty() => Heard::Close,
            Some(_) | None => Heard::Gone,
        }
    }

    fn done(&mut self, done: Done) {
        if let Some(mut report) = self.report.take()
            && let Err(error) = report.write_all(document(&done).as_bytes())
        {
            printer::remark(&format!("stockade: cannot write a report of the session: {error}"));
        }
        self.answer(done.name, done.cause.exit_status());
    }
}

impl Recorded<'_> {
    /// From an order to an act that is on record, of whose content nobody else has a descriptor to write to.
    fn act(&mut self, name: u64, what: session::Act, given: Vec<OwnedFd>) -> Heard {
        let mut given = given.into_iter();
        let (first, second, third, fourth) = (given.next(), given.next(), given.next(), given.next());
        let ready = match what {
            session::Act::Execute { time_ms } => {
                self.report = third.map(File::from);
                content(fourth).and_then(|(code, digest)| {
                    self.record(name, "execute", "", &digest)?;
                    let longest = Duration::from_millis(time_ms);
                    Ok(Act { name, what: What::Execute(code), longest, output: first, error: second })
                })
            }
            session::Act::Put { name: file } => {
                self.report = first.map(File::from);
                content(second).and_then(|(bytes, digest)| {
                    self.record(name, "put", &file, &digest)?;
                    Ok(Act { name, what: What::Put(file, bytes), longest: FILES, output: None, error: None })
                })
            }
            session::Act::Table { name: file } => {
                self.report = first.map(File::from);
                table(second).and_then(|memory| {
                    self.record(name, "table", &file, "none")?;
                    Ok(Act { name, what: What::Table(file, memory), longest: FILES, output: None, error: None })
                })
            }
            session::Act::Get { name: file } => {
                self.report = first.map(File::from);
                self.record(name, "get", &file, "none").map(|()| Act {
                    name,
                    what: What::Get(file),
                    longest: FILES,
                    output: second,
                    error: None,
                })
            }
        };
        match ready {
            Ok(act) => Heard::Act(act),
            // No record, no execution; the session itself goes on.
            Err(problem) => {
                if let Some(mut report) = self.report.take()
                    && let Err(error) = report.write_all(printer::document(&problem.document()).as_bytes())
                {
                    printer::remark(&format!("stockade: cannot write a report of the session: {error}"));
                }
                self.answer(name, i32::from(problem.status()));
                Heard::Nothing
            }
        }
    }

    fn record(&mut self, act: u64, what: &'static str, file: &str, digest: &str) -> Result<(), Problem> {
        let record = Record::Act {
            time_ms: now_ms(),
            run: self.run,
            act: &format!("{act:016x}"),
            principal: self.principal,
            what,
            file,
            digest,
        };
        Ok(self.trail.append(&record)?)
    }

    fn answer(&self, act: u64, status: i32) {
        let answer = Answer { act, status: u8::try_from(status).unwrap_or(125) };
        // Who does not hear it is gone, which the next order tells.
        if let Err(error) = stockade_frames::send(self.socket, &answer.to_bytes(), &[]) {
            printer::remark(&format!("stockade: an answer of the session is lost: {error}"));
        }
    }
}

/// The memory of a table, through an open file of its own.
fn table(given: Option<OwnedFd>) -> Result<OwnedFd, Problem> {
    let failed = |why: String| Problem::new("cannot take the table", why, "hand it over anew");
    let given = given.ok_or_else(|| failed(stockade_launch::errno_text(Errno::BADF)))?;
    stockade_launch::table::check(&given).map_err(|unfit| failed(unfit.to_string()))?;
    stockade_launch::table::reopen(&given).map_err(|errno| failed(stockade_launch::errno_text(errno)))
}

/// A sealed copy, and its digest.
fn content(given: Option<OwnedFd>) -> Result<(OwnedFd, String), Problem> {
    let failed = |error: std::io::Error| {
        Problem::new("cannot take what the session is given", error.to_string(), "send it again, or less of it")
    };
    let mut from = given.map(File::from).ok_or_else(|| failed(Errno::BADF.into()))?;
    // A pipe would let this wait.
    if !from.metadata().map_err(failed)?.is_file() {
        return Err(failed(Errno::INVAL.into()));
    }
    let may_seal = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = rustix::fs::memfd_create("act", may_seal | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create("act", may_seal));
    let mut to = File::from(made.map_err(|errno| failed(errno.into()))?);
    let mut digest = Sha256::new();
    let mut copy = || {
        from.rewind()?;
        let mut left = CONTENT_BYTES_MAX;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer)?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return to.rewind();
            }
            left = left
                .checked_sub(u64::try_from(count).unwrap_or(u64::MAX))
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
            digest.update(piece);
            to.write_all(piece)?;
        }
    };
    copy().map_err(failed)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&to, seals).map_err(|errno| failed(errno.into()))?;
    Ok((to.into(), crate::run::hexadecimal(&digest.finalize())))
}

/// What is reported of an act.
fn document(done: &Done) -> String {
    let said = stockade_engines::said(&done.said);
    let figures: Vec<String> = said
        .iter()
        .filter_map(|said| if let Said::Figure { name } = said { Some(text::shown(name, 200)) } else { None })
        .take(FIGURES_MAX)
        .collect();
    let exception = said.iter().rev().find_map(|said| match said {
        Said::Exception { class, .. } => Some(text::shown(class, 100)),
        Said::Figure { .. } | Said::Imported { .. } | Said::Attempt { .. } => None,
    });
    json!({
        "cause": done.cause,
        "goes_on": done.goes_on,
        "usage": {
            "wall_ms": u64::try_from(done.wall.as_millis()).unwrap_or(u64::MAX),
            "wall_usec": u64::try_from(done.wall.as_micros()).unwrap_or(u64::MAX),
            "stream_bytes": done.stream_bytes,
        },
        "figures": figures,
        "exception": exception,
    })
    .to_string()
}
