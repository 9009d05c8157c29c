//! Decides about connections, requests and addresses by the grants of everybody who has a say.
//!
//! Pure. Each layer (policy, role, request) must permit; within a layer a denial wins over every allowance.
//! Grants are sorted when they come in, so the order in which they were written cannot matter.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::{self, Special};
use crate::refusal::{Reason, either};
use stockade_core::grant::{Effect, Grant, Protocol, Target, unambiguous};
use stockade_core::name::{Host, Name};

/// What one party grants and denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Grant>")]
struct Layer(Vec<Grant>);

impl From<Vec<Grant>> for Layer {
    fn from(mut grants: Vec<Grant>) -> Self {
        grants.sort();
        grants.dedup();
        Self(grants)
    }
}

/// What a run may reach. The empty rules permit nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(Vec<Layer>);

/// A connection that the rules permit, and how it must be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The deciding grant of each layer.
    pub rule: String,
    /// What may be spoken.
    pub protocols: Protocols,
    /// Whether TLS is to be ended by the gate.
    pub inspect: bool,
    /// The parent, if only wildcards permit: then every new name below it counts.
    pub wildcard: Option<Name>,
}

/// A set of protocols; with `tcp` it holds every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols(u8);

impl Protocols {
    const ALL: [Protocol; 4] = [Protocol::Tls, Protocol::Http, Protocol::Postgres, Protocol::Tcp];

    const fn bit(protocol: Protocol) -> u8 {
        match protocol {
            Protocol::Tls => 1,
            Protocol::Http => 2,
            Protocol::Postgres => 4,
            Protocol::Tcp => 15,
        }
    }

    /// Whether `protocol` may be spoken.
    #[must_use]
    pub const fn has(self, protocol: Protocol) -> bool {
        let bit = Self::bit(protocol);
        self.0 & bit == bit
    }

    /// Those that are in the set, without what `tcp` implies.
    pub fn iter(self) -> impl Iterator<Item = Protocol> {
        let any = self.has(Protocol::Tcp);
        Self::ALL.into_iter().filter(move |protocol| self.has(*protocol) && (!any || *protocol == Protocol::Tcp))
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn of(protocols: impl Iterator<Item = Protocol>) -> Self {
        Self(protocols.fold(0, |set, protocol| set | Self::bit(protocol)))
    }

    /// What is left when requests must be seen one by one.
    pub(crate) const fn of_requests(self) -> Self {
        Self(self.0 & (Self::bit(Protocol::Tls) | Self::bit(Protocol::Http)))
    }
}

/// One HTTP request, as far as it is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where to.
    pub host: &'a Host,
    /// The port.
    pub port: u16,
    /// [`Protocol::Tls`] or [`Protocol::Http`].
    pub protocol: Protocol,
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent, without the query.
    pub path: &'a str,
}

impl Rules {
    /// The grants of one party.
    #[must_use]
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(vec![grants.into()])
    }

    /// Both must permit: a request can narrow a policy, never widen it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        if self.0.is_empty() || other.0.is_empty() {
            return Self::default();
        }
        for layer in other.0 {
            if !self.0.contains(&layer) {
                self.0.push(layer);
            }
        }
        self
    }

    /// Every grant, layer by layer.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter().flat_map(|layer| &layer.0)
    }

    /// The grants of several parties, each of which must permit.
    #[must_use]
    pub fn of_layers(layers: Vec<Vec<Grant>>) -> Self {
        Self(layers.into_iter().map(Layer::from).collect())
    }

    /// Whether any connection could be permitted.
    #[must_use]
    pub fn permit_nothing(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|layer| layer.0.iter().all(|grant| grant.effect() == Effect::Deny))
    }

    /// Whether requests to this host and port are told apart by method or path.
    #[must_use]
    pub fn tell_requests_apart(&self, host: &Host, port: u16) -> bool {
        self.grants().any(|grant| grant.concerns_requests() && grant.is_for(host, port))
    }

    /// Whether some TLS may have to be ended by the gate.
    #[must_use]
    pub fn need_authority(&self) -> bool {
        self.grants().any(|grant| grant.inspect() || (grant.effect() == Effect::Deny && grant.concerns_requests()))
    }

    /// Decides about a connection, before any name is resolved.
    ///
    /// # Errors
    /// The reason of the first layer that does not permit it.
    pub fn connection(&self, host: &Host, port: u16) -> Result<Permit, Reason> {
        let mut permit: Option<Permit> = None;
        for layer in &self.0 {
            let own = layer.connection(host, port)?;
            permit = Some(match permit {
                None => own,
                Some(before) => before.and(own),
            });
        }
        let permit = permit.ok_or(Reason::NotGranted)?;
        if permit.protocols == Protocols::default() {
            return Err(Reason::Protocol { granted: "protocols that exclude each other".to_owned() });
        }
        Ok(permit)
    }

    /// Whether some port of this name may be connected to: what a name server may say yes to.
    ///
    /// # Errors
    /// The reason why no port may; a denial, if there is one.
    pub fn names(&self, name: &Name) -> Result<(), Reason> {
        let host = Host::Name(name.clone());
        let mut why = Reason::NotGranted;
        let about = |grant: &&Grant| grant.effect() == Effect::Allow && grant.target().matches(&host);
        for port in self.grants().filter(about).flat_map(Grant::ports) {
            match self.connection(&host, *port) {
                Ok(_) => return Ok(()),
                Err(denied @ Reason::Denied { .. }) => why = denied,
                Err(_) => {}
            }
        }
        Err(why)
    }

    /// Decides about one request on a connection that was permitted; returns the deciding grants.
    ///
    /// # Errors
    /// The reason of the first layer that does not permit it.
    pub fn request(&self, asked: &Asked<'_>) -> Result<String, Reason> {
        if self.0.is_empty() {
            return Err(Reason::NotGranted);
        }
        let rules = self.0.iter().map(|layer| layer.request(asked)).collect::<Result<Vec<_>, _>>()?;
        Ok(rules.into_iter().reduce(|rules, rule| both(&rules, &rule)).unwrap_or_default())
    }

    /// Decides about an address that a permitted name resolved to, or that was asked for itself.
    ///
    /// # Errors
    /// [`Reason::Denied`], [`Reason::Special`].
    pub fn address(&self, address: IpAddr, port: u16, own: &[IpAddr]) -> Result<(), Reason> {
        let address = address.to_canonical();
        let special = address::special(address, own);
        self.0.iter().try_for_each(|layer| layer.address(address, port, special))
    }
}

