//! Who asks over the network: from what a request shows to a caller, or a refusal. Gathers the facts, has
//! [`entry::decide`] decide, and puts the answer on record before anybody acts on it.
//!
//! A log-in that was begun is finished and recorded even when its caller hangs up, so call it in a task of its own.

use std::net::IpAddr;
use std::sync::Arc;

use stockade_config::security::Admission;
use stockade_core::audit::{Authentication, Decision};
use stockade_identity::entry::{self, Answer, Credential, Facts, How, Outside, Proof, Transport};
use stockade_identity::hosts::Peer;
use stockade_identity::local::Source;
use stockade_identity::token;
use zeroize::Zeroizing;

use super::bearer;
use super::claim::{Claim, Way};
use super::directories::Held;
use super::force::InForce;
use super::serving::by_certificate;
use super::tokens::Family;
use super::{Caller, Security, force};
use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;
use crate::tls::{Client, counted};

/// What a request shows.
pub(crate) enum Shown {
    /// A user, as `user` or `user@realm`, and his password.
    Password { user: String, password: Zeroizing<String> },
    /// A token that this node gave.
    Token(Zeroizing<String>),
    /// No credential, and the user that its program runs as, by its own word.
    Host { user: String },
    /// A certificate at the hand-shake, and nothing else.
    Certificate(Arc<Client>),
    /// Nothing.
    Nothing,
}

/// What it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A token.
    LogIn,
    /// Something else.
    Elsewhere,
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
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(super) peer: Peer,
    /// What he has shown.
    pub(super) credential: Credential,
    /// The session, where it is one, and what it came of.
    pub(super) session: Option<(u64, Family)>,
    /// What a directory says of him, where he is of one.
    pub(super) held: Option<Held>,
    /// The refresh token that was shown, where it is one.
    pub(super) refreshed: Option<Refreshed>,
    /// Whether a token of this node is given for what was shown.
    pub(super) may_log_in: bool,
}

