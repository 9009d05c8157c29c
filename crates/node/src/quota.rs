//! CPU time of a day: what a principal may use, what it has used, and what a run is charged with.
//!
//! A run is charged with what its supervisor measured. Where nobody measured, as when a supervisor was killed, it is
//! charged with the time it took, so that there is nothing to be had by that. What is executed in a session is charged
//! with its session; what is lost is not charged.

use std::time::Duration;

use stockade_core::limits::Limit;
use stockade_core::text;
use stockade_store::{DAY_MS, Kind, Run};

use crate::asked::Asked;
use crate::refusal::{self, Refusal};
use crate::service::{Node, now_ms};

/// A day's CPU time of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuDay {
    /// What it may use; none is no bound.
    pub(crate) most_ms: Option<i64>,
    pub(crate) used_ms: i64,
    /// When the next day begins, milliseconds since 1970.
    pub(crate) turns_ms: i64,
}

impl CpuDay {
    fn of(most_ms: Option<i64>, used_ms: i64, now_ms: i64) -> Self {
        Self { most_ms, used_ms, turns_ms: (stockade_store::day(now_ms) + 1) * DAY_MS }
    }

    fn check(self, now_ms: i64) -> Result<(), Refusal> {
        let Some(most) = self.most_ms.filter(|most| self.used_ms >= *most) else { return Ok(()) };
        let span = |ms: i64| text::span(u64::try_from(ms).unwrap_or(0));
        let left = u64::try_from(self.turns_ms - now_ms).unwrap_or(0).div_ceil(1_000).max(1);
        let refusal = Refusal::new(
            refusal::Kind::TooMany,
            "your CPU time of today is used up",
            format!("your runs used {} of {} since midnight (UTC)", span(self.used_ms), span(most)),
            format!("try again in {}, after midnight (UTC); GET /v1/me tells what is left", text::span(left * 1_000)),
        );
        Err(refusal.that_holds_for(left))
    }
}

impl Node {
    /// What a principal has used today, and may.
    pub(crate) async fn cpu_day(&self, principal: &str) -> Result<CpuDay, Refusal> {
        let (owner, now) = (principal.to_owned(), now_ms());
        let used = self.keeper.with(move |store| store.cpu_used(&owner, now)).await?;
        Ok(CpuDay::of(self.classes.share(principal).cpu_day_ms, used, now))
    }

    /// Whether a principal may use more today.
    pub(crate) async fn check_cpu(&self, principal: &str) -> Result<(), Refusal> {
        // Who has no bound is not looked up.
        if self.classes.share(principal).cpu_day_ms.is_none() {
            return Ok(());
        }
        let checked = self.cpu_day(principal).await?.check(now_ms());
        if checked.is_err() {
            self.metrics.over_quota();
        }
        checked
    }
}

/// The most that something can use, milliseconds.
pub(crate) fn most_of(kept: &Run) -> i64 {
    let limits = match Asked::parse(kept.kind, &kept.request) {
        Ok(Asked::Run(order)) => order.limits,
        Ok(Asked::Session(opening)) => opening.limits,
        Ok(Asked::Execution(_)) | Err(_) => return 0,
    };
    limits.get(Limit::CpuTime.name()).map_or(0, |ms| i64::try_from(*ms).unwrap_or(i64::MAX))
}

/// What something is charged with that ended.
pub(crate) fn charge(kind: Kind, measured_ms: Option<i64>, took: Duration, most_ms: i64) -> i64 {
    match (kind, measured_ms) {
        (Kind::Execution, _) => 0,
        (Kind::Run | Kind::Session, Some(measured)) => measured,
        (Kind::Run | Kind::Session, None) => i64::try_from(took.as_millis()).unwrap_or(i64::MAX).min(most_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_over_is_told_how_much_until_when() {
        let now = 5 * DAY_MS + DAY_MS - 90_500;
        assert_eq!(CpuDay::of(Some(60_000), 59_999, now).check(now), Ok(()));
        assert_eq!(CpuDay::of(None, i64::MAX, now).check(now), Ok(()));
        let refused = CpuDay::of(Some(30_000), 30_500, now).check(now).unwrap_err();
        assert_eq!((refused.kind, refused.retry_s), (refusal::Kind::TooMany, Some(91)));
        assert!(refused.why.contains("used 30.5 s of 30.0 s"), "{}", refused.why);
        // The clock was set back over midnight after the count was read.
        assert!(CpuDay::of(Some(1), 2, now).check(now + DAY_MS).unwrap_err().retry_s >= Some(1));
    }

    #[test]
    fn what_nobody_measured_is_charged_by_the_clock_up_to_its_limit() {
        let took = Duration::from_secs(5);
        assert_eq!(charge(Kind::Run, Some(7), took, 1), 7);
        assert_eq!(charge(Kind::Run, None, took, 60_000), 5_000);
        assert_eq!(charge(Kind::Session, None, took, 1_000), 1_000);
        assert_eq!(charge(Kind::Execution, None, took, 60_000), 0);
    }
}
