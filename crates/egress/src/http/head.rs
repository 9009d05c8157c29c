//! The heads of requests and answers: what is compared, what is taken away, what a refusal looks like.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::refusal::{Fault, Reason, Refusal};
use stockade_core::name::Host;

/// A body on its way, from either side.
pub(super) type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Headers that are about one connection, never about the message.
const HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::EXPECT,
];

/// Headers by which some servers take another method or path than what was decided on, in the form that
/// [`overrides_the_request`] compares.
const OVERRIDES: [&str; 14] = [
    "path-info",
    "request-method",
    "request-uri",
    "script-name",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-http-method",
    "x-method",
    "x-path-info",
    "x-request-uri",
    "x-script-name",
];
/// What the names of others have in them.
const OVERRIDING: [&str; 3] = ["override", "rewrite", "-original-"];

/// Whether a header says where the message goes or ends.
pub(crate) fn frames_the_message(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || [header::HOST, header::CONTENT_LENGTH].contains(name)
}

/// Takes away what is about one connection, and what `Connection` says is.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers).filter_map(|option| option.parse().ok()).collect();
    for name in HOP_BY_HOP.iter().chain(&named).filter(|name| !is_end_to_end(name)) {
        headers.remove(name);
    }
}

/// `Connection: content-length` must not change where a message ends.
fn is_end_to_end(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH].contains(name)
}

/// Takes away what would have a server do something else than what was decided on.
pub(super) fn strip_overrides(headers: &mut HeaderMap) {
    let overriding: Vec<HeaderName> = headers.keys().filter(|name| overrides_the_request(name)).cloned().collect();
    for name in overriding {
        headers.remove(name);
    }
}

fn overrides_the_request(name: &HeaderName) -> bool {
    // CGI, and what came after it, knows no other separator than `_`, and takes all of them for it.
    let name = name.as_str().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    OVERRIDES.contains(&name.as_str()) || OVERRIDING.iter().any(|part| name.contains(part))
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// Whether the message asks for, or offers, another protocol on this connection.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        || headers.contains_key("http2-settings")
        || connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// Whether the body is encoded for the hop in more ways than chunks, which are all that is taken off and put on.
/// Contradictory lengths never get here: hyper refuses them, or keeps one and ends the connection.
pub(super) fn is_oddly_framed(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// Compares the `Host` header with the target; `usual` is the port that need not be written.
pub(super) fn check_host(
    headers: &HeaderMap,
    host: &Host,
    port: u16,
    usual: u16,
    required: bool,
) -> Result<(), Reason> {
    let mut said = headers.get_all(header::HOST).iter();
    match (said.next(), said.next()) {
        (None, _) if !required => Ok(()),
        (Some(said), None) => {
            let said = said.to_str().map_err(|_| Reason::HostHeader)?;
            let said = Host::parse_with_port(said, Some(usual)).map_err(|_| Reason::HostHeader)?;
            if said == (host.clone(), port) { Ok(()) } else { Err(Reason::HostHeader) }
        }
        (_, _) => Err(Reason::HostHeader),
    }
}

/// The `Host` header that is sent on: the name that was decided on, in its one form.
pub(super) fn host_value(host: &Host, port: u16, usual: u16) -> Result<HeaderValue, Reason> {
    let text = if port == usual { host.to_string() } else { format!("{host}:{port}") };
    HeaderValue::try_from(text).map_err(|_| Reason::HostHeader)
}

/// The answer to what was refused. Many clients show only the status line, so it says the reason too.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let text = format!("stockade: {}: {}\nnext: {}\n", refusal.asked, refusal.reason, refusal.next());
    let mut answer = Response::new(whole(text));
    *answer.status_mut() = status(&refusal.reason);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let line = format!("{} - {}", refusal.reason, refusal.next());
    if let Ok(line) = ReasonPhrase::try_from(line.into_bytes()) {
        answer.extensions_mut().insert(line);
    }
    answer
}

const fn status(reason: &Reason) -> StatusCode {
    match reason.fault() {
        Fault::Request => StatusCode::BAD_REQUEST,
        Fault::Rules => StatusCode::FORBIDDEN,
        Fault::Server => StatusCode::BAD_GATEWAY,
        Fault::Gate => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A body that is known whole.
pub(super) fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_host_header_names_the_target_or_nothing_passes() {
        let host = Host::parse("api.example.com").unwrap();
        let check = |said: &[(&'static str, &'static str)]| check_host(&headers(said), &host, 80, 80, true).is_ok();
        assert!(check(&[("host", "API.example.com")]));
        assert!(check(&[("host", "api.example.com:80")]));
        assert!(!check(&[("host", "evil.example")]));
        assert!(!check(&[("host", "api.example.com:81")]));
        assert!(!check(&[("host", "api.example.com"), ("host", "evil.example")]));
        assert!(!check(&[("host", "user@api.example.com")]));
        assert!(!check(&[("host", "")]));
        assert!(!check(&[]));
    }

    #[test]
    fn what_is_about_one_connection_does_not_pass() {
        let mut some = headers(&[
            ("connection", "close, X-Private, content-length"),
            ("x-private", "1"),
            ("content-length", "5"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut some);
        assert_eq!(some, headers(&[("content-length", "5"), ("accept", "*/*")]));
    }

    #[test]
    fn no_header_replaces_the_method_or_the_path() {
        for name in [
            "X-HTTP-Method-Override",
            "X_HTTP_Method_Override",
            "x-http.method-override",
            "X-Method-Override",
            "X-HTTP-Method",
            "X-Original-URL",
            "X_Original_URL",
            "X-Rewrite-URL",
            "X-Override-URL",
            "X-Envoy-Original-Path",
            "X-Original-Method",
            "Script_Name",
            "Path-Info",
            "X-Forwarded-Prefix",
        ] {
            let mut some = headers(&[("accept", "*/*"), ("x-original", "1"), ("x-forwarded-for", "2")]);
            some.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("DELETE"));
            strip_overrides(&mut some);
            assert_eq!(some, headers(&[("accept", "*/*"), ("x-original", "1"), ("x-forwarded-for", "2")]), "{name}");
        }
    }

    #[test]
    fn an_upgrade_is_seen_in_each_of_its_headers() {
        assert!(wants_upgrade(&headers(&[("upgrade", "websocket")])));
        assert!(wants_upgrade(&headers(&[("connection", "keep-alive, Upgrade")])));
        assert!(wants_upgrade(&headers(&[("http2-settings", "AAM")])));
        assert!(!wants_upgrade(&headers(&[("connection", "keep-alive")])));
    }

    #[test]
    fn only_chunks_frame_a_body() {
        assert!(is_oddly_framed(&headers(&[("transfer-encoding", "gzip, chunked")])));
        assert!(is_oddly_framed(&headers(&[("transfer-encoding", "chunked"), ("transfer-encoding", "identity")])));
        assert!(!is_oddly_framed(&headers(&[("transfer-encoding", "Chunked")])));
    }
}
