//! What code inside does: well-behaved and hostile clients of the gate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// No test waits longer for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes and returns everything that comes back until the end.
pub(crate) async fn talk(proxy: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    // The gate may have closed already.
    drop(stream.write_all(bytes.as_ref()).await);
    drop(stream.shutdown().await);
    rest(&mut stream).await
}

/// Everything until the end, as text.
pub(crate) async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the gate keeps silent"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the text has come.
pub(crate) async fn until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(text) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("the gate keeps silent");
        match byte {
            Ok(byte) => answer.push(byte),
            Err(_) => panic!("ended before `{text}`: {}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Opens a tunnel by CONNECT; the answer's head is returned if it is none.
pub(crate) async fn connect(proxy: SocketAddr, target: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    if head.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(head) }
}

/// A SOCKS5 request for a name; returns the stream, or the reply's code.
pub(crate) async fn socks(proxy: SocketAddr, name: &[u8], port: u16) -> Result<TcpStream, u8> {
    let mut address = vec![3, name.len() as u8];
    address.extend_from_slice(name);
    socks_raw(proxy, 1, &address, port).await
}

/// As [`socks`], with any command and any address, its type in front.
pub(crate) async fn socks_raw(proxy: SocketAddr, command: u8, address: &[u8], port: u16) -> Result<TcpStream, u8> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let mut request = vec![5, 1, 0, 5, command, 0];
    request.extend_from_slice(address);
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.unwrap();
    let mut reply = [0; 10];
    match stream.read_exact(&mut reply).await {
        Ok(_) if reply[1] == 0 => Ok(stream),
        Ok(_) => Err(reply[1]),
        Err(_) => Err(255),
    }
}

pub(crate) fn config(roots: &[CertificateDer<'static>], sni: bool) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.enable_sni = sni;
    Arc::new(config)
}

/// TLS over a tunnel, to `name`.
pub(crate) async fn tls(
    stream: TcpStream,
    name: &str,
    root: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config(std::slice::from_ref(root), true)).connect(name, stream).await
}

/// The first message of TLS to `name`, as bytes.
pub(crate) fn hello(name: &str, sni: bool) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config(&[], sni), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Adds an extension to a greeting, with all the lengths around it.
pub(crate) fn with_extension(mut hello: Vec<u8>, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    at += 1 + usize::from(hello[at]);
    let mut extension = kind.to_be_bytes().to_vec();
    extension.extend_from_slice(&(body.len() as u16).to_be_bytes());
    extension.extend_from_slice(body);
    // In front: the last extension may have to stay the last.
    let added = extension.len() as u16;
    hello.splice(at + 2..at + 2, extension);
    for place in [3, 7, at] {
        let length = u16::from_be_bytes([hello[place], hello[place + 1]]) + added;
        hello[place..place + 2].copy_from_slice(&length.to_be_bytes());
    }
    hello
}

pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
