//! `POST /v1/login` and `POST /v1/logout`: a token for a password, and its end.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::problem::Problem;
use super::types::ProblemTypes;
use crate::security::Caller;

/// A token, and for whom it is
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// Who it says that one is: `user@realm`
    principal: String,
    /// To be sent as `Authorization: Bearer TOKEN`, to this node only
    token: String,
    /// How long it is good, seconds
    expires_in: u64,
}

/// Log in: get a token for a password, over TLS
///
/// The password is sent as `Authorization: Basic`. The token is good until its time is over, its principal or the realm
/// is changed, it logs out, or the node ends.
#[utoipa::path(post, path = "/v1/login", operation_id = "login", tag = "me",
    responses((status = 200, description = "The token", body = LoggedIn), ProblemTypes)
)]
pub(super) async fn login(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LoggedIn>, Problem> {
    let security = &shared.node.security;
    let (bearer, expires_in) = security.log_in(&caller, security.now())?;
    // Where it goes on its way out is freed, not wiped.
    let token = bearer.dangerous_text().to_string();
    Ok(Json(LoggedIn { principal: caller.principal.0, token, expires_in }))
}

/// Log out: end the token that the request is sent with
#[utoipa::path(post, path = "/v1/logout", operation_id = "logout", tag = "me",
    responses((status = 204, description = "It is of no use any more"), ProblemTypes)
)]
pub(super) async fn logout(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Problem> {
    shared.node.security.log_out(&caller)?;
    Ok(StatusCode::NO_CONTENT)
}
