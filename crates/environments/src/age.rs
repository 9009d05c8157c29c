//! `--min-age`: releases younger than so much are not there. The moment is computed outside, once, and is
//! part of the request's key; it is the start of a day (or of an hour, for ages below a day), so that the
//! same command finds the same environment again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Detail, Error};
use crate::quote::quote;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Longer than package indexes have existed.
const DAYS_MAX: u64 = 36_500;

/// A moment after which nothing was released, as far as a request is concerned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(String);

impl Moment {
    /// The moment that lies `age` before now, such as `7d` or `12h`.
    pub(crate) fn before(age: &str, now: SystemTime) -> Result<Self, Error> {
        let seconds = seconds_of(age).ok_or_else(|| {
            Error::Requirement(Detail::new(
                format!("--min-age: {} is no age", quote(age)),
                "an age is a number of hours, days or weeks",
                "write it as `12h`, `7d` or `2w`",
            ))
        })?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let step = if seconds < DAY { HOUR } else { DAY };
        let at = now.saturating_sub(seconds);
        Ok(Self(stockade_core::text::utc(at - at % step)))
    }

    /// As uv takes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether something that was uploaded then is old enough; without a time nobody can say so.
    pub(crate) fn allows(&self, uploaded: Option<&str>) -> bool {
        // Both are `YYYY-MM-DDThh:mm:ss…Z`; the index may add fractions.
        let plain = |text: &str| text.ends_with('Z').then(|| text.get(..19).map(str::to_owned)).flatten();
        match (uploaded.and_then(plain), plain(&self.0)) {
            (Some(uploaded), Some(moment)) => uploaded <= moment,
            (_, _) => false,
        }
    }
}

fn seconds_of(age: &str) -> Option<u64> {
    let unit = match age.chars().last()? {
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return None,
    };
    let number = age.get(..age.len() - 1).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (0 < seconds && seconds <= DAYS_MAX * DAY).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_age_becomes_the_start_of_a_day_or_hour() {
        // 2026-11-27T23:28:17Z
        let now = at(1_795_822_097);
        for (age, moment) in [
            ("7d", "2026-11-20T00:00:00Z"),
            ("1w", "2026-11-20T00:00:00Z"),
            ("12h", "2026-11-27T11:00:00Z"),
            ("24h", "2026-11-26T00:00:00Z"),
            ("270d", "2026-03-02T00:00:00Z"),
            ("271d", "2026-03-01T00:00:00Z"),
            ("272d", "2026-02-28T00:00:00Z"),
            ("1002d", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(Moment::before(age, now).unwrap().as_str(), moment, "{age}");
        }
        for bad in ["", "7", "d", "0d", "-1d", "1.5d", "7 d", "7y", "99999999999999999999d", "40000d", "٧d"] {
            assert!(Moment::before(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_has_no_time_is_not_old_enough() {
        let moment = Moment::before("7d", at(1_795_822_097)).unwrap();
        assert!(moment.allows(Some("2026-11-19T23:59:59.999999Z")) && moment.allows(Some("2026-11-20T00:00:00Z")));
        for no in [None, Some("2026-11-20T00:00:01Z"), Some("2026-11-19"), Some("2020-01-01T00:00:00+09:00"), Some("")]
        {
            assert!(!moment.allows(no), "{no:?}");
        }
    }
}
