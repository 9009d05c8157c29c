//! The egress gate as this process sees it: `stockade-gate`, its neighbour, started when the first run needs it.
//!
//! It is a process of its own because it speaks with strangers; this one only tells it which runs there are, hands
//! over the sockets of their sandboxes, and asks at their end what they did. When this process ends, however, the
//! gate sees its socket close, and ends with every connection.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use stockade_core::network::{Egress, Network};
use stockade_core::outcome::{Connections, Denial, Outcome, Reached};
use stockade_core::plan::Plan;
use stockade_egress::control::{self, Client, Failure, Open, SecretValue};
use stockade_egress::{Connected, Refused, RunReport, Sockets};
use stockade_launch::GateSockets;

use crate::problem::Problem;
use crate::trail::FileTrail;

/// The program, beside this one.
const PROGRAM: &str = "stockade-gate";
/// What the gate is told of its surroundings: where the machine's authorities are, if not in the usual place.
const VARS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// The authorities of this machine, by the folder layouts of distributions.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The gate of this process; none runs before one is needed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    running: Option<Running>,
    user: Option<u32>,
}

#[derive(Debug)]
struct Running {
    // Dropped first: its closed socket is what tells the gate to end.
    client: Client,
    _process: Process,
}

/// The gate's process, which ends by itself, with its last records written.
#[derive(Debug)]
struct Process(Child);

/// How long the gate may take to write its last records.
const ENDING: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

impl Drop for Process {
    fn drop(&mut self) {
        let ended = rustix::process::pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())
            .and_then(|pidfd| rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&ENDING)));
        if ended != Ok(1) {
            // It may have ended meanwhile; what counts is that it does.
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}

impl Gate {
    /// The user of the host that it is to become, where this process is root; one by its process id if none is named.
    pub(crate) const fn become_user(&mut self, user: Option<u32>) {
        self.user = user;
    }

    /// Makes the gate ready for a planned run, and the plan trust the gate where it looks into TLS. A plan without
    /// network stays as it is.
    ///
    /// # Errors
    /// When the gate cannot be started, or refuses.
    pub(crate) fn open(&mut self, plan: Plan, secrets: Vec<SecretValue>, trail: &FileTrail) -> Result<Plan, Problem> {
        let Network::Gate(egress) = &plan.network else { return Ok(plan) };
        let asked = Open {
            run: plan.run.clone(),
            rules: rules(egress),
            budget: egress.budget.clone(),
            secrets,
            extra_roots_pem: None,
        };
        let authority = self.running(trail)?.client.open(asked)?;
        Ok(match authority {
            None => plan,
            Some(own) => plan.trusting(authorities(&own)),
        })
    }

    /// Serves the sockets of a run that was made ready.
    ///
    /// # Errors
    /// When the gate is gone or refuses; the run must not go on then.
    pub(crate) fn serve(&mut self, run: &str, sockets: GateSockets) -> Result<(), Problem> {
        let Some(running) = &mut self.running else { return Err(Failure::Gone.into()) };
        let GateSockets { proxy, resolver, transparent, watchers } = sockets;
        let sockets = Sockets { proxies: proxy.into_iter().collect(), resolver, transparent, watchers };
        Ok(running.client.serve(run, sockets)?)
    }

    /// Cuts what a run still holds open, and adds what it did to its outcome.
    pub(crate) fn close(&mut self, run: &str, outcome: &mut Outcome) {
        let report = match &mut self.running {
            Some(running) => running.client.close(run),
            None => Err(Failure::Gone),
        };
        match report {
            Ok(report) => tell(report, outcome),
            Err(failure) => {
                // Not zero connections: nobody knows.
                outcome.network = None;
                let failure = harmless(&failure.to_string());
                outcome.notes.push(format!("what the run did on the network is only in the audit trail: {failure}"));
            }
        }
    }

    fn running(&mut self, trail: &FileTrail) -> Result<&mut Running, Problem> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running::start(trail, self.user)?,
        };
        Ok(self.running.insert(running))
    }
}

impl Running {
    fn start(trail: &FileTrail, user: Option<u32>) -> Result<Self, Problem> {
        let failed = |why: String| Problem::new("cannot start the egress gate", why, NEXT);
        // Beside this very file, also when another version took its path meanwhile.
        let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let program = own.with_file_name(PROGRAM);
        let (control, far) = control::pair().map_err(|error| failed(error.to_string()))?;
        let (records, head) = trail.open_for_gate()?;
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        // The gate may read what these name, so they name no folder with a home in it.
        let is_narrow = |path: &OsString| path.is_empty() || !home.starts_with(path);
        let vars = VARS.into_iter().filter_map(|name| Some((name, std::env::var_os(name).filter(is_narrow)?)));
        let child = Command::new(&program)
            .args(user.map(|user| user.to_string()))
            .env_clear()
            .envs(vars)
            .current_dir("/")
            // Keys of the terminal are for the code; the gate ends with this process.
            .process_group(0)
            .stdin(far)
            .stdout(OwnedFd::from(records))
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let shown = stockade_core::text::shown(&program.to_string_lossy(), 300);
                failed(format!("`{shown}`: {}", crate::problem::plain(&error.to_string())))
            })?;
        let mut running = Self { client: Client::new(control), _process: Process(child) };
        running.client.hello(head.as_fd())?;
        Ok(running)
    }
}

