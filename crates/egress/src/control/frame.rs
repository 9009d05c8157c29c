//! One frame: bounded bytes and bounded descriptors, sent and received whole or not at all. Both sides use this.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use zeroize::Zeroizing;

/// Largest frame; the system's usual bound on a message is 208 KiB.
pub const FRAME_BYTES_MAX: usize = 160 << 10;
/// Most descriptors beside one frame; the system's bound is 253.
pub const DESCRIPTORS_MAX: usize = 250;

const SPACE: usize = cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// A message as the bytes of a frame; `None` when it is too large for one. It may hold secrets, so it is measured
/// first and never moved while it grows.
pub(super) fn encode(message: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, message).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, message).ok()?;
    Some(bytes)
}

/// Counts what is written, up to a frame.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        if self.0 > FRAME_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends one frame without waiting.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, flags)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// What has come.
#[derive(Debug)]
pub(super) enum Frame {
    /// A whole frame; it may hold secrets.
    Whole(Zeroizing<Vec<u8>>, Vec<OwnedFd>),
    /// One that is too large, or has too many descriptors; they are closed.
    TooLarge,
    /// The other side has closed its end.
    End,
}

/// What may lie beside a frame that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Descriptors.
    Descriptors,
    /// Nothing: the kernel closes what comes, so that closing it cannot be made to take long here.
    Nothing,
}

/// Receives one frame without waiting.
pub(super) fn receive(socket: impl AsFd, may: Beside) -> io::Result<Frame> {
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
        return Ok(Frame::End);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Frame::TooLarge);
    }
    bytes.truncate(received.bytes);
    Ok(Frame::Whole(bytes, descriptors))
}

/// Whether an error says that nobody is there any more.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Makes room for the largest frame, where the system is set up with less. A refusal shows when a frame is sent.
pub(super) fn make_room(socket: impl AsFd) {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, FRAME_BYTES_MAX + (32 << 10)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_whole_with_what_lies_beside_it() {
        let (one, two) = super::super::pair().unwrap();
        make_room(&one);
        let large = encode(&"x".repeat(FRAME_BYTES_MAX - 2)).unwrap();
        assert!(encode(&"x".repeat(FRAME_BYTES_MAX - 1)).is_none());
        let null = std::fs::File::open("/dev/null").unwrap();
        send(&one, &large, &vec![null.as_fd(); DESCRIPTORS_MAX]).unwrap();
        let Frame::Whole(bytes, descriptors) = receive(&two, Beside::Descriptors).unwrap() else { panic!("no frame") };
        assert_eq!((bytes.len(), descriptors.len()), (FRAME_BYTES_MAX, DESCRIPTORS_MAX));
        assert_eq!(receive(&two, Beside::Descriptors).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert!(matches!(receive(&two, Beside::Descriptors).unwrap(), Frame::End));
    }

    #[test]
    fn what_is_too_large_is_told_from_what_fits() {
        let (one, two) = super::super::pair().unwrap();
        make_room(&one);
        send(&one, &vec![b'x'; FRAME_BYTES_MAX + 1], &[]).unwrap();
        assert!(matches!(receive(&two, Beside::Descriptors).unwrap(), Frame::TooLarge));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(send(&one, b"x", &vec![null.as_fd(); DESCRIPTORS_MAX + 10]).is_err());
    }
}
