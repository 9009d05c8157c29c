//! `stockade run` and `stockade plan`: code and flags in, outputs and a report out.

use std::os::fd::AsFd;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use stockade_core::audit::Closed;
use stockade_core::policy::Policy;
use stockade_launch::{Finished, Input, Output, Streams};

use crate::args::Run;
use crate::ask::{self, Asked};
use crate::code::{self, Code};
use crate::pipeline::{self, Digests};
use crate::problem::Problem;
use crate::trail::{FileTrail, now_ms};
use crate::{hints, learn, outputs, printer, report};

/// Runs code inside walls.
pub(crate) fn run(arguments: &Run) -> Result<ExitCode, Problem> {
    if arguments.explain {
        return plan(arguments);
    }
    let mut trail = FileTrail::of_user();
    let code = code::code(arguments)?;
    let destination = outputs::open_destination(arguments)?;
    let proposal = arguments.learn.as_deref().map(learn::Proposal::open).transpose()?;
    let asked = ask::request(arguments, &code, &mut trail)?;
    for remark in asked.remarks.iter().filter(|_| !arguments.quiet) {
        printer::remark(remark);
    }
    let finished = carry_out(arguments, &code, asked.request, &asked.environment, &mut trail)?;
    let run = finished.plan.run.clone();
    let hints = hints::hints(&finished, &code);
    let mut collected = outputs::take(arguments, destination.as_ref(), &finished);
    let finished_open_line = finished.error_ends_open && (arguments.json || !arguments.quiet);
    let mut outcome = finished.outcome;
    if let Ok(outputs) = &mut collected {
        outcome.usage.bytes_out = outputs.bytes;
    }
    let closed = Closed::outcome(&mut trail, &run, outcome, now_ms())?;
    let outputs = collected?;
    let status = closed.get().cause.exit_status();
    let report = report::Report {
        run: &run,
        outcome: closed.get(),
        environment: &asked.environment,
        outputs: &outputs,
        hints: &hints,
    };
    if finished_open_line {
        printer::remark("");
    }
    if arguments.json {
        printer::remark(&report.json());
    } else if !arguments.quiet || status != 0 || !closed.get().denials.is_empty() || !outputs.left_out.is_empty() {
        printer::remark(&report.lines());
    }
    if let Some(proposal) = proposal {
        proposal.write(closed.get())?;
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(125)))
}

/// Prints the plan and runs nothing.
pub(crate) fn plan(arguments: &Run) -> Result<ExitCode, Problem> {
    let code = code::code(arguments)?;
    let Asked { request, remarks, .. } = ask::request(arguments, &code, &mut FileTrail::of_user())?;
    let plan = pipeline::planned(&Policy::offline(), request)?;
    printer::page(&plan.to_string());
    for remark in remarks {
        printer::remark(&remark);
    }
    Ok(ExitCode::SUCCESS)
}

fn carry_out(
    arguments: &Run,
    code: &Code,
    request: stockade_core::request::Request,
    environment: &str,
    trail: &mut FileTrail,
) -> Result<Finished, Problem> {
    let plan = pipeline::planned(&Policy::offline(), request)?;
    let digest = hexadecimal(&Sha256::digest(&code.bytes));
    let digests = Digests { code: &digest, environment };
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    pipeline::carry_out(plan, digests, trail, streams(arguments, &input, &output, &error), |_| Ok(()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn streams<'a>(
    arguments: &Run,
    input: &'a std::io::Stdin,
    output: &'a std::io::Stdout,
    error: &'a std::io::Stderr,
) -> Streams<'a> {
    use std::io::IsTerminal;
    Streams {
        input: Input::Descriptor(input.as_fd()),
        output: Output::Descriptor { to: output.as_fd(), neutral: output.is_terminal() && !arguments.raw },
        error: Output::Descriptor { to: error.as_fd(), neutral: error.is_terminal() && !arguments.raw },
    }
}
