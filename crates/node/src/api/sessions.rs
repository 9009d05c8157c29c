//! Sessions: opened, asked, interrupted, closed; what is executed in them is answered like runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::StreamExt;
use stockade_core::limits::Limit;
use stockade_core::session::Act;
use stockade_store::Run;
use tokio_util::io::ReaderStream;

use super::create::{self, FILE_BYTES_MAX};
use super::problem::Problem;
use super::runs::{self, Listed};
use super::session_types::{ExecutionRequest, Interrupted, SessionDocument, SessionList, SessionRequest, TableRequest};
use super::types::{ProblemTypes, RunDocument, RunList};
use super::{Asker, Shared, rights};
use crate::asked::Asked;
use crate::link::Ending;
use crate::opening::{Execution, Language, Opening};
use crate::order::{check_name, limits};
use crate::refusal::{Kind, Refusal};
use crate::runner::memory;
use crate::security::Caller;
use crate::service::{self, Node, Submission};
use crate::sessions;
use crate::wire::RunId;

/// How long an execution may take when nobody says.
const EXECUTION_MS: u64 = 600_000;
const PIECE_BYTES: usize = 128 << 10;

/// Open a session
///
/// An engine that is kept between executions: variables stay. Answers at once; what is executed waits until the engine
/// is there. It ends when it is closed, when it was idle too long, and when its time is over.
#[utoipa::path(
    post, path = "/v1/sessions", operation_id = "open_session", tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "Of two requests with one key only one opens a session")),
    request_body = SessionRequest,
    responses((status = 201, description = "It is open", body = SessionDocument), ProblemTypes)
)]
pub(super) async fn open(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    request: Request,
) -> Result<Response, Problem> {
    let (key, caller) = (create::key(request.headers())?, rights::caller_of(&request)?);
    let asked: SessionRequest = create::json_of(&shared, &principal, request).await?;
    let (names, files) = create::inputs(asked.inputs)?;
    let terms = shared.node.sessions.terms;
    let most_idle = u64::try_from(terms.idle.as_millis()).unwrap_or(u64::MAX);
    let bounds = shared.node.session_bounds();
    let opening = Opening {
        language: asked.language.as_deref().map_or(Ok(Language::Python), Language::parse)?,
        inputs: names,
        with: asked.with,
        environment: asked.environment,
        limits: limits(&asked.limits, &bounds)?,
        idle_ms: asked.idle.map_or(Ok(most_idle), |idle| span("idle", &idle, most_idle))?,
    };
    opening.check(&bounds)?;
    rights::check_packages(&shared, &caller, &opening.with, opening.environment.as_deref()).await?;
    let run = shared
        .node
        .accept(
            &principal.0,
            Submission { asked: Asked::Session(opening), files, tables: Vec::new(), key, durable: true },
        )
        .await?;
    created(&shared.node, &run)
}

fn created(node: &Node, run: &Run) -> Result<Response, Problem> {
    let place = format!("/v1/sessions/{}", run.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(document(node, run)?)).into_response())
}

/// List your sessions, the youngest first
#[utoipa::path(get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions", params(Listed), responses(
    (status = 200, description = "Sessions", body = SessionList), ProblemTypes
))]
pub(super) async fn list(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<SessionList>, Problem> {
    let (before, most) = runs::bounds(asked)?;
    let found = shared.node.in_sessions(&principal.0, None, before, most).await?;
    let before = runs::before(&found, most);
    let sessions = found.iter().map(|run| document(&shared.node, run)).collect::<Result<_, _>>()?;
    Ok(Json(SessionList { sessions, before }))
}

/// Show a session
#[utoipa::path(get, path = "/v1/sessions/{id}", operation_id = "show_session", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "The session", body = SessionDocument), ProblemTypes)
)]
pub(super) async fn show(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
) -> Result<Json<SessionDocument>, Problem> {
    Ok(Json(document(&shared.node, &shared.node.session(&principal.0, &id).await?)?))
}

