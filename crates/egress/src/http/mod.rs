//! HTTP spoken with the run: as a proxy, or in the place of one server.
//!
//! hyper parses what comes from inside and writes anew what goes on, so no byte of a request's framing passes
//! through. Every request is decided on by itself, the tenth on a connection like the first.

mod forward;
mod head;

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use head::frames_the_message;

use crate::flow::{Passage, Way};
use crate::inside::Inside;
use crate::refusal::{Reason, Refusal};
use crate::run::Run;
use forward::{Forwarder, Origin};
use stockade_core::grant::Protocol;

/// How many headers a request may have.
const HEADERS_MAX: usize = 128;
/// hyper reads no less at once.
const HEAD_BYTES_MIN: usize = 8 << 10;

fn builder(run: &Run) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(run.budget.head_ms))
        .max_buf_size(usize::try_from(run.budget.head_bytes).unwrap_or(usize::MAX).clamp(HEAD_BYTES_MIN, 1 << 20))
        .max_headers(HEADERS_MAX)
        .half_close(true);
    builder
}

/// Serves the run as its HTTP proxy.
pub(crate) async fn serve_proxy(run: Arc<Run>, inside: Inside) {
    let forwarder = Forwarder::new(Arc::clone(&run), Origin::Proxy);
    let service = service_fn(|request| forwarder.serve(request));
    let served = builder(&run).serve_connection(TokioIo::new(inside), service).with_upgrades().await;
    forwarder.close().await;
    if let Some((passage, upgrade)) = forwarder.take_tunnel() {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Inside>>() else { return };
        let mut inside = parts.io.into_inner();
        inside.put_back(&parts.read_buf);
        return passage.carry(inside).await;
    }
    if let Err(reason) = ended(served, &forwarder) {
        run.refused(&Refusal::new(Way::HttpProxy, "an HTTP request", reason));
    }
}

/// Serves the run in the place of the granted server, over a stream that it believes to lead there.
pub(crate) async fn serve_tunnel(
    passage: Passage,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    protocol: Protocol,
) -> Result<(), Reason> {
    let run = Arc::clone(&passage.run);
    let forwarder = Forwarder::new(Arc::clone(&run), Origin::Server { passage: Box::new(passage), protocol });
    let service = service_fn(|request| forwarder.serve(request));
    let served = builder(&run).serve_connection(TokioIo::new(stream), service).await;
    forwarder.close().await;
    ended(served, &forwarder)
}

/// Whether the end of a connection was a refusal: malformed, too large, or too slow in its first request. A kept
/// connection that says nothing more simply ends.
fn ended(served: hyper::Result<()>, forwarder: &Forwarder) -> Result<(), Reason> {
    match served {
        Err(error) if error.is_parse_too_large() => Err(Reason::BadRequest("the head of the request is too large")),
        Err(error) if error.is_parse() => Err(Reason::BadRequest("the request is not well-formed HTTP/1.1")),
        Err(error) if error.is_timeout() && forwarder.is_unused() => Err(Reason::Slow),
        Err(_) | Ok(()) => Ok(()),
    }
}
