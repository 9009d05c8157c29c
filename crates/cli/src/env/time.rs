//! Times of environments: seconds for programs, how long ago for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long ago, in the largest unit that fits.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> String {
    let passed = now.duration_since(at).map_or(0, |passed| passed.as_secs());
    match passed {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", passed / 60),
        3_600..86_400 => format!("{} h ago", passed / 3_600),
        _ => format!("{} d ago", passed / 86_400),
    }
}

/// How long until then, in days, of a time in seconds since 1970.
pub(crate) fn left(at: u64, now: SystemTime) -> String {
    match at.saturating_sub(seconds(now)).div_ceil(86_400) {
        0 => "over".to_owned(),
        1 => "1 day more".to_owned(),
        days => format!("{days} days more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_is_told_in_the_largest_unit() {
        let at = UNIX_EPOCH + Duration::from_secs(1_000);
        let after = |seconds| ago(at, at + Duration::from_secs(seconds));
        assert_eq!([0, 59, 60, 7_300, 90_000].map(after), ["just now", "just now", "1 min ago", "2 h ago", "1 d ago"]);
        assert_eq!(ago(at, UNIX_EPOCH), "just now");
        assert_eq!(
            [0, 1_000, 1_001, 90_000].map(|until| left(until, at)),
            ["over", "over", "1 day more", "2 days more"]
        );
    }
}