/// Close a session
///
/// Answers when its engine has ended. What is under way ends with it; outputs can be fetched as those of a run of this
/// name.
#[utoipa::path(delete, path = "/v1/sessions/{id}", operation_id = "close_session", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "It is over", body = SessionDocument), ProblemTypes)
)]
pub(super) async fn close(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
) -> Result<Json<SessionDocument>, Problem> {
    let session = shared.node.session(&principal.0, &id).await?;
    let over = shared.node.cancel(&principal.0, &session.id).await?;
    Ok(Json(document(&shared.node, &over)?))
}

/// Execute code
///
/// In its turn, in the namespace of the session. Answers as a run does: when it has ended, or at once with its events
/// or with `Prefer: respond-async`. It is shown and followed as a run of its name; cancelling that interrupts it.
#[utoipa::path(post, path = "/v1/sessions/{id}/executions", operation_id = "execute", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$"),
        ("Idempotency-Key" = Option<String>, Header, description = "Of two requests with one key only one is executed; the second is answered with the same execution"),
        ("Prefer" = Option<String>, Header, description = "`respond-async` does not wait for the end"),
    ),
    request_body = ExecutionRequest,
    responses(
        (status = 200, description = "It has ended", body = RunDocument),
        (status = 202, description = "It is accepted", body = RunDocument),
        ProblemTypes
    )
)]
pub(super) async fn execute(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let session = shared.node.session(&principal.0, &id).await?;
    let headers = request.headers().clone();
    let key = create::key(&headers)?;
    let asked: ExecutionRequest = create::json_of(&shared, &principal, request).await?;
    let session = RunId::parse(&session.id).ok_or_else(sessions::missing)?;
    let most = shared.node.bounds.most.wall_ms.min(crate::opening::EXECUTION_MS_MAX);
    let usual = EXECUTION_MS.min(most);
    let time_ms = asked.time.map_or(Ok(usual), |time| span("time", &time, most))?;
    let asked_for = Asked::Execution(Execution { session, time_ms });
    let durable = create::is_durable(key.as_deref(), &headers);
    let submission = Submission { asked: asked_for, files: vec![asked.code.into()], tables: Vec::new(), key, durable };
    let run = shared.node.accept(&principal.0, submission).await?;
    create::answer(&shared.node, &principal, run, &headers).await
}

/// List what was executed in a session, the youngest first
#[utoipa::path(get, path = "/v1/sessions/{id}/executions", operation_id = "list_executions", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$"), Listed),
    responses((status = 200, description = "Executions", body = RunList), ProblemTypes)
)]
pub(super) async fn executions(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<RunList>, Problem> {
    let session = shared.node.session(&principal.0, &id).await?;
    let (before, most) = runs::bounds(asked)?;
    let found = shared.node.in_sessions(&principal.0, Some(&session.id), before, most).await?;
    Ok(Json(runs::listed(&shared.node, &found, most)?))
}

/// Interrupt what is executed
///
/// As Ctrl-C does: Python code sees `KeyboardInterrupt`, R the condition `interrupt`, a query ends; variables stay. Answers at once.
#[utoipa::path(post, path = "/v1/sessions/{id}/interrupt", operation_id = "interrupt", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "What is interrupted, if anything is executed", body = Interrupted), ProblemTypes)
)]
pub(super) async fn interrupt(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
) -> Result<Json<Interrupted>, Problem> {
    let session = found(&shared.node, &principal.0, &id).await?;
    let interrupted = session.interrupt(&shared.node).await?;
    Ok(Json(Interrupted { interrupted: interrupted.map(String::from) }))
}

