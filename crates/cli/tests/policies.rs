//! The machine's policy and those of callers, end to end.
//!
//! The machine's lies at its real place, in a mount namespace of the test's own: there is no variable and no flag
//! that leads elsewhere.
#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

use stockade_testkit::{Call, Folder, Ran, User, call, skipped};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

fn policy(name: &str, lines: &str) -> String {
    format!(
        "name = {name}, version = 2, type = stockade.policy\nconfiguration {{ StockadePolicy {{ name = {name}\n{lines}\n}} }}\n"
    )
}

/// A machine whose administrator wrote this policy; `prepare` is done to it first.
#[derive(Debug)]
struct Machine {
    etc: Folder,
    prepare: &'static str,
}

impl Machine {
    fn with(contents: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("a machine's policy", "only root can put one there");
            return None;
        }
        let etc = Folder::new();
        etc.write("stockade/policy.conf", contents);
        Some(Self { etc, prepare: "true" })
    }

    /// Runs `stockade` there, by an ordinary user.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.call(arguments).run()
    }

    fn call(&self, arguments: &[&str]) -> Call {
        const SCRIPT: &str = "set -e; top=$1; shift; cd \"$top\"; chmod 755 . stockade; chmod 644 stockade/policy.conf; \
            eval \"$1\"; shift; mount -t overlay overlay -o \"lowerdir=$top:/etc\" /etc; cd /; \
            exec setpriv --reuid 61234 --regid 61234 --clear-groups -- env HOME=\"$HOME\" PATH=/usr/local/bin:/usr/bin:/bin \"$@\"";
        let top = self.etc.path().to_string_lossy().into_owned();
        let home = Folder::new();
        call("unshare", User::Caller)
            .args(["--mount", "--", "sh", "-c", SCRIPT, "sh", &top, self.prepare, STOCKADE])
            .args(arguments)
            .env("HOME", home.path())
            .env("STOCKADE_STATE_DIR", home.path().join("state"))
    }
}

#[test]
fn the_machines_policy_holds_without_being_named_and_cannot_be_widened() {
    let Some(machine) = Machine::with(&policy("machine", "egress = [\"*.example.com\"], limits { memory = 512MiB }"))
    else {
        return;
    };
    machine
        .etc
        .write("team.conf", policy("team", "egress = [api.example.com, other.example], limits { memory = 4GiB }"));
    let plan =
        machine.run(&["plan", "--policy", "/etc/team.conf", "--net", "api.example.com", "--", "true"]).expect(0).stdout;
    for line in [
        "policy machine 2 + team 2)",
        "at most   *.example.com",
        "at most   api.example.com",
        "grant     api.example.com",
        "limit     memory 512 MiB",
    ] {
        assert!(plan.lines().any(|one| one.ends_with(line)), "{line} is missing: {plan}");
    }
    for (arguments, why) in [
        (
            &["run", "--limit", "memory=1GiB", "--", "true"] as &[&str],
            "limit `memory` of 1 GiB is more than policy `machine` (/etc/stockade/policy.conf) permits (512 MiB)",
        ),
        (
            &["run", "--net", "other.example", "--policy", "/etc/team.conf", "--", "true"],
            "policy `machine` (/etc/stockade/policy.conf) grants nothing of `other.example`",
        ),
    ] {
        let said = machine.run(arguments).expect(125).stderr;
        assert!(said.contains(why), "{said}");
    }
    let said = machine.run(&["explain", "policy"]).expect(0).stdout;
    assert!(said.contains("policy    machine 2, in /etc/stockade/policy.conf\n"), "{said}");
    assert!(said.contains("limit     memory 512 MiB (machine)\n"), "{said}");
}

#[test]
fn variables_and_homes_of_a_caller_lead_to_no_other_policy() {
    let Some(machine) = Machine::with(&policy("machine", "languages = [sql]")) else { return };
    for name in
        ["STOCKADE_POLICY", "STOCKADE_CONFIG_DIR", "XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "STOCKADE_TEST_WITHOUT"]
    {
        let said = machine.call(&["run", "--", "true"]).env(name, "/nowhere").run().expect(125).stderr;
        assert!(
            said.contains("policy `machine` (/etc/stockade/policy.conf) does not permit program"),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_machines_policy_that_is_not_roots_alone_stops_every_run() {
    const GOOD: &str = "egress = named";
    for (prepare, why) in [
        ("chown 61234 stockade/policy.conf", "/etc/stockade/policy.conf: it belongs to uid 61234, not to root"),
        ("chmod 664 stockade/policy.conf", "/etc/stockade/policy.conf: others than root may write to it"),
        ("chmod 777 stockade", "/etc/stockade: others than root may write to it"),
        ("chown 61234 stockade", "/etc/stockade: it belongs to uid 61234, not to root"),
        ("chmod 600 stockade/policy.conf", "/etc/stockade/policy.conf: permission denied"),
        (
            "mv stockade/policy.conf x; ln -s ../x stockade/policy.conf",
            "/etc/stockade/policy.conf: too many levels of symbolic links",
        ),
        ("rm stockade/policy.conf; mkfifo stockade/policy.conf", "it is not a regular file"),
        ("echo oops >> stockade/policy.conf", "line 6, column 1: expected value"),
    ] {
        let Some(machine) = Machine::with(&policy("machine", GOOD)) else { return };
        let said = Machine { prepare, ..machine }.run(&["run", "--", "true"]).expect(125).stderr;
        assert!(said.contains(why), "{prepare}: {said}");
        assert!(said.contains("/etc/stockade/policy.conf"), "{said}");
    }
    let Some(machine) = Machine::with(&policy("machine", GOOD)) else { return };
    drop(machine.run(&["run", "--", "true"]).expect(0));
}

/// "Build jails keep `package-build`": what the machine says of the network holds for them as well.
#[test]
fn a_machine_that_grants_no_network_builds_no_packages() {
    let Some(machine) = Machine::with(&policy("machine", "limits { memory = 2GiB }")) else { return };
    let cache = Folder::new();
    let said = machine
        .call(&["run", "--with", "six", "-c", "import six"])
        .env("STOCKADE_CACHE_DIR", cache.path())
        .run()
        .expect(125)
        .stderr;
    assert!(said.contains("policy `machine` (/etc/stockade/policy.conf) grants no network"), "{said}");
}

#[test]
fn the_record_of_a_run_names_its_policies() {
    let folder = Folder::new();
    let file = folder.write("team.conf", policy("team", ""));
    let (ran, state) =
        call(STOCKADE, User::Caller).args(["run", "--policy"]).arg(&file).args(["--", "true"]).run_keeping();
    drop(ran.expect(0));
    let intent = Call::trail(&state).into_iter().next().unwrap();
    assert_eq!(intent.get("policy").unwrap(), "team 2");
}
