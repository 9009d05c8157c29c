//! Plans as text, and what policies decide: no root, no kernel, no clock.
//!
//! The texts lie in `plans/`; a change of one is a change of what a run is, and is reviewed as such.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use stockade_core::facts::{HostFacts, Runtime, RuntimeKind, Source, SourceKind};
use stockade_core::grant::Grant;
use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::{Limit, Limits};
use stockade_core::network::{Egress, Network, SecretUse};
use stockade_core::paths::{self, InsidePath};
use stockade_core::plan::{self, Plan, Unplannable};
use stockade_core::policy::{self, Decision, Policy, REQUIRED, Reason};
use stockade_core::request::{
    Access, CgroupMode, Input, Language, MadeFile, Over, Request, ResultDescriptor, Scratch, Share, Start, Streams,
    Table, Tier, Tree,
};
use stockade_core::trust::Libraries;

const RUN: &str = "00c0ffee00c0ffee";

/// A program without anything.
fn request() -> Request {
    let start = Start {
        argv: vec!["true".to_owned()],
        vars: BTreeMap::new(),
        trees: Vec::new(),
        files: Vec::new(),
        result: ResultDescriptor::None,
    };
    Request {
        label: "true".to_owned(),
        language: Language::Program,
        start,
        inputs: Vec::new(),
        tables: Vec::new(),
        shares: Vec::new(),
        libraries: Libraries::None,
        limits: Vec::new(),
        network: Network::None,
        vars: BTreeMap::new(),
        require: Layers::NONE,
        cgroup: CgroupMode::Auto,
        scratch: Scratch::Memory,
        streams: Streams::Pipes,
        tier: Tier::Namespaces,
    }
}

fn grants(texts: &[&str]) -> Vec<Grant> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A request for these grants.
fn granted(texts: &[&str]) -> Network {
    Network::Gate(Box::new(Egress { layers: vec![grants(texts)], ..Egress::default() }))
}

/// The policy of build jails, for an index of one host.
fn package_build() -> Policy {
    Policy::package_build(grants(&["index.example.com"]))
}

/// A Python script, as the engine asks for it.
fn script() -> Request {
    let tree = |path: &str, target: &str| Tree {
        source: source(path, SourceKind::Folder),
        target: inside(target),
        over: Vec::new(),
    };
    let mut environment = tree("/home/ann/.venv", paths::ENVIRONMENT);
    environment.over = vec![
        Over::File { name: "pyvenv.cfg".to_owned(), contents: b"home = /opt/stockade/interpreter/bin\n".to_vec() },
        Over::Link { name: "bin/python".to_owned(), text: "/opt/stockade/interpreter/bin/python3.13".to_owned() },
    ];
    Request {
        label: "analysis.py".to_owned(),
        language: Language::Python,
        start: Start {
            argv: vec![
                "/opt/stockade/env/bin/python".to_owned(),
                "analysis.py".to_owned(),
                "--year".to_owned(),
                "20 26".to_owned(),
            ],
            vars: BTreeMap::from([("PYTHONPATH".to_owned(), "/opt/stockade/engine/site".to_owned())]),
            trees: vec![tree("/home/ann/.python/3.13", paths::INTERPRETER), environment],
            files: vec![MadeFile {
                target: inside("/opt/stockade/engine/site/sitecustomize.py"),
                contents: Cow::Borrowed(b"import sys\n"),
            }],
            result: ResultDescriptor::Open,
        },
        inputs: vec![input("/home/ann/analysis.py", "/job/analysis.py", SourceKind::File { executable: false })],
        ..request()
    }
}

fn inside(path: &str) -> InsidePath {
    InsidePath::parse(path).unwrap()
}

fn source(path: &str, kind: SourceKind) -> Source {
    Source { path: path.into(), device: 1, inode: 2, uid: 1000, gid: 1000, mode: 0o755, bytes: 10, kind }
}

