//! Tokens of who has logged in: given, ended by their owner, and ended by what changes.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use stockade_core::audit::{Authentication, Decision};
use stockade_identity::entry::Outside;
use stockade_identity::token::{self, Bearer, Issued, NoToken, Reused};

use super::directories::Held;
use super::force::{InForce, Name};
use super::login::{Now, Refreshed, Remote, refused};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};

/// What the node knows of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: Name,
    /// What a directory said of him.
    pub(super) held: Option<Held>,
    /// The same in all that comes of one log-in with a password.
    pub(super) family: Family,
    /// Addresses that its token was shown from, and that are on record.
    pub(super) seen: Mutex<Vec<IpAddr>>,
}

/// What comes of one log-in with a password: sessions, and the tokens that make the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    id: u64,
    /// The end of all of it.
    until_ms: u64,
}

/// For so long at the most who has logged in with a password goes on without.
const FAMILY_MS: u64 = 7 * 24 * 3_600_000;

/// Addresses of one session that are remembered; a token that is shown from more is on record each time.
pub(super) const SEEN_MAX: usize = 16;

/// For so long who shows a refresh token that was just used is taken for its owner: two of his programs at once, or one
/// whose answer was lost. He gets nothing by it, as nobody does, and loses nothing.
const MOMENT_MS: u64 = 10_000;

/// A token and for how long it is good, in seconds.
pub(crate) type Token = (Bearer, u64);

/// What is given to who logs in: a token for requests, and one for the next log-in if he wants it.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) session: Token,
    pub(crate) refresh: Option<Token>,
}

fn no_token(whose: &str, none: NoToken) -> Refusal {
    tracing::error!(why = %none, principal = whose, "no session");
    let kind = if none == NoToken::Used { Kind::TooMany } else { Kind::Unavailable };
    Refusal::new(kind, "no token is given at the moment", none.to_string(), none.next())
}

impl Security {
    /// Tokens for a caller that has shown his password, or a refresh token, which is of no use any more then. Who is of
    /// elsewhere gets none of those: his roles are not known anew with it.
    ///
    /// # Errors
    /// [`Refusal`] for one that has not, and where there are too many.
    pub(crate) fn log_in(&self, caller: &Caller, wants_refresh: bool, now: Now) -> Result<Tokens, Refusal> {
        let Some(Remote { peer, held, may_log_in: true, refreshed, .. }) = &caller.remote else {
            return Err(Refusal::new(
                Kind::Denied,
                "no token is given for this",
                "a token is given for a password that is sent over TLS, not for another token",
                "send the password: Authorization: Basic",
            ));
        };
        let name = caller.in_force.name(&caller.principal.0);
        let family = refreshed.map_or_else(|| self.new_family(now), |refreshed| refreshed.family);
        let seen = peer.address();
        let value = || Session { name: name.clone(), held: held.clone(), family, seen: Mutex::new(vec![seen]) };
        let whose = &caller.principal.0;
        let times = (now.ms, family.until_ms);
        let (bearer, session) =
            self.sessions.issue_until(whose, value(), times).map_err(|none| no_token(whose, none))?;
        let next = (wants_refresh && held.is_none()).then(value);
        // Last: what was shown is used up only when there is all that is given for it.
        let refresh = self.next(whose, *refreshed, next, times).inspect_err(|_| _ = self.sessions.end(session.id))?;
        // Whoever is changed now loses his sessions after it is in force, so either this sees the change, or that the
        // session.
        let in_force = self.in_force();
        if !in_force.has_realms_of(&caller.in_force) || in_force.person(&name) != caller.in_force.person(&name) {
            self.sessions.end(session.id);
            refresh.map(|(_, refresh)| self.refreshes.end(refresh.id));
            return Err(refused(Outside::No, 0));
        }
        tracing::info!(principal = %caller.principal.0, session = session.id, source = %peer.address(), "logged in");
        let left = |end_ms: u64| end_ms.saturating_sub(now.ms) / 1_000;
        Ok(Tokens {
            session: (bearer, left(session.end_ms)),
            refresh: refresh.map(|(bearer, refresh)| (bearer, left(refresh.end_ms))),
        })
    }

    pub(super) fn new_family(&self, now: Now) -> Family {
        Family { id: self.families.fetch_add(1, Ordering::Relaxed), until_ms: now.ms.saturating_add(FAMILY_MS) }
    }

