//! What one run did, as its report will show it: alike connections and refusals counted together.
//!
//! Bounded twice, in entries and in bytes: a hostile run fills its own list, never a frame of the control socket.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use stockade_core::grant::Protocol;
use stockade_core::text;

use crate::event::{Connection, Totals};
use crate::flow::Way;
use crate::refusal::Refusal;

/// Different entries of each list.
const ENTRIES_MAX: usize = 100;
/// What each list may take as JSON.
const LIST_BYTES_MAX: usize = 60 << 10;
/// A rule of many layers is long; its beginning says enough.
const TEXT_CHARS_MAX: usize = 300;

/// What a run did, told when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// Sums over everything.
    pub totals: Totals,
    /// The connections, alike ones together, in the order of the first.
    pub connections: Vec<Connected>,
    /// Connections beyond that list.
    pub connections_more: u64,
    /// The refusals, alike ones together, in the order of the first.
    pub refusals: Vec<Refused>,
    /// Refusals beyond that list.
    pub refusals_more: u64,
}

/// Connections that differ in nothing that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// The name or address that was asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How they were checked; `tcp` is not.
    pub protocol: Protocol,
    /// Whether the gate ended their TLS.
    pub inspected: bool,
    /// How they were asked for.
    pub way: Way,
    /// The deciding grant.
    pub rule: String,
    /// How many.
    pub count: u64,
    /// Bytes to the server.
    pub bytes_up: u64,
    /// Bytes from the server.
    pub bytes_down: u64,
}

/// Refusals that differ in nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// How it was asked for.
    pub way: Way,
    /// What was asked for.
    pub asked: String,
    /// A fixed name of the reason.
    pub reason: String,
    /// The reason in words.
    pub why: String,
    /// What to do about it.
    pub next: String,
    /// How often.
    pub count: u64,
}

/// Counts while the run lasts.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<RunReport>);

/// The entry that a connection counts in, if there was room for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(Option<usize>);

impl Tally {
    pub(crate) fn opened(&self, opened: &Connection) -> Entry {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alike = |known: &Connected| {
            (known.port, known.protocol, known.inspected, known.way)
                == (opened.port, opened.protocol, opened.inspected, opened.way)
                && known.host == opened.host
                && known.rule == text::shown(&opened.rule, TEXT_CHARS_MAX)
        };
        let place = report.connections.iter().position(alike).or_else(|| {
            let room = report.connections.len() < ENTRIES_MAX;
            room.then(|| {
                report.connections.push(Connected {
                    host: opened.host.clone(),
                    port: opened.port,
                    protocol: opened.protocol,
                    inspected: opened.inspected,
                    way: opened.way,
                    rule: text::shown(&opened.rule, TEXT_CHARS_MAX),
                    count: 0,
                    bytes_up: 0,
                    bytes_down: 0,
                });
                report.connections.len() - 1
            })
        });
        match place.and_then(|place| report.connections.get_mut(place)) {
            Some(known) => known.count += 1,
            None => report.connections_more += 1,
        }
        Entry(place)
    }

    pub(crate) fn closed(&self, entry: Entry, bytes_up: u64, bytes_down: u64) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entry.0.and_then(|place| report.connections.get_mut(place)) {
            known.bytes_up = known.bytes_up.saturating_add(bytes_up);
            known.bytes_down = known.bytes_down.saturating_add(bytes_down);
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, why) = (refusal.reason.code(), refusal.reason.to_string());
        let alike = |known: &&mut Refused| {
            known.way == refusal.way && known.asked == refusal.asked && known.reason == code && known.why == why
        };
        if let Some(known) = report.refusals.iter_mut().find(alike) {
            known.count += 1;
        } else if report.refusals.len() < ENTRIES_MAX {
            let (asked, reason, next) = (refusal.asked.clone(), code.to_owned(), refusal.next());
            report.refusals.push(Refused { way: refusal.way, asked, reason, why, next, count: 1 });
        } else {
            report.refusals_more += 1;
        }
    }

    /// What was counted, in a size that fits a frame.
    pub(crate) fn report(&self, totals: Totals) -> RunReport {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.totals = totals;
        report.connections_more += cut(&mut report.connections, |entry| entry.count);
        report.refusals_more += cut(&mut report.refusals, |entry| entry.count);
        report
    }
}

/// Leaves as many entries as fit, and returns what the others have counted.
fn cut<T: Serialize>(list: &mut Vec<T>, count: impl Fn(&T) -> u64) -> u64 {
    let mut bytes = 0_usize;
    let fit = list.iter().take_while(|entry| {
        bytes = bytes.saturating_add(serde_json::to_vec(entry).map_or(LIST_BYTES_MAX, |json| json.len() + 1));
        bytes <= LIST_BYTES_MAX
    });
    let fit = fit.count();
    list.drain(fit..).map(|entry| count(&entry)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Reason;

    fn connection(host: &str) -> Connection {
        Connection {
            connection: 0,
            host: host.to_owned(),
            address: "203.0.113.80".parse().unwrap(),
            port: 443,
            protocol: Protocol::Tls,
            inspected: false,
            way: Way::Connect,
            rule: host.to_owned(),
        }
    }

    #[test]
    fn alike_ones_are_counted_together() {
        let tally = Tally::default();
        for (host, up) in [("a.example", 1), ("b.example", 2), ("a.example", 4)] {
            let entry = tally.opened(&connection(host));
            tally.closed(entry, up, 10);
        }
        for asked in ["c.example:443", "c.example:443", "d.example:443"] {
            tally.refused(&Refusal::new(Way::Connect, asked, Reason::NotGranted));
        }
        let report = tally.report(Totals::default());
        let counted: Vec<_> =
            report.connections.iter().map(|one| (one.host.as_str(), one.count, one.bytes_up, one.bytes_down)).collect();
        assert_eq!(counted, [("a.example", 2, 5, 20), ("b.example", 1, 2, 10)]);
        let refused: Vec<_> = report.refusals.iter().map(|one| (one.asked.as_str(), one.count)).collect();
        assert_eq!(refused, [("c.example:443", 2), ("d.example:443", 1)]);
        assert_eq!((report.connections_more, report.refusals_more), (0, 0));
    }

    #[test]
    fn a_report_stays_small_and_counts_all() {
        let tally = Tally::default();
        for number in 0..300 {
            let long = format!("{number}{}", "\u{1b}\"\\😀".repeat(999));
            tally.refused(&Refusal::new(Way::Socks, &long, Reason::ServerName { said: crate::refusal::shown(&long) }));
            let entry = tally.opened(&Connection { rule: long.clone(), ..connection("a.example") });
            tally.closed(entry, 1, 1);
        }
        let report = tally.report(Totals::default());
        assert!(serde_json::to_vec(&report).unwrap().len() < 130 << 10);
        let sum = |counts: Vec<u64>, more: u64| counts.into_iter().sum::<u64>() + more;
        assert_eq!(sum(report.refusals.iter().map(|one| one.count).collect(), report.refusals_more), 300);
        assert_eq!(sum(report.connections.iter().map(|one| one.count).collect(), report.connections_more), 300);
        assert!(!report.refusals.is_empty() && !report.connections.is_empty());
    }
}
