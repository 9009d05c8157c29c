//! What the node tells of rules, environments and decisions: looked at by the process that would run it, the only one
//! that sees them, and told as one document. Nothing is run, built or put on record.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use stockade_core::limits::Limit;
use stockade_core::trust::Doubt;
use stockade_environments::{Environment, locked};

use crate::args::{Look, Run};
use crate::environment::{self, Versions};
use crate::printer;
use crate::problem::Problem;
use crate::run::{Decided, decided, services};
use crate::supervised::Reporter;
use crate::{policy, trust};

/// The status of a name that nothing has.
const NOT_FOUND: u8 = 127;

/// Looks, and reports what there is, or why that cannot be told.
pub(crate) fn look(arguments: &Run, what: Look, reporter: &mut Reporter) -> ExitCode {
    let found = match what {
        Look::Policies => policy::rules(&arguments.policies).map(|rules| printer::document(&rules)),
        Look::Environments => environments(),
        Look::Environment => one(arguments.environment.as_deref().unwrap_or_default()),
        Look::Run => Ok(decision(arguments).to_string()),
    };
    let (document, status) = match found {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(problem) => (printer::document(&problem.document()), ExitCode::from(problem.status())),
    };
    reporter.write(&document);
    status
}

/// What would be decided about the run, by the way that it would take.
fn decision(arguments: &Run) -> Value {
    let mut services = services(arguments);
    services.builds = false;
    match decided(arguments, &mut services) {
        Ok(Decided { plan, environment, remarks, .. }) => {
            let limits: BTreeMap<&str, u64> =
                Limit::ALL.into_iter().map(|limit| (limit.name(), plan.limits.of(limit))).collect();
            json!({
                "decision": "permitted",
                "policy": plan.policy,
                "environment": environment.digest,
                "limits": limits,
                "required": plan.required.to_string(),
                "remarks": remarks,
            })
        }
        Err(problem) => {
            let decision = if problem.is_undecided() { "unknown" } else { "refused" };
            json!({ "decision": decision, "what": problem.what(), "why": problem.why(), "next": problem.next() })
        }
    }
}

/// An environment, without where it lies and who uses it.
#[derive(Debug, Serialize)]
struct About<'a> {
    names: &'a [String],
    digest: &'a str,
    #[serde(flatten)]
    versions: Versions,
    platform: &'a str,
    packages: usize,
    bytes: u64,
    created_s: Option<u64>,
}

impl<'a> About<'a> {
    fn of(environment: &'a Environment, names: &'a [String]) -> Self {
        Self {
            names,
            digest: &environment.digest,
            versions: Versions::of(&environment.interpreter),
            platform: &environment.interpreter.platform,
            packages: environment.packages.len(),
            bytes: environment.bytes,
            created_s: environment.created().map(crate::env::seconds),
        }
    }
}

/// Those that have names: what was built for somebody's run is known to whom its report told its digest.
fn environments() -> Result<String, Problem> {
    let listed = stockade_environments::list(&environment::store())?;
    let named = listed.iter().filter(|listed| !listed.names.is_empty());
    let all: Vec<About<'_>> = named.map(|listed| About::of(&listed.environment, &listed.names)).collect();
    Ok(printer::document(&all))
}

/// The same of one, with what is in it.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    about: About<'a>,
    contents: Vec<Content>,
    imported: bool,
    denied: usize,
    trusted: bool,
    doubts: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Content {
    name: String,
    version: String,
    from_source: bool,
}

fn one(reference: &str) -> Result<String, Problem> {
    let store = environment::store();
    let missing = |why: &str| {
        let next = "list those that have names with GET /v1/environments";
        Problem::new("there is no such environment", why, next).with_status(NOT_FOUND)
    };
    let found = store.environment(reference).map_err(|error| {
        let is_unknown = matches!(error, stockade_environments::Error::Name(_));
        if is_unknown { missing("the node has none of this name or digest") } else { error.into() }
    })?;
    let names = store.names()?.into_iter().filter(|(_, digest)| *digest == found.digest);
    let names: Vec<String> = names.map(|(name, _)| name.to_string()).collect();
    let contents = locked(&found)?
        .into_iter()
        .map(|package| Content { name: package.name, version: package.version, from_source: package.from_source })
        .collect();
    // A list that says nothing is no reason to show nothing.
    let doubts = trust::doubts(&found)
        .unwrap_or_else(|problem| vec![Doubt { library: "all".to_owned(), why: problem.what().to_owned() }]);
    Ok(printer::document(&Whole {
        about: About::of(&found, &names),
        contents,
        imported: found.imported,
        denied: found.denied.len(),
        trusted: doubts.is_empty(),
        doubts: doubts.iter().map(|doubt| json!({ "library": doubt.library, "why": doubt.why })).collect(),
    }))
}