fn input(path: &str, target: &str, kind: SourceKind) -> Input {
    Input { source: source(path, kind), target: inside(target), hidden: Vec::new() }
}

fn share(path: &str, target: &str, access: Access) -> Share {
    Share { source: source(path, SourceKind::Folder), target: inside(target), access }
}

fn try_plan(policy: &Policy, request: Request, host: &HostFacts) -> Result<Plan, Unplannable> {
    match policy.decide(request) {
        Decision::Permit(grant) => plan::build(*grant, host, RUN),
        Decision::Forbid(reason) => panic!("{reason}"),
    }
}

fn planned(request: Request) -> Plan {
    try_plan(&Policy::offline(), request, &HostFacts::fixture()).unwrap()
}

/// The text of a plan; the system-call profile has tests of its own and differs by architecture.
fn text(plan: &Plan) -> String {
    plan.to_string().replace(plan.syscalls.to_string().trim_end(), "(the built-in profile)")
}

#[track_caller]
fn assert_text(name: &str, plan: &Plan) {
    insta::with_settings!({ snapshot_path => "plans", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text(plan));
    });
}

#[test]
fn a_program_with_nothing_given() {
    assert_text("program", &planned(request()));
}

#[test]
fn a_program_started_by_root() {
    let host = HostFacts { uid: 0, gid: 0, ..HostFacts::fixture() };
    assert_text("program-by-root", &try_plan(&Policy::offline(), request(), &host).unwrap());
}

#[test]
fn a_script_with_an_interpreter_and_an_environment_of_the_callers() {
    assert_text("script", &planned(script()));
}

#[test]
fn a_project_with_inputs_and_shares() {
    let project = Input {
        hidden: vec![".env".to_owned(), ".git".to_owned(), "deep/id_rsa".to_owned()],
        ..input("/home/ann/project", "/job", SourceKind::Folder)
    };
    let inputs = vec![
        input("/data/sales.csv", "/job/data/sales.csv", SourceKind::File { executable: false }),
        input("/data/lake", "/job/data/lake", SourceKind::Folder),
        project,
    ];
    let shares =
        vec![share("/data/live", "/job/live", Access::Read), share("/home/ann/results", "/job/results", Access::Write)];
    assert_text("project", &planned(Request { inputs, shares, ..script() }));
}

#[test]
fn a_run_at_a_terminal_with_limits_and_requirements() {
    let asked = Request {
        limits: vec![(Limit::Memory, 512 << 20), (Limit::Time, 90_000), (Limit::Cpus, 150), (Limit::Processes, 16)],
        vars: BTreeMap::from([
            ("TZ".to_owned(), "Asia/Tokyo".to_owned()),
            ("LANG".to_owned(), "de_DE.UTF-8".to_owned()),
        ]),
        require: Layers::of(&[Layer::Scopes]),
        cgroup: CgroupMode::Require,
        streams: Streams::Terminal,
        ..request()
    };
    assert_text("terminal", &planned(asked));
}

#[test]
fn scratch_on_disk_is_no_larger_wall_and_may_be_larger_than_memory() {
    let folder = input("/home/ann/disk", "/job/x", SourceKind::Folder).source;
    let asked = Request {
        limits: vec![(Limit::Memory, 1 << 30), (Limit::Scratch, 8 << 30)],
        scratch: Scratch::Disk(folder.clone()),
        ..request()
    };
    let plan = planned(asked.clone());
    assert_eq!(plan.limits.scratch_bytes, 8 << 30);
    assert_eq!(plan.sources().last(), Some(&folder), "the record names it");
    assert!(plan.to_string().contains("\nscratch   on disk in /home/ann/disk: watched, not walled\n"), "{plan}");
    let required = Request { require: Layers::of(&[Layer::Scratch]), ..asked.clone() };
    let Decision::Forbid(reason) = Policy::offline().decide(required) else { panic!("it was permitted") };
    assert_eq!(reason, Reason::Scratch);
    for given in ["/home/ann/disk", "/home/ann", "/"] {
        let project = input(given, "/job", SourceKind::Folder);
        let within = Request { inputs: vec![project], ..asked.clone() };
        let refused = try_plan(&Policy::offline(), within, &HostFacts::fixture());
        assert_eq!(refused, Err(Unplannable::ScratchWithin(given.to_owned())));
    }
    for given in ["/home/ann/disk/below", "/home/ann/dis"] {
        planned(Request { inputs: vec![input(given, "/job", SourceKind::Folder)], ..asked.clone() });
    }
}

