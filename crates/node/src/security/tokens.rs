//! Tokens of who has logged in: given, ended by their owner, and ended by what changes.

use std::net::IpAddr;
use std::sync::Mutex;

use stockade_identity::entry::Outside;
use stockade_identity::token::Bearer;

use super::directories::Held;
use super::force::{InForce, Name};
use super::login::{Now, Remote, refused};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};

/// What the node knows of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: Name,
    /// What a directory said of him.
    pub(super) held: Option<Held>,
    /// Addresses that its token was shown from, and that are on record.
    pub(super) seen: Mutex<Vec<IpAddr>>,
}

/// Addresses of one session that are remembered; a token that is shown from more is on record each time.
pub(super) const SEEN_MAX: usize = 16;

/// A token and for how long it is good, in seconds.
type Token = (Bearer, u64);

impl Security {
    /// A token for a caller that has shown his password.
    ///
    /// # Errors
    /// [`Refusal`] for one that has not, and where there are too many.
    pub(crate) fn log_in(&self, caller: &Caller, now: Now) -> Result<Token, Refusal> {
        let Some(Remote { from, held, may_log_in: true, .. }) = &caller.remote else {
            return Err(Refusal::new(
                Kind::Denied,
                "no token is given for this",
                "a token is given for a password that is sent over TLS, not for another token",
                "send the password: Authorization: Basic",
            ));
        };
        let name = caller.in_force.name(&caller.principal.0);
        let session = Session { name: name.clone(), held: held.clone(), seen: Mutex::new(vec![*from]) };
        let (bearer, session) = self.sessions.issue(&caller.principal.0, session, now.ms).map_err(|none| {
            tracing::error!(why = %none, "no session");
            Refusal::new(Kind::Unavailable, "no token is given at the moment", none.to_string(), none.next())
        })?;
        // Whoever is changed now loses his sessions after it is in force, so either this sees the change, or that the
        // session.
        let in_force = self.in_force();
        let is_gone = held.as_ref().is_some_and(|held| !in_force.directories.have(&name, held));
        if is_gone || in_force.person(&name) != caller.in_force.person(&name) {
            self.sessions.end(session.id);
            return Err(refused(Outside::No, 0));
        }
        tracing::info!(principal = %caller.principal.0, session = session.id, source = %from, "logged in");
        Ok((bearer, session.end_ms.saturating_sub(now.ms) / 1_000))
    }

    /// Ends the session that a caller's token is of.
    ///
    /// # Errors
    /// [`Refusal`] for a caller without one.
    pub(crate) fn log_out(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some(session) = caller.remote.as_ref().and_then(|remote| remote.session) else {
            return Err(Refusal::invalid(
                "there is nothing to end",
                "the request has no token",
                "send the token that is to end: Authorization: Bearer",
            ));
        };
        self.sessions.end(session);
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
            changed.map(|person| self.sessions.end_all_of(&format!("{}@{}", person.user, person.realm))).sum()
        } else {
            self.sessions.end_all()
        };
        if ended > 0 {
            tracing::info!(ended, "sessions were ended by a change");
        }
    }
}
