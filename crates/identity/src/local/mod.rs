//! Passwords of principals that the node keeps itself.
//!
//! How to use it: one [`Passwords`] for the process. For each log-in [`Passwords::check`] with what is stored of the
//! principal, or `None` where there is none: that costs the same. What comes out goes into [`crate::entry`] with
//! what [`Account`] says of lock and expiry; never answer by them alone, since only who has the password may learn
//! them. When he is admitted, say so ([`Passwords::went_well`]). Whoever keeps principals keeps the PHC string (`Stored::to_string`), and makes it anew when
//! [`Checked::Right`] says it is stale.
//!
//! Memory is bounded: so many hashes at once, so many that wait, and of one source only a few of them. Waiting is by
//! principal and source (`delay.rs`). Who logged in from somewhere before has a lane of his own there, as trusted hosts have,
//! so a flood of strangers does not keep him out; who is at the machine's local socket needs no password at all.

mod account;
mod bounded;
mod delay;
mod lanes;
mod password;
mod stored;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use account::Account;
pub use delay::Source;
pub use lanes::Limits;
pub use password::{BadPassword, Password};
pub use stored::{BadHash, Costs, Stored};

use delay::Delays;
use lanes::{Lane, Lanes, Place};

/// Checks passwords, a few at once.
pub struct Passwords {
    costs: Costs,
    /// What is checked where nothing is stored.
    nobody: Stored,
    lanes: Lanes,
    delays: Mutex<Delays>,
}

/// Who logs in, from where, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// Who he says he is, in the one form by which his realm compares names: a second spelling would be a second
    /// count of failures.
    pub principal: &'a str,
    /// Where he is.
    pub source: Source,
    /// Whether that is a trusted host: not a credential here, but before strangers when many wait.
    pub is_trusted: bool,
    /// When, by a clock that never goes back, in milliseconds.
    pub now_ms: u64,
}

/// What came of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is the principal's. `stale`: store it anew ([`Passwords::hash`]), its costs are not today's.
    Right {
        /// Whether it should be hashed anew.
        stale: bool,
    },
    /// It is not, or there is no such principal, or he has no password.
    Wrong,
    /// It was not looked at: too many failed before it.
    Early {
        /// How long to wait, in milliseconds.
        wait_ms: u64,
    },
    /// It was not looked at: too many are being looked at.
    Busy,
}

impl Passwords {
    /// Prepares; takes as long as one hash.
    ///
    /// # Errors
    /// [`BadHash`], when the costs are out of bounds or there is no memory for them.
    pub fn new(costs: Costs, limits: Limits) -> Result<Self, BadHash> {
        // Nobody knows this password, and a hash of it is a yes to nobody: see `check`.
        let unknown = Password::new("nobody".to_owned()).map_err(|_| BadHash::Form)?;
        let nobody = costs.hash(&unknown)?;
        Ok(Self { costs, nobody, lanes: Lanes::new(limits), delays: Mutex::new(Delays::new()) })
    }

    /// Checks a password against what is stored of its principal, if there is one. It counts as an attempt that fails,
    /// also when it is right: say [`Self::went_well`] when its principal is admitted. Else whoever is locked, or may not
    /// come from where he is, would learn by the next wait that he has guessed right.
    ///
    /// A future that is dropped counts as failed, and its hash is finished all the same, within the bounds.
    pub async fn check(&self, attempt: &Attempt<'_>, password: Password, stored: Option<&Stored>) -> Checked {
        let Attempt { principal, source, now_ms, .. } = *attempt;
        let lane = if self.is_known(attempt) { Lane::Known } else { Lane::Stranger };
        // A place first: who is turned away for lack of one has not guessed.
        let Some(place) = self.lanes.place(lane, source) else { return Checked::Busy };
        if let Err(wait_ms) = self.delays().begin(principal, source, now_ms) {
            return Checked::Early { wait_ms };
        }
        let (against, is_there) = (stored.unwrap_or(&self.nobody).clone(), stored.is_some());
        let Some(is_right) = self.hashing(place, move || against.is_of(&password) && is_there).await else {
            return Checked::Busy;
        };
        if !is_right {
            return Checked::Wrong;
        }
        Checked::Right { stale: stored.is_some_and(|stored| stored.is_stale(self.costs)) }
    }

    /// Whether a principal comes from a trusted host, or has been admitted from where he is before: a flood of strangers
    /// must not keep him waiting.
    #[must_use]
    pub fn is_known(&self, attempt: &Attempt<'_>) -> bool {
        attempt.is_trusted || self.delays().is_known(attempt.principal, attempt.source)
    }

    /// Begins an attempt that somebody else looks at, such as a directory: it counts as one that fails, and waits as
    /// those here do. Say [`Self::went_well`] when its principal is admitted, and [`Self::was_no_guess`] when nobody has
    /// looked at it.
    ///
    /// # Errors
    /// How long it has to wait, in milliseconds.
    pub fn begin(&self, attempt: &Attempt<'_>) -> Result<(), u64> {
        self.delays().begin(attempt.principal, attempt.source, attempt.now_ms)
    }

    /// Nobody has looked at that attempt, so nobody has learnt anything by it.
    pub fn was_no_guess(&self, attempt: &Attempt<'_>) {
        self.delays().take_back(attempt.principal, attempt.source);
    }

    /// That attempt went well after all, and its principal is admitted.
    pub fn went_well(&self, attempt: &Attempt<'_>) {
        self.delays().well(attempt.principal, attempt.source, attempt.now_ms);
    }

    /// Hashes a new password, for somebody who is logged in; `source` is where he is.
    ///
    /// # Errors
    /// [`BadHash::Resources`], when it cannot be done now.
    pub async fn hash(&self, source: Source, password: Password) -> Result<Stored, BadHash> {
        let costs = self.costs;
        let place = self.lanes.place(Lane::Known, source).ok_or(BadHash::Resources)?;
        self.hashing(place, move || costs.hash(&password)).await.unwrap_or(Err(BadHash::Resources))
    }

    /// Hashes on a thread that may be slow. The place goes with it, so that who hangs up frees nothing early.
    async fn hashing<T: Send + 'static>(&self, place: Place, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = place.turn().await?;
        tokio::task::spawn_blocking(move || turn.run(work)).await.ok()
    }

    fn delays(&self) -> MutexGuard<'_, Delays> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For tests and metrics: how many hashes were made at once, at most.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.lanes.peak()
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Passwords").field("costs", &self.costs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
