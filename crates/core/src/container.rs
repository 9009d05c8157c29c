//! The outer tiers: a container runtime (gVisor, runc, crun) inside the walls of a run.
//!
//! The root, its scratch, its namespaces and its limits are those of the tier `namespaces`; what is
//! executed in them is the runtime, without any right, and what the runtime is told is written here.
//! Pure: a plan in, a plan and the text of an OCI bundle out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::facts::{HostFacts, Runtime, RuntimeKind, SystemKind};
use crate::ground::Ground;
use crate::layer::{Layer, Layers};
use crate::network::Network;
use crate::paths::{self, InsidePath};
use crate::plan::{ForRuntime, Mount, Plan, Unplannable};
use crate::request::{ResultDescriptor, Streams, Tier};
use crate::syscalls::{Architecture, Profile};

/// Where the runtime finds the root of the container: the run's own root, once more.
pub const ROOT: &str = "/opt/stockade/root";
/// Where the runtime finds what it is told.
const BUNDLE: &str = "/opt/stockade/bundle";
/// The folder the runtime writes to; the container does not see it.
pub const STATE: &str = "/run";
/// The name of the file, in that folder, which the runtime's errors go to.
pub const LOG: &str = "log";
/// What is looked at inside, each a file that is emptied when it was found.
pub const PROOFS: &str = "/opt/stockade/proofs";
/// The file that is emptied when the code is about to start.
pub const STARTED: &str = "started";
/// What runs first in the container.
const ENTER: &str = "/opt/stockade/engine/enter.sh";
const ENTER_TEXT: &str = include_str!("enter.sh");
/// The user of a run is the only one that a container can have, and its runtime wants that to be root's number.
const USERS: [(&str, &str); 2] = [
    ("/etc/passwd", "runner:x:0:0:throw-away user:/home/runner:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("/etc/group", "runner:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
];
/// What of `/proc` tells of the machine to everyone, or changes it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/driver",
    "/proc/fs",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/keys",
    "/proc/modules",
    "/proc/scsi",
];

/// The layers that only a look from inside the container shows.
#[must_use]
pub const fn proven(kind: RuntimeKind) -> Layers {
    match kind {
        RuntimeKind::Runsc => Layers::of(&[Layer::NoCapabilities, Layer::Proc, Layer::SecondKernel]),
        RuntimeKind::Runc | RuntimeKind::Crun => Layers::of(&[Layer::NoCapabilities, Layer::Proc, Layer::Seccomp]),
    }
}

/// How many processes and threads a runtime has itself: gVisor's kernel is one of them.
#[must_use]
pub const fn own_tasks(kind: RuntimeKind) -> u64 {
    match kind {
        RuntimeKind::Runsc => 128,
        RuntimeKind::Runc | RuntimeKind::Crun => 32,
    }
}

/// Turns the plan of a run in namespaces into that of the same run in a container inside them.
///
/// # Errors
/// [`Unplannable`] when there is no runtime, or something is asked that it cannot give.
pub fn into_container(plan: Plan, host: &HostFacts, tier: Tier) -> Result<Plan, Unplannable> {
    let runtime = host.runtime.clone().ok_or(Unplannable::NoRuntime(tier))?;
    let is_seen = host
        .system
        .iter()
        .filter(|entry| entry.kind == SystemKind::Folder)
        .any(|entry| runtime.program.strip_prefix(&entry.path).is_some_and(|below| below.starts_with('/')));
    if !is_seen {
        return Err(Unplannable::RuntimeElsewhere(runtime.program));
    }
    if tier == Tier::Gvisor && plan.network != Network::None {
        return Err(Unplannable::NoNetwork(tier));
    }
    let kind = runtime.kind;
    let mut plan = Plan {
        mounts: mounts(plan.mounts),
        // A runtime makes mounts, which Landlock forbids to whoever it holds.
        landlock: Vec::new(),
        // A terminal is handed to a runtime in a way of its own.
        streams: Streams::Pipes,
        // A runtime passes on three streams and nothing else.
        result: ResultDescriptor::None,
        syscalls: plan.syscalls.of_runtime(),
        ground: Ground::Container(runtime),
        ..plan
    };
    plan.vars.remove("STOCKADE_RESULT_FD");
    let text = bundle(&plan, kind);
    let scratch = |path: &'static str| Mount::Scratch { target: InsidePath::fixed(path), sticky: false };
    plan.mounts.push(Mount::ForRuntime(ForRuntime::Root));
    plan.mounts.push(scratch(STATE));
    plan.mounts.push(Mount::File {
        target: InsidePath::fixed("/opt/stockade/bundle/config.json"),
        contents: Cow::Owned(text.into_bytes()),
    });
    if kind != RuntimeKind::Runsc {
        plan.mounts.push(Mount::ForRuntime(ForRuntime::Groups));
    }
    plan.mounts.push(Mount::ForRuntime(ForRuntime::Proc));
    Ok(plan)
}