#[test]
fn a_build_jail_that_reaches_the_index() {
    let asked = Request { network: granted(&["index.example.com"]), cgroup: CgroupMode::Off, ..request() };
    assert_text("build-jail", &try_plan(&package_build(), asked, &HostFacts::fixture()).unwrap());
}

#[test]
fn a_run_with_network_grants_a_budget_and_a_secret() {
    let Network::Gate(mut egress) =
        granted(&["GET https://api.example.com/v1", "*.files.example.com:443,8443", "tcp://10.1.0.0/16:5432"])
    else {
        panic!("no grants")
    };
    egress.budget.bytes_up = 1 << 20;
    egress.secrets.push(SecretUse {
        variable: "API_TOKEN".to_owned(),
        host: "api.example.com".parse().unwrap(),
        header: "authorization".to_owned(),
        placeholder: "stockade-secret-1".to_owned(),
    });
    let asked = Request { network: Network::Gate(egress), ..request() };
    let plan = try_plan(&Policy::default_of_callers(), asked, &HostFacts::fixture()).unwrap();
    assert_text("network", &plan.trusting(b"-----BEGIN CERTIFICATE-----".to_vec()));
}

#[test]
fn a_secret_is_not_given_to_the_code_besides() {
    let secret = |variable: &str| SecretUse {
        variable: variable.to_owned(),
        host: "api.example.com".parse().unwrap(),
        header: "authorization".to_owned(),
        placeholder: "stockade-secret-1".to_owned(),
    };
    let with = |secrets: Vec<SecretUse>, vars: BTreeMap<String, String>| {
        let egress = Egress { layers: vec![grants(&["api.example.com"])], secrets, ..Egress::default() };
        let asked = Request { network: Network::Gate(Box::new(egress)), vars, ..request() };
        try_plan(&Policy::default_of_callers(), asked, &HostFacts::fixture()).map(drop)
    };
    let twice = Err(Unplannable::SecretTwice("TOKEN".to_owned()));
    assert_eq!(with(vec![secret("TOKEN"), secret("OTHER")], BTreeMap::new()), Ok(()));
    assert_eq!(with(vec![secret("TOKEN")], BTreeMap::from([("TOKEN".to_owned(), "real".to_owned())])), twice);
    assert_eq!(with(vec![secret("TOKEN"), secret("TOKEN")], BTreeMap::new()), twice);
    for ours in ["PATH", "HTTPS_PROXY", "HOME"] {
        assert_eq!(with(vec![secret(ours)], BTreeMap::new()), Err(Unplannable::SecretTwice(ours.to_owned())));
    }
    assert_eq!(with(vec![secret("A B")], BTreeMap::new()), Err(Unplannable::Variable("A B".to_owned())));
}

#[test]
fn grants_for_too_many_ports_or_blocks_are_refused() {
    let plan = |texts: Vec<String>| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        try_plan(
            &Policy::default_of_callers(),
            Request { network: granted(&texts), ..request() },
            &HostFacts::fixture(),
        )
        .map(drop)
    };
    let ports = |count: u16| (1..=count).map(|port| format!("api.example.com:{port}")).collect();
    let blocks = |count: u16| (1..=count).map(|third| format!("10.0.{third}.0/24")).collect();
    assert_eq!((plan(ports(64)), plan(ports(65))), (Ok(()), Err(Unplannable::Ports)));
    assert_eq!(plan(vec!["tcp://api.example.com:3128".to_owned()]), Err(Unplannable::ProxyPort));
    assert_eq!((plan(blocks(64)), plan(blocks(65))), (Ok(()), Err(Unplannable::Blocks)));
}

