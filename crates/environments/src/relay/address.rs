//! Which addresses the relay may dial. An index that resolves to the machine itself, its network
//! or a cloud's metadata service is an attack, or a private index that the egress gate will serve.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether the address is one of the public internet. Documentation ranges pass: nobody's
/// machines are there, and closed build networks use them for their mirrors.
pub(super) fn is_public(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        // The metadata service of one cloud stands in a public range.
        || v4 == Ipv4Addr::new(168, 63, 129, 16);
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    if let Some(v4) = v6.to_ipv4() {
        return is_public_v4(v4);
    }
    // Addresses that carry an IPv4 one reach that one: NAT64 and 6to4.
    let carried = match (a, b, c, d, e, f) {
        (0x64, 0xff9b, 0, 0, 0, 0) => Some((g, h)),
        (0x2002, ..) => Some((b, c)),
        (..) => None,
    };
    if let Some((high, low)) = carried {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        return is_public_v4(Ipv4Addr::new(p, q, r, s));
    }
    // Global unicast is 2000::/3; everything else is local, multicast or unassigned.
    a & 0xe000 == 0x2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_dialled() {
        for (text, public) in [
            ("203.0.113.80", true),
            ("8.8.8.8", true),
            ("2a04:4e42::223", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("168.63.129.16", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::808:808", true),
            ("64:ff9b:1:7f00:0:100:808:808", false),
            ("2002:7f00:1::", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fc00::1", false),
            ("ff02::1", false),
        ] {
            let address = SocketAddr::new(text.parse().unwrap(), 443);
            assert_eq!(is_public(&address), public, "{text}");
        }
    }
}
