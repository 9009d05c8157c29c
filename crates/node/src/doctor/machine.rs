//! The machine: its clock, its kernel, what becomes of memory when a process dies.

use super::{Finding, Host};
use crate::settings::{self, Doctor};

pub(super) fn examine(host: &Host, asked: &Doctor) -> Vec<Finding> {
    vec![clock(host), mitigations(host), core_dumps(host), tracing(host), tls(host, asked)]
}

fn clock(host: &Host) -> Finding {
    let signs = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/chronyd.pid", "/run/ntpd.pid"];
    match signs.iter().find(|sign| host.exists(sign)) {
        Some(sign) => Finding::good("clock", 1, format!("something keeps the time: {sign}")),
        None => Finding::bad(
            "clock",
            1,
            "nothing that keeps the time is seen",
            "apt install systemd-timesyncd (or chrony): records and times of retention go by this clock",
        ),
    }
}

fn mitigations(host: &Host) -> Finding {
    const FOLDER: &str = "/sys/devices/system/cpu/vulnerabilities";
    const NEXT: &str = "update the kernel and the processor's microcode; leave `mitigations=off` out";
    let names = host.names(FOLDER);
    if names.is_empty() {
        return Finding::unknown("mitigations", 2, "the kernel does not tell", NEXT);
    }
    let open = |name: &String| {
        host.read(format!("{FOLDER}/{name}")).is_none_or(|text| text.trim_start().starts_with("Vulnerable"))
    };
    let bad: Vec<String> = names.into_iter().filter(open).map(|name| format!("open to {name}")).collect();
    Finding::of("mitigations", 2, &bad, "the kernel meets every flaw of the processor that it knows", NEXT)
}

/// Images of memory hold other people's data.
fn core_dumps(host: &Host) -> Finding {
    let mut bad = Vec::new();
    let setting = |name: &str| host.read(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    // A limit of zero does not hold for these.
    if let Some(program) = setting("kernel/core_pattern").strip_prefix('|') {
        let name = program.split(' ').next().unwrap_or_default();
        bad.push(format!("images of memory go to {name}, whatever limit a process has"));
    }
    if setting("fs/suid_dumpable") == "1" {
        bad.push("processes that gave up rights leave images too".to_owned());
    }
    Finding::of(
        "core-dumps",
        2,
        &bad,
        "a process with a limit of zero leaves no image of its memory",
        "sysctl kernel.core_pattern=core fs.suid_dumpable=0",
    )
}

fn tracing(host: &Host) -> Finding {
    let scope = host.read("/proc/sys/kernel/yama/ptrace_scope");
    match scope.as_deref().map(str::trim) {
        Some("0") | None => Finding::bad(
            "ptrace",
            1,
            "processes of one user may look into each other",
            "sysctl kernel.yama.ptrace_scope=1 (a kernel with Yama)",
        ),
        Some(scope) => Finding::good("ptrace", 1, format!("ptrace_scope is {scope}")),
    }
}

/// What a node listens at beside its socket is always TLS; its keys are looked at with its files.
fn tls(host: &Host, asked: &Doctor) -> Finding {
    let note = host.read(asked.folder.join(settings::NOTE)).unwrap_or_default();
    let note: serde_json::Value = serde_json::from_str(&note).unwrap_or_default();
    let listens = note.get("listen").and_then(serde_json::Value::as_array).filter(|all| !all.is_empty());
    let detail = match listens {
        Some(all) => {
            let all: Vec<String> =
                all.iter().filter_map(|at| Some(stockade_core::text::shown(at.as_str()?, 60))).collect();
            format!("at its last start the node listened at {}: TLS only", all.join(", "))
        }
        None => "the node was not started to listen beyond its Unix socket: there is nothing to encrypt".to_owned(),
    };
    Finding::good("tls", 0, detail)
}
