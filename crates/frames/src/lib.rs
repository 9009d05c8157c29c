//! One frame: bounded bytes and bounded descriptors, sent and received whole or not at all, over a Unix socket of
//! packets. Processes of ours speak so with each other; what the bytes mean is theirs.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use zeroize::Zeroizing;

/// Largest frame; the system's usual bound on a message is 208 KiB.
pub const FRAME_BYTES_MAX: usize = 160 << 10;
/// Most descriptors beside one frame; the system's bound is 253.
pub const DESCRIPTORS_MAX: usize = 250;

const SPACE: usize = cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// What has come.
#[derive(Debug)]
pub enum Frame {
    /// A whole frame; it may hold secrets.
    Whole(Zeroizing<Vec<u8>>, Vec<OwnedFd>),
    /// One that is too large or was cut; its descriptors are closed.
    Broken,
    /// The other side has closed its end.
    End,
}

/// What may lie beside a frame that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Descriptors.
    Descriptors,
    /// Nothing: the kernel closes what comes, so that closing it cannot be made to take long here.
    Nothing,
}

/// Both ends of a connection; they close when a program is executed.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one frame without waiting.
///
/// # Errors
/// As sendmsg(2); nothing was sent then.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, flags)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one frame without waiting.
///
/// # Errors
/// As recvmsg(2); `WouldBlock` when there is none.
pub fn receive(socket: impl AsFd, may: Beside) -> io::Result<Frame> {
    let peek = RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = rustix::net::recv(&socket, &mut [0_u8; 0][..], peek)?;
    let mut bytes = Zeroizing::new(vec![0; length.clamp(1, FRAME_BYTES_MAX)]);
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut beside = match may {
        Beside::Descriptors => RecvAncillaryBuffer::new(&mut space),
        Beside::Nothing => RecvAncillaryBuffer::default(),
    };
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags)?;
    let descriptors: Vec<OwnedFd> =
        beside
            .drain()
            .filter_map(|message| {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message { Some(descriptors) } else { None }
            })
            .flatten()
            .collect();
    if received.bytes == 0 {
        // Nobody sends an empty frame: it could not be told from the end.
        return Ok(Frame::End);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Frame::Broken);
    }
    bytes.truncate(received.bytes);
    Ok(Frame::Whole(bytes, descriptors))
}

/// Whether an error says that nobody is there any more.
#[must_use]
pub fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Makes room for the largest frame, where the system is set up with less. A refusal shows when a frame is sent.
pub fn make_room(socket: impl AsFd) {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, FRAME_BYTES_MAX + (32 << 10)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_whole_with_its_descriptors() {
        let (one, other) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&one, b"hello", &[file.as_fd(), file.as_fd()]).unwrap();
        let Frame::Whole(bytes, descriptors) = receive(&other, Beside::Descriptors).unwrap() else { panic!() };
        assert_eq!((bytes.as_slice(), descriptors.len()), (&b"hello"[..], 2));
        assert_eq!(receive(&other, Beside::Descriptors).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert!(matches!(receive(&other, Beside::Descriptors).unwrap(), Frame::End));
    }

    #[test]
    fn a_frame_that_is_too_large_is_broken_and_the_next_is_not() {
        let (one, other) = pair().unwrap();
        send(&one, &vec![b'x'; FRAME_BYTES_MAX + 1], &[]).unwrap();
        send(&one, b"next", &[]).unwrap();
        assert!(matches!(receive(&other, Beside::Nothing).unwrap(), Frame::Broken));
        assert!(matches!(receive(&other, Beside::Nothing).unwrap(), Frame::Whole(..)));
    }

    #[test]
    fn descriptors_that_nobody_asked_for_are_closed_by_the_kernel() {
        let (one, other) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&one, b"x", &[writer.as_fd()]).unwrap();
        drop(writer);
        drop(receive(&other, Beside::Nothing).unwrap());
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]).unwrap(), 0, "nobody holds the other end");
    }
}
