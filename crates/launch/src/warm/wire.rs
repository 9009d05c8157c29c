//! The fixed frames of warm engines: orders to the maker of walls and to a template, and what they answer.
//!
//! Every frame has one size and every field is checked. What a template says is believed for nothing but its own
//! end: whether there is an engine, the launcher sees for itself.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use rustix::process::Pid;

use super::entrance::{Entrance, Entrances};
use crate::wire::{Event, whole_wait};

const FRAME_BYTES: usize = 16;
/// Descriptors of one frame: an engine's trees are few.
const DESCRIPTORS_MAX: usize = 32;

type Frame = [u8; FRAME_BYTES];

/// Sends a frame with descriptors.
fn send(socket: BorrowedFd<'_>, frame: &Frame, attached: &[BorrowedFd<'_>], flags: SendFlags) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(attached)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL | flags).map(drop)
}

/// Takes a frame and its descriptors; `None` when the far end is gone.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Frame, Vec<OwnedFd>)>, Errno> {
    let mut frame = [0; FRAME_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = whole_wait(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut frame)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut attached = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            attached.extend(descriptors);
        }
    }
    match received.bytes {
        0 => Ok(None),
        FRAME_BYTES => Ok(Some((frame, attached))),
        _ => Err(Errno::BADMSG),
    }
}

/// To the maker: walls for this user; the control socket and the opened trees are attached.
pub(crate) fn order_walls(socket: BorrowedFd<'_>, user: u32, attached: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let [a, b, c, d] = user.to_le_bytes();
    send(socket, &[1, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0], attached, SendFlags::empty())
}

/// In the maker: the next walls to make.
pub(crate) fn next_walls(socket: BorrowedFd<'_>) -> Result<Option<(u32, Vec<OwnedFd>)>, Errno> {
    let Some((frame, attached)) = receive(socket)? else { return Ok(None) };
    let [1, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0] = frame else { return Err(Errno::BADMSG) };
    Ok(Some((u32::from_le_bytes([a, b, c, d]), attached)))
}

/// To a template: fork into these.
pub(crate) fn order_engine(socket: BorrowedFd<'_>, entrances: &[(Entrance, BorrowedFd<'_>)]) -> Result<(), Errno> {
    let mut frame = [0; FRAME_BYTES];
    let kinds = entrances.iter().map(|(which, _)| *which as u8);
    for (to, from) in frame.iter_mut().zip([2_u8].into_iter().chain(kinds)) {
        *to = from;
    }
    let attached: Vec<BorrowedFd<'_>> = entrances.iter().map(|(_, descriptor)| *descriptor).collect();
    // One that hears nothing keeps nobody waiting.
    send(socket, &frame, &attached, SendFlags::DONTWAIT)
}

/// In a template: what the next engine is to be born into.
pub(crate) fn next_engine(socket: BorrowedFd<'_>) -> Result<Option<Entrances>, Errno> {
    let Some((frame, attached)) = receive(socket)? else { return Ok(None) };
    let [2, kinds @ ..] = frame else { return Err(Errno::BADMSG) };
    let mut entrances = Entrances::default();
    for (kind, descriptor) in kinds.into_iter().zip(attached) {
        if !Entrance::parse(kind).is_some_and(|which| entrances.add(which, descriptor)) {
            return Err(Errno::BADMSG);
        }
    }
    Ok(Some(entrances))
}

/// From a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has imported what it was to, and waits.
    Ready,
    /// It could not fork: the number of the order, an errno.
    Failed(u32, i32),
}

/// From a template.
pub(crate) fn say(socket: BorrowedFd<'_>, said: Said) -> Result<(), Errno> {
    let (kind, order, errno) = match said {
        Said::Ready => (3, 0, 0),
        Said::Failed(order, errno) => (4, order, errno),
    };
    let ([a, b, c, d], [e, f, g, h]) = (errno.to_le_bytes(), order.to_le_bytes());
    send(socket, &[kind, 0, 0, 0, a, b, c, d, e, f, g, h, 0, 0, 0, 0], &[], SendFlags::empty())
}

/// What a template says next; descriptors it attaches are closed.
pub(crate) fn next_said(socket: BorrowedFd<'_>) -> Result<Option<Said>, Errno> {
    let Some((frame, _)) = receive(socket)? else { return Ok(None) };
    match frame {
        [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Ok(Some(Said::Ready)),
        [4, 0, 0, 0, a, b, c, d, e, f, g, h, 0, 0, 0, 0] => {
            Ok(Some(Said::Failed(u32::from_le_bytes([e, f, g, h]), i32::from_le_bytes([a, b, c, d]))))
        }
        _ => Err(Errno::BADMSG),
    }
}

/// From a process that says it is an engine: an event, and who sent it by the kernel's word. There is no room for
/// descriptors, so the kernel drops what it attaches.
pub(crate) fn next_from_engine(socket: BorrowedFd<'_>) -> Result<(Event, Pid), Errno> {
    let (frame, sender) = receive_from(socket, RecvFlags::empty())?;
    let event = frame.and_then(Event::parse);
    Ok((event.ok_or(Errno::BADMSG)?, sender.ok_or(Errno::SRCH)?))
}

/// A frame, if it has the size of one, and who sent it by the kernel's word. At the end there is no sender.
pub(crate) fn receive_from(socket: BorrowedFd<'_>, flags: RecvFlags) -> Result<(Option<Frame>, Option<Pid>), Errno> {
    let mut frame = [0; FRAME_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received =
        whole_wait(|| rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut frame)], &mut control, flags))?;
    let sender = control.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmCredentials(sender) = message { Some(sender.pid) } else { None }
    });
    let is_end = received.bytes == 0 && !received.flags.contains(rustix::net::ReturnFlags::TRUNC);
    Ok(((received.bytes == FRAME_BYTES).then_some(frame), if is_end { None } else { sender }))
}