#[test]
fn a_policy_cuts_down_what_a_request_names() {
    let asked = Request { network: granted(&["*.example.com"]), ..request() };
    let plan = try_plan(&package_build(), asked, &HostFacts::fixture()).unwrap();
    let Network::Gate(egress) = plan.network else { panic!("no network") };
    assert_eq!(egress.layers, [grants(&["index.example.com"]), grants(&["*.example.com"])]);
}

#[test]
fn hostile_names_stay_on_their_lines() {
    let asked = Request {
        label: "a\nmount     shared / at /job writable".to_owned(),
        start: Start {
            argv: vec!["sh".to_owned(), "-c".to_owned(), "echo '\u{1b}[2J'; \u{202e}".to_owned()],
            ..request().start
        },
        vars: BTreeMap::from([("A".to_owned(), "1\nvar       B=2".to_owned()), ("B".to_owned(), String::new())]),
        inputs: vec![
            input("/data/a\nb", "/job/c", SourceKind::Folder),
            input("/data/a at /job/b", "/job/x y", SourceKind::File { executable: false }),
            Input {
                hidden: vec!["a key".to_owned(), ".env".to_owned()],
                ..input("/data/it's", "/job/d", SourceKind::Folder)
            },
        ],
        shares: vec![share("/data/c at /job/e writable", "/job/e read-only", Access::Read)],
        ..request()
    };
    assert_text("hostile-names", &planned(asked));
}

#[test]
fn the_same_request_has_the_same_plan() {
    assert_eq!(planned(script()), planned(script()));
}

#[test]
fn a_single_file_given_as_a_tree_is_copied_and_linked_to() {
    let mut asked = request();
    asked.start.trees = vec![Tree {
        source: source("/home/ann/tool", SourceKind::File { executable: true }),
        target: inside("/opt/stockade/tools/tool"),
        over: Vec::new(),
    }];
    let plan = text(&planned(asked));
    assert!(plan.contains("mount     link /opt/stockade/tools/tool -> /opt/stockade/given/0\nmount     copied /home/ann/tool at /opt/stockade/given/0\n"), "{plan}");
    assert!(!plan.contains("layered /home/ann"), "{plan}");
}

#[test]
fn no_outside_path_but_the_systems_is_a_path_inside() {
    let plan = planned(script());
    for rule in &plan.landlock {
        assert!(!rule.path.as_str().starts_with("/home/ann"), "{}", rule.path);
    }
    assert_eq!(plan.sources().count(), 3);
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let file = |target: &str, bytes: u64| Input {
        source: Source { bytes, ..source("/data/file", SourceKind::File { executable: false }) },
        target: inside(target),
        hidden: Vec::new(),
    };
    for (asked, refused) in [
        (
            Request { inputs: vec![file("/job/a", 1), file("/job/a", 1)], ..request() },
            Unplannable::Collision("/job/a".to_owned()),
        ),
        (
            Request {
                inputs: vec![file("/job/a", 1)],
                shares: vec![share("/data", "/job/a", Access::Read)],
                ..request()
            },
            Unplannable::Collision("/job/a".to_owned()),
        ),
        (Request { inputs: vec![file("/jobs/a", 1)], ..request() }, Unplannable::Reserved("/jobs/a".to_owned())),
        (
            Request { shares: vec![share("/data", "/etc", Access::Write)], ..request() },
            Unplannable::Reserved("/etc".to_owned()),
        ),
        (
            Request { inputs: vec![file("/job/a", 600 << 20), file("/job/b", 600 << 20)], ..request() },
            Unplannable::TooLarge(1200 << 20, 1 << 30),
        ),
        (
            Request { vars: BTreeMap::from([("A B".to_owned(), String::new())]), ..request() },
            Unplannable::Variable("A B".to_owned()),
        ),
    ] {
        let found = try_plan(&Policy::offline(), asked, &HostFacts::fixture()).unwrap_err();
        assert_eq!(found, refused);
        assert!(!found.next().is_empty());
    }
}

