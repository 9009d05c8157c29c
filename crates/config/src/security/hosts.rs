//! One entry of `hosts`: an address, a block, a name, or every name below one.
//!
//! Pure: nothing is looked up. What a resolver, a reader or another program could take for something else is
//! refused: a shortened or octal address, a block with bits of a host, a star that is not a whole first label.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use stockade_core::name::{self, Host};
use thiserror::Error;

use super::{HostEntry, HostForm};

/// Longest entry looked at.
const ENTRY_BYTES_MAX: usize = 300;
/// The widest blocks that need no acknowledgement.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 32;
/// Longest zone: as long as a name of an interface can be on Linux.
const ZONE_BYTES_MAX: usize = 15;

/// Whether blocks may be wider than what somebody writes by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    /// They are refused.
    Refused,
    /// `acknowledgeWide = true`.
    Acknowledged,
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEntry {
    /// Nothing is written.
    #[error("it is empty")]
    Empty,
    /// More than a name can have.
    #[error("it is longer than a name can be")]
    TooLong,
    /// Written so that other programs read it as octal.
    #[error("an octet has a leading zero, which some programs read as octal")]
    LeadingZero,
    /// Neither four octets nor a name.
    #[error("it looks like an address but is none")]
    AlmostAddress,
    /// `0.0.0.0` and `::`.
    #[error("no connection comes from this address")]
    Unspecified,
    /// What follows `%`.
    #[error("a zone has 1 to {ZONE_BYTES_MAX} letters, digits, dots, dashes and underscores")]
    Zone,
    /// A zone where none can be.
    #[error("only one address of IPv6 has a zone")]
    ZoneElsewhere,
    /// What follows `/`.
    #[error("what follows `/` is no length of a prefix")]
    Prefix,
    /// More addresses than the first one says.
    #[error("bits of a host are set; the block is {0}")]
    HostBits(IpNet),
    /// `/0` and `*`.
    #[error("it means every address there is")]
    Everything,
    /// A block that is seldom meant.
    #[error("the block is wider than {}", if *.0 { "/32" } else { "/8" })]
    TooWide(
        /// Whether it is of IPv6.
        bool,
    ),
    /// A star elsewhere.
    #[error("a star stands for the whole first label only")]
    Star,
    /// Two dots, or one at the beginning.
    #[error("a label is empty")]
    EmptyLabel,
    /// No name.
    #[error("{0}")]
    Name(name::BadHost),
}

impl BadEntry {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Empty | Self::TooLong | Self::Name(_) => {
                "write a host's name, an address, a block such as 192.168.2.0/24, or *.some.domain".to_owned()
            }
            Self::LeadingZero => "write the octets without leading zeros".to_owned(),
            Self::AlmostAddress => "write four decimal octets, or an address of IPv6 without brackets".to_owned(),
            Self::Unspecified | Self::Everything => {
                "name the addresses that are meant; leave requireTrustedHostMembership out to admit every one"
                    .to_owned()
            }
            Self::Zone | Self::ZoneElsewhere => "write the zone after an address such as fe80::1%eth0".to_owned(),
            Self::Prefix => "write the length in decimal: 0 to 32, of IPv6 0 to 128".to_owned(),
            Self::HostBits(block) => format!("write {block}, or the address alone"),
            Self::TooWide(_) => "write a narrower block, or acknowledgeWide = true beside the hosts".to_owned(),
            Self::Star => "write *. and the rest of the name: *.some.domain".to_owned(),
            Self::EmptyLabel => "write one dot between labels".to_owned(),
        }
    }
}

/// Parses one entry.
///
/// # Errors
/// [`BadEntry`], for anything that has not exactly one meaning.
pub fn parse(written: &str, wide: Wide) -> Result<HostEntry, BadEntry> {
    if written.is_empty() {
        return Err(BadEntry::Empty);
    }
    if written.len() > ENTRY_BYTES_MAX {
        return Err(BadEntry::TooLong);
    }
    let form = match written.split_once('/') {
        Some((address, length)) => HostForm::Block(block(address, length, wide)?),
        None if written.contains(':') => v6(written)?,
        None => named(written)?,
    };
    Ok(HostEntry { written: written.to_owned(), form })
}

/// Whether somebody would take a text for an address, a block of them, or an address with a zone.
pub(crate) fn is_like_address(text: &str) -> bool {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    let octets =
        || address.split('.').all(|octet| !octet.is_empty() && octet.bytes().all(|byte| byte.is_ascii_digit()));
    address.parse::<IpAddr>().is_ok() || address.bytes().filter(|byte| *byte == b'.').count() == 3 && octets()
}

