//! The one parser of host names and addresses, for grants and for what a run asks.
//!
//! Pure. Text from inside is hostile: whatever resolvers, TLS stacks or HTTP servers could read in two ways
//! is folded to one form or refused here, so that no later comparison meets a second spelling.
//! It must never turn a text that some program would take for an address into a name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest text looked at; a name in Unicode is longer than its 253 octets on the wire.
const TEXT_BYTES_MAX: usize = 1024;

/// A DNS name in its one form: lower case, ASCII (A-labels), no trailing dot.
///
/// Look-alikes of other scripts become A-labels (`xn--…`), so they never equal what they look like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Where a connection is to go: a name that will be resolved, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name; never something that looks like an address.
    Name(Name),
    /// An address; IPv4-mapped IPv6 is folded to IPv4.
    Address(IpAddr),
}

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadHost {
    /// Nothing was written.
    #[error("the host is empty")]
    Empty,
    /// More than a name can have.
    #[error("the host is longer than a name can be")]
    TooLong,
    /// A character that hosts do not have: controls, NUL, blanks, `%`, `@`, slashes and the like.
    #[error("the host has a character that hosts do not have")]
    Character,
    /// A final dot names the same host in DNS but another one to TLS and HTTP, so it is not folded: the
    /// request that follows would carry the spelling that was not checked.
    #[error("the host ends in a dot")]
    TrailingDot,
    /// Not a name by the rules of IDNA and DNS.
    #[error("the host is not a valid name")]
    NotAName,
    /// Some program would read it as an address, but it is none.
    #[error("the host looks like an address but is none")]
    AlmostAddress,
    /// `fe80::1%eth0`: zones belong to one machine.
    #[error("the address has a zone")]
    Zone,
    /// Missing, zero, too large or oddly written.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name has at least one whole label in front of `parent`.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0.strip_suffix(&parent.0).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }
}

