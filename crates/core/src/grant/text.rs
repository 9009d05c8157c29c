//! The command line form: `[deny:][METHODS ][PROTOCOL://]HOST[:PORT[,PORT]][/PATH[,/PATH]]`.
//!
//! `https` is TLS, inspected when methods or paths are written; `inspect` is TLS that is inspected anyway.
//! After an address, `/N` is the length of a block.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{BadGrant, Effect, Grant, Method, PathPrefix, Protocol, Target, block};
use crate::name::{BadHost, Host, parse_port};

/// Longest text looked at.
const TEXT_BYTES_MAX: usize = 8 << 10;

impl FromStr for Grant {
    type Err = BadGrant;

    fn from_str(text: &str) -> Result<Self, BadGrant> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadHost::TooLong.into());
        }
        let (effect, text) = match text.strip_prefix("deny:") {
            Some(rest) => (Effect::Deny, rest),
            None => (Effect::Allow, text),
        };
        let (methods, text) = text.rsplit_once(' ').unwrap_or(("", text));
        let (scheme, text) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let (protocol, inspect) = protocol(scheme)?;
        let place = split(text)?;
        Self {
            effect,
            target: target(place.host, place.length)?,
            ports: ports(place.ports)?,
            protocol,
            methods: list(methods).map(Method::parse).collect::<Result<_, _>>()?,
            paths: list(place.paths).map(PathPrefix::parse).collect::<Result<_, _>>()?,
            inspect,
        }
        .normal()
    }
}

fn protocol(scheme: Option<&str>) -> Result<(Option<Protocol>, bool), BadGrant> {
    Ok(match scheme {
        None => (None, false),
        Some("tls" | "https") => (Some(Protocol::Tls), false),
        Some("inspect") => (Some(Protocol::Tls), true),
        Some("http") => (Some(Protocol::Http), false),
        Some("postgres") => (Some(Protocol::Postgres), false),
        Some("tcp") => (Some(Protocol::Tcp), false),
        Some(_) => return Err(BadGrant::Protocol),
    })
}

/// The parts after the protocol, not looked at yet.
#[derive(Debug)]
struct Place<'t> {
    host: &'t str,
    length: Option<&'t str>,
    ports: Option<&'t str>,
    /// Begins with `/`, or is empty.
    paths: &'t str,
}

fn split(text: &str) -> Result<Place<'_>, BadGrant> {
    if let Some(inner) = text.strip_prefix('[') {
        return split_bracketed(inner);
    }
    let slash = text.find('/').unwrap_or(text.len());
    let (head, paths) = text.split_at_checked(slash).unwrap_or((text, ""));
    let after_slash = paths.strip_prefix('/');
    if head.split(':').nth(2).is_some() {
        // IPv6 without brackets has no room for a port.
        return Ok(Place { host: head, length: after_slash, ports: None, paths: "" });
    }
    let (host, ports) = head.split_once(':').map_or((head, None), |(host, ports)| (host, Some(ports)));
    let length = after_slash.filter(|rest| {
        rest.starts_with(|first: char| first.is_ascii_digit()) && host.parse::<std::net::Ipv4Addr>().is_ok()
    });
    match length {
        None => Ok(Place { host, length: None, ports, paths }),
        Some(_) if ports.is_some() => Err(BadGrant::Block),
        Some(rest) => {
            let (length, ports) = rest.split_once(':').map_or((rest, None), |(length, ports)| (length, Some(ports)));
            Ok(Place { host, length: Some(length), ports, paths: "" })
        }
    }
}

