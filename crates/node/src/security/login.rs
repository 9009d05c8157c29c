//! Who asks over the network: from what a request shows to a caller, or a refusal. Gathers the facts, has
//! [`entry::decide`] decide, and puts the answer on record before anybody acts on it.
//!
//! A log-in that was begun is finished and recorded even when its caller hangs up, so call it in a task of its own.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_config::security::Admission;
use stockade_core::audit::{Authentication, Decision};
use stockade_identity::entry::{self, Answer, Credential, Facts, How, Outside, Proof, Transport, Why};
use stockade_identity::local::{Attempt, Checked, Password, Source, Stored};
use stockade_identity::token::{self, Bearer};
use stockade_store::Change;
use zeroize::Zeroizing;

use super::force::{Hosted, InForce, Name};
use super::{Caller, Security, force};
use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// What a request shows.
pub(crate) enum Shown {
    /// A user, as `user` or `user@realm`, and his password.
    Password { user: String, password: Zeroizing<String> },
    /// A token that this node gave.
    Token(Zeroizing<String>),
    /// Nothing.
    Nothing,
}

/// Clocks, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds, by one that never goes back.
    pub(super) ms: u64,
    /// Milliseconds since 1970.
    pub(super) wall_ms: i64,
}

/// How a caller over the network was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(super) from: IpAddr,
    pub(super) how: How,
    /// The session, where it is one.
    pub(super) session: Option<u64>,
}

/// What the node knows of a session.
#[derive(Debug)]
pub(super) struct Session {
    name: Name,
    /// Addresses that its token was shown from, and that are on record.
    seen: Mutex<Vec<IpAddr>>,
}

/// Addresses of one session that are remembered; a token that is shown from more is on record each time.
const SEEN_MAX: usize = 16;

/// A token and for how long it is good, in seconds.
type Token = (Bearer, u64);

/// What came of what was shown, before the decision.
struct Claim {
    name: Name,
    credential: Credential,
    method: &'static str,
    /// How long to wait, where it was too early.
    wait_ms: u64,
    session: Option<Arc<token::Session<Session>>>,
    /// That nothing more is put on record, where it is right: an earlier record says it already.
    is_on_record: bool,
}

impl Security {
    /// The clocks.
    pub(crate) fn now(&self) -> Now {
        Now { ms: self.now_ms(), wall_ms: now_ms() }
    }

    /// Finds out who asks from this address, over TLS.
    ///
    /// # Errors
    /// [`Refusal`] when nobody is admitted: because of what was shown, or because it cannot be put on record.
    pub(crate) async fn authenticate(&self, from: IpAddr, shown: Shown, now: Now) -> Result<Caller, Refusal> {
        let claim = match shown {
            Shown::Password { user, password } => self.by_password(from, &user, password, now).await,
            Shown::Token(text) => self.by_token(from, &text, now),
            Shown::Nothing => Claim::of(Name::default(), Credential::None, "none"),
        };
        // What is in force after a password was looked at, which takes its time.
        let in_force = self.in_force();
        let answer = entry::decide(&self.facts(&in_force, &claim, from, now));
        self.put_on_record(&claim, from, answer, now).await?;
        let how = match answer {
            Answer::Admit(how) => how,
            Answer::Refuse { outside, .. } => return Err(refused(outside, claim.wait_ms)),
        };
        claim.remember(from);
        // The decision has seen that it is known.
        let roles = in_force.person(&claim.name).map(|person| person.roles.clone()).unwrap_or_default();
        let remote = Remote { from, how, session: claim.session.map(|session| session.id) };
        let principal = Principal(claim.name.to_string());
        Ok(Caller { principal, source: Source::Address(from), remote: Some(remote), roles, command: None, in_force })
    }

