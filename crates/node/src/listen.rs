//! Connections: who is at the other end, how many there may be, how long they may take.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt;

use crate::api;
use crate::patient::Patient;
use crate::peers::Peers;
use crate::places::{Place, Places};
use crate::service::Node;

/// From a connection's first byte to the end of a request's head, and between two requests.
const HEAD: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
const READER: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 32 << 10;
/// Requests at once over one connection of HTTP/2.
const STREAMS_MAX: u32 = 8;

/// Who asks: `uid-N@local` by the kernel's word, or `user@realm` by a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Principal(pub(crate) String);

/// A user of this machine.
pub(crate) fn principal(uid: u32) -> Principal {
    Principal(format!("uid-{uid}@local"))
}

/// A socket, and who is connected to it.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: UnixListener,
    places: Places<u32>,
    peers: Peers,
}

impl Listening {
    pub(crate) fn new(listener: UnixListener, connections: usize, peers: Peers) -> Self {
        // One principal leaves room for others.
        Self { listener, places: Places::new(connections, connections / 2), peers }
    }

    /// How the code of runs is known that connects.
    pub(crate) const fn peers(&self) -> Peers {
        self.peers
    }

    /// The next connection, its user and its place; none when it is not taken.
    pub(crate) async fn accept(&self, node: &Node) -> Option<(UnixStream, u32, Place<u32>)> {
        let stream = match self.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, most likely: a moment later there may be fewer.
                tracing::warn!(error = %error, "a connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
                return None;
            }
        };
        let user = stream.peer_cred().ok()?.uid();
        // The code of a run that climbed out of its walls asks for nothing.
        if node.engines().has(user) {
            tracing::error!(user, "a user of a run has connected: it is out of its walls");
            node.metrics.refused_connection();
            return None;
        }
        let Some(place) = self.places.take(user) else {
            // Closed at once: an answer would have to wait for a reader.
            node.metrics.refused_connection();
            return None;
        };
        node.metrics.connected();
        Some((stream, user, place))
    }
}

/// Takes connections, for ever.
pub(crate) async fn serve(listening: Listening, node: Arc<Node>) {
    let router = api::router(Arc::clone(&node));
    loop {
        let Some((stream, user, place)) = listening.accept(&node).await else { continue };
        let router = router.clone().layer(Extension(principal(user))).layer(Extension(api::Peer(user)));
        let (node, peers) = (Arc::clone(&node), listening.peers());
        tokio::spawn(async move {
            if peers.is_outside(&node, &stream, user).await {
                connection(stream, router, std::future::pending()).await;
            }
            drop(place);
        });
    }
}

/// Serves HTTP/1.1, or HTTP/2 to who begins with it, until nothing was asked for a while, or it is over.
pub(crate) async fn connection<S>(stream: S, router: axum::Router, over: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        count.fetch_add(1, Ordering::Relaxed);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let head_bytes = usize::try_from(HEAD_BYTES_MAX).unwrap_or(usize::MAX);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        // Who does not answer a ping is gone.
        .keep_alive_interval(HEAD)
        .keep_alive_timeout(HEAD);
    let mut over = pin!(over);
    let mut served = pin!(builder.serve_connection(TokioIo::new(Patient::new(stream, READER)), service));
    let served = loop {
        let before = asked.load(Ordering::Relaxed);
        let is_over = tokio::select! {
            served = served.as_mut() => break served,
            () = over.as_mut() => true,
            () = tokio::time::sleep(HEAD) => false,
        };
        if is_over || asked.load(Ordering::Relaxed) == before {
            // What is being answered is answered to its end.
            served.as_mut().graceful_shutdown();
            break served.await;
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = %error, "a connection broke");
    }
}