impl Host {
    /// Parses one host, without a port.
    ///
    /// # Errors
    /// [`BadHost`], for anything that has not exactly one meaning.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if text.is_empty() {
            return Err(BadHost::Empty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadHost::TooLong);
        }
        if let Some(bracketed) = text.strip_prefix('[') {
            return parse_v6(bracketed.strip_suffix(']').ok_or(BadHost::AlmostAddress)?);
        }
        if text.contains(':') {
            return parse_v6(text);
        }
        if text.chars().any(is_foreign) {
            return Err(BadHost::Character);
        }
        parse_name(text)
    }

    /// Parses `HOST:PORT`; IPv6 addresses need brackets. Without a port, `default` is taken if there is one.
    ///
    /// # Errors
    /// [`BadHost`].
    pub fn parse_with_port(text: &str, default: Option<u16>) -> Result<(Self, u16), BadHost> {
        let (host, port) = split_port(text)?;
        let host = Self::parse(host)?;
        let port = port.map_or_else(|| default.ok_or(BadHost::Port), parse_port)?;
        Ok((host, port))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl FromStr for Name {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        match Host::parse(text)? {
            Host::Name(name) => Ok(name),
            Host::Address(_) => Err(BadHost::NotAName),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadHost;

    fn try_from(text: String) -> Result<Self, BadHost> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// Splits `HOST[:PORT]`; a text with several colons and no brackets is ambiguous.
pub fn split_port(text: &str) -> Result<(&str, Option<&str>), BadHost> {
    if text.starts_with('[') {
        let (host, rest) = text.split_once(']').ok_or(BadHost::AlmostAddress)?;
        let host = host.strip_prefix('[').ok_or(BadHost::AlmostAddress)?;
        if !host.contains(':') {
            return Err(BadHost::AlmostAddress);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(BadHost::Character),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, more)) if more.contains(':') => Err(BadHost::AlmostAddress),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// A port in plain decimal, without sign or leading zero.
pub fn parse_port(text: &str) -> Result<u16, BadHost> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHost::Port);
    }
    text.parse().map_err(|_| BadHost::Port)
}

fn is_foreign(character: char) -> bool {
    character.is_control() || character.is_whitespace() || "%@/\\?#[]<>^|\"'`{}*,;&=+$!()~".contains(character)
}

fn parse_v6(text: &str) -> Result<Host, BadHost> {
    if text.contains('%') {
        return Err(BadHost::Zone);
    }
    let v6: Ipv6Addr = text.parse().map_err(|_| BadHost::AlmostAddress)?;
    Ok(IpAddr::V6(v6).into())
}

/// IDNA first, because it can bring digits and dots out of other characters; then the question whether the
/// result is an IPv4 address in any spelling, answered by the parser that browsers' standard describes.
fn parse_name(text: &str) -> Result<Host, BadHost> {
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::VerifyAllowRootDot)
        .map_err(|_| BadHost::NotAName)?;
    if ascii.ends_with('.') {
        return Err(BadHost::TrailingDot);
    }
    match url::Host::parse(&ascii) {
        Ok(url::Host::Ipv4(v4)) => Ok(Host::Address(v4.into())),
        Ok(url::Host::Domain(name)) if name == ascii => Ok(Host::Name(Name(name))),
        Ok(_) => Err(BadHost::NotAName),
        Err(_) => Err(BadHost::AlmostAddress),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Result<String, BadHost> {
        Host::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn names_have_one_form() {
        for (text, form) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM", "api.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("ａｐｉ。example．com", "api.example.com"),
            ("r3---sn-x.example.com", "r3---sn-x.example.com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(form), "{text}");
        }
    }

    #[test]
    fn a_look_alike_is_another_name() {
        assert_eq!(shown("аpple.com").as_deref(), Ok("xn--pple-43d.com"));
        assert_eq!(shown("ɡithub.com").as_deref(), Ok("xn--ithub-qmc.com"));
    }

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for text in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0x7f.0.0x0.01",
            "１２７.0.0.1",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "::ffff:127.0.0.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "0:0:0:0:0:ffff:7f00:0001",
        ] {
            assert_eq!(shown(text).as_deref(), Ok("127.0.0.1"), "{text}");
        }
        assert_eq!(shown("2001:DB8:0::1").as_deref(), Ok("[2001:db8::1]"));
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        use BadHost::*;
        for (text, why) in [
            ("", Empty),
            (".", NotAName),
            ("example.com.", TrailingDot),
            ("example.com。", TrailingDot),
            ("a..b", NotAName),
            (".a", NotAName),
            ("a\0.example.com", Character),
            ("api.example.com\0.evil.example", Character),
            ("api.example.com\r\nHost: x", AlmostAddress),
            ("a b", Character),
            ("a\u{a0}b", Character),
            ("user@example.com", Character),
            ("user:pass@example.com", AlmostAddress),
            ("example.com/", Character),
            ("example.com\\.evil.example", Character),
            ("example.com?x", Character),
            ("example%2ecom", Character),
            ("%65xample.com", Character),
            ("*.example.com", Character),
            ("under_score.example", NotAName),
            ("-a.example", NotAName),
            ("a-.example", NotAName),
            ("256.0.0.1", AlmostAddress),
            ("1.2.3.4.5", AlmostAddress),
            ("example.0x7f", AlmostAddress),
            ("example.12", AlmostAddress),
            ("127.0.0.1.", TrailingDot),
            ("4294967296", AlmostAddress),
            ("fe80::1%eth0", Zone),
            ("[fe80::1%25eth0]", Zone),
            ("[::1", AlmostAddress),
            ("[127.0.0.1]", AlmostAddress),
            ("::1::", AlmostAddress),
            ("xn--", NotAName),
            ("xn--a.example", NotAName),
            ("a\u{200d}b.example", NotAName),
        ] {
            assert_eq!(Host::parse(text), Err(why), "{text:?}");
        }
        assert_eq!(Host::parse(&format!("{}.example", "a".repeat(64))), Err(NotAName));
        assert_eq!(Host::parse(&"a.".repeat(127)), Err(TrailingDot));
        assert_eq!(Host::parse(&["a".repeat(63).as_str(); 4].join(".")), Err(NotAName));
        assert_eq!(Host::parse(&"a".repeat(2000)), Err(TooLong));
    }

    #[test]
    fn invisible_characters_vanish_before_anything_is_compared() {
        assert_eq!(shown("exam\u{ad}ple.com").as_deref(), Ok("example.com"));
        assert_eq!(shown("127.0\u{200b}.0.1").as_deref(), Ok("127.0.0.1"));
    }

    #[test]
    fn ports_are_plain_numbers() {
        assert_eq!(Host::parse_with_port("a.example:8443", None).map(|(_, port)| port), Ok(8443));
        assert_eq!(Host::parse_with_port("[::1]:1", None).map(|(_, port)| port), Ok(1));
        assert_eq!(Host::parse_with_port("a.example", Some(80)).map(|(_, port)| port), Ok(80));
        for text in
            ["a:0", "a:65536", "a:+1", "a:01", "a:", "a: 1", "a:１", "a", "[::1]", "[::1]x:1", "::1:80", "a:1:2"]
        {
            assert!(Host::parse_with_port(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn below_means_whole_labels() {
        let parent: Name = "example.com".parse().unwrap();
        for (text, below) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("badexample.com", false),
            ("example.com.evil.example", false),
        ] {
            assert_eq!(text.parse::<Name>().unwrap().is_below(&parent), below, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_never_panics(text in "\\PC{0,40}|[0-9a-fA-FxX.:%\\[\\]]{0,24}|.{0,20}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host.clone()));
            }
            let _parsed = Host::parse_with_port(&text, Some(443));
        }

        #[test]
        fn what_looks_like_an_address_is_never_a_name(text in "(0[xX])?[0-9a-fA-F]{0,10}(\\.(0[xX])?[0-9]{1,10}){0,4}|[0-9a-f:.]{2,40}") {
            let last = text.rsplit('.').next().unwrap_or_default();
            let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
            let numeric = last.bytes().all(|b| b.is_ascii_digit())
                || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            if numeric {
                prop_assert!(!matches!(Host::parse(&text), Ok(Host::Name(_))), "{}", text);
            }
        }

        #[test]
        fn an_address_survives_its_own_text(bits in any::<u128>()) {
            let address = IpAddr::from(Ipv6Addr::from_bits(bits));
            prop_assert_eq!(Host::parse(&Host::from(address).to_string()), Ok(Host::from(address)));
        }
    }
}
