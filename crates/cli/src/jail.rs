//! The build jail of environments: a run under the policy `package-build`, with at most a relay to
//! the package index, whose outputs are brought out.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use stockade_core::layer::Layers;
use stockade_core::limits::Limit;
use stockade_core::outcome::Cause;
use stockade_core::paths::InsidePath;
use stockade_core::policy::Policy;
use stockade_core::request::{
    CgroupMode, Language, Network, Request, ResultDescriptor, Scratch, Start, Streams as Kind, Tier, Tree,
};
use stockade_engines::Interpreter;
use stockade_environments::relay::{Refusal, Rules};
use stockade_environments::{Ended, HostPort, Jail, JailFailure, JailOutcome, JailStep, Relay};
use stockade_launch::collect::{self, Caches, Destination, Existing};
use stockade_launch::{Finished, Input, Output, Running, Streams};

use crate::pipeline::{self, Digests};
use crate::problem::Problem;
use crate::staging;
use crate::trail::{FileTrail, now_ms};

/// Runs build steps behind the walls of a run.
#[derive(Debug)]
pub(crate) struct BuildJail<'a> {
    pub(crate) interpreter: &'a Interpreter,
    pub(crate) trail: &'a mut FileTrail,
}

impl Jail for BuildJail<'_> {
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
        self.carry_out(step).map_err(|problem| problem.into_jail_failure())
    }
}

impl BuildJail<'_> {
    fn carry_out(&mut self, step: JailStep<'_>) -> Result<JailOutcome, Problem> {
        let request = self.request(&step)?;
        let plan = pipeline::planned(&Policy::package_build(), request)?;
        let run = plan.run.clone();
        let mut lines = Lines::new(step.on_line);
        let mut take = |bytes: &[u8]| lines.take(bytes);
        let streams =
            Streams { input: Input::Empty, output: Output::Taken(&mut |_| {}), error: Output::Taken(&mut take) };
        let mut relay = None;
        let digests = Digests { code: step.name, environment: "none" };
        let finished = pipeline::carry_out(plan, digests, self.trail, streams, |running| {
            relay = serve_relay(running, step.relay.as_ref())?;
            Ok(())
        })?;
        let refused = relay.map(ServedRelay::stop).unwrap_or_default();
        bring_out(&finished, &step.outputs)?;
        let cause = finished.outcome.cause;
        stockade_core::audit::Closed::outcome(self.trail, &run, finished.outcome, now_ms())?;
        Ok(JailOutcome { ended: ended(cause), refused })
    }

    fn request(&self, step: &JailStep<'_>) -> Result<Request, Problem> {
        let mut trees = self.interpreter.trees();
        for shown in &step.shown {
            let target = InsidePath::parse(&shown.inside).map_err(|bad| {
                Problem::new(
                    format!("`{}` is no inside path", shown.inside),
                    bad.to_string(),
                    "this is a bug: report it",
                )
            })?;
            trees.push(Tree { source: staging::look(&shown.outside)?, target, over: Vec::new() });
        }
        let start = Start {
            argv: step.argv.clone(),
            vars: BTreeMap::new(),
            trees,
            files: Vec::new(),
            result: ResultDescriptor::None,
        };
        Ok(Request {
            label: format!("build step: {}", step.name),
            language: Language::Program,
            start,
            inputs: Vec::new(),
            shares: Vec::new(),
            limits: vec![(Limit::Time, step.time_ms_max), (Limit::Scratch, step.scratch_bytes_max)],
            network: if step.relay.is_some() { Network::Relay } else { Network::None },
            vars: step.vars.clone().into_iter().chain(self.interpreter.vars()).collect(),
            require: Layers::NONE,
            cgroup: CgroupMode::Auto,
            scratch: Scratch::Memory,
            streams: Kind::Pipes,
            tier: Tier::Namespaces,
        })
    }
}

