//! What came of what a request shows, before anybody decides: a password looked at, a token found, a name believed or
//! not.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use stockade_identity::entry::{Credential, Proof};
use stockade_identity::local::{Attempt, Checked, Password, Source, Stored};
use stockade_identity::token;
use stockade_store::Change;
use zeroize::Zeroizing;

use super::bearer::Showing;
use super::directories::Held;
use super::force::{Hosted, InForce, Name};
use super::login::{Now, Place, Refreshed};
use super::tokens::{SEEN_MAX, Session};
use super::{Security, force};
use crate::refusal::Refusal;
use crate::tls::Client;

const REFRESH: &str = "refresh token";

/// How it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The address, by the kernel's word.
    pub(super) from: IpAddr,
    pub(super) place: Place,
    /// Whether that is a trusted host.
    pub(super) is_trusted: bool,
    pub(super) now: Now,
}

/// A password that is right, whoever shows it.
pub(super) struct Guess {
    /// By which guesses are counted.
    pub(super) principal: String,
    pub(super) stale: Option<Stale>,
}

/// A password that is kept with other costs than today's.
pub(super) struct Stale {
    clear: Zeroizing<String>,
    /// As it is kept.
    kept: Option<String>,
}

impl Guess {
    /// As it was counted.
    pub(super) fn attempt(&self, way: Way) -> Attempt<'_> {
        let (source, now_ms) = (Source::Address(way.from), way.now.ms);
        Attempt { principal: &self.principal, source, is_trusted: way.is_trusted, now_ms }
    }
}

/// What came of what was shown, before the decision.
pub(super) struct Claim {
    pub(super) name: Name,
    pub(super) credential: Credential,
    pub(super) method: &'static str,
    /// How long to wait, where it was too early.
    pub(super) wait_ms: u64,
    /// More than the decision knows of why not; for the record.
    pub(super) detail: String,
    /// Whether it cost its caller nothing: no password was looked at.
    pub(super) is_free: bool,
    /// A password that was looked at and is right.
    pub(super) guess: Option<Guess>,
    /// Whether the caller named a user.
    pub(super) is_named: bool,
    /// What its caller should do, where that is known better than by the decision.
    pub(super) next: Option<&'static str>,
    /// What a directory says of him.
    pub(super) held: Option<Held>,
    /// Whether a token of this node is given for it, as it is for a password.
    pub(super) may_log_in: bool,
    /// A refresh token, where it is one.
    pub(super) refreshed: Option<Refreshed>,
    /// Whether what came of its log-in was ended, since somebody has used it before.
    pub(super) has_ended: bool,
    /// A provider's token, where it is one.
    pub(super) showing: Option<Showing>,
    pub(super) session: Option<Arc<token::Session<Session>>>,
    /// A certificate, where it is one.
    pub(super) client: Option<Arc<Client>>,
    /// That nothing more is put on record, where it is right: an earlier record says it already.
    pub(super) is_on_record: bool,
}

impl Security {
    pub(super) async fn by_password(&self, way: Way, user: &str, clear: Zeroizing<String>) -> Claim {
        let in_force = self.in_force();
        let name = in_force.name(user);
        if let Some(realm) = in_force.directories.get(&name.realm) {
            return self.by_directory(realm, name, clear, way).await;
        }
        let kept = in_force.person(&name).and_then(|person| person.password.clone());
        // A hash that cannot be read is nobody's password.
        let stored = kept.as_deref().and_then(|text| Stored::parse(text).ok());
        let (principal, source) = (name.to_string(), Source::Address(way.from));
        let attempt = Attempt { principal: &principal, source, is_trusted: way.is_trusted, now_ms: way.now.ms };
        // What can be nobody's password is not looked at.
        let checked = match Password::new(clear.clone()) {
            Ok(password) => Some(self.passwords.check(&attempt, password, stored.as_ref()).await),
            Err(_) => None,
        };
        let is_same = |in_force: &InForce| in_force.person(&name).and_then(|person| person.password.clone()) == kept;
        let (proof, wait_ms) = match checked {
            // Somebody has changed it meanwhile.
            Some(Checked::Right { .. }) if !is_same(&self.in_force()) => (Proof::Wrong, 0),
            Some(Checked::Right { .. }) => (Proof::Right, 0),
            Some(Checked::Wrong) | None => (Proof::Wrong, 0),
            Some(Checked::Early { wait_ms }) => (Proof::NotNow, wait_ms),
            Some(Checked::Busy) => (Proof::NotNow, 1_000),
        };
        let is_free = proof == Proof::NotNow || checked.is_none();
        let stale = matches!(checked, Some(Checked::Right { stale: true })).then_some(Stale { clear, kept });
        let guess = (proof == Proof::Right).then_some(Guess { principal, stale });
        Claim { wait_ms, is_free, guess, ..Claim::of(name, Credential::Password(proof), "password") }
    }

