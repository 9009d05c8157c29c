//! `GET /v1/me`: what the caller may have, and has.

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Asker, Shared};

/// Who asks, and what it may have.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// By the kernel's word
    principal: String,
    /// The class of principals that it is in: `usual`, or one of the node's file
    class: String,
    /// How many runs of the class begin in a round, in which every class that waits has at least one
    weight: u32,
    /// CPU time of runs and sessions, by the day of UTC in which they ended
    cpu: CpuUse,
    /// Runs
    runs: RunUse,
    /// Sessions
    sessions: SessionUse,
}

/// CPU time of a day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CpuUse {
    /// Used today, milliseconds
    used_ms: i64,
    /// The most that may be used in a day; null when there is no bound
    most_ms: Option<i64>,
    /// When the next day begins, milliseconds since 1970
    turns_ms: i64,
}

/// Runs that wait and run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct RunUse {
    /// Under way
    running: usize,
    /// The most at once
    running_most: usize,
    /// In the queue
    waiting: usize,
    /// The most that may wait
    waiting_most: usize,
}

/// Sessions that are open.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SessionUse {
    /// Open
    open: usize,
    /// The most at once
    most: usize,
}

/// Tell who you are, what you may have and what you have used
#[utoipa::path(get, path = "/v1/me", operation_id = "me", tag = "me",
    responses((status = 200, description = "You", body = Me), ProblemTypes)
)]
pub(super) async fn me(State(shared): State<Shared>, Extension(principal): Asker) -> Result<Json<Me>, Problem> {
    let node = &shared.node;
    let share = node.classes.share(&principal.0);
    let day = node.cpu_day(&principal.0).await?;
    let (waiting, running) = node.load_of(&principal.0);
    Ok(Json(Me {
        class: share.name.clone(),
        weight: share.weight,
        cpu: CpuUse { used_ms: day.used_ms, most_ms: day.most_ms, turns_ms: day.turns_ms },
        runs: RunUse { running, running_most: share.running, waiting, waiting_most: share.waiting },
        sessions: SessionUse { open: node.sessions.count_of(&principal.0), most: share.sessions },
        principal: principal.0,
    }))
}
