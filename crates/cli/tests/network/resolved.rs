//! Granted names that lead to places nobody granted: the gate resolves, checks and dials what it checked.

use crate::support::{attack, in_a_world};

const SPECIAL: [&str; 7] = ["private", "loop", "loop6", "metadata", "own", "any", "alias"];

#[test]
fn a_granted_name_does_not_open_special_addresses() {
    in_a_world(|world, user| {
        let names = SPECIAL.map(|name| format!("{name}.example.com"));
        let mut grants: Vec<String> = names.iter().map(|name| format!("tcp://{name}:443")).collect();
        grants.extend(names.iter().map(|name| format!("http://{name}")));
        let code = format!(
            r#"
for name in {names:?}:
    say(name, " ".join([connect(f"{{name}}:443"), ask(f"GET http://{{name}}/ HTTP/1.1", f"Host: {{name}}"), socks(name, 443), direct(name, 443), direct(name, 80)]))
"#
        );
        let over = attack(world, user, &grants, &code);
        assert_eq!(over.said().len(), SPECIAL.len());
        for (name, how) in over.said() {
            let parts: Vec<&str> = how.split(' ').collect();
            assert_eq!(parts[..3], ["403", "403", "2"], "{name}: {how}");
            // Where HTTP is spoken the refusal comes as an answer of the gate.
            assert!(!how.contains("answered b'HTTP/1.1 2"), "{name}: {how}");
        }
        over.assert_reasons(&["special-address"]);
        world.assert_unreached();
        let why = over.ran.report()["denials"].to_string();
        for kind in ["a private address", "a loopback address", "metadata", "an address of this machine"] {
            assert!(why.contains(kind), "{kind}: {why}");
        }
    });
}

#[test]
fn one_bad_answer_among_good_ones_refuses_all() {
    in_a_world(|world, user| {
        let code = "say('mixed', by_every_way('mixed.example.com', 443))";
        let over = attack(world, user, &["tcp://mixed.example.com:443"], code);
        assert!(over.said()["mixed"].starts_with("403 403 2 "), "{:?}", over.said());
        over.assert_reasons(&["special-address"]);
        world.assert_unreached();
    });
}

/// The name leads to a public address when it is first asked for, and to the machine itself afterwards.
#[test]
fn a_name_that_turns_to_the_machine_itself_is_refused_when_it_turns() {
    let Some(world) = crate::support::World::new() else { return };
    let code = r#"
say("before", socks("turning.example.com", 7000))
for number in range(5):
    say(f"after {number}", socks("turning.example.com", 7000))
say("without", direct("turning.example.com", 7000))
"#;
    let over = attack(&world, crate::support::User::Caller, &["tcp://turning.example.com:7000"], code);
    let mut said = over.said();
    assert_eq!(said.remove("before").as_deref(), Some("0"));
    assert_eq!(said.remove("without").as_deref(), Some("cut"));
    assert!(said.values().all(|how| how == "2"), "{said:?}");
    over.assert_refused(&[("turning.example.com:7000", "special-address")]);
    // The connection that was made went to the address that was checked.
    assert!(world.heard().iter().all(|one| one.service == "names" || one.at == "203.0.113.80"), "{:#?}", world.heard());
    assert_eq!(over.records("opened").len(), 1);
    assert_eq!(over.records("opened")[0]["address"], "203.0.113.80");
}

#[test]
fn a_private_address_is_reached_through_a_name_when_both_are_granted() {
    in_a_world(|world, user| {
        let code =
            "say('body', secure(socket.create_connection(('private.example.com', 443), 20), 'private.example.com'))";
        let over = attack(world, user, &["private.example.com", "10.77.0.5"], code);
        over.assert_said(&[("body", "hello from private.example.com/")]).assert_nothing_denied();
        assert_eq!(over.records("opened")[0]["address"], "10.77.0.5");
    });
}

#[test]
fn the_whole_internet_is_not_this_machine_nor_its_neighbours() {
    in_a_world(|world, user| {
        let code = r#"
for address in ("127.0.0.1", "10.77.0.5", "169.254.169.254", "198.51.100.2", "0.0.0.0"):
    say(address, f"{connect(address + ':7000')} {socks(address, 7000)}")
say("203.0.113.80", f"{tunnel('203.0.113.80:7000')[1]} 0")
"#;
        let over = attack(world, user, &["tcp://0.0.0.0/0:7000", "tcp://[::/0]:7000"], code);
        let mut said = over.said();
        assert_eq!(said.remove("203.0.113.80").as_deref(), Some("200 0"));
        assert!(said.values().all(|how| how == "403 2"), "{said:?}");
        over.assert_reasons(&["special-address", "not-granted"]);
        assert!(world.heard().iter().all(|one| one.at == "203.0.113.80"), "{:#?}", world.heard());
    });
}
