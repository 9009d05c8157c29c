//! The fixed frames between the sandbox, both halves of it, and the supervisor, over one `SOCK_SEQPACKET` pair.
//!
//! Both ends are ours, but the far one lives inside: frames have one size, every field is checked,
//! a frame that does not parse ends the run.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use crate::sys::Used;

/// Bytes of every frame.
const FRAME_BYTES: usize = 16;

/// From inside to outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The scratch tmpfs, its descriptor attached; files may be staged.
    Scratch,
    /// The kernel refused the overlay of this mount of the plan; its folder may be copied instead.
    OverlayRefused(u32),
    /// The resolver's socket is attached.
    Resolver,
    /// The listener of the gate's proxy is attached.
    Proxy,
    /// A listener on a granted port is attached.
    Transparent,
    /// A watcher of what is not granted is attached.
    Watcher,
    /// The master side of the terminal is attached.
    Terminal,
    /// Everything is in force (a set of layers); the listener of refused calls may be attached.
    Sealed(u32),
    /// A way into what was made for an engine is attached; which, [`crate::warm::Entrance`] knows.
    Entrance(u8),
    /// The walls of an engine stand (a set of layers) and wait for its process.
    Stands(u32),
    /// The init can no longer be taken over.
    Guarded,
    /// An engine of this template ended: process id in the template's namespace, raw wait status.
    EngineEnded(u32, i32),
    /// A step failed: step, mount of the plan, errno.
    Failed(u8, u32, i32),
    /// The code ended with this raw wait status.
    Exited(i32),
    /// Every other process is gone.
    Drained(Drained),
}

/// What the init knows of processes when none but itself is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// How many had to be killed.
    pub(crate) killed: u32,
    /// What they all used.
    pub(crate) used: Used,
}

/// From outside to inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Proceed,
    /// Send this signal to the code.
    Signal(i32),
    /// Kill everything.
    Kill,
}

/// A frame's fields: its kind, a small number, and three words.
type Fields = (u8, u8, u32, i32, u32);

fn frame((kind, small, one, two, three): Fields) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    let words = one.to_le_bytes().into_iter().chain(two.to_le_bytes()).chain(three.to_le_bytes());
    for (to, from) in bytes.iter_mut().zip([kind, small, 0, 0].into_iter().chain(words)) {
        *to = from;
    }
    bytes
}

fn unframe(bytes: [u8; FRAME_BYTES]) -> Fields {
    let [kind, small, _, _, a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    let (one, three) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([i, j, k, l]));
    (kind, small, one, i32::from_le_bytes([e, f, g, h]), three)
}

impl Event {
    fn encode(self) -> [u8; FRAME_BYTES] {
        match self {
            Self::Scratch => frame((1, 0, 0, 0, 0)),
            Self::OverlayRefused(mount) => frame((2, 0, mount, 0, 0)),
            Self::Resolver => frame((3, 0, 0, 0, 0)),
            Self::Proxy => frame((4, 0, 0, 0, 0)),
            Self::Transparent => frame((10, 0, 0, 0, 0)),
            Self::Watcher => frame((11, 0, 0, 0, 0)),
            Self::Terminal => frame((5, 0, 0, 0, 0)),
            Self::Sealed(layers) => frame((6, 0, layers, 0, 0)),
            Self::Entrance(which) => frame((12, which, 0, 0, 0)),
            Self::Stands(layers) => frame((13, 0, layers, 0, 0)),
            Self::Guarded => frame((14, 0, 0, 0, 0)),
            Self::EngineEnded(pid, status) => frame((15, 0, pid, status, 0)),
            Self::Failed(step, mount, errno) => frame((7, step, mount, errno, 0)),
            Self::Exited(status) => frame((8, 0, 0, status, 0)),
            Self::Drained(Drained { killed, used: Used { cpu_ms, resident_peak_kib } }) => {
                frame((9, 0, killed, cpu_ms.cast_signed(), resident_peak_kib))
            }
        }
    }

    pub(crate) fn parse(bytes: [u8; FRAME_BYTES]) -> Option<Self> {
        let event = match unframe(bytes) {
            (1, ..) => Self::Scratch,
            (2, _, mount, ..) => Self::OverlayRefused(mount),
            (3, ..) => Self::Resolver,
            (4, ..) => Self::Proxy,
            (10, ..) => Self::Transparent,
            (11, ..) => Self::Watcher,
            (5, ..) => Self::Terminal,
            (6, _, layers, ..) => Self::Sealed(layers),
            (12, which, ..) => Self::Entrance(which),
            (13, _, layers, ..) => Self::Stands(layers),
            (14, ..) => Self::Guarded,
            (15, _, pid, status, _) => Self::EngineEnded(pid, status),
            (7, step, mount, errno, _) => Self::Failed(step, mount, errno),
            (8, _, _, status, _) => Self::Exited(status),
            (9, _, killed, cpu_ms, resident_peak_kib) => {
                Self::Drained(Drained { killed, used: Used { cpu_ms: cpu_ms.cast_unsigned(), resident_peak_kib } })
            }
            _ => return None,
        };
        (event.encode() == bytes).then_some(event)
    }
}

