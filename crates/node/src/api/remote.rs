//! Who asks over TLS: first that no browser of somebody else's page does, then what the request shows.
//!
//! A browser adds `Origin` to what a foreign page makes it send, and a page that makes its own name mean the node's
//! address (DNS rebinding) sends that name as `Host`. There are no cookies, and no challenge that makes a browser ask
//! for a password and keep it, so it has nothing to send for somebody.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stockade_identity::hosts::Peer;
use zeroize::Zeroizing;

use super::Shared;
use crate::refusal::{Kind, Refusal};
use crate::security::{Caller, Place, Shown};
use crate::tls::{Client, Names, Offer};

/// A connection over TLS.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Who is at the other end, by the kernel's word. What a request says of where it comes from is never read.
    pub(crate) from: Peer,
    /// Where it arrived.
    pub(crate) at: IpAddr,
    /// The certificate that it has shown.
    pub(crate) client: Option<Arc<Client>>,
    /// What it was made with.
    pub(crate) offer: Arc<Offer>,
}

/// Longest `Authorization`: a provider's token, which is longer than a name, a password and their encoding.
const SHOWN_BYTES_MAX: usize = 17 << 10;
/// Longest name of a user.
const USER_BYTES_MAX: usize = 256;
/// The user that a program runs as, by its own word: believed from trusted hosts, where an administrator chose so.
pub(crate) const USER: HeaderName = HeaderName::from_static("stockade-user");
/// What a browser says of where a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what is not for this node, and what a page of somebody else makes a browser send.
pub(super) fn check(names: Option<&Names>, remote: &Remote, request: &Request) -> Result<(), Refusal> {
    let Some(names) = names else {
        return Err(Refusal::failed("the request cannot be taken", "nothing is listened at"));
    };
    if !names.offers(&remote.offer) {
        let why = "it was made under a profile that is not in force any more";
        return Err(Refusal::new(Kind::Unavailable, "the connection is outdated", why, "connect again"));
    }
    let hosts = hosts(request.uri(), request.headers());
    let is_served = |host: &&str| names.has(name_of(host), remote.at);
    if hosts.is_empty() || !hosts.iter().all(is_served) {
        return Err(Refusal::new(
            Kind::Denied,
            "the request is for another host",
            "its Host is neither an address that the node listens at nor a name of its certificate",
            "ask by one of those, or give the node a certificate with that name: --tls-certificate",
        ));
    }
    let foreign = || {
        Refusal::new(
            Kind::Denied,
            "the request is another page's",
            "a browser says that it was made by a page that is not the node's",
            "ask from a program, not from a page",
        )
    };
    let is_own = |origin: &str| {
        let authority = origin.strip_prefix("https://");
        authority.is_some_and(|authority| hosts.iter().all(|host| with_port(host) == with_port(authority)))
    };
    for origin in request.headers().get_all(header::ORIGIN) {
        if !origin.to_str().is_ok_and(is_own) {
            return Err(foreign());
        }
    }
    let is_at_home = |site: &axum::http::HeaderValue| site == "same-origin" || site == "none";
    if request.headers().get_all(FETCH_SITE).iter().all(is_at_home) { Ok(()) } else { Err(foreign()) }
}

/// Everything that a request says of its host.
fn hosts<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Vec<&'a str> {
    let of_uri = uri.authority().map(axum::http::uri::Authority::as_str);
    // What is no text is no host.
    let of_headers = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or(""));
    of_uri.into_iter().chain(of_headers).collect()
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    let end = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let (start, rest) = host.split_at(end);
    match rest.find(':') {
        Some(colon) => host.get(..start.len() + colon).unwrap_or(host),
        None => host,
    }
}

/// A host with its port, in one spelling.
fn with_port(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if name_of(&host).len() == host.len() { host + ":443" } else { host }
}

/// Finds out who asks. What was shown for it is not in the request any more.
pub(super) async fn caller(shared: &Shared, remote: Remote, request: &mut Request) -> Result<Caller, Refusal> {
    let shown = shown(request.headers(), remote.client)?;
    let place = if is_log_in(request) { Place::LogIn } else { Place::Elsewhere };
    for header in [header::AUTHORIZATION, USER] {
        request.headers_mut().remove(header);
    }
    let node = Arc::clone(&shared.node);
    // To its end and on record, also when the caller hangs up meanwhile.
    let asked = tokio::spawn(async move {
        let now = node.security.now();
        node.security.authenticate(&remote.from, (shown, place), now).await
    });
    asked.await.map_err(|error| Refusal::failed("it cannot be found out who you are", error))?
}

/// Whether it asks for a token: the one place that a directory's password is taken at.
fn is_log_in(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    path == Some("/v1/login") && *request.method() == Method::POST
}

