//! Warm engines do not outlive what they were made under: policies, trust, what the name of an environment means.
//!
//! Whatever is changed, the next run goes by it, though an engine from before waits.

use std::path::PathBuf;

use serde_json::{Value, json};
use stockade_testkit::{Call, Folder, Ran, User, call};

use crate::sessions::Session;
use crate::support::{AS_SERVICE, Node, command, until};
use crate::warm::{WARM, begun, called, can_be_warm, followers, until_warm};

fn policy(lines: &str) -> String {
    format!(
        "name = ours, version = 1, type = stockade.policy\nconfiguration {{ StockadePolicy {{ name = ours\n{lines}\n}} }}\n"
    )
}

/// A node whose service has environments of its own.
struct Place {
    node: Node,
    folder: Folder,
}

impl Place {
    fn start() -> Option<Self> {
        if !can_be_warm() {
            return None;
        }
        let folder = Folder::new();
        folder.write("policy.conf", policy("egress = named"));
        let path = folder.path().join("policy.conf");
        let flags = [&AS_SERVICE[..], &WARM, &["--policy", path.to_str().unwrap()]].concat();
        let node = Node::within(&folder.path().join("node"), &flags);
        let place = Self { node, folder };
        drop(place.done(&["env", "trust", "add", "six>=1", "--reason", "a test"]));
        Some(place)
    }

    /// The command, as the node's service.
    fn call(&self, words: &[&str]) -> Call {
        let below = |name| self.node.folder.join(name);
        call(command().to_str().unwrap(), User::Ordinary)
            .within(&below("home"))
            .env("HOME", below("home"))
            .env("STOCKADE_CACHE_DIR", below("cache"))
            .args(words)
    }

    fn done(&self, words: &[&str]) -> Ran {
        self.call(words).run().expect(0)
    }

    /// Makes the name mean an environment with this.
    fn build(&self, package: &str) {
        drop(self.done(&["env", "build", "ours", "--with", package]));
    }

    fn run(&self) -> Value {
        let request = json!({ "code": "import six; print(six.__version__)", "environment": "ours" });
        self.node.post(&[], &request).whole().unwrap().expect(200).json()
    }

    /// Waits until an engine waits for the next run of the environment.
    fn until_warm(&self) {
        until("an engine serves", || begun(&self.run()) == "warm");
        until("the next one waits", || !followers(&self.node).is_empty());
    }
}

fn essence(run: &Value) -> (&Value, &Value) {
    (begun(run), &run["stdout"])
}

#[test]
fn a_run_has_the_environment_that_its_name_means_now() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.16.0");
    until("an engine serves", || essence(&place.run()) == (&json!("warm"), &json!("1.16.0\n")));
    until("the next one waits", || !followers(&place.node).is_empty());
    place.build("six==1.17.0");
    let run = place.run();
    assert_eq!(run["stdout"], "1.17.0\n", "{run}");
}

#[test]
fn a_run_of_a_warm_environment_goes_by_the_policy_as_it_is_now() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.17.0");
    place.until_warm();
    place.folder.write("policy.conf", policy("languages = [sql]"));
    let run = place.run();
    assert_eq!(run["outcome"]["cause"], "refused", "{run}");
    assert!(run["outcome"]["refusal"].to_string().contains("does not permit python"), "{run}");
    until("the engines are gone", || followers(&place.node).is_empty());
    place.folder.write("policy.conf", policy("egress = named"));
    assert_eq!(place.run()["stdout"], "1.17.0\n");
    until("engines serve again", || begun(&place.run()) == "warm");
}

#[test]
fn uses_of_an_environment_count_however_they_begin() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.17.0");
    let uses = || {
        let shown: Value = serde_json::from_str(&place.done(&["env", "show", "ours", "--json"]).stdout).unwrap();
        shown["uses"].as_u64().unwrap()
    };
    let before = uses();
    assert_eq!((begun(&place.run()), uses()), (&json!("cold"), before + 1));
    place.until_warm();
    let before = uses();
    assert_eq!((begun(&place.run()), uses()), (&json!("warm"), before + 1));
    let asked = json!({ "environment": "ours" });
    let open = || Session::open(&place.node, &asked);
    until("a session has a warm engine", || begun(&open().close()) == "warm");
    until("the next one waits", || !followers(&place.node).is_empty());
    let before = uses();
    let session = open();
    assert_eq!(session.run("import six; print(six.__version__)")["stdout"], "1.17.0\n");
    assert_eq!(begun(&session.close()), "warm");
    assert_eq!(uses(), before + 1, "of a session as of a run: once");
}

#[test]
fn a_name_has_a_pool_only_when_a_run_has_had_its_environment() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.17.0");
    let pools = || {
        let is_of_it = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains("--environment=ours"))
        };
        called(&place.node, "stockade").iter().filter(|pid| is_of_it(pid)).count()
    };
    let request = json!({ "code": "import time; print('begun', flush=True); time.sleep(1000)", "environment": "ours" });
    let run = place.node.post(&[("prefer", "respond-async")], &request).whole().unwrap().expect(202).json();
    let run = run["id"].as_str().unwrap();
    place.node.until_says(run, "begun");
    assert_eq!(pools(), 0);
    drop(place.node.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").whole().unwrap().expect(200));
    assert_eq!(begun(&place.run()), "cold");
    until("there is a pool", || pools() == 1);
}

