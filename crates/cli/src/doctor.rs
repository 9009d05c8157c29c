//! `stockade doctor`: does this machine give every layer? Tests features, never versions: makes
//! sandboxes, lets a probe in each try to break them, and says what is missing and how to get it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use stockade_core::audit::Closed;
use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::Limit;
use stockade_core::network::{Egress, Network};
use stockade_core::outcome::{Accounting, Cause, Outcome};
use stockade_core::policy::{Policy, REQUIRED};
use stockade_core::request::{
    CgroupMode, Input, Language, Request, ResultDescriptor, Scratch, Start, Streams as Kind, Tier,
};
use stockade_core::trust::Libraries;
use stockade_launch::{Input as In, Output, Streams};

use crate::args::Doctor;
use crate::pipeline::{self, Digests, Services};
use crate::problem::Problem;
use crate::trail::now_ms;
use crate::{printer, staging};

/// One layer as found.
#[derive(Debug, Serialize)]
struct Finding {
    layer: &'static str,
    required: bool,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
}

/// What became of the tries to break a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// In force, and every try was refused.
    Held,
    /// In force; nothing inside could try it by itself.
    InForce,
    /// This machine does not give it.
    Missing,
    /// It claimed to be in force, and a try succeeded.
    Broken,
}

/// Examines this machine.
pub(crate) fn doctor(arguments: &Doctor) -> Result<ExitCode, Problem> {
    let findings = match examine() {
        Ok(findings) => findings,
        Err(problem) => return Ok(cannot_start(arguments, &problem)),
    };
    let bad = findings
        .iter()
        .any(|finding| finding.state == State::Broken || (finding.required && finding.state == State::Missing));
    if arguments.json {
        let document = serde_json::json!({ "passed": !bad, "layers": findings });
        printer::page(&format!("{document}\n"));
    } else {
        printer::page(&table(&findings));
        printer::page(if bad {
            "\nThis machine does not give every layer that a run requires.\n"
        } else {
            "\nEvery layer that a run requires holds on this machine.\n"
        });
    }
    Ok(ExitCode::from(u8::from(bad)))
}

/// No sandbox at all could be made: every layer is missing, and the reason is the finding.
fn cannot_start(arguments: &Doctor, problem: &Problem) -> ExitCode {
    let next = why_no_namespaces();
    if arguments.json {
        let document = serde_json::json!({ "passed": false, "layers": [], "error": problem.document(), "next": next });
        printer::page(&format!("{document}\n"));
    } else {
        // Not the problem's own: it leads here.
        printer::page(&format!("No sandbox can be made on this machine.\n{}", problem.without_next()));
        printer::page(&next.iter().map(|line| format!("  next: {line}\n")).collect::<String>());
    }
    ExitCode::FAILURE
}

/// The usual reasons, each looked at on this machine.
fn why_no_namespaces() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut found = Vec::new();
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        found.push(
            "user namespaces are switched off: sysctl user.max_user_namespaces=10000 (as the machine's administrator)"
                .to_owned(),
        );
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        found.push("ordinary users may not make namespaces: sysctl kernel.unprivileged_userns_clone=1".to_owned());
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        found.push(
            "AppArmor restricts namespaces: install profiles/apparmor-stockade and run `apparmor_parser -r` on it"
                .to_owned(),
        );
    }
    if found.is_empty() {
        found.push(
            "inside a container, ask for one that permits user namespaces (seccomp and AppArmor unconfined for it)"
                .to_owned(),
        );
    }
    if stockade_launch::facts::landlock_abi() >= SCOPES_ABI {
        found.push(
            "`stockade run --tier landlock` runs with what can be had meanwhile: see docs/guides/where-namespaces-are-blocked.md"
                .to_owned(),
        );
    }
    found
}

/// From this Landlock ABI on signals stay inside, which the tier `landlock` requires.
const SCOPES_ABI: u32 = 6;

