//! Inside, between the two halves of a sandbox under construction: who is done with what.
//!
//! Both ends are ours, no code runs yet; the far end's death is seen as a closed socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use stockade_core::layer::Layers;

use crate::hooks;

/// What one half says to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The code's process to the init: its own user namespace is made. The kernel refuses one to
    /// whoever does not stand on the topmost root (create_user_ns), as while the root changes.
    MountsLocked,
    /// The code's process to the init: the network namespace is made.
    NetworkStands,
    /// The init to the code's process: the root is built and entered; these layers came with it.
    /// The host still lies in it.
    RootStands(Layers),
    /// The init to the code's process: the host is gone, and this init can no longer be taken over.
    Guarded,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Handover(OwnedFd);

/// Both ends, one for each half.
pub(crate) fn pair() -> Result<(Handover, Handover), Errno> {
    hooks::fault("socketpair")?;
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Handover(one), Handover(other)))
}

impl Handover {
    pub(crate) fn say(&self, word: Word) -> Result<(), Errno> {
        let (kind, layers) = match word {
            Word::MountsLocked => (1, Layers::NONE),
            Word::NetworkStands => (2, Layers::NONE),
            Word::RootStands(layers) => (3, layers),
            Word::Guarded => (4, Layers::NONE),
        };
        let [a, b, c, d] = layers.bits().to_le_bytes();
        rustix::net::send(&self.0, &[kind, hooks::told(), a, b, c, d], SendFlags::NOSIGNAL).map(drop)
    }

    /// Waits for the next word.
    fn hear(&self) -> Result<Word, Errno> {
        let mut bytes = [0; 6];
        let (_, length) = rustix::net::recv(self.0.as_fd(), &mut bytes, RecvFlags::empty())?;
        let [kind, told, layers @ ..] = bytes;
        hooks::pass_on(told);
        match (length, kind) {
            (0, _) => Err(Errno::CANCELED),
            (6, 1) => Ok(Word::MountsLocked),
            (6, 2) => Ok(Word::NetworkStands),
            (6, 3) => Ok(Word::RootStands(Layers::from_bits(u32::from_le_bytes(layers)))),
            (6, 4) => Ok(Word::Guarded),
            _ => Err(Errno::BADMSG),
        }
    }

    /// Waits for this very word.
    pub(crate) fn wait_for(&self, word: Word) -> Result<(), Errno> {
        if self.hear()? == word { Ok(()) } else { Err(Errno::PROTO) }
    }

    /// Waits until the root stands, and says which layers came with it.
    pub(crate) fn wait_for_root(&self) -> Result<Layers, Errno> {
        if let Word::RootStands(layers) = self.hear()? { Ok(layers) } else { Err(Errno::PROTO) }
    }
}

impl AsRawFd for Handover {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
