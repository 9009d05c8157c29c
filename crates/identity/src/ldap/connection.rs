//! One connection to one server: made, encrypted and verified here, then driven by `ldap3` through `relay.rs`.

use std::fmt;
use std::future::Future;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::Server;
use super::refusal::Trouble;
use super::relay::{self, Duplex};
use super::screen;
use crate::hosts::Resolve;
use crate::reach;

/// The request for TLS (RFC 4511, 4.14), number 1. The library counts from 1 again, on another stream.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// How a connection is protected.
#[derive(Clone, Debug)]
pub(super) enum Protection {
    /// From its first byte.
    Ldaps(super::Tls),
    /// Before anything is said but the wish for it.
    StartTls(super::Tls),
    /// Not at all: an administrator has said so.
    Plaintext,
}

/// An open connection. Dropped, it is gone, and what it was doing with it.
pub(super) struct Connection {
    ldap: Ldap,
    fault: Arc<OnceLock<Trouble>>,
    answer: Duration,
    _tasks: JoinSet<()>,
}

/// What a search came to.
#[derive(Debug)]
pub(super) struct Answer {
    /// The entries, each with every value it has of what was asked for.
    pub(super) entries: Vec<(String, Vec<String>)>,
    /// Whether it said that there is more elsewhere.
    pub(super) is_referred: bool,
    /// Its code.
    pub(super) code: u32,
}

impl Connection {
    /// Connects, within the server's time.
    pub(super) async fn open(server: &Server, resolver: &dyn Resolve) -> Result<Self, Trouble> {
        let until = Instant::now() + server.answer;
        let tcp = reach::reach(&server.host, server.port, resolver, until).await?;
        let stream: Box<dyn Duplex> = match &server.protection {
            Protection::Plaintext => Box::new(tcp),
            Protection::Ldaps(tls) => encrypt(server, tls, tcp, until).await?,
            Protection::StartTls(tls) => {
                let tcp = timeout_at(until, start_tls(tcp)).await.map_err(|_| Trouble::Slow("StartTLS"))??;
                encrypt(server, tls, tcp, until).await?
            }
        };
        Self::driven(stream, server.answer).await
    }

    async fn driven(stream: Box<dyn Duplex>, answer: Duration) -> Result<Self, Trouble> {
        let inside = |error: std::io::Error| Trouble::Unreachable(format!("this machine: {error}"));
        let (theirs, ours) = StdUnixStream::pair().map_err(inside)?;
        ours.set_nonblocking(true).map_err(inside)?;
        let ours = UnixStream::from_std(ours).map_err(inside)?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
        let made = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (driver, ldap) = made.map_err(|error| Trouble::Unreachable(format!("this machine: {error}")))?;
        let fault = Arc::new(OnceLock::new());
        let told = Arc::clone(&fault);
        let mut tasks = JoinSet::new();
        // What goes wrong is in `fault`, or an answer that does not come.
        tasks.spawn(async move { drop(driver.drive().await) });
        tasks.spawn(async move { relay::relay(ours, stream, &told).await });
        Ok(Self { ldap, fault, answer, _tasks: tasks })
    }

    /// Says who we are; the answer is a code.
    ///
    /// A name or a password that is empty would be a yes that means nothing (RFC 4513, 5.1.2), so it is not said.
    pub(super) async fn bind(&mut self, entry: &str, password: &str) -> Result<u32, Trouble> {
        if entry.is_empty() || password.is_empty() {
            return Ok(49);
        }
        let asked = self.ldap.simple_bind(entry, password);
        let result = answered(self.answer, &self.fault, "bind", asked).await?;
        Ok(result.rc)
    }

    /// Searches for one attribute. Aliases and referrals are not followed.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attribute: &str,
        entries_max: i32,
    ) -> Result<Answer, Trouble> {
        let seconds = i32::try_from(self.answer.as_secs().max(1)).unwrap_or(60);
        self.ldap.with_search_options(SearchOptions::new().sizelimit(entries_max).timelimit(seconds));
        let begun = self.ldap.streaming_search(base, scope, filter, vec![attribute]);
        let mut stream = answered(self.answer, &self.fault, "search", begun).await?;
        let mut answer = Answer { entries: Vec::new(), is_referred: false, code: 0 };
        while let Some(found) = answered(self.answer, &self.fault, "search", stream.next()).await? {
            if found.is_ref() {
                answer.is_referred = true;
            } else {
                let entry = SearchEntry::construct(found);
                let text = entry.attrs.into_values().flatten();
                // With one value that is no text, all of its attribute are here.
                let bytes = entry.bin_attrs.into_values().flatten().filter_map(|value| String::from_utf8(value).ok());
                answer.entries.push((entry.dn, text.chain(bytes).collect()));
            }
        }
        answer.code = stream.res.as_ref().map_or(80, |result| result.rc);
        Ok(answer)
    }
}

/// Waits for an answer of the library, in time, and tells why there is none.
async fn answered<T>(
    span: Duration,
    fault: &OnceLock<Trouble>,
    step: &'static str,
    asked: impl Future<Output = Result<T, ldap3::LdapError>>,
) -> Result<T, Trouble> {
    match timeout(span, asked).await {
        Err(_) => Err(Trouble::Slow(step)),
        Ok(Ok(answer)) => Ok(answer),
        // Its own words could hold those of a server.
        Ok(Err(_)) => Err(fault.get().cloned().unwrap_or(Trouble::Ended)),
    }
}

async fn encrypt(
    server: &Server,
    tls: &super::Tls,
    tcp: TcpStream,
    until: Instant,
) -> Result<Box<dyn Duplex>, Trouble> {
    Ok(Box::new(reach::encrypt(&server.host, tls, tcp, until).await?))
}

/// Asks for TLS. Not a byte behind the answer is read: what somebody put there in clear is no TLS, and ends it.
async fn start_tls(mut tcp: TcpStream) -> Result<TcpStream, Trouble> {
    tcp.write_all(START_TLS).await.map_err(relay::lost)?;
    let said = relay::message(&mut tcp).await?.ok_or(Trouble::Ended)?;
    match screen::starts_tls(&said, 1)? {
        0 => Ok(tcp),
        code => Err(Trouble::NoStartTls(code)),
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connection").finish_non_exhaustive()
    }
}