fn examine() -> Result<Vec<Finding>, Problem> {
    let (outcome, said) = probe("internal-probe", &[], Network::None)?;
    let tries = parse(&said);
    let mut findings: Vec<Finding> = Layer::ALL
        .into_iter()
        // Some are of other tiers: sockets are refused where there is no namespace to make them in.
        .filter(|layer| !Tier::Namespaces.goes_without().has(*layer))
        .filter(|layer| !matches!(layer, Layer::Cgroup | Layer::Watchdog | Layer::Gate))
        .map(|layer| finding(layer, &outcome, &tries))
        .collect();
    findings.push(memory_finding()?);
    findings.push(gate_finding());
    Ok(findings)
}

type Tries = BTreeMap<String, Vec<(bool, String)>>;

fn parse(said: &str) -> Tries {
    let mut tries = Tries::new();
    for line in said.lines() {
        let mut fields = line.splitn(3, '\t');
        if let (Some(layer), Some(verdict), Some(detail)) = (fields.next(), fields.next(), fields.next()) {
            tries
                .entry(layer.to_owned())
                .or_default()
                .push((verdict == "held", stockade_core::text::shown(detail, 200)));
        }
    }
    tries
}

fn finding(layer: Layer, outcome: &Outcome, tries: &Tries) -> Finding {
    let tried = tries.get(layer.name()).map_or(&[][..], Vec::as_slice);
    let broken = tried.iter().find(|(held, _)| !held);
    let (state, detail) = match (outcome.enforced.has(layer), broken) {
        (false, _) => (State::Missing, layer.purpose().to_owned()),
        (true, Some((_, detail))) => (State::Broken, detail.clone()),
        (true, None) if tried.is_empty() => (State::InForce, layer.purpose().to_owned()),
        (true, None) => (State::Held, tried.iter().map(|(_, detail)| detail.as_str()).collect::<Vec<_>>().join("; ")),
    };
    let next = match state {
        State::Missing => Some(how_to_get(layer)),
        State::Broken => Some("do not run untrusted code on this machine; report it as SECURITY.md says"),
        State::Held | State::InForce => None,
    };
    Finding { layer: layer.name(), required: REQUIRED.has(layer), state, detail, next }
}

const fn how_to_get(layer: Layer) -> &'static str {
    match layer {
        Layer::Landlock => "use a kernel with Landlock (5.13 or later) and `landlock` in its lsm= list",
        Layer::Scopes => "use Linux 6.12 or later",
        Layer::Proc => "in a container, ask for an unmasked /proc; without it `ps` and R's detectCores do not work",
        Layer::Cgroup => "start from a delegated cgroup (systemd: Delegate=yes), or as root",
        Layer::TimeNamespace => "use Linux 5.6 or later",
        Layer::SecondKernel => "install gVisor, and ask for it: --tier gvisor",
        Layer::Gate => "install both programs: cargo install --path crates/cli",
        Layer::LockedMounts => "raise user.max_user_namespaces",
        Layer::UserNamespace
        | Layer::MountNamespace
        | Layer::PidNamespace
        | Layer::Network
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::Root
        | Layer::ThrowAwayUser
        | Layer::NoNewPrivileges
        | Layer::NoCapabilities
        | Layer::Seccomp
        | Layer::Watchdog
        | Layer::NoSockets
        | Layer::Rlimits
        | Layer::Scratch => "permit user namespaces; see the first lines of `stockade doctor` where they are off",
    }
}

/// The one name that the probe of the gate is granted; nobody has it (RFC 6761).
const GRANTED: &str = "granted.invalid";

/// A run without the gate is a run without network, so it is no layer that every run requires.
fn gate_finding() -> Finding {
    let grants = GRANTED.parse().into_iter().collect();
    let network = Network::Gate(Box::new(Egress { layers: vec![grants], ..Egress::default() }));
    match probe("internal-probe-gate", &[], network) {
        Ok((outcome, said)) => finding(Layer::Gate, &outcome, &parse(&said)),
        Err(problem) => Finding {
            layer: Layer::Gate.name(),
            required: false,
            state: State::Missing,
            detail: problem.what().to_owned(),
            next: Some(how_to_get(Layer::Gate)),
        },
    }
}

