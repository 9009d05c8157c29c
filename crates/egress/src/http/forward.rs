//! Decides on each request and sends what is permitted to its server.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::head::{self, Body};
use crate::budget::Excess;
use crate::flow::{Passage, Want, Way, admit};
use crate::inside::deadline;
use crate::inspect::{Scrubbed, Scrubber};
use crate::refusal::{Reason, Refusal};
use crate::rules::Asked;
use crate::run::Run;
use crate::tunnel;
use crate::upstream::Count;
use stockade_core::grant::Protocol;
use stockade_core::name::Host;

/// In whose place requests are taken.
#[derive(Debug)]
pub(super) enum Origin {
    /// Of a proxy: each request names its server.
    Proxy,
    /// Of one server, which was admitted already.
    Server {
        /// The way there.
        passage: Box<Passage>,
        /// [`Protocol::Tls`] if the gate ends TLS on both sides.
        protocol: Protocol,
    },
}

/// What serves one connection of the run.
#[derive(Debug)]
pub(super) struct Forwarder {
    run: Arc<Run>,
    origin: Origin,
    kept: tokio::sync::Mutex<Option<Kept>>,
    tunnel: Mutex<Option<(Passage, OnUpgrade)>>,
    used: AtomicBool,
}

/// A connection to a server that may serve the next request too.
#[derive(Debug)]
struct Kept {
    want: Want,
    sender: SendRequest<Body>,
    count: Arc<Count>,
    /// Ends the connection with this value.
    task: AbortOnDropHandle<()>,
}

impl Kept {
    /// Ends the connection; it counts no more afterwards, so the next one may take its place in the budget.
    async fn close(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

impl Forwarder {
    pub(super) fn new(run: Arc<Run>, origin: Origin) -> Self {
        let (kept, tunnel, used) = (tokio::sync::Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { run, origin, kept, tunnel, used }
    }

    /// Whether no request has been served yet.
    pub(super) fn is_unused(&self) -> bool {
        !self.used.load(Ordering::Relaxed)
    }

    /// The tunnel that a CONNECT has opened.
    pub(super) fn take_tunnel(&self) -> Option<(Passage, OnUpgrade)> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the kept connection before the run's own counts no more.
    pub(super) async fn close(&self) {
        if let Some(kept) = self.kept.lock().await.take() {
            kept.close().await;
        }
    }

    /// Answers one request; refusals are recorded and told.
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        self.used.store(true, Ordering::Relaxed);
        let answer = match *request.method() {
            Method::CONNECT => self.connect(request).await,
            _ => self.forward(request).await,
        };
        Ok(answer.unwrap_or_else(|refusal| {
            self.run.refused(&refusal);
            head::refusal(&refusal)
        }))
    }

    /// CONNECT: admits the target; the tunnel begins when this answer is written.
    async fn connect(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let asked = request.uri().to_string();
        let refuse = |reason| Refusal::new(self.way(Way::Connect), &asked, reason);
        if matches!(self.origin, Origin::Server { .. }) {
            return Err(refuse(Reason::BadRequest("a server is no proxy")));
        }
        let target = request.uri().authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let (host, port) = Host::parse_with_port(target, None).map_err(|bad| refuse(bad.into()))?;
        let headers = request.headers();
        // Some clients leave the port away here, some repeat it.
        head::check_host(headers, &host, port, port, false).map_err(refuse)?;
        if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(refuse(Reason::BadRequest("CONNECT has no body")));
        }
        let want = Want { host, port, way: Way::Connect };
        self.close().await;
        let passage = admit(&self.run, want.clone()).await.map_err(|reason| want.refusal(reason))?;
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((passage, hyper::upgrade::on(request)));
        Ok(Response::new(head::whole("")))
    }

    /// One plain request: checked, written anew, sent; its answer comes back the same way.
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (want, protocol) = self
            .target(request.uri())
            .map_err(|reason| Refusal::new(self.way(Way::HttpProxy), &request.uri().to_string(), reason))?;
        let refuse = |reason| want.refusal(reason);
        self.check(&request, &want, protocol).map_err(refuse)?;
        let scrubber = self.rewrite(&mut request, &want, protocol).map_err(refuse)?;
        let head_only = request.method() == Method::HEAD;
        let request = request.map(|body| body.map_err(Into::into).boxed());
        let answer = self.send(request, &want, protocol).await.map_err(refuse)?;
        returned(answer, scrubber, head_only).map_err(refuse)
    }