/// What a request shows of its caller. A credential of its own comes before the certificate of its connection, which
/// may be a machine's.
fn shown(headers: &HeaderMap, client: Option<Arc<Client>>) -> Result<Shown, Refusal> {
    let unreadable = |why: &str| {
        Refusal::new(
            Kind::Unauthenticated,
            "you are not admitted",
            why,
            "send one header: Authorization: Basic with user and password, or Bearer with a token",
        )
    };
    let (mut all, mut users) = (headers.get_all(header::AUTHORIZATION).iter(), headers.get_all(USER).iter());
    let (first, user) = (all.next(), users.next());
    if all.next().is_some() || users.next().is_some() {
        return Err(unreadable("there are several Authorization or Stockade-User headers"));
    }
    let value = match (first, user) {
        (None, None) => return Ok(client.map_or(Shown::Nothing, Shown::Certificate)),
        (None, Some(_)) if client.is_some() => {
            return Err(unreadable("there is a certificate and a Stockade-User header"));
        }
        (None, Some(user)) => {
            let user = user.to_str().ok().filter(|user| user.len() <= USER_BYTES_MAX);
            let user = user.ok_or_else(|| unreadable("the Stockade-User header cannot be understood"))?;
            return Ok(Shown::Host { user: user.to_owned() });
        }
        // Who shows a credential is who it says, and nobody beside.
        (Some(_), Some(_)) => return Err(unreadable("there is an Authorization header and a Stockade-User header")),
        (Some(value), None) => value,
    };
    let text = value.to_str().ok().filter(|text| text.len() <= SHOWN_BYTES_MAX);
    let split = text.and_then(|text| text.split_once(' '));
    let (scheme, rest) = split.ok_or_else(|| unreadable("the Authorization header cannot be understood"))?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Shown::Token(Zeroizing::new(rest.trim().to_owned())))
    } else if scheme.eq_ignore_ascii_case("basic") {
        basic(rest.trim()).ok_or_else(|| unreadable("the Authorization header cannot be understood"))
    } else {
        Err(unreadable("the scheme of the Authorization header is neither Basic nor Bearer"))
    }
}

/// RFC 7617: the user has no colon, the password may. What is longer than anybody's name is none.
fn basic(encoded: &str) -> Option<Shown> {
    let mut bytes = Zeroizing::new(vec![0; encoded.len()]);
    let count = STANDARD.decode_slice(encoded, &mut bytes).ok()?;
    let text = std::str::from_utf8(bytes.get(..count)?).ok()?;
    let (user, password) = text.split_once(':').filter(|(user, _)| user.len() <= USER_BYTES_MAX)?;
    Some(Shown::Password { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port() {
        for (host, name) in [
            ("node", "node"),
            ("node:8443", "node"),
            ("[::1]", "[::1]"),
            ("[::1]:8443", "[::1]"),
            ("192.0.2.7:1", "192.0.2.7"),
            (":1", ""),
            ("", ""),
            ("]", "]"),
        ] {
            assert_eq!(name_of(host), name, "{host}");
        }
        assert_eq!(with_port("Node"), "node:443");
        assert_eq!(with_port("[::1]:8443"), "[::1]:8443");
    }

    #[test]
    fn a_password_may_have_colons_and_what_is_no_pair_is_nothing() {
        let decoded = |text: &str| basic(&STANDARD.encode(text));
        match decoded("ann@local:a:b:c") {
            Some(Shown::Password { user, password }) => assert_eq!((&*user, &**password), ("ann@local", "a:b:c")),
            _ => panic!("it is a pair"),
        }
        assert!(decoded(&format!("{}:x", "a".repeat(USER_BYTES_MAX))).is_some());
        assert!(decoded(&format!("{}:x", "a".repeat(USER_BYTES_MAX + 1))).is_none());
        assert!(decoded("ann").is_none() && basic("***").is_none() && basic("").is_none());
        assert!(basic(&STANDARD.encode([b'a', b':', 0xff])).is_none(), "no text");
    }

    #[test]
    fn what_cannot_be_understood_is_refused_and_nothing_weaker_is_tried() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        assert!(matches!(shown(&headers(&[]), None), Ok(Shown::Nothing)));
        assert!(matches!(shown(&headers(&["bearer x"]), None), Ok(Shown::Token(_))));
        for values in [&["Basic"][..], &["Basic ***"], &["Digest x"], &[""], &["Bearer x", "Bearer x"]] {
            assert!(shown(&headers(values), None).is_err(), "{values:?}");
        }
        assert!(shown(&headers(&[&format!("Bearer {}", "x".repeat(20_000))]), None).is_err());
    }

    #[test]
    fn a_certificate_counts_where_nothing_else_is_shown_and_not_beside_a_users_name() {
        let client = || {
            let named = Err(stockade_identity::certificate::Unnamed::Nameless);
            Some(Arc::new(Client { named, is_on_record: false.into() }))
        };
        let with = |name: HeaderName, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        assert!(matches!(shown(&HeaderMap::new(), client()), Ok(Shown::Certificate(_))));
        assert!(matches!(shown(&with(header::AUTHORIZATION, "Bearer x"), client()), Ok(Shown::Token(_))));
        assert!(shown(&with(header::AUTHORIZATION, "Digest x"), client()).is_err());
        assert!(shown(&with(USER, "ann"), client()).is_err());
    }

    #[test]
    fn a_user_is_said_once_and_never_beside_a_credential() {
        let mut headers = HeaderMap::new();
        headers.append(USER, "ann".parse().unwrap());
        assert!(matches!(shown(&headers, None), Ok(Shown::Host { user }) if user == "ann"));
        let mut both = headers.clone();
        both.append(header::AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(shown(&both, None).is_err());
        headers.append(USER, "bob".parse().unwrap());
        assert!(shown(&headers, None).is_err());
        let mut long = HeaderMap::new();
        long.append(USER, "x".repeat(USER_BYTES_MAX + 1).parse().unwrap());
        assert!(shown(&long, None).is_err());
    }
}
