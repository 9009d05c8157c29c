//! What a run says, as it says it: newline-delimited JSON or server-sent events, from any number on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use stockade_store::{Event, Run};
use tokio::sync::watch;
use utoipa::IntoParams;

use super::problem::Problem;
use super::types::{EventDocument, ProblemTypes};
use super::{Asker, Shared};
use crate::refusal::Refusal;
use crate::service::Node;

/// A silent stream shows that it is alive this often.
const ALIVE: Duration = Duration::from_secs(15);
/// The last event of every run.
const LAST: &str = "result";

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Lines,
    ServerSent,
}

impl Format {
    /// The format that a caller accepts, if it accepts one of ours by name.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        accepted.flat_map(|value| value.split(',')).find_map(|one| match one.split(';').next().unwrap_or("").trim() {
            "application/x-ndjson" | "application/ndjson" => Some(Self::Lines),
            "text/event-stream" => Some(Self::ServerSent),
            _ => None,
        })
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::ServerSent => "text/event-stream",
        }
    }

    fn write(self, document: &EventDocument) -> Bytes {
        let json = serde_json::to_string(document).unwrap_or_default();
        match self {
            Self::Lines => json + "\n",
            Self::ServerSent => format!("id: {}\nevent: {}\ndata: {json}\n\n", document.seq, document.kind),
        }
        .into()
    }

    fn alive(self) -> Bytes {
        match self {
            // An empty line is passed over by readers of JSON lines.
            Self::Lines => Bytes::from_static(b"\n"),
            Self::ServerSent => Bytes::from_static(b": alive\n\n"),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The number of the first event that is wanted; 1 if left out
    from: Option<i64>,
}

/// Follow a run
///
/// All events from a number on, then those to come, up to `result`. Who lost the connection asks again from the number
/// after the last it saw. Server-sent events if they are accepted (`Last-Event-ID` counts too), else JSON lines.
#[utoipa::path(get, path = "/v1/runs/{id}/events", tag = "runs",
    params(("id" = String, Path, description = "The run", pattern = "^[0-9a-f]{16}$"), Asked),
    responses((status = 200, description = "Events, one a line", body = EventDocument, content_type = "application/x-ndjson"), ProblemTypes)
)]
pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|refused| {
        Refusal::invalid("the query cannot be understood", refused.body_text(), "give ?from=NUMBER")
    })?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<i64>().ok());
    let from = asked.from.or(seen.map(|seen| seen.saturating_add(1))).unwrap_or(1);
    let run = shared.node.run(&principal.0, &id).await?;
    Ok(stream(shared.node, run, from.max(1), Format::asked(&headers).unwrap_or(Format::Lines)))
}

/// The answer that tells a run's events.
pub(super) fn stream(node: Arc<Node>, run: Run, from: i64, format: Format) -> Response {
    // Before the first look: what happens in between is then seen by one of them.
    let last = node.follow(&run.id);
    let following = Following { node, run, next: from, last, ready: VecDeque::new(), is_over: false, format };
    let body = futures_util::stream::unfold(following, |mut following| async move {
        following.next().await.map(|piece| (piece, following))
    });
    let mut answer = Response::new(Body::from_stream(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    answer
}

struct Following {
    node: Arc<Node>,
    run: Run,
    next: i64,
    last: Option<watch::Receiver<i64>>,
    ready: VecDeque<Event>,
    is_over: bool,
    format: Format,
}

impl Following {
    /// The next piece of the answer; none after the last event.
    async fn next(&mut self) -> Option<Result<Bytes, Refusal>> {
        while !self.is_over {
            if let Some(event) = self.ready.pop_front() {
                self.next = event.seq + 1;
                self.is_over = event.kind == LAST;
                return Some(Ok(self.format.write(&self.document(event))));
            }
            match self.node.events(&self.run.id, self.next).await {
                Ok(events) if events.is_empty() => match self.wait().await {
                    Waited::More => {}
                    Waited::Long => return Some(Ok(self.format.alive())),
                    Waited::Over => return None,
                },
                Ok(events) => self.ready.extend(events),
                Err(refusal) => {
                    // The answer has begun: all that can be done is to break it off.
                    self.is_over = true;
                    return Some(Err(refusal));
                }
            }
        }
        None
    }

    async fn wait(&mut self) -> Waited {
        let Some(last) = &mut self.last else { return Waited::Over };
        match tokio::time::timeout(ALIVE, last.changed()).await {
            Ok(Ok(())) => Waited::More,
            Ok(Err(_)) => {
                // It is over; one more look finds its last events.
                self.last = None;
                Waited::More
            }
            Err(_) => Waited::Long,
        }
    }

    fn document(&self, event: Event) -> EventDocument {
        let is_output = matches!(event.kind.as_str(), "stdout" | "stderr");
        let (mut text, mut base64, mut data) = (None, None, None);
        match String::from_utf8(event.body) {
            Ok(body) if is_output => text = Some(body),
            Ok(body) => data = serde_json::from_str(&body).ok(),
            Err(body) => base64 = Some(STANDARD.encode(body.as_bytes())),
        }
        let is_first = event.seq == 1;
        EventDocument {
            seq: event.seq,
            time_ms: event.time_ms,
            position: if is_first { self.node.position(&self.run) } else { None },
            run: is_first.then(|| self.run.id.clone()),
            kind: event.kind,
            text,
            base64,
            data: data.filter(|data: &Value| data.as_object().is_none_or(|fields| !fields.is_empty())),
        }
    }
}

enum Waited {
    More,
    Long,
    Over,
}

impl std::error::Error for Refusal {}
