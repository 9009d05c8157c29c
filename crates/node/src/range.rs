//! A range of host ids: of users, and of groups by the same numbers.

use std::fmt;
use std::str::FromStr;

/// Ids below are those of root and of users (systemd, shadow-utils); 65,534 is nobody.
const FIRST_MIN: u32 = 0x1_0000;
/// Beyond this they are negative as the C library has them.
const LAST_MAX: u32 = 0x7fff_ffff;
/// As many as one node has at most.
pub(crate) const COUNT_MAX: u32 = 0x1_0000;

/// Ids that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u32,
    count: u32,
}

impl Range {
    /// These ids; `None` when they are none or too many, or could be those of users.
    #[must_use]
    pub const fn new(first: u32, count: u32) -> Option<Self> {
        if count == 0 || count > COUNT_MAX || first < FIRST_MIN || first > LAST_MAX || LAST_MAX - first < count - 1 {
            return None;
        }
        Some(Self { first, count })
    }

    /// The first.
    #[must_use]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The last.
    #[must_use]
    pub const fn last(self) -> u32 {
        self.first + (self.count - 1)
    }

    /// Whether an id is among them.
    #[must_use]
    pub const fn has(self, id: u32) -> bool {
        self.first <= id && id <= self.last()
    }

    /// Whether some of these, whose count may be any, are among them.
    pub(crate) const fn meets(self, first: u32, count: u32) -> bool {
        count > 0 && first <= self.last() && self.first <= first.saturating_add(count - 1)
    }
}

/// As it is written on a command line.
impl serde::Serialize for Range {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.first, self.count)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once(':').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
        numbers
            .and_then(|(first, count)| Self::new(first, count))
            .ok_or_else(|| format!("it is START:COUNT, from {FIRST_MIN} to {LAST_MAX}, and of at most {COUNT_MAX} ids"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_could_be_of_users_or_overflow_are_none() {
        for text in [
            "",
            "1",
            "1000:10",
            "65535:2",
            "100000:0",
            "100000:65537",
            "2147483647:2",
            "4294967295:1",
            "a:b",
            "100000:-1",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
        let range: Range = "100000:65536".parse().unwrap();
        assert_eq!((range.first(), range.last(), range.to_string().as_str()), (100_000, 165_535, "100000:65536"));
        assert!("2147483647:1".parse::<Range>().is_ok());
    }

    #[test]
    fn ranges_meet_where_they_have_an_id_in_common() {
        let range = Range::new(100_000, 10).unwrap();
        for (first, count, meets) in [
            (99_990, 10, false),
            (99_990, 11, true),
            (100_009, 1, true),
            (100_010, 5, false),
            (0, u32::MAX, true),
            (100_000, 0, false),
        ] {
            assert_eq!(range.meets(first, count), meets, "{first}:{count}");
        }
    }
}
