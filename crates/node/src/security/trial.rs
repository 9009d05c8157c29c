//! Configuration on trial: in force at once, and given back for the former one when nobody confirms it in time.
//!
//! For changes after which their maker may not be able to administer the node. So whoever confirms is looked at by
//! the configuration that is on trial, and must be able to change it. Time is the machine's since it was started: no
//! one sets that clock, it goes on while the node is down, and with a start of the machine every trial is over.

use std::sync::Arc;
use std::time::Duration;

use stockade_config::security::Object;
use stockade_core::audit::Phase;
use stockade_identity::hosts::Hosts;
use stockade_identity::local::Source;
use stockade_store::{Act, NewTrial, ObjectId, Step, Term, Transition, Trial};

use super::changes::{check_holds_everything, stays};
use super::force::{self, InForce};
use super::lockout::check_can_administer;
use super::objects::Kept;
use super::trail::Recording;
use super::{Caller, Security, Values};
use crate::admin::commands::Command;
use crate::listen::Principal;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// Shortest and longest trial, in seconds.
const SECONDS: std::ops::RangeInclusive<u32> = 10..=3_600;
/// How often it is looked whether one is over; a machine that sleeps does not count for timers.
const LOOK: Duration = Duration::from_secs(1);
/// Who gives back. No principal is called so.
const ITSELF: &str = "the node";
/// What that is, on record.
static GIVE_BACK: Command =
    Command { target: "configuration", command: "give-back", about: "Give back what was in force", parameters: &[] };

impl Security {
    /// The trial that begins with a change, if it is one for a time.
    pub(super) fn new_trial(&self, caller: &Caller, within_ms: Option<u32>) -> Option<NewTrial> {
        let term = Term { boot: self.terms.boot.clone(), began_ms: since_boot_ms(), within_ms: within_ms?.into() };
        Some(NewTrial { command: caller.command.clone().unwrap_or_default(), term })
    }

    /// Refuses what would change what a trial is about, or what it gives back.
    pub(super) async fn check_no_trial(&self) -> Result<(), Refusal> {
        let Some(trial) = self.keeper.with(stockade_store::Store::trial).await? else { return Ok(()) };
        Err(Refusal::new(
            Kind::Conflict,
            "nothing is changed now",
            self.told(&trial),
            "confirm it first, or wait until it is over: stockade admin confirm configuration",
        ))
    }

    /// What is to be known of a trial that goes on, in a line.
    pub(super) async fn trial_note(&self) -> Result<Option<String>, Refusal> {
        Ok(self.keeper.with(stockade_store::Store::trial).await?.map(|trial| self.told(&trial)))
    }

    fn told(&self, trial: &Trial) -> String {
        let left = self
            .left_ms(&trial.term)
            .map_or_else(|| "at once".to_owned(), |left_ms| format!("in {} s", left_ms.div_ceil(1_000)));
        format!("what `{}` has changed is on trial, and given back {left} if nobody confirms it", trial.principal)
    }

    /// Keeps what is on trial in force.
    pub(super) async fn confirm(&self, caller: &Caller) -> Result<(), Refusal> {
        let _changing = self.changing.lock().await;
        let Some(trial) = self.keeper.with(stockade_store::Store::trial).await? else {
            return Err(Refusal::new(
                Kind::Conflict,
                "there is nothing to confirm",
                "nothing is on trial: it was confirmed, or the former configuration is in force again",
                "see stockade admin display configuration",
            ));
        };
        if self.left_ms(&trial.term).is_none() {
            return Err(Refusal::new(
                Kind::Conflict,
                "it is too late to confirm",
                "the trial is over, and what was in force before is given back",
                "activate it again, with more time",
            ));
        }
        // A request that was admitted by what was in force before proves nothing.
        self.check_current(caller)?;
        check_holds_everything(caller)?;
        check_can_administer(caller).map_err(|lost| stays(lost, lost.next()))?;
        self.keeper.with(stockade_store::Store::confirm).await?;
        tracing::info!(principal = caller.principal.0, "the configuration on trial stays");
        Ok(())
    }

