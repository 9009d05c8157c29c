//! Secrets that code uses without having them: a placeholder inside, the real value only on the way out.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;
use zeroize::Zeroizing;

use super::scrub::{Scrubber, is_visible};
use stockade_core::name::Name;

/// Shorter values would be found by chance in answers, and placeholders in requests.
const LENGTH_MIN: usize = 8;
/// Longest word before a placeholder, as in `Authorization: Bearer PLACEHOLDER`.
const SCHEME_MAX: usize = 16;

/// One secret: for one header of one host.
#[derive(Clone)]
pub struct Secret {
    host: Name,
    header: HeaderName,
    placeholder: String,
    value: Zeroizing<String>,
}

/// Why a secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSecret {
    /// Not a header's name, or one that frames the message.
    #[error("a secret is put into a named header that carries data, such as authorization")]
    Header,
    /// The value or the placeholder is shorter than eight bytes.
    #[error("the value and the placeholder of a secret have at least eight bytes")]
    Short,
    /// The value or the placeholder has bytes that a header cannot carry.
    #[error("the value and the placeholder of a secret are visible ASCII")]
    Bytes,
    /// The value holds the placeholder or the other way round.
    #[error("the placeholder tells of the secret")]
    Placeholder,
}

impl Secret {
    /// `placeholder` in `header` becomes `value`, in requests to `host` only.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn new(host: Name, header: &str, placeholder: String, value: Zeroizing<String>) -> Result<Self, BadSecret> {
        let header: HeaderName = header.parse().map_err(|_| BadSecret::Header)?;
        if crate::http::frames_the_message(&header) {
            return Err(BadSecret::Header);
        }
        if value.len() < LENGTH_MIN || placeholder.len() < LENGTH_MIN {
            return Err(BadSecret::Short);
        }
        let visible = |text: &str| text.bytes().all(is_visible);
        if !visible(&value) || !visible(&placeholder) {
            return Err(BadSecret::Bytes);
        }
        if value.contains(&placeholder) || placeholder.contains(value.as_str()) {
            return Err(BadSecret::Placeholder);
        }
        Ok(Self { host, header, placeholder, value })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("host", &self.host).field("header", &self.header).finish_non_exhaustive()
    }
}

/// The secrets of one run.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    pub(crate) const fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether requests to `host` carry a secret.
    pub(crate) fn any_for(&self, host: &Name) -> bool {
        self.0.iter().any(|secret| secret.host == *host)
    }

    /// Puts the values in place of their placeholders.
    pub(crate) fn put_into(&self, host: &Name, headers: &mut HeaderMap) {
        for secret in self.0.iter().filter(|secret| secret.host == *host) {
            let mut lines = headers.get_all(&secret.header).iter();
            // Twice in one request, a value is moved past where a server cuts off what it shows.
            let (Some(only), None) = (lines.next(), lines.next()) else { continue };
            if let Some(made) = replaced(only.as_bytes(), secret) {
                headers.insert(&secret.header, made);
            }
        }
    }

    /// What takes every secret of the run out of the answers of `host`.
    pub(crate) fn scrubber(&self, host: &Name) -> Option<Scrubber> {
        let (own, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|secret| secret.host == *host);
        let all = own.iter().chain(&others);
        (!own.is_empty())
            .then(|| Scrubber::new(all.map(|secret| (secret.value.as_bytes().to_vec(), secret.placeholder.clone()))))
    }
}

/// `line` with the secret, if it is the placeholder, alone or behind one word that names a scheme. Elsewhere in a
/// longer text code could choose which part of the value a server shows that shows the beginning or the end of it.
fn replaced(line: &[u8], secret: &Secret) -> Option<HeaderValue> {
    let scheme = line.strip_suffix(secret.placeholder.as_bytes())?;
    if !is_scheme(scheme) {
        return None;
    }
    let made = Zeroizing::new([scheme, secret.value.as_bytes()].concat());
    let mut made = HeaderValue::from_bytes(&made).ok()?;
    made.set_sensitive(true);
    Some(made)
}

/// Nothing, or a word such as `Bearer` and a blank.
fn is_scheme(text: &[u8]) -> bool {
    match text.split_last() {
        None => true,
        Some((last, word)) => {
            let letters = word.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-');
            *last == b' ' && letters && (1..=SCHEME_MAX).contains(&word.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        let value = Zeroizing::new("real-value-1234".to_owned());
        Secret::new("api.example.com".parse().unwrap(), "Authorization", "STOCKADE_PLACEHOLDER".to_owned(), value)
            .unwrap()
    }

    fn put(host: &str, header: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header, HeaderValue::from_static("Bearer STOCKADE_PLACEHOLDER"));
        Secrets::new(vec![secret()]).put_into(&host.parse().unwrap(), &mut headers);
        headers[header].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_value_goes_to_its_host_and_header_only() {
        assert_eq!(put("api.example.com", "authorization"), "Bearer real-value-1234");
        assert_eq!(put("api.example.com", "x-other"), "Bearer STOCKADE_PLACEHOLDER");
        assert_eq!(put("evil.example", "authorization"), "Bearer STOCKADE_PLACEHOLDER");
        assert_eq!(put("sub.api.example.com", "authorization"), "Bearer STOCKADE_PLACEHOLDER");
    }

    #[test]
    fn the_value_goes_where_a_token_stands_and_nowhere_else() {
        let put = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("authorization", HeaderValue::from_str(line).unwrap());
            }
            Secrets::new(vec![secret()]).put_into(&"api.example.com".parse().unwrap(), &mut headers);
            headers.get_all("authorization").iter().any(|line| line.as_bytes().ends_with(b"real-value-1234"))
        };
        for line in ["STOCKADE_PLACEHOLDER", "Bearer STOCKADE_PLACEHOLDER", "Api-Key STOCKADE_PLACEHOLDER"] {
            assert!(put(&[line]), "{line}");
        }
        for line in [
            "xSTOCKADE_PLACEHOLDER",
            "Bearer  STOCKADE_PLACEHOLDER",
            "a b STOCKADE_PLACEHOLDER",
            "x1 STOCKADE_PLACEHOLDER",
            "aaaaaaaaaaaaaaaaa STOCKADE_PLACEHOLDER",
            "Bearer STOCKADE_PLACEHOLDERx",
            "STOCKADE_PLACEHOLDER STOCKADE_PLACEHOLDER",
            "token=STOCKADE_PLACEHOLDER",
        ] {
            assert!(!put(&[line]), "{line}");
        }
        assert!(!put(&["STOCKADE_PLACEHOLDER", "STOCKADE_PLACEHOLDER"]));
        assert!(!put(&["x", "STOCKADE_PLACEHOLDER"]));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?}", Secrets::new(vec![secret()]));
        assert!(!shown.contains("real-value"), "{shown}");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let make = |header: &str, placeholder: &str, value: &str| {
            let value = Zeroizing::new(value.to_owned());
            Secret::new("a.example".parse().unwrap(), header, placeholder.to_owned(), value).unwrap_err()
        };
        assert_eq!(make("content-length", "PLACEHOLDER", "12345678"), BadSecret::Header);
        assert_eq!(make("host", "PLACEHOLDER", "12345678"), BadSecret::Header);
        assert_eq!(make("a b", "PLACEHOLDER", "12345678"), BadSecret::Header);
        assert_eq!(make("x", "PLACEHOLDER", "1234567"), BadSecret::Short);
        assert_eq!(make("x", "PLACEHOLDER", "1234567\n8"), BadSecret::Bytes);
        assert_eq!(make("x", "PLACEHOLDER", "xPLACEHOLDERx"), BadSecret::Placeholder);
    }
}
