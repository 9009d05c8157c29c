//! The way to a server of others, for realms that ask one: an address of its name, a connection, TLS on it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hosts::Resolve;
use crate::ldap::Tls;

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 4;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// Its name has no address.
    NoAddress(String),
    /// Nobody is there.
    Unreachable(String),
    /// It took too long.
    Slow(&'static str),
    /// There is no encryption with it, or somebody else is there.
    Tls(String),
}

/// The first address that answers; each gets its part of the time.
pub(crate) async fn reach(
    host: &str,
    port: u16,
    resolver: &dyn Resolve,
    until: Instant,
) -> Result<TcpStream, Unreached> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let found = timeout_at(until, resolver.addresses(host)).await;
            let found = found.map_err(|_| Unreached::Slow("its name"))?;
            found.map_err(|error| Unreached::NoAddress(error.to_string()))?.answers
        }
    };
    let mut trouble = Unreached::NoAddress("there is none".to_owned());
    let count = addresses.len().min(ADDRESSES_MAX);
    for (place, address) in addresses.into_iter().take(count).enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - place).unwrap_or(1).max(1);
        match timeout(share, TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(Ok(stream)) => {
                // Each question is short and waits for its answer; what cannot be set is slower, and no more.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Ok(Err(error)) => trouble = Unreached::Unreachable(error.kind().to_string()),
            Err(_) => trouble = Unreached::Slow("connect"),
        }
    }
    Err(trouble)
}

/// TLS with whoever has a certificate for this name.
pub(crate) async fn encrypt(
    host: &str,
    tls: &Tls,
    tcp: TcpStream,
    until: Instant,
) -> Result<TlsStream<TcpStream>, Unreached> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| Unreached::Tls(error.to_string()))?;
    match timeout_at(until, TlsConnector::from(Arc::clone(&tls.0)).connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Unreached::Tls(error.to_string())),
        Err(_) => Err(Unreached::Slow("TLS")),
    }
}
