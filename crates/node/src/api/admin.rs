//! How much of what the node logs.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create;
use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Asker, Shared};
use crate::refusal::Refusal;
use crate::security::{self, Caller};

/// How much of what is logged
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Levels {
    /// A level, or levels by target: `info,stockade_node::queue=debug`
    #[schema(max_length = 1000)]
    levels: String,
}

/// Tell how much of what is logged
///
/// Needs the privilege `AdminRunCommand` on `log.display`.
#[utoipa::path(get, path = "/v1/admin/log", operation_id = "levels", tag = "admin",
    responses((status = 200, description = "The levels", body = Levels), ProblemTypes)
)]
pub(super) async fn levels(State(shared): State<Shared>) -> Result<Json<Levels>, Problem> {
    Ok(Json(Levels { levels: shared.node.log.levels() }))
}

/// Change how much of what is logged
///
/// At once, and until the node ends. Needs the privilege `AdminRunCommand` on `log.change`. On record as a command is; one
/// that cannot be put on record is not done.
#[utoipa::path(put, path = "/v1/admin/log", operation_id = "change_levels", tag = "admin", request_body = Levels,
    responses((status = 200, description = "The levels from now on", body = Levels), ProblemTypes)
)]
pub(super) async fn change(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Levels>, Problem> {
    let asked: Levels = create::json_of(&shared, &principal, request).await?;
    let node = Arc::clone(&shared.node);
    // To its end and on record, also when the caller hangs up meanwhile.
    let changed = tokio::spawn(async move {
        security::change_log(&node, &caller, &asked.levels).await?;
        Ok::<_, Refusal>(asked)
    });
    let changed = changed.await.map_err(|error| Refusal::failed("the levels may not have been changed", error))?;
    Ok(Json(changed?))
}
