//! What the network tests share: granted runs, what they said, and what the report and the trail say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
pub(crate) use stockade_testkit::world::World;
pub(crate) use stockade_testkit::{Call, Ran, User, skipped, users};

pub(crate) const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// In front of every attack: how to speak to the gate, after what the escape corpus uses.
const PRELUDE: &str = concat!(include_str!("../escape/prelude.py"), include_str!("prelude.py"));

/// How long anything may take to show before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// `stockade run` in this world with these grants, reported as JSON, with the world's authority as `ca.pem`.
pub(crate) fn granted(world: &World, user: User, grants: &[impl AsRef<str>]) -> Call {
    let call = world.call(STOCKADE, user).args(["run", "--json", "--in"]).arg(world.authority());
    grants.iter().fold(call, |call, grant| call.args(["--net", grant.as_ref()]))
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) ran: Ran,
    /// Its audit trail.
    pub(crate) trail: Vec<Value>,
}

impl Over {
    /// Runs it, and looks that neither it nor its gate is left, nor anything else that was not there before.
    #[track_caller]
    pub(crate) fn of(world: &World, call: Call) -> Self {
        let before: Vec<u32> = world.strangers().into_keys().collect();
        let (ran, state) = call.run_keeping();
        world.assert_no_strangers_but(&before);
        Self { ran, trail: Call::trail(&state) }
    }

    /// The attempts that the code printed, and how each ended.
    pub(crate) fn said(&self) -> BTreeMap<String, String> {
        let lines = self.ran.stdout.lines().filter_map(|line| line.split_once(": "));
        lines.map(|(what, how)| (what.to_owned(), how.to_owned())).collect()
    }

    /// Stops the test unless the code printed just this.
    #[track_caller]
    pub(crate) fn assert_said(&self, expected: &[(&str, &str)]) -> &Self {
        let expected = expected.iter().map(|(what, how)| ((*what).to_owned(), (*how).to_owned())).collect();
        assert_eq!(self.said(), expected, "stdout:\n{}\nstderr:\n{}", self.ran.stdout, self.ran.stderr);
        self
    }

    /// Records of the gate about this kind of event.
    pub(crate) fn records(&self, event: &str) -> Vec<&Value> {
        self.trail.iter().filter(|record| record["record"] == "network" && record["event"] == event).collect()
    }

    /// What was refused and the code of the reason, as the report tells it.
    pub(crate) fn refusals(&self) -> BTreeSet<(String, String)> {
        let report = self.ran.report();
        let denials = report["denials"].as_array().unwrap().iter().filter(|denial| denial["kind"] == "gate");
        denials.map(pair).collect()
    }

    /// Stops the test unless just this was refused: in the report, with what to do next, and in the trail.
    #[track_caller]
    pub(crate) fn assert_refused(&self, expected: &[(&str, &str)]) -> &Self {
        let expected: BTreeSet<_> =
            expected.iter().map(|(asked, reason)| ((*asked).to_owned(), (*reason).to_owned())).collect();
        assert_eq!(self.refusals(), expected, "stdout:\n{}\nstderr:\n{}", self.ran.stdout, self.ran.stderr);
        self.assert_refusals_are_recorded();
        self
    }

    /// Stops the test unless only these were reasons, and the report and the trail say the same.
    #[track_caller]
    pub(crate) fn assert_reasons(&self, permitted: &[&str]) -> &Self {
        let refusals = self.refusals();
        assert!(!refusals.is_empty(), "nothing was refused: {:?}", self.ran);
        for (asked, reason) in &refusals {
            assert!(permitted.contains(&reason.as_str()), "{asked}: {reason}\n{}", self.ran.stdout);
        }
        self.assert_refusals_are_recorded();
        self
    }

    #[track_caller]
    fn assert_refusals_are_recorded(&self) {
        let recorded: BTreeSet<_> = self.records("refused").into_iter().map(pair).collect();
        assert_eq!(recorded, self.refusals(), "the trail and the report differ");
        for denial in self.ran.report()["denials"].as_array().unwrap() {
            assert!(!denial["next"].as_str().unwrap_or("none").is_empty(), "{denial}");
        }
        let run = &self.ran.report()["run"];
        assert!(self.trail.iter().all(|record| record["run"] == *run), "{:#?}", self.trail);
    }

    /// Stops the test unless the report tells of this connection, and the trail of its beginning and end.
    #[track_caller]
    pub(crate) fn assert_connected(&self, host: &str, port: u16, protocol: &str) -> &Self {
        let is_it = |one: &&Value| one["host"] == host && one["port"] == port && one["protocol"] == protocol;
        let report = self.ran.report();
        let connections = report["network"]["connections"].as_array().unwrap_or_else(|| panic!("{report}"));
        let told: Vec<&Value> = connections.iter().filter(is_it).collect();
        let sum = |what: &str| told.iter().map(|one| one[what].as_u64().unwrap()).sum::<u64>();
        assert!(sum("bytes_up") > 0, "{host}:{port} {protocol}: {report}");
        assert!(told.iter().all(|one| one["rule"].as_str().is_some_and(|rule| !rule.is_empty())), "{report}");
        let opened = self.records("opened").into_iter().filter(is_it).count();
        let closed = self.records("closed").into_iter().filter(is_it).count();
        assert!(opened > 0 && opened == closed, "{:#?}", self.trail);
        assert_eq!(sum("count"), opened as u64, "{report}");
        self
    }

    /// Stops the test if anything was refused.
    #[track_caller]
    pub(crate) fn assert_nothing_denied(&self) -> &Self {
        assert_eq!(self.ran.report()["denials"], serde_json::json!([]), "{:?}", self.ran);
        self
    }

    /// How connections were asked for, by the records.
    pub(crate) fn ways(&self) -> BTreeSet<&str> {
        self.records("opened").into_iter().map(|record| record["way"].as_str().unwrap()).collect()
    }
}

fn pair(denial: &Value) -> (String, String) {
    let text = |name: &str| denial[name].as_str().unwrap_or_else(|| panic!("no {name}: {denial}")).to_owned();
    (text("asked"), text("reason"))
}

/// Runs an attack in Python with these grants; it must end well, whatever it was refused.
#[track_caller]
pub(crate) fn attack(world: &World, user: User, grants: &[impl AsRef<str>], code: &str) -> Over {
    let over = Over::of(world, attacking(world, user, grants, code));
    assert_eq!(over.ran.status, 0, "stdout:\n{}\nstderr:\n{}", over.ran.stdout, over.ran.stderr);
    over
}

/// The call of an attack, not started.
pub(crate) fn attacking(world: &World, user: User, grants: &[impl AsRef<str>], code: &str) -> Call {
    granted(world, user, grants).args(["-c", &format!("{PRELUDE}\n{code}")])
}

/// A world and each user in it, one after the other; nothing where there can be no world.
pub(crate) fn in_a_world(test: impl Fn(&World, User)) {
    let Some(world) = World::new() else { return };
    for user in users() {
        world.forget();
        test(&world, user);
    }
}

/// Waits until it holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Builds an environment with the machine's own network, so that it is found in a world that has none.
pub(crate) fn built(user: User, packages: &str) {
    let ran = stockade_testkit::call(STOCKADE, user).args(["run", "--quiet", "--with", packages, "-c", "pass"]).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
