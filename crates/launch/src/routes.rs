//! Parent, outside: what the kernel refused of a run's network, counted by the kernel itself.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use stockade_core::layer::Layer;

use crate::outside::Running;

/// The counters of a network namespace come in one page.
const COUNTERS_BYTES: usize = 4096;

/// The kernel's counts of packets that found no route in the run's network namespace.
#[derive(Debug)]
pub(crate) struct RouteCounters {
    ipv4: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
}

impl RouteCounters {
    pub(crate) fn open(running: &Running) -> Self {
        // Without a namespace of its own these are the host's.
        if !running.enforced.has(Layer::Network) {
            return Self { ipv4: None, ipv6: None };
        }
        let init = running.init.pid;
        let open = |name: &str| {
            let path = format!("/proc/{}/net/{name}", init.as_raw_nonzero());
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        Self { ipv4: open("snmp"), ipv6: open("snmp6") }
    }

    pub(crate) fn packets_without_route(&self) -> u64 {
        let mut buffer = [0; COUNTERS_BYTES];
        let mut count = |file: &Option<OwnedFd>, pick: fn(&str) -> Option<u64>| {
            let length = file.as_ref().and_then(|file| rustix::io::read(file, &mut buffer).ok()).unwrap_or(0);
            buffer.get(..length).and_then(|text| std::str::from_utf8(text).ok()).and_then(pick).unwrap_or(0)
        };
        count(&self.ipv4, ipv4_without_route) + count(&self.ipv6, ipv6_without_route)
    }
}

fn ipv6_without_route(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes"))?.trim().parse().ok()
}

/// `/proc/net/snmp` has a line of names and a line of values for each protocol.
fn ipv4_without_route(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next()?, lines.next()?);
    names
        .split_ascii_whitespace()
        .zip(values.split_ascii_whitespace())
        .find(|(name, _)| *name == "OutNoRoutes")
        .and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_packets_are_read_by_name() {
        let text = "Ip: Forwarding DefaultTTL OutNoRoutes\nIp: 1 64 7\nIcmp: x\n";
        assert_eq!(ipv4_without_route(text), Some(7));
        assert_eq!(ipv4_without_route("Ip: a\n"), None);
        assert_eq!(ipv6_without_route("Ip6InNoRoutes\t1\nIp6OutNoRoutes   \t3\n"), Some(3));
    }
}