/// Memory is bounded for real: a probe that takes too much is ended.
fn memory_finding() -> Result<Finding, Problem> {
    let (outcome, _) = probe("internal-probe-memory", &[(Limit::Memory, 96 << 20)], Network::None)?;
    let ended = outcome.cause == Cause::Limit { limit: Limit::Memory };
    let (layer, exact) = match outcome.accounting {
        Accounting::CgroupV1 | Accounting::CgroupV2 => (Layer::Cgroup, true),
        Accounting::Watchdog => (Layer::Watchdog, false),
    };
    let state = if ended { State::Held } else { State::Broken };
    let detail = if ended {
        "take 256 MiB of 96 MiB: ended".to_owned()
    } else {
        format!("take 256 MiB of 96 MiB: {}", outcome.cause)
    };
    let next = if !ended {
        Some("give smaller limits; report it as SECURITY.md says")
    } else if exact {
        None
    } else {
        Some("approximate: start from a delegated cgroup (systemd: Delegate=yes), or as root, to have it exact")
    };
    Ok(Finding { layer: layer.name(), required: false, state, detail, next })
}

/// One sandbox with this very program inside.
fn probe(command: &str, limits: &[(Limit, u64)], network: Network) -> Result<(Outcome, String), Problem> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    let (port, _listener) = listener.map_err(|error| {
        Problem::new("cannot listen on the loopback", error.to_string(), "bring up the loopback interface")
    })?;
    let this = std::env::current_exe()
        .map_err(|error| Problem::new("cannot find this program", error.to_string(), "run it by its path"))?;
    let program = Input { source: staging::look(&this)?, target: staging::in_job("stockade")?, hidden: Vec::new() };
    let mut argv = vec!["./stockade".to_owned(), command.to_owned(), std::process::id().to_string(), port.to_string()];
    argv.extend(["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"].iter().filter_map(|name| {
        Some(std::fs::read_link(format!("/proc/self/ns/{name}")).ok()?.to_string_lossy().into_owned())
    }));
    let start =
        Start { argv, vars: BTreeMap::new(), trees: Vec::new(), files: Vec::new(), result: ResultDescriptor::None };
    let mut all = vec![(Limit::Scratch, program.source.bytes + (4 << 20)), (Limit::Time, 20_000)];
    all.extend(limits);
    let request = Request {
        label: format!("doctor: {command}"),
        language: Language::Program,
        start,
        inputs: vec![program],
        tables: Vec::new(),
        shares: Vec::new(),
        libraries: Libraries::None,
        limits: all,
        network,
        vars: BTreeMap::new(),
        require: Layers::NONE,
        cgroup: CgroupMode::Auto,
        scratch: Scratch::Memory,
        streams: Kind::Pipes,
        tier: Tier::Namespaces,
    };
    let mut services = Services::of_user();
    let plan = pipeline::planned(&Policy::examination(), request)?;
    let plan = services.network(plan, Vec::new())?;
    let run = plan.run.clone();
    let mut said = Vec::new();
    let mut take = |bytes: &[u8]| said.extend_from_slice(bytes);
    let streams = Streams { input: In::Empty, output: Output::Taken(&mut take), error: Output::Taken(&mut |_| {}) };
    let finished = pipeline::carry_out(plan, Digests { code: "-", environment: "none" }, &mut services, streams, None)?;
    let closed = Closed::outcome(&mut services.trail, &run, finished.outcome, now_ms())?;
    Ok((closed.get().clone(), String::from_utf8_lossy(&said).into_owned()))
}

fn table(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let columns = printer::columns(std::io::stdout()).and_then(|columns| u16::try_from(columns).ok());
    table.set_width(columns.unwrap_or(100));
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["layer", "", "tried, and the answer"]);
    for finding in findings {
        let state = match finding.state {
            State::Held => "held",
            State::InForce => "in force",
            State::Missing if finding.required => "MISSING",
            State::Missing => "missing",
            State::Broken => "BROKEN",
        };
        let next = finding.next.map_or_else(String::new, |next| format!("\nnext: {next}"));
        table.add_row([finding.layer.to_owned(), state.to_owned(), format!("{}{next}", finding.detail)]);
    }
    table.trim_fmt() + "\n"
}
