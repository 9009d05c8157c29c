//! How the node is asked: HTTP, by principals that the kernel names or that have logged in. Bounds everything that comes in.

mod admin;
mod commands;
mod create;
mod describe;
mod events;
mod functions;
mod health;
mod login;
mod looks;
mod me;
mod outputs;
mod problem;
mod remote;
mod rights;
mod runs;
mod session_types;
mod sessions;
mod types;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Extension, Router};

use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};
use crate::service::Node;
use crate::wire::RunId;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use commands::parameters_of;
use problem::Problem;
pub(crate) use problem::problem_of;
pub(crate) use remote::{Remote, USER};
pub(crate) use rights::Peer;

/// What all handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    node: Arc<Node>,
    uploads: create::Uploads,
}

/// Every path there is.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let shared = Shared { node, uploads: create::Uploads::default() };
    Router::new()
        .route("/v1/runs", post(create::create).get(runs::list))
        .route("/v1/data-functions", post(functions::run))
        .route("/v1/runs/{id}", get(runs::show).delete(runs::end))
        .route("/v1/runs/{id}/events", get(events::events))
        .route("/v1/runs/{id}/outputs", get(outputs::archive))
        .route("/v1/runs/{id}/outputs/{*path}", get(outputs::one))
        .route("/v1/sessions", post(sessions::open).get(sessions::list))
        .route("/v1/sessions/{id}", get(sessions::show).delete(sessions::close))
        .route("/v1/sessions/{id}/executions", post(sessions::execute).get(sessions::executions))
        .route("/v1/sessions/{id}/interrupt", post(sessions::interrupt))
        .route("/v1/sessions/{id}/restart", post(sessions::restart))
        .route("/v1/sessions/{id}/files/{name}", get(sessions::get).put(sessions::put))
        .route("/v1/login", post(login::login))
        .route("/v1/login/device", post(login::begin_device))
        .route("/v1/login/device/{id}", post(login::ask_device))
        .route("/v1/logout", post(login::logout))
        .route("/v1/me", get(me::me))
        .route("/v1/environments", get(looks::environments))
        .route("/v1/environments/{*name}", get(looks::environment))
        .route("/v1/policies", get(looks::policies))
        .route("/v1/policies/check", post(looks::check))
        .route("/v1/sessions/{id}/tables/{name}", put(sessions::put_table))
        .route("/v1/admin/commands/{target}/{command}", post(commands::command))
        .route("/v1/admin/log", get(admin::levels).put(admin::change))
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(describe::openapi))
        .route("/docs", get(describe::page))
        .fallback(async || -> Problem {
            Refusal::new(Kind::Missing, "there is no such path", "the node has none of this name", "see /docs").into()
        })
        .method_not_allowed_fallback(async || -> Problem {
            Refusal::new(Kind::NotAllowed, "this cannot be done here", "the path has other methods", "see /docs").into()
        })
        .layer(axum::middleware::from_fn_with_state(shared.clone(), rights::guard))
        .layer(axum::middleware::from_fn_with_state(shared.clone(), about_request))
        .with_state(shared)
}

/// Gives each request a name, which the answer, its problem and the log have.
async fn about_request(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RunId::random().map_or_else(|_| "unknown".to_owned(), String::from);
    let named = request.extensions().get::<Principal>().cloned();
    let from = request.extensions().get::<Remote>().map(|remote| remote.from.address().to_string());
    let (method, path) = (request.method().clone(), logged(request.uri().path()).to_owned());
    request.extensions_mut().insert(problem::RequestId(id.clone()));
    let mut answer = next.run(request).await;
    // Who it is over TLS is found out further in.
    let named = answer.extensions_mut().remove::<Principal>().or(named);
    let principal = named.map_or_else(String::new, |one| one.0);
    let mut answer = problem::named(answer, &id);
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    let status = answer.status().as_u16();
    shared.node.metrics.answered(status);
    let path = stockade_core::text::shown(&path, 200);
    tracing::info!(request = id, principal, from, method = %method, path, status, ms = began.elapsed().as_millis(), "answered");
    answer
}

/// A path as it is logged: without the name that a log-in goes on by, which nobody but its caller shall know.
fn logged(path: &str) -> &str {
    if path.starts_with("/v1/login/device/") { "/v1/login/device/{id}" } else { path }
}

type Asker = Extension<Principal>;
