//! The descriptors through which one run reaches the gate: made inside its network namespace, served outside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the set-up of a sandbox passes out. A run without any of them reaches nothing.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Listening sockets, TCP or Unix, on which HTTP proxy and SOCKS5 are spoken.
    pub proxies: Vec<OwnedFd>,
    /// A bound UDP socket: the run's name server.
    pub resolver: Option<OwnedFd>,
    /// Listening TCP sockets; where a connection to them was going is their own address of it.
    pub transparent: Vec<OwnedFd>,
    /// Raw IPv4 sockets that see what no listener takes: first packets of TCP, and datagrams.
    pub watchers: Vec<OwnedFd>,
}

impl Sockets {
    /// Only proxies.
    #[must_use]
    pub fn proxies(proxies: Vec<OwnedFd>) -> Self {
        Self { proxies, ..Self::default() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.descriptors().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in the order of the fields.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let watched = self.transparent.iter().chain(&self.watchers);
        self.proxies.iter().chain(&self.resolver).chain(watched).map(AsFd::as_fd)
    }
}
