//! What one grant says: where to, on which ports, by which protocol, for which requests.
//!
//! Pure values; the egress gate decides with them. A grant exists only in normal form: whatever could not
//! be enforced (a path inside TLS that nobody opens, a method of plain TCP) is refused when it is written.

mod path;
mod text;
mod wire;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use path::PathPrefix;
pub use path::unambiguous;
pub use wire::Table;

use crate::name::{BadHost, Host, Name};

/// How a connection is checked after it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TLS from the first byte; its server name is compared with the granted name.
    Tls,
    /// Plain HTTP, each request on its own.
    Http,
    /// PostgreSQL: the request for TLS first, then as [`Protocol::Tls`].
    Postgres,
    /// Any bytes. Must be written; reports call it unchecked.
    Tcp,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::Tls, Self::Http, Self::Postgres, Self::Tcp];

    /// What a port stands for when no protocol is written.
    #[must_use]
    pub const fn of_port(port: u16) -> Self {
        match port {
            80 => Self::Http,
            5432 => Self::Postgres,
            _ => Self::Tls,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Postgres => "postgres",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a grant opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It denies, whatever others allow.
    Deny,
    /// It allows.
    Allow,
}

/// Which hosts a grant is about. The order is from narrow to wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Exactly this name.
    Name(Name),
    /// `*.name`: every name with at least one more label in front.
    Below(Name),
    /// An address or a block of them; matches only what is asked for as an address.
    Net(IpNet),
}

impl Target {
    /// Whether `host` is meant.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Name(granted), Host::Name(name)) => granted == name,
            (Self::Below(parent), Host::Name(name)) => name.is_below(parent),
            (Self::Net(net), Host::Address(address)) => net.contains(address),
            (Self::Name(_) | Self::Below(_), Host::Address(_)) | (Self::Net(_), Host::Name(_)) => false,
        }
    }
}

impl Target {
    /// Whether some host is meant by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one == other,
            (Self::Name(name), Self::Below(parent)) | (Self::Below(parent), Self::Name(name)) => name.is_below(parent),
            (Self::Below(one), Self::Below(other)) => one == other || one.is_below(other) || other.is_below(one),
            (Self::Net(one), Self::Net(other)) => one.contains(other) || other.contains(one),
            (Self::Net(_), Self::Name(_) | Self::Below(_)) | (Self::Name(_) | Self::Below(_), Self::Net(_)) => false,
        }
    }
}

/// An HTTP method: capital letters and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(String);

impl Method {
    fn parse(text: &str) -> Result<Self, BadGrant> {
        let well_formed = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        // A tunnel is not a request, and TRACE returns what only the gate should have seen.
        if !well_formed || matches!(text, "CONNECT" | "TRACE") {
            return Err(BadGrant::Method);
        }
        Ok(Self(text.to_owned()))
    }
}

/// One grant, in normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    effect: Effect,
    target: Target,
    /// Sorted, without repetition; empty means any port, for a denial only.
    ports: Vec<u16>,
    /// `None` means what each port stands for.
    protocol: Option<Protocol>,
    /// Empty means any.
    methods: Vec<Method>,
    /// Empty means any.
    paths: Vec<PathPrefix>,
    inspect: bool,
}

impl Grant {
    /// Brings what was written into normal form.
    fn normal(mut self) -> Result<Self, BadGrant> {
        self.ports.sort_unstable();
        self.ports.dedup();
        self.methods.sort();
        self.methods.dedup();
        self.paths.sort();
        self.paths.dedup();
        if self.paths.iter().any(PathPrefix::is_everything) {
            self.paths.clear();
        }
        if self.ports.contains(&0) {
            return Err(BadGrant::Host(BadHost::Port));
        }
        match self.effect {
            Effect::Deny => self.normal_denial(),
            Effect::Allow => self.normal_allowance(),
        }?;
        Ok(self)
    }

    /// A denial is about hosts, ports and requests; how bytes are checked says nothing to it.
    fn normal_denial(&mut self) -> Result<(), BadGrant> {
        let of_requests = matches!(self.protocol, None | Some(Protocol::Http | Protocol::Tls));
        if self.concerns_requests() && !of_requests {
            return Err(BadGrant::NoRequests);
        }
        (self.protocol, self.inspect) = (None, false);
        Ok(())
    }

    fn normal_allowance(&mut self) -> Result<(), BadGrant> {
        if self.ports.is_empty() {
            self.ports = match self.protocol {
                None | Some(Protocol::Tls) => vec![443],
                Some(Protocol::Http) => vec![80],
                Some(Protocol::Postgres) => vec![5432],
                Some(Protocol::Tcp) => return Err(BadGrant::TcpWithoutPort),
            };
        }
        let protocols: Vec<Protocol> = self.ports.iter().map(|port| self.protocol_at(*port)).collect();
        let tls = protocols.contains(&Protocol::Tls);
        let opaque = protocols.iter().any(|protocol| matches!(protocol, Protocol::Tcp | Protocol::Postgres));
        if self.concerns_requests() && opaque {
            return Err(BadGrant::NoRequests);
        }
        // Requests inside TLS can be told apart only by who ends the TLS.
        self.inspect |= self.concerns_requests() && tls;
        if self.inspect && (opaque || !tls) {
            return Err(BadGrant::NothingToInspect);
        }
        if self.ports.iter().all(|port| self.protocol == Some(Protocol::of_port(*port))) {
            self.protocol = None;
        }
        Ok(())
    }

