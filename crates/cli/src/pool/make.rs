//! From a pool's command line to its template, and to what is common to all runs of its engines.

use std::time::Duration;

use stockade_core::audit::{Asker, Recorded};
use stockade_core::facts::HostFacts;
use stockade_core::layer::{Layer, Layers};
use stockade_core::policy::Policy;
use stockade_core::request::Request;
use stockade_core::text;
use stockade_core::warm::NotWarm;
use stockade_launch::Failure;
use stockade_launch::warm::{Engine, Sealing, Template, has_cgroup};

use super::watch::{Stamps, check_trust};
use super::{control, library};
use crate::args::Run;
use crate::ask::{self, Used};
use crate::pipeline::{self, Services};
use crate::problem::Problem;
use crate::trail::now_ms;
use crate::{code, flags, policy};

/// How long a template may import.
const IMPORTS: Duration = Duration::from_secs(120);

/// What all runs of a pool's engines have in common.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) arguments: Run,
    pub(super) policies: Vec<Policy>,
    pub(super) stamps: Stamps,
    pub(super) request: Request,
    pub(super) facts: HostFacts,
    pub(super) services: Services,
    pub(super) used: Used,
    pub(super) remarks: Vec<String>,
    /// The template's record.
    run: String,
}

/// Starts a template, on record; returns when it has imported.
pub(super) fn kind(arguments: &Run) -> Result<(Kind, Template), Problem> {
    let ids = arguments.supervised.pool.ok_or_else(|| not_warm(&NotWarm::Identity))?;
    // Looked at before they are read: what changes meanwhile is seen.
    let stamps = Stamps::of(&arguments.policies);
    let policies = policy::given(&arguments.policies)?;
    let mut services = Services::of_user();
    let code = code::code(arguments)?;
    flags::check(arguments, &code.engine)?;
    let asked = ask::request(arguments, &code, &mut services)?;
    // Before libraries are judged, and long before they are imported.
    let stamps = stamps.and(&asked.environment.made_of);
    check_trust(&asked.environment)?;
    let policies = policy::or_shipped(policies, &asked.request);
    let facts = stockade_launch::facts::gather(asked.request.tier);
    let engine = pipeline::planned_on(&policies, asked.request.clone(), &facts)?;
    let engine = engine.into_engine(ids.engines().start).map_err(|error| not_warm(&error))?;
    if !has_cgroup(&engine) {
        return Err(Problem::new(
            "there are no warm engines without a cgroup",
            "nothing else would bound their memory",
            "start the node as root with --run-as, or with a delegated cgroup",
        ));
    }
    let sealing = Sealing::of(&engine, true).ok_or_else(|| control::failed(rustix::io::Errno::TOOBIG))?;
    let start = stockade_engines::warm::template(
        &asked.request.start,
        &arguments.supervised.preload,
        library::read()?,
        &sealing,
    );
    // In a cgroup too: without one its filter, which is its engines' also, refuses memory that no process owns.
    let request = Request { start, label: "template".to_owned(), ..asked.request.clone() };
    let plan =
        pipeline::planned_on(&policies, request, &facts)?.into_template(ids).map_err(|error| not_warm(&error))?;
    let run = plan.run.clone();
    let asker =
        Asker { principal: &services.principal, code_digest: "none", environment_digest: &asked.environment.digest };
    let recorded = Recorded::intent(&mut services.trail, asker, plan, now_ms())?;
    let mut kind = Kind {
        arguments: arguments.clone(),
        policies,
        stamps,
        request: asked.request,
        facts,
        services,
        used: asked.environment,
        remarks: asked.remarks,
        run,
    };
    let started = Template::start(recorded, engine).map_err(Problem::from).and_then(|mut template| {
        match template.wait_until_ready(IMPORTS) {
            Ok(()) => Ok(template),
            Err(failure) => {
                let said = String::from_utf8_lossy(template.complaints()).into_owned();
                Err(with_complaints(failure.into(), &said))
            }
        }
    });
    match started {
        Ok(template) => Ok((kind, template)),
        Err(problem) => {
            kind.end();
            Err(problem)
        }
    }
}

impl Kind {
    /// Puts on record that the template is no more.
    pub(super) fn end(&mut self) {
        let end = Problem::new("the template of warm engines has ended", "its runs have records of their own", "");
        pipeline::failed(&mut self.services.trail, &self.run, end);
    }
}

fn not_warm(error: &NotWarm) -> Problem {
    Problem::new("there are no warm engines of this", error.to_string(), "its runs are started anew each")
}

/// Without its cgroup an engine's memory would be bounded by nothing.
pub(super) fn next_engine(template: &mut Template) -> Result<Engine, Failure> {
    let cell = template.make_cell()?;
    let engine = template.fork(cell)?;
    if engine.enforced().has(Layer::Cgroup) {
        Ok(engine)
    } else {
        Err(Failure::Missing { missing: Layers::of(&[Layer::Cgroup]) })
    }
}

/// What a template said last, for the log.
pub(super) fn with_complaints(problem: Problem, said: &str) -> Problem {
    let last = said.trim_end().lines().next_back().unwrap_or_default();
    if last.is_empty() {
        return problem;
    }
    let why = format!("{}; its template said last: {}", problem.why(), text::shown(last, 300));
    Problem::new(problem.what().to_owned(), why, "its runs are started anew each")
}
