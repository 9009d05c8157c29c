//! What policies decide together, held against slow and obvious deciders.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use stockade_core::facts::{HostFacts, Source, SourceKind};
use stockade_core::grant::{Effect, Grant, Protocol};
use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::{Limit, Limits};
use stockade_core::name::{Host, Name};
use stockade_core::network::{Egress, Network, SecretUse};
use stockade_core::paths::InsidePath;
use stockade_core::plan::{self, Plan};
use stockade_core::policy::{self, BadPolicy, Decision, Explained, Parts, Policy, REQUIRED, Reach, Trust};
use stockade_core::request::{
    Access, CgroupMode, Language, Request, ResultDescriptor, Scratch, Share, Start, Streams, Tier,
};
use stockade_core::trust::{Doubt, Libraries, Sensitive};

fn parts(name: &str) -> Parts {
    Parts {
        name: name.to_owned(),
        version: Some("1.0".to_owned()),
        languages: Language::ALL.to_vec(),
        reach: Reach::Nothing,
        limits: Vec::new(),
        require: Layers::NONE,
        trust: Trust::default(),
    }
}

fn made(parts: Parts) -> Policy {
    Policy::from_parts(parts).unwrap()
}

fn folder(path: &str) -> Source {
    Source { path: path.into(), device: 1, inode: 2, uid: 0, gid: 0, mode: 0o755, bytes: 0, kind: SourceKind::Folder }
}

fn grants(texts: &[&str]) -> Vec<Grant> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn reaching(name: &str, texts: &[&str]) -> Policy {
    made(Parts { reach: Reach::AtMost(grants(texts)), ..parts(name) }).of_file(&format!("{name}.conf"))
}

fn request(texts: &[&str]) -> Request {
    let network = match texts {
        [] => Network::None,
        some => Network::Gate(Box::new(Egress { layers: vec![grants(some)], ..Egress::default() })),
    };
    Request {
        label: "true".to_owned(),
        language: Language::Program,
        start: Start {
            argv: vec!["true".to_owned()],
            vars: BTreeMap::new(),
            trees: Vec::new(),
            files: Vec::new(),
            result: ResultDescriptor::None,
        },
        inputs: Vec::new(),
        tables: Vec::new(),
        shares: Vec::new(),
        libraries: Libraries::None,
        limits: Vec::new(),
        network,
        vars: BTreeMap::new(),
        require: Layers::NONE,
        cgroup: CgroupMode::Auto,
        scratch: Scratch::Memory,
        streams: Streams::Pipes,
        tier: Tier::Namespaces,
    }
}

fn decided(policies: &[Policy], request: Request) -> Result<Plan, String> {
    match policy::decide(policies, request) {
        Decision::Permit(grant) => Ok(plan::build(*grant, &HostFacts::fixture(), "00c0ffee00c0ffee").unwrap()),
        Decision::Forbid(reason) => {
            assert!(!reason.next().to_string().is_empty());
            Err(reason.to_string())
        }
    }
}

#[test]
fn nobodys_say_is_no() {
    assert_eq!(decided(&[], request(&[])), Err("no policy says what is permitted".to_owned()));
}