/// `ADDRESS[/LENGTH]][:PORTS][/PATHS]`.
fn split_bracketed(inner: &str) -> Result<Place<'_>, BadGrant> {
    let (inside, rest) = inner.split_once(']').ok_or(BadHost::AlmostAddress)?;
    let (host, length) = inside.split_once('/').map_or((inside, None), |(address, length)| (address, Some(length)));
    if !host.contains(':') {
        return Err(BadHost::AlmostAddress.into());
    }
    let slash = rest.find('/').unwrap_or(rest.len());
    let (ports, paths) = rest.split_at_checked(slash).unwrap_or((rest, ""));
    match ports.strip_prefix(':') {
        Some(ports) => Ok(Place { host, length, ports: Some(ports), paths }),
        None if ports.is_empty() => Ok(Place { host, length, ports: None, paths }),
        None => Err(BadHost::Character.into()),
    }
}

/// Parses `NAME`, `*.NAME`, `ADDRESS` or `ADDRESS/LENGTH`.
pub(super) fn parse_target(text: &str) -> Result<Target, BadGrant> {
    let place = split(text)?;
    if place.ports.is_some() || !place.paths.is_empty() {
        return Err(BadHost::Character.into());
    }
    target(place.host, place.length)
}

fn target(host: &str, length: Option<&str>) -> Result<Target, BadGrant> {
    if let Some(parent) = host.strip_prefix("*.") {
        return Ok(Target::Below(parent.parse()?));
    }
    if host.contains('*') {
        return Err(BadGrant::Wildcard);
    }
    match (Host::parse(host)?, length) {
        (Host::Name(name), None) => Ok(Target::Name(name)),
        (Host::Name(_), Some(_)) => Err(BadGrant::Block),
        // An IPv6 block folded to IPv4 would have a length that was meant for the longer form.
        (Host::Address(IpAddr::V4(_)), Some(_)) if host.contains(':') => Err(BadGrant::Block),
        (Host::Address(address), length) => Ok(Target::Net(block(address, length)?)),
    }
}

fn ports(text: Option<&str>) -> Result<Vec<u16>, BadGrant> {
    let Some(text) = text else { return Ok(Vec::new()) };
    text.split(',').map(|port| parse_port(port).map_err(BadGrant::from)).collect()
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => Host::from(net.addr()).fmt(f),
            Self::Net(net) if net.addr().is_ipv6() => write!(f, "[{net}]"),
            Self::Net(net) => net.fmt(f),
        }
    }
}

/// The shortest text that parses to the same grant.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.effect == Effect::Deny {
            f.write_str("deny:")?;
        }
        joined(f, &self.methods.iter().map(|method| method.0.as_str()).collect::<Vec<_>>())?;
        if !self.methods.is_empty() {
            f.write_str(" ")?;
        }
        let (scheme, usual) = self.scheme();
        if let Some(scheme) = scheme {
            write!(f, "{scheme}://")?;
        }
        self.target.fmt(f)?;
        if self.ports != usual {
            f.write_str(":")?;
            joined(f, &self.ports.iter().map(u16::to_string).collect::<Vec<_>>())?;
        }
        joined(f, &self.paths.iter().map(PathPrefix::to_string).collect::<Vec<_>>())
    }
}

impl Grant {
    /// What to write in front, and which ports need not be written then.
    fn scheme(&self) -> (Option<&'static str>, &'static [u16]) {
        match self.protocol {
            _ if self.effect == Effect::Deny => (None, &[]),
            // A protocol of its own for each port cannot be written as a scheme.
            None if self.inspect && !self.concerns_requests() => (Some("inspect"), &[443]),
            None if self.ports == [80] => (Some("http"), &[80]),
            None if self.ports == [5432] => (Some("postgres"), &[5432]),
            None if self.ports == [443] && self.concerns_requests() => (Some("https"), &[443]),
            None => (None, &[443]),
            Some(Protocol::Tls) if self.inspect && !self.concerns_requests() => (Some("inspect"), &[443]),
            Some(protocol) => (Some(protocol.as_str()), &[]),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, texts: &[impl AsRef<str>]) -> fmt::Result {
    for (number, text) in texts.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(f, "{comma}{}", text.as_ref())?;
    }
    Ok(())
}
