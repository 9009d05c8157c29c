//! Denials win, order does not matter, requests only narrow, addresses must be meant.

use proptest::prelude::*;

use super::*;

fn rules(grants: &[&str]) -> Rules {
    Rules::new(grants.iter().map(|text| text.parse().unwrap()).collect())
}

fn connect(rules: &Rules, host: &str, port: u16) -> Result<String, &'static str> {
    let host = Host::parse(host).unwrap();
    rules.connection(&host, port).map(|permit| permit.rule).map_err(|reason| reason.code())
}

fn ask(rules: &Rules, protocol: Protocol, method: &str, path: &str) -> Result<String, &'static str> {
    let host = &Host::parse("api.example.com").unwrap();
    let port = if protocol == Protocol::Tls { 443 } else { 80 };
    rules.request(&Asked { host, port, protocol, method, path }).map_err(|reason| reason.code())
}

#[test]
fn nothing_is_permitted_without_a_grant() {
    for rules in [Rules::default(), rules(&[]), rules(&["deny:other.example"])] {
        assert_eq!(connect(&rules, "api.example.com", 443), Err("not-granted"));
        assert!(rules.permit_nothing());
    }
    assert!(rules(&["a.example"]).and(Rules::default()).permit_nothing());
}

#[test]
fn exactly_the_granted_name_and_port() {
    let rules = rules(&["api.example.com"]);
    assert_eq!(connect(&rules, "API.example.com", 443).as_deref(), Ok("api.example.com"));
    assert_eq!(connect(&rules, "api.example.com", 80), Err("port"));
    for other in ["example.com", "sub.api.example.com", "api.example.com.evil.example", "xapi.example.com"] {
        assert_eq!(connect(&rules, other, 443), Err("not-granted"), "{other}");
    }
}

#[test]
fn a_wildcard_stands_for_at_least_one_label() {
    let rules = rules(&["*.example.com"]);
    assert_eq!(connect(&rules, "a.b.example.com", 443).as_deref(), Ok("*.example.com"));
    assert_eq!(connect(&rules, "example.com", 443), Err("not-granted"));
    assert_eq!(connect(&rules, "badexample.com", 443), Err("not-granted"));
}

#[test]
fn names_and_addresses_do_not_stand_for_each_other() {
    let names = rules(&["*.example.com", "localhost"]);
    assert_eq!(connect(&names, "127.0.0.1", 443), Err("not-granted"));
    let addresses = rules(&["0.0.0.0/0", "::/0"]);
    assert_eq!(connect(&addresses, "api.example.com", 443), Err("not-granted"));
    assert_eq!(connect(&addresses, "0x8.8.2056", 443).as_deref(), Ok("0.0.0.0/0"));
}

#[test]
fn a_denial_wins_over_every_allowance() {
    let rules = rules(&["*.example.com", "bad.example.com", "deny:bad.example.com", "deny:*.x.example.com:443"]);
    assert_eq!(connect(&rules, "bad.example.com", 443), Err("denied"));
    assert_eq!(connect(&rules, "a.x.example.com", 443), Err("denied"));
    assert!(connect(&rules, "good.example.com", 443).is_ok());
}

#[test]
fn a_request_narrows_a_policy_and_never_widens_it() {
    let policy = rules(&["*.example.com", "deny:bad.example.com", "http://plain.example"]);
    let both = policy.and(rules(&["api.example.com", "bad.example.com", "evil.example", "tcp://x.example.com:443"]));
    assert_eq!(connect(&both, "api.example.com", 443).as_deref(), Ok("*.example.com and api.example.com"));
    assert_eq!(connect(&both, "bad.example.com", 443), Err("denied"));
    assert_eq!(connect(&both, "evil.example", 443), Err("not-granted"));
    assert_eq!(connect(&both, "b.example.com", 443), Err("not-granted"));
    assert_eq!(connect(&both, "plain.example", 80), Err("not-granted"));
    let x = both.connection(&Host::parse("x.example.com").unwrap(), 443).unwrap();
    assert!(x.protocols.has(Protocol::Tls) && !x.protocols.has(Protocol::Tcp));
}

#[test]
fn protocols_that_exclude_each_other_leave_nothing() {
    let both = rules(&["tls://a.example:8080"]).and(rules(&["http://a.example:8080"]));
    assert_eq!(connect(&both, "a.example", 8080), Err("protocol"));
}

#[test]
fn a_wildcard_counts_only_where_no_layer_names_the_host() {
    let wide = rules(&["*.example.com"]);
    let host = Host::parse("a.example.com").unwrap();
    assert!(wide.connection(&host, 443).unwrap().wildcard.is_some());
    let narrowed = wide.and(rules(&["a.example.com"]));
    assert!(narrowed.connection(&host, 443).unwrap().wildcard.is_none());
}