/// Restart a session
///
/// Closes it and opens another one with the same inputs, packages and limits, under a new name. Variables are gone.
#[utoipa::path(post, path = "/v1/sessions/{id}/restart", operation_id = "restart_session", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$")),
    responses((status = 201, description = "Another one is open", body = SessionDocument), ProblemTypes)
)]
pub(super) async fn restart(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let session = found(&shared.node, &principal.0, &id).await?;
    let opening = session.opening.clone();
    // It opens another one, for which the rights of today count, and before the one that is there is closed.
    rights::check_packages(&shared, &caller, &opening.with, opening.environment.as_deref()).await?;
    let mut files = Vec::new();
    for file in (0_i64..).take(opening.inputs.len()) {
        files.push(shared.node.kept_file(session.id().as_str(), file).await?);
    }
    session.close(&shared.node, "restarted").await;
    shared.node.cancel(&principal.0, session.id().as_str()).await?;
    let submission = Submission { asked: Asked::Session(opening), files, tables: Vec::new(), key: None, durable: true };
    let run = shared.node.accept(&principal.0, submission).await?;
    created(&shared.node, &run)
}

/// Put a file into the working folder
///
/// In its turn, after what is executed. A file of this name is replaced.
#[utoipa::path(put, path = "/v1/sessions/{id}/files/{name}", operation_id = "put_file", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$"), ("name" = String, Path, description = "A plain name")),
    request_body(content = Option<Vec<u8>>, content_type = "application/octet-stream"),
    responses((status = 204, description = "It is there"), ProblemTypes)
)]
pub(super) async fn put(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path((id, name)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let session = found(&shared.node, &principal.0, &id).await?;
    check_name(&name)?;
    // The room is taken until the file is there, however long it waits for its turn.
    let (bytes, _room) = create::body_of(&shared, &principal, request, FILE_BYTES_MAX).await?;
    let place = session.reserve()?;
    let mut file = memory("file").map_err(not_moved)?;
    file.write_all(&bytes).map_err(not_moved)?;
    drop(bytes);
    judge(&place.file(Act::Put { name }, vec![file.into()]).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a table a file of the working folder
///
/// In its turn, after what is executed. The table was written to memory of the node's; nothing of it is copied. A file of
/// this name is replaced. It counts until the session is over.
#[utoipa::path(put, path = "/v1/sessions/{id}/tables/{name}", operation_id = "put_table", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$"), ("name" = String, Path, description = "A plain name, such as `flights.arrow`")),
    request_body = TableRequest,
    responses((status = 204, description = "It is there"), ProblemTypes)
)]
pub(super) async fn put_table(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path((id, name)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let session = found(&shared.node, &principal.0, &id).await?;
    check_name(&name)?;
    let asked: TableRequest = create::json_of(&shared, &principal, request).await?;
    let table = shared.node.tables.take(&principal, &asked.token)?;
    let memory = table.for_run().map_err(not_moved)?;
    let place = session.reserve()?;
    shared.node.keep_table(session.id(), table);
    judge(&place.file(Act::Table { name }, vec![memory]).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetch a file of the working folder
///
/// In its turn, after what is executed: a regular file of at most 100 MiB.
#[utoipa::path(get, path = "/v1/sessions/{id}/files/{name}", operation_id = "get_file", tag = "sessions",
    params(("id" = String, Path, description = "The session", pattern = "^[0-9a-f]{16}$"), ("name" = String, Path, description = "A plain name")),
    responses((status = 200, description = "Its bytes", content_type = "application/octet-stream"), ProblemTypes)
)]
pub(super) async fn get(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let session = found(&shared.node, &principal.0, &id).await?;
    check_name(&name)?;
    let place = session.reserve()?;
    let mut file = memory("file").map_err(not_moved)?;
    let far = file.try_clone().map_err(not_moved)?;
    judge(&place.file(Act::Get { name }, vec![far.into()]).await?)?;
    std::io::Seek::rewind(&mut file).map_err(not_moved)?;
    let bytes = file.metadata().map_err(not_moved)?.len();
    let room = shared.uploads.room(&principal, usize::try_from(bytes / 2).unwrap_or(usize::MAX)).await?;
    // The room is taken until the last of it was read.
    let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES).map(move |piece| {
        let _room = &room;
        piece
    });
    let mut answer = Body::from_stream(pieces).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    // Never shown as a page: it was made by strangers.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(answer)
}

/// An open session of the asker's.
async fn found(node: &Node, principal: &str, id: &str) -> Result<Arc<sessions::Session>, Refusal> {
    let session = node.session(principal, id).await?;
    node.sessions.find(principal, &session.id).ok_or_else(sessions::over_refusal)
}

/// What became of a file, by the word of the code inside.
fn judge((ending, report): &(Ending, Vec<u8>)) -> Result<(), Refusal> {
    match ending {
        Ending::Ended { status: 0, killed: false } => Ok(()),
        Ending::Ended { killed: true, .. } => Err(sessions::over_refusal()),
        Ending::Refused(refusal) => Err(refusal.clone()),
        Ending::Ended { status, .. } => {
            let report: serde_json::Value = serde_json::from_slice(report).unwrap_or_default();
            if report.pointer("/cause/kind").and_then(serde_json::Value::as_str) != Some("exited") {
                let why = "it took too long, the session ended meanwhile, or it could not be put on record";
                return Err(Refusal::failed("the file was not moved", why));
            }
            let why = crate::system_text(&std::io::Error::from_raw_os_error(*status));
            let (kind, next) = match status {
                2 => (Kind::Missing, "see what the code wrote, and where"),
                27 => (Kind::TooLarge, "the most is 100 MiB; larger files are outputs, when the session has ended"),
                28 | 122 => (Kind::Conflict, "the session's scratch is full: have its code remove something"),
                _ => (Kind::Conflict, "only regular files of the working folder are moved"),
            };
            Err(Refusal::new(kind, "the file cannot be had", format!("inside the session: {why}"), next))
        }
    }
}

fn not_moved(error: std::io::Error) -> Refusal {
    Refusal::failed("the file was not moved", crate::system_text(&error))
}

fn span(name: &str, text: &str, most: u64) -> Result<u64, Refusal> {
    let shown = stockade_core::text::shown(text, 100);
    let value = Limit::Time.parse(text).map_err(|bad| {
        let next = "write it as `stockade run --limit time=` takes it: 30s, 10m";
        Refusal::invalid(format!("`{shown}` is no value of `{name}`"), bad.to_string(), next)
    })?;
    if value > most {
        let why = format!("the most is {}", Limit::Time.show(most));
        return Err(Refusal::invalid(format!("`{name}` is more than this node gives"), why, "ask for less"));
    }
    Ok(value)
}

/// A session as it is told.
fn document(node: &Node, run: &Run) -> Result<SessionDocument, Refusal> {
    let Asked::Session(opening) = Asked::parse(run.kind, &run.request)? else { return Err(sessions::missing()) };
    let seen =
        node.sessions.find(&run.principal, &run.id).map(|session| session.seen()).filter(|_| !run.state.is_over());
    let life_ms = i64::try_from(opening.life_ms()).unwrap_or(i64::MAX);
    let idle_ms = i64::try_from(opening.idle_ms).unwrap_or(i64::MAX);
    let state = match &seen {
        Some(seen) if seen.is_ending => "ending",
        Some(_) => "open",
        None => match service::state_name(run.state) {
            "queued" | "running" => "open",
            over => over,
        },
    };
    let is_idle = seen.as_ref().filter(|seen| seen.executing.is_none());
    let failed = |error: serde_json::Error| Refusal::failed("the session cannot be told", error);
    Ok(SessionDocument {
        id: run.id.clone(),
        state,
        language: opening.language.name(),
        with: opening.with,
        environment: opening.environment,
        limits: opening.limits.into_iter().collect::<BTreeMap<_, _>>(),
        opened_ms: run.accepted_ms,
        ends_ms: (!run.state.is_over()).then(|| run.accepted_ms.saturating_add(life_ms)),
        idle_ms,
        idle_ends_ms: is_idle.map(|seen| seen.used_ms.saturating_add(idle_ms)),
        executing: seen.as_ref().and_then(|seen| seen.executing.clone()),
        waiting: seen.map_or(0, |seen| seen.waiting),
        ended_ms: run.ended_ms,
        outcome: run.outcome.as_deref().map(serde_json::from_str).transpose().map_err(failed)?,
    })
}
