//! `POST /v1/runs`: from bytes of strangers to a run that is accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stockade_store::Run;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use super::types::{InlineInput, ProblemTypes, RunDocument, RunRequest, TableInput};
use super::{Asker, Shared, events, rights, runs};
use crate::asked::Asked;
use crate::listen::Principal;
use crate::order::{self, Order, limits};
use crate::refusal::{Kind, Refusal};
use crate::security::Caller;
use crate::service::{Node, Submission};
use crate::tables::Table;

/// Largest body of JSON.
const JSON_BYTES_MAX: usize = 16 << 20;
/// Largest form, with all its files.
const FORM_BYTES_MAX: usize = 100 << 20;
/// Largest file that is put into a session.
pub(super) const FILE_BYTES_MAX: usize = FORM_BYTES_MAX;
/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(120);
/// How long to wait for memory for it.
const ROOM: Duration = Duration::from_secs(5);
/// Memory for all bodies at once.
const UPLOADS_MIB: usize = 512;
/// Of one principal.
const UPLOADS_EACH_MIB: usize = 256;
/// A body that needs no room.
const SMALL_BYTES: usize = 64 << 10;
const MIB: usize = 1 << 20;
/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 200;

/// Bounds the memory that requests take together, and each principal's part of it.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    all: Arc<Semaphore>,
    each: Arc<Mutex<HashMap<Principal, usize>>>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(UPLOADS_MIB)), each: Arc::default() }
    }
}

/// Room that is taken, until it is dropped.
pub(super) struct Room {
    uploads: Uploads,
    principal: Principal,
    mib: usize,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut each = self.uploads.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = each.get_mut(&self.principal) {
            *taken = taken.saturating_sub(self.mib);
            if *taken == 0 {
                each.remove(&self.principal);
            }
        }
    }
}

impl Uploads {
    /// Waits a little for room for a body of so many bytes, which is there twice for a moment. Small ones are bounded
    /// by the number of connections, and of requests at once over each.
    pub(super) async fn room(&self, principal: &Principal, bytes: usize) -> Result<Option<Room>, Refusal> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let mib = 2 * bytes.div_ceil(MIB);
        let no_room = |why: &str| {
            Refusal::new(Kind::Unavailable, "the node has no room for the request", why, "try again in a moment")
        };
        let permits = u32::try_from(mib).map_err(|_| no_room("it is too large"))?;
        let waited = tokio::time::timeout(ROOM, Arc::clone(&self.all).acquire_many_owned(permits)).await;
        let Ok(Ok(permit)) = waited else { return Err(no_room("others are sending large ones")) };
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = each.entry(principal.clone()).or_default();
        if *taken + mib > UPLOADS_EACH_MIB {
            return Err(no_room("you are sending large ones already"));
        }
        *taken += mib;
        Ok(Some(Room { uploads: self.clone(), principal: principal.clone(), mib, _permit: permit }))
    }
}

/// Run something
///
/// Answers when the run has ended; with `Accept: application/x-ndjson` or `text/event-stream` at once, with its
/// events; with `Prefer: respond-async` at once, with the run. A caller that goes away ends nothing.
#[utoipa::path(
    post, path = "/v1/runs", tag = "runs",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Of two requests with one key only one is run; the second is answered with the same run"),
        ("Prefer" = Option<String>, Header, description = "`respond-async` does not wait for the end"),
    ),
    request_body(content(
        (RunRequest = "application/json"),
        (super::types::RunForm = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "It has ended", body = RunDocument,
            links(("show" = (operation_id = "show", parameters(("id" = "$response.body#/id")))), ("follow" = (operation_id = "events", parameters(("id" = "$response.body#/id")))), ("archive" = (operation_id = "archive", parameters(("id" = "$response.body#/id")))), ("end" = (operation_id = "end", parameters(("id" = "$response.body#/id")))))),
        (status = 202, description = "It is accepted", body = RunDocument,
            links(("show" = (operation_id = "show", parameters(("id" = "$response.body#/id")))), ("follow" = (operation_id = "events", parameters(("id" = "$response.body#/id")))), ("archive" = (operation_id = "archive", parameters(("id" = "$response.body#/id")))), ("end" = (operation_id = "end", parameters(("id" = "$response.body#/id")))))),
        ProblemTypes,
    )
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    request: Request,
) -> Result<Response, Problem> {
    accept(&shared, &principal, request, |asked: RunRequest, script, sent| {
        assemble(asked, script, sent, &shared.node, &principal)
    })
    .await
}