    /// How the run asked, which is `own` unless the stream itself was asked for before.
    const fn way(&self, own: Way) -> Way {
        match &self.origin {
            Origin::Proxy => own,
            Origin::Server { passage, .. } => passage.want.way,
        }
    }

    /// Where the request is to go.
    fn target(&self, uri: &Uri) -> Result<(Want, Protocol), Reason> {
        match &self.origin {
            Origin::Server { .. } if uri.authority().is_some() => {
                Err(Reason::BadRequest("a server is asked for a path, not for a URL"))
            }
            Origin::Server { passage, protocol } => Ok((passage.want.clone(), *protocol)),
            Origin::Proxy => match (uri.scheme_str(), uri.authority()) {
                (Some("http"), Some(authority)) => {
                    let (host, port) = Host::parse_with_port(authority.as_str(), Some(80))?;
                    Ok((Want { host, port, way: Way::HttpProxy }, Protocol::Http))
                }
                (Some("https"), _) => Err(Reason::BadRequest("https goes through CONNECT")),
                (_, _) => Err(Reason::BadRequest("a proxy is asked for http:// and a host")),
            },
        }
    }

    /// Everything that can be decided before a server is dialled.
    fn check(&self, request: &Request<Incoming>, want: &Want, protocol: Protocol) -> Result<(), Reason> {
        let headers = request.headers();
        if request.version() != Version::HTTP_11 && request.version() != Version::HTTP_10 {
            return Err(Reason::BadRequest("only HTTP/1.1 is served"));
        }
        if head::wants_upgrade(headers) {
            return Err(Reason::Upgrade);
        }
        if head::is_oddly_framed(headers) {
            return Err(Reason::BadRequest("the body is encoded for the hop"));
        }
        if request.method() == Method::TRACE {
            return Err(Reason::Method);
        }
        let old = request.version() == Version::HTTP_10 && matches!(self.origin, Origin::Proxy);
        head::check_host(headers, &want.host, want.port, usual_port(protocol), !old)?;
        self.run.rules.connection(&want.host, want.port)?;
        let (method, path) = (request.method().as_str(), request.uri().path());
        self.run.rules.request(&Asked { host: &want.host, port: want.port, protocol, method, path })?;
        Ok(())
    }

    /// Makes the request the gate's own; returns what its answer must be searched with.
    fn rewrite(
        &self,
        request: &mut Request<Incoming>,
        want: &Want,
        protocol: Protocol,
    ) -> Result<Option<Scrubber>, Reason> {
        let path = request.uri().path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        *request.uri_mut() = path.parse().map_err(|_| Reason::BadRequest("the path is not well formed"))?;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        head::strip_hop_by_hop(headers);
        if self.run.rules.tell_requests_apart(&want.host, want.port) {
            head::strip_overrides(headers);
        }
        headers.insert(header::HOST, head::host_value(&want.host, want.port, usual_port(protocol))?);
        let Some(name) = want.name() else { return Ok(None) };
        // Without TLS everybody on the way would read a secret, so none is put in; the server may know it all the
        // same, and tell it.
        let scrubber = self.run.secrets.scrubber(name);
        if scrubber.is_some() {
            if protocol == Protocol::Tls {
                self.run.secrets.put_into(name, headers);
            }
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            // Two halves of a secret in two answers would be found in neither.
            headers.remove(header::RANGE);
            headers.remove("request-range");
        }
        Ok(scrubber)
    }

