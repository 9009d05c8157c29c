//! `stockade run`, in one line of steps; each consumes the one before.

use std::os::fd::AsFd;
use std::process::ExitCode;

use stockade_core::audit::{Asker, Closed, Record, Recorded, Trail};
use stockade_core::plan::{self, Plan};
use stockade_core::policy::{Decision, Policy};
use stockade_launch::{Finished, Input, Output, Streams};

use crate::args::Run;
use crate::problem::Problem;
use crate::trail::{FileTrail, now_ms};
use crate::{ask, printer, report};

/// Runs code inside walls.
pub(crate) fn run(arguments: &Run) -> Result<ExitCode, Problem> {
    if arguments.explain {
        return plan(arguments);
    }
    let plan = planned(arguments)?;
    let run = plan.run.clone();
    let mut trail = FileTrail::of_user();
    let finished = carry_out(plan, arguments, &mut trail)?;
    let closed = Closed::outcome(&mut trail, &run, finished.outcome, now_ms())?;
    let status = closed.get().cause.exit_status();
    if arguments.json {
        printer::remark(&report::json(&run, &closed));
    } else if !arguments.quiet || status != 0 {
        printer::remark(&report::lines(&closed));
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(125)))
}

/// Prints the plan and runs nothing.
pub(crate) fn plan(arguments: &Run) -> Result<ExitCode, Problem> {
    printer::page(&planned(arguments)?.to_string());
    Ok(ExitCode::SUCCESS)
}

fn planned(arguments: &Run) -> Result<Plan, Problem> {
    let request = ask::request(arguments)?;
    let grant = match Policy::offline().decide(request) {
        Decision::Permit(grant) => *grant,
        Decision::Forbid(reason) => return Err(reason.into()),
    };
    Ok(plan::build(grant, &stockade_launch::facts::gather(), &run_id()?)?)
}

/// From a plan to the end of its run, on record at both ends.
fn carry_out(plan: Plan, arguments: &Run, trail: &mut FileTrail) -> Result<Finished, Problem> {
    let run = plan.run.clone();
    let principal = principal();
    let asker = Asker { principal: &principal, code_digest: "-", environment_digest: "none" };
    let recorded = Recorded::intent(trail, asker, plan, now_ms())?;
    let followed = stockade_launch::start(recorded).and_then(|running| running.wait(streams(arguments, &std::io::stdin(), &std::io::stdout(), &std::io::stderr())));
    followed.map_err(|failure| {
        let problem = Problem::from(failure);
        match trail.append(&Record::Failed { time_ms: now_ms(), run: &run, error: problem.what() }) {
            Ok(()) => problem,
            Err(refused) => refused.into(),
        }
    })
}

fn streams<'a>(arguments: &Run, input: &'a std::io::Stdin, output: &'a std::io::Stdout, error: &'a std::io::Stderr) -> Streams<'a> {
    use std::io::IsTerminal;
    Streams {
        input: Input::Descriptor(input.as_fd()),
        output: Output::Descriptor { to: output.as_fd(), neutral: output.is_terminal() && !arguments.raw },
        error: Output::Descriptor { to: error.as_fd(), neutral: error.is_terminal() && !arguments.raw },
    }
}

/// The local user, as the kernel knows it.
fn principal() -> String {
    format!("uid-{}@local", rustix::process::geteuid().as_raw())
}

/// Sixteen hexadecimal digits nobody can guess.
fn run_id() -> Result<String, Problem> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Problem::new("cannot make the run's id", stockade_launch::errno_text(errno), "run it again"))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