/// From a request of either type to its answer.
pub(super) async fn accept<T: serde::de::DeserializeOwned + Default>(
    shared: &Shared,
    principal: &Principal,
    request: Request,
    put_together: impl FnOnce(T, Option<Sent>, Vec<Sent>) -> Result<Assembled, Refusal>,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let key = key(&headers)?;
    // The room is for what is not written down yet.
    let (Assembled { order, files, tables }, _) = order_of(shared, principal, request, put_together).await?;
    let durable = is_durable(key.as_deref(), &headers);
    let submission = Submission { asked: Asked::Run(order), files, tables, key, durable };
    let run = shared.node.accept(&principal.0, submission).await?;
    answer(&shared.node, principal, run, &headers).await
}

/// From a request of either type to an order, what lies beside it, and the room that its files take.
pub(super) async fn order_of<T: serde::de::DeserializeOwned + Default>(
    shared: &Shared,
    principal: &Principal,
    request: Request,
    put_together: impl FnOnce(T, Option<Sent>, Vec<Sent>) -> Result<Assembled, Refusal>,
) -> Result<(Assembled, Option<Room>), Refusal> {
    let caller = rights::caller_of(&request)?;
    let kind = kind(request.headers())?;
    let bytes_max = kind.bytes_max(&shared.node);
    let length = length(request.headers())?.unwrap_or(bytes_max);
    if length > bytes_max {
        return Err(too_large(bytes_max));
    }
    let room = shared.uploads.room(principal, length).await?;
    let read = async {
        match kind {
            Body::Json => json(request).await.map(|asked| (asked, None, Vec::new())),
            Body::Form => form(request, &shared.node).await.map_err(|refused: Refusal| {
                if refused.kind == Kind::TooLarge { too_large(bytes_max) } else { refused }
            }),
        }
    };
    let (asked, script, sent) = arrived(shared, &caller, read).await?;
    let mut assembled = put_together(asked, script, sent)?;
    let order = &mut assembled.order;
    rights::check_packages(shared, &caller, &order.with, order.environment.as_deref()).await?;
    order.only_built = !caller.may_build();
    Ok((assembled, room))
}

/// What is read of a body: in time, and of a caller who is then what he was before.
async fn arrived<T>(
    shared: &Shared,
    caller: &Caller,
    read: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let read = tokio::time::timeout(BODY, read).await.map_err(|_| too_slow())??;
    shared.node.security.check_current(caller)?;
    Ok(read)
}

/// Whether a request waits for the disk: who waits for the end knows nothing of the run before it, and asks for it
/// again by a key only.
pub(super) fn is_durable(key: Option<&str>, headers: &HeaderMap) -> bool {
    key.is_some() || is_async(headers) || events::Format::asked(headers).is_some()
}

/// Answers for something that was accepted, in the way that the caller wants: with its events, at once, or at its end.
pub(super) async fn answer(
    node: &Arc<Node>,
    principal: &Principal,
    run: Run,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Some(format) = events::Format::asked(headers) {
        return Ok(events::stream(Arc::clone(node), run, 1, format));
    }
    if is_async(headers) {
        let place = format!("/v1/runs/{}", run.id);
        let document = runs::document(node, &run)?;
        return Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(document)).into_response());
    }
    let run = node.over(&principal.0, &run.id).await?;
    Ok(Json(runs::whole(node, &run).await?).into_response())
}

