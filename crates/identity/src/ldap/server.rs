//! One server of a directory, and all that is asked of it for one user.

use std::fmt;
use std::time::Duration;

use ldap3::Scope;
use stockade_config::security::{LdapServer, Secret};
use stockade_core::text;
use thiserror::Error;
use zeroize::Zeroizing;

use super::connection::{Connection, Protection};
use super::refusal::{LdapRefusal, Trouble};
use super::{Ended, Found, Given, Limits, groups, names};
use crate::hosts::Resolve;
use crate::local::Password;

const SUCCESS: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const REFERRAL: u32 = 10;
/// What directories say of a user whom they do not let in: wrong, locked, expired, without a password, not there.
const NOT_IN: [u32; 7] = [19, 32, 34, 48, 49, 50, 53];
/// One more than is right, to see that it is not.
const ENTRIES_MAX: i32 = 2;
/// Shortest time for everything that one server is asked, however short the time for one answer is.
const BUDGET_MIN: Duration = Duration::from_secs(10);

/// A server that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the directory server `{}` cannot be used: {why}", text::shown(.server, 300))]
pub struct BadDirectory {
    server: String,
    why: Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Bad {
    #[error("there is no TLS for it")]
    NoTls,
    #[error("its system password is a hash, cannot be read, or is empty")]
    NoSecret,
    #[error("one of systemPrincipal and systemPassword is there without the other")]
    HalfSystem,
    #[error("an attribute has characters that no attribute has")]
    Attribute,
}

impl BadDirectory {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self.why {
            Bad::NoTls => "activate the client profile it names, or one whose authority the machine trusts",
            Bad::NoSecret => "write `systemPassword` as file:PATH or env:NAME, and let the node read it",
            Bad::HalfSystem => "give both, or neither to look for users anonymously",
            Bad::Attribute => "correct `userAttribute` and `roleAttribute`",
        }
    }
}

/// A server as it is asked.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) protection: Protection,
    /// For the connection, and for each answer.
    pub(super) answer: Duration,
    system: Option<(String, Zeroizing<String>)>,
    root: String,
    user_attribute: String,
    role_attribute: String,
}

impl Server {
    pub(super) fn new(server: &LdapServer, given: Given<'_>) -> Result<Self, BadDirectory> {
        let bad = |why| BadDirectory { server: format!("{}:{}", server.host, server.port), why };
        if ![&server.user_attribute, &server.role_attribute].into_iter().all(|name| names::is_attribute(name)) {
            return Err(bad(Bad::Attribute));
        }
        let tls = || (given.tls)(server.profile.as_deref()).ok_or_else(|| bad(Bad::NoTls));
        let protection = match (server.allow_plaintext, server.start_tls) {
            // Whoever asks for both gets the stronger.
            (_, true) => Protection::StartTls(tls()?),
            (true, false) => Protection::Plaintext,
            (false, false) => Protection::Ldaps(tls()?),
        };
        let system = match (&server.system_principal, &server.system_password) {
            (None, None) => None,
            (Some(entry), Some(secret)) if !entry.is_empty() => {
                let secret = said(secret, given).filter(|secret| !secret.is_empty());
                Some((entry.clone(), secret.ok_or_else(|| bad(Bad::NoSecret))?))
            }
            _ => return Err(bad(Bad::HalfSystem)),
        };
        Ok(Self {
            host: server.host.clone(),
            port: server.port,
            protection,
            answer: Duration::from_millis(server.connect_timeout_ms),
            system,
            root: server.principal_root.clone(),
            user_attribute: server.user_attribute.clone(),
            role_attribute: server.role_attribute.clone(),
        })
    }

    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// For all that is asked of it: one that says a little again and again must not have the time of the others.
    pub(super) fn budget(&self) -> Duration {
        (self.answer * 3).max(BUDGET_MIN)
    }

    /// Asks it who the user is and, with a password, whether it is his.
    pub(super) async fn ask(
        &self,
        resolver: &dyn Resolve,
        user: &str,
        password: Option<&Password>,
        limits: &Limits,
    ) -> Result<Found, Ended> {
        let mut system = Connection::open(self, resolver).await?;
        if let Some((entry, secret)) = &self.system {
            match system.bind(entry, secret).await? {
                SUCCESS => {}
                code => return Err(Trouble::SystemPrincipal(code).into()),
            }
        }
        let looked = self.look(&mut system, user).await?;
        if let Some(password) = password {
            // The same work for who is not there, with an entry that is not.
            let entry = match &looked {
                Ok((entry, _)) => entry.clone(),
                Err(_) => names::nobody(&self.user_attribute, user, &self.root),
            };
            let proved = self.prove(resolver, &entry, password).await?;
            // Whoever was not found is not let in, whatever the server says to that bind.
            if looked.is_ok() {
                proved?;
            }
        }
        let (dn, user) = looked?;
        let groups = groups::of(&mut system, &self.role_attribute, &dn, limits).await?;
        Ok(Found { user, dn, groups })
    }

    /// The one entry of the user and what he is called there. Nothing else of it is asked for yet: how long that takes
    /// would tell who is there.
    async fn look(
        &self,
        system: &mut Connection,
        user: &str,
    ) -> Result<Result<(String, String), LdapRefusal>, Trouble> {
        let filter = names::filter(&self.user_attribute, user);
        let answer = system.search(&self.root, Scope::Subtree, &filter, &self.user_attribute, ENTRIES_MAX).await?;
        let referred = || Err(LdapRefusal::Referred { what: "the user".to_owned() });
        match answer.code {
            SUCCESS | SIZE_LIMIT => {}
            REFERRAL => return Ok(referred()),
            code => return Err(Trouble::Search(code)),
        }
        let mut entries = answer.entries.into_iter();
        Ok(match (entries.next(), entries.next()) {
            (Some(_), Some(_)) => Err(LdapRefusal::Several),
            (Some(_), None) if answer.code == SIZE_LIMIT => Err(LdapRefusal::Several),
            (Some((entry, _)), None) if entry.is_empty() => Err(LdapRefusal::Nameless { entry }),
            (Some((entry, values)), None) => match names::known_as(&values, user) {
                Some(name) => Ok((entry, name)),
                None => Err(LdapRefusal::Nameless { entry }),
            },
            (None, _) if answer.is_referred => referred(),
            (None, _) => Err(LdapRefusal::Unknown),
        })
    }

    /// Binds as an entry, on a connection on which nobody did before.
    async fn prove(
        &self,
        resolver: &dyn Resolve,
        entry: &str,
        password: &Password,
    ) -> Result<Result<(), LdapRefusal>, Trouble> {
        let mut own = Connection::open(self, resolver).await?;
        match own.bind(entry, password.as_str()).await? {
            SUCCESS => Ok(Ok(())),
            REFERRAL => Ok(Err(LdapRefusal::Referred { what: "the password".to_owned() })),
            code if NOT_IN.contains(&code) => Ok(Err(LdapRefusal::Wrong { code })),
            code => Err(Trouble::Bind(code)),
        }
    }
}

/// A secret that can be said to a server: no hash can.
pub(crate) fn said(secret: &Secret, given: Given<'_>) -> Option<Zeroizing<String>> {
    match secret {
        Secret::Clear(text) => Some(Zeroizing::new(text.clone())),
        Secret::Hash(_) => None,
        Secret::Encrypted(_) | Secret::File(_) | Secret::Variable(_) => (given.secret)(secret),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}