    /// What makes the next session is for that alone.
    pub(super) fn by_refresh(&self, place: Place, text: &str, now: Now) -> Claim {
        let no = || Claim::of(Name::default(), Credential::Token(Proof::Wrong), REFRESH);
        if place == Place::Elsewhere {
            return Claim { next: Some("send it to POST /v1/login, which gives a token for this"), ..no() };
        }
        if let Ok(refresh) = self.refreshes.check(text, now.ms) {
            let claim = Claim::of(refresh.value.name.clone(), Credential::Token(Proof::Right), REFRESH);
            let refreshed = Refreshed { id: refresh.id, family: refresh.value.family };
            return Claim { refreshed: Some(refreshed), may_log_in: true, ..claim };
        }
        // What it has come to is ended before it is on record: that somebody is thrown out cannot be held up.
        let Some((name, count)) = self.end_reused(text, now) else { return no() };
        let detail = format!("the refresh token was used before; {count} tokens of the same log-in were ended");
        Claim { name, detail, has_ended: true, ..no() }
    }

    pub(super) fn by_token(&self, from: IpAddr, text: &str, now: Now) -> Claim {
        let Ok(session) = self.sessions.check(text, now.ms) else {
            return Claim::of(Name::default(), Credential::Token(Proof::Wrong), "token");
        };
        let is_on_record = session.value.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&from);
        let claim = Claim::of(session.value.name.clone(), Credential::Token(Proof::Right), "token");
        Claim { held: session.value.held.clone(), session: Some(session), is_on_record, ..claim }
    }

    /// Keeps the password of somebody who was admitted with the costs of today, where it has others; what is in force
    /// then. Nobody waits for it to succeed: it is tried again the next time.
    pub(super) async fn make_anew(&self, in_force: Arc<InForce>, claim: &Claim, source: Source) -> Arc<InForce> {
        let Some(Stale { clear, kept }) = claim.guess.as_ref().and_then(|guess| guess.stale.as_ref()) else {
            return in_force;
        };
        let Ok(password) = Password::new(clear.clone()) else { return in_force };
        let Ok(stored) = self.passwords.hash(source, password).await else { return in_force };
        let _changing = self.changing.lock().await;
        if !Arc::ptr_eq(&in_force, &self.in_force()) {
            // By another one he may not be admitted any more.
            return in_force;
        }
        let Name { realm, user } = claim.name.clone();
        let (before, change) = (kept.clone(), Change { password: Some(stored.to_string()), ..Change::default() });
        let is_changed = self.keeper.with(move |store| {
            let found = store.principal(&realm, &user)?.filter(|found| found.password == before);
            // It is as old as it was.
            found.map_or(Ok(false), |found| store.change_principal(&realm, &user, &change, found.password_ms))
        });
        let new = force::of_store(&self.keeper, Hosted::Known(self.hosts()), (&self.terms, Some(&in_force)));
        if let (Ok(true), Ok(new)) = (is_changed.await, new.await) {
            // Nothing else has changed, so that sessions go on.
            self.swap(new);
        }
        self.in_force()
    }
}

impl Claim {
    pub(super) const fn of(name: Name, credential: Credential, method: &'static str) -> Self {
        Self {
            name,
            credential,
            method,
            wait_ms: 0,
            detail: String::new(),
            is_free: !matches!(credential, Credential::Password(_)),
            guess: None,
            is_named: matches!(credential, Credential::Password(_)),
            next: None,
            held: None,
            may_log_in: false,
            refreshed: None,
            has_ended: false,
            showing: None,
            session: None,
            client: None,
            is_on_record: false,
        }
    }

    /// Nothing was shown.
    pub(super) fn nobody() -> Self {
        Self::of(Name::default(), Credential::None, "none")
    }

    /// What its caller is told.
    pub(super) fn told(&self, refusal: Refusal) -> Refusal {
        let next = self.next.map_or(refusal.next, str::to_owned);
        Refusal { next, ..refusal }
    }

    /// That it is on record from where it was shown.
    pub(super) fn remember(&self, from: IpAddr) {
        if let Some(client) = &self.client {
            client.is_on_record.store(true, Ordering::Relaxed);
        }
        let Some(session) = &self.session else { return };
        let mut seen = session.value.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < SEEN_MAX && !seen.contains(&from) {
            seen.push(from);
        }
    }
}