/// A request of JSON, bounded like every other.
pub(super) async fn json_of<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    principal: &Principal,
    request: Request,
) -> Result<T, Refusal> {
    if !matches!(kind(request.headers()), Ok(Body::Json)) {
        let why = "this is asked for as application/json";
        return Err(Refusal::invalid("the request has no known type", why, "set the header content-type"));
    }
    let (bytes, _room) = body_of(shared, principal, request, JSON_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| not_understood(&error))
}

/// The body of a request, of at most so many bytes, and the room that it takes.
pub(super) async fn body_of(
    shared: &Shared,
    principal: &Principal,
    request: Request,
    most: usize,
) -> Result<(Bytes, Option<Room>), Refusal> {
    let length = length(request.headers())?.unwrap_or(most);
    if length > most {
        return Err(too_large(most));
    }
    let caller = rights::caller_of(&request)?;
    let room = shared.uploads.room(principal, length).await?;
    let bytes = arrived(shared, &caller, bytes_of(request, most)).await?;
    Ok((bytes, room))
}

/// Small files of a request: their names, their bytes.
pub(super) fn inputs(sent: Vec<InlineInput>) -> Result<(Vec<String>, Vec<Bytes>), Refusal> {
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for InlineInput { name, content } in sent {
        let bytes = STANDARD.decode(content).map_err(|error| {
            let shown = stockade_core::text::shown(&name, 100);
            Refusal::invalid(format!("input `{shown}` is not in base64"), error.to_string(), "encode its bytes")
        })?;
        names.push(name);
        files.push(bytes.into());
    }
    Ok((names, files))
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Json,
    Form,
}

impl Body {
    fn bytes_max(self, node: &Node) -> usize {
        match self {
            Self::Json => JSON_BYTES_MAX,
            Self::Form => node.form_bytes,
        }
    }
}

fn kind(headers: &HeaderMap) -> Result<Body, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(Body::Json)
    } else if essence.eq_ignore_ascii_case("multipart/form-data") {
        Ok(Body::Form)
    } else {
        Err(Refusal::invalid(
            "the request has no known type",
            "a run is asked for as application/json or multipart/form-data",
            "set the header content-type",
        ))
    }
}

fn length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    length
        .to_str()
        .ok()
        .and_then(|length| length.parse().ok())
        .map(Some)
        .ok_or_else(|| Refusal::invalid("the request has no length", "content-length is no number", "send its bytes"))
}

pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => Err(Refusal::invalid(
            "the idempotency key cannot be used",
            format!("it has 1 to {KEY_BYTES_MAX} characters of plain text"),
            "use a UUID",
        )),
    }
}

fn is_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

async fn bytes_of(request: Request, most: usize) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(request.into_body(), most)
        .await
        .map_err(|_| Refusal::invalid("the request cannot be read", "it broke off, or is too large", "send it whole"))
}

async fn json<T: serde::de::DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = bytes_of(request, JSON_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| not_understood(&error))
}

/// A file of a form.
pub(super) type Sent = (String, Bytes);

/// The parts of a form: what is asked for, the script if one was sent, and inputs.
async fn form<T: serde::de::DeserializeOwned + Default>(
    mut request: Request,
    node: &Node,
) -> Result<(T, Option<Sent>, Vec<Sent>), Refusal> {
    // The framework's own bound, which every part of the form is counted against.
    DefaultBodyLimit::max(node.form_bytes).apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|refused| {
        Refusal::invalid("the form cannot be read", refused.body_text(), "see /docs for its parts")
    })?;
    let (mut asked, mut script, mut inputs) = (None, None, Vec::new());
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "request" if asked.is_none() => {
                let bytes = field.bytes().await.map_err(|error| broken(&error))?;
                asked = Some(serde_json::from_slice(&bytes).map_err(|error| not_understood(&error))?);
            }
            "script" if script.is_none() => script = Some(sent(field).await?),
            "input" if inputs.len() < crate::order::FILES_MAX => inputs.push(sent(field).await?),
            _ => {
                let shown = stockade_core::text::shown(&name, 60);
                return Err(Refusal::invalid(
                    format!("the form has a part `{shown}` too many"),
                    "its parts are `request` (JSON), `script` and any number of `input`",
                    "leave it out",
                ));
            }
        }
    }
    Ok((asked.unwrap_or_default(), script, inputs))
}