/// "A request may ask for less than its policy, never for more."
#[test]
fn every_policy_bounds_what_a_request_reaches() {
    let (machine, team) =
        (reaching("machine", &["*.example.com"]), reaching("team", &["api.example.com", "b.example"]));
    let both = [machine, team];
    // By default nothing, whatever the policies would grant.
    assert_eq!(decided(&both, request(&[])).unwrap().network, Network::None);
    let plan = decided(&both, request(&["api.example.com:443,8443"])).unwrap();
    let Network::Gate(egress) = &plan.network else { panic!("no network") };
    let layers = [grants(&["*.example.com"]), grants(&["api.example.com", "b.example"])];
    assert_eq!(egress.layers, [layers.as_slice(), &[grants(&["api.example.com:443,8443"])]].concat());
    assert_eq!(egress.ports(), [443].into());
    let shown = plan.network.to_string();
    assert!(shown.contains("at most   *.example.com\nat most   api.example.com\nat most   b.example\ngrant     api.example.com:443,8443\n"), "{shown}");
    assert_eq!(plan.policy, "machine 1.0 + team 1.0");
    for (asked, why) in [
        (&["b.example"] as &[&str], "policy `machine` (machine.conf) grants nothing of `b.example`"),
        (&["c.example.com"], "policy `team` (team.conf) grants nothing of `c.example.com`"),
        (&["api.example.com", "c.example.com"], "policy `team` (team.conf) grants nothing of `c.example.com`"),
        (&["api.example.com:8443"], "policy `machine` (machine.conf) grants nothing of `api.example.com:8443`"),
        (&["http://api.example.com"], "policy `machine` (machine.conf) grants nothing of `http://api.example.com`"),
        (&["0.0.0.0/0"], "policy `machine` (machine.conf) grants nothing of `0.0.0.0/0`"),
    ] {
        assert_eq!(decided(&both, request(asked)), Err(why.to_owned()), "{asked:?}");
    }
    assert_eq!(
        decided(&[reaching("a", &["a.example"]), made(parts("b"))], request(&["a.example"])),
        Err("policy `b` grants no network".to_owned())
    );
    let named = made(Parts { reach: Reach::Named, ..parts("named") });
    let plan = decided(&[named, reaching("a", &["a.example"])], request(&["a.example"])).unwrap();
    let Network::Gate(egress) = plan.network else { panic!("no network") };
    assert_eq!(egress.layers.len(), 2);
}

const GRANTS: [&str; 18] = [
    "api.example.com",
    "API.example.com:443,8443",
    "http://api.example.com",
    "tcp://api.example.com:443",
    "tcp://api.example.com:80",
    "https://api.example.com:80",
    "*.example.com",
    "*.api.example.com",
    "*.com",
    "http://*.example.com:80,443",
    "example.com",
    "postgres://db.example.com",
    "tcp://db.example.com:5432",
    "203.0.113.0/24",
    "203.0.113.7",
    "tcp://203.0.112.0/20:443,7000",
    "[2001:db8::/32]:443",
    "GET https://api.example.com/v1",
];
const HOSTS: [&str; 11] = [
    "api.example.com",
    "v1.api.example.com",
    "www.example.com",
    "example.com",
    "other.com",
    "com",
    "db.example.com",
    "203.0.113.7",
    "203.0.113.8",
    "203.0.114.1",
    "2001:db8::1",
];
const PORTS: [u16; 6] = [80, 443, 5432, 7000, 8443, 1];

/// Whether some connection is permitted by both, tried one by one.
fn share_a_connection(one: &Grant, other: &Grant) -> bool {
    HOSTS.iter().any(|host| {
        let host = Host::parse(host).unwrap();
        PORTS.iter().any(|port| {
            let spoken = |grant: &Grant, protocol: Protocol| {
                grant.is_for(&host, *port) && [protocol, Protocol::Tcp].contains(&grant.protocol_at(*port))
            };
            Protocol::ALL.into_iter().any(|protocol| spoken(one, protocol) && spoken(other, protocol))
        })
    })
}

#[test]
fn a_grant_is_refused_only_when_no_connection_would_be_permitted() {
    for bound in GRANTS {
        for asked in GRANTS {
            let (one, other): (Grant, Grant) = (bound.parse().unwrap(), asked.parse().unwrap());
            let shared = share_a_connection(&one, &other);
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (shared, shared), "{bound} and {asked}");
            let answer = decided(&[reaching("team", &[bound])], request(&[asked]));
            assert_eq!(answer.is_ok(), shared, "{asked} under {bound}");
            // What is denied is no wish.
            let denying = decided(&[reaching("team", &[bound])], request(&[bound, &format!("deny:{}", one.target())]));
            assert!(denying.is_ok(), "{denying:?}");
            assert_eq!(other.effect(), Effect::Allow);
        }
    }
}

