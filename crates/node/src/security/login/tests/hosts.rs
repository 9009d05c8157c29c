//! Trusted hosts: whom they admit, whom they keep out, and what a client can say about where it is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stockade_identity::hosts::{Answer as Resolved, Found, Resolve, Unresolved};

use super::*;

const KNOWN: &str = "192.0.2.7";
const BELOW: &str = "192.0.2.9";
const STRANGER: &str = "203.0.113.1";

/// `a.acme.com` is at [`BELOW`], and `moves.acme.com` is told where it is; [`STRANGER`] claims to be the former;
/// everybody else is as slow as can be.
#[derive(Debug, Default)]
struct Zone {
    asked: AtomicUsize,
    moves: Mutex<Vec<IpAddr>>,
}

impl Resolve for Zone {
    fn addresses<'a>(&'a self, name: &'a str) -> Resolved<'a, IpAddr> {
        let found = Found::whole(vec![BELOW.parse().unwrap()], 60_000);
        let moves = || Found::whole(self.moves.lock().unwrap().clone(), 60_000);
        Box::pin(std::future::ready(match name {
            "a.acme.com" => Ok(found),
            "moves.acme.com" => Ok(moves()),
            _ => Err(Unresolved::NoSuchName),
        }))
    }

    fn names(&self, address: IpAddr) -> Resolved<'_, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if [BELOW, STRANGER].contains(&address.to_string().as_str()) {
            let found = Found::whole(vec!["a.acme.com".to_owned()], 60_000);
            return Box::pin(std::future::ready(Ok(found)));
        }
        Box::pin(std::future::pending())
    }
}

/// A realm of these two switches, and hosts.
fn realm(password: bool, host: bool, legacy: bool) -> String {
    format!(
        r#"name = people, version = "1", type = stockade.security
        configuration {{
            LocalAuthenticationRealm {{ name = acme, requirePassword = {password}, requireTrustedHostMembership = {host},
                initialPrincipals = [
                    {{ userName = "ann", password = "{ANN}", roles = ["user"] }}
                    {{ userName = "lou", password = "{ANN}", roles = ["user"], locked = true }}
                    {{ userName = "uid-0", password = "{ANN}", roles = ["administrator"] }}
                ] }}
            TrustedHosts {{ hosts = ["{KNOWN}", "*.acme.com", "fe80::1%3"] }}
            SecuritySettings {{ legacyHostTrust = {legacy} }}
        }}"#
    )
}

async fn world(text: &str) -> (World, Arc<Zone>) {
    let zone = Arc::new(Zone::default());
    (World::with(text, Terms::of_test().asking(Arc::clone(&zone) as Arc<dyn Resolve>)).await, zone)
}

impl World {
    async fn shows(&self, from: &str, shown: Shown) -> Result<String, Refusal> {
        let peer = Peer::of(std::net::SocketAddr::new(from.parse().unwrap(), 9));
        let asked = self.security.authenticate(&peer, (shown, Place::Elsewhere), now(0)).await;
        asked.map(|caller| caller.principal.0)
    }
}

