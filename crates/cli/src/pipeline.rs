//! The line every run follows, whoever asks: request → decision → plan → record → run → outcome.

use stockade_core::audit::{Asker, Record, Recorded, Trail};
use stockade_core::facts::HostFacts;
use stockade_core::plan::{self, Plan};
use stockade_core::policy::{self, Decision, Policy};
use stockade_core::request::Request;
use stockade_egress::control::SecretValue;
use stockade_launch::{Finished, Streams};

use crate::gate::Gate;
use crate::problem::Problem;
use crate::session::Conversation;
use crate::trail::{FileTrail, now_ms};

/// What all runs of this process share.
#[derive(Debug)]
pub(crate) struct Services {
    /// Where records go.
    pub(crate) trail: FileTrail,
    /// The way to the network, for those that are granted one.
    pub(crate) gate: Gate,
    /// Who asks.
    pub(crate) principal: String,
    /// The user of the host that code runs as, where it was leased by somebody else.
    pub(crate) host_user: Option<u32>,
    /// Whether an environment that is not there is built.
    pub(crate) builds: bool,
    /// Whether who asks, and its code, may name no packages.
    pub(crate) only_built: bool,
}

impl Services {
    pub(crate) fn of_user() -> Self {
        Self {
            trail: FileTrail::of_user(),
            gate: Gate::default(),
            principal: principal(),
            host_user: None,
            builds: true,
            only_built: false,
        }
    }

    /// Takes the users that a launcher leased: one for code, the next for the gate.
    pub(crate) fn have_users(&mut self, first: Option<u32>) {
        self.host_user = first;
        self.gate.become_user(first.map(|first| first + 1));
    }

    /// Makes the gate ready for a plan that reaches the network; see [`Gate::open`].
    ///
    /// # Errors
    /// When the gate cannot be started, or refuses.
    pub(crate) fn network(&mut self, plan: Plan, secrets: Vec<SecretValue>) -> Result<Plan, Problem> {
        self.gate.open(plan, secrets, &self.trail)
    }
}

/// Decides about a request by one policy, and plans it.
pub(crate) fn planned(policy: &Policy, request: Request) -> Result<Plan, Problem> {
    planned_by(std::slice::from_ref(policy), request, None)
}

/// Decides about a request by several policies, and plans it, for a user of the host if one was leased.
pub(crate) fn planned_by(policies: &[Policy], request: Request, host_user: Option<u32>) -> Result<Plan, Problem> {
    let mut facts = stockade_launch::facts::gather(request.tier);
    facts.throw_away = host_user.unwrap_or(facts.throw_away);
    planned_on(policies, request, &facts)
}

/// The same, on a host of which these are the facts.
pub(crate) fn planned_on(policies: &[Policy], request: Request, facts: &HostFacts) -> Result<Plan, Problem> {
    let grant = match policy::decide(policies, request) {
        Decision::Permit(grant) => *grant,
        Decision::Forbid(reason) => return Err(reason.into()),
    };
    Ok(plan::build(grant, facts, &random_hexadecimal()?)?)
}

/// Carries a plan out, on record at both ends.
pub(crate) fn carry_out(
    plan: Plan,
    digests: Digests<'_>,
    services: &mut Services,
    streams: Streams<'_>,
    conversation: Option<&Conversation>,
) -> Result<Finished, Problem> {
    let run = plan.run.clone();
    let Services { trail, gate, principal, .. } = services;
    let asker = Asker { principal, code_digest: digests.code, environment_digest: digests.environment };
    let recorded = Recorded::intent(trail, asker, plan, now_ms())?;
    let followed = (|| {
        let mut running = stockade_launch::start(recorded)?;
        let sockets = running.take_gate_sockets();
        let has_network = sockets.is_some();
        if let Some(sockets) = sockets {
            // The code may run already; what it asks for waits until somebody serves it.
            gate.serve(&run, sockets)?;
        }
        let mut finished = match conversation {
            Some(conversation) => running.converse(streams, &mut conversation.recorded(trail, &run, principal))?,
            None => running.wait(streams)?,
        };
        if has_network {
            gate.close(&run, &mut finished.outcome);
        }
        Ok(finished)
    })();
    followed.map_err(|problem: Problem| failed(trail, &run, problem))
}

/// Puts on record that a run which is on record has come to nothing.
pub(crate) fn failed(trail: &mut FileTrail, run: &str, problem: Problem) -> Problem {
    match trail.append(&Record::Failed { time_ms: now_ms(), run, error: problem.what() }) {
        Ok(()) => problem,
        Err(refused) => refused.into(),
    }
}

/// What a run is identified by in its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digests<'a> {
    /// SHA-256 of the code.
    pub(crate) code: &'a str,
    /// Digest of the environment, or `none`.
    pub(crate) environment: &'a str,
}

/// The local user, as the kernel knows it.
pub(crate) fn principal() -> String {
    format!("uid-{}@local", rustix::process::geteuid().as_raw())
}

/// Sixteen hexadecimal digits nobody can guess.
pub(crate) fn random_hexadecimal() -> Result<String, Problem> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        Problem::new("cannot make a random number", stockade_launch::errno_text(errno), "run it again")
    })?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