#[test]
fn languages_and_layers_are_those_that_all_permit_and_any_requires() {
    let python = made(Parts { languages: vec![Language::Python, Language::R], ..parts("python") });
    let cgroup = made(Parts {
        languages: vec![Language::Python, Language::Program],
        require: Layers::of(&[Layer::Cgroup]),
        ..parts("cgroup")
    });
    let both = [python, cgroup];
    for (language, answer) in [
        (Language::Python, Ok(REQUIRED.with(Layer::Cgroup))),
        (Language::R, Err("policy `cgroup` does not permit r".to_owned())),
        (Language::Program, Err("policy `python` does not permit program".to_owned())),
        (Language::Sql, Err("policy `python` does not permit sql".to_owned())),
    ] {
        let found = decided(&both, Request { language, ..request(&[]) });
        assert_eq!(found.map(|plan| plan.required), answer);
    }
}

#[test]
fn a_tier_does_not_shake_off_what_a_policy_requires() {
    let of = |require: Layers| [made(Parts { require, ..parts("walls") })];
    let bare = || Request { tier: Tier::Landlock, ..request(&[]) };
    let plan = decided(&of(Layers::of(&[Layer::Cgroup])), bare()).unwrap();
    assert!(plan.required.has(Layer::Cgroup));
    assert_eq!(
        decided(&of(Layers::of(&[Layer::Root, Layer::Proc, Layer::Seccomp])), bare()),
        Err("policy `walls` requires `root`, `proc`, which the tier `landlock` goes without".to_owned())
    );
    let on_disk = Scratch::Disk(folder("/var/scratch"));
    let scratch = decided(&of(Layers::of(&[Layer::Scratch])), Request { scratch: on_disk, ..request(&[]) });
    assert_eq!(scratch, Err("layer `scratch` is required, and scratch on disk is watched, not walled".to_owned()));
}

#[test]
fn builds_are_bound_by_what_a_machine_says_of_network_limits_and_layers() {
    let machine = made(Parts {
        languages: vec![Language::Sql],
        reach: Reach::AtMost(grants(&["index.example.com"])),
        limits: vec![(Limit::Memory, 1 << 30), (Limit::Output, 1 << 40)],
        require: Layers::of(&[Layer::Cgroup]),
        ..parts("machine")
    });
    let build = |host: &str| [machine.clone().of_builds(), Policy::package_build(grants(&[host]))];
    let plan = decided(&build("index.example.com"), request(&["index.example.com"])).unwrap();
    assert_eq!((plan.limits.memory_bytes, plan.limits.output_bytes), (1 << 30, 12 << 30));
    assert_eq!(plan.policy, "machine 1.0 + package-build");
    assert!(plan.required.has(Layer::Cgroup));
    assert_eq!(
        decided(&build("other.example.com"), request(&["other.example.com"])),
        Err("policy `machine` grants nothing of `other.example.com`".to_owned())
    );
}

#[test]
fn parts_that_make_no_policy_are_refused() {
    for (bad, why) in [
        (Parts { name: String::new(), ..parts("") }, BadPolicy::Name),
        (parts("a b"), BadPolicy::Name),
        (parts("größe"), BadPolicy::Name),
        (parts(&"x".repeat(65)), BadPolicy::Name),
        (parts("offline"), BadPolicy::Shipped("offline")),
        (parts("package-build"), BadPolicy::Shipped("package-build")),
        (Parts { version: Some("1\n2".to_owned()), ..parts("a") }, BadPolicy::Version),
        (Parts { version: Some(String::new()), ..parts("a") }, BadPolicy::Version),
        (Parts { languages: Vec::new(), ..parts("a") }, BadPolicy::NoLanguage),
        (Parts { reach: Reach::AtMost(grants(&["deny:a.example"])), ..parts("a") }, BadPolicy::OnlyDenials),
        (
            Parts { limits: vec![(Limit::OutputDepth, 257)], ..parts("a") },
            BadPolicy::Limit { limit: Limit::OutputDepth, value: 257, most: 256 },
        ),
    ] {
        assert!(!why.next().is_empty());
        assert_eq!(Policy::from_parts(bad).unwrap_err(), why);
    }
}

