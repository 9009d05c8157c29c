//! Connections: who is at the other end, how many there may be, how long they may take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use crate::api;
use crate::patient::Patient;
use crate::service::Node;

/// From a connection's first byte to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
const READER: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Who asks, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Principal(pub(crate) String);

/// A socket, and who is connected to it.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: UnixListener,
    all: Arc<Semaphore>,
    each_max: usize,
    each: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Listening {
    pub(crate) fn new(listener: UnixListener, connections: usize) -> Self {
        // One principal leaves room for others.
        let each_max = (connections / 2).max(1);
        Self { listener, all: Arc::new(Semaphore::new(connections)), each_max, each: Arc::default() }
    }

    /// A place for a connection of this user, if there is one.
    fn place(&self, user: u32) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = each.entry(user).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Place { user, each: Arc::clone(&self.each), _permit: permit })
    }
}

/// A place that is taken, until it is dropped.
struct Place {
    user: u32,
    each: Arc<Mutex<HashMap<u32, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = each.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                each.remove(&self.user);
            }
        }
    }
}

/// Takes connections, for ever.
pub(crate) async fn serve(listening: Listening, node: Arc<Node>) {
    let router = api::router(Arc::clone(&node));
    loop {
        let stream = match listening.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most likely: a moment later there may be fewer.
                tracing::warn!(error = %error, "a connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(peer) = stream.peer_cred() else { continue };
        let Some(place) = listening.place(peer.uid()) else {
            // Closed at once: an answer would have to wait for a reader.
            node.metrics.refused_connection();
            continue;
        };
        node.metrics.connected();
        let router = router.clone().layer(Extension(Principal(format!("uid-{}@local", peer.uid()))));
        tokio::spawn(async move {
            connection(stream, router).await;
            drop(place);
        });
    }
}

async fn connection(stream: UnixStream, router: axum::Router) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, READER)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection broke");
    }
}
