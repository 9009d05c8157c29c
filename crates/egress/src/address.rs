//! Which addresses are more than a place on the internet: the machine itself, its networks, metadata services.
//!
//! Pure, but for the list of the machine's own addresses. A name that resolves to a special address is an attack or
//! a mistake, unless somebody granted that address as an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An interface of this machine has it.
    Own,
    /// The machine itself.
    Loopback,
    /// A service that tells a cloud machine its secrets.
    Metadata,
    /// A network of one organisation.
    Private,
    /// Only neighbours on the same wire.
    LinkLocal,
    /// Between a provider and its customers.
    Shared,
    /// Many receivers.
    Multicast,
    /// All receivers.
    Broadcast,
    /// No address; the kernel takes it for the machine itself.
    Unspecified,
    /// Not assigned, or for tests of equipment.
    Reserved,
    /// An IPv6 address through which a special IPv4 one is reached.
    Embedding,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "an address of this machine",
            Self::Loopback => "a loopback address",
            Self::Metadata => "the address of a metadata service",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Shared => "a provider's shared address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Unspecified => "the unspecified address",
            Self::Reserved => "a reserved address",
            Self::Embedding => "a detour to a special IPv4 address",
        })
    }
}

/// An address that is refused unless it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Why.
    pub kind: Kind,
    /// A grant that lies within this block means it; one that is wider (`0.0.0.0/0`) was meant for the
    /// internet. `None`: no grant can mean it.
    pub block: Option<IpNet>,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, h: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, h), length)
}

/// Narrow blocks before the wider ones that hold them. Ranges for documentation are not here: nobody's machines
/// are there, and closed networks use them for their mirrors.
const V4: [(Ipv4Net, Kind); 17] = [
    (v4(169, 254, 169, 254, 32), Kind::Metadata),
    (v4(169, 254, 170, 2, 32), Kind::Metadata),
    (v4(169, 254, 170, 23, 32), Kind::Metadata),
    (v4(168, 63, 129, 16, 32), Kind::Metadata),
    (v4(100, 100, 100, 200, 32), Kind::Metadata),
    (v4(192, 0, 0, 192, 32), Kind::Metadata),
    (v4(255, 255, 255, 255, 32), Kind::Broadcast),
    (v4(0, 0, 0, 0, 8), Kind::Unspecified),
    (v4(10, 0, 0, 0, 8), Kind::Private),
    (v4(172, 16, 0, 0, 12), Kind::Private),
    (v4(192, 168, 0, 0, 16), Kind::Private),
    (v4(100, 64, 0, 0, 10), Kind::Shared),
    (v4(127, 0, 0, 0, 8), Kind::Loopback),
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),
    (v4(192, 0, 0, 0, 24), Kind::Reserved),
    (v4(198, 18, 0, 0, 15), Kind::Reserved),
    (v4(224, 0, 0, 0, 3), Kind::Multicast),
];

const V6: [(Ipv6Net, Kind); 13] = [
    (v6(0xfd00, 0xec2, 0, 0x254, 128), Kind::Metadata),
    (v6(0xfd20, 0xce, 0, 0x254, 128), Kind::Metadata),
    (v6(0, 0, 0, 0, 128), Kind::Unspecified),
    (v6(0, 0, 0, 1, 128), Kind::Loopback),
    (v6(0xfc00, 0, 0, 0, 7), Kind::Private),
    (v6(0xfe80, 0, 0, 0, 10), Kind::LinkLocal),
    (v6(0xfec0, 0, 0, 0, 10), Kind::Private),
    (v6(0xff00, 0, 0, 0, 8), Kind::Multicast),
    // The well-known prefix of NAT64 is outside of global unicast; the address in it is looked at instead.
    (v6(0x64, 0xff9b, 1, 0, 48), Kind::Reserved),
    (v6(0x2001, 2, 0, 0, 48), Kind::Reserved),
    (v6(0x2001, 0x10, 0, 0, 28), Kind::Reserved),
    (v6(0x2001, 0x20, 0, 0, 28), Kind::Reserved),
    (v6(0x100, 0, 0, 0, 64), Kind::Reserved),
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 0, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 0, 16);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 0, 32);

/// What makes `address` special, if anything does; `own` are the addresses of this machine.
#[must_use]
pub fn special(address: IpAddr, own: &[IpAddr]) -> Option<Special> {
    let address = address.to_canonical();
    if own.contains(&address) && !address.is_loopback() {
        return Some(Special { kind: Kind::Own, block: Some(IpNet::from(address)) });
    }
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6, own),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let (net, kind) = V4.into_iter().find(|(net, _)| net.contains(&address))?;
    Some(Special { kind, block: grantable(kind).then_some(IpNet::V4(net)) })
}

