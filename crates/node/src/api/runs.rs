//! Runs: listed, shown, ended.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use stockade_store::Run;
use utoipa::IntoParams;

use super::problem::Problem;
use super::types::{ProblemTypes, RunDocument, RunList};
use super::{Asker, Shared};
use crate::asked::Asked;
use crate::refusal::Refusal;
use crate::service::{self, Node};

/// Of each stream in one document; the events have all.
const STREAM_BYTES: usize = 1 << 20;
const LIST_MAX: i64 = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Only runs before this one, as the last list told
    before: Option<i64>,
    /// How many; 100 if left out
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Ended {
    /// Forget the run, with its output, if it is over
    #[serde(default)]
    forget: bool,
}

/// List your runs, the youngest first
#[utoipa::path(get, path = "/v1/runs", tag = "runs", params(Listed), responses(
    (status = 200, description = "Runs", body = RunList), ProblemTypes
))]
pub(super) async fn list(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<RunList>, Problem> {
    let (before, most) = bounds(asked)?;
    let found = shared.node.runs(&principal.0, before, most).await?;
    Ok(Json(listed(&shared.node, &found, most)?))
}

/// Which part of a list is asked for: before which number, and how many.
pub(super) fn bounds(asked: Result<Query<Listed>, QueryRejection>) -> Result<(i64, i64), Refusal> {
    let Query(asked) = asked.map_err(|refused| query(&refused))?;
    let most = asked.limit.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&most) {
        let why = format!("a list has 1 to {LIST_MAX} runs");
        return Err(Refusal::invalid("the list cannot be had", why, "ask for less, and again with `before`"));
    }
    Ok((asked.before.unwrap_or(i64::MAX), most))
}

/// What to ask for next.
pub(super) fn before(found: &[Run], most: i64) -> Option<i64> {
    let is_full = i64::try_from(found.len()).is_ok_and(|count| count == most);
    found.last().filter(|_| is_full).map(|run| run.number)
}

/// A list as it is told.
pub(super) fn listed(node: &Node, found: &[Run], most: i64) -> Result<RunList, Refusal> {
    let runs = found.iter().map(|run| document(node, run)).collect::<Result<_, _>>()?;
    Ok(RunList { runs, before: before(found, most) })
}

/// Show a run
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", params(("id" = String, Path, description = "The run", pattern = "^[0-9a-f]{16}$")), responses(
    (status = 200, description = "The run", body = RunDocument), ProblemTypes
))]
pub(super) async fn show(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
) -> Result<Json<RunDocument>, Problem> {
    let run = shared.node.run(&principal.0, &id).await?;
    Ok(Json(whole(&shared.node, &run).await?))
}

/// Cancel a run
///
/// Ends it and answers when everything of it is dead; what it said so far is kept. One that is over stays as it is,
/// unless it is to be forgotten.
#[utoipa::path(delete, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = String, Path, description = "The run", pattern = "^[0-9a-f]{16}$"), Ended),
    responses(
        (status = 200, description = "It is over", body = RunDocument),
        (status = 204, description = "It is forgotten"),
        ProblemTypes
    )
)]
pub(super) async fn end(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
    asked: Result<Query<Ended>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|refused| query(&refused))?;
    if asked.forget {
        let run = shared.node.run(&principal.0, &id).await?;
        shared.node.forget(&run).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let run = shared.node.cancel(&principal.0, &id).await?;
    Ok(Json(whole(&shared.node, &run).await?).into_response())
}

pub(super) fn query(refused: &QueryRejection) -> Refusal {
    let why = stockade_core::text::shown(&refused.body_text(), 300);
    Refusal::invalid("the query cannot be understood", why, "see /docs for its parameters")
}

/// A run without what it said.
pub(super) fn document(node: &Node, run: &Run) -> Result<RunDocument, Refusal> {
    let failed = |error: serde_json::Error| Refusal::failed("the run cannot be told", error);
    let script = match Asked::parse(run.kind, &run.request)? {
        Asked::Run(order) => order.script,
        Asked::Session(_) | Asked::Execution(_) => run.kind.name().to_owned(),
    };
    Ok(RunDocument {
        id: run.id.clone(),
        state: service::state_name(run.state),
        position: node.position(run),
        script,
        session: run.session.clone(),
        accepted_ms: run.accepted_ms,
        started_ms: run.started_ms,
        ended_ms: run.ended_ms,
        outcome: run.outcome.as_deref().map(serde_json::from_str).transpose().map_err(failed)?,
        stdout: None,
        stderr: None,
        truncated: None,
    })
}

/// A run with the beginning of what it said, once it is over.
pub(super) async fn whole(node: &Node, run: &Run) -> Result<RunDocument, Refusal> {
    let mut document = document(node, run)?;
    if !run.state.is_over() {
        return Ok(document);
    }
    let (mut out, mut error, mut is_cut) = (Vec::new(), Vec::new(), false);
    let mut next = 1;
    loop {
        let events = node.events(&run.id, next).await?;
        let Some(last) = events.last() else { break };
        next = last.seq + 1;
        for event in events {
            let stream = match event.kind.as_str() {
                "stdout" => &mut out,
                "stderr" => &mut error,
                _ => continue,
            };
            let room = STREAM_BYTES - stream.len();
            is_cut |= event.body.len() > room;
            stream.extend(event.body.into_iter().take(room));
        }
        if out.len() == STREAM_BYTES && error.len() == STREAM_BYTES {
            break;
        }
    }
    document.stdout = Some(String::from_utf8_lossy(&out).into_owned());
    document.stderr = Some(String::from_utf8_lossy(&error).into_owned());
    document.truncated = Some(is_cut);
    Ok(document)
}
