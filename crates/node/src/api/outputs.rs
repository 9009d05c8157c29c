//! What a run made: one file by its name, or all of them as one archive.

use std::io::Read;
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;
use stockade_store::Run;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::problem::Problem;
use super::types::ProblemTypes;
use super::{Asker, Shared};
use crate::refusal::{Kind, Refusal};
use crate::service::{Node, missing};
use crate::wire::RunId;

/// Pieces of an archive that wait for their reader.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 128 << 10;

/// Fetch one output
#[utoipa::path(get, path = "/v1/runs/{id}/outputs/{path}", tag = "outputs",
    params(("id" = String, Path, description = "The run", pattern = "^[0-9a-f]{16}$"), ("path" = String, Path, description = "The output, as the report names it")),
    responses((status = 200, description = "Its bytes", content_type = "application/octet-stream"), ProblemTypes)
)]
pub(super) async fn one(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path((id, path)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (run, id) = ended(&shared.node, &principal.0, &id).await?;
    // What is not listed was not collected.
    if !listed(&run).any(|output| output == path) {
        return Err(not_listed().into());
    }
    let (file, bytes) = shared.node.link.output(&id, &path).await?;
    let body = Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file), PIECE_BYTES));
    let mut answer = body.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    // Never shown as a page: it was made by strangers.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(answer)
}

/// Fetch all outputs, as one tar archive
#[utoipa::path(get, path = "/v1/runs/{id}/outputs", tag = "outputs", params(("id" = String, Path, description = "The run", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "The archive", content_type = "application/x-tar"), ProblemTypes)
)]
pub(super) async fn archive(
    State(shared): State<Shared>,
    Extension(principal): Asker,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (run, id) = ended(&shared.node, &principal.0, &id).await?;
    let paths: Vec<String> = listed(&run).collect();
    let (pieces, to_send) = mpsc::channel(PIECES);
    tokio::spawn(write_archive(shared.node, id, paths, pieces));
    let body = stream::unfold(to_send, |mut to_send| async move { Some((to_send.recv().await?, to_send)) });
    let mut answer = Body::from_stream(body).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    Ok(answer)
}

async fn ended(node: &Node, principal: &str, id: &str) -> Result<(Run, RunId), Refusal> {
    let run = node.run(principal, id).await?;
    let id = RunId::parse(&run.id).ok_or_else(missing)?;
    if !run.state.is_over() {
        return Err(Refusal::new(
            Kind::Conflict,
            "the run is not over",
            "outputs are collected at its end",
            "follow its events up to `result`",
        ));
    }
    Ok((run, id))
}

/// The outputs that the report names.
fn listed(run: &Run) -> impl Iterator<Item = String> {
    let outcome: Value = run.outcome.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let files = outcome.pointer("/report/outputs/files").and_then(Value::as_array).cloned().unwrap_or_default();
    files.into_iter().filter_map(|file| file.get("path")?.as_str().map(ToOwned::to_owned))
}

fn not_listed() -> Refusal {
    Refusal::new(Kind::Missing, "there is no such output", "the run has none of this path", "see the run's report")
}

type Piece = Result<Bytes, std::io::Error>;

/// Writes one file after the other, as fast as they are read; a reader that goes away ends it.
async fn write_archive(node: Arc<Node>, run: RunId, paths: Vec<String>, pieces: mpsc::Sender<Piece>) {
    for path in paths {
        let written = match node.link.output(&run, &path).await {
            Ok((file, bytes)) => {
                let pieces = pieces.clone();
                tokio::task::spawn_blocking(move || member(&path, file, bytes, &pieces)).await
            }
            Err(refusal) => Ok(Err(std::io::Error::other(refusal.what))),
        };
        if let Ok(Err(error)) = written {
            // Broken off, so that nobody takes it for whole.
            drop(pieces.send(Err(error)).await);
            return;
        }
    }
    drop(pieces.send(Ok(Bytes::from_static(&[0; 1024]))).await);
}

/// One member: its header, its bytes, and what fills its last block.
fn member(path: &str, file: std::fs::File, bytes: u64, pieces: &mpsc::Sender<Piece>) -> std::io::Result<()> {
    let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let mut head = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes);
    header.set_entry_type(tar::EntryType::Regular);
    head.append_data(&mut header, path, std::io::empty())?;
    pieces.blocking_send(Ok(std::mem::take(head.get_mut()).into())).map_err(gone)?;
    let mut left = file.take(bytes);
    let mut sent = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if (&mut left).take(u64::try_from(PIECE_BYTES).unwrap_or(1)).read_to_end(&mut piece)? == 0 {
            break;
        }
        sent += u64::try_from(piece.len()).unwrap_or(0);
        pieces.blocking_send(Ok(piece.into())).map_err(gone)?;
    }
    if sent != bytes {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let fill = usize::try_from((512 - bytes % 512) % 512).unwrap_or(0);
    pieces.blocking_send(Ok(vec![0; fill].into())).map_err(gone)
}
