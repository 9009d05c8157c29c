//! `stockade run` and `stockade plan`: code and flags in, outputs and a report out.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use stockade_core::audit::Closed;
use stockade_core::outcome::Attempt;
use stockade_core::plan::Plan;
use stockade_core::text;
use stockade_egress::control::SecretValue;
use stockade_engines::Said;
use stockade_environments::Environment;
use stockade_launch::{Disk, Finished, Input, Output, Streams};

use crate::args::Run;
use crate::ask::{self, Asked, Used};
use crate::code::{self, Code};
use crate::pipeline::{self, Digests, Services};
use crate::problem::Problem;
use crate::report::{Begun, Report};
use crate::session::Conversation;
use crate::supervised::{self, Reporter};
use crate::trail::{FileTrail, now_ms};
use crate::{environment, flags, function, hints, learn, look, outputs, policy, pool, printer, remote};

/// Runs code inside walls.
pub(crate) fn run(arguments: &Run) -> Result<ExitCode, Problem> {
    if let Some(node) = &arguments.node {
        return remote::run(arguments, node);
    }
    if arguments.explain {
        return plan(arguments);
    }
    let mut reporter = supervised::begin(&arguments.supervised)?;
    if arguments.supervised.pool.is_some() {
        return pool::keep(arguments);
    }
    if let Some(what) = arguments.supervised.look {
        return Ok(look::look(arguments, what, &mut reporter));
    }
    match reported(arguments, &mut reporter) {
        // Standard error is the code's alone.
        Err(problem) if reporter.is_there() => {
            reporter.write(&printer::document(&problem.document()));
            Ok(ExitCode::from(problem.status()))
        }
        ended => ended,
    }
}

fn reported(arguments: &Run, reporter: &mut Reporter) -> Result<ExitCode, Problem> {
    let mut services = services(arguments);
    let Decided { code, plan, secrets, environment, remarks } = decided(arguments, &mut services)?;
    let plan = services.network(plan, secrets)?;
    let mut kept = Kept {
        code,
        environment,
        remarks,
        destination: outputs::open_destination(arguments)?,
        proposal: arguments.learn.as_deref().map(learn::Proposal::open).transpose()?,
        begun: Begun::Cold,
    };
    if !arguments.quiet && !arguments.json {
        remark(&kept.remarks);
    }
    let digest = hexadecimal(&Sha256::digest(&kept.code.bytes));
    let digests = Digests { code: &digest, environment: &kept.environment.digest };
    if let Some(environment) = &kept.environment.held {
        environment.count_use();
    }
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let conversation = arguments.supervised.session.as_ref().map(|_| Conversation::take()).transpose()?;
    let mut streams = streams(arguments, &input, &output, &error);
    if conversation.is_some() {
        streams.input = Input::Empty;
    }
    let mut finished = pipeline::carry_out(plan, digests, &mut services, streams, conversation.as_ref())?;
    // Nothing is left for it to do, and the outcome is written beside nobody who holds the trail.
    drop(std::mem::take(&mut services.gate));

    // Held until the end of this function, so that nobody takes the environment away meanwhile.
    let environment = kept.environment.held.take();
    let ends_open = finished.error_ends_open;
    let scratch = finished.disk.take();
    let concluded = conclude(arguments, kept, &finished, &mut services.trail, reporter);
    // A line of the code's that has no end shall not become part of ours.
    if ends_open && !matches!(concluded, Ok((_, None))) {
        printer::remark("");
    }
    let (status, report) = concluded?;
    if let Some(report) = report {
        printer::remark(&report);
    }
    note_imports(environment.as_ref(), &finished);
    // What the kernel still takes down is waited for only now.
    drop(finished.ending);
    // Last, since it may take a while: nobody waits for it to know how the run ended.
    if let Some(Err(failure)) = scratch.map(Disk::remove) {
        printer::remark(&format!("stockade: {failure}: {}; {}", failure.why(), failure.next()));
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(125)))
}

/// A run that was decided about, as it will be carried out.
pub(crate) struct Decided {
    code: Code,
    pub(crate) plan: Plan,
    secrets: Vec<SecretValue>,
    pub(crate) environment: Used,
    pub(crate) remarks: Vec<String>,
}

/// Who asks, and what was leased for that.
pub(crate) fn services(arguments: &Run) -> Services {
    let mut services = Services::of_user();
    if let Some(principal) = &arguments.supervised.principal {
        services.principal.clone_from(principal);
    }
    services.have_users(arguments.supervised.host_user);
    services.only_built = arguments.supervised.only_built;
    services
}