/// A refresh token that was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refreshed {
    pub(super) id: u64,
    /// What it came of.
    pub(super) family: Family,
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
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        (shown, place): (Shown, Place),
        now: Now,
    ) -> Result<Caller, Refusal> {
        let from = peer.address();
        // First, since it may take name servers their time: nothing that is found out after it gets old meanwhile.
        let before = self.in_force();
        let is_trusted = before.trusts(peer, now.ms).await;
        let way = Way { from, place, is_trusted, now };
        let claim = match shown {
            Shown::Password { user, password } => self.by_password(way, &user, password).await,
            Shown::Token(text) if bearer::is_foreign(&text) => self.by_bearer(&text, way).await,
            Shown::Token(text) if token::is_refresh(&text) => self.by_refresh(place, &text, now),
            Shown::Token(text) => self.by_token(from, &text, now),
            Shown::Host { user } => Claim::of(before.name(&user), Credential::None, "trusted host"),
            Shown::Certificate(client) => by_certificate(&self.in_force(), client, now),
            Shown::Nothing => Claim::nobody(),
        };
        self.admit(peer, claim, way, &before).await
    }

    /// Decides about a claim, and puts the answer on record.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(super) async fn admit(
        &self,
        peer: &Peer,
        claim: Claim,
        way: Way,
        before: &Arc<InForce>,
    ) -> Result<Caller, Refusal> {
        let Way { from, is_trusted, now, .. } = way;
        // What is in force after a password was looked at, which takes its time.
        let in_force = self.in_force();
        let is_same = Arc::ptr_eq(&before.hosts, &in_force.hosts);
        let is_trusted = if is_same { is_trusted } else { in_force.hosts.lists(peer) };
        let answer = entry::decide(&facts(&in_force, &claim, is_trusted, now));
        if let (Answer::Admit(_), Some(guess)) = (answer, &claim.guess) {
            // Not before: who is not let in learns nothing of his guess by what the next one has to wait.
            self.passwords.went_well(&guess.attempt(way));
        }
        self.put_on_record(&claim, from, answer, now).await?;
        let how = match answer {
            Answer::Admit(how) => how,
            Answer::Refuse { outside, .. } => return Err(claim.told(refused(outside, claim.wait_ms))),
        };
        claim.remember(from);
        let in_force = self.make_anew(in_force, &claim, Source::Address(from)).await;
        if let Some(showing) = claim.showing {
            self.seen.remember(showing);
        }
        // The decision has seen that it is known.
        let roles = match &claim.held {
            Some(held) => held.roles_of(&in_force.authoriser),
            None => in_force.person(&claim.name).map(|person| person.roles.clone()).unwrap_or_default(),
        };
        let session = claim.session.map(|session| (session.id, session.value.family));
        let may_log_in = claim.may_log_in || how == How::Password;
        let (peer, credential, refreshed) = (peer.clone(), claim.credential, claim.refreshed);
        let remote = Remote { peer, credential, session, held: claim.held, may_log_in, refreshed };
        let principal = Principal(claim.name.to_string());
        Ok(Caller { principal, source: Source::Address(from), remote: Some(remote), roles, command: None, in_force })
    }

    /// A reason as it goes on record, of a refusal that cost its caller nothing; none where there were enough of them.
    pub(super) fn of_flood(&self, from: IpAddr, now: Now, reason: String) -> Option<String> {
        let left_out = self.flood.passes(counted(from), now.ms)?;
        Some(left_out.before(&reason, "address"))
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
            Answer::Refuse { why, .. } if claim.detail.is_empty() => (false, why.to_string()),
            Answer::Refuse { .. } => (false, claim.detail.clone()),
        };
        if is_cheap(answer, claim) {
            match self.of_flood(from, now, reason) {
                None => return Ok(()),
                Some(passed) => reason = passed,
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
}

/// All that the decision depends on.
pub(super) fn facts(in_force: &InForce, claim: &Claim, is_source_trusted: bool, now: Now) -> Facts {
    let person = in_force.person(&claim.name);
    let account = person.map(force::account);
    let now_s = u64::try_from(now.wall_ms / 1_000).unwrap_or_default();
    Facts {
        transport: Transport::Tls,
        is_source_trusted,
        is_user_named: claim.is_named,
        is_known: person.is_some() || is_of_directory(in_force, claim),
        is_locked: account.as_ref().is_some_and(|account| account.is_locked),
        is_expired: account.as_ref().is_some_and(|account| account.is_expired(now_s)),
        has_legacy_host_trust: in_force.has_legacy_host_trust(),
        admission: in_force
            .admission(&claim.name.realm)
            .unwrap_or(Admission { require_password: true, require_trusted_host: false }),
        credential: claim.credential,
    }
}

/// Whether he is of a directory: by what it said, of a realm that is still the same; or as far as can be told of who
/// has proved nothing.
fn is_of_directory(in_force: &InForce, claim: &Claim) -> bool {
    let is_unproved = matches!(
        claim.credential,
        Credential::Password(Proof::Wrong | Proof::NotNow) | Credential::Token(Proof::NotNow)
    );
    match &claim.held {
        Some(held) => in_force.directories.have(&claim.name, held),
        None => is_unproved && in_force.directories.get(&claim.name.realm).is_some(),
    }
}

/// Whether a refusal costs its caller nothing. What else there is against him, such as a lock, makes it no dearer: a
/// record more or less would tell by its time who exists.
const fn is_cheap(answer: Answer, claim: &Claim) -> bool {
    // Once for each log-in, and for who had a token of it.
    matches!(answer, Answer::Refuse { .. }) && claim.is_free && !claim.has_ended
}

/// One text for all that a stranger should not tell apart. That somebody is locked is one of them: a node that says so
/// tells a guesser that he has guessed right.
pub(super) fn refused(outside: Outside, wait_ms: u64) -> Refusal {
    let told = if outside == Outside::Locked { Outside::No } else { outside };
    let kind = if told == Outside::Wait { Kind::TooMany } else { Kind::Unauthenticated };
    let refusal = Refusal::new(kind, "you are not admitted", told.to_string(), told.next());
    if told == Outside::Wait { refusal.that_holds_for(wait_ms.div_ceil(1_000).max(1)) } else { refusal }
}

#[cfg(test)]
mod tests;