    /// Gives back what is on trial when its time is over, for ever.
    pub(crate) async fn follow_trial(&self) {
        loop {
            match self.look_after_trial().await {
                Ok(None) => self.trial_begins.notified().await,
                Ok(Some(left)) => tokio::time::sleep(left.min(LOOK)).await,
                Err(refusal) => {
                    tracing::error!(what = %refusal.what, why = %refusal.why, "what is on trial cannot be given back yet");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// How long a trial still goes on. One whose time is over is ended, and what was before is in force again.
    pub(super) async fn look_after_trial(&self) -> Result<Option<Duration>, Refusal> {
        let _changing = self.changing.lock().await;
        let Some(trial) = self.keeper.with(stockade_store::Store::trial).await? else { return Ok(None) };
        if let Some(left_ms) = self.left_ms(&trial.term) {
            return Ok(Some(Duration::from_millis(left_ms)));
        }
        self.give_back(&trial).await?;
        Ok(None)
    }

    async fn give_back(&self, trial: &Trial) -> Result<(), Refusal> {
        let kept = self.kept().await?;
        let steps = steps(&kept, &trial.former);
        let former = kept.iter().filter(|one| trial.former.contains(&one.id)).map(|one| one.understood().cloned());
        let former = former.collect::<Result<Vec<_>, _>>()?;
        let hosts = self.former_hosts(&former).await;
        let people = self.keeper.with(stockade_store::Store::principals).await?;
        // One that cannot be asked any more is no reason to keep what nobody confirmed.
        let before = self.in_force();
        let new = InForce::compile(former, people, hosts)
            .map_err(|why| Refusal::failed("the former configuration cannot be read", why))?
            .connected(&self.terms, Some(&before))
            .administered_by(before.administration.clone());
        let values = Values::new();
        let recording = Recording::new(&GIVE_BACK, &values);
        let itself = self.itself(recording.id.clone());
        let reason = format!("nobody confirmed what `{}` had forced by {}", trial.principal, trial.command);
        self.record_command(&itself, &recording, (Phase::Intent, &reason)).await?;
        for (id, digest, what) in &steps {
            let states = if *what == Transition::Activate { ("inactive", "active") } else { ("active", "inactive") };
            self.record_transition(&itself, states, id, digest).await?;
        }
        let act = Act { principal: ITSELF, now_ms: now_ms() };
        self.keeper.with(move |store| store.give_back(&steps, act)).await?;
        self.put_in_force(new);
        tracing::warn!(forced_by = trial.principal, "nobody confirmed the configuration: the former one is in force");
        self.record_outcome(&itself, &recording, Ok(())).await
    }

    /// Names that do not resolve are not trusted until they do: nothing stands in the way back.
    async fn former_hosts(&self, former: &[Object]) -> Arc<Hosts> {
        let (before, former) = (self.in_force(), force::hosts(former.iter()));
        if force::hosts(before.objects.iter()) == former {
            return self.hosts();
        }
        Arc::new(Hosts::resume(&former, Arc::clone(self.terms.resolver()), self.now_ms()).await.0)
    }

    /// Who does what nobody asks for at the moment. It holds no role.
    fn itself(&self, command: String) -> Caller {
        Caller {
            principal: Principal(ITSELF.to_owned()),
            source: Source::User(rustix::process::geteuid().as_raw()),
            remote: None,
            roles: Vec::new(),
            command: Some(command),
            in_force: self.in_force(),
        }
    }

    fn left_ms(&self, term: &Term) -> Option<u64> {
        left_ms(term, &self.terms.boot, since_boot_ms())
    }
}

/// The way from what is in force to what was.
fn steps(kept: &[Kept], former: &[ObjectId]) -> Vec<Step> {
    let changed = kept.iter().filter(|one| one.active != former.contains(&one.id));
    let step = |one: &Kept| {
        let what = if one.active { Transition::Deactivate } else { Transition::Activate };
        (one.id.clone(), one.digest(), what)
    };
    changed.map(step).collect()
}

/// How long a trial still goes on; none when it is over, or when nobody can tell.
fn left_ms(term: &Term, boot: &str, now_ms: i64) -> Option<u64> {
    let passed_ms = now_ms.checked_sub(term.began_ms).filter(|passed_ms| *passed_ms >= 0)?;
    let left_ms = u64::try_from(term.within_ms.checked_sub(passed_ms)?).ok()?;
    (term.boot == boot && left_ms > 0).then_some(left_ms)
}

/// Milliseconds since the machine was started, those that it slept too.
fn since_boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

/// For how long a change is on trial, milliseconds; none where it is to stay.
pub(super) fn within_ms(force: bool, within: Option<&str>) -> Result<Option<u32>, Refusal> {
    let refused = |why: String| {
        let next = "write both or neither: --force --confirm-within=120s";
        Refusal::invalid("the configuration stays as it is", why, next)
    };
    match (force, within) {
        (false, None) => Ok(None),
        (true, None) => {
            Err(refused("what is forced is on trial until somebody confirms it, for a time that is named".to_owned()))
        }
        (false, Some(_)) => Err(refused("only what is forced is on trial".to_owned())),
        (true, Some(text)) => {
            let seconds = seconds(text).filter(|seconds| SECONDS.contains(seconds));
            let bounds = format!("`confirm-within` is a time from {} s to 1 h, such as 120s", SECONDS.start());
            seconds.map(|seconds| Some(seconds * 1_000)).ok_or_else(|| refused(bounds))
        }
    }
}

fn seconds(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let is_plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u32>().ok().filter(|_| is_plain)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_over_after_its_time_and_with_a_start_of_the_machine() {
        let term = Term { boot: "b".to_owned(), began_ms: 1_000, within_ms: 500 };
        assert_eq!(left_ms(&term, "b", 1_000), Some(500));
        assert_eq!(left_ms(&term, "b", 1_499), Some(1));
        for (boot, now_ms) in [("b", 1_500), ("b", i64::MAX), ("b", 999), ("c", 1_000), ("", 1_000), ("b", i64::MIN)] {
            assert_eq!(left_ms(&term, boot, now_ms), None, "{boot} {now_ms}");
        }
    }

    #[test]
    fn only_what_is_forced_is_on_trial_and_for_a_time_that_makes_sense() {
        assert_eq!(within_ms(false, None).unwrap(), None);
        for (text, seconds) in [("120s", 120), ("120", 120), ("2m", 120), ("10s", 10), ("1h", 3_600)] {
            assert_eq!(within_ms(true, Some(text)).unwrap(), Some(seconds * 1_000), "{text}");
        }
        for text in ["", "s", "9s", "2h", "3601s", "-10s", "+20s", "1d", "99999999999h", "12 s", "1s2s", "ä"] {
            assert!(within_ms(true, Some(text)).is_err(), "{text}");
        }
        assert!(within_ms(true, None).is_err() && within_ms(false, Some("120s")).is_err());
    }
}
