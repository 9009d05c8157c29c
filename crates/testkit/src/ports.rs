//! Ports of TCP on loopback that stay what a test takes them for while others run beside it.
//!
//! A port that is bound and closed again is anybody's: the kernel may hand it to the next socket of any
//! test. So what must not answer stays bound ([`Silent`]), and what a program is to bind is taken from
//! where the kernel takes none by itself ([`free`]).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// The ports of [`free`]: below those that the kernel gives to sockets without one (32768 to 60999,
/// `ip_local_port_range` of ip(7)), above those of services.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// An address that refuses connections for as long as the value lives.
#[derive(Debug)]
pub struct Silent {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl Silent {
    /// An address of its own.
    #[must_use]
    pub fn new() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        // Bound and not listening: nobody else gets it, and who connects is refused (tcp(7)).
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        Self { _socket: socket, address }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for Silent {
    fn default() -> Self {
        Self::new()
    }
}

/// A port of 127.0.0.1 for a program to bind, another one with each call.
///
/// Nothing holds it; but only a test that asks here comes upon it, and tests that run at the same time
/// begin to look at different places.
#[must_use]
pub fn free() -> u16 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    loop {
        // The numbers of processes that run together are near each other, and a test asks for a few ports.
        let number = std::process::id().wrapping_mul(8).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + number % (PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_silent_address_refuses_and_is_nobody_elses() {
        let silent = Silent::new();
        let refused = TcpStream::connect(silent.address()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let taken = TcpListener::bind(silent.address()).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    }

    #[test]
    fn free_ports_differ_and_none_is_the_kernels_to_give() {
        let kernel = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u32 = kernel.split_whitespace().next().unwrap().parse().unwrap();
        assert!(PORTS.end <= first, "{kernel}");
        let listeners: Vec<_> = (0..20).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free())).unwrap()).collect();
        let ports: BTreeSet<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 20);
    }
}