#[test]
fn every_policy_decides_about_every_language_and_network() {
    const YES: &str = "yes";
    const OFFLINE: &str = "policy `offline` grants no network";
    let some = || granted(&["index.example.com"]);
    for (policy, language, network, answer) in [
        (Policy::offline(), Language::Python, Network::None, YES),
        (Policy::offline(), Language::R, Network::None, YES),
        (Policy::offline(), Language::Sql, Network::None, YES),
        (Policy::offline(), Language::Program, Network::None, YES),
        (Policy::offline(), Language::Python, some(), OFFLINE),
        (Policy::offline(), Language::R, some(), OFFLINE),
        (Policy::offline(), Language::Sql, some(), OFFLINE),
        (Policy::offline(), Language::Program, some(), OFFLINE),
        (Policy::default_of_callers(), Language::Python, Network::None, YES),
        (Policy::default_of_callers(), Language::R, some(), YES),
        (Policy::default_of_callers(), Language::Sql, some(), YES),
        (Policy::default_of_callers(), Language::Program, some(), YES),
        (Policy::examination(), Language::Program, some(), YES),
        (package_build(), Language::Python, Network::None, YES),
        (package_build(), Language::R, Network::None, "policy `package-build` does not permit r"),
        (package_build(), Language::Sql, some(), "policy `package-build` does not permit sql"),
        (package_build(), Language::Python, some(), YES),
        (package_build(), Language::Program, some(), YES),
    ] {
        let found = match policy.decide(Request { language, network: network.clone(), ..request() }) {
            Decision::Permit(_) => YES.to_owned(),
            Decision::Forbid(reason) => {
                assert!(!reason.next().to_string().is_empty());
                reason.to_string()
            }
        };
        assert_eq!(found, answer, "{language} with {network:?} under {}", policy.title());
    }
}

#[test]
fn what_a_policy_requires_cannot_be_asked_away() {
    for policy in [Policy::offline(), Policy::default_of_callers(), package_build()] {
        let never = Tier::Namespaces.goes_without();
        for layer in Layer::ALL.into_iter().filter(|layer| !never.has(*layer)) {
            for cgroup in [CgroupMode::Auto, CgroupMode::Require, CgroupMode::Off] {
                let asked = Request { require: Layers::of(&[layer]), cgroup, ..request() };
                let plan = try_plan(&policy, asked, &HostFacts::fixture()).unwrap();
                let cgroup_wanted =
                    if cgroup == CgroupMode::Require { Layers::of(&[Layer::Cgroup]) } else { Layers::NONE };
                assert_eq!(plan.required, REQUIRED.with(layer).and(cgroup_wanted));
            }
        }
    }
}

/// What a request gets that names no limit.
fn usual_limits(policy: &Policy) -> Limits {
    let mut limits = Limits::default();
    for limit in Limit::ALL {
        limits.set(limit, policy::usual(std::slice::from_ref(policy), limit));
    }
    limits
}

/// The most a policy permits of each limit, written out once more.
const fn most(limit: Limit) -> u64 {
    match limit {
        Limit::Time | Limit::CpuTime | Limit::Memory => u64::MAX,
        Limit::Processes | Limit::OpenFiles | Limit::Cpus => 1_048_576,
        Limit::Scratch | Limit::FileSize | Limit::Output | Limit::Streams => 4_398_046_511_104,
        Limit::ScratchFiles => 268_435_456,
        Limit::OutputFiles => 16_777_216,
        Limit::OutputDepth => 256,
    }
}

