//! Short-lived tokens of sessions: who was admitted shows one with its next requests.
//!
//! How to use it: one [`Sessions`] for the process, made with the node's name. After [`crate::entry`] admitted
//! somebody, [`Sessions::issue`] with whatever the node wants to know of him later; for each request
//! [`Sessions::check`] the text of its `Authorization: Bearer` header. End them when a principal is locked, loses a
//! role or changes his password ([`Sessions::end_all_of`]), and all of them when a realm changes. Times are the
//! caller's, by a clock that never goes back.
//!
//! A token is 256 random bits and says nothing. What is kept is a digest of it with the node's name, so a token means
//! nothing to another node, and a memory dump of the table opens nothing. A longer-lived token of another kind
//! ([`Kind::Refresh`]) has a table of its own ([`Sessions::of`]), whose entries end when they are used
//! ([`Sessions::spend`], [`Sessions::renew`]); that one was used is remembered for a while ([`Sessions::reused`]).

mod bearer;
mod spent;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq;
use thiserror::Error;

pub use bearer::{BadToken, Bearer, Digest, Kind, is_refresh};
pub use spent::Reused;
use spent::Spent;

/// How long a session's token is good, unless somebody says otherwise.
pub const LIFETIME_MS: u64 = 15 * 60_000;
/// And one that makes another session, once.
pub const REFRESH_MS: u64 = 12 * 60 * 60_000;
/// Tokens of a node, and of one principal: the oldest of his ends for a new one.
const COUNT_MAX: usize = 16_384;
const OF_ONE_MAX: usize = 64;

/// The sessions of a node.
pub struct Sessions<T> {
    kind: Kind,
    node: String,
    lifetime_ms: u64,
    table: RwLock<Table<T>>,
}

/// One session, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<T> {
    /// Whose it is.
    pub principal: String,
    /// Until when.
    pub end_ms: u64,
    /// To name it by; no secret.
    pub id: u64,
    /// What the node wants to know.
    pub value: T,
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoToken {
    /// As many as there may be.
    #[error("the node has {COUNT_MAX} sessions, which is all it may have")]
    Full,
    /// Its log-in has made as many as it may in their time.
    #[error("so many tokens were made of one log-in that no more are")]
    Used,
    /// The system has none.
    #[error("the system gives no random bytes")]
    Randomness,
}

impl NoToken {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Full => "try again in some minutes, or have an administrator end sessions",
            Self::Used => "log in again with the password, and use each token to its end",
            Self::Randomness => "look at the machine: getrandom(2) fails",
        }
    }
}

/// By the first half of the digest. The second is compared in constant time.
struct Table<T> {
    sessions: HashMap<Half, (Half, Arc<Session<T>>)>,
    by_end: BTreeSet<(u64, Half)>,
    by_principal: HashMap<String, BTreeSet<(u64, Half)>>,
    spent: Spent,
    next_id: u64,
}

type Half = [u8; 16];

/// A token, and the session that it is of.
pub type Issued<T> = (Bearer, Arc<Session<T>>);

impl<T> Sessions<T> {
    /// No sessions yet, of the node with this name.
    #[must_use]
    pub fn new(node: &str, lifetime_ms: u64) -> Self {
        Self::of(Kind::Session, node, lifetime_ms)
    }

    /// The same of another kind of tokens.
    #[must_use]
    pub fn of(kind: Kind, node: &str, lifetime_ms: u64) -> Self {
        let table = Table {
            sessions: HashMap::new(),
            by_end: BTreeSet::new(),
            by_principal: HashMap::new(),
            spent: Spent::default(),
            next_id: 1,
        };
        Self { kind, node: node.to_owned(), lifetime_ms, table: RwLock::new(table) }
    }

    /// Begins a session; the token is shown to its principal once, and kept nowhere.
    ///
    /// # Errors
    /// [`NoToken`], when there are too many, or no randomness.
    pub fn issue(&self, principal: &str, value: T, now_ms: u64) -> Result<Issued<T>, NoToken> {
        self.issue_until(principal, value, (now_ms, u64::MAX))
    }

    /// The same of one that ends after its lifetime, but not after `until_ms`.
    ///
    /// # Errors
    /// [`NoToken`], as above.
    pub fn issue_until(&self, principal: &str, value: T, (now_ms, until_ms): (u64, u64)) -> Result<Issued<T>, NoToken> {
        let bearer = Bearer::fresh(self.kind).ok_or(NoToken::Randomness)?;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.forget(now_ms);
        table.make_room(principal)?;
        let session = table.add(bearer.digest(&self.node), principal, self.end_ms(now_ms, until_ms), value);
        Ok((bearer, session))
    }

    fn end_ms(&self, now_ms: u64, until_ms: u64) -> u64 {
        now_ms.saturating_add(self.lifetime_ms).min(until_ms)
    }

    /// The session of a token.
    ///
    /// # Errors
    /// [`BadToken`]; whoever shows one that is not good is told no more than that.
    pub fn check(&self, text: &str, now_ms: u64) -> Result<Arc<Session<T>>, BadToken> {
        let digest = Bearer::parse(text, self.kind)?.digest(&self.node);
        let (first, second) = digest.halves();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let (rest, session) = table.sessions.get(&first).ok_or(BadToken::Unknown)?;
        if !bool::from(rest.ct_eq(&second)) {
            return Err(BadToken::Unknown);
        }
        if now_ms >= session.end_ms {
            return Err(BadToken::Over);
        }
        Ok(Arc::clone(session))
    }

