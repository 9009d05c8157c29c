//! What can be written, what it means, and that it can be written again.

use proptest::prelude::*;

use super::*;

fn grant(text: &str) -> Grant {
    text.parse().unwrap_or_else(|bad| panic!("{text}: {bad}"))
}

#[test]
fn the_default_is_tls_on_443() {
    let plain = grant("API.example.com");
    assert_eq!((plain.ports(), plain.protocol_at(443), plain.inspect()), (&[443][..], Protocol::Tls, false));
    assert_eq!(plain, grant("tls://api.example.com:443"));
    assert_eq!(plain, grant("https://api.example.com/"));
}

#[test]
fn ports_bring_their_protocol() {
    let mixed = grant("api.example.com:5432,80,443,443,8443");
    let protocols: Vec<_> = mixed.ports().iter().map(|port| (*port, mixed.protocol_at(*port))).collect();
    assert_eq!(
        protocols,
        [(80, Protocol::Http), (443, Protocol::Tls), (5432, Protocol::Postgres), (8443, Protocol::Tls)]
    );
    assert_eq!(grant("tcp://db.example.com:443").protocol_at(443), Protocol::Tcp);
}

#[test]
fn every_form_has_a_shortest_text() {
    for (text, shown) in [
        ("Example.com:443", "example.com"),
        ("example.com:80", "http://example.com"),
        ("example.com:5432", "postgres://example.com"),
        ("example.com:443,80", "example.com:80,443"),
        ("tls://example.com:80", "tls://example.com:80"),
        ("http://example.com:8080", "http://example.com:8080"),
        ("https://example.com/v1/,/v2", "https://example.com/v1,/v2"),
        ("example.com/v1", "https://example.com/v1"),
        ("https://example.com:8443/v1", "example.com:8443/v1"),
        ("HEAD,GET https://example.com", "GET,HEAD https://example.com"),
        ("GET http://example.com/a", "GET http://example.com/a"),
        ("inspect://example.com", "inspect://example.com"),
        ("inspect://example.com:80,443", "inspect://example.com:80,443"),
        ("tcp://*.example.com:22", "tcp://*.example.com:22"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8:5432", "postgres://10.0.0.0/8"),
        ("tcp://10.0.0.7/32:22", "tcp://10.0.0.7:22"),
        ("0x7f.1", "127.0.0.1"),
        ("fd00::1", "[fd00::1]"),
        ("fd00::/8", "[fd00::/8]"),
        ("[fd00::/8]:8443", "[fd00::/8]:8443"),
        ("[fd00::1]:80/v1", "http://[fd00::1]/v1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("deny:example.com", "deny:example.com"),
        ("deny:tcp://example.com:22", "deny:example.com:22"),
        ("deny:DELETE https://example.com/v1", "deny:DELETE example.com/v1"),
    ] {
        let grant = grant(text);
        assert_eq!(grant.to_string(), shown, "{text}");
        assert_eq!(grant, self::grant(shown), "{text}");
    }
}

#[test]
fn what_cannot_be_enforced_cannot_be_written() {
    for (text, why) in [
        ("", BadGrant::Host(BadHost::Empty)),
        ("*", BadGrant::Wildcard),
        ("a.*.example.com", BadGrant::Wildcard),
        ("**.example.com", BadGrant::Wildcard),
        ("*.", BadGrant::Host(BadHost::Empty)),
        ("*.127.0.0.1", BadGrant::Host(BadHost::NotAName)),
        ("example.com.", BadGrant::Host(BadHost::TrailingDot)),
        ("user@example.com", BadGrant::Host(BadHost::Character)),
        ("example.com:0", BadGrant::Host(BadHost::Port)),
        ("example.com:80,", BadGrant::Host(BadHost::Port)),
        ("example.com:70000", BadGrant::Host(BadHost::Port)),
        ("10.1.2.3/8", BadGrant::Block),
        ("10.0.0.0/33", BadGrant::Block),
        ("10.0.0.0:443/8", BadGrant::Block),
        ("[::ffff:10.0.0.0/104]", BadGrant::Block),
        ("ftp://example.com", BadGrant::Protocol),
        ("udp://example.com:53", BadGrant::Protocol),
        ("tcp://example.com", BadGrant::TcpWithoutPort),
        ("get https://example.com", BadGrant::Method),
        ("TRACE https://example.com", BadGrant::Method),
        ("CONNECT https://example.com", BadGrant::Method),
        ("https://example.com/a/../b", BadGrant::Path),
        ("https://example.com/a%2fb", BadGrant::Path),
        ("https://example.com/a?b", BadGrant::Path),
        ("tcp://example.com:22/path", BadGrant::NoRequests),
        ("GET postgres://example.com", BadGrant::NoRequests),
        ("deny:GET tcp://example.com:22", BadGrant::NoRequests),
        ("inspect://example.com extra", BadGrant::Method),
    ] {
        assert_eq!(text.parse::<Grant>(), Err(why), "{text}");
        assert!(!why.next().is_empty());
    }
}

#[test]
fn a_path_inside_tls_means_inspection() {
    assert!(grant("https://example.com/v1").inspect());
    assert!(grant("GET example.com").inspect());
    assert!(!grant("http://example.com/v1").inspect());
}

#[test]
fn policies_write_texts_or_tables() {
    let read = |json: &str| serde_json::from_str::<Grant>(json).map_err(|error| error.to_string());
    assert_eq!(read("\"example.com:8443\""), Ok(grant("example.com:8443")));
    let table = r#"{"host": "*.example.com", "ports": [443], "methods": ["GET"], "paths": ["/v1"]}"#;
    assert_eq!(read(table), Ok(grant("GET https://*.example.com/v1")));
    assert_eq!(read(r#"{"host": "10.0.0.0/8", "deny": true}"#), Ok(grant("deny:10.0.0.0/8")));
    let inspected = read(r#"{"host": "a.example", "inspect": true, "protocol": "http"}"#).unwrap_err();
    assert!(inspected.contains("only tls can be inspected"), "{inspected}");
    assert!(read(r#"{"host": "a.example", "prots": [1]}"#).unwrap_err().contains("unknown field `prots`"));
    assert!(read(r#"{"host": "a.example:80"}"#).is_err());
    assert!(read("7").unwrap_err().contains("a grant such as"));
    assert_eq!(serde_json::to_string(&grant("Example.com:443")).unwrap(), "\"example.com\"");
}

proptest! {
    #[test]
    fn whatever_parses_is_shown_as_a_text_that_means_the_same(
        text in "(deny:)?((GET|PUT)(,HEAD)? )?((tls|http|https|inspect|tcp|postgres)://)?\
                 (\\*\\.)?([a-z]{1,3}\\.example|10\\.0\\.0\\.0/8|\\[fd00::/8\\]|fd00::1|0x7f\\.1)\
                 (:(80|443|5432|8443)(,(80|443|22))?)?(/[a-c]{0,2}){0,3}(,/[a-c]{1,2})?"
    ) {
        if let Ok(grant) = text.parse::<Grant>() {
            prop_assert_eq!(grant.to_string().parse::<Grant>(), Ok(grant));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,40}|[a-z:/\\[\\]0-9.,* %]{0,40}") {
        let _parsed = text.parse::<Grant>();
    }
}