impl Order {
    fn encode(self) -> [u8; FRAME_BYTES] {
        match self {
            Self::Proceed => frame((1, 0, 0, 0, 0)),
            Self::Signal(signal) => frame((2, 0, 0, signal, 0)),
            Self::Kill => frame((3, 0, 0, 0, 0)),
        }
    }

    fn parse(bytes: [u8; FRAME_BYTES]) -> Option<Self> {
        let order = match unframe(bytes) {
            (1, ..) => Self::Proceed,
            (2, _, _, signal, _) => Self::Signal(signal),
            (3, ..) => Self::Kill,
            _ => return None,
        };
        (order.encode() == bytes).then_some(order)
    }
}

/// Sends one event, with a descriptor attached when given.
pub(crate) fn tell(socket: BorrowedFd<'_>, event: Event, attached: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let attached: Vec<BorrowedFd<'_>> = attached.into_iter().collect();
    if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&attached)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&event.encode())], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Sends one event unless the far end has not heard too many already: whoever waits for others must not wait for it.
pub(crate) fn tell_if_heard(socket: BorrowedFd<'_>, event: Event) -> Result<(), Errno> {
    match rustix::net::send(socket, &event.encode(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sends one order.
pub(crate) fn order(socket: BorrowedFd<'_>, order: Order) -> Result<(), Errno> {
    rustix::net::send(socket, &order.encode(), SendFlags::NOSIGNAL).map(drop)
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// A frame.
    Frame(T),
    /// The far end is gone.
    Closed,
}

/// Waits on when it was broken off: who is stopped and continued while it waits for a socket with a time limit is told
/// so (signal(7), "Interruption of system calls by stop signals"), and what comes then belongs to what it asked before.
pub(crate) fn whole_wait<T>(receive: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(receive)
}

/// Takes one event and the descriptor attached to it.
pub(crate) fn next_event(socket: BorrowedFd<'_>) -> Result<Received<(Event, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0; FRAME_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = whole_wait(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let attached = control.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message { descriptors.next() } else { None }
    });
    match received.bytes {
        0 => Ok(Received::Closed),
        FRAME_BYTES => Event::parse(bytes).map(|event| Received::Frame((event, attached))).ok_or(Errno::BADMSG),
        _ => Err(Errno::BADMSG),
    }
}

/// Takes one order.
pub(crate) fn next_order(socket: impl AsFd) -> Result<Received<Order>, Errno> {
    let mut bytes = [0; FRAME_BYTES];
    match whole_wait(|| rustix::net::recv(&socket, &mut bytes, RecvFlags::empty()))? {
        (_, 0) => Ok(Received::Closed),
        (_, FRAME_BYTES) => Order::parse(bytes).map(Received::Frame).ok_or(Errno::BADMSG),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_is_stopped_and_goes_on_still_hears_the_answer() {
        // Stops this process while it waits, lets it go on, and answers.
        const HELPER: &str = "
import os, signal, sys
pid = os.getppid()
def state(task): return open(f'/proc/{pid}/task/{task}/stat').read().rsplit(')', 1)[1].split()[0]
os.kill(pid, signal.SIGSTOP)
while any(state(task) not in 'Tt' for task in os.listdir(f'/proc/{pid}/task')): pass
os.kill(pid, signal.SIGCONT)
os.write(1, bytes.fromhex(sys.argv[1]))
";
        let frame: String = Event::Guarded.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        for _ in 0..10 {
            let (near, far) = crate::outside::control_pair().unwrap();
            let patience = std::time::Duration::from_secs(20);
            rustix::net::sockopt::set_socket_timeout(&near, rustix::net::sockopt::Timeout::Recv, Some(patience))
                .unwrap();
            let mut helper = Command::new("python3").args(["-c", HELPER, &frame]).stdout(Stdio::from(far)).spawn();
            let heard = next_event(near.as_fd());
            assert!(matches!(heard, Ok(Received::Frame((Event::Guarded, None)))), "{heard:?}");
            helper.as_mut().unwrap().wait().unwrap();
        }
    }

    proptest! {
        #[test]
        fn a_frame_that_parses_is_the_one_that_was_sent(bytes: [u8; FRAME_BYTES]) {
            if let Some(event) = Event::parse(bytes) {
                prop_assert_eq!(event.encode(), bytes);
            }
            if let Some(order) = Order::parse(bytes) {
                prop_assert_eq!(order.encode(), bytes);
            }
        }
    }

    #[test]
    fn every_event_survives_the_way() {
        for event in [
            Event::Scratch,
            Event::OverlayRefused(7),
            Event::Resolver,
            Event::Proxy,
            Event::Transparent,
            Event::Watcher,
            Event::Terminal,
            Event::Sealed(0x1f),
            Event::Entrance(9),
            Event::Stands(0x7),
            Event::Guarded,
            Event::EngineEnded(4242, 9),
            Event::Failed(3, 9, -1),
            Event::Exited(256),
            Event::Drained(Drained { killed: 2, used: Used { cpu_ms: u32::MAX, resident_peak_kib: 7 } }),
        ] {
            assert_eq!(Event::parse(event.encode()), Some(event));
        }
    }
}