impl Permit {
    fn and(self, other: Self) -> Self {
        Self {
            rule: both(&self.rule, &other.rule),
            protocols: self.protocols.and(other.protocols),
            inspect: self.inspect || other.inspect,
            wildcard: self.wildcard.and(other.wildcard),
        }
    }
}

fn both(one: &str, other: &str) -> String {
    if one == other { one.to_owned() } else { format!("{one} and {other}") }
}

impl Layer {
    fn connection(&self, host: &Host, port: u16) -> Result<Permit, Reason> {
        let about = || self.0.iter().filter(|grant| grant.is_for(host, port));
        let denials = || about().filter(|grant| grant.effect() == Effect::Deny);
        if let Some(denial) = denials().find(|grant| !grant.concerns_requests()) {
            return Err(Reason::Denied { rule: denial.to_string() });
        }
        let allowances = || about().filter(|grant| grant.effect() == Effect::Allow);
        let deciding = allowances().next().ok_or_else(|| self.why_not(host))?;
        let protocols = Protocols::of(allowances().map(|grant| grant.protocol_at(port)));
        // What denies requests must see them; what cannot be looked into is not permitted then.
        let by_request = denials().next().is_some();
        Ok(Permit {
            rule: deciding.to_string(),
            protocols: if by_request { protocols.of_requests() } else { protocols },
            inspect: by_request || allowances().any(Grant::inspect),
            wildcard: match deciding.target() {
                Target::Below(parent) => Some(parent.clone()),
                Target::Name(_) | Target::Net(_) => None,
            },
        })
    }

    fn why_not(&self, host: &Host) -> Reason {
        let known = |grant: &Grant| grant.effect() == Effect::Allow && grant.target().matches(host);
        if self.0.iter().any(known) { Reason::Port } else { Reason::NotGranted }
    }

    fn request(&self, asked: &Asked<'_>) -> Result<String, Reason> {
        let about = || self.0.iter().filter(|grant| grant.is_for(asked.host, asked.port));
        if about().any(Grant::concerns_requests) {
            unambiguous(asked.path).map_err(|_| Reason::AmbiguousPath)?;
        }
        let meant = |grant: &&Grant| grant.has_method(asked.method) && grant.has_path(asked.path);
        if let Some(denial) = about().filter(|grant| grant.effect() == Effect::Deny).find(meant) {
            return Err(Reason::Denied { rule: denial.to_string() });
        }
        let allowances = || about().filter(|grant| grant.effect() == Effect::Allow);
        let spoken = || {
            allowances()
                .filter(|grant| Protocols::of(std::iter::once(grant.protocol_at(asked.port))).has(asked.protocol))
        };
        if let Some(grant) = spoken().find(meant) {
            return Ok(grant.to_string());
        }
        if allowances().next().is_none() {
            return Err(self.why_not(asked.host));
        }
        if spoken().next().is_none() {
            let granted = Protocols::of(allowances().map(|grant| grant.protocol_at(asked.port)));
            return Err(Reason::Protocol { granted: either(granted.iter()) });
        }
        let method = spoken().any(|grant| grant.has_method(asked.method));
        Err(if method { Reason::Path } else { Reason::Method })
    }

    fn address(&self, address: IpAddr, port: u16, special: Option<Special>) -> Result<(), Reason> {
        let nets = |effect| {
            self.0
                .iter()
                .filter(move |grant| grant.effect() == effect && grant.is_for_port(port))
                .filter_map(|grant| grant.net().map(|net| (grant, *net)))
        };
        for reached in address::reached(address) {
            let denial = nets(Effect::Deny).find(|(grant, net)| !grant.concerns_requests() && net.contains(&reached));
            if let Some((grant, _)) = denial {
                return Err(Reason::Denied { rule: grant.to_string() });
            }
        }
        let Some(Special { kind, block }) = special else { return Ok(()) };
        let meant =
            |block: ipnet::IpNet| nets(Effect::Allow).any(|(_, net)| net.contains(&address) && block.contains(&net));
        if block.is_some_and(meant) { Ok(()) } else { Err(Reason::Special { address, kind }) }
    }
}

/// The grants of each layer, as plans and reports show them.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (number, layer) in self.0.iter().enumerate() {
            let grants: Vec<_> = layer.0.iter().map(Grant::to_string).collect();
            let grants = if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") };
            write!(f, "{}{grants}", if number == 0 { "" } else { "; and only " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
