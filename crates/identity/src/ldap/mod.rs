//! Principals of a directory (LDAP).
//!
//! How to use it: one [`Directory`] for each realm, made when it is activated. For each log-in [`Directory::log_in`];
//! for somebody who is known by another credential [`Directory::find`], for his groups. What is refused goes into
//! [`crate::entry`] as [`LdapRefusal::proof`] and to the log with its text; the caller is told
//! [`LdapRefusal::outside`]. Failed log-ins are counted and delayed by the caller, before it asks here.
//!
//! Servers are asked in order, from the first, until one answers; a wrong password is an answer. The system principal
//! looks for the one entry, then somebody binds as it on a connection of his own, and groups are looked at only when
//! that was a yes. For a user who is not there the same is done with an entry that is not there. Nothing is said
//! before the server is verified, unless an administrator allowed plaintext; referrals are never followed.
//!
//! `connection.rs` makes TLS itself and hands `ldap3` only what `screen.rs` lets pass. Every time, size and number is
//! bounded. It must never take an empty name or password to a server, nor a list that was cut short for whole.

mod connection;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::expect_used, clippy::panic, reason = "that is how it tells what it found")]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod names;
mod refusal;
mod relay;
mod screen;
mod server;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stockade_config::security::{LdapRealm, Secret};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

pub use refusal::{Failed, LdapRefusal, Trouble};
pub use server::BadDirectory;
pub(crate) use server::said;
pub use tls::{BadTls, Shown, Tls, certificates};

use crate::entry::Proof;
use crate::hosts::Resolve;
use crate::local::Password;
use server::Server;

/// A directory of several servers.
pub struct Directory {
    servers: Vec<Server>,
    resolver: Arc<dyn Resolve>,
    limits: Limits,
    /// Who is being looked for, and who may wait for that.
    places: Semaphore,
    queue: Semaphore,
}

/// What a realm names and does not have in it: whoever activates it reads it.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// TLS by the name of a client profile; without a name, what the machine trusts.
    pub tls: &'a dyn Fn(Option<&str>) -> Option<Tls>,
    /// What is in a file or variable.
    pub secret: &'a dyn Fn(&Secret) -> Option<Zeroizing<String>>,
    /// Who knows addresses.
    pub resolver: &'a Arc<dyn Resolve>,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Log-ins at once: each has two connections at most.
    pub at_once: usize,
    /// How many more wait for that.
    pub waiting: usize,
    /// For one log-in, over all servers.
    pub total: Duration,
    /// A no comes not before this, so that it is the same for a name that is not there and for a wrong password.
    pub refusal: Duration,
    /// How deep groups of groups are followed.
    pub depth_max: usize,
    /// How many groups, in all.
    pub groups_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 16,
            waiting: 64,
            total: Duration::from_secs(30),
            refusal: Duration::from_secs(1),
            depth_max: 8,
            groups_max: 256,
        }
    }
}

/// Somebody whom the directory knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the directory calls him: the principal's name, however it was spelt.
    pub user: String,
    /// The name of his entry.
    pub dn: String,
    /// His groups, which are roles, each once and sorted.
    pub groups: Vec<String>,
}

/// How asking a server ends without somebody.
#[derive(Debug)]
enum Ended {
    /// It answered: no other is asked.
    Refused(LdapRefusal),
    /// It did not.
    Trouble(Trouble),
}

impl From<LdapRefusal> for Ended {
    fn from(refusal: LdapRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Directory {
    /// Prepares; nothing is connected to.
    ///
    /// # Errors
    /// [`BadDirectory`], when a server has no TLS, no secret or no attribute that can be asked for.
    pub fn new(realm: &LdapRealm, given: Given<'_>, limits: Limits) -> Result<Self, BadDirectory> {
        let servers = realm.servers.iter().map(|server| Server::new(server, given)).collect::<Result<_, _>>()?;
        let at_once = limits.at_once.clamp(1, 1_024);
        Ok(Self {
            servers,
            resolver: Arc::clone(given.resolver),
            limits,
            places: Semaphore::new(at_once),
            queue: Semaphore::new(at_once + limits.waiting.min(65_536)),
        })
    }

    /// Whether this is the user's password; then who he is, with his groups.
    ///
    /// # Errors
    /// [`LdapRefusal`]. It is as slow for a user who is not there as for a wrong password, see [`Limits::refusal`].
    pub async fn log_in(&self, user: &str, password: Password) -> Result<Found, LdapRefusal> {
        let not_before = Instant::now() + self.limits.refusal;
        let asked = self.ask(user, Some(&password)).await;
        drop(password);
        if asked.as_ref().is_err_and(|refusal| refusal.proof() == Proof::Wrong) {
            sleep_until(not_before).await;
        }
        asked
    }

    /// Who a user is that proved himself otherwise. A yes here is no proof of anything.
    ///
    /// # Errors
    /// [`LdapRefusal`].
    pub async fn find(&self, user: &str) -> Result<Found, LdapRefusal> {
        self.ask(user, None).await
    }

    async fn ask(&self, user: &str, password: Option<&Password>) -> Result<Found, LdapRefusal> {
        if password.is_some_and(|password| password.as_str().is_empty() || password.as_str().contains('\0')) {
            return Err(LdapRefusal::BadPassword);
        }
        // Nobody can be called that, in any directory.
        if user.is_empty() || user.len() > names::USER_BYTES_MAX {
            return Err(LdapRefusal::Unknown);
        }
        let until = Instant::now() + self.limits.total;
        let _places = self.place(until).await?;
        let mut failed = Vec::new();
        for server in &self.servers {
            let asked = server.ask(self.resolver.as_ref(), user, password, &self.limits);
            let within = until.min(Instant::now() + server.budget());
            let trouble = match timeout_at(within, asked).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(Ended::Refused(refusal))) => return Err(refusal),
                Ok(Err(Ended::Trouble(trouble))) => trouble,
                Err(_) => Trouble::Slow("all of it"),
            };
            failed.push(Failed { server: server.shown(), trouble });
            if Instant::now() >= until {
                break;
            }
        }
        Err(LdapRefusal::Unavailable(failed))
    }

    /// A place among those that wait, then one among those that are looked for.
    async fn place(&self, until: Instant) -> Result<[SemaphorePermit<'_>; 2], LdapRefusal> {
        let waiting = self.queue.try_acquire().map_err(|_| LdapRefusal::Busy)?;
        match timeout_at(until, self.places.acquire()).await {
            Ok(Ok(place)) => Ok([place, waiting]),
            Ok(Err(_)) | Err(_) => Err(LdapRefusal::Busy),
        }
    }
}

impl fmt::Debug for Given<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Given").finish_non_exhaustive()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Directory")
            .field("servers", &self.servers)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