    /// Whether a session of a principal is there still.
    pub fn has(&self, principal: &str, id: u64, now_ms: u64) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let theirs = table.by_principal.get(principal).into_iter().flatten();
        let mut theirs = theirs.filter_map(|(_, half)| table.sessions.get(half));
        theirs.any(|(_, session)| session.id == id && now_ms < session.end_ms)
    }

    /// Ends one session; whether there was one.
    pub fn end(&self, id: u64) -> bool {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.half_of(id).is_some_and(|half| table.remove(&half).is_some())
    }

    /// Ends one whose token is used up, and remembers that it was; whether there was one. A family is what comes of
    /// one log-in, by a number of the caller's.
    ///
    /// # Errors
    /// [`NoToken`] when no more can be remembered; it is good still.
    pub fn spend(&self, id: u64, family: u64, now_ms: u64) -> Result<bool, NoToken> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        Ok(table.spend(id, family, now_ms)?.is_some())
    }

    /// The same, and the next one of its principal takes its place, so that there is room for it; `None` where there
    /// was none.
    ///
    /// # Errors
    /// [`NoToken`] as with [`Self::spend`], and when there is no randomness; it is good still.
    pub fn renew(
        &self,
        (id, family): (u64, u64),
        value: T,
        (now_ms, until_ms): (u64, u64),
    ) -> Result<Option<Issued<T>>, NoToken> {
        let bearer = Bearer::fresh(self.kind).ok_or(NoToken::Randomness)?;
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = table.spend(id, family, now_ms)? else { return Ok(None) };
        let end_ms = self.end_ms(now_ms, until_ms);
        let session = table.add(bearer.digest(&self.node), &used.principal, end_ms, value);
        Ok(Some((bearer, session)))
    }

    /// What is known of a token that was used before, until it would have ended.
    #[must_use]
    pub fn reused(&self, text: &str, now_ms: u64) -> Option<Reused> {
        let digest = Bearer::parse(text, self.kind).ok()?.digest(&self.node);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.spent.forget(now_ms);
        table.spent.find(digest)
    }

    /// Ends those of which the node knows this; which they were.
    pub fn end_where(&self, is_meant: impl Fn(&T) -> bool) -> Vec<Arc<Session<T>>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let meant = table.sessions.iter().filter(|(_, (_, session))| is_meant(&session.value)).map(|(half, _)| *half);
        let meant: Vec<Half> = meant.collect();
        meant.iter().filter_map(|half| table.remove(half)).map(|(_, session)| session).collect()
    }

    /// Ends every session of a principal; how many there were.
    pub fn end_all_of(&self, principal: &str) -> usize {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let theirs = table.by_principal.get(principal).cloned().unwrap_or_default();
        theirs.iter().filter_map(|(_, half)| table.remove(half)).count()
    }

    /// Ends every session; how many there were.
    pub fn end_all(&self) -> usize {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.forget(u64::MAX)
    }
}

impl<T> Table<T> {
    /// Removes what is over; how many that were.
    fn forget(&mut self, now_ms: u64) -> usize {
        let mut count = 0;
        while let Some((_, half)) = self.by_end.first().copied().filter(|(end_ms, _)| *end_ms <= now_ms) {
            count += usize::from(self.remove(&half).is_some());
        }
        count
    }

    fn spend(&mut self, id: u64, family: u64, now_ms: u64) -> Result<Option<Arc<Session<T>>>, NoToken> {
        let Some(first) = self.half_of(id) else { return Ok(None) };
        self.spent.has_room(family, now_ms)?;
        let Some((second, session)) = self.remove(&first) else { return Ok(None) };
        self.spent.add((first, second), session.end_ms, Reused { family, used_ms: now_ms });
        Ok(Some(session))
    }

    fn make_room(&mut self, principal: &str) -> Result<(), NoToken> {
        let oldest = self.by_principal.get(principal).filter(|theirs| theirs.len() >= OF_ONE_MAX);
        if let Some((_, half)) = oldest.and_then(BTreeSet::first).copied() {
            self.remove(&half);
        }
        if self.sessions.len() >= COUNT_MAX { Err(NoToken::Full) } else { Ok(()) }
    }

    fn add(&mut self, digest: Digest, principal: &str, end_ms: u64, value: T) -> Arc<Session<T>> {
        let (first, second) = digest.halves();
        let session = Arc::new(Session { principal: principal.to_owned(), end_ms, id: self.next_id, value });
        self.next_id += 1;
        self.sessions.insert(first, (second, Arc::clone(&session)));
        self.by_end.insert((end_ms, first));
        self.by_principal.entry(principal.to_owned()).or_default().insert((end_ms, first));
        session
    }

    fn half_of(&self, id: u64) -> Option<Half> {
        self.sessions.iter().find(|(_, (_, session))| session.id == id).map(|(half, _)| *half)
    }

    fn remove(&mut self, half: &Half) -> Option<(Half, Arc<Session<T>>)> {
        let (rest, session) = self.sessions.remove(half)?;
        self.by_end.remove(&(session.end_ms, *half));
        if let Some(theirs) = self.by_principal.get_mut(&session.principal) {
            theirs.remove(&(session.end_ms, *half));
            if theirs.is_empty() {
                self.by_principal.remove(&session.principal);
            }
        }
        Some((rest, session))
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sessions").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
