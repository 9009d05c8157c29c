//! Code that knows no proxy, in a namespace of its own: what its addresses, names and packets can and cannot reach.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use stockade_egress::event::What;
use stockade_egress::{Budget, Way};

use crate::inside::Inside;
use crate::server::Server;
use crate::world::{World, refusals};

/// A closed connection, as the code inside sees it.
const CUT: [&str; 2] = ["ConnectionResetError", "BrokenPipeError"];

fn told(world: &World) -> Vec<(String, String)> {
    refusals(&world.told.of("ns"))
}

/// Waits until the run has this many refusals, since what watchers see comes a little later.
async fn refused(world: &World, count: usize) -> Vec<(String, String)> {
    for _ in 0..400 {
        if told(world).len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Long enough for one too many to show.
    tokio::time::sleep(Duration::from_millis(50)).await;
    told(world)
}

fn both(asked: impl Into<String>, reason: &str) -> (String, String) {
    (asked.into(), reason.to_owned())
}

#[tokio::test]
async fn a_granted_name_is_reached_without_a_proxy() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let grants = [format!("tcp://api.test:{port}"), format!("tcp://127.0.0.1:{port}")];
    let Some(mut inside) = Inside::add(&world.gate, "ns", &grants, &[port]) else { return };
    let address = inside.address("API.test").await;
    assert!(address.starts_with("198.18."), "{address}");
    assert_eq!(inside.address("api.test").await, address);
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 0);
    assert_eq!(inside.exchange(&address, port).await, "ping");
    // The address itself is granted here too.
    assert_eq!(inside.exchange("127.0.0.1", port).await, "ping");
    let told = world.told.of("ns");
    let opened: Vec<_> = told
        .iter()
        .filter_map(|what| match what {
            What::Opened { connection } => Some((connection.host.as_str(), connection.way)),
            What::Closed { .. } | What::Refused { .. } | What::Ended { .. } => None,
        })
        .collect();
    assert_eq!(opened, [("api.test", Way::Transparent), ("127.0.0.1", Way::Transparent)]);
    assert_eq!(refusals(&told), []);
}

#[tokio::test]
async fn tls_and_a_server_that_speaks_first_work_without_a_proxy() {
    let (tls, _) = Server::tls("api.test").await;
    let greeting = Server::greeting().await;
    let world = World::new(&["unused.test"]);
    let grants = [tls.grants("tls", "api.test"), greeting.grants("tcp", "mail.test")].concat();
    let Some(mut inside) = Inside::add(&world.gate, "ns", &grants, &[tls.port(), greeting.port()]) else { return };
    let address = inside.address("api.test").await;
    let answer = inside.order(json!({ "do": "tls", "to": [address, tls.port()], "name": "api.test" })).await;
    assert_eq!(answer["got"], "ping");
    let address = inside.address("mail.test").await;
    let answer = inside.order(json!({ "do": "keep", "to": [address, greeting.port()] })).await;
    assert!(answer["got"].as_str().unwrap().starts_with("hello"), "{answer}");
    assert_eq!(told(&world), []);
}

#[tokio::test]
async fn a_client_of_socks_that_looks_names_up_itself_is_understood() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &server.grants("tcp", "api.test"), &[port]) else { return };
    inside.address("api.test").await;
    let mut ask = async |address: [u8; 4]| {
        let request = [&[5, 1, 0, 5, 1, 0, 1][..], &address, &port.to_be_bytes()].concat();
        let request: Vec<String> = request.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = inside.order(json!({ "do": "socks", "hex": request.concat() })).await;
        answer["hex"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask([198, 18, 0, 2]).await, "050005000001000000000000");
    assert_eq!(ask([198, 18, 0, 3]).await, "050005020001000000000000");
    assert_eq!(told(&world), [both(format!("198.18.0.3:{port}"), "not-granted")]);
    assert!(matches!(&world.told.of("ns")[0], What::Opened { connection } if connection.host == "api.test"));
}

#[tokio::test]
async fn a_name_that_was_not_granted_does_not_exist() {
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &["api.test", "deny:bad.api.test", "bad.api.test"], &[443])
    else {
        return;
    };
    for _ in 0..3 {
        for kind in [1, 28] {
            let answer = inside.order(json!({ "do": "lookup", "name": "evil.test", "kind": kind })).await;
            assert_eq!(answer, json!({ "code": 3, "address": null }));
        }
    }
    assert_eq!(inside.order(json!({ "do": "lookup", "name": "bad.api.test" })).await["code"], 3);
    // Told once, counted every time.
    assert_eq!(told(&world), [both("evil.test", "not-granted"), both("bad.api.test", "denied")]);
    let report = world.gate.remove("ns").await.unwrap();
    assert_eq!((report.totals.refusals["not-granted"], report.refusals[0].count), (6, 6));
    assert_eq!((report.refusals[0].way, report.refusals[0].next.as_str()), (Way::Resolver, "--net evil.test"));
}

