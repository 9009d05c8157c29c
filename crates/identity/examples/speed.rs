//! How long the questions of a request take, against what issue and specification allow. Run with `--release`.
//!
//! `cargo xtask bench access`
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "it is for people to look at")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use stockade_config::security::{HostEntry, HostForm, Mappings, Privilege as Written, Rules, TrustedHosts};
use stockade_identity::hosts::{Answer, Hosts, Peer, Resolve, Unresolved};
use stockade_identity::local::{Costs, Password};
use stockade_identity::privilege::{Authoriser, Privilege};
use stockade_identity::token::{LIFETIME_MS, Sessions};

/// Runs `step` often, many times, and tells the median and the worst of a hundred rounds.
fn time(what: &str, allowed: &str, per_round: u32, mut step: impl FnMut(u32)) {
    let mut rounds: Vec<f64> = (0..100)
        .map(|round| {
            let begun = Instant::now();
            for number in 0..per_round {
                step(round * per_round + number);
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(per_round)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (median, worst) = (rounds.get(50).copied().unwrap_or(0.0), rounds.last().copied().unwrap_or(0.0));
    println!("{what:<58} {median:>9.3} µs  worst round {worst:>9.3} µs  allowed {allowed}");
}

fn privileges() {
    for rules in [0_u32, 100, 1_000] {
        let privilege = |number: u32| Written { name: "Run".to_owned(), resource: Some(format!("policy-{number}-*")) };
        let grants = (0..rules).map(privilege).collect();
        let mine = ("analyst".to_owned(), Rules { grant: grants, deny: Vec::new() });
        // Roles that the asker has not: they must not cost him anything.
        let other = |number: u32| {
            let grant = (0..10).map(|place| privilege(number * 10 + place)).collect();
            (format!("other-{number}"), Rules { grant, deny: Vec::new() })
        };
        let mappings = Mappings { roles: (0..rules / 10).map(other).chain([mine]).collect() };
        let begun = Instant::now();
        let authoriser = Authoriser::compile(&[("file", &mappings)]).expect("they are good");
        println!("compiled {rules} rules and the built-in ones in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
        time("decision, never asked before, a role of 10 rules", "-", 20, |number| {
            black_box(authoriser.decide("ada", &["other-0"], Privilege::Run, Some(&format!("p{number}"))));
        });
        let roles = ["analyst", "user", "some-group-of-a-directory"];
        time(&format!("decision, warm, {rules} rules"), "20 µs", 1_000, |_| {
            black_box(authoriser.decide("ada", &roles, Privilege::Run, Some("default")));
        });
        time(&format!("decision, never asked before, {rules} rules"), "-", 20, |number| {
            black_box(authoriser.decide("ada", &roles, Privilege::Run, Some(&format!("p{number}"))));
        });
    }
}

#[derive(Debug)]
struct No;

impl Resolve for No {
    fn addresses<'a>(&'a self, _: &'a str) -> Answer<'a, IpAddr> {
        Box::pin(async { Err(Unresolved::NoSuchName) })
    }
    fn names(&self, _: IpAddr) -> Answer<'_, String> {
        Box::pin(async { Err(Unresolved::NoSuchName) })
    }
}

fn hosts() {
    let form = |number: u32| {
        let spread = number.wrapping_mul(2_654_435_761);
        let v6 = IpAddr::V6(Ipv6Addr::from((u128::from(spread) << 96) | u128::from(spread)));
        match number % 4 {
            0 => HostForm::Address { address: IpAddr::V4(Ipv4Addr::from(spread)), zone: None },
            1 => HostForm::Address { address: v6, zone: None },
            2 => HostForm::Block(format!("{}/24", Ipv4Addr::from(spread & !255)).parse().expect("it is a block")),
            _ => HostForm::Block(ipnet::IpNet::new(v6, 48).expect("it is a block").trunc()),
        }
    };
    let hosts = (0..10_000).map(|number| HostEntry { written: number.to_string(), form: form(number) }).collect();
    let object = TrustedHosts { hosts, ..TrustedHosts::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let set = runtime.block_on(Hosts::activate(&[("hosts", &object)], Arc::new(No), 0)).expect("no names");
    let peers: Vec<Peer> = (0..20_000_u32)
        .map(|number| {
            let spread = number.wrapping_mul(2_654_435_761);
            let v6 = Ipv6Addr::from((u128::from(spread) << 96) | u128::from(spread));
            Peer::at(if number % 2 == 0 { IpAddr::V4(spread.into()) } else { IpAddr::V6(v6) }, None)
        })
        .collect();
    let mut trusted = 0_u32;
    runtime.block_on(async {
        for peer in &peers {
            trusted += u32::from(set.test(peer, 0).await.is_trusted);
        }
    });
    println!("{trusted} of {} addresses are trusted", peers.len());
    time("trusted host, 10000 entries, with its verdict", "2 µs", 1_000, |number| {
        let peer = peers.get(number as usize % peers.len()).unwrap();
        black_box(runtime.block_on(set.test(peer, 0)));
    });
    time("trusted host, 10000 entries, yes or no", "2 µs", 1_000, |number| {
        black_box(set.lists(peers.get(number as usize % peers.len()).unwrap()));
    });
}

fn tokens() {
    let sessions = Sessions::new("A.X", LIFETIME_MS);
    let texts: Vec<_> = (0..10_000)
        .map(|number| sessions.issue(&format!("user{number}"), (), 0).expect("there is room").0.dangerous_text())
        .collect();
    time("token, of 10000", "10 µs", 1_000, |number| {
        black_box(sessions.check(texts.get(number as usize % texts.len()).unwrap(), 0)).unwrap();
    });
}

fn passwords() {
    let password = Password::new("correct horse battery staple".to_owned()).expect("it is a password");
    time("password, Argon2id, 19 MiB, two passes", "-", 1, |_| {
        black_box(Costs::default().hash(&password)).expect("there is memory");
    });
}

fn main() {
    privileges();
    hosts();
    tokens();
    passwords();
}
