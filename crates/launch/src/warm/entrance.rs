//! What leads into the walls that were made for an engine, and what its process is handed besides.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::failure::Failure;

/// One descriptor on the way to an engine's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Entrance {
    /// The user namespace: the first, for it gives the right to the others.
    Users = 1,
    Mounts = 2,
    Processes = 3,
    Network = 4,
    Queues = 5,
    HostName = 6,
    Groups = 7,
    /// Only a process that shares its memory with no other may enter it.
    Clocks = 8,
    /// Landlock rules of the files that it will see.
    Rules = 9,
    /// Its socket to the launcher.
    Control = 10,
    Input = 11,
    Output = 12,
    Error = 13,
    Result = 14,
}

impl Entrance {
    pub(crate) const ALL: [Self; 14] = [
        Self::Users,
        Self::Mounts,
        Self::Processes,
        Self::Network,
        Self::Queues,
        Self::HostName,
        Self::Groups,
        Self::Clocks,
        Self::Rules,
        Self::Control,
        Self::Input,
        Self::Output,
        Self::Error,
        Self::Result,
    ];

    pub(crate) fn parse(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| *one as u8 == number)
    }
}

/// Descriptors by what they are, each at most once, in their order.
#[derive(Debug, Default)]
pub(crate) struct Entrances(Vec<(Entrance, OwnedFd)>);

impl Entrances {
    /// Adds what the walls' init sent.
    pub(crate) fn take(&mut self, which: u8, attached: Option<OwnedFd>) -> Result<(), Failure> {
        let (Some(which), Some(attached)) = (Entrance::parse(which), attached) else { return Err(Failure::Lost) };
        if self.add(which, attached) { Ok(()) } else { Err(Failure::Lost) }
    }

    /// Says whether it was the first of its kind, and in order.
    pub(crate) fn add(&mut self, which: Entrance, descriptor: OwnedFd) -> bool {
        let is_next = self.0.last().is_none_or(|(last, _)| *last < which);
        if is_next {
            self.0.push((which, descriptor));
        }
        is_next
    }

    /// Closes what is not to be compared with anything.
    pub(crate) fn keep_namespaces(&mut self) {
        self.0.retain(|(which, _)| (Entrance::Mounts..=Entrance::HostName).contains(which));
    }

    pub(crate) fn get(&self, which: Entrance) -> Option<BorrowedFd<'_>> {
        self.iter().find(|(one, _)| *one == which).map(|(_, descriptor)| descriptor)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Entrance, BorrowedFd<'_>)> {
        self.0.iter().map(|(which, descriptor)| (*which, descriptor.as_fd()))
    }
}
