//! HTTP requests that say one thing to the gate and another to the server.

use crate::support::{attack, in_a_world};

#[test]
fn the_host_header_cannot_name_another_host_than_the_tunnel() {
    in_a_world(|world, user| {
        let code = r#"
for host in ("evil.example.com", "evil.example.com:443", "api.example.com.evil.example.com", "203.0.113.81", "api.example.com, evil.example.com"):
    say(host, connect("api.example.com:443", host))
say("twice", ask("CONNECT api.example.com:443 HTTP/1.1", "Host: api.example.com:443", "Host: evil.example.com:443"))
say("other way round", connect("evil.example.com:443", "api.example.com:443"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        for (host, how) in over.said() {
            assert!(how == "400" || (how == "403" && host == "other way round"), "{host}: {how}");
        }
        over.assert_reasons(&["host-header", "bad-request", "not-granted"]);
        world.assert_unreached();
    });
}

#[test]
fn plain_requests_cannot_name_another_host_than_their_address() {
    in_a_world(|world, user| {
        let code = r#"
for host in ("evil.example.com", "private.example.com", "api.example.com:81", ""):
    say("url " + host, ask("GET http://api.example.com/ HTTP/1.1", f"Host: {host}"))
say("none", ask("GET http://api.example.com/ HTTP/1.1"))
say("origin form", ask("GET / HTTP/1.1", "Host: api.example.com"))
say("evil url", ask("GET http://evil.example.com/ HTTP/1.1", "Host: api.example.com"))
def without_proxy(host):
    with socket.create_connection(("api.example.com", 80), 20) as stream:
        stream.settimeout(3)
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return status(read_all(stream))
for host in ("evil.example.com", "private.example.com", "203.0.113.81"):
    say("transparent " + host, without_proxy(host))
stream, how = tunnel("api.example.com:80")
stream.settimeout(3)
stream.sendall(b"GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n")
say("tunnel", status(read_all(stream)))
"#;
        let over = attack(world, user, &["http://api.example.com"], code);
        for (what, how) in over.said() {
            assert!(["400", "403", "none"].contains(&how.as_str()), "{what}: {how}");
        }
        over.assert_reasons(&["host-header", "bad-request", "not-granted", "bad-host"]);
        world.assert_unreached();
    });
}

#[test]
fn a_second_request_is_not_hidden_in_the_first() {
    in_a_world(|world, user| {
        let code = r#"
smuggled = b"GET http://evil.example.com/smuggled HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"
for number, framing in enumerate((b"Content-Length: 4\r\nContent-Length: 50", b"Transfer-Encoding: xchunked", b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Content-Length: +4", b"X: y\r\n Transfer-Encoding: chunked")):
    answer = talk(b"POST http://api.example.com/first HTTP/1.1\r\nHost: api.example.com\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + smuggled)
    say(f"answers to {number}", answer.count(b"HTTP/1.1 2"))
upgrade = talk(b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
say("upgrade", status(upgrade))
"#;
        let over = attack(world, user, &["http://api.example.com"], code);
        assert_eq!(over.said()["upgrade"], "400");
        assert!(
            over.said().iter().all(|(what, how)| what == "upgrade" || how == "0" || how == "1"),
            "{:?}",
            over.said()
        );
        assert!(!world.requests("http").iter().any(|one| one.contains("smuggled")), "{:?}", world.requests("http"));
        over.assert_reasons(&["bad-request", "upgrade", "not-granted"]);
    });
}

#[test]
fn methods_and_paths_hold_for_each_request() {
    in_a_world(|world, user| {
        let code = r#"
for line in ("GET /v1/a", "DELETE /v1/a", "GET /v2", "GET /v1/../v2", "GET /v1/%2e%2e/v2", "GET /v1/secret", "get /v1/a"):
    method, path = line.split()
    say(line, ask(f"{method} http://api.example.com{path} HTTP/1.1", "Host: api.example.com", "Content-Length: 0"))
"#;
        let over =
            attack(world, user, &["GET,POST http://api.example.com/v1", "deny:api.example.com:80/v1/secret"], code);
        let mut said = over.said();
        assert_eq!(said.remove("GET /v1/a").as_deref(), Some("200"));
        assert!(said.values().all(|how| how == "403" || how == "400"), "{said:?}");
        over.assert_reasons(&["method", "path", "denied", "ambiguous-path", "bad-request"]);
        assert_eq!(world.requests("http"), ["GET /v1/a"]);
    });
}

#[test]
fn a_redirect_to_what_is_not_granted_is_followed_to_a_refusal() {
    in_a_world(|world, user| {
        let code = r#"
try: urllib.request.urlopen("http://api.example.com/moved?http://evil.example.com/", timeout=20)
except urllib.error.HTTPError as refused: say("followed", refused.code)
"#;
        let over = attack(world, user, &["http://api.example.com"], code);
        over.assert_said(&[("followed", "403")]).assert_refused(&[("evil.example.com:80", "not-granted")]);
        assert_eq!(world.requests("http"), ["GET /moved?http://evil.example.com/"]);
    });
}