/// The slow obvious decider: each limit by itself, from the beginning.
fn obvious(defaults: &Limits, asked: &[(Limit, u64)]) -> Result<BTreeMap<Limit, u64>, (Limit, u64)> {
    if let Some(over) = asked.iter().find(|(limit, value)| *value > most(*limit)) {
        return Err(*over);
    }
    let value_of = |limit: Limit| {
        asked.iter().rev().find(|(name, _)| *name == limit).map_or_else(|| defaults.of(limit), |(_, value)| *value)
    };
    Ok(Limit::ALL
        .into_iter()
        .map(|limit| {
            if limit == Limit::Scratch {
                (limit, value_of(limit).min(value_of(Limit::Memory)))
            } else {
                (limit, value_of(limit))
            }
        })
        .collect())
}

fn an_amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..1_000_u64,
        1..=u64::MAX,
        Just(u64::MAX),
        (0..=63_u32).prop_map(|power| 1 << power),
        (0..=42_u32).prop_map(|power| (1 << power) + 1)
    ]
}

proptest! {
    #[test]
    fn limits_are_the_asked_ones_within_the_policys(
        asked in proptest::collection::vec((proptest::sample::select(Limit::ALL.to_vec()), an_amount()), 0..12),
        is_build in proptest::bool::ANY,
    ) {
        let policy = if is_build { package_build() } else { Policy::offline() };
        let decision = policy.decide(Request { limits: asked.clone(), ..request() });
        match (obvious(&usual_limits(&policy), &asked), decision) {
            (Ok(values), Decision::Permit(grant)) => {
                let plan = plan::build(*grant, &HostFacts::fixture(), RUN).unwrap();
                for (limit, value) in values {
                    prop_assert_eq!(plan.limits.of(limit), value, "{}", limit);
                }
            }
            (Err((limit, value)), Decision::Forbid(Reason::Limit { limit: named, asked, most: permitted, .. })) => {
                prop_assert_eq!((named, asked, permitted), (limit, value, most(limit)));
            }
            (expected, found) => prop_assert!(false, "{:?} but {:?}", expected, found),
        }
    }

    #[test]
    fn what_is_shown_of_a_limit_can_be_read_back(limit in proptest::sample::select(Limit::ALL.to_vec()), power in 0..40_u32) {
        let value = limit.parse(&limit.show(1 << power));
        // Spans beyond a minute may be shown in two units, which are for people only.
        prop_assume!(limit.show(1 << power).matches(' ').count() < 2);
        let value = value.unwrap();
        prop_assert!(value <= 1 << power && value >= (1 << power) - (1 << power) / 10 - 1, "{}", value);
    }

    #[test]
    fn every_target_of_an_input_lies_in_the_working_folder(name in "\\PC{0,40}|(\\.|\\.\\.|a|b|/|//|\u{202e}|\n){0,8}") {
        if let Ok(target) = inside(paths::JOB).join(&name) {
            let asked = Request { inputs: vec![Input { target, ..input("/data/x", "/job/x", SourceKind::Folder) }], ..request() };
            let plan = planned(asked);
            let depth = name.split('/').count();
            let is_below = |target: &InsidePath| target.below(paths::JOB).is_some_and(|below| below.split('/').count() == depth);
            let found = plan.mounts.iter().any(|mount| matches!(mount, plan::Mount::CopyOnWrite { target, .. } if is_below(target)));
            let harmful = plan.to_string().contains(['\u{202e}', '\u{1b}', '\r']);
            prop_assert!(found && !harmful, "{}", plan);
        }
    }
}