    async fn by_password(&self, from: IpAddr, user: &str, clear: Zeroizing<String>, now: Now) -> Claim {
        let in_force = self.in_force();
        let name = in_force.name(user);
        let kept = in_force.person(&name).and_then(|person| person.password.clone());
        // A hash that cannot be read is nobody's password.
        let stored = kept.as_deref().and_then(|text| Stored::parse(text).ok());
        let is_trusted = self.is_trusted(from);
        let (principal, source) = (name.to_string(), Source::Address(from));
        let attempt = Attempt { principal: &principal, source, is_trusted, now_ms: now.ms };
        let checked = match Password::new(clear.clone()) {
            Ok(password) => self.passwords.check(&attempt, password, stored.as_ref()).await,
            Err(_) => Checked::Wrong,
        };
        let is_same = |in_force: &InForce| in_force.person(&name).and_then(|person| person.password.clone()) == kept;
        let (proof, wait_ms) = match checked {
            // Somebody has changed it meanwhile.
            Checked::Right { .. } if !is_same(&self.in_force()) => (Proof::Wrong, 0),
            Checked::Right { stale } => {
                if stale {
                    self.make_anew(&name, kept, source, clear).await;
                }
                (Proof::Right, 0)
            }
            Checked::Wrong => (Proof::Wrong, 0),
            Checked::Early { wait_ms } => (Proof::NotNow, wait_ms),
            Checked::Busy => (Proof::NotNow, 1_000),
        };
        Claim { wait_ms, ..Claim::of(name, Credential::Password(proof), "password") }
    }