const NEXT: &str = "install both programs: cargo install --path crates/cli";

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::new("the egress gate does not serve the run", harmless(&failure.to_string()), harmless(failure.next()))
    }
}

fn rules(egress: &Egress) -> stockade_egress::Rules {
    stockade_egress::Rules::of_layers(egress.layers.clone())
}

/// The machine's authorities and the gate's own, in one file.
fn authorities(own: &str) -> Vec<u8> {
    let mut bundle = AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    if bundle.last().is_some_and(|last| *last != b'\n') {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(own.as_bytes());
    bundle
}

/// What the gate says went through strangers' hands: it shall neither steer a terminal nor pass for another line.
fn harmless(text: &str) -> String {
    stockade_core::text::shown(text, 400)
}

fn tell(report: RunReport, outcome: &mut Outcome) {
    for refused in report.refusals {
        deny(&mut outcome.denials, refused);
    }
    if report.refusals_more > 0 {
        outcome.denials.push(Denial::GateMore { count: report.refusals_more });
    }
    outcome.network = Some(Reached {
        connections: report.connections.into_iter().fold(Vec::new(), added),
        connections_more: report.connections_more,
        bytes_up: report.totals.bytes_up,
        bytes_down: report.totals.bytes_down,
    });
}

/// One line for each place, by whatever way (a proxy or none) it was reached.
fn added(mut all: Vec<Connections>, to: Connected) -> Vec<Connections> {
    let one = Connections {
        host: harmless(&to.host),
        port: to.port,
        protocol: to.protocol.to_string(),
        inspected: to.inspected,
        rule: harmless(&to.rule),
        count: to.count,
        bytes_up: to.bytes_up,
        bytes_down: to.bytes_down,
    };
    let same = |known: &&mut Connections| {
        (&known.host, known.port, &known.protocol, known.inspected, &known.rule)
            == (&one.host, one.port, &one.protocol, one.inspected, &one.rule)
    };
    match all.iter_mut().find(same) {
        Some(known) => {
            known.count = known.count.saturating_add(one.count);
            known.bytes_up = known.bytes_up.saturating_add(one.bytes_up);
            known.bytes_down = known.bytes_down.saturating_add(one.bytes_down);
        }
        None => all.push(one),
    }
    all
}

/// One line for each thing refused and why, by whatever way it was asked for.
fn deny(all: &mut Vec<Denial>, refused: Refused) {
    let [asked, reason, why, next] =
        [&refused.asked, &refused.reason, &refused.why, &refused.next].map(|text| harmless(text));
    let count = refused.count;
    let same = |known: &&mut Denial| matches!(known, Denial::Gate { asked: other, why: known, .. } if *other == asked && *known == why);
    match all.iter_mut().find(same) {
        Some(Denial::Gate { count: known, .. }) => *known = known.saturating_add(count),
        Some(_) | None => all.push(Denial::Gate { asked, reason, why, next, count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_egress::Way;

    #[test]
    fn what_a_gate_says_steers_nothing_and_overflows_nothing() {
        const HOSTILE: &str = "a\u{1b}[2J\nstockade: done";
        let mut denials = Vec::new();
        let mut connections = Vec::new();
        for way in [Way::Connect, Way::Transparent] {
            let text = || HOSTILE.to_owned();
            let (asked, reason, why, next) = (text(), text(), text(), text());
            deny(&mut denials, Refused { way, asked, reason, why, next, count: u64::MAX });
            let one = Connected {
                host: text(),
                port: 443,
                protocol: stockade_core::grant::Protocol::Tls,
                inspected: false,
                way,
                rule: text(),
                count: u64::MAX,
                bytes_up: u64::MAX,
                bytes_down: u64::MAX,
            };
            connections = added(connections, one);
        }
        assert_eq!((denials.len(), connections.len()), (1, 1));
        assert_eq!(connections[0].count, u64::MAX);
        let shown = format!("{}{}{}{}", denials[0].what(), denials[0].next(), connections[0].host, connections[0].rule);
        assert!(!shown.contains(['\u{1b}', '\n']), "{shown:?}");
    }
}