impl HostEntry {
    /// Whether it has a zone that counts for nothing, as its address is not link-local.
    #[must_use]
    pub fn ignores_zone(&self) -> bool {
        match &self.form {
            HostForm::Address { address, zone: Some(_) } => !is_link_local(address),
            HostForm::Address { .. } | HostForm::Block(_) | HostForm::Name(_) | HostForm::Below(_) => false,
        }
    }

    /// Whether it needs `acknowledgeWide`.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        matches!(&self.form, HostForm::Block(block) if is_wide(block))
    }
}

const fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

const fn is_wide(block: &IpNet) -> bool {
    match block {
        IpNet::V4(block) => block.prefix_len() < WIDEST_V4,
        IpNet::V6(block) => block.prefix_len() < WIDEST_V6,
    }
}

fn block(address: &str, length: &str, wide: Wide) -> Result<IpNet, BadEntry> {
    if address.contains('%') || length.contains('%') {
        return Err(BadEntry::ZoneElsewhere);
    }
    let address = if address.contains(':') {
        IpAddr::V6(address.parse().map_err(|_| BadEntry::AlmostAddress)?)
    } else {
        IpAddr::V4(v4(address)?)
    };
    let is_plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: u8 = match length {
        "0" => return Err(BadEntry::Everything),
        _ if is_plain && !length.starts_with('0') => length.parse().map_err(|_| BadEntry::Prefix)?,
        _ => return Err(BadEntry::Prefix),
    };
    let block = folded(IpNet::new(address, length).map_err(|_| BadEntry::Prefix)?)?;
    if block.trunc() != block {
        return Err(BadEntry::HostBits(block.trunc()));
    }
    if is_wide(&block) && wide == Wide::Refused {
        return Err(BadEntry::TooWide(matches!(block, IpNet::V6(_))));
    }
    Ok(block)
}

/// A block of IPv4-mapped addresses is the block of IPv4: addresses are folded before they are matched.
fn folded(block: IpNet) -> Result<IpNet, BadEntry> {
    let IpNet::V6(mapped) = block else { return Ok(block) };
    let Some((address, length)) = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96)) else {
        return Ok(block);
    };
    if length == 0 {
        return Err(BadEntry::Everything);
    }
    Ipv4Net::new(address, length).map(IpNet::V4).map_err(|_| BadEntry::Prefix)
}

fn v4(text: &str) -> Result<Ipv4Addr, BadEntry> {
    let is_padded =
        |octet: &str| octet.len() > 1 && octet.starts_with('0') && octet.bytes().all(|b| b.is_ascii_digit());
    if text.split('.').any(is_padded) {
        return Err(BadEntry::LeadingZero);
    }
    text.parse().map_err(|_| BadEntry::AlmostAddress)
}

fn v6(text: &str) -> Result<HostForm, BadEntry> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| BadEntry::AlmostAddress)?;
    if zone.is_some_and(|zone| !is_zone(zone)) {
        return Err(BadEntry::Zone);
    }
    address_form(IpAddr::V6(address).to_canonical(), zone)
}

fn address_form(address: IpAddr, zone: Option<&str>) -> Result<HostForm, BadEntry> {
    if address.is_unspecified() {
        return Err(BadEntry::Unspecified);
    }
    Ok(HostForm::Address { address, zone: zone.map(ToOwned::to_owned) })
}

fn is_zone(zone: &str) -> bool {
    (1..=ZONE_BYTES_MAX).contains(&zone.len())
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A name, every name below one, or an address of IPv4.
fn named(text: &str) -> Result<HostForm, BadEntry> {
    if text == "*" {
        return Err(BadEntry::Everything);
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.contains('*') {
        return Err(BadEntry::Star);
    }
    if name.contains('%') {
        return Err(BadEntry::ZoneElsewhere);
    }
    // One dot at the end says that the name is whole, which it is anyway.
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.split('.').any(str::is_empty) {
        return Err(BadEntry::EmptyLabel);
    }
    match Host::parse(name) {
        Ok(Host::Name(name)) if below => Ok(HostForm::Below(name.as_str().to_owned())),
        Ok(Host::Name(name)) => Ok(HostForm::Name(name.as_str().to_owned())),
        Ok(Host::Address(_)) if below => Err(BadEntry::Star),
        // The parser of names reads every spelling of an address; here there is one.
        Ok(Host::Address(_)) | Err(name::BadHost::AlmostAddress) => address_form(IpAddr::V4(v4(text)?), None),
        Err(bad) => Err(BadEntry::Name(bad)),
    }
}