    /// Whether it allows or denies.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// The hosts it is about.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The ports it is about; empty means any, for a denial only.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Whether the gate ends TLS to see requests.
    #[must_use]
    pub const fn inspect(&self) -> bool {
        self.inspect
    }

    /// How a connection to `port` is checked.
    #[must_use]
    pub const fn protocol_at(&self, port: u16) -> Protocol {
        match self.protocol {
            Some(protocol) => protocol,
            None => Protocol::of_port(port),
        }
    }

    /// Whether it tells requests apart, not only connections.
    #[must_use]
    pub const fn concerns_requests(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty()
    }

    /// Whether this host and port are meant.
    #[must_use]
    pub fn is_for(&self, host: &Host, port: u16) -> bool {
        self.is_for_port(port) && self.target.matches(host)
    }

    /// Whether this port is meant.
    #[must_use]
    pub fn is_for_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    /// The block of addresses, unless names are meant.
    #[must_use]
    pub fn net(&self) -> Option<&IpNet> {
        match &self.target {
            Target::Net(net) => Some(net),
            Target::Name(_) | Target::Below(_) => None,
        }
    }

    /// Whether two allowances could permit something together: they share hosts, a port, and a protocol on it.
    /// Methods and paths are left to the gate, which sees them.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let spoken = |port: &u16| {
            let (one, other) = (self.protocol_at(*port), other.protocol_at(*port));
            one == other || one == Protocol::Tcp || other == Protocol::Tcp
        };
        self.target.overlaps(&other.target) && self.ports.iter().filter(|port| other.ports.contains(port)).any(spoken)
    }

    /// Whether the method is meant.
    #[must_use]
    pub fn has_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|own| own.0 == method)
    }

    /// Whether the path is meant. Some servers do not tell case apart, so a denial does not either.
    #[must_use]
    pub fn has_path(&self, path: &str) -> bool {
        self.paths.is_empty()
            || self.paths.iter().any(|prefix| match self.effect {
                Effect::Allow => prefix.is_front_of(path),
                Effect::Deny => prefix.is_front_of_any_case(path),
            })
    }
}

/// Why a text is no grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadGrant {
    /// Its host or port.
    #[error("{0}")]
    Host(#[from] BadHost),
    /// `*` alone, or in the middle.
    #[error("a wildcard is `*.` in front of a name")]
    Wildcard,
    /// `10.1.2.3/8`, `10.0.0.0/33`, or IPv4 dressed as IPv6.
    #[error("an address block is written as its first address, `/`, and a length")]
    Block,
    /// None of the known ones.
    #[error("the protocol is not one of tls, http, https, inspect, postgres, tcp")]
    Protocol,
    /// Not a method that can be granted.
    #[error("a method is written in capitals; CONNECT and TRACE cannot be granted")]
    Method,
    /// Not a path in its plain form.
    #[error("a path begins with `/` and is written plainly, without `%`, `..`, `//`, `;`, `,`, `?` or `#`")]
    Path,
    /// Methods or paths where there are no requests.
    #[error("methods and paths need the protocol http, or tls that is inspected")]
    NoRequests,
    /// `inspect` without TLS.
    #[error("only tls can be inspected")]
    NothingToInspect,
    /// `tcp` has no usual port.
    #[error("tcp needs a port")]
    TcpWithoutPort,
}

impl BadGrant {
    /// What to do about it.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::Host(BadHost::TrailingDot) => "write it without the dot",
            Self::Host(_) | Self::Wildcard => "write HOST[:PORT], such as `api.example.com` or `*.example.com:8443`",
            Self::Block => "write it as in `10.1.0.0/16:5432` or `[fd00:1::/32]:443`",
            Self::Protocol | Self::TcpWithoutPort => "write it as in `tcp://db.example.com:1521`",
            Self::Method => "write it as in `GET,HEAD https://api.example.com/v1`",
            Self::Path => "write it as in `https://api.example.com/v1/items`",
            Self::NoRequests | Self::NothingToInspect => "write https://, or leave methods, paths and inspect away",
        }
    }
}

/// Parses `ADDRESS/LENGTH` or one address into a block without bits beyond its length.
fn block(address: IpAddr, length: Option<&str>) -> Result<IpNet, BadGrant> {
    let Some(length) = length else { return Ok(IpNet::from(address)) };
    let length: u8 = length.parse().map_err(|_| BadGrant::Block)?;
    let net = IpNet::new(address, length).map_err(|_| BadGrant::Block)?;
    if net.trunc() == net { Ok(net) } else { Err(BadGrant::Block) }
}

#[cfg(test)]
mod tests;
