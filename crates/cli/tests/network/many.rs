//! Many runs at a time: each has its own grants, gate and records, and nothing is lost.

use std::collections::BTreeMap;

use stockade_testkit::world::RUNS;

use crate::support::{Call, Ran, User, World, granted, users};

#[test]
fn thirty_runs_side_by_side_each_reach_their_own() {
    let Some(world) = World::new() else { return };
    for user in users() {
        world.forget();
        let runs: Vec<_> = (0..RUNS).map(|number| (number, start(&world, user, number))).collect();
        let mut requests = BTreeMap::new();
        for (number, (child, state)) in runs {
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert_eq!(ran.stdout, format!("hello from run{number}.example.com/{number}\n56\n"), "{}", ran.stderr);
            let report = ran.report();
            let connections = report["network"]["connections"].as_array().unwrap();
            assert_eq!(connections.len(), 1, "{report}");
            assert_eq!(connections[0]["host"], format!("run{number}.example.com"));
            let denials = report["denials"].as_array().unwrap();
            assert_eq!(denials.len(), 1, "{report}");
            assert_eq!(denials[0]["asked"], format!("run{}.example.com:443", (number + 1) % RUNS));
            let trail = Call::trail(&state);
            let events: Vec<&str> = trail.iter().filter_map(|record| record["event"].as_str()).collect();
            for (event, count) in [("opened", 1), ("closed", 1), ("refused", 1), ("ended", 1)] {
                assert_eq!(events.iter().filter(|one| **one == event).count(), count, "{event}: {trail:#?}");
            }
            assert!(trail.iter().all(|record| record["run"] == report["run"]), "{trail:#?}");
            requests.insert(format!("GET /{number}"), 1);
        }
        let mut heard: BTreeMap<String, usize> = BTreeMap::new();
        for request in world.requests("https") {
            *heard.entry(request).or_default() += 1;
        }
        assert_eq!(heard, requests);
        world.assert_no_strangers();
    }
}

/// A run that reaches its own name and asks for its neighbour's.
fn start(world: &World, user: User, number: usize) -> (std::process::Child, stockade_testkit::Folder) {
    let (own, other) = (format!("run{number}.example.com"), format!("run{}.example.com", (number + 1) % RUNS));
    let code = format!(
        "curl -sS --cacert ca.pem https://{own}/{number}; curl -s --cacert ca.pem https://{other}/other; echo $?"
    );
    granted(world, user, &[own]).args(["--", "sh", "-c", &code]).start()
}

/// One trail for all: lines of several gates stay whole, and each belongs to one run.
#[test]
fn records_of_many_gates_in_one_trail_stay_whole() {
    let Some(world) = World::new() else { return };
    let state = stockade_testkit::Folder::new();
    let runs: Vec<_> = (0..RUNS)
        .map(|number| {
            let code = format!(
                "for n in 1 2 3; do curl -sS --cacert ca.pem -o /dev/null https://run{number}.example.com/; curl -s https://evil.example.com/; done; :"
            );
            let call = granted(&world, User::Caller, &[format!("run{number}.example.com")]);
            call.env("STOCKADE_STATE_DIR", state.path().join("state")).args(["--", "sh", "-c", &code]).start()
        })
        .collect();
    for (child, _own) in runs {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in Call::trail(&state) {
        let kind = record["event"].as_str().or(record["record"].as_str()).unwrap();
        *counted.entry((record["run"].as_str().unwrap().to_owned(), kind.to_owned())).or_default() += 1;
    }
    for (kind, count) in [("intent", 1), ("opened", 3), ("closed", 3), ("refused", 3), ("ended", 1), ("outcome", 1)] {
        let runs = counted.iter().filter(|((_, one), number)| one == kind && **number == count).count();
        assert_eq!(runs, RUNS, "{kind}: {counted:#?}");
    }
}
