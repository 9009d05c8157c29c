//! One warm engine, from before it is anybody's to the report of its run: a process of its own, a fork of the pool's
//! and a child of the launcher.
//!
//! The line is that of every run (`pipeline`, `run`): decision, plan, record, run, outcome, record, report. The walls
//! stand already, so the plan must come out as theirs; where it does not, the run has not begun, and is started anew.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::net::SendFlags;
use sha2::{Digest, Sha256};
use stockade_core::audit::{Asker, Recorded};
use stockade_core::limits::Limit;
use stockade_core::plan::Plan;
use stockade_core::pool::{Claim, Said};
use stockade_core::request::{Language, Request};
use stockade_engines::warm;
use stockade_launch::warm::twin::{Heard, Link, Word, leave};
use stockade_launch::warm::{Claimed, Engine};
use stockade_launch::{Finished, Input, Output, Streams};

use super::control;
use super::make::Kind;
use crate::code::{self, Code};
use crate::problem::Problem;
use crate::report::Begun;
use crate::run::{self, Kept, hexadecimal};
use crate::session::Conversation;
use crate::supervised::{self, Reporter};
use crate::trail::now_ms;
use crate::{environment, outputs, pipeline, printer};

/// How the supervisor of a run that is started anew sees its folder of outputs.
const OUT: &str = "../out";
/// As of a script that is named on a command line.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

/// Waits for a claim, carries it out, and ends.
pub(super) fn attend(kind: Kind, engine: Engine, socket: &OwnedFd, link: &Link) -> ! {
    let parent = kind.arguments.supervised.parent.unwrap_or(0);
    if supervised::end_with(parent).is_err() {
        leave(1)
    }
    // For whoever lists processes.
    call_itself(c"engine-waits");
    // Without it the first claim takes longer.
    let _rehearsed = rehearse(&kind, &engine);
    let Some((claim, given)) = wait_for_claim(socket, link) else { leave(0) };
    call_itself(c"engine-runs");
    link.say(Word::Claimed);
    leave(carry_out(kind, engine, (claim, given), socket, link))
}

/// Does what a claim makes this process do until its run is put on record, and forgets it. A fork shares its memory until it
/// writes to it; by this it has what it needs of its own before anybody waits for it.
fn rehearse(kind: &Kind, engine: &Engine) -> Option<()> {
    let limits = &engine.plan().limits;
    let claim = Claim {
        principal: kind.services.principal.clone(),
        script: Some("main.py".to_owned()),
        arguments: Vec::new(),
        inputs: Vec::new(),
        limits: Limit::ALL.map(|limit| (limit.name().to_owned(), limits.of(limit))).into(),
        out: String::new(),
    };
    let claim = serde_json::from_slice(&serde_json::to_vec(&claim).ok()?).ok()?;
    let file = || warm::file_of(b"0").ok();
    // No further: what is recorded is recorded for good, and nothing may pass for it.
    Ready::of(kind, engine, claim, vec![file()?, file()?, file()?, file()?]).map(drop)
}

fn call_itself(name: &std::ffi::CStr) {
    // Without a name of its own it serves as well.
    rustix::thread::set_name(name).ok();
}

