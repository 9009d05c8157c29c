//! What of the network a run may reach: through the egress gate, or not at all.
//!
//! Pure values, asked for in a request, cut down by a policy, written into a plan. How a granted sandbox is wired
//! follows from the grants alone: which addresses its own loopback answers for, and on which ports.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::budget::Budget;
use crate::grant::{Effect, Grant, Target};
use crate::name::Name;

/// The port of the gate's proxy on the sandbox's loopback.
pub const PROXY_PORT: u16 = 3128;
/// The block that stands for granted names inside: for tests of equipment (RFC 2544), so never a real host's.
pub const MADE_UP: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 16);
/// Most ports that are served to programs that know no proxy: each costs the sandbox a listener.
pub const PORTS_MAX: usize = 64;
/// Most blocks of addresses, for the same reason.
pub const BLOCKS_MAX: usize = 64;

/// The network of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None: an empty loopback and a resolver that answers no.
    #[default]
    None,
    /// What is granted, through the gate.
    Gate(Box<Egress>),
}

/// What a run may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// The grants of everybody who has a say; each must permit.
    pub layers: Vec<Vec<Grant>>,
    /// How much of it.
    pub budget: Budget,
    /// What it may use without having it.
    pub secrets: Vec<SecretUse>,
}

/// A secret that the gate puts into requests; its value is in no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// The variable of the code that holds the placeholder.
    pub variable: String,
    /// The only host it is sent to.
    pub host: Name,
    /// The only header it is put into.
    pub header: String,
    /// What stands for it inside.
    pub placeholder: String,
}

impl Egress {
    /// What the request itself asks for: the last layer, within which everything lies that is permitted.
    fn allowances(&self) -> impl Iterator<Item = &Grant> {
        self.layers.last().into_iter().flatten().filter(|grant| grant.effect() == Effect::Allow)
    }

    /// The ports that every layer could permit something on.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let of_layer = |layer: &Vec<Grant>| -> BTreeSet<u16> {
            let allowances = layer.iter().filter(|grant| grant.effect() == Effect::Allow);
            allowances.flat_map(|grant| grant.ports().iter().copied()).collect()
        };
        let mut layers = self.layers.iter().map(of_layer);
        let first = layers.next().unwrap_or_default();
        layers.fold(first, |ports, layer| &ports & &layer)
    }

    /// The granted IPv4 blocks as the loopback can answer for them: neither 0.0.0.0/8, which is no destination, nor
    /// what begins at 224.0.0.0, which is no single host's. What it answers for anyhow is left out.
    #[must_use]
    pub fn blocks(&self) -> BTreeSet<Ipv4Net> {
        let mut blocks = BTreeSet::new();
        for grant in self.allowances() {
            if let Target::Net(IpNet::V4(net)) = grant.target() {
                collect_hosts(*net, &mut blocks);
            }
        }
        let anyhow = [Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), MADE_UP];
        let all: Vec<Ipv4Net> = blocks.iter().copied().chain(anyhow).collect();
        blocks.retain(|net| !all.iter().any(|other| other != net && other.contains(net)));
        blocks.retain(|net| !anyhow.contains(net));
        blocks
    }

    /// The granted single IPv6 addresses; blocks of them are reached through the proxy only.
    #[must_use]
    pub fn addresses_v6(&self) -> BTreeSet<Ipv6Addr> {
        let single = |grant: &Grant| match grant.target() {
            Target::Net(IpNet::V6(net)) if net.prefix_len() == net.max_prefix_len() && !net.addr().is_loopback() => {
                Some(net.addr())
            }
            Target::Net(_) | Target::Name(_) | Target::Below(_) => None,
        };
        self.allowances().filter_map(single).collect()
    }

    /// Whether the gate may have to end TLS, so that the sandbox must trust an authority of the run's own.
    #[must_use]
    pub fn inspects(&self) -> bool {
        let looks = |grant: &Grant| grant.inspect() || (grant.effect() == Effect::Deny && grant.concerns_requests());
        !self.secrets.is_empty() || self.layers.iter().flatten().any(looks)
    }

    /// Whether bytes may pass that nobody looks at.
    #[must_use]
    pub fn has_unchecked(&self) -> bool {
        let unchecked =
            |grant: &Grant| grant.ports().iter().any(|port| grant.protocol_at(*port) == crate::grant::Protocol::Tcp);
        self.allowances().any(unchecked)
    }
}

