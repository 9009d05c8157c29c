//! Address literals: a granted name grants no address, however it is spelled.

use crate::support::{attack, in_a_world};

/// 203.0.113.80 is where the granted name leads; 10.77.0.5 and the loopback are nobody's business.
const SPELLINGS: &[&str] = &[
    "203.0.113.80",
    "3405803856",
    "0xcb007150",
    "0xcb.0x0.0x71.0x50",
    "0313.0.0161.0120",
    "031300070520",
    "203.0.28992",
    "203.28992",
    "203.0.113.80.",
    "203.00.113.080",
    "::ffff:203.0.113.80",
    "::ffff:cb00:7150",
    "::203.0.113.80",
    "64:ff9b::cb00:7150",
    "2002:cb00:7150::",
    "2001:db8::80",
    "2001:0db8:0000:0000:0000:0000:0000:0080",
    "10.77.0.5",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "169.254.169.254",
    "2852039166",
    "0xA9FEA9FE",
    "198.51.100.2",
    "255.255.255.255",
    "224.0.0.1",
    "fe80::1%lo",
    "fd00:ec2::254",
];

#[test]
fn no_spelling_of_an_address_passes_the_proxy() {
    in_a_world(|world, user| {
        let code = format!(
            r#"
for host in {SPELLINGS:?}:
    bare = f"[{{host}}]" if ":" in host else host
    say(host, " ".join([connect(f"{{bare}}:443"), ask(f"GET http://{{bare}}:80/ HTTP/1.1", f"Host: {{bare}}:80"), socks(host, 443)]))
"#
        );
        let over = attack(world, user, &["api.example.com", "http://api.example.com"], &code);
        // A name, or what is none: refused by the rules (SOCKS: 2) either way.
        for (host, how) in over.said() {
            assert!(["403 403 2", "400 400 2"].contains(&how.as_str()), "{host}: {how}");
        }
        assert_eq!(over.said().len(), SPELLINGS.len());
        over.assert_reasons(&["not-granted", "bad-host", "bad-request"]);
        world.assert_silent();
    });
}

#[test]
fn addresses_as_bytes_pass_no_more_than_as_text() {
    in_a_world(|world, user| {
        let code = r#"
for text in ("203.0.113.80", "10.77.0.5", "127.0.0.1", "0.0.0.0", "169.254.169.254", "198.18.0.1"):
    say(text, socks(socket.inet_aton(text), 443, kind=1))
for text in ("2001:db8::80", "::1", "::ffff:203.0.113.80", "::ffff:127.0.0.1", "::", "64:ff9b::cb00:7150"):
    say(text, socks(socket.inet_pton(socket.AF_INET6, text), 443, kind=4))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        assert!(over.said().values().all(|how| how == "2"), "{:?}", over.said());
        assert_eq!(over.said().len(), 12);
        over.assert_reasons(&["not-granted", "bad-host"]);
        world.assert_silent();
    });
}

#[test]
fn programs_that_know_no_proxy_have_no_way_to_an_address() {
    in_a_world(|world, user| {
        let code = r#"
for address in ("203.0.113.80", "203.0.113.81", "10.77.0.5", "169.254.169.254", "198.51.100.2", "192.0.2.1", "2001:db8::80", "::ffff:203.0.113.80"):
    say(address, direct(address, 443))
for address in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0"):
    say(address, direct(address, 80))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        for (address, how) in over.said() {
            assert!(
                ["ENETUNREACH", "ECONNREFUSED", "cut", "EADDRNOTAVAIL"].contains(&how.as_str()),
                "{address}: {how}"
            );
        }
        assert_eq!(over.said()["203.0.113.80"], "ENETUNREACH");
        assert_eq!(over.said()["10.77.0.5"], "ENETUNREACH");
        assert_eq!(over.said().len(), 12);
        let denied = over.ran.report()["denials"].to_string();
        assert!(denied.contains("addresses") || denied.contains("203.0.113.80"), "{denied}");
        world.assert_silent();
    });
}

/// Addresses that stand for names are no addresses of anything: those not given out lead nowhere.
#[test]
fn made_up_addresses_lead_to_the_name_they_were_made_up_for() {
    in_a_world(|world, user| {
        let code = r#"
given = {one[4][0] for one in socket.getaddrinfo("api.example.com", 443, socket.AF_INET)}
say("given", len(given))
for number in (0, 1, 2, 3, 4, 5, 255, 256, 65535):
    address = f"198.18.{number >> 8}.{number & 255}"
    if address not in given:
        say(address, direct(address, 443))
[address] = given
say("other name", secure(socket.create_connection((address, 443), 20), "other.example.com"))
say("itself", secure(socket.create_connection((address, 443), 20), "api.example.com"))
"#;
        let over = attack(world, user, &["api.example.com"], code);
        let mut said = over.said();
        assert_eq!(said.remove("given").as_deref(), Some("1"));
        assert_eq!(said.remove("itself").as_deref(), Some("hello from api.example.com/"));
        assert!(!said.remove("other name").unwrap().contains("hello"));
        // The last address of the block is a broadcast's, which no stream is opened to.
        assert_eq!(said.remove("198.18.255.255").as_deref(), Some("ENETUNREACH"));
        assert!(said.values().all(|how| how == "cut" || how == "ECONNREFUSED"), "{said:?}");
        assert_eq!(world.requests("https"), ["GET /"]);
        assert!(over.refusals().contains(&("api.example.com:443".to_owned(), "server-name".to_owned())));
    });
}

#[test]
fn a_granted_address_is_that_address_only() {
    in_a_world(|world, user| {
        let code = r#"
for host in ("203.0.113.81", "203.0.113.79", "10.77.0.5", "db.example.com", "api.example.com", "::ffff:203.0.113.81"):
    say(host, by_every_way(host, 7000))
say("itself", tunnel("203.0.113.80:7000")[1])
"#;
        let over = attack(world, user, &["tcp://203.0.113.80:7000"], code);
        let mut said = over.said();
        assert_eq!(said.remove("itself").as_deref(), Some("200"));
        for (host, how) in &said {
            assert!(how.starts_with("403 403 2 ") && !how.contains("answered"), "{host}: {how}");
        }
        over.assert_reasons(&["not-granted"]);
        assert!(world.heard().iter().all(|one| one.at == "203.0.113.80"), "{:#?}", world.heard());
    });
}