#[tokio::test]
async fn of_a_granted_name_only_its_address_is_told() {
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &["api.test"], &[443]) else { return };
    // AAAA, TXT, HTTPS (with keys for encrypted client hello), SRV, NS, ANY, AXFR.
    for kind in [28, 16, 65, 33, 2, 255, 252] {
        let answer = inside.order(json!({ "do": "lookup", "name": "api.test", "kind": kind })).await;
        assert_eq!(answer, json!({ "code": 0, "address": null }), "{kind}");
    }
    for name in ["2.0.18.198.in-addr.arpa", "api.test"] {
        let answer = inside.order(json!({ "do": "lookup", "name": name, "kind": 12 })).await;
        assert_eq!(answer, json!({ "code": 3, "address": null }));
    }
}

#[tokio::test]
async fn labels_of_a_name_are_no_channel() {
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &["*.api.test"], &[443]) else { return };
    let secret = "c2VjcmV0LW9mLXRoZS1kYXRh";
    for name in [format!("{secret}.evil.test"), format!("{secret}.api.test.evil.test"), format!("{secret}.test")] {
        let answer = inside.order(json!({ "do": "lookup", "name": name })).await;
        assert_eq!(answer["code"], 3, "{name}");
    }
    // A label that holds a dot is one label, and not the granted name.
    let answer = inside.order(json!({ "do": "lookup", "name": ["x.api.test"] })).await;
    assert_eq!(answer["code"], 3);
    // Below a wildcard a name gets its address, but nobody outside hears of it.
    for number in 0..50 {
        inside.address(&format!("{secret}-{number}.api.test")).await;
    }
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_address_that_was_never_handed_out_leads_nowhere() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &server.grants("tcp", "api.test"), &[port]) else { return };
    for address in ["198.18.0.1", "198.18.0.2", "198.18.200.7"] {
        let said = inside.exchange(address, port).await;
        assert!(CUT.contains(&said.as_str()), "{address}: {said}");
    }
    let expected = [2, 1, 0].map(|back| told(&world)[told(&world).len() - 1 - back].clone());
    assert_eq!(
        expected,
        ["198.18.0.1", "198.18.0.2", "198.18.200.7"].map(|one| both(format!("{one}:{port}"), "no-name"))
    );
    assert_eq!((server.connections(), world.names.asked.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn an_address_reaches_only_its_own_grant() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let grants = [format!("tcp://api.test:{port}"), "tcp://10.9.0.0/24:9".to_owned()];
    let spec = json!({ "ports": [port, 9], "ports6": [port], "addresses": ["10.9.0.1/255.255.0.0"] });
    let Some(mut inside) = Inside::with(&world.gate, "ns", &grants, &spec, Budget::default()) else { return };
    for (address, reason) in
        [("127.0.0.1", "not-granted"), ("127.9.9.9", "not-granted"), ("10.9.0.7", "port"), ("10.9.7.7", "not-granted")]
    {
        let said = inside.exchange(address, port).await;
        assert!(CUT.contains(&said.as_str()), "{address}: {said}");
        assert_eq!(told(&world).pop(), Some(both(format!("{address}:{port}"), reason)));
    }
    let said = inside.exchange("::1", port).await;
    assert!(CUT.contains(&said.as_str()), "{said}");
    assert_eq!(told(&world).pop(), Some(both(format!("[::1]:{port}"), "not-granted")));
    // A granted name that leads to an address which needs a grant of its own.
    let address = inside.address("api.test").await;
    let said = inside.exchange(&address, port).await;
    assert!(CUT.contains(&said.as_str()), "{said}");
    assert_eq!(told(&world).pop(), Some(both(format!("api.test:{port}"), "special-address")));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_port_that_was_not_granted_is_seen_and_told_once() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &server.grants("tcp", "api.test"), &[port]) else { return };
    let address = inside.address("api.test").await;
    for _ in 0..3 {
        assert_eq!(inside.exchange(&address, 25).await, "ConnectionRefusedError");
    }
    assert_eq!(inside.exchange("198.18.77.77", 25).await, "ConnectionRefusedError");
    // The run's own loopback is its own affair.
    assert_eq!(inside.exchange("127.0.0.1", 25).await, "ConnectionRefusedError");
    assert_eq!(refused(&world, 2).await, [both("api.test:25", "port"), both("198.18.77.77:25", "no-name")]);
    let report = world.gate.remove("ns").await.unwrap();
    assert_eq!(report.refusals[0].count, 3);
    assert_eq!(report.refusals[0].next, "--net api.test:25");
}

#[tokio::test]
async fn a_datagram_is_told_and_goes_nowhere() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &server.grants("tcp", "api.test"), &[port]) else { return };
    let address = inside.address("api.test").await;
    for to in [(address.as_str(), 443), (&address, 443), (&address, port), ("198.18.5.5", 53), ("127.0.0.1", 54)] {
        let answer = inside.order(json!({ "do": "datagram", "to": to })).await;
        assert_eq!(answer["error"], "ConnectionRefusedError", "{to:?}");
    }
    let expected = ["api.test:443".to_owned(), format!("api.test:{port}"), "198.18.5.5:53".to_owned()];
    assert_eq!(refused(&world, 3).await, expected.map(|asked| both(asked, "not-tcp")));
}

