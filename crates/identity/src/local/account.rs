//! What counts of a principal beside its password.

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Lock and expiry of one principal, as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Whether somebody locked it.
    pub is_locked: bool,
    /// When its password was set, in seconds since 1970.
    pub password_set_s: u64,
    /// Days after which the password is of no use; 0 is never.
    pub password_days: u32,
}

impl Account {
    /// Whether its password is too old at `now_s`, in seconds since 1970. A clock that stands before the day when the
    /// password was set is no reason to believe that it is fresh for longer than its days.
    #[must_use]
    pub fn is_expired(&self, now_s: u64) -> bool {
        let days = u64::from(self.password_days);
        days != 0 && now_s.abs_diff(self.password_set_s) >= days * DAY_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_good_for_its_days_and_without_days_for_ever() {
        let account = |days| Account { is_locked: false, password_set_s: 1_000_000, password_days: days };
        assert!(!account(30).is_expired(1_000_000 + 30 * DAY_S - 1));
        assert!(account(30).is_expired(1_000_000 + 30 * DAY_S));
        assert!(!account(0).is_expired(u64::MAX));
        assert!(account(u32::MAX).is_expired(u64::MAX));
        // A clock that was set back does not make an old password young.
        let set_late = Account { password_set_s: 100 * DAY_S, ..account(30) };
        assert!(set_late.is_expired(0) && !set_late.is_expired(99 * DAY_S));
    }
}
