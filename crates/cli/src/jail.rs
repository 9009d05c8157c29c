//! The build jail of environments: a run under the policy `package-build`, with at most the
//! package index to reach, whose outputs are brought out.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use stockade_core::grant::{Grant, Target};
use stockade_core::layer::Layers;
use stockade_core::limits::Limit;
use stockade_core::network::{Egress, Network};
use stockade_core::outcome::{Cause, Denial};
use stockade_core::paths::InsidePath;
use stockade_core::policy::{Policy, most};
use stockade_core::request::{
    CgroupMode, Language, Request, ResultDescriptor, Scratch, Start, Streams as Kind, Tier, Tree,
};
use stockade_core::text;
use stockade_core::trust::Libraries;
use stockade_engines::Interpreter;
use stockade_environments::{Ended, Jail, JailFailure, JailOutcome, JailStep};
use stockade_launch::collect::{self, Caches, Destination, Existing};
use stockade_launch::{Finished, Input, Output, Streams};

use crate::pipeline::{self, Digests, Services};
use crate::problem::Problem;
use crate::trail::now_ms;
use crate::{policy, staging};

/// Runs build steps behind the walls of a run.
#[derive(Debug)]
pub(crate) struct BuildJail<'a> {
    /// Python, if it runs the steps: R is in `/usr`, which every run sees.
    pub(crate) interpreter: Option<&'a Interpreter>,
    pub(crate) services: &'a mut Services,
}

impl Jail for BuildJail<'_> {
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
        self.carry_out(step).map_err(|problem| problem.into_jail_failure())
    }
}

impl BuildJail<'_> {
    fn carry_out(&mut self, step: JailStep<'_>) -> Result<JailOutcome, Problem> {
        let index = index(&step.hosts)?;
        // What the machine's administrator says holds for strangers' builds too.
        let machine = policy::of_machine()?.map(Policy::of_builds);
        let policies: Vec<Policy> = machine.into_iter().chain([Policy::package_build(index.clone())]).collect();
        let mut request = self.request(&step, index)?;
        for (limit, value) in &mut request.limits {
            *value = most(&policies, *limit).min(*value);
        }
        let plan = pipeline::planned_by(&policies, request, self.services.host_user)?;
        let plan = self.services.network(plan, Vec::new())?;
        let run = plan.run.clone();
        let mut lines = Lines::new(step.on_line);
        let mut take = |bytes: &[u8]| lines.take(bytes);
        let streams =
            Streams { input: Input::Empty, output: Output::Taken(&mut |_| {}), error: Output::Taken(&mut take) };
        let digests = Digests { code: step.name, environment: "none" };
        let finished = pipeline::carry_out(plan, digests, self.services, streams, None)?;
        let denied = finished.outcome.denials.iter().map(Denial::what).collect();
        bring_out(&finished, &step.outputs)?;
        let cause = finished.outcome.cause;
        stockade_core::audit::Closed::outcome(&mut self.services.trail, &run, finished.outcome, now_ms())?;
        Ok(JailOutcome { ended: ended(cause), denied })
    }

    fn request(&self, step: &JailStep<'_>, index: Vec<Grant>) -> Result<Request, Problem> {
        let mut trees = self.interpreter.map(Interpreter::trees).unwrap_or_default();
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
            tables: Vec::new(),
            shares: Vec::new(),
            libraries: Libraries::None,
            limits: vec![(Limit::Time, step.time_ms_max), (Limit::Scratch, step.scratch_bytes_max)],
            network: if index.is_empty() {
                Network::None
            } else {
                Network::Gate(Box::new(Egress { layers: vec![index], ..Egress::default() }))
            },
            vars: step
                .vars
                .clone()
                .into_iter()
                .chain(self.interpreter.map(Interpreter::vars).unwrap_or_default())
                .collect(),
            require: Layers::NONE,
            cgroup: CgroupMode::Auto,
            scratch: Scratch::Memory,
            streams: Kind::Pipes,
            tier: Tier::Namespaces,
        })
    }
}

/// The hosts of the index as grants: TLS, and nothing else.
fn index(hosts: &BTreeSet<String>) -> Result<Vec<Grant>, Problem> {
    const WHAT: &str = "the package index has a host that cannot be granted";
    let grant = |host: &String| {
        let grant: Grant = host
            .parse()
            .map_err(|bad: stockade_core::grant::BadGrant| Problem::new(WHAT, bad.to_string(), bad.next()))?;
        // An index may name any host for its files, and a grant of an address is what opens special ones.
        match grant.target() {
            Target::Name(_) => Ok(grant),
            Target::Below(_) | Target::Net(_) => Err(Problem::new(
                WHAT,
                format!("`{}` is an address, not a name", text::shown(host, 100)),
                "use an index whose files lie on hosts with names",
            )),
        }
    };
    hosts.iter().map(grant).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_no_address_however_it_is_spelled() {
        let of = |host: &str| index(&BTreeSet::from([host.to_owned()]));
        assert_eq!(of("files.example.com").unwrap().len(), 1);
        for host in ["10.0.0.5", "169.254.169.254", "127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "*.example.com"]
        {
            assert!(of(host).is_err(), "{host}");
        }
    }
}