#[tokio::test]
async fn tls_must_name_the_server_whose_address_was_dialled() {
    let (server, _) = Server::tls("other.test").await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let grants = [server.grants("tls", "api.test"), server.grants("tls", "other.test")].concat();
    let Some(mut inside) = Inside::add(&world.gate, "ns", &grants, &[port]) else { return };
    let (api, other) = (inside.address("api.test").await, inside.address("other.test").await);
    let mut tls = async |address: &str, name: &str| {
        inside.order(json!({ "do": "tls", "to": [address, port], "name": name })).await
    };
    assert_eq!(tls(&other, "other.test").await["got"], "ping");
    // Granted as well, but not what was dialled.
    let answer = tls(&api, "other.test").await;
    assert_eq!(answer["error"], "TLS TLSV1_UNRECOGNIZED_NAME", "{answer}");
    let answer = tls(&other, "evil.test").await;
    assert_eq!(answer["error"], "TLS TLSV1_UNRECOGNIZED_NAME", "{answer}");
    let expected = [both(format!("api.test:{port}"), "server-name"), both(format!("other.test:{port}"), "server-name")];
    assert_eq!(told(&world), expected);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_address_of_one_run_means_nothing_to_another() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let (one, two) = (server.grants("tcp", "one.test"), server.grants("tcp", "two.test"));
    let Some(mut first) = Inside::add(&world.gate, "first", &one, &[port]) else { return };
    let Some(mut second) = Inside::add(&world.gate, "ns", &two, &[port]) else { return };
    let address = first.address("one.test").await;
    let said = second.exchange(&address, port).await;
    assert!(CUT.contains(&said.as_str()), "{said}");
    assert_eq!(told(&world), [both(format!("{address}:{port}"), "no-name")]);
    // The same number means the other run's own name, once it has looked that up.
    assert_eq!(second.address("two.test").await, address);
    assert_eq!(second.exchange(&address, port).await, "ping");
    assert!(matches!(&world.told.of("ns")[1], What::Opened { connection } if connection.host == "two.test"));
    assert_eq!(first.exchange(&address, port).await, "ping");
}

#[tokio::test]
async fn a_kept_connection_is_cut_with_its_run() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &server.grants("tcp", "api.test"), &[port]) else { return };
    let address = inside.address("api.test").await;
    assert_eq!(inside.order(json!({ "do": "keep", "to": [address, port] })).await["got"], "ping");
    let report = world.gate.remove("ns").await.unwrap();
    assert_eq!((report.totals.connections, report.totals.open, report.connections[0].bytes_up), (1, 0, 4));
    let answer = inside.order(json!({ "do": "kept", "number": 0 })).await;
    assert!(answer["got"] == "" || answer["error"] == "ConnectionResetError", "{answer}");
    assert_eq!(inside.exchange(&address, port).await, "ConnectionRefusedError");
    let answer = inside.order(json!({ "do": "query", "hex": "00", "patience": 0.2 })).await;
    assert!(answer["error"] == "TimeoutError" || answer["error"] == "ConnectionRefusedError", "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_budget_fail_at_once() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&["unused.test"]);
    let budget = Budget { connections_at_once: 1, ..Budget::default() };
    let spec = json!({ "ports": [port] });
    let grants = server.grants("tcp", "api.test");
    let Some(mut inside) = Inside::with(&world.gate, "ns", &grants, &spec, budget) else { return };
    let address = inside.address("api.test").await;
    assert_eq!(inside.order(json!({ "do": "keep", "to": [address, port] })).await["got"], "ping");
    let said = inside.exchange(&address, port).await;
    assert!(CUT.contains(&said.as_str()), "{said}");
    assert_eq!(told(&world), [both(format!("api.test:{port}"), "budget")]);
}

#[tokio::test]
async fn garbage_and_floods_leave_the_resolver_answering() {
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &["api.test"], &[443]) else { return };
    let two_questions = "0007010000020000000000000161000001000101610000010001";
    let circle = "000701000001000000000000c00c00010001";
    for garbage in ["", "00", "ffffffffffffffffffffffffffffffff", two_questions, circle] {
        inside.order(json!({ "do": "query", "hex": garbage, "times": 50, "wait": false })).await;
    }
    // Twenty thousand questions for one name that is not granted.
    let evil = "000701000001000000000000046576696c04746573740000010001";
    inside.order(json!({ "do": "query", "hex": evil, "times": 20_000, "wait": false })).await;
    inside.address("api.test").await;
    assert_eq!(told(&world), [both("evil.test", "not-granted")]);
}

#[tokio::test]
async fn names_run_out_with_a_word_and_known_ones_stay() {
    let world = World::new(&["unused.test"]);
    let Some(mut inside) = Inside::add(&world.gate, "ns", &["*.api.test"], &[443]) else { return };
    let first = inside.address("n0.api.test").await;
    let mut answer = json!(null);
    for number in 1..=4_097 {
        answer = inside.order(json!({ "do": "lookup", "name": format!("n{number}.api.test") })).await;
    }
    assert_eq!(answer, json!({ "code": 2, "address": null }));
    assert_eq!(inside.address("n0.api.test").await, first);
    assert_eq!(told(&world), [both("one more name", "names")]);
}
