//! The line every run follows, whoever asks: request → decision → plan → record → run → outcome.

use stockade_core::audit::{Asker, Record, Recorded, Trail};
use stockade_core::plan::{self, Plan};
use stockade_core::policy::{Decision, Policy};
use stockade_core::request::Request;
use stockade_launch::{Finished, Running, Streams};

use crate::problem::Problem;
use crate::trail::{FileTrail, now_ms};

/// Decides about a request and plans it.
pub(crate) fn planned(policy: &Policy, request: Request) -> Result<Plan, Problem> {
    let tier = request.tier;
    let grant = match policy.decide(request) {
        Decision::Permit(grant) => *grant,
        Decision::Forbid(reason) => return Err(reason.into()),
    };
    Ok(plan::build(grant, &stockade_launch::facts::gather(tier), &run_id()?)?)
}

/// Carries a plan out, on record at both ends. `meanwhile` is called when the code runs.
pub(crate) fn carry_out(
    plan: Plan,
    digests: Digests<'_>,
    trail: &mut FileTrail,
    streams: Streams<'_>,
    meanwhile: impl FnOnce(&mut Running) -> Result<(), Problem>,
) -> Result<Finished, Problem> {
    let run = plan.run.clone();
    let principal = principal();
    let asker = Asker { principal: &principal, code_digest: digests.code, environment_digest: digests.environment };
    let recorded = Recorded::intent(trail, asker, plan, now_ms())?;
    let followed = (|| {
        let mut running = stockade_launch::start(recorded)?;
        meanwhile(&mut running)?;
        Ok(running.wait(streams)?)
    })();
    followed.map_err(|problem: Problem| {
        match trail.append(&Record::Failed { time_ms: now_ms(), run: &run, error: problem.what() }) {
            Ok(()) => problem,
            Err(refused) => refused.into(),
        }
    })
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
fn principal() -> String {
    format!("uid-{}@local", rustix::process::geteuid().as_raw())
}

/// Sixteen hexadecimal digits nobody can guess.
fn run_id() -> Result<String, Problem> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|errno| {
        Problem::new("cannot make the run's id", stockade_launch::errno_text(errno), "run it again")
    })?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