    fn by_token(&self, from: IpAddr, text: &str, now: Now) -> Claim {
        let Ok(session) = self.sessions.check(text, now.ms) else {
            return Claim::of(Name::default(), Credential::Token(Proof::Wrong), "token");
        };
        let is_on_record = session.value.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&from);
        let claim = Claim::of(session.value.name.clone(), Credential::Token(Proof::Right), "token");
        Claim { session: Some(session), is_on_record, ..claim }
    }

    fn facts(&self, in_force: &InForce, claim: &Claim, from: IpAddr, now: Now) -> Facts {
        let person = in_force.person(&claim.name);
        let account = person.map(force::account);
        let now_s = u64::try_from(now.wall_ms / 1_000).unwrap_or_default();
        Facts {
            transport: Transport::Tls,
            is_source_trusted: self.is_trusted(from),
            is_user_named: matches!(claim.credential, Credential::Password(_)),
            is_known: person.is_some(),
            is_locked: account.as_ref().is_some_and(|account| account.is_locked),
            is_expired: account.as_ref().is_some_and(|account| account.is_expired(now_s)),
            // Over the network somebody is whom his credential says, never whom his address says.
            has_legacy_host_trust: false,
            admission: in_force
                .admission(&claim.name.realm)
                .unwrap_or(Admission { require_password: true, require_trusted_host: false }),
            credential: claim.credential,
        }
    }

    /// Whether an address is of a trusted host. No host is, until somebody looks: the only place that asks.
    #[expect(clippy::unused_self, reason = "the hosts will be the node's")]
    const fn is_trusted(&self, _from: IpAddr) -> bool {
        false
    }

    /// Nobody is admitted, or refused for what cost something, without a record.
    async fn put_on_record(&self, claim: &Claim, from: IpAddr, answer: Answer, now: Now) -> Result<(), Refusal> {
        let (is_permitted, mut reason) = match answer {
            Answer::Admit(_) if claim.is_on_record => return Ok(()),
            Answer::Admit(_) => (
                true,
                claim
                    .session
                    .as_ref()
                    .map_or_else(String::new, |one| format!("session {}, first seen from here", one.id)),
            ),
            Answer::Refuse { why, .. } => (false, why.to_string()),
        };
        if is_cheap(answer, claim.credential) {
            match self.flood.passes(from, now.ms) {
                None => return Ok(()),
                Some(0) => {}
                Some(more) => reason += &format!("; {more} more from this address are not on record"),
            }
        }
        self.record_authentication(Authentication {
            time_ms: u64::try_from(now.wall_ms).unwrap_or_default(),
            principal: &claim.name.to_string(),
            realm: &claim.name.realm,
            source: &from.to_string(),
            method: claim.method,
            decision: if is_permitted { Decision::Permitted } else { Decision::Refused },
            reason: &reason,
        })
        .await
    }

    /// Keeps a password with the costs of today. Nobody waits for it to succeed: it is tried again the next time.
    async fn make_anew(&self, name: &Name, before: Option<String>, source: Source, clear: Zeroizing<String>) {
        let Ok(password) = Password::new(clear) else { return };
        let Ok(stored) = self.passwords.hash(source, password).await else { return };
        let _changing = self.changing.lock().await;
        let Name { realm, user } = name.clone();
        let change = Change { password: Some(stored.to_string()), ..Change::default() };
        let kept = self.keeper.with(move |store| {
            let found = store.principal(&realm, &user)?.filter(|found| found.password == before);
            // It is as old as it was.
            found.map_or(Ok(false), |found| store.change_principal(&realm, &user, &change, found.password_ms))
        });
        let new = force::of_store(&self.keeper, Hosted::Known(self.hosts()));
        if let (Ok(true), Ok(new)) = (kept.await, new.await) {
            // Nothing else has changed, so that sessions go on.
            self.swap(new);
        }
    }

    /// A token for a caller that has shown his password.
    ///
    /// # Errors
    /// [`Refusal`] for one that has not, and where there are too many.
    pub(crate) fn log_in(&self, caller: &Caller, now: Now) -> Result<Token, Refusal> {
        let Some(Remote { from, how: How::Password, .. }) = caller.remote else {
            return Err(Refusal::new(
                Kind::Denied,
                "no token is given for this",
                "a token is given for a password that is sent over TLS, not for another token",
                "send the password: Authorization: Basic",
            ));
        };
        let name = caller.in_force.name(&caller.principal.0);
        let session = Session { name: name.clone(), seen: Mutex::new(vec![from]) };
        let (bearer, session) = self.sessions.issue(&caller.principal.0, session, now.ms).map_err(|none| {
            tracing::error!(why = %none, "no session");
            Refusal::new(Kind::Unavailable, "no token is given at the moment", none.to_string(), none.next())
        })?;
        // Whoever is changed now loses his sessions after it is in force, so either this sees the change, or that the
        // session.
        if self.in_force().person(&name) != caller.in_force.person(&name) {
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
        let Some(session) = caller.remote.and_then(|remote| remote.session) else {
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
        let ended = if before.local_realms().eq(after.local_realms()) {
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

impl Claim {
    const fn of(name: Name, credential: Credential, method: &'static str) -> Self {
        Self { name, credential, method, wait_ms: 0, session: None, is_on_record: false }
    }

    /// That it is on record from where it was shown.
    fn remember(&self, from: IpAddr) {
        let Some(session) = &self.session else { return };
        let mut seen = session.value.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < SEEN_MAX && !seen.contains(&from) {
            seen.push(from);
        }
    }
}

/// Whether a refusal costs its caller nothing: no password was looked at.
const fn is_cheap(answer: Answer, credential: Credential) -> bool {
    match answer {
        Answer::Admit(_) => false,
        Answer::Refuse { why: Why::NotNow, .. } => true,
        Answer::Refuse { .. } => !matches!(credential, Credential::Password(_)),
    }
}

/// One text for all that a stranger should not tell apart. That somebody is locked is one of them: a node that says so
/// tells a guesser that he has guessed right.
fn refused(outside: Outside, wait_ms: u64) -> Refusal {
    let told = if outside == Outside::Locked { Outside::No } else { outside };
    let kind = if told == Outside::Wait { Kind::TooMany } else { Kind::Unauthenticated };
    let refusal = Refusal::new(kind, "you are not admitted", told.to_string(), told.next());
    if told == Outside::Wait { refusal.that_holds_for(wait_ms.div_ceil(1_000).max(1)) } else { refusal }
}

#[cfg(test)]
mod tests;