fn wait_for_claim(socket: &OwnedFd, link: &Link) -> Option<(Claim, Vec<OwnedFd>)> {
    loop {
        let mut waited = [PollFd::new(socket, PollFlags::IN), PollFd::new(link, PollFlags::IN)];
        match rustix::event::poll(&mut waited, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let [claimed, told] = waited.map(|one| !one.revents().is_empty());
        // First: a run that was handed over is not given up.
        if claimed {
            return control::receive(socket);
        }
        if told && link.hear() != Heard::Nothing {
            return None;
        }
    }
}

/// Says whether it is heard. A launcher that is gone takes this process with it.
fn tell(socket: &OwnedFd, said: Said) -> bool {
    rustix::net::send(socket, &said.to_bytes(), SendFlags::NOSIGNAL).is_ok()
}

/// Says with which status it ends.
fn carry_out(
    mut kind: Kind,
    engine: Engine,
    (claim, given): (Claim, Vec<OwnedFd>),
    socket: &OwnedFd,
    link: &Link,
) -> u8 {
    let Some(ready) = Ready::of(&kind, &engine, claim, given) else {
        tell(socket, Said::Cold);
        return 0;
    };
    let mut reporter = Reporter::to(ready.report);
    let asker =
        Asker { principal: &ready.claim.principal, code_digest: &ready.digest, environment_digest: &kind.used.digest };
    let run = ready.plan.run.clone();
    // What cannot be put on record is refused where it is started anew.
    let Ok(recorded) = Recorded::intent(&mut kind.services.trail, asker, ready.plan, now_ms()) else {
        tell(socket, Said::Cold);
        return 0;
    };
    if !tell(socket, Said::Begun) {
        // Whoever did not hear it may start the run anew.
        let unheard = Problem::new("the run was not begun", "the launcher did not hear of it", "");
        pipeline::failed(&mut kind.services.trail, &run, unheard);
        return 0;
    }
    let streams = [&ready.output, &ready.error];
    let begun = begin(engine, recorded, &ready.claim, &ready.files);
    let status = begun
        .and_then(|claimed| follow(claimed, ready.session.as_ref(), &mut kind, (&run, &ready.claim), streams, link))
        .map_err(|problem| pipeline::failed(&mut kind.services.trail, &run, problem))
        .and_then(|finished| conclude(&mut kind, ready.claim, ready.bytes, &finished, &mut reporter));
    let status = status.unwrap_or_else(|problem| {
        let problem = problem.that_may_have_run();
        reporter.write(&printer::document(&problem.document()));
        problem.status()
    });
    drop(reporter);
    tell(socket, Said::Done(status));
    if let Some(environment) = &kind.used.held {
        environment.count_use();
    }
    status
}

/// A claim that this engine serves: nothing has begun yet.
struct Ready {
    claim: Claim,
    plan: Plan,
    digest: String,
    bytes: Vec<u8>,
    output: OwnedFd,
    error: OwnedFd,
    report: OwnedFd,
    /// The script, if there is one, and the inputs.
    files: Vec<OwnedFd>,
    session: Option<Conversation>,
}

impl Ready {
    /// `None` for what has to be started anew, and for what is to be refused: there it is said why.
    fn of(kind: &Kind, engine: &Engine, claim: Claim, given: Vec<OwnedFd>) -> Option<Self> {
        let mut given = given.into_iter();
        let (output, error, report) = (given.next()?, given.next()?, given.next()?);
        let mut files: Vec<OwnedFd> = given.collect();
        // It may have ended while it waited.
        if !engine.is_there() {
            return None;
        }
        let session = if claim.script.is_none() { Some(Conversation::on(files.pop()?)?) } else { None };
        if files.len() != claim.inputs.len() + usize::from(session.is_none())
            || !kind.stamps.are_as_they_were()
            || !is_the_same_environment(kind)
        {
            return None;
        }
        let code = match session {
            Some(_) => code::session(Language::Python),
            None => code_of(&claim, read(files.first()?)?),
        };
        if environment::names_packages(&code) {
            return None;
        }
        let limits = claim
            .limits
            .iter()
            .map(|(name, value)| Some((Limit::ALL.into_iter().find(|limit| limit.name() == name)?, *value)));
        let limits = limits.collect::<Option<Vec<_>>>()?;
        let request = Request { label: code.label.clone(), limits, ..kind.request.clone() };
        let plan = pipeline::planned_on(&kind.policies, request, &kind.facts).ok()?;
        let plan = plan.into_engine(engine.user()).ok()?;
        if !engine.serves(&plan) {
            return None;
        }
        let digest = hexadecimal(&Sha256::digest(&code.bytes));
        if session.is_none() {
            // What runs is what is on record, whatever becomes of the file meanwhile.
            *files.first_mut()? = warm::file_of(&code.bytes).ok()?;
        }
        Some(Self { claim, plan, digest, bytes: code.bytes, output, error, report, files, session })
    }
}

/// A name may mean another environment by now.
fn is_the_same_environment(kind: &Kind) -> bool {
    match (&kind.arguments.environment, &kind.used.held) {
        (Some(reference), Some(held)) if *reference != held.digest => {
            environment::store().environment(reference).is_ok_and(|now| now.digest == held.digest)
        }
        _ => true,
    }
}

fn read(file: &OwnedFd) -> Option<Vec<u8>> {
    let status = rustix::fs::fstat(file).ok()?;
    let is_file = rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    let length = u64::try_from(status.st_size).ok().filter(|length| is_file && *length <= SCRIPT_BYTES_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(file, bytes.get_mut(done..)?, u64::try_from(done).ok()?) {
            Ok(0) | Err(_) => return None,
            Ok(count) => done += count,
        }
    }
    Some(bytes)
}

fn code_of(claim: &Claim, bytes: Vec<u8>) -> Code {
    let Some(script) = &claim.script else { return code::session(Language::Python) };
    Code {
        engine: code::Engine::Script(script.clone()),
        label: script.clone(),
        arguments: claim.arguments.clone(),
        bytes,
        file: Some(PathBuf::from(script)),
        staged: Vec::new(),
        function: None,
    }
}

/// From a recorded plan to code that begins.
fn begin(engine: Engine, recorded: Recorded, claim: &Claim, files: &[OwnedFd]) -> Result<Claimed, Problem> {
    let mut claimed = engine.claim(recorded)?;
    let names = claim.script.iter().chain(&claim.inputs).map(String::as_str);
    let mut files: Vec<_> = names.zip(files).collect();
    // As inputs of a run: who lists the folder sees them in the same order.
    files.sort_by_key(|(name, _)| *name);
    claimed.stage(&files)?;
    let begun = match &claim.script {
        Some(script) => warm::begin(&claimed, std::iter::once(script).chain(&claim.arguments)),
        None => warm::begin_session(&claimed),
    };
    begun.map_err(control::failed)?;
    Ok(claimed)
}

/// Until everything inside is dead.
fn follow(
    claimed: Claimed,
    session: Option<&Conversation>,
    kind: &mut Kind,
    (run, claim): (&str, &Claim),
    [output, error]: [&OwnedFd; 2],
    link: &Link,
) -> Result<Finished, Problem> {
    let streams = Streams {
        input: Input::Empty,
        output: Output::Descriptor { to: output.as_fd(), neutral: false },
        error: Output::Descriptor { to: error.as_fd(), neutral: false },
    };
    Ok(match session {
        None => claimed.follow(streams, link)?,
        Some(session) => {
            claimed.converse(streams, link, &mut session.recorded(&mut kind.services.trail, run, &claim.principal))?
        }
    })
}

fn conclude(
    kind: &mut Kind,
    claim: Claim,
    bytes: Vec<u8>,
    finished: &Finished,
    reporter: &mut Reporter,
) -> Result<u8, Problem> {
    let code = code_of(&claim, bytes);
    kind.arguments.out = Some(claim.out.into());
    let destination = outputs::open_destination(&kind.arguments)?;
    kind.arguments.out = Some(OUT.into());
    let kept = Kept {
        code,
        environment: std::mem::replace(&mut kind.used, crate::ask::Used::none()),
        remarks: kind.remarks.clone(),
        destination,
        proposal: None,
        begun: Begun::Warm,
    };
    let (status, _) = run::conclude(&kind.arguments, kept, finished, &mut kind.services.trail, reporter)?;
    Ok(u8::try_from(status).unwrap_or(125))
}