#[test]
fn methods_and_paths_are_decided_for_each_request() {
    use Protocol::{Http, Tls};
    let rules = rules(&[
        "GET,HEAD https://api.example.com/v1",
        "https://api.example.com/open",
        "deny:https://api.example.com/v1/secret",
        "http://api.example.com",
    ]);
    assert_eq!(ask(&rules, Tls, "GET", "/v1/a").as_deref(), Ok("GET,HEAD https://api.example.com/v1"));
    assert_eq!(ask(&rules, Tls, "POST", "/open").as_deref(), Ok("https://api.example.com/open"));
    assert_eq!(ask(&rules, Tls, "POST", "/v1/a"), Err("path"));
    assert_eq!(ask(&rules, Tls, "GET", "/v10"), Err("path"));
    assert_eq!(ask(&rules, Tls, "GET", "/v1/secret/x"), Err("denied"));
    assert_eq!(ask(&rules, Tls, "GET", "/v1/SECRET"), Err("denied"));
    assert_eq!(ask(&rules, Tls, "GET", "/v1/%73ecret"), Err("ambiguous-path"));
    assert_eq!(ask(&rules, Tls, "GET", "/open/../v2"), Err("ambiguous-path"));
    assert_eq!(ask(&rules, Http, "GET", "/anything").as_deref(), Ok("http://api.example.com"));
    let one = self::rules(&["GET https://api.example.com"]);
    assert_eq!(ask(&one, Tls, "DELETE", "/"), Err("method"));
    assert_eq!(ask(&one, Tls, "get", "/"), Err("method"));
}

#[test]
fn a_grant_of_tls_is_none_of_plain_http_on_that_port() {
    let rules = rules(&["tls://api.example.com:80", "http://api.example.com/public"]);
    assert_eq!(ask(&rules, Protocol::Http, "GET", "/private"), Err("path"));
    let tls = self::rules(&["tls://api.example.com:80"]);
    assert_eq!(ask(&tls, Protocol::Http, "GET", "/"), Err("protocol"));
}

#[test]
fn a_denied_path_forces_inspection_and_closes_what_cannot_be_inspected() {
    let host = Host::parse("api.example.com").unwrap();
    let inspected = rules(&["api.example.com", "deny:api.example.com/admin"]).connection(&host, 443).unwrap();
    assert!(inspected.inspect);
    let opaque = rules(&["tcp://api.example.com:443", "deny:api.example.com/admin"]);
    let opaque = opaque.connection(&host, 443).unwrap();
    assert!(opaque.inspect && !opaque.protocols.has(Protocol::Tcp) && opaque.protocols.has(Protocol::Tls));
    assert_eq!(connect(&rules(&["postgres://a.example", "deny:a.example/x"]), "a.example", 5432), Err("protocol"));
}

#[test]
fn special_addresses_must_be_granted_as_addresses() {
    let own = ["198.51.100.7".parse().unwrap()];
    let check = |rules: &Rules, address: &str, port| {
        rules.address(address.parse().unwrap(), port, &own).map_err(|reason| reason.code())
    };
    let name = rules(&["db.internal:5432"]);
    assert_eq!(check(&name, "8.8.8.8", 5432), Ok(()));
    for address in ["10.0.0.5", "127.0.0.1", "169.254.169.254", "fd00::1", "198.51.100.7", "::ffff:10.0.0.5"] {
        assert_eq!(check(&name, address, 5432), Err("special-address"), "{address}");
    }
    let meant = rules(&["db.internal:5432", "10.0.0.0/16:5432", "198.51.100.7:5432", "127.0.0.1:5432"]);
    assert_eq!(check(&meant, "10.0.0.5", 5432), Ok(()));
    assert_eq!(check(&meant, "::ffff:10.0.0.5", 5432), Ok(()));
    assert_eq!(check(&meant, "198.51.100.7", 5432), Ok(()));
    assert_eq!(check(&meant, "10.0.0.5", 22), Err("special-address"));
    assert_eq!(check(&meant, "10.1.0.5", 5432), Err("special-address"));
    assert_eq!(check(&meant, "127.0.0.2", 5432), Err("special-address"));
}

#[test]
fn the_whole_internet_does_not_mean_this_machine() {
    let wide = rules(&["0.0.0.0/0", "::/0", "169.254.0.0/16"]);
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "0.0.0.0", "224.0.0.1"] {
        assert!(wide.address(address.parse().unwrap(), 443, &[]).is_err(), "{address}");
    }
    assert!(wide.address("169.254.7.7".parse().unwrap(), 443, &[]).is_ok());
}

