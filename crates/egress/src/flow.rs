//! The one way from "a stream of this run wants that host" to bytes on the wire.
//!
//! CONNECT, SOCKS and connections of code that knows no proxy all become a [`Want`] here:
//! [`admit`] decides, resolves and checks; [`Passage::carry`] looks at the first bytes, dials, and joins the ends.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::dial;
use crate::event::Connection;
use crate::hello::{self, Alert};
use crate::inside::{ENDED, Inside, deadline};
use crate::refusal::{Reason, Refusal, either};
use crate::rules::{Permit, Protocols};
use crate::run::{Dialled, Run};
use crate::upstream::Upstream;
use crate::{http, inspect, postgres, retry, tunnel};
use stockade_core::grant::Protocol;
use stockade_core::name::{Host, Name};

/// How a run asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// HTTP CONNECT.
    Connect,
    /// A plain request to the HTTP proxy.
    HttpProxy,
    /// SOCKS5.
    Socks,
    /// No proxy: a connection that the run believes to be the server's.
    Transparent,
    /// A question to the run's name server.
    Resolver,
    /// Nothing that was understood.
    Unknown,
}

/// What a stream wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    /// Where to.
    pub(crate) host: Host,
    /// The port.
    pub(crate) port: u16,
    /// By which way it was asked for.
    pub(crate) way: Way,
}

impl Want {
    /// `HOST:PORT`.
    pub(crate) fn asked(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn refusal(&self, reason: Reason) -> Refusal {
        Refusal::new(self.way, &self.asked(), reason)
    }

    /// The name, unless an address was asked for.
    pub(crate) const fn name(&self) -> Option<&Name> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        }
    }
}

/// A permitted want: what to check, and where to dial.
#[derive(Debug)]
pub(crate) struct Passage {
    pub(crate) run: Arc<Run>,
    pub(crate) want: Want,
    permit: Permit,
    addresses: Vec<SocketAddr>,
    /// Unchecked bytes need nothing from the client first, so the server is dialled before the answer.
    dialled: Option<Upstream>,
}

/// Decides, counts, resolves, checks; and dials if nothing else has to be looked at.
pub(crate) async fn admit(run: &Arc<Run>, want: Want) -> Result<Passage, Reason> {
    let mut permit = run.rules.connection(&want.host, want.port)?;
    if let (Some(parent), Some(name)) = (&permit.wildcard, want.name()) {
        run.spent().name(&run.budget, parent, name)?;
    }
    // A secret comes back unscrubbed from a connection that nobody reads, or that only a server can read.
    if want.name().is_some_and(|name| run.secrets.any_for(name)) {
        permit.inspect = true;
        permit.protocols = permit.protocols.of_requests();
        if permit.protocols == Protocols::default() {
            return Err(Reason::Secret);
        }
    }
    let addresses = dial::checked(run, &want.host, want.port).await?;
    let mut passage = Passage { run: Arc::clone(run), want, permit, addresses, dialled: None };
    if passage.is_unchecked() {
        passage.dialled = Some(passage.dial(Protocol::Tcp, false).await?);
    }
    Ok(passage)
}

impl Passage {
    const fn is_unchecked(&self) -> bool {
        self.permit.protocols.has(Protocol::Tcp) && !self.permit.inspect
    }

    /// Counts, opens and records the connection to the server.
    pub(crate) async fn dial(&self, protocol: Protocol, inspected: bool) -> Result<Upstream, Reason> {
        let dialled = Dialled::enter(&self.run)?;
        let (tcp, address) = dial::connect(&self.addresses).await?;
        let connection = Connection {
            connection: self.run.number(),
            host: self.want.host.to_string(),
            address: address.ip(),
            port: address.port(),
            protocol,
            inspected,
            way: self.want.way,
            rule: self.permit.rule.clone(),
        };
        Upstream::open(tcp, Arc::clone(&self.run), connection, dialled).map_err(|_| Reason::NotRecorded)
    }

