//! Where a connection comes from, in the one form that entries are held against.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address, and for link-local ones the interface that it came in by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    address: IpAddr,
    /// Name and number of the interface.
    zone: Option<(String, u32)>,
}

impl Peer {
    /// The other end of a connection, as the kernel says it. An interface whose name cannot be had has only its
    /// number.
    #[must_use]
    pub fn of(socket: SocketAddr) -> Self {
        let zone = match socket {
            SocketAddr::V6(v6) if is_link_local(v6.ip()) && v6.scope_id() != 0 => {
                Some((interface(v6.scope_id()).unwrap_or_default(), v6.scope_id()))
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => None,
        };
        Self { address: socket.ip().to_canonical(), zone }
    }

    /// An address without a connection, for `test trusted`.
    #[must_use]
    pub fn at(address: IpAddr, interface: Option<&str>) -> Self {
        Self { address: address.to_canonical(), zone: interface.map(|name| (name.to_owned(), 0)) }
    }

    /// The address; an IPv4-mapped one is folded to IPv4.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it came in by the interface that an entry names, by its name or its number.
    pub(crate) fn is_in(&self, zone: &str) -> bool {
        let Some((name, number)) = &self.zone else { return false };
        (!zone.is_empty() && name == zone) || (*number != 0 && zone == number.to_string())
    }
}

pub(crate) const fn is_link_local(address: &Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}

/// The name of an interface.
fn interface(number: u32) -> Option<String> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    netdevice::index_to_name(socket, number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_counts_for_link_local_addresses_only() {
        let lo = interface(1).unwrap_or_default();
        let peer = |text: &str, scope| {
            let SocketAddr::V6(mut socket) = format!("[{text}]:9").parse().unwrap() else { panic!() };
            socket.set_scope_id(scope);
            Peer::of(SocketAddr::V6(socket))
        };
        assert!(peer("fe80::1", 1).is_in("1"));
        assert!(lo.is_empty() || peer("fe80::1", 1).is_in(&lo));
        assert!(!peer("fe80::1", 1).is_in("2") && !peer("fe80::1", 1).is_in("") && !peer("fe80::1", 0).is_in("0"));
        assert_eq!(peer("2001:db8::1", 1).zone, None);
        assert_eq!(peer("::ffff:192.0.2.1", 0).address(), "192.0.2.1".parse::<IpAddr>().unwrap());
        // A number that no interface has: its name is unknown, and does not match an empty one.
        assert!(peer("fe80::1", 999_999).is_in("999999") && !peer("fe80::1", 999_999).is_in(""));
    }
}