#[test]
fn an_explanation_names_whose_value_each_is() {
    let machine = made(Parts { limits: vec![(Limit::Memory, 2 << 30)], reach: Reach::Named, ..parts("machine") })
        .of_file("machine.conf");
    let team = made(Parts {
        languages: vec![Language::Python],
        limits: vec![(Limit::Memory, 1 << 30), (Limit::Time, 1000)],
        reach: Reach::AtMost(grants(&["a.example", "deny:b.example"])),
        require: Layers::of(&[Layer::Cgroup]),
        ..parts("team")
    })
    .of_file("team.conf");
    insta::with_settings!({ snapshot_path => "plans", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("explained", Explained(&[machine, team]).to_string());
    });
}

fn some_limits() -> impl Strategy<Value = Vec<(Limit, u64)>> {
    prop::collection::btree_map(prop::sample::select(Limit::ALL.to_vec()), 1_u64..400, 0..6)
        .prop_map(|limits| limits.into_iter().collect())
}

/// Value and maximum of one limit, by policies one after the other.
fn obvious(policies: &[Vec<(Limit, u64)>], limit: Limit) -> (u64, Option<u64>) {
    let mut least = None;
    for said in policies.iter().flatten().filter(|(other, _)| *other == limit) {
        least = Some(least.map_or(said.1, |least: u64| least.min(said.1)));
    }
    (least.unwrap_or_else(|| Limits::default().of(limit)), least)
}

proptest! {
    #[test]
    fn limits_are_the_least_that_anybody_says(
        said in prop::collection::vec(some_limits(), 1..4),
        asked in prop::option::of((prop::sample::select(Limit::ALL.to_vec()), 1_u64..256)),
    ) {
        // The depth of folders has a maximum that others lack.
        let said: Vec<Vec<(Limit, u64)>> = said
            .into_iter()
            .map(|limits| limits.into_iter().map(|(limit, value)| (limit, value.min(256))).collect())
            .collect();
        let policies: Vec<Policy> = (0..)
            .zip(&said)
            .map(|(number, limits)| made(Parts { limits: limits.clone(), ..parts(&format!("p{number}")) }))
            .collect();
        let found = decided(&policies, Request { limits: asked.into_iter().collect(), ..request(&[]) });
        let is_more = asked.is_some_and(|(limit, value)| obvious(&said, limit).1.is_some_and(|most| value > most));
        prop_assert_eq!(found.is_err(), is_more);
        let Ok(plan) = found else { return Ok(()) };
        for limit in Limit::ALL {
            let mut value = obvious(&said, limit).0;
            if let Some((other, wanted)) = asked && other == limit {
                value = wanted;
            }
            if limit == Limit::Scratch {
                value = value.min(plan.limits.memory_bytes);
            }
            prop_assert_eq!(plan.limits.of(limit), value, "{}", limit);
        }
    }
}

/// A request that has something of every kind that can be kept for trusted libraries.
fn sensitive(secret: bool, network: bool, writes: bool, libraries: Libraries) -> Request {
    let mut request = request(if network || secret { &["api.example.com"] } else { &[] });
    if let (Network::Gate(egress), true) = (&mut request.network, secret) {
        egress.secrets.push(SecretUse {
            variable: "TOKEN".to_owned(),
            host: "api.example.com".parse::<Name>().unwrap(),
            header: "authorization".to_owned(),
            placeholder: "placeholder".to_owned(),
        });
    }
    let access = if writes { Access::Write } else { Access::Read };
    request.shares = vec![Share { source: folder("/data"), target: InsidePath::parse("/job/data").unwrap(), access }];
    Request { libraries, ..request }
}