#[test]
fn without_namespaces_the_paths_inside_are_places_of_the_host() {
    let asked = script();
    assert_text("landlock-script", &planned(Request { tier: Tier::Landlock, ..asked }));
    let host = HostFacts { uid: 0, gid: 0, temporary: "/var/tmp/".to_owned(), ..HostFacts::fixture() };
    let inputs = vec![
        input("/home/ann/project", "/job", SourceKind::Folder),
        input("/data/sales", "/job/in/sales", SourceKind::Folder),
    ];
    let start = Start { argv: vec!["ls".to_owned(), "/job/in".to_owned(), "/jobs".to_owned()], ..request().start };
    let asked = Request { tier: Tier::Landlock, streams: Streams::Terminal, inputs, start, ..request() };
    assert_text("landlock-program-by-root", &try_plan(&Policy::offline(), asked, &host).unwrap());
}

#[test]
fn without_namespaces_what_needs_a_mount_or_a_network_cannot_be_planned() {
    for (asked, policy) in [
        (Request { shares: vec![share("/data", "/job/data", Access::Read)], ..request() }, Policy::offline()),
        (Request { shares: vec![share("/data", "/job/data", Access::Write)], ..request() }, Policy::offline()),
        (Request { network: granted(&["index.example.com"]), ..request() }, package_build()),
    ] {
        let refused = try_plan(&policy, Request { tier: Tier::Landlock, ..asked }, &HostFacts::fixture());
        assert!(matches!(refused, Err(Unplannable::Tier(_))), "{refused:?}");
    }
    for temporary in ["relative", "/a/../b", "/a\nb", ""] {
        let host = HostFacts { temporary: temporary.to_owned(), ..HostFacts::fixture() };
        let refused = try_plan(&Policy::offline(), Request { tier: Tier::Landlock, ..request() }, &host);
        assert!(matches!(refused, Err(Unplannable::Place(_))), "{refused:?}");
    }
}

/// A host with this runtime.
fn with_runtime(kind: RuntimeKind, program: &str) -> HostFacts {
    HostFacts { runtime: Some(Runtime { kind, program: program.to_owned() }), ..HostFacts::fixture() }
}

/// What the runtime of a plan is told.
fn bundle(plan: &Plan) -> String {
    let is_it = |target: &InsidePath| target.as_str() == "/opt/stockade/bundle/config.json";
    let contents = plan.mounts.iter().find_map(|mount| match mount {
        plan::Mount::File { target, contents } if is_it(target) => Some(contents.to_vec()),
        _ => None,
    });
    String::from_utf8(contents.unwrap()).unwrap()
}

#[test]
fn a_container_is_made_of_the_root_of_the_same_run() {
    for (tier, kind, program) in
        [(Tier::Gvisor, RuntimeKind::Runsc, "/usr/bin/runsc"), (Tier::Oci, RuntimeKind::Runc, "/usr/sbin/runc")]
    {
        let inputs = vec![
            input("/home/ann/project", "/job", SourceKind::Folder),
            input("/data/x.csv", "/job/x.csv", SourceKind::File { executable: false }),
        ];
        let shares = vec![share("/data/live", "/job/live", Access::Read)];
        let asked = Request { tier, inputs, shares, streams: Streams::Terminal, ..script() };
        let plan = try_plan(&Policy::offline(), asked, &with_runtime(kind, program)).unwrap();
        assert_text(&format!("{}-script", tier.name()), &plan);
        insta::with_settings!({ snapshot_path => "plans", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{}-bundle", tier.name()), bundle(&plan));
        });
        let (argv, vars) = plan.executed();
        assert_eq!(argv.first().map(String::as_str), Some(program));
        assert!(!vars.contains_key("PYTHONPATH") && vars.contains_key("PATH"), "{vars:?}");
    }
}

fn table(name: &str) -> Table {
    let source = source("/proc/self/fd/9", SourceKind::File { executable: false });
    Table { source, target: InsidePath::parse(&format!("/job/{name}")).unwrap() }
}