const fn ended(cause: Cause) -> Ended {
    match cause {
        Cause::Exited { status } => Ended::Exited(status),
        Cause::Signalled { signal } => Ended::Signalled(signal),
        Cause::Limit { limit: Limit::Time } => Ended::TimedOut,
        Cause::Limit { .. } => Ended::LimitReached,
        Cause::Cancelled => Ended::Signalled(2),
        Cause::NotExecutable => Ended::Exited(126),
        Cause::NotFound => Ended::Exited(127),
    }
}

/// Brings regular files and folders out; anything else the step left is refused.
fn bring_out(finished: &Finished, outputs: &Path) -> Result<(), Problem> {
    let failed = |error: &std::io::Error| Problem::path("write to", outputs, error, "make it writable");
    let folder: OwnedFd = std::fs::File::open(outputs).map_err(|error| failed(&error))?.into();
    let destination = Destination::Folder { folder: folder.as_fd(), existing: Existing::Keep, allow: &[] };
    let collected = finished
        .leavings(Caches::Keep, |leavings| collect::collect(leavings, &destination))?
        .map_err(|stopped| Problem::midway(&stopped.failure, "the build's files could not be brought out"))?;
    match collected.left_out.first() {
        None => Ok(()),
        Some(left_out) => Err(Problem::new(
            format!("the build left `{}`, which cannot be taken", left_out.name_shown),
            left_out.why.to_string(),
            "report it to the package's authors, or choose another version",
        )),
    }
}

/// The relay of one step: a process of its own, which holds the listener and nothing else.
#[derive(Debug)]
struct ServedRelay(Child);

fn serve_relay(running: &mut Running, relay: Option<&Relay>) -> Result<Option<ServedRelay>, Problem> {
    let (Some(listener), Some(relay)) = (running.take_relay(), relay) else { return Ok(None) };
    let failed = |error: std::io::Error| {
        Problem::new("cannot start the relay to the package index", error.to_string(), "run it again")
    };
    // Not by its path, which may hold another version by now, or none.
    let child = Command::new("/proc/self/exe")
        .arg("internal-relay")
        .args(relay.hosts.iter().map(|host| &host.host))
        .stdin(listener)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    Ok(Some(ServedRelay(child)))
}

impl ServedRelay {
    /// Ends the relay and takes what it refused.
    fn stop(mut self) -> Vec<Refusal> {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.0.kill());
        let mut text = String::new();
        if let Some(out) = self.0.stdout.take() {
            drop(out.take(1 << 20).read_to_string(&mut text));
        }
        drop(self.0.wait());
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for ServedRelay {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `stockade internal-relay HOST...`: serves the listener on standard input until it is killed.
pub(crate) fn relay(hosts: &[String]) -> Result<(), Problem> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(|errno| {
        Problem::new("cannot tie the relay to its caller's life", stockade_launch::errno_text(errno), "run it again")
    })?;
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| {
        Problem::new("cannot use the relay's listener", error.to_string(), "this command is not for people")
    })?;
    let rules = Rules::new(hosts.iter().map(|host| HostPort::https(host)).collect());
    let stop = std::sync::atomic::AtomicBool::new(false);
    stockade_environments::relay::serve(&listener, &rules, &stop, &|refusal| {
        crate::printer::page(&format!("{}\n", serde_json::to_string(&refusal).unwrap_or_default()));
    })?;
    Ok(())
}

/// Cuts a stream into lines of bounded length.
struct Lines<'a> {
    on_line: &'a mut dyn FnMut(&str),
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    const LINE_BYTES_MAX: usize = 4096;

    fn new(on_line: &'a mut dyn FnMut(&str)) -> Self {
        Self { on_line, line: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                (self.on_line)(&String::from_utf8_lossy(&self.line));
                self.line.clear();
            } else if self.line.len() < Self::LINE_BYTES_MAX {
                self.line.push(*byte);
            }
        }
    }
}
