//! The CONNECT relay: the only network of a build jail, run outside in a process of its own.
//!
//! It serves `CONNECT host:443` to exactly the hosts it was given. It resolves the name itself,
//! refuses answers that are not public addresses, and dials the address it checked. It never
//! looks into the tunnel, never follows an outside proxy (`HTTPS_PROXY` of the machine is not
//! honoured), and believes nothing a client sends. The egress gate replaces it later.

mod address;
mod head;
mod tunnel;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use crate::error::{self, Detail, Error};
use crate::jail::HostPort;

const CONNECTIONS_MAX: usize = 64;
const DIAL_TIME: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);

/// One connection the relay did not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was asked for, neutralised and cut.
    pub target: String,
    /// Why it was refused.
    pub reason: String,
}

type Resolve = dyn Fn(&HostPort) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// What the relay may reach.
pub struct Rules {
    allowed: Vec<HostPort>,
    resolve: Box<Resolve>,
    acceptable: fn(&SocketAddr) -> bool,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Rules {
    /// Exactly these hosts, at public addresses.
    #[must_use]
    pub fn new(allowed: Vec<HostPort>) -> Self {
        let resolve = |target: &HostPort| Ok((target.host.as_str(), target.port).to_socket_addrs()?.collect());
        Self { allowed, resolve: Box::new(resolve), acceptable: address::is_public }
    }

    /// The address to dial, or why there is none.
    fn permit(&self, target: &HostPort) -> Result<Vec<SocketAddr>, String> {
        if target.port != 443 {
            return Err("only port 443 is served".to_owned());
        }
        if !self.allowed.contains(target) {
            return Err("the host is not one of the package index".to_owned());
        }
        let addresses =
            (self.resolve)(target).map_err(|cause| format!("its name does not resolve: {}", error::said(&cause)))?;
        // One bad answer spoils all: an honest index has none.
        if addresses.is_empty() || !addresses.iter().all(self.acceptable) {
            return Err("its name resolves to an address that is not public".to_owned());
        }
        Ok(addresses)
    }
}

/// Serves a listening stream socket until `stop` is set, telling `on_refusal` what was refused.
///
/// # Errors
/// When the listener cannot be waited for or accepted from.
pub fn serve(
    listener: &OwnedFd,
    rules: &Rules,
    stop: &AtomicBool,
    on_refusal: &(dyn Fn(Refusal) + Sync),
) -> Result<(), Error> {
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX || !ready(listener)? {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let Some(client) = accept(listener)? else {
                continue;
            };
            open.fetch_add(1, Ordering::Relaxed);
            let open = &open;
            let job = move || {
                if let Err(refusal) = handle(&client, rules, stop) {
                    on_refusal(refusal);
                }
                open.fetch_sub(1, Ordering::Relaxed);
            };
            if std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, job).is_err() {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// Whether a connection waits; looks again after a tick so that `stop` is seen.
fn ready(listener: &OwnedFd) -> Result<bool, Error> {
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    match rustix::event::poll(&mut waiting, Some(&tick)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(cause) => Err(broken("wait for", cause)),
    }
}

/// Accepts by descriptor, so that a TCP and a Unix listener serve alike.
fn accept(listener: &OwnedFd) -> Result<Option<TcpStream>, Error> {
    use rustix::io::Errno;
    match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
        Ok(client) => Ok(Some(TcpStream::from(client))),
        Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Ok(None),
        Err(cause) => Err(broken("accept from", cause)),
    }
}

fn broken(operation: &str, cause: rustix::io::Errno) -> Error {
    Error::Relay(Detail::new(
        format!("the package relay cannot {operation} its listener"),
        error::said(&cause.into()),
        "run again; if it stays, run `stockade doctor`",
    ))
}

/// One client, from its first byte to its last.
fn handle(client: &TcpStream, rules: &Rules, stop: &AtomicBool) -> Result<(), Refusal> {
    let (head, early) = head::read(client).map_err(|reason| refuse(client, "?", reason, "400 Bad Request"))?;
    let target = head::target(&head).map_err(|(asked, reason)| refuse(client, &asked, reason, "403 Forbidden"))?;
    let shown = format!("{}:{}", target.host, target.port);
    let addresses = rules.permit(&target).map_err(|reason| refuse(client, &shown, &reason, "403 Forbidden"))?;
    let server = dial(&addresses).map_err(|cause| {
        let reason = format!("it cannot be reached: {}", error::said(&cause));
        refuse(client, &shown, &reason, "502 Bad Gateway")
    })?;
    let greeted = (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    if greeted.is_ok() && (&server).write_all(&early).is_ok() {
        tunnel::run(client, &server, stop);
    }
    Ok(())
}

fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(4) {
        match TcpStream::connect_timeout(address, DIAL_TIME) {
            Ok(server) => return Ok(server),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Tells the client, and makes the record. A client that does not listen changes nothing.
fn refuse(client: &TcpStream, target: &str, reason: &str, status: &str) -> Refusal {
    let body = format!("stockade: {reason}\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    drop((&*client).write_all(answer.as_bytes()));
    Refusal { target: crate::quote::quote(target).trim_matches('`').to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