    /// The token of the next log-in, where one is wanted, in the place of the one that was shown, where it was.
    fn next(
        &self,
        whose: &str,
        shown: Option<Refreshed>,
        wanted: Option<Session>,
        times: (u64, u64),
    ) -> Result<Option<Issued<Session>>, Refusal> {
        let made = match (shown, wanted) {
            (None, None) => return Ok(None),
            (None, Some(value)) => self.refreshes.issue_until(whose, value, times).map(|issued| Some(Some(issued))),
            (Some(Refreshed { id, family }), None) => {
                self.refreshes.spend(id, family.id, times.0).map(|is_spent| is_spent.then_some(None))
            }
            (Some(Refreshed { id, family }), Some(value)) => {
                self.refreshes.renew((id, family.id), value, times).map(|issued| issued.map(Some))
            }
        };
        // Or somebody has used it meanwhile.
        made.map_err(|none| no_token(whose, none))?.ok_or_else(|| refused(Outside::No, 0))
    }

    /// Ends what came of the log-in that a refresh token is of which was used before: its owner or a thief has the newer
    /// one, and nobody can tell who (RFC 9700, 4.14.2). Whose it is, and how many there were, if there were any.
    pub(super) fn end_reused(&self, text: &str, now: Now) -> Option<(Name, usize)> {
        let Reused { family, used_ms } = self.refreshes.reused(text, now.ms)?;
        if now.ms.saturating_sub(used_ms) < MOMENT_MS {
            return None;
        }
        let ended = self.end_family(family).concat();
        let name = ended.first()?.value.name.clone();
        tracing::warn!(principal = %name, ended = ended.len(), "a refresh token was shown again; its log-in is ended");
        Some((name, ended.len()))
    }

    /// Ends all that came of one log-in: its refresh tokens and its sessions, which it returns. In this order: whoever
    /// uses one of those tokens meanwhile has his session already, or cannot use it any more.
    fn end_family(&self, family: u64) -> [Vec<Arc<token::Session<Session>>>; 2] {
        let is_of_it = |session: &Session| session.family.id == family;
        let refreshes = self.refreshes.end_where(is_of_it);
        [refreshes, self.sessions.end_where(is_of_it)]
    }

    /// Ends the session that a caller's token is of with all that came of the same log-in: whoever has its refresh
    /// token, or has used it, is out too.
    ///
    /// # Errors
    /// [`Refusal`] for a caller without one.
    pub(crate) async fn log_out(&self, caller: &Caller, now: Now) -> Result<(), Refusal> {
        let Some(Remote { session: Some((session, family)), peer, .. }) = &caller.remote else {
            return Err(Refusal::invalid(
                "there is nothing to end",
                "the request has no token",
                "send the token that is to end: Authorization: Bearer",
            ));
        };
        let [refreshes, sessions] = self.end_family(family.id);
        tracing::info!(principal = %caller.principal.0, session, "logged out");
        // A later one came of the refresh token that belongs to his.
        if sessions.iter().any(|one| one.id > *session) {
            let count = refreshes.len() + sessions.len();
            self.record_used(caller, peer.address(), now, count).await;
        }
        Ok(())
    }

    /// Puts on record that somebody has logged out whose refresh token he or a thief had used.
    async fn record_used(&self, caller: &Caller, from: IpAddr, now: Now, count: usize) {
        let record = Authentication {
            time_ms: u64::try_from(now.wall_ms).unwrap_or_default(),
            principal: &caller.principal.0,
            realm: &caller.in_force.name(&caller.principal.0).realm,
            source: &from.to_string(),
            method: "log-out",
            decision: Decision::Permitted,
            reason: &format!("its refresh token was used before; {count} tokens of the same log-in were ended"),
        };
        // It is ended already.
        if let Err(refusal) = self.record_authentication(record).await {
            tracing::error!(why = refusal.why, "a log-out after its refresh token was used is not on record");
        }
    }

    /// Ends sessions of those who are not what they were, and all when realms are not.
    pub(super) fn revoke(&self, before: &InForce, after: &InForce) {
        let ended = if before.has_realms_of(after) {
            let changed = before.everybody().filter(|person| {
                let name = Name { realm: person.realm.clone(), user: person.user.clone() };
                after.anybody(&name) != Some(person)
            });
            let all_of = |whose: String| self.sessions.end_all_of(&whose) + self.refreshes.end_all_of(&whose);
            changed.map(|person| all_of(format!("{}@{}", person.user, person.realm))).sum()
        } else {
            self.sessions.end_all() + self.refreshes.end_all()
        };
        if ended > 0 {
            tracing::info!(ended, "sessions were ended by a change");
        }
    }
}