/// What the container shall see: all of a run's root but what the runtime makes itself.
fn mounts(mounts: Vec<Mount>) -> Vec<Mount> {
    let file = |path: &'static str, text: &'static str| Mount::File {
        target: InsidePath::fixed(path),
        contents: Cow::Borrowed(text.as_bytes()),
    };
    let is_runtimes = |mount: &Mount| {
        matches!(mount, Mount::Terminals | Mount::Proc)
            || matches!(mount, Mount::Link { target, .. } if target.as_str() == "/dev/ptmx")
    };
    let made = |mount: Mount| {
        let Mount::File { target, .. } = &mount else { return mount };
        let user = USERS.into_iter().find(|(path, _)| target.as_str() == *path);
        user.map_or(mount, |(path, text)| file(path, text))
    };
    let mut kept: Vec<Mount> = mounts.into_iter().filter(|mount| !is_runtimes(mount)).map(made).collect();
    kept.push(file(ENTER, ENTER_TEXT));
    kept.push(Mount::Scratch { target: InsidePath::fixed(PROOFS), sticky: false });
    kept
}

/// What is executed at the end of the set-up: the runtime, and the variables it sees.
#[must_use]
pub fn command(runtime: &Runtime, run: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let state = format!("--root={STATE}/state");
    let log = format!("--log={STATE}/{LOG}");
    let bundle = format!("--bundle={BUNDLE}");
    let words: Vec<&str> = match runtime.kind {
        // Its platform is the one it was built to prefer, or the administrator's choice.
        RuntimeKind::Runsc => {
            vec![&state, &log, "--rootless", "--network=none", "--ignore-cgroups", "run", &bundle, run]
        }
        // Keyrings are in no namespace, so the filter refuses them.
        RuntimeKind::Runc | RuntimeKind::Crun => vec![&state, &log, "run", "--no-new-keyring", &bundle, run],
    };
    let argv = std::iter::once(runtime.program.as_str()).chain(words).map(ToOwned::to_owned).collect();
    let vars =
        [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", STATE), ("TMPDIR", "/tmp"), ("XDG_RUNTIME_DIR", STATE)];
    (argv, vars.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The text of `config.json` (OCI runtime specification 1.0.2).
fn bundle(plan: &Plan, kind: RuntimeKind) -> String {
    let required = plan.required.missing_from(plan.required.missing_from(proven(kind)));
    let vars = plan.vars.iter().map(|(name, value)| format!("{name}={value}"));
    let args: Vec<String> = ["/bin/sh", ENTER, &required.to_string()]
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(vars)
        .chain(["--".to_owned()])
        .chain(plan.argv.iter().cloned())
        .collect();
    let none: [&str; 0] = [];
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": paths::JOB,
            "capabilities": {
                "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
            },
            "rlimits": limits(plan, kind),
            "noNewPrivileges": true,
        },
        "root": { "path": ROOT, "readonly": true },
        "hostname": "sandbox",
        "mounts": container_mounts(plan, kind),
        "linux": linux(plan, kind),
    });
    format!("{config:#}\n")
}

/// The host's kernel bounds the others already: they inherit what is set before.
fn limits(plan: &Plan, kind: RuntimeKind) -> Vec<Value> {
    if kind != RuntimeKind::Runsc {
        return Vec::new();
    }
    [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", plan.limits.open_files),
        ("RLIMIT_FSIZE", plan.limits.file_bytes),
        ("RLIMIT_NPROC", plan.limits.processes),
    ]
    .into_iter()
    .map(|(name, most)| json!({ "type": name, "hard": most, "soft": most }))
    .collect()
}

fn container_mounts(plan: &Plan, kind: RuntimeKind) -> Vec<Value> {
    let bind = |path: &str, options: &[&str]| json!({ "destination": path, "type": "bind", "source": path, "options": options });
    let mut mounts = vec![json!({
        "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"],
    })];
    match kind {
        // Else it would lay memory of its own over what is empty, and newer ones over all that is written.
        RuntimeKind::Runsc => mounts.extend(
            plan.mounts
                .iter()
                .filter_map(Mount::written_to)
                .filter(|path| path.below("/dev").is_none())
                .map(|path| bind(path.as_str(), &["rbind", "rw", "nosuid", "nodev"])),
        ),
        // As it is: else it would make terminals and devices there.
        RuntimeKind::Runc | RuntimeKind::Crun => {
            mounts.push(bind("/dev", &["rbind", "ro", "nosuid", "nodev", "noexec"]))
        }
    }
    mounts
}

