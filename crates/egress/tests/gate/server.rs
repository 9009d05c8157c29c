//! Servers that the run may or may not reach; each counts who came.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stockade_egress::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server on the loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicU64>,
    /// Request lines and chosen headers, or raw bytes.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

/// What an HTTP server answers.
pub(crate) type Answer = fn(&Request<Bytes>) -> Response<Full<Bytes>>;

impl Server {
    async fn start(handle: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> Job + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, noted) = (Arc::clone(&connections), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream, Arc::clone(&noted)));
            }
        });
        Self { address, connections, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Grants `name` on this server's port with `protocol`, and the loopback as an address.
    pub(crate) fn grants(&self, protocol: &str, name: &str) -> Vec<String> {
        vec![format!("{protocol}://{name}:{}", self.port()), self.loopback()]
    }

    pub(crate) fn loopback(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Sends back what it gets.
    pub(crate) async fn echo() -> Self {
        Self::start(|stream, _| Box::pin(echo(stream))).await
    }

    /// Speaks first, as SMTP and MySQL do.
    pub(crate) async fn greeting() -> Self {
        Self::start(|mut stream, _| {
            Box::pin(async move {
                stream.write_all(b"hello\n").await.unwrap();
                echo(stream).await;
            })
        })
        .await
    }

    /// Reads everything and says nothing.
    pub(crate) async fn sink() -> Self {
        Self::start(|mut stream, seen| {
            Box::pin(async move {
                let mut buffer = vec![0; 64 << 10];
                let mut total = 0;
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    total += count;
                }
                seen.lock().unwrap().push(total.to_string());
            })
        })
        .await
    }

    /// Sends zeros for ever.
    pub(crate) async fn source() -> Self {
        Self::start(|mut stream, _| {
            Box::pin(async move {
                let buffer = vec![0; 64 << 10];
                while stream.write_all(&buffer).await.is_ok() {}
            })
        })
        .await
    }

    pub(crate) async fn http(answer: Answer) -> Self {
        Self::start(move |stream, seen| Box::pin(http(stream, seen, answer))).await
    }

    /// TLS with a certificate for `name`; sends back what it gets. Also returns the certificate.
    pub(crate) async fn tls(name: &str) -> (Self, CertificateDer<'static>) {
        let (acceptor, certificate) = acceptor(name);
        let server = Self::start(move |stream, _| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                if let Ok(tls) = acceptor.accept(stream).await {
                    echo(tls).await;
                }
            })
        });
        (server.await, certificate)
    }

    /// As [`Server::tls`], with a key exchange for which most clients must greet twice.
    pub(crate) async fn tls_that_asks_again(name: &str) -> (Self, CertificateDer<'static>) {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::secp384r1);
        let (acceptor, certificate) = acceptor_with(name, provider);
        let server = Self::start(move |stream, _| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                if let Ok(tls) = acceptor.accept(stream).await {
                    echo(tls).await;
                }
            })
        });
        (server.await, certificate)
    }

    pub(crate) async fn https(name: &str, answer: Answer) -> (Self, CertificateDer<'static>) {
        let (acceptor, certificate) = acceptor(name);
        let server = Self::start(move |stream, seen| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                if let Ok(tls) = acceptor.accept(stream).await {
                    http(tls, seen, answer).await;
                }
            })
        });
        (server.await, certificate)
    }

    /// As [`Server::https`], with answers that no library would write: these bytes, once a head has come.
    pub(crate) async fn https_raw(name: &str, answer: &'static str) -> (Self, CertificateDer<'static>) {
        let (acceptor, certificate) = acceptor(name);
        let server = Self::start(move |stream, seen| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                let mut tls = acceptor.accept(stream).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tls.read_u8().await.unwrap());
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                tls.write_all(answer.as_bytes()).await.unwrap();
                drop(tls.shutdown().await);
            })
        });
        (server.await, certificate)
    }

    /// PostgreSQL as far as TLS: says `answer` to the request for it, then sends back what it gets.
    pub(crate) async fn postgres(name: &str, answer: u8) -> (Self, CertificateDer<'static>) {
        let (acceptor, certificate) = acceptor(name);
        let server = Self::start(move |mut stream, _| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                let mut request = [0; 8];
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
                stream.write_all(&[answer]).await.unwrap();
                if let Ok(tls) = acceptor.accept(stream).await {
                    echo(tls).await;
                }
            })
        });
        (server.await, certificate)
    }
}

async fn echo(mut stream: impl Stream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    drop(stream.shutdown().await);
}

async fn http(stream: impl Stream, seen: Arc<Mutex<Vec<String>>>, answer: Answer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let mut note = format!("{} {}", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                note.push_str(&format!("|{name}: {}", value.to_str().unwrap()));
            }
            seen.lock().unwrap().push(note);
            Ok::<_, Infallible>(answer(&Request::from_parts(parts, body)))
        }
    });
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// Says which request it got and how long its body was.
pub(crate) fn plain(request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let text = format!("{} {} {}", request.method(), request.uri(), request.body().len());
    Response::new(Full::from(text))
}

fn acceptor(name: &str) -> (TlsAcceptor, CertificateDer<'static>) {
    acceptor_with(name, rustls::crypto::ring::default_provider())
}

fn acceptor_with(name: &str, provider: CryptoProvider) -> (TlsAcceptor, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate)
}