#[test]
fn a_run_under_way_is_finished_when_its_pool_is_to_end() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.17.0");
    place.until_warm();
    let code = "import time; print('begun', flush=True); time.sleep(4); print('done')";
    let request = json!({ "code": code, "environment": "ours" });
    let run = place.node.post(&[("prefer", "respond-async")], &request).whole().unwrap().expect(202).json();
    let run = run["id"].as_str().unwrap();
    place.node.until_says(run, "begun");
    place.folder.write("policy.conf", policy("languages = [sql]"));
    assert_eq!(place.run()["outcome"]["cause"], "refused");
    until("no engine waits", || followers(&place.node).is_empty());
    let run = place.node.until_state(run, "ended");
    assert_eq!((begun(&run), &run["stdout"]), (&json!("warm"), &json!("begun\ndone\n")), "{run}");
}

#[test]
fn an_environment_that_is_trusted_no_more_has_no_warm_engines() {
    let Some(place) = Place::start() else { return };
    place.build("six==1.17.0");
    place.until_warm();
    let listed = place.done(&["env", "trust", "list", "--json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let entry = listed[0]["id"].as_str().unwrap();
    drop(place.done(&["env", "trust", "remove", entry, "--reason", "a flaw was found"]));
    assert_eq!(essence(&place.run()), (&json!("cold"), &json!("1.17.0\n")));
    until("the pool is gone", || called(&place.node, "stockade").is_empty());
}

#[test]
fn a_policy_that_is_written_while_a_template_starts_leaves_no_engines_that_nobody_is_served_by() {
    let Some(place) = Place::start() else { return };
    let run = place.node.submit("pass");
    // It has read the policies, and imports.
    let template = |pool: &u32| std::fs::read_to_string(format!("/proc/{pool}/task/{pool}/children")).ok();
    until("a template starts", || {
        called(&place.node, "stockade").iter().filter_map(template).any(|children| !children.is_empty())
    });
    place.folder.write("policy.conf", policy("egress = named, languages = [python]"));
    drop(place.node.until_state(&run, "ended"));
    until_warm(&place.node);
}

/// A machine with a policy at its real place, in a mount namespace of the test's own.
struct Machine {
    holder: std::process::Child,
    folder: Folder,
}

impl Machine {
    fn new() -> Self {
        const MOUNT: &str = "set -e; chmod 755 etc etc/stockade; chmod 644 etc/stockade/policy.conf; mkdir w; \
            mount -t tmpfs none w; mkdir w/u w/w; chmod 755 w/u; \
            mount -t overlay overlay -o lowerdir=$PWD/etc:/etc,upperdir=$PWD/w/u,workdir=$PWD/w/w /etc; \
            touch ready; exec sleep 1000";
        let folder = Folder::new();
        folder.write("etc/stockade/policy.conf", policy("egress = named"));
        let (holder, _state) =
            call("unshare", User::Caller).within(folder.path()).args(["--mount", "--", "sh", "-c", MOUNT]).start();
        let machine = Self { holder, folder };
        until("the machine has its policy", || machine.folder.path().join("ready").exists());
        machine
    }

    fn words(&self) -> [String; 4] {
        ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder.id()), "--".to_owned(), "env".to_owned()]
    }

    fn start(&self) -> Node {
        let flags = [&AS_SERVICE[..], &WARM].concat();
        let folder: PathBuf = self.folder.path().join("node");
        Node::by(&self.words(), &folder, &flags)
    }

    /// Does this there, as root.
    fn done(&self, script: &str) {
        let [program, words @ ..] = self.words();
        drop(call(&program, User::Caller).args(words).args(["sh", "-c", script]).run().expect(0));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.holder.kill());
        self.holder.wait().unwrap();
    }
}

#[test]
fn no_run_goes_by_a_policy_of_the_machine_that_was_changed() {
    for change in [
        "sed 's/egress = named/languages = [sql]/' -i /etc/stockade/policy.conf",
        // In place: the same file.
        "sed 's/egress = named/languages = [sql]/' /etc/stockade/policy.conf > /etc/new; cat /etc/new > /etc/stockade/policy.conf",
        "chmod o+w /etc/stockade",
        "chown 61234 /etc/stockade/policy.conf",
        "touch /etc/stockade/policy.conf",
    ] {
        if !can_be_warm() {
            return;
        }
        let machine = Machine::new();
        let node = machine.start();
        until_warm(&node);
        machine.done(change);
        let run = node.run("print(1)");
        assert_eq!(run["outcome"]["cause"], "refused", "{change}: {run}");
        assert!(run["outcome"]["refusal"]["why"].to_string().contains("start it anew"), "{change}: {run}");
        until("the engines are gone", || followers(&node).is_empty());
        if change.starts_with("touch") {
            // Then it is looked at anew.
            drop(node);
            let node = machine.start();
            assert_eq!(node.run("print(1)")["stdout"], "1\n");
            until_warm(&node);
        }
    }
}
