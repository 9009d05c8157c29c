//! Names of entries: resolved at the activation, and again when their time is over.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::resolve::{Family, Found, Resolve, Unresolved};
use super::table::Entry;

/// Names that are resolved at once, and how long one and all of them may take.
const AT_ONCE: usize = 32;
const TIME_EACH: Duration = Duration::from_secs(5);
const TIME_ALL: Duration = Duration::from_secs(60);
/// More answers than this are no honest name.
const ANSWERS_MAX: usize = 64;
/// How often a name is asked for: as its record says, but not more and not less often than this, in milliseconds.
const TTL_MS: (u64, u64) = (30_000, 3_600_000);
/// When nobody answers: how soon it is tried again, and for how long what was known before still holds.
const RETRY_MS: u64 = 30_000;
const STALE_MS: u64 = 900_000;

/// A name of an entry, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) entry: Entry,
    pub(crate) name: String,
    pub(crate) resolve_once: bool,
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// When it is asked for again; never for what is resolved once, when it is.
    pub(crate) due_ms: u64,
    /// Until when what is known of IPv4 and of IPv6 holds though nobody answers.
    stale_ms: [u64; 2],
}

/// What came of asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) entry: Entry,
    pub(crate) added: Vec<IpAddr>,
    pub(crate) removed: Vec<IpAddr>,
    pub(crate) failure: Option<Unresolved>,
}

impl Named {
    pub(crate) fn new(entry: Entry, name: String, resolve_once: bool) -> Self {
        Self { entry, name, resolve_once, addresses: BTreeSet::new(), due_ms: 0, stale_ms: [0; 2] }
    }

    /// Takes an answer. What does not answer keeps what it had for a while; what is no more is gone at once; what is new
    /// is not there before [`Self::add`].
    pub(crate) fn take(&mut self, answer: Result<Found<IpAddr>, Unresolved>, now_ms: u64) -> Option<Moved> {
        let (found, failure) = match answer {
            Ok(found) => {
                let failure = found.lacks.map(|_| Unresolved::Half);
                (found, failure)
            }
            Err(failure) => (Found::whole(Vec::new(), 0), Some(failure)),
        };
        let wait_ms = if failure.is_none() { found.ttl_ms.clamp(TTL_MS.0, TTL_MS.1) } else { RETRY_MS };
        self.due_ms = now_ms.saturating_add(wait_ms);
        let mut fresh: BTreeSet<IpAddr> = found.answers.iter().map(IpAddr::to_canonical).collect();
        for (family, stale_ms) in Family::ALL.into_iter().zip(&mut self.stale_ms) {
            if failure != Some(Unresolved::Unanswered) && found.lacks != Some(family) {
                *stale_ms = self.due_ms.saturating_add(STALE_MS);
            } else if now_ms < *stale_ms {
                fresh.extend(self.addresses.iter().filter(|known| Family::of(known) == family));
            }
        }
        let added: Vec<IpAddr> = fresh.difference(&self.addresses).copied().collect();
        let removed: Vec<IpAddr> = self.addresses.difference(&fresh).copied().collect();
        self.addresses.retain(|known| fresh.contains(known));
        let is_moved = !added.is_empty() || !removed.is_empty();
        let moved = Moved { entry: self.entry, added, removed, failure };
        self.stays_if(moved.added.is_empty() && failure.is_none());
        is_moved.then_some(moved)
    }

    /// Has these as well, which an answer has brought.
    pub(crate) fn add(&mut self, added: &[IpAddr], failure: Option<Unresolved>) {
        self.addresses.extend(added);
        self.stays_if(failure.is_none());
    }

    /// What is resolved once is never asked for again when all of it is there.
    const fn stays_if(&mut self, is_whole: bool) {
        if self.resolve_once && is_whole {
            self.due_ms = u64::MAX;
        }
    }
}

/// Asks for all of these, some at once; what is not answered in the time is not answered.
pub(crate) async fn resolve(
    resolver: &Arc<dyn Resolve>,
    names: Vec<(Entry, String)>,
) -> Vec<(Entry, Result<Found<IpAddr>, Unresolved>)> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut missing: BTreeSet<Entry> = names.iter().map(|(entry, _)| *entry).collect();
    let mut tasks = JoinSet::new();
    for (entry, name) in names {
        let (resolver, turns) = (Arc::clone(resolver), Arc::clone(&turns));
        tasks.spawn(async move {
            let Ok(_turn) = turns.acquire().await else { return (entry, Err(Unresolved::Unanswered)) };
            let answer = timeout(TIME_EACH, resolver.addresses(&name)).await.unwrap_or(Err(Unresolved::Unanswered));
            (entry, answer.and_then(honest))
        });
    }
    let mut answers = Vec::new();
    let all = async {
        while let Some(done) = tasks.join_next().await {
            answers.extend(done);
        }
    };
    // Out of time: the tasks end with their set.
    timeout(TIME_ALL, all).await.ok();
    for (entry, _) in &answers {
        missing.remove(entry);
    }
    answers.extend(missing.into_iter().map(|entry| (entry, Err(Unresolved::Unanswered))));
    answers
}

fn honest(found: Found<IpAddr>) -> Result<Found<IpAddr>, Unresolved> {
    match found.answers.len() {
        0 => Err(Unresolved::NoSuchName),
        1..=ANSWERS_MAX => Ok(found),
        _ => Err(Unresolved::Unanswered),
    }
}
