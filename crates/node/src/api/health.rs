//! Whether the node lives, whether it can run anything, and its figures.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::problem::Problem;
use super::types::ProblemTypes;
use crate::metrics::Now;
use crate::ready;
use crate::refusal::{Kind, Refusal};

/// Whether the node answers
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "It does", body = String)))]
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// Whether the node can run something: it runs a tiny job
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, description = "It can", body = String), ProblemTypes))]
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Problem> {
    if shared.node.is_draining() {
        let refusal = Refusal::new(Kind::Unavailable, "the node is ending", "it takes no new runs", "try again later");
        return Err(refusal.into());
    }
    ready::check(&shared.node).await?;
    Ok("ready\n")
}

/// Figures for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "The figures", body = String)))]
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let node = &shared.node;
    let now = Now { load: node.load(), tables: node.tables.taken(), engines: node.engines() };
    let mut answer = node.metrics.text(&now).into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