fn doubted() -> Libraries {
    let doubt = |library: &str| Doubt { library: library.to_owned(), why: "no entry names it".to_owned() };
    let doubts = ["left-pad 1.0", "numpy 2.0"].map(doubt).to_vec();
    Libraries::Doubted { environment: Some("analysis".to_owned()), doubts }
}

/// "A run in an environment that is not trusted does not get them: refused before it starts, naming the libraries."
#[test]
fn what_is_kept_for_trusted_libraries_is_given_to_no_others() {
    let all = [Sensitive::Secrets, Sensitive::Egress, Sensitive::WritableShares];
    for bits in 0..8_u8 {
        let required_for: Vec<Sensitive> =
            all.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, kind)| kind).collect();
        let trust = Trust { required_for: required_for.clone(), grants: Vec::new() };
        let policy = [made(Parts { reach: Reach::Named, trust, ..parts("p") })];
        for asked in 0..8_u8 {
            let (secret, network, writes) = (asked & 1 == 1, asked & 2 == 2, asked & 4 == 4);
            let has = |kind: &Sensitive| match kind {
                Sensitive::Secrets => secret,
                Sensitive::Egress => network || secret,
                Sensitive::WritableShares => writes,
                Sensitive::DataSources => false,
            };
            for (libraries, may) in [
                (Libraries::None, true),
                (Libraries::Trusted, true),
                (Libraries::Unjudged, false),
                (doubted(), false),
                (Libraries::Doubted { environment: None, doubts: Vec::new() }, false),
            ] {
                let request = sensitive(secret, network, writes, libraries.clone());
                let permitted = may || !required_for.iter().any(has);
                assert_eq!(decided(&policy, request).is_ok(), permitted, "{required_for:?} {asked} {libraries:?}");
            }
        }
    }
}

#[test]
fn secrets_need_trust_where_nobody_says_anything_and_the_refusal_names_the_libraries() {
    let secret = || sensitive(true, true, false, doubted());
    let says = "keeps secrets for runs whose libraries are all trusted: left-pad 1.0 (no entry names it), \
                numpy 2.0 (no entry names it)";
    assert_eq!(decided(&[Policy::default_of_callers()], secret()), Err(format!("policy `default` {says}")));
    let own = made(Parts { reach: Reach::Named, ..parts("own") });
    assert_eq!(decided(&[own], secret()), Err(format!("policy `own` {says}")));
    // The network alone does not, and one policy that gives them does not open another.
    assert!(decided(&[Policy::default_of_callers()], sensitive(false, true, true, doubted())).is_ok());
    let giving = Trust { required_for: Vec::new(), grants: Vec::new() };
    let giving = made(Parts { reach: Reach::Named, trust: giving, ..parts("giving") });
    assert!(decided(std::slice::from_ref(&giving), secret()).is_ok());
    assert!(decided(&[giving, Policy::default_of_callers()], secret()).is_err());
}

#[test]
fn a_grant_may_be_for_trusted_libraries_only() {
    let kept = grants(&["db.example.com:443", "https://api.example.com/admin"]);
    let reach = grants(&["*.example.com:443", "other.example.org"]);
    let trust = Trust { required_for: Vec::new(), grants: kept };
    let policy = [made(Parts { reach: Reach::AtMost(reach), trust, ..parts("p") })];
    for (asked, may) in [
        ("other.example.org", true),
        ("www.example.com", true),
        ("db.example.com", false),
        ("*.example.com", false),
        // Which path of it is asked for, the gate alone can see, so the host is kept as a whole.
        ("api.example.com", false),
    ] {
        let of = |libraries: Libraries| Request { libraries, ..request(&["other.example.org", asked]) };
        assert!(decided(&policy, of(Libraries::Trusted)).is_ok(), "{asked}");
        assert_eq!(decided(&policy, of(doubted())).is_ok(), may, "{asked}");
    }
}
