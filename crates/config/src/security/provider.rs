//! Where an OpenID provider is: the one rule for it, in a file and whenever it is asked.

use thiserror::Error;
use url::{Host, Url};

/// What follows an issuer in the address of its document (OpenID Connect Discovery, 4).
const DOCUMENT: &str = "/.well-known/openid-configuration";
const URL_BYTES_MAX: usize = 2_048;

/// Whether anything is asked without encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Never: also on loopback whoever gets the port while the provider is down would be the provider.
    Refused,
    /// On loopback, for tests.
    OnLoopback,
}

/// Why an address is none of a provider's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadProviderUrl {
    /// Too long, or with characters that could look like others.
    #[error("a URL has at most {URL_BYTES_MAX} characters, all of ASCII and none of them blank")]
    Characters,
    /// No URL.
    #[error("{0}")]
    Syntax(url::ParseError),
    /// More than a server and a path.
    #[error("this URL has no user, query and fragment")]
    Parts,
    /// Not encrypted.
    #[error("the URL begins with https://, on this machine too")]
    Scheme,
    /// Not that of an issuer's document.
    #[error("the URL does not end with {DOCUMENT}")]
    Document,
}

impl BadProviderUrl {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Characters | Self::Syntax(_) | Self::Parts => {
                "write `documentDiscoveryUrl` as https://HOST/…/.well-known/openid-configuration"
            }
            Self::Scheme => {
                "write `documentDiscoveryUrl` as https://…, and give the provider a certificate; without encryption \
                 anybody could send keys"
            }
            Self::Document => {
                "write `documentDiscoveryUrl` as the issuer's address and what follows it in each provider, \
                 /.well-known/openid-configuration"
            }
        }
    }
}

/// The address of a provider's document, and the issuer that it is of.
///
/// # Errors
/// [`BadProviderUrl`].
pub fn document_of(text: &str, plaintext: Plaintext) -> Result<(Url, &str), BadProviderUrl> {
    let url = provider_url(text, plaintext)?;
    if url.query().is_some() {
        return Err(BadProviderUrl::Parts);
    }
    let issuer = text.strip_suffix(DOCUMENT).ok_or(BadProviderUrl::Document)?;
    Ok((url, issuer))
}

/// An address that a provider may be asked at: https, a server and a path, nobody's name.
///
/// # Errors
/// [`BadProviderUrl`].
pub fn provider_url(text: &str, plaintext: Plaintext) -> Result<Url, BadProviderUrl> {
    if text.len() > URL_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BadProviderUrl::Characters);
    }
    let url = Url::parse(text).map_err(BadProviderUrl::Syntax)?;
    let is_here = match url.host() {
        Some(Host::Ipv4(v4)) => v4.is_loopback(),
        Some(Host::Ipv6(v6)) => v6.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(BadProviderUrl::Syntax(url::ParseError::EmptyHost)),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_here && plaintext == Plaintext::OnLoopback => {}
        _ => return Err(BadProviderUrl::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(BadProviderUrl::Parts);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_ask_without_encryption_and_only_on_this_machine() {
        for host in ["127.0.0.1:8080", "localhost", "[::1]"] {
            let text = format!("http://{host}/x{DOCUMENT}");
            assert_eq!(document_of(&text, Plaintext::Refused), Err(BadProviderUrl::Scheme));
            assert_eq!(provider_url(&text, Plaintext::Refused), Err(BadProviderUrl::Scheme));
            let (_, issuer) = document_of(&text, Plaintext::OnLoopback).unwrap();
            assert_eq!(issuer, format!("http://{host}/x"));
        }
        for host in ["192.0.2.1", "idp.acme.com", "localhost.acme.com", "127.0.0.1.acme.com"] {
            let text = format!("http://{host}{DOCUMENT}");
            assert_eq!(document_of(&text, Plaintext::OnLoopback), Err(BadProviderUrl::Scheme), "{host}");
        }
    }
}
