//! `POST /v1/login` and `POST /v1/logout`: a token for a password or a log-in in a browser, and its end.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use stockade_identity::token::Bearer;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Remote, Shared, runs};
use crate::refusal::Refusal;
use crate::security::{Asked, Caller, Tokens};

/// A token, and for whom it is
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// Who it says that one is: `user@realm`
    principal: String,
    /// To be sent as `Authorization: Bearer TOKEN`, to this node only
    token: String,
    /// How long it is good, seconds
    expires_in: u64,
    /// To be sent to `POST /v1/login` as `Authorization: Bearer`, once, for the next token; where it was asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// How long that is good, seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_expires_in: Option<u64>,
}

/// What is wanted of a log-in
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogInAsked {
    /// Whether a token for the next log-in is wanted, too; principals of directories and providers get none
    #[serde(default)]
    refresh: bool,
}

/// Log in: get a token for a password, over TLS
///
/// The password is sent as `Authorization: Basic`, or a refresh token as `Authorization: Bearer`. The token is good until its time is over, its principal or the realm
/// is changed, it logs out, or the node ends.
#[utoipa::path(post, path = "/v1/login", operation_id = "login", tag = "me", params(LogInAsked),
    responses((status = 200, description = "The token", body = LoggedIn), ProblemTypes)
)]
pub(super) async fn login(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<LogInAsked>, QueryRejection>,
) -> Result<Json<LoggedIn>, Problem> {
    let Query(asked) = asked.map_err(|refused| runs::query(&refused))?;
    let security = &shared.node.security;
    let tokens = security.log_in(&caller, asked.refresh, security.now())?;
    Ok(Json(logged_in(tokens, caller)))
}

/// Which realm is to be logged in at
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceAsked {
    /// The realm of an OpenID provider; the only one if left out
    realm: Option<String>,
}

/// A log-in that its user goes on with in a browser (RFC 8628)
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceBegun {
    /// To ask about it, which nobody else shall know
    id: String,
    /// What the user types
    user_code: String,
    /// Where he types it
    verification_uri: String,
    /// The same with what he types in it
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_uri_complete: Option<String>,
    /// Seconds before it is asked about, and in between
    interval: u64,
    /// Seconds after which it is too late
    expires_in: u64,
}

/// The user has not answered yet
#[derive(Serialize, ToSchema)]
pub(super) struct DevicePending {
    /// Seconds before it is asked about again
    interval: u64,
}

/// Begin to log in with a browser elsewhere, over TLS
#[utoipa::path(post, path = "/v1/login/device", operation_id = "beginDeviceLogin", tag = "me",
    params(DeviceAsked),
    responses((status = 200, description = "What the user is to be shown", body = DeviceBegun), ProblemTypes)
)]
pub(super) async fn begin_device(
    State(shared): State<Shared>,
    remote: Option<Extension<Remote>>,
    asked: Result<Query<DeviceAsked>, QueryRejection>,
) -> Result<Json<DeviceBegun>, Problem> {
    let Query(asked) = asked.map_err(|refused| runs::query(&refused))?;
    let Extension(remote) = remote.ok_or_else(at_a_socket)?;
    let security = &shared.node.security;
    let begun = security.begin_device(&remote.from, asked.realm.as_deref(), security.now()).await?;
    Ok(Json(DeviceBegun {
        id: begun.id,
        user_code: begun.user_code,
        verification_uri: begun.address,
        verification_uri_complete: begun.whole_address,
        interval: begun.interval_s,
        expires_in: begun.expires_s,
    }))
}

/// Ask whether the user has said yes, and get a token then
#[utoipa::path(post, path = "/v1/login/device/{id}", operation_id = "askDeviceLogin", tag = "me",
    params(("id" = String, Path, description = "As it was given when the log-in was begun")),
    responses(
        (status = 200, description = "The token", body = LoggedIn),
        (status = 202, description = "Not yet", body = DevicePending),
        ProblemTypes
    )
)]
pub(super) async fn ask_device(
    State(shared): State<Shared>,
    remote: Option<Extension<Remote>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let Extension(remote) = remote.ok_or_else(at_a_socket)?;
    let node = Arc::clone(&shared.node);
    // To its end and on record, also when the caller hangs up meanwhile.
    let asked = tokio::spawn(async move {
        let security = &node.security;
        let now = security.now();
        Ok(match security.ask_device(&remote.from, &id, now).await? {
            Asked::Pending(interval) => (StatusCode::ACCEPTED, Json(DevicePending { interval })).into_response(),
            Asked::Admitted(caller) => Json(logged_in(security.log_in(&caller, false, now)?, *caller)).into_response(),
        })
    });
    let asked: Result<Response, Refusal> =
        asked.await.map_err(|error| Refusal::failed("the log-in cannot be asked about", error))?;
    Ok(asked?)
}

fn at_a_socket() -> Refusal {
    Refusal::invalid(
        "nobody has to log in here",
        "at a socket the kernel says who asks",
        "ask over TLS, where the node listens: stockade node start --listen",
    )
}

fn logged_in(tokens: Tokens, caller: Caller) -> LoggedIn {
    // Where they go on their way out is freed, not wiped.
    let text = |bearer: &Bearer| bearer.dangerous_text().to_string();
    let (bearer, expires_in) = tokens.session;
    LoggedIn {
        principal: caller.principal.0,
        token: text(&bearer),
        expires_in,
        refresh_token: tokens.refresh.as_ref().map(|(bearer, _)| text(bearer)),
        refresh_expires_in: tokens.refresh.map(|(_, expires_in)| expires_in),
    }
}

/// Log out: end the token that the request is sent with, and what came of the same log-in
#[utoipa::path(post, path = "/v1/logout", operation_id = "logout", tag = "me",
    responses((status = 204, description = "It is of no use any more"), ProblemTypes)
)]
pub(super) async fn logout(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Problem> {
    let security = &shared.node.security;
    security.log_out(&caller, security.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