    async fn send(
        &self,
        request: Request<Body>,
        want: &Want,
        protocol: Protocol,
    ) -> Result<Response<Incoming>, Reason> {
        let mut slot = self.kept.lock().await;
        let mut kept = match reusable(slot.take(), want).await {
            Some(kept) => kept,
            None => self.open(want, protocol).await?,
        };
        kept.count.request();
        let answer = match kept.sender.try_send_request(request).await {
            Ok(answer) => answer,
            Err(mut failed) => {
                // The server may have closed a kept connection just now; what was not sent can be sent again.
                let request = failed.take_message().ok_or(Reason::UpstreamAnswer)?;
                kept.close().await;
                kept = self.open(want, protocol).await?;
                kept.count.request();
                kept.sender.send_request(request).await.map_err(|_| Reason::UpstreamAnswer)?
            }
        };
        *slot = Some(kept);
        Ok(answer)
    }

    async fn open(&self, want: &Want, protocol: Protocol) -> Result<Kept, Reason> {
        let inspected = protocol == Protocol::Tls;
        let upstream = match &self.origin {
            Origin::Server { passage, .. } => passage.dial(protocol, inspected).await?,
            Origin::Proxy => admit(&self.run, want.clone()).await?.dial(protocol, inspected).await?,
        };
        let count = upstream.count();
        let (sender, task) = if inspected {
            let tls = self.run.trust.connect(&want.host, upstream, deadline(self.run.budget.head_ms)).await?;
            self.speak(tls, want, &count).await?
        } else {
            self.speak(upstream, want, &count).await?
        };
        Ok(Kept { want: want.clone(), sender, count, task })
    }

    /// Begins HTTP with the server; the connection lives in a task of its own until it is dropped or cut.
    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        want: &Want,
        count: &Arc<Count>,
    ) -> Result<(SendRequest<Body>, AbortOnDropHandle<()>), Reason> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Reason::UpstreamAnswer)?;
        let (run, want, count) = (Arc::clone(&self.run), want.clone(), Arc::clone(count));
        let task = tokio::spawn(async move {
            let excess = tokio::select! {
                // The request that fails by it tells of the end.
                _ = connection => return,
                excess = tunnel::watch(&count, &run.budget) => excess,
            };
            // A connection that was kept for nothing ends without a word.
            if excess != Excess::Idle {
                run.refused(&want.refusal(excess.into()));
            }
        });
        Ok((sender, AbortOnDropHandle::new(task)))
    }
}

/// The kept connection, if it leads where the next request goes and is ready for it; else it is closed here.
async fn reusable(kept: Option<Kept>, want: &Want) -> Option<Kept> {
    let mut kept = kept?;
    if kept.want == *want && kept.sender.ready().await.is_ok() {
        return Some(kept);
    }
    kept.close().await;
    None
}

const fn usual_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Http => 80,
        Protocol::Tls | Protocol::Postgres | Protocol::Tcp => 443,
    }
}

/// The server's answer as the run gets it.
fn returned(answer: Response<Incoming>, scrubber: Option<Scrubber>, head_only: bool) -> Result<Response<Body>, Reason> {
    let (mut parts, body) = answer.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Reason::Upgrade);
    }
    // Looked at before what is about this connection only, and says how the body is packed, is taken away.
    let encoded = is_encoded(&parts.headers) || head::is_oddly_framed(&parts.headers);
    head::strip_hop_by_hop(&mut parts.headers);
    let Some(mut scrubber) = scrubber else {
        return Ok(Response::from_parts(parts, body.map_err(Into::into).boxed()));
    };
    if encoded {
        return Err(Reason::Encoded);
    }
    // The reason phrase is text of the server too; the usual one says enough.
    parts.extensions.clear();
    for value in parts.headers.values_mut() {
        *value =
            HeaderValue::from_maybe_shared(scrubber.whole(value.as_bytes())).map_err(|_| Reason::UpstreamAnswer)?;
    }
    if !head_only {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Response::from_parts(parts, Scrubbed::new(body, scrubber).map_err(Into::into).boxed()))
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity")
}