async fn sent(field: Field<'_>) -> Result<Sent, Refusal> {
    let name = field.file_name().map(ToOwned::to_owned).ok_or_else(|| {
        Refusal::invalid("a file of the form has no name", "parts `script` and `input` are files", "give it a filename")
    })?;
    Ok((name, field.bytes().await.map_err(|error| broken(&error))?))
}

/// Puts what was sent together, and refuses what is there twice or not at all.
pub(super) fn assemble(
    asked: RunRequest,
    script: Option<Sent>,
    sent: Vec<Sent>,
    node: &Node,
    principal: &Principal,
) -> Result<Assembled, Refusal> {
    let (script, code) = match (script, asked.code) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid("there are two scripts", "`code` and the part `script`", "leave out one"));
        }
        (None, None) => {
            return Err(Refusal::invalid("nothing to run", "neither `code` nor a part `script` was sent", "send one"));
        }
        (Some((name, bytes)), None) => (asked.name.unwrap_or(name), bytes),
        (None, Some(code)) => {
            let usual = asked.language.map_or("main.py", super::types::Language::script);
            (asked.name.unwrap_or_else(|| usual.to_owned()), code.into())
        }
    };
    let (names, files) = files(code, asked.inputs, sent)?;
    let (named, tables) = tables(asked.tables, node, principal)?;
    let order = Order {
        script,
        arguments: asked.arguments,
        inputs: names,
        with: asked.with,
        environment: asked.environment,
        limits: limits(&asked.limits, &node.bounds)?,
        tables: named,
        data_function: false,
        only_built: false,
    };
    order.check(&node.bounds)?;
    Ok(Assembled { order, files, tables })
}

/// What was written, by its tokens: none of them is good again, whatever becomes of the request.
fn tables(
    asked: Vec<TableInput>,
    node: &Node,
    principal: &Principal,
) -> Result<(Vec<order::Table>, Vec<Table>), Refusal> {
    let mut named = Vec::new();
    let mut taken = Vec::new();
    for TableInput { name, token } in asked {
        let table = node.tables.take(principal, &token)?;
        named.push(order::Table { name, bytes: table.bytes });
        taken.push(table);
    }
    Ok((named, taken))
}

/// What is to be run, and what lies beside it.
pub(super) struct Assembled {
    pub(super) order: Order,
    pub(super) files: Vec<Bytes>,
    pub(super) tables: Vec<Table>,
}

/// Names of all inputs, and the files of an order: its script first.
pub(super) fn files(
    script: Bytes,
    inline: Vec<InlineInput>,
    sent: Vec<Sent>,
) -> Result<(Vec<String>, Vec<Bytes>), Refusal> {
    let (mut names, contents) = inputs(inline)?;
    let mut files = vec![script];
    files.extend(contents);
    for (name, bytes) in sent {
        names.push(name);
        files.push(bytes);
    }
    Ok((names, files))
}

fn not_understood(error: &serde_json::Error) -> Refusal {
    let why = stockade_core::text::shown(&error.to_string(), 300);
    Refusal::invalid("the request cannot be understood", why, "see /docs for its form")
}

fn broken(error: &MultipartError) -> Refusal {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large(FORM_BYTES_MAX);
    }
    Refusal::invalid("the form cannot be read", error.body_text(), "see /docs for its parts")
}

fn too_large(most: usize) -> Refusal {
    Refusal::new(
        Kind::TooLarge,
        "the request is too large",
        format!("the most is {} MiB", most / MIB),
        "send larger files as parts of a form, and less of them",
    )
}

fn too_slow() -> Refusal {
    let why = format!("it did not arrive within {} seconds", BODY.as_secs());
    Refusal::new(Kind::TooSlow, "the request took too long", why, "send it again, or less of it")
}
