//! Refusals as problem documents (RFC 9457), with what to do next.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::refusal::{Kind, Refusal};

/// When to try again where nobody knows, seconds.
const RETRY_S: u64 = 2;

/// What is asked of who is not admitted. A challenge for a password would make browsers ask for one and keep it.
const CHALLENGE: &str = "Bearer realm=\"stockade\"";

/// The name of a request.
#[derive(Clone, Debug)]
pub(super) struct RequestId(#[expect(dead_code, reason = "handlers may tell it")] pub(super) String);

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub(super) struct Problem(Refusal);

/// A problem, as RFC 9457 has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ProblemDocument {
    /// Its kind: `urn:stockade:problem:KIND`
    #[serde(rename = "type")]
    kind: String,
    /// What happened
    title: String,
    /// The status of the answer
    status: u16,
    /// Why
    detail: String,
    /// What to do about it
    next: String,
    /// The name of the request, as the log has it
    request_id: String,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = status(self.0.kind).into_response();
        if matches!(self.0.kind, Kind::TooMany | Kind::Unavailable) {
            answer.headers_mut().insert(header::RETRY_AFTER, self.0.retry_s.unwrap_or(RETRY_S).into());
        }
        if self.0.kind == Kind::Unauthenticated {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        // Written when the request's name is known.
        answer.extensions_mut().insert(self);
        answer
    }
}

/// The answer with its problem written out, if it is one.
pub(super) fn named(mut answer: Response, request: &str) -> Response {
    let refusal = match answer.extensions_mut().remove::<Problem>() {
        Some(Problem(refusal)) => refusal,
        None if answer.status().is_client_error() || answer.status().is_server_error() => foreign(answer.status()),
        None => return answer,
    };
    let status = answer.status();
    let document = document(refusal, status, request);
    let kept = [header::RETRY_AFTER, header::WWW_AUTHENTICATE];
    let kept = kept.map(|name| answer.headers().get(&name).cloned().map(|value| (name, value)));
    let mut answer = (status, Json(document)).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.extend(kept.into_iter().flatten());
    answer
}

/// A refusal as a document, where it is not said over HTTP.
pub(crate) fn problem_of(refusal: Refusal) -> impl Serialize {
    let status = status(refusal.kind);
    document(refusal, status, "")
}

fn document(refusal: Refusal, status: StatusCode, request: &str) -> ProblemDocument {
    let kind = serde_json::to_value(refusal.kind).ok();
    let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or("failed");
    ProblemDocument {
        kind: format!("urn:stockade:problem:{kind}"),
        title: refusal.what,
        status: status.as_u16(),
        detail: refusal.why,
        next: refusal.next,
        request_id: request.to_owned(),
    }
}

/// What the framework refused by itself, such as a query that cannot be parsed.
fn foreign(status: StatusCode) -> Refusal {
    let kind = if status.is_client_error() { Kind::Invalid } else { Kind::Failed };
    let why = status.canonical_reason().unwrap_or("it is refused").to_lowercase();
    Refusal::new(kind, "the request cannot be understood", why, "see /docs")
}

const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Missing => StatusCode::NOT_FOUND,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