/// Splits a block until none of its parts touches what is no host.
fn collect_hosts(net: Ipv4Net, blocks: &mut BTreeSet<Ipv4Net>) {
    let [first, ..] = net.network().octets();
    let [last, ..] = net.broadcast().octets();
    if first >= 224 || last == 0 {
        return;
    }
    if first != 0 && last < 224 {
        blocks.insert(net);
        return;
    }
    // Shorter than eight bits, or it would lie within one of the two.
    for half in net.subnets(net.prefix_len() + 1).into_iter().flatten() {
        collect_hosts(half, blocks);
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Gate(egress) = self else { return writeln!(out, "network   none") };
        let ports: Vec<String> = egress.ports().iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(" ") };
        writeln!(out, "network   the gate: proxy on 127.0.0.1:{PROXY_PORT}, without a proxy on ports {ports}")?;
        for (number, layer) in egress.layers.iter().enumerate() {
            let kind = if number + 1 == egress.layers.len() { "grant    " } else { "at most  " };
            for grant in layer {
                writeln!(out, "{kind} {grant}")?;
            }
        }
        for secret in &egress.secrets {
            writeln!(out, "secret    {} in {} to {}", secret.variable, secret.header, secret.host)?;
        }
        let budget = &egress.budget;
        let default = Budget::default();
        for (key, value) in budget.entries() {
            if default.entries().into_iter().all(|(other, usual)| other != key || usual != value) {
                writeln!(out, "budget    {key} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(layers: &[&[&str]]) -> Egress {
        let layer = |grants: &&[&str]| grants.iter().map(|grant| grant.parse().unwrap()).collect();
        Egress { layers: layers.iter().map(layer).collect(), ..Egress::default() }
    }

    #[test]
    fn a_port_is_served_when_every_layer_could_permit_something_on_it() {
        let both = egress(&[
            &["*.example.com:443,8443"],
            &["api.example.com", "tcp://db.example.com:5432", "deny:x.example:8443"],
        ]);
        assert_eq!(both.ports(), BTreeSet::from([443]));
        assert_eq!(egress(&[&["a.example:81,80"]]).ports(), BTreeSet::from([80, 81]));
        assert_eq!(egress(&[]).ports(), BTreeSet::new());
    }

    #[test]
    fn blocks_are_split_around_what_is_no_host() {
        let of =
            |grant: &str| -> Vec<String> { egress(&[&[grant]]).blocks().iter().map(ToString::to_string).collect() };
        assert_eq!(of("10.0.0.0/8"), ["10.0.0.0/8"]);
        assert_eq!(of("203.0.113.7"), ["203.0.113.7/32"]);
        assert_eq!(of("0.0.0.0/7"), ["1.0.0.0/8"]);
        assert!(of("0.0.0.0/8").is_empty() && of("224.0.0.0/4").is_empty());
        for answered_anyhow in ["127.0.0.1", "127.0.0.0/8", "198.18.0.1", "198.18.0.0/16"] {
            assert!(of(answered_anyhow).is_empty(), "{answered_anyhow}");
        }
        assert_eq!(of("198.18.0.0/15"), ["198.18.0.0/15"]);
        let within = egress(&[&["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/9"]]).blocks();
        assert_eq!(within.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8"]);
        let all = egress(&[&["0.0.0.0/0"]]).blocks();
        let covered: u64 = all.iter().map(|net| 1_u64 << (32 - net.prefix_len())).sum();
        assert_eq!(covered, (1 << 32) - (1 << 24) - (32_u64 << 24));
    }

    #[test]
    fn only_single_addresses_of_ipv6_are_answered_for() {
        let some = egress(&[&["[2001:db8::80]:443", "[2001:db8::/32]:443", "[::1]:443"]]);
        assert_eq!(some.addresses_v6(), BTreeSet::from(["2001:db8::80".parse().unwrap()]));
    }

    #[test]
    fn an_authority_is_needed_when_something_is_looked_into() {
        assert!(!egress(&[&["api.example.com", "http://a.example"]]).inspects());
        assert!(egress(&[&["GET https://api.example.com/v1"]]).inspects());
        assert!(egress(&[&["api.example.com", "deny:https://api.example.com/admin"]]).inspects());
    }
}
