//! What the gate tells about itself: one event for each connection and refusal, and counters.
//!
//! Events are the material of audit records and of a report's denial lines. Every text in them that came from
//! inside is neutralised and bounded before it gets here.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::flow::Way;
use stockade_core::grant::Protocol;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// The run.
    pub run: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A connection to a server was opened.
    Opened {
        /// Which, and by which grant.
        #[serde(flatten)]
        connection: Connection,
    },
    /// It is over.
    Closed {
        /// The same as when it was opened.
        #[serde(flatten)]
        connection: Connection,
        /// Bytes sent to the server, as they were on the wire.
        bytes_up: u64,
        /// Bytes received from it.
        bytes_down: u64,
        /// HTTP requests, where the gate sees them.
        requests: u64,
        /// How long it was open.
        wall_ms: u64,
    },
    /// Something was asked for and not given, or taken away.
    Refused {
        /// How it was asked for.
        way: Way,
        /// What was asked for: `HOST:PORT` if it was understood.
        asked: String,
        /// A fixed name of the reason.
        reason: String,
        /// The reason in words.
        why: String,
        /// What to do about it.
        next: String,
    },
    /// The run is over and every connection of it is cut.
    Ended {
        /// What it did in all.
        totals: Totals,
    },
}

/// One connection to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number, unique within the gate.
    pub connection: u64,
    /// The name or address that was asked for.
    pub host: String,
    /// The address that was checked and dialled.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// How it is checked; `tcp` is not.
    pub protocol: Protocol,
    /// Whether the gate ends its TLS.
    pub inspected: bool,
    /// How it was asked for.
    pub way: Way,
    /// The deciding grant.
    pub rule: String,
}

/// Sums over one run, or over all runs of a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections opened.
    pub connections: u64,
    /// Of these, still open.
    pub open: u64,
    /// Bytes to servers.
    pub bytes_up: u64,
    /// Bytes from servers.
    pub bytes_down: u64,
    /// Refusals by reason, also those beyond the number that is told one by one.
    pub refusals: BTreeMap<String, u64>,
}

/// Counts as things happen.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, bytes_up: u64, bytes_down: u64) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(bytes_up, Ordering::Relaxed);
        self.bytes_down.fetch_add(bytes_down, Ordering::Relaxed);
    }

    /// Counts a refusal and returns how many there were before.
    pub(crate) fn refused(&self, code: &'static str) -> u64 {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = refusals.values().sum();
        *refusals.entry(code).or_default() += 1;
        before
    }

    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn totals(&self) -> Totals {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            connections: self.connections.load(Ordering::Relaxed),
            open: self.open(),
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
            refusals: refusals.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
        }
    }
}

/// Where events go.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Takes one event; when it cannot be kept, what it speaks of must not happen.
    ///
    /// # Errors
    /// When the event was not written whole.
    fn take(&self, event: &Event) -> io::Result<()>;
}

/// Writes each event as one line of JSON.
pub struct JsonLines<W>(Mutex<W>);

impl<W: Write + Send> JsonLines<W> {
    /// Events go to `writer`, flushed one by one.
    pub const fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").finish_non_exhaustive()
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn take(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&line)?;
        writer.flush()
    }
}

/// Milliseconds since 1970; a clock before that reads as zero.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_can_be_read_again() {
        let connection = Connection {
            connection: 7,
            host: "api.example.com".to_owned(),
            address: "203.0.113.80".parse().unwrap(),
            port: 443,
            protocol: Protocol::Tls,
            inspected: false,
            way: Way::Connect,
            rule: "api.example.com".to_owned(),
        };
        let what = What::Closed { connection, bytes_up: 1, bytes_down: 2, requests: 0, wall_ms: 3 };
        let event = Event { time_ms: 5, run: "r1".to_owned(), what };
        let sink = JsonLines::new(Vec::new());
        sink.take(&event).unwrap();
        let text = String::from_utf8(sink.0.into_inner().unwrap()).unwrap();
        assert!(text.starts_with(r#"{"time_ms":5,"run":"r1","event":"closed","connection":7,"host":"api"#), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn counters_add_up() {
        let counters = Counters::default();
        counters.opened();
        assert_eq!(counters.refused("port"), 0);
        assert_eq!(counters.refused("port"), 1);
        counters.closed(3, 4);
        let totals = counters.totals();
        assert_eq!((totals.connections, totals.open, totals.bytes_up, totals.bytes_down), (1, 0, 3, 4));
        assert_eq!(totals.refusals["port"], 2);
    }
}
