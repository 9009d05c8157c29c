//! Outside: how the process of a warm engine ended. It says so itself; its parent, far away, says it too.
//!
//! What the process says is the word of the code: at most its own end.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::twin::{Heard, Link, Word};
use crate::failure::Failure;
use crate::outside::failed;

const FRAME_BYTES: usize = 16;

/// The process of an engine, while its run is followed.
#[derive(Debug)]
pub(crate) struct Engine<'e> {
    /// `None` once it has closed its end.
    socket: Option<OwnedFd>,
    /// `None` once who has the template is gone.
    link: Option<&'e Link>,
    pidfd: OwnedFd,
    pub(crate) pid: Pid,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Nothing,
    /// It has ended, with this status of wait(2).
    End(i32),
    /// It has closed its end.
    Silence,
    /// It said what is no answer.
    Nonsense,
}

impl<'e> Engine<'e> {
    pub(crate) fn new(socket: OwnedFd, link: &'e Link, (pid, pidfd): (Pid, OwnedFd)) -> Self {
        Self { socket: Some(socket), link: Some(link), pidfd, pid }
    }

    pub(crate) fn wait(&self) -> [Option<PollFd<'_>>; 2] {
        [
            self.socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)),
            self.link.map(|link| PollFd::new(link, PollFlags::IN)),
        ]
    }

    pub(crate) fn hear(&mut self) -> Of {
        // What its parent says is the kernel's word, and comes after its own.
        match self.answer() {
            Of::Nothing => self.parent(),
            Of::Silence => match self.parent() {
                Of::Nothing | Of::Silence => Of::Silence,
                other @ (Of::End(_) | Of::Nonsense) => other,
            },
            other @ (Of::End(_) | Of::Nonsense) => other,
        }
    }

    fn answer(&mut self) -> Of {
        let Some(socket) = &self.socket else { return Of::Nothing };
        let mut frame = [0; FRAME_BYTES];
        match rustix::net::recv(socket, &mut frame, rustix::net::RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Of::Nothing,
            Ok((_, FRAME_BYTES)) => match frame {
                [2, 0, 0, 0, status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Of::End(i32::from(status) << 8),
                _ => Of::Nonsense,
            },
            Ok((_, 0)) | Err(_) => {
                self.socket = None;
                Of::Silence
            }
            Ok(_) => Of::Nonsense,
        }
    }

    fn parent(&mut self) -> Of {
        match self.link.map(Link::hear) {
            Some(Heard::Word(Word::Ended(status))) => Of::End(status),
            None | Some(Heard::Nothing | Heard::Word(_)) => Of::Nothing,
            // With the template all its engines end, which the walls tell.
            Some(Heard::Gone) => {
                self.link = None;
                Of::Nothing
            }
        }
    }

    /// Sends its process a signal; no error when it has ended.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        let Some(signal) = Signal::from_named_raw(signal) else { return Ok(()) };
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(failed("signal", "an engine")(errno)),
        }
    }
}