#[test]
fn tables_are_descriptors_with_numbers_of_their_own_and_links_to_them() {
    let plan = planned(Request { tables: vec![table("a.arrow"), table("b.arrow")], ..script() });
    let shown: Vec<String> = plan.to_string().lines().filter(|line| line.contains(" table ")).map(Into::into).collect();
    assert_eq!(shown.len(), 2);
    assert!(shown[0].contains("/proc/self/fd/9 at /job/a.arrow read-only through descriptor 100"), "{shown:?}");
    assert!(shown[1].contains("at /job/b.arrow read-only through descriptor 101"), "{shown:?}");
    assert_eq!(plan.sources().filter(|source| source.path.ends_with("fd/9")).count(), 2, "the record has them");
}

#[test]
fn tables_that_could_not_be_given_are_refused() {
    let of = |change: &dyn Fn(&mut Request)| {
        let mut asked = Request { tables: vec![table("a.arrow")], ..script() };
        change(&mut asked);
        try_plan(&Policy::offline(), asked, &HostFacts::fixture()).unwrap_err()
    };
    for tier in [Tier::Landlock, Tier::Gvisor, Tier::Oci] {
        assert_eq!(of(&|asked| asked.tier = tier), Unplannable::NoTables(tier));
    }
    assert_eq!(of(&|asked| asked.tables.push(table("a.arrow"))), Unplannable::Collision("/job/a.arrow".to_owned()));
    assert_eq!(of(&|asked| asked.tables.push(table("d/a.arrow"))), Unplannable::Reserved("/job/d/a.arrow".to_owned()));
    assert!(matches!(of(&|asked| asked.limits.push((Limit::OpenFiles, 100))), Unplannable::Tables(1, 100)));
    let many = |asked: &mut Request| asked.tables = (0..17).map(|number| table(&number.to_string())).collect();
    assert!(matches!(of(&many), Unplannable::Tables(17, _)));
    let project = |asked: &mut Request| asked.inputs.push(input("/home/ann/project", "/job", SourceKind::Folder));
    assert_eq!(of(&project), Unplannable::Covered("/job/a.arrow".to_owned()));
    let below = |asked: &mut Request| {
        asked.inputs.push(input("/data/x.csv", "/job/a.arrow/x.csv", SourceKind::File { executable: false }));
    };
    assert_eq!(of(&below), Unplannable::Covered("/job/a.arrow/x.csv".to_owned()));
}

#[test]
fn a_layer_that_a_tier_never_has_cannot_be_required() {
    for (tier, layer) in [
        (Tier::Namespaces, Layer::SecondKernel),
        (Tier::Landlock, Layer::PidNamespace),
        (Tier::Gvisor, Layer::Landlock),
        (Tier::Oci, Layer::SecondKernel),
    ] {
        let asked = Request { tier, require: Layers::of(&[layer, Layer::Seccomp]), ..request() };
        let refused = Reason::Tier { tier, lacked: Layers::of(&[layer]) };
        assert!(matches!(Policy::offline().decide(asked), Decision::Forbid(reason) if reason == refused));
    }
}

#[test]
fn a_container_without_its_runtime_cannot_be_planned() {
    for tier in [Tier::Gvisor, Tier::Oci] {
        let asked = || Request { tier, ..request() };
        let refused = try_plan(&Policy::offline(), asked(), &HostFacts::fixture());
        assert_eq!(refused, Err(Unplannable::NoRuntime(tier)));
        for program in ["/home/ann/bin/runsc", "/usrlocal/runsc", "/usr"] {
            let refused = try_plan(&Policy::offline(), asked(), &with_runtime(RuntimeKind::Runsc, program));
            assert_eq!(refused, Err(Unplannable::RuntimeElsewhere(program.to_owned())));
        }
    }
    let asked = Request { tier: Tier::Gvisor, network: granted(&["index.example.com"]), ..request() };
    let refused = try_plan(&package_build(), asked, &with_runtime(RuntimeKind::Runsc, "/usr/bin/runsc"));
    assert_eq!(refused, Err(Unplannable::NoNetwork(Tier::Gvisor)));
}
