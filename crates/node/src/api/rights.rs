//! What every path of the API needs, in one table: a path that is not in it is nobody's.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use stockade_identity::privilege::Privilege;

use super::Shared;
use super::problem::Problem;
use super::remote::{self, Remote};
use crate::listen::Principal;
use crate::look::Look;
use crate::refusal::{Kind, Refusal};
use crate::security::{Caller, Security};

/// Who somebody is by the kernel's word: the number of a user of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) u32);

/// What is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing: it tells nothing of anybody.
    Nothing,
    /// Any role that means something here; what it shows is the caller's own.
    Role,
    /// The right to run code under the node's policies.
    Run,
    /// The right to keep an engine, and to run code in it.
    Session,
    /// This privilege.
    Privilege(Privilege),
    /// The right to this command.
    Command(&'static str),
    /// What the command that is asked for needs: `crate::security` looks.
    OfCommand,
}

/// What a method of a path needs; `None` is never done.
fn need(method: &Method, path: &str) -> Option<Need> {
    let need = match (method.as_str(), path) {
        ("GET" | "HEAD", "/livez" | "/readyz" | "/openapi.json" | "/docs" | "/v1/me") => Need::Nothing,
        ("POST", "/v1/login" | "/v1/login/device" | "/v1/login/device/{id}" | "/v1/logout") => Need::Nothing,
        ("GET" | "HEAD", "/metrics") => Need::Privilege(Privilege::MetricsRead),
        ("POST", "/v1/runs" | "/v1/data-functions" | "/v1/policies/check") => Need::Run,
        ("GET" | "HEAD", "/v1/runs" | "/v1/runs/{id}" | "/v1/runs/{id}/events") => Need::Role,
        ("GET" | "HEAD", "/v1/runs/{id}/outputs" | "/v1/runs/{id}/outputs/{*path}") => Need::Role,
        ("DELETE", "/v1/runs/{id}" | "/v1/sessions/{id}") => Need::Role,
        ("GET" | "HEAD", "/v1/sessions" | "/v1/sessions/{id}" | "/v1/sessions/{id}/executions") => Need::Role,
        ("GET" | "HEAD", "/v1/policies" | "/v1/environments" | "/v1/environments/{*name}") => Need::Role,
        ("POST", "/v1/sessions" | "/v1/sessions/{id}/executions" | "/v1/sessions/{id}/restart") => Need::Session,
        ("POST", "/v1/sessions/{id}/interrupt") => Need::Privilege(Privilege::Session),
        ("GET" | "HEAD" | "PUT", "/v1/sessions/{id}/files/{name}") => Need::Privilege(Privilege::Session),
        ("PUT", "/v1/sessions/{id}/tables/{name}") => Need::Privilege(Privilege::Session),
        ("GET" | "HEAD", "/v1/admin/log") => Need::Command("log.display"),
        ("PUT", "/v1/admin/log") => Need::Command("log.change"),
        ("POST", "/v1/admin/commands/{target}/{command}") => Need::OfCommand,
        _ => return None,
    };
    Some(need)
}

/// Refuses what a caller has no right to; a denial is on record then.
async fn check(security: &Security, caller: &Caller, method: &Method, path: &str) -> Result<(), Refusal> {
    let checked = match need(method, path) {
        Some(Need::Nothing | Need::OfCommand) => Ok(()),
        Some(Need::Role) => caller.check_known(),
        Some(Need::Run) => security.check_run(caller),
        Some(Need::Session) => caller.check(Privilege::Session, None).and_then(|()| security.check_run(caller)),
        Some(Need::Privilege(privilege)) => caller.check(privilege, None),
        Some(Need::Command(command)) => caller.check(Privilege::AdminRunCommand, Some(command)),
        None => {
            let why = "the path has other methods";
            return Err(Refusal::new(Kind::NotAllowed, "this cannot be done here", why, "see /docs"));
        }
    };
    security.on_record(checked).await
}

