//! `stockade run --node unix:PATH`: the same command, carried out by a node. Streams, outputs, report and exit status
//! are those that a run here would have had.

mod explain;
mod form;
mod http;
mod interrupts;
mod results;
mod stream;

use std::process::ExitCode;

use serde::Deserialize;
use stockade_core::text;

use crate::args::Run;
use crate::problem::Problem;
use crate::{code, flags, outputs};
pub(crate) use explain::explain;
use http::Node;
use results::Remote;

/// How a run ended, as the node tells it in its last event.
#[derive(Debug, Deserialize)]
struct Ended {
    status: i32,
    output_cut: bool,
    refusal: Option<Refusal>,
    report: Option<Remote>,
}

/// Why there is no report.
#[derive(Debug, Deserialize)]
struct Refusal {
    what: String,
    why: String,
    next: String,
}

/// Has a node run it.
pub(crate) fn run(run: &Run, address: &str) -> Result<ExitCode, Problem> {
    if run.explain {
        return explain(run, address);
    }
    let node = Node::at(address)?;
    let code = code::code(run)?;
    flags::check(run, &code.engine)?;
    let form = form::form(run, &code)?;
    let destination = outputs::open_destination(run)?;
    let answer = node.post("/v1/runs", &form.content_type, &form.body)?;
    let (id, ended) = stream::follow(&node, answer, run.raw)?;
    let status = u8::try_from(ended.status).unwrap_or(125);
    if let Some(refusal) = ended.refusal {
        let shown = |said: &str| text::shown(said, 1000);
        return Err(Problem::new(shown(&refusal.what), shown(&refusal.why), shown(&refusal.next)).with_status(status));
    }
    let report = ended.report.ok_or_else(|| nonsense("the run has neither a report nor a refusal"))?;
    results::conclude(run, &node, &id, report, destination.as_ref(), ended.output_cut)?;
    Ok(ExitCode::from(status))
}

/// A node that says what no node says.
fn nonsense(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        "the node's answer cannot be understood",
        text::shown(&why.to_string(), 300),
        "use a node of the same version",
    )
}
