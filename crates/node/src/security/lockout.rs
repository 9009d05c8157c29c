//! Nobody locks himself out: whoever changes something must come in by what would be in force then, the way he came
//! now, and be able to change it back. One question for every change: of configuration, of principals, of the realm
//! that administrators are of.

use stockade_identity::entry::{self, Answer, Credential, Proof, Why};
use stockade_identity::local::Source;
use stockade_identity::privilege::Privilege;
use thiserror::Error;

use super::claim::Claim;
use super::force::InForce;
use super::login::{Remote, facts};
use super::serving::is_offered_alike;
use super::{Caller, Security};

/// What it takes to change the configuration back.
pub(super) const CONFIGURATION: &[&str] = &["configuration.load", "configuration.activate", "configuration.deactivate"];
/// What it takes to change principals back, of those who may.
pub(super) const PEOPLE: &[&str] =
    &["configuration.load", "configuration.activate", "configuration.deactivate", "realm.restore", "user.update"];

/// What a change would take from who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Lost {
    /// What is offered where he asks.
    #[error("you ask over TLS, and what is offered there would be something else: you may not come in again")]
    Offer,
    /// What his realm says of him.
    #[error(
        "your realm would be another one, and what it says of you is known after you have logged in there: you may not come in again"
    )]
    Realm,
    /// His way in.
    #[error("you could not administer the node any more, as you would not be admitted: {0}")]
    Way(Why),
    /// That administrators are of his realm.
    #[error("you could not administer the node any more: you are of another realm")]
    Administration,
    /// A command.
    #[error("you could not administer the node any more: `{0}` would be denied to you")]
    Command(&'static str),
}

impl Lost {
    /// What to do about it, of a change that can be on trial.
    pub(super) const fn next(self) -> &'static str {
        match self {
            Self::Offer | Self::Realm => {
                "put it on trial, with --force --confirm-within=120s, and confirm it over a new connection; or ask at the node's socket"
            }
            Self::Way(_) | Self::Administration => {
                "leave yourself a way in; or try it for a while: --force --confirm-within=120s"
            }
            Self::Command(_) => {
                "leave your own role what it needs; or try it for a while: --force --confirm-within=120s"
            }
        }
    }
}

impl Security {
    /// Looks whether the maker of a change could come in by what would be in force, and still has what he has now of
    /// what it takes to go back.
    pub(super) async fn check_stays(
        &self,
        caller: &Caller,
        new: &InForce,
        needed: &'static [&'static str],
    ) -> Result<(), Lost> {
        let roles = match (&caller.remote, caller.source) {
            (Some(remote), _) => self.roles_over_tls(caller, remote, new).await?,
            (None, Source::User(uid)) => self.roles_at_socket(uid, new),
            (None, Source::Address(_)) => Vec::new(),
        };
        let had = needed.iter().filter(|command| may(&caller.in_force, caller, &caller.roles, command));
        first_lost(had, |command| may(new, caller, &roles, command))
    }

    /// The roles of somebody over the network, if he would be admitted as he was.
    async fn roles_over_tls(&self, caller: &Caller, remote: &Remote, new: &InForce) -> Result<Vec<String>, Lost> {
        if !is_offered_alike(&self.in_force(), new) {
            return Err(Lost::Offer);
        }
        let name = new.name(&caller.principal.0);
        if let Some(held) = &remote.held
            && new.directories.get(&name.realm).is_some()
            && !new.directories.have(&name, held)
        {
            return Err(Lost::Realm);
        }
        let person = new.person(&name);
        // A token came of a password, and is ended by the change.
        let is_by_password = matches!(remote.credential, Credential::Password(_) | Credential::Token(_));
        let has_none = is_by_password && person.is_some_and(|person| person.password.is_none());
        let credential = if has_none { Credential::Password(Proof::Wrong) } else { remote.credential };
        let roles = person.map(|person| person.roles.clone());
        let claim = Claim { held: remote.held.clone(), ..Claim::of(name, credential, "") };
        let now = self.now();
        let is_trusted = new.trusts(&remote.peer, now.ms).await;
        if let Answer::Refuse { why, .. } = entry::decide(&facts(new, &claim, is_trusted, now)) {
            return Err(Lost::Way(why));
        }
        if !caller.is_of_administration(new) {
            return Err(Lost::Administration);
        }
        Ok(claim.held.map(|held| held.roles_of(&new.authoriser)).or(roles).unwrap_or_default())
    }
}

/// Looks whether a caller, by what is in force for his request, can change it.
pub(super) fn check_can_administer(caller: &Caller) -> Result<(), Lost> {
    first_lost(CONFIGURATION.iter(), |command| may(&caller.in_force, caller, &caller.roles, command))
}

fn first_lost<'a>(mut needed: impl Iterator<Item = &'a &'static str>, may: impl Fn(&str) -> bool) -> Result<(), Lost> {
    needed.find(|command| !may(command)).map_or(Ok(()), |lost| Err(Lost::Command(lost)))
}

fn may(in_force: &InForce, caller: &Caller, roles: &[String], command: &str) -> bool {
    let privilege = Privilege::AdminRunCommand;
    in_force.authoriser.decide(&caller.principal.0, roles, privilege, Some(command)).is_permitted()
}
