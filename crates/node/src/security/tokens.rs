//! Tokens of who has logged in: given, ended by their owner, and ended by what changes.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use stockade_identity::entry::Outside;
use stockade_identity::token::{Bearer, NoToken, Reused};

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
    /// The token that makes the next session, which ends with this one.
    pub(super) refresh: Option<u64>,
    /// The same in all that comes of one log-in with a password.
    pub(super) family: u64,
    /// Addresses that its token was shown from, and that are on record.
    pub(super) seen: Mutex<Vec<IpAddr>>,
}

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
        let none = |none: NoToken| {
            tracing::error!(why = %none, principal = %caller.principal.0, "no session");
            let kind = if none == NoToken::Used { Kind::TooMany } else { Kind::Unavailable };
            Refusal::new(kind, "no token is given at the moment", none.to_string(), none.next())
        };
        let family = match refreshed {
            Some(Refreshed { id, family }) => {
                if !self.refreshes.spend(*id, *family, now.ms).map_err(none)? {
                    // Somebody has used it meanwhile.
                    return Err(refused(Outside::No, 0));
                }
                *family
            }
            None => self.families.fetch_add(1, Ordering::Relaxed),
        };
        let value = |refresh| Session {
            name: name.clone(),
            held: held.clone(),
            refresh,
            family,
            seen: Mutex::new(vec![peer.address()]),
        };
        let whose = &caller.principal.0;
        let wants_refresh = wants_refresh && held.is_none();
        let refresh =
            wants_refresh.then(|| self.refreshes.issue(whose, value(None), now.ms)).transpose().map_err(none)?;
        let refresh_id = refresh.as_ref().map(|(_, refresh)| refresh.id);
        let (bearer, session) = self.sessions.issue(whose, value(refresh_id), now.ms).map_err(none)?;
        // Whoever is changed now loses his sessions after it is in force, so either this sees the change, or that the
        // session.
        let in_force = self.in_force();
        let is_gone = held.as_ref().is_some_and(|held| !in_force.directories.have(&name, held));
        if is_gone || in_force.person(&name) != caller.in_force.person(&name) {
            self.end(session.id, refresh_id);
            return Err(refused(Outside::No, 0));
        }
        tracing::info!(principal = %caller.principal.0, session = session.id, source = %peer.address(), "logged in");
        let left = |end_ms: u64| end_ms.saturating_sub(now.ms) / 1_000;
        Ok(Tokens {
            session: (bearer, left(session.end_ms)),
            refresh: refresh.map(|(bearer, refresh)| (bearer, left(refresh.end_ms))),
        })
    }

    /// Ends what came of the log-in that a refresh token is of which was used before: its owner or a thief has the newer
    /// one, and nobody can tell who (RFC 9700, 4.14.2). Whose it is, and how many there were, if there were any.
    pub(super) fn end_reused(&self, text: &str, now: Now) -> Option<(Name, usize)> {
        let Reused { family, used_ms } = self.refreshes.reused(text, now.ms)?;
        if now.ms.saturating_sub(used_ms) < MOMENT_MS {
            return None;
        }
        let is_of_it = |session: &Session| session.family == family;
        let ended = [self.sessions.end_where(is_of_it), self.refreshes.end_where(is_of_it)].concat();
        let name = ended.first()?.value.name.clone();
        tracing::warn!(principal = %name, ended = ended.len(), "a refresh token was shown again; its log-in is ended");
        Some((name, ended.len()))
    }

    fn end(&self, session: u64, refresh: Option<u64>) {
        self.sessions.end(session);
        if let Some(refresh) = refresh {
            self.refreshes.end(refresh);
        }
    }

    /// Ends the session that a caller's token is of.
    ///
    /// # Errors
    /// [`Refusal`] for a caller without one.
    pub(crate) fn log_out(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some((session, refresh)) = caller.remote.as_ref().and_then(|remote| remote.session) else {
            return Err(Refusal::invalid(
                "there is nothing to end",
                "the request has no token",
                "send the token that is to end: Authorization: Bearer",
            ));
        };
        self.end(session, refresh);
        tracing::info!(principal = %caller.principal.0, session, "logged out");
        Ok(())
    }

    /// Ends sessions of those who are not what they were, and all when realms are not.
    pub(super) fn revoke(&self, before: &InForce, after: &InForce) {
        let are_same = before.local_realms().eq(after.local_realms()) && before.directories.are(&after.directories);
        let ended = if are_same {
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
