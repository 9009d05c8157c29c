//! How much of what the node logs.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create;
use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Asker, Shared};

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
/// At once, and until the node ends. Needs the privilege `AdminRunCommand` on `log.change`.
#[utoipa::path(put, path = "/v1/admin/log", operation_id = "change_levels", tag = "admin", request_body = Levels,
    responses((status = 200, description = "The levels from now on", body = Levels), ProblemTypes)
)]
pub(super) async fn change(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    request: Request,
) -> Result<Json<Levels>, Problem> {
    let asked: Levels = create::json_of(&shared, &principal, request).await?;
    // Before: the new ones may leave it out.
    tracing::warn!(principal = principal.0, levels = asked.levels, "the levels of the log are to be changed");
    shared.node.log.change(&asked.levels)?;
    Ok(Json(asked))
}