fn linux(plan: &Plan, kind: RuntimeKind) -> Value {
    let namespaces = |names: &[&str]| names.iter().map(|name| json!({ "type": name })).collect::<Vec<_>>();
    // The network is the run's own already, and its resolver and gate are in it.
    if kind == RuntimeKind::Runsc {
        return json!({ "namespaces": namespaces(&["pid", "mount", "ipc", "uts"]) });
    }
    let map = json!([{ "containerID": 0, "hostID": crate::plan::INSIDE_ID, "size": 1 }]);
    json!({
        "uidMappings": map,
        "gidMappings": map,
        "namespaces": namespaces(&["user", "pid", "mount", "ipc", "uts", "cgroup"]),
        "maskedPaths": MASKED,
        "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        "seccomp": seccomp(plan.syscalls.architecture()),
    })
}

/// Takes from the code what the runtime was let in for; the filter around both has all the rest.
fn seccomp(architecture: Architecture) -> Value {
    let code = Profile::builtin(architecture);
    let runtime = code.clone().of_runtime();
    let changed = code.rules().iter().zip(runtime.rules()).filter(|(code, runtime)| code != runtime);
    let (plain, by_argument): (Vec<_>, Vec<_>) = changed.map(|(code, _)| code).partition(|code| code.arms.is_empty());
    let names: Vec<&str> = plain.iter().map(|rule| rule.name).collect();
    let rule = |names: Value, tests: Value| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": tests });
    let low = |value: u32| json!([{ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": u32::MAX, "valueTwo": value }]);
    let bit = |flag: u32| json!([{ "index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": flag, "valueTwo": flag }]);
    let mut rules = vec![rule(json!(names), json!([]))];
    for name in by_argument.into_iter().map(|rule| rule.name) {
        match name {
            "clone" => rules.extend(NAMESPACES.map(|flag| rule(json!([name]), bit(flag)))),
            "prctl" => rules.extend(PRIVILEGES.map(|option| rule(json!([name]), low(option)))),
            _ => rules.push(rule(json!([name]), json!([]))),
        }
    }
    let architecture = match architecture {
        Architecture::X86_64 => "SCMP_ARCH_X86_64",
        Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
    };
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture], "syscalls": rules })
}

const EPERM: u32 = 1;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, one a rule.
const NAMESPACES: [u32; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_SECUREBITS, as in `profiles/seccomp.txt`.
const PRIVILEGES: [u32; 3] = [22, 24, 28];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{REQUIRED_OF_GVISOR, REQUIRED_OF_OCI};
    use crate::syscalls::Action;

    /// Code that is on could take the proof of another away, and so claim what is not there.
    #[test]
    fn what_is_proven_inside_is_required() {
        assert_eq!(proven(RuntimeKind::Runsc).missing_from(REQUIRED_OF_GVISOR), Layers::NONE);
        assert_eq!(proven(RuntimeKind::Runc).missing_from(REQUIRED_OF_OCI), Layers::NONE);
    }

    /// Two filters, of which the stricter counts, are together what code in namespaces has.
    #[test]
    fn what_the_runtime_is_let_in_for_is_taken_from_the_code() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let (code, runtime) = (Profile::builtin(architecture), Profile::builtin(architecture).of_runtime());
            let inner = seccomp(architecture);
            let rules: Vec<&Value> = inner["syscalls"].as_array().unwrap().iter().collect();
            let refuses = |name: &str, first: u64| {
                rules.iter().any(|rule| {
                    let holds = |test: &Value| {
                        let [mask, value] = ["value", "valueTwo"].map(|key| test[key].as_u64().unwrap());
                        assert_eq!((&test["op"], &test["index"]), (&json!("SCMP_CMP_MASKED_EQ"), &json!(0)));
                        first & mask == value
                    };
                    rule["names"].as_array().unwrap().contains(&json!(name))
                        && rule["args"].as_array().unwrap().iter().all(holds)
                })
            };
            let firsts = (0..80).chain((0..32).map(|bit| 1 << bit)).chain([0x5356_4d41, 0x4155_5856, 1 << 32 | 22]);
            for first in firsts {
                for rule in code.rules() {
                    let decided =
                        |profile: &Profile| profile.decide(rule.number, &[first, 0, 0, 0, 0, 0]) == Action::Allow;
                    assert_eq!(
                        decided(&code),
                        decided(&runtime) && !refuses(rule.name, first),
                        "{} {first:#x}",
                        rule.name
                    );
                }
            }
        }
    }

    #[test]
    fn fixed_paths_are_well_formed() {
        for path in [ROOT, BUNDLE, STATE, PROOFS, ENTER] {
            assert_eq!(InsidePath::fixed(path).as_str(), path);
        }
    }
}