fn special_v6(address: Ipv6Addr, own: &[IpAddr]) -> Option<Special> {
    if let Some((net, kind)) = V6.into_iter().find(|(net, _)| net.contains(&address)) {
        return Some(Special { kind, block: grantable(kind).then_some(IpNet::V6(net)) });
    }
    if embedded(address).into_iter().flatten().any(|v4| special(v4.into(), own).is_some()) {
        return Some(Special { kind: Kind::Embedding, block: None });
    }
    let assigned = GLOBAL_UNICAST.contains(&address) || NAT64.contains(&address);
    (!assigned).then_some(Special { kind: Kind::Reserved, block: None })
}

/// Nobody can mean to open a stream to these.
const fn grantable(kind: Kind) -> bool {
    !matches!(kind, Kind::Unspecified | Kind::Multicast | Kind::Broadcast | Kind::Embedding)
}

/// The IPv4 addresses that a packet to this address ends at, or is sent through.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [_, b, c, d, _, _, g, h] = address.segments();
    if NAT64.contains(&address) {
        [Some(joined(g, h)), None]
    } else if SIX_TO_FOUR.contains(&address) {
        [Some(joined(b, c)), None]
    } else if TEREDO.contains(&address) {
        [Some(joined(c, d)), Some(joined(!g, !h))]
    } else {
        [None, None]
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// The address itself, and every IPv4 address that is reached through it.
pub(crate) fn reached(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    let inner = match address {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(v6) => embedded(v6),
    };
    std::iter::once(address).chain(inner.into_iter().flatten().map(IpAddr::V4))
}

/// The addresses of this machine's interfaces, read again when they are older than a moment.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses(Mutex<Option<(Instant, Vec<IpAddr>)>>);

impl OwnAddresses {
    const FRESH: Duration = Duration::from_secs(2);

    /// The addresses now; an error means that nothing may be dialled.
    pub(crate) fn now(&self) -> std::io::Result<Vec<IpAddr>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, addresses)) = known.as_ref().filter(|(read, _)| read.elapsed() < Self::FRESH) {
            return Ok(addresses.clone());
        }
        let addresses: Vec<IpAddr> =
            if_addrs::get_if_addrs()?.iter().map(|interface| interface.ip().to_canonical()).collect();
        *known = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<Kind> {
        let own = ["198.51.100.7".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        special(text.parse().unwrap(), &own).map(|special| special.kind)
    }

    #[test]
    fn public_addresses_are_not_special() {
        for text in ["8.8.8.8", "203.0.113.80", "172.32.0.1", "100.128.0.1", "2a04:4e42::223", "2001:db8::1"] {
            assert_eq!(kind(text), None, "{text}");
        }
        for text in ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"] {
            assert_eq!(kind(text), None, "{text}");
        }
    }

    #[test]
    fn every_special_range_is_known() {
        use Kind::*;
        for (text, expected) in [
            ("198.51.100.7", Own),
            ("127.0.0.1", Loopback),
            ("127.255.0.1", Loopback),
            ("::1", Loopback),
            ("10.1.2.3", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fec0::1", Private),
            ("169.254.1.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("168.63.129.16", Metadata),
            ("100.100.100.200", Metadata),
            ("fd00:ec2::254", Metadata),
            ("100.64.0.1", Shared),
            ("224.0.0.1", Multicast),
            ("ff02::1", Multicast),
            ("240.0.0.1", Multicast),
            ("255.255.255.255", Broadcast),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("198.18.0.1", Reserved),
            ("::7f00:1", Reserved),
            ("4000::1", Reserved),
            ("64:ff9b:1::1", Reserved),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:198.51.100.7", Own),
            ("64:ff9b::7f00:1", Embedding),
            ("64:ff9b::c633:6407", Embedding),
            ("2002:a00:1::", Embedding),
            ("2001:0:a00:1::1", Embedding),
            ("2001:0:808:808::80ff:fffe", Embedding),
        ] {
            assert_eq!(kind(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn nobody_can_mean_a_detour_or_many_receivers() {
        for text in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "64:ff9b::7f00:1", "::7f00:1"] {
            assert_eq!(special(text.parse().unwrap(), &[]).unwrap().block, None, "{text}");
        }
        assert!(special("10.0.0.1".parse().unwrap(), &[]).unwrap().block.is_some());
    }

    #[test]
    fn what_is_reached_includes_the_address_inside() {
        let reached: Vec<_> = reached("64:ff9b::808:808".parse().unwrap()).map(|ip| ip.to_string()).collect();
        assert_eq!(reached, ["64:ff9b::808:808", "8.8.8.8"]);
    }

    #[test]
    fn this_machine_has_a_loopback() {
        assert!(OwnAddresses::default().now().unwrap().iter().any(IpAddr::is_loopback));
    }
}