/// From a command line to what was decided: the one way, for who runs it and for who only wants to know.
pub(crate) fn decided(arguments: &Run, services: &mut Services) -> Result<Decided, Problem> {
    let policies = policy::given(&arguments.policies)?;
    let (code, asked) = ask(arguments, services)?;
    let Asked { request, secrets, environment, remarks } = asked;
    let policies = policy::or_shipped(policies, &request);
    let plan = pipeline::planned_by(&policies, request, services.host_user)?;
    Ok(Decided { code, plan, secrets, environment, remarks })
}

/// Keeps which modules of the environment the code said it imported, for warm engines.
fn note_imports(environment: Option<&Environment>, finished: &Finished) {
    let Some(environment) = environment else { return };
    let said = stockade_engines::said(&finished.said);
    // An honest run says so once; the code may say it as often as it likes.
    let first = said.iter().find_map(|said| if let Said::Imported { names } = said { Some(names) } else { None });
    if let Some(names) = first {
        stockade_environments::note(&environment::store(), environment, names.split(' '));
    }
}

/// What libraries reached for, as the code says.
fn attempts(finished: &Finished) -> Vec<Attempt> {
    /// More than any report shows; the code may say as much as it likes.
    const ATTEMPTS_MAX: usize = 100;
    let attempt = |said| match said {
        Said::Attempt { event, libraries, target } => Some(Attempt {
            event: text::shown(&event, 60),
            libraries: libraries.split(' ').take(5).map(|name| text::shown(name, 100)).collect(),
            target: text::shown(&target, 400),
        }),
        Said::Exception { .. } | Said::Imported { .. } | Said::Figure { .. } => None,
    };
    stockade_engines::said(&finished.said).into_iter().filter_map(attempt).take(ATTEMPTS_MAX).collect()
}

/// What is needed again when the run has ended.
pub(crate) struct Kept<'a> {
    pub(crate) code: Code,
    pub(crate) environment: Used,
    pub(crate) remarks: Vec<String>,
    pub(crate) destination: Option<OwnedFd>,
    pub(crate) proposal: Option<learn::Proposal<'a>>,
    pub(crate) begun: Begun,
}

/// From a run that has ended to its exit status, and its report if one is to be shown.
pub(crate) fn conclude(
    arguments: &Run,
    kept: Kept<'_>,
    finished: &Finished,
    trail: &mut FileTrail,
    reporter: &mut Reporter,
) -> Result<(i32, Option<String>), Problem> {
    let hints = hints::hints(finished, &kept.code);
    let collected = outputs::take(arguments, kept.destination.as_ref(), finished);
    let mut outcome = finished.outcome.clone();
    if let Ok(outputs) = &collected {
        outcome.usage.bytes_out = outputs.bytes;
    }
    outcome.attempts = attempts(finished);
    let closed = Closed::outcome(trail, &finished.plan.run, outcome, now_ms())?;
    let (outcome, outputs) = (closed.get(), collected?);
    if let (Some(function), Some(folder), 0) = (&kept.code.function, &kept.destination, outcome.cause.exit_status()) {
        function::check(function, folder, &outputs)?;
    }
    if let Some(proposal) = kept.proposal {
        proposal.write(outcome)?;
    }
    let report = Report {
        run: &finished.plan.run,
        tier: finished.plan.ground.tier(),
        begun: kept.begun,
        host_user: finished.plan.identity.outside_uid,
        outcome,
        environment: &kept.environment.digest,
        remarks: &kept.remarks,
        outputs: &outputs,
        hints: &hints,
    };
    let status = outcome.cause.exit_status();
    if reporter.is_there() {
        reporter.write(&printer::document(&report));
        return Ok((status, None));
    }
    let shown = match (arguments.json, arguments.quiet) {
        (true, _) => Some(printer::document(&report)),
        (false, true) if report.went_well() => None,
        (false, _) => Some(report.lines(printer::columns(std::io::stderr()))),
    };
    Ok((status, shown))
}

/// Prints the plan and runs nothing.
pub(crate) fn plan(arguments: &Run) -> Result<ExitCode, Problem> {
    if let Some(node) = &arguments.node {
        return remote::explain(arguments, node);
    }
    let Decided { plan, remarks, .. } = decided(arguments, &mut Services::of_user())?;
    printer::page(&plan.to_string());
    remark(&remarks);
    Ok(ExitCode::SUCCESS)
}

/// What the caller should know before the code runs.
fn remark(remarks: &[String]) {
    for remark in remarks {
        printer::remark(&format!("stockade: {remark}"));
    }
}

/// From the command line to the code and the request to run it.
fn ask(arguments: &Run, services: &mut Services) -> Result<(Code, Asked), Problem> {
    let code = code::code(arguments)?;
    flags::check(arguments, &code.engine)?;
    let asked = ask::request(arguments, &code, services)?;
    Ok((code, asked))
}

/// A digest as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
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