    /// Checks the first bytes of the stream and carries it to its end; a refusal is told and recorded here.
    pub(crate) async fn carry(self, mut inside: Inside) {
        let (run, want) = (Arc::clone(&self.run), self.want.clone());
        match self.carry_checked(&mut inside).await {
            // Whoever only looks whether a port is open asked for nothing that it did not get.
            Err(ENDED) if inside.early().is_empty() => {}
            Err(reason) => run.refused(&want.refusal(reason)),
            Ok(()) => {}
        }
        // The client may be gone already.
        drop(inside.shutdown().await);
    }

    async fn carry_checked(mut self, inside: &mut Inside) -> Result<(), Reason> {
        if let Some(upstream) = self.dialled.take() {
            tunnel::join(inside, upstream).await;
            return Ok(());
        }
        let until = deadline(self.run.budget.head_ms);
        match self.spoken(inside, until).await? {
            Protocol::Tls => self.carry_tls(inside, until).await,
            Protocol::Postgres => self.carry_postgres(inside, until).await,
            Protocol::Http => http::serve_tunnel(self, inside, Protocol::Http).await,
            Protocol::Tcp => {
                tunnel::join(inside, self.dial(Protocol::Tcp, false).await?).await;
                Ok(())
            }
        }
    }

    /// Which of the permitted protocols the client speaks, by its first byte.
    async fn spoken(&self, inside: &mut Inside, until: Instant) -> Result<Protocol, Reason> {
        let permitted = self.permit.protocols;
        let first = inside.look(1, until).await?.first().copied().unwrap_or_default();
        let spoken = match first {
            _ if permitted.has(Protocol::Tcp) && first != hello::FIRST_BYTE => Protocol::Tcp,
            hello::FIRST_BYTE => Protocol::Tls,
            postgres::FIRST_BYTE => Protocol::Postgres,
            b'A'..=b'Z' | b'a'..=b'z' => Protocol::Http,
            _ => Protocol::Tcp,
        };
        // PostgreSQL may begin with TLS at once.
        let direct = spoken == Protocol::Tls && permitted.has(Protocol::Postgres);
        if permitted.has(spoken) || direct {
            return Ok(spoken);
        }
        if permitted.has(Protocol::Tls) && !permitted.has(Protocol::Http) {
            return Err(Reason::NotTls);
        }
        if self.want.name().is_some_and(|name| self.run.secrets.any_for(name)) {
            return Err(Reason::Secret);
        }
        Err(Reason::Protocol { granted: either(permitted.iter()) })
    }

    /// TLS: the greeting must name the granted server before anything is dialled. A refusal is told in TLS.
    async fn carry_tls(self, inside: &mut Inside, until: Instant) -> Result<(), Reason> {
        let greeted = match hello::check(inside, self.want.name(), until).await {
            Ok(()) if self.permit.inspect => return inspect::serve(self, inside).await,
            Ok(()) => self.greet(inside, Protocol::Tls, until).await,
            Err(reason) => Err(reason),
        };
        match greeted {
            Ok(upstream) => {
                tunnel::join(inside, upstream).await;
                Ok(())
            }
            Err(reason) => {
                hello::alert(inside, Alert::of(&reason)).await;
                Err(reason)
            }
        }
    }

    /// Dials the server and sees the greeting through, a second one included.
    async fn greet(&self, inside: &mut Inside, protocol: Protocol, until: Instant) -> Result<Upstream, Reason> {
        let mut upstream = self.dial(protocol, false).await?;
        if protocol == Protocol::Postgres {
            postgres::ask_tls(&mut upstream, until).await?;
        }
        retry::follow(inside, &mut upstream, self.want.name(), until).await?;
        Ok(upstream)
    }

    /// PostgreSQL: the gate takes the request for TLS itself, so that the greeting is checked before the server
    /// is dialled; then it asks the server for TLS in the client's place.
    async fn carry_postgres(self, inside: &mut Inside, until: Instant) -> Result<(), Reason> {
        postgres::accept_tls(inside, until).await?;
        hello::check(inside, self.want.name(), until).await?;
        let upstream = self.greet(inside, Protocol::Postgres, until).await?;
        tunnel::join(inside, upstream).await;
        Ok(())
    }
}