#[test]
fn a_denied_address_is_denied_whatever_the_name_and_the_detour() {
    let rules = rules(&["api.example.com", "deny:8.8.8.0/24"]);
    for address in ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
        let reason = rules.address(address.parse().unwrap(), 443, &[]).unwrap_err();
        assert_eq!(reason.code(), "denied", "{address}");
    }
}

#[test]
fn each_layer_must_mean_the_address() {
    let both = rules(&["db.internal", "10.0.0.0/8"]).and(rules(&["db.internal"]));
    assert!(both.address("10.0.0.5".parse().unwrap(), 443, &[]).is_err());
}

#[test]
fn rules_are_shown_and_read_again() {
    let rules = rules(&["b.example", "a.example", "deny:c.example"]).and(self::rules(&["a.example"]));
    assert_eq!(rules.to_string(), "deny:c.example, a.example, b.example; and only a.example");
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
    assert_eq!(Rules::default().to_string(), "nothing");
}

const POOL: [&str; 10] = [
    "a.example",
    "*.example",
    "deny:b.example",
    "https://a.example/v1",
    "GET https://c.example",
    "deny:POST https://c.example",
    "tcp://a.example:443",
    "http://a.example:443",
    "deny:https://a.example/v1/x",
    "10.0.0.0/8",
];

fn some_rules() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(POOL.to_vec(), 0..POOL.len()).prop_shuffle()
}

/// The slow, obvious answer for one layer.
fn obvious(grants: &[&str], asked: &Asked<'_>) -> bool {
    let meant = |grant: &Grant| {
        grant.is_for(asked.host, asked.port) && grant.has_method(asked.method) && grant.has_path(asked.path)
    };
    let grants: Vec<Grant> = grants.iter().map(|text| text.parse().unwrap()).collect();
    let spoken = |grant: &Grant| [asked.protocol, Protocol::Tcp].contains(&grant.protocol_at(asked.port));
    let allowed = grants.iter().any(|grant| grant.effect() == Effect::Allow && meant(grant) && spoken(grant));
    allowed && !grants.iter().any(|grant| grant.effect() == Effect::Deny && meant(grant))
}

proptest! {
    #[test]
    fn order_does_not_matter(grants in some_rules(), host in "[a-d]\\.example") {
        let mut turned = grants.clone();
        turned.reverse();
        let host = Host::parse(&host).unwrap();
        prop_assert_eq!(rules(&grants).connection(&host, 443), rules(&turned).connection(&host, 443));
    }

    #[test]
    fn every_decision_is_the_obvious_one(
        policy in some_rules(),
        request in some_rules(),
        host in "[a-d]\\.example",
        method in "GET|POST",
        path in "/|/v1|/v1/x|/v2",
        tls in any::<bool>(),
    ) {
        let host = &Host::parse(&host).unwrap();
        let protocol = if tls { Protocol::Tls } else { Protocol::Http };
        let asked = Asked { host, port: 443, protocol, method: &method, path: &path };
        let both = rules(&policy).and(rules(&request));
        prop_assert_eq!(both.request(&asked).is_ok(), obvious(&policy, &asked) && obvious(&request, &asked));
        // A permitted request implies a permitted connection.
        if both.request(&asked).is_ok() {
            let permit = both.connection(host, 443);
            prop_assert!(permit.is_ok_and(|permit| permit.protocols.has(protocol)));
        }
    }
}

#[test]
fn a_name_is_told_if_every_layer_permits_one_port_of_it() {
    let told = |rules: &Rules, name: &str| rules.names(&name.parse().unwrap()).map_err(|reason| reason.code());
    let one = rules(&["a.example:80", "a.example:443", "*.b.example", "deny:bad.b.example", "tcp://10.0.0.1:443"]);
    for name in ["a.example", "x.b.example"] {
        assert_eq!(told(&one, name), Ok(()), "{name}");
    }
    for (name, code) in [("c.example", "not-granted"), ("b.example", "not-granted"), ("bad.b.example", "denied")] {
        assert_eq!(told(&one, name), Err(code), "{name}");
    }
    let both = |other: &[&str]| told(&one.clone().and(rules(other)), "a.example");
    assert_eq!(both(&["*.example:443", "a.example"]), Ok(()));
    // No port that both permit; one that the other denies; a denial of some ports only.
    assert_eq!(both(&["a.example:8443"]), Err("not-granted"));
    assert_eq!(both(&["a.example:80,443", "deny:a.example"]), Err("denied"));
    assert_eq!(both(&["a.example:80,443", "deny:a.example:443"]), Ok(()));
    assert_eq!(told(&Rules::default(), "a.example"), Err("not-granted"));
}