/// Refuses packages that a caller has no right to have put together, and an environment that he has no right to use.
pub(super) async fn check_packages(
    shared: &Shared,
    caller: &Caller,
    with: &[String],
    environment: Option<&str>,
) -> Result<(), Refusal> {
    if !with.is_empty() {
        shared.node.security.on_record(caller.check(Privilege::EnvironmentBuild, None)).await?;
    }
    let Some(reference) = environment else { return Ok(()) };
    check_reference(shared, caller, reference).await?;
    // Who may use whatever there is needs nothing looked up.
    if caller.decide(Privilege::EnvironmentUse, None).is_permitted() {
        return Ok(());
    }
    let look = Look::Environment { reference: reference.to_owned() };
    match shared.node.look::<Named>(&caller.principal.0, look, Vec::new()).await {
        Ok(Named { names, digest }) => {
            check_found(shared, caller, reference, names.iter().chain([&digest]).map(String::as_str)).await
        }
        // That there is none is told by the run.
        Err(refusal) if refusal.kind == Kind::Missing => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// What an environment can be asked for by.
#[derive(Debug, Deserialize)]
struct Named {
    names: Vec<String>,
    digest: String,
}

/// Refuses the use of an environment by what it is asked for by, whether there is one or not.
pub(super) async fn check_reference(shared: &Shared, caller: &Caller, reference: &str) -> Result<(), Refusal> {
    shared.node.security.on_record(caller.check(Privilege::EnvironmentUse, Some(reference))).await
}

/// Refuses an environment that was found, of which another name or the digest is denied to a caller.
pub(super) async fn check_found<'a>(
    shared: &Shared,
    caller: &Caller,
    reference: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Refusal> {
    shared.node.security.on_record(caller.check_names((Privilege::EnvironmentUse, reference), names)).await
}

/// Who asks, as the guard has found it.
pub(super) fn caller_of(request: &Request) -> Result<Caller, Refusal> {
    request.extensions().get::<Caller>().cloned().ok_or_else(nobody)
}

fn nobody() -> Refusal {
    let (what, why) = ("nobody knows who you are", "the connection has no user");
    Refusal::new(Kind::Unauthenticated, what, why, "use the node's socket")
}

/// Lets a request through that its caller has a right to, with what the caller holds.
pub(super) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let caller = match caller(&shared, &mut request).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return next.run(request).await,
        Err(refusal) => return Problem::from(refusal).into_response(),
    };
    let principal = caller.principal.clone();
    // What no path matches is answered by the one answer that there is for it.
    let asked = request.extensions().get::<MatchedPath>().map(|path| (request.method().clone(), path.clone()));
    let permitted = match asked {
        Some((method, path)) => check(&shared.node.security, &caller, &method, path.as_str()).await,
        None => Ok(()),
    };
    shared.node.metrics.looked(began.elapsed());
    let mut answer = match permitted {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    };
    answer.extensions_mut().insert(principal);
    answer
}

/// Who asks; none where nobody has to say it.
async fn caller(shared: &Shared, request: &mut Request) -> Result<Option<Caller>, Refusal> {
    let security = &shared.node.security;
    if let Some(remote) = request.extensions().get::<Remote>().cloned() {
        remote::check(security.names(), &remote, request)?;
        if is_for_everybody(request) {
            return Ok(None);
        }
        let caller = remote::caller(shared, remote, request).await?;
        request.extensions_mut().insert(caller.principal.clone());
        return Ok(Some(caller));
    }
    let of = |request: &Request| {
        let extensions = request.extensions();
        Some((extensions.get::<Peer>()?.0, extensions.get::<Principal>()?.clone()))
    };
    let (uid, principal) = of(request).ok_or_else(nobody)?;
    Ok(Some(security.caller(uid, principal)))
}

/// That a node is there, which a balancer asks, and a log-in that goes on elsewhere, and nothing else: the node's
/// description is for who may use it.
fn is_for_everybody(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match path {
        Some("/livez") => matches!(*request.method(), Method::GET | Method::HEAD),
        // Who logs in is nobody yet.
        Some("/v1/login/device" | "/v1/login/device/{id}") => *request.method() == Method::POST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_description_has_its_need() {
        let document = super::super::describe::document();
        let paths = document.get("paths").and_then(serde_json::Value::as_object).unwrap();
        assert!(paths.len() > 15);
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                // The description has no word for "the rest of the path".
                let route = path
                    .replace("outputs/{path}", "outputs/{*path}")
                    .replace("environments/{name}", "environments/{*name}");
                assert!(need(&method, &route).is_some(), "{method} {route}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_nobodys() {
        assert_eq!(need(&Method::GET, "/v1/secrets"), None);
        assert_eq!(need(&Method::PATCH, "/v1/runs"), None);
    }
}
