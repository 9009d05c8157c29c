//! Other ports, other protocols, and what is not TCP.

use crate::support::{attack, in_a_world};

#[test]
fn a_port_that_was_not_granted_is_closed() {
    in_a_world(|world, user| {
        let code = r#"
for port in (80, 8443, 7000, 22, 1, 65535):
    say(f"{port}", by_every_way("api.example.com", port))
say("zero", connect("api.example.com:0"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        let mut said = over.said();
        assert!(["400", "403"].contains(&said.remove("zero").unwrap().as_str()));
        for (port, how) in said {
            // Nothing listens on a port that was not granted.
            assert_eq!(how, "403 403 2 ECONNREFUSED", "{port}");
        }
        over.assert_reasons(&["port", "protocol", "bad-host", "bad-request"]);
        assert!(over.refusals().contains(&("api.example.com:8443".to_owned(), "port".to_owned())));
        world.assert_unreached();
    });
}

#[test]
fn a_port_of_one_host_is_none_of_another() {
    in_a_world(|world, user| {
        let code = r#"
say("api 8443", by_every_way("api.example.com", 8443))
say("other 443", by_every_way("other.example.com", 443))
"#;
        let over = attack(world, user, &["api.example.com:443", "other.example.com:8443"], code);
        for (what, how) in over.said() {
            assert_eq!(how, "403 403 2 cut", "{what}");
        }
        over.assert_refused(&[("api.example.com:8443", "port"), ("other.example.com:443", "port")]);
        world.assert_unreached();
    });
}

#[test]
fn datagrams_and_pings_go_nowhere() {
    in_a_world(|world, user| {
        let code = r#"
given = socket.gethostbyname("api.example.com")
def datagram(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect((address, port)); one.settimeout(1); one.send(b"secret"); one.send(b"secret"); return one.recv(10)
for address, port in (("203.0.113.80", 7001), ("203.0.113.80", 53), ("203.0.113.80", 443), (given, 443), (given, 7001), ("198.51.100.2", 7001)):
    attempt(f"{'made up' if address == given else address} {port}", lambda: datagram(address, port))
attempt("six", lambda: datagram("2001:db8::80", 7001, socket.AF_INET6))
attempt("broadcast", lambda: datagram("255.255.255.255", 7001))
attempt("multicast", lambda: datagram("224.0.0.1", 7001))
attempt("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
say("associate", talk(b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00")[:4].hex())
say("bind", talk(b"\x05\x01\x00\x05\x02\x00\x01\xcb\x00\x71\x50\x01\xbb")[:4].hex())
"#;
        let over = attack(world, user, &["api.example.com", "tcp://203.0.113.80:7001"], code);
        let said = over.said();
        for (what, how) in &said {
            let expected: &[&str] = match what.as_str() {
                "associate" | "bind" => &["05000507", "05000502"],
                "ping" | "raw" | "packet" => &["EPERM", "EACCES", "EPROTONOSUPPORT"],
                "broadcast" => &["ENETUNREACH", "EACCES"],
                _ => &["ENETUNREACH", "ECONNREFUSED", "TimeoutError", "EADDRNOTAVAIL", "EPERM", "EACCES"],
            };
            assert!(expected.contains(&how.as_str()) || how == "None", "{what}: {how}");
        }
        assert_eq!(said.len(), 14, "{said:?}");
        assert!(!over.ran.report()["denials"].as_array().unwrap().is_empty());
        world.assert_unreached();
    });
}

#[test]
fn what_was_granted_for_one_protocol_is_closed_to_others() {
    in_a_world(|world, user| {
        let code = r#"
say("http on a port of tls", ask("GET http://api.example.com:443/ HTTP/1.1", "Host: api.example.com:443"))
say("tls on a port of http", secure(tunnel("api.example.com:80")[0], "api.example.com"))
"#;
        let over = attack(world, user, &["api.example.com", "http://api.example.com"], code);
        assert_eq!(over.said()["http on a port of tls"], "403");
        assert!(!over.said()["tls on a port of http"].contains("hello"));
        over.assert_reasons(&["protocol", "bad-request"]);
        world.assert_unreached();
    });
}

/// The proxy and the resolver are served from outside; the code can neither take their places nor share them.
#[test]
fn the_listeners_cannot_be_taken() {
    in_a_world(|world, user| {
        let code = r#"
def bind(kind, place, **options):
    with socket.socket(socket.AF_INET, kind) as one:
        for option in options.get("options", ()):
            one.setsockopt(socket.SOL_SOCKET, option, 1)
        one.bind(place)
        if kind == socket.SOCK_STREAM: one.listen()
both = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
attempt("proxy", lambda: bind(socket.SOCK_STREAM, PROXY, options=both))
attempt("everywhere", lambda: bind(socket.SOCK_STREAM, ("0.0.0.0", 3128), options=both))
attempt("granted port", lambda: bind(socket.SOCK_STREAM, ("0.0.0.0", 443), options=both))
attempt("resolver", lambda: bind(socket.SOCK_DGRAM, ("127.0.0.1", 53), options=both))
held = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{one}")]
say("sockets held", sum(one.startswith("socket:") for one in held))
say("still served", secure(tunnel("api.example.com:443")[0], "api.example.com"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        let mut said = over.said();
        assert_eq!(said.remove("still served").as_deref(), Some("hello from api.example.com/"));
        assert_eq!(said.remove("sockets held").as_deref(), Some("0"));
        assert!(said.values().all(|how| how == "EADDRINUSE" || how == "EACCES"), "{said:?}");
        over.assert_nothing_denied();
    });
}
