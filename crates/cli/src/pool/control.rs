//! The pool's end of its socket to the launcher: standard input.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use stockade_core::pool::{Claim, DESCRIPTORS_MAX, FRAME_BYTES_MAX, Notice};

use crate::printer;
use crate::problem::Problem;

/// The launcher at its other end.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

pub(super) fn failed(errno: Errno) -> Problem {
    Problem::new(
        "cannot keep warm engines",
        stockade_launch::errno_text(errno),
        "the node runs without them meanwhile; its log says when it tries again",
    )
}

impl Control {
    /// Takes standard input for it, and leaves nothing there.
    pub(super) fn take() -> Result<Self, Problem> {
        let input = std::io::stdin();
        let socket = rustix::io::fcntl_dupfd_cloexec(&input, 3).map_err(failed)?;
        if rustix::net::sockopt::socket_type(&socket) != Ok(SocketType::SEQPACKET) {
            return Err(failed(Errno::NOTSOCK));
        }
        let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(failed)?;
        Ok(Self(socket))
    }

    pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), Problem> {
        let made = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        made.map_err(failed)
    }

    /// Whether the launcher is there: it says nothing.
    pub(super) fn is_open(&self) -> bool {
        let heard = rustix::net::recv(&self.0, &mut [0; 8], RecvFlags::DONTWAIT | RecvFlags::PEEK);
        matches!(heard, Err(Errno::AGAIN | Errno::INTR))
    }

    /// Says something; a launcher that does not hear it is gone.
    pub(super) fn tell(&self, notice: &Notice) {
        if let Err(errno) = send(&self.0, notice, &[]) {
            printer::remark(&format!("stockade: the launcher does not hear: {}", stockade_launch::errno_text(errno)));
        }
    }

    pub(super) fn tell_waiting(&self, process: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Problem> {
        send(&self.0, &Notice::Waiting {}, &[process, socket]).map_err(failed)
    }
}

fn send(socket: &OwnedFd, notice: &Notice, attached: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(notice).map_err(|_| Errno::INVAL)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !attached.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(attached)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL).map(drop)
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A claim and what lies beside it; `None` at the end, and for what is none.
pub(super) fn receive(socket: &OwnedFd) -> Option<(Claim, Vec<OwnedFd>)> {
    let mut bytes = vec![0; FRAME_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut beside, flags).ok()?;
    let given = beside
        .drain()
        .filter_map(|message| if let RecvAncillaryMessage::ScmRights(given) = message { Some(given) } else { None })
        .flatten()
        .collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return None;
    }
    let claim = serde_json::from_slice(bytes.get(..received.bytes)?).ok()?;
    Some((claim, given))
}
