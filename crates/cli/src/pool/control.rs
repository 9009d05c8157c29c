//! The pool's end of its socket to the launcher: standard input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketType};
use stockade_core::pool::{Claim, Notice};
use stockade_frames::{Beside, Frame};

use crate::printer;
use crate::problem::{self, Problem};

/// The launcher at its other end.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

const NEXT: &str = "the node runs without them meanwhile; its log says when it tries again";

pub(super) fn failed(errno: Errno) -> Problem {
    Problem::new("cannot keep warm engines", stockade_launch::errno_text(errno), NEXT)
}

impl Control {
    /// Takes standard input for it, and leaves nothing there.
    pub(super) fn take() -> Result<Self, Problem> {
        let input = std::io::stdin();
        let socket = rustix::io::fcntl_dupfd_cloexec(&input, 3).map_err(failed)?;
        if rustix::net::sockopt::socket_type(&socket) != Ok(SocketType::SEQPACKET) {
            return Err(failed(Errno::NOTSOCK));
        }
        rustix::stdio::dup2_stdin(&nothing()?).map_err(failed)?;
        Ok(Self(socket))
    }

    /// In a fork: the socket is not its own.
    pub(super) fn shut(&mut self) -> Result<(), Problem> {
        self.0 = nothing()?;
        Ok(())
    }

    /// Whether the launcher is there: it says nothing.
    pub(super) fn is_open(&self) -> bool {
        let heard = rustix::net::recv(&self.0, &mut [0; 8], RecvFlags::DONTWAIT | RecvFlags::PEEK);
        matches!(heard, Err(Errno::AGAIN | Errno::INTR))
    }

    /// Says something to a launcher that is there.
    pub(super) fn tell(&self, notice: &Notice) {
        if let Err(problem) = self.send(notice, &[])
            && self.is_open()
        {
            printer::remark(&format!("stockade: the launcher does not hear: {}", problem.why()));
        }
    }

    pub(super) fn tell_waiting(&self, process: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Problem> {
        self.send(&Notice::Waiting {}, &[process, socket])
    }

    fn send(&self, notice: &Notice, attached: &[BorrowedFd<'_>]) -> Result<(), Problem> {
        let bytes = serde_json::to_vec(notice).map_err(|_| failed(Errno::INVAL))?;
        stockade_frames::send(&self.0, &bytes, attached).map_err(|error| of_io(&error))
    }
}

fn of_io(error: &std::io::Error) -> Problem {
    Problem::new("cannot keep warm engines", problem::plain(&error.to_string()), NEXT)
}

fn nothing() -> Result<OwnedFd, Problem> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
}

pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), Problem> {
    stockade_frames::pair().map_err(|error| of_io(&error))
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A claim and what lies beside it; `None` at the end, and for what is none.
pub(super) fn receive(socket: &OwnedFd) -> Option<(Claim, Vec<OwnedFd>)> {
    match stockade_frames::receive(socket, Beside::Descriptors) {
        Ok(Frame::Whole(bytes, given)) => Some((serde_json::from_slice(&bytes).ok()?, given)),
        Ok(Frame::Broken | Frame::End) | Err(_) => None,
    }
}