fn secret(user: &str, password: &str) -> Shown {
    Shown::Password { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
}

fn host(user: &str) -> Shown {
    Shown::Host { user: user.to_owned() }
}

#[tokio::test]
async fn every_row_of_the_table_holds_over_the_network() {
    for (password, trusted) in [(false, false), (false, true), (true, false), (true, true)] {
        for legacy in [false, true] {
            let (world, _) = world(&realm(password, trusted, legacy)).await;
            for from in [KNOWN, "::ffff:192.0.2.7", BELOW, "203.0.113.2"] {
                let row = format!("requirePassword {password}, hosts {trusted}, legacy {legacy}, from {from}");
                let is_trusted = from != "203.0.113.2";
                let is_let_in = is_trusted || !trusted;
                assert_eq!(world.shows(from, secret("ann", ANN)).await.is_ok(), is_let_in, "{row}: password");
                assert!(world.shows(from, Shown::Nothing).await.is_err(), "{row}: nothing");
                let is_believed = legacy && is_trusted && !password;
                let came = world.shows(from, host("ann")).await;
                assert_eq!(came.is_ok(), is_believed, "{row}: {came:?}");
                for nobody in ["lou", "uid-0", "eve", "ann@other", "", "ann@acme@acme"] {
                    assert!(world.shows(from, host(nobody)).await.is_err(), "{row}: {nobody}");
                }
            }
            // A wrong password is no word less than none.
            assert!(world.shows(KNOWN, secret("ann", "wrong")).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_stranger_is_not_told_by_the_next_wait_that_he_guessed_right() {
    let (world, _) = world(&realm(true, true, false)).await;
    tokio::time::pause();
    for password in ["x", "y", ANN] {
        assert!(world.shows("203.0.113.2", secret("ann", password)).await.is_err());
    }
    // As the next one from a trusted host: no count was begun anew.
    let peer = at("203.0.113.2".parse().unwrap());
    let claim = world.security.by_password(way(&peer), "ann", Zeroizing::new("z".to_owned())).await;
    assert_eq!(claim.credential, Credential::Password(Proof::NotNow));
}

fn way(peer: &Peer) -> Way {
    Way { from: peer.address(), place: Place::Elsewhere, is_trusted: false, now: now(0) }
}

#[tokio::test]
async fn a_host_that_only_says_what_its_name_is_is_not_trusted() {
    let (world, zone) = world(&realm(false, true, true)).await;
    assert!(world.shows(STRANGER, host("ann")).await.is_err());
    assert_eq!(zone.asked.load(Ordering::Relaxed), 1);
    assert_eq!(world.shows(BELOW, host("ann")).await.unwrap(), "ann@acme");
}

#[tokio::test]
async fn a_link_local_address_is_trusted_at_its_interface_only() {
    let (world, _) = world(&realm(false, true, true)).await;
    for (scope, is_in) in [(3, true), (4, false)] {
        let socket = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, scope);
        let peer = Peer::of(socket.into());
        let asked = world.security.authenticate(&peer, (host("ann"), Place::Elsewhere), now(0)).await;
        assert_eq!(asked.is_ok(), is_in, "{scope}");
    }
}

#[tokio::test]
async fn name_servers_are_asked_where_it_counts_and_hold_nobody_for_long() {
    let (world, zone) = world(&realm(true, false, false)).await;
    assert!(world.shows("203.0.113.2", secret("ann", ANN)).await.is_ok());
    assert_eq!(zone.asked.load(Ordering::Relaxed), 0, "nobody's admission depends on it");
    let (world, zone) = self::world(&realm(false, true, true)).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert!(world.shows("203.0.113.2", Shown::Nothing).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(zone.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_trusted_name_that_moves_is_on_record_before_it_is_trusted_there() {
    let zone = Arc::new(Zone::default());
    let at = |addresses: &[&str]| {
        *zone.moves.lock().unwrap() = addresses.iter().map(|address| address.parse().unwrap()).collect();
    };
    at(&["198.51.100.1", "198.51.100.2"]);
    let text = realm(true, true, false).replace("*.acme.com", "moves.acme.com");
    let world = World::with(&text, Terms::of_test().asking(Arc::clone(&zone) as Arc<dyn Resolve>)).await;
    let hosts = world.security.hosts();
    let trusts = |address: &str| hosts.lists(&self::at(address.parse().unwrap()));
    assert!(trusts("198.51.100.1") && trusts("198.51.100.2"));
    at(&["198.51.100.2", "198.51.100.3"]);
    let now_ms = world.security.now_ms() + 60_000;
    world.security.ask_names(&hosts, now_ms).await;
    assert!(!trusts("198.51.100.1") && trusts("198.51.100.2") && trusts("198.51.100.3"));
    let found = world.records_of("trusted-name");
    let [record] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&record["entry"], &record["object"]), (&"moves.acme.com".into(), &"people".into()));
    assert_eq!(record["added"], serde_json::json!(["198.51.100.3"]));
    assert_eq!(record["removed"], serde_json::json!(["198.51.100.1"]));
    // What cannot be put on record is not trusted; what is gone is gone.
    break_trail(&world.folder.path().join(FOLDER));
    at(&["198.51.100.4"]);
    for now_ms in [now_ms + 60_000, now_ms + 120_000] {
        world.security.ask_names(&hosts, now_ms).await;
        for address in ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"] {
            assert!(!trusts(address), "{address}");
        }
    }
}

#[tokio::test]
async fn whoever_came_by_a_trusted_host_is_on_record_as_such_and_gets_no_token() {
    let (world, _) = world(&realm(false, false, true)).await;
    let peer = at(KNOWN.parse().unwrap());
    let caller = world.security.authenticate(&peer, (host("ann"), Place::LogIn), now(0)).await.unwrap();
    assert_eq!(world.security.log_in(&caller, false, now(0)).unwrap_err().kind, Kind::Denied);
    drop(world.shows("203.0.113.2", host("ann")).await);
    let records = world.records();
    let last: Vec<_> = records.iter().map(|one| [&one["principal"], &one["method"], &one["decision"]]).collect();
    assert_eq!(last[0], ["ann@acme", "trusted host", "permitted"]);
    assert_eq!(last[1], ["ann@acme", "trusted host", "refused"]);
}

#[tokio::test]
async fn a_host_that_is_no_more_trusted_is_out_at_once_with_its_tokens() {
    let (world, _) = world(&realm(true, true, false)).await;
    let peer = at(KNOWN.parse().unwrap());
    let caller = world.security.authenticate(&peer, (secret("ann", ANN), Place::LogIn), now(0)).await.unwrap();
    let token = world.security.log_in(&caller, false, now(0)).unwrap().session.0.dangerous_text().to_string();
    let shown = || Shown::Token(Zeroizing::new(token.clone()));
    assert!(world.shows(KNOWN, shown()).await.is_ok());
    assert!(world.shows("203.0.113.2", shown()).await.is_err(), "the token is of no use elsewhere");
    let without =
        realm(true, true, false).replace(&format!("\"{KNOWN}\", "), "").replace("version = \"1\"", "version = \"2\"");
    world.security.load(&world.root(), &without, &Substitutions::none()).await.unwrap();
    world.security.activate(&world.root(), Which { version: Some("2"), ..which() }, None).await.unwrap();
    tokio::time::pause();
    assert!(world.shows(KNOWN, shown()).await.is_err());
}
