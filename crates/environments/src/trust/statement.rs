//! One signed line of a trust list. Untrusted bytes until the signature was checked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::key::{self, SigningKey};
use super::library::Library;
use crate::digest;
use crate::error::{Detail, Error};
use crate::quote::quote;

/// The longest reason or principal.
const TEXT_CHARS_MAX: usize = 400;
const DAY: u64 = 86_400;
/// Nobody can say today what holds in ten years.
const DAYS_MAX: u64 = 3_660;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub(crate) enum Statement {
    /// Somebody vouches for a library.
    Trust {
        library: Library,
        reason: String,
        by: String,
        /// Seconds since 1970.
        added: u64,
        /// Seconds since 1970; never, if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<u64>,
    },
    /// Somebody takes an entry back.
    Revoke { entry: String, reason: String, by: String, added: u64 },
}

/// A line: a statement as text, exactly as it was signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) statement: String,
    pub(crate) key: String,
    pub(crate) signature: String,
}

impl Line {
    pub(crate) fn sign(statement: &Statement, key: &SigningKey) -> Result<Self, Error> {
        let statement = serde_json::to_string(statement).map_err(|cause| {
            Error::Trust(Detail::new("the statement cannot be written", cause.to_string(), "report this"))
        })?;
        Ok(Self { signature: key.sign(&statement), key: key.public(), statement })
    }

    /// Its statement, if the signature fits and it is well formed.
    pub(crate) fn open(&self) -> Option<Statement> {
        let statement: Statement = serde_json::from_str(&self.statement).ok()?;
        (statement.is_well_formed() && key::fits(&self.statement, &self.key, &self.signature)).then_some(statement)
    }

    /// What the entry is called: the beginning of its hash.
    pub(crate) fn id(&self) -> String {
        let mut id = digest::of_text(&self.statement);
        id.truncate(12);
        id
    }
}

impl Statement {
    fn is_well_formed(&self) -> bool {
        let (reason, by) = match self {
            Self::Trust { library, reason, by, .. } if library.is_well_formed() => (reason, by),
            Self::Revoke { reason, by, .. } => (reason, by),
            Self::Trust { .. } => return false,
        };
        is_text(reason) && is_text(by)
    }
}

/// A line of text that can be shown.
fn is_text(text: &str) -> bool {
    (1..=TEXT_CHARS_MAX).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control)
}

/// How long somebody vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting(pub(crate) Option<u64>);

impl Lasting {
    /// Until it is taken back.
    #[must_use]
    pub const fn forever() -> Self {
        Self(None)
    }

    /// For a number of days, such as `90d`, from now.
    ///
    /// # Errors
    /// When the text is no number of days, or of too many.
    pub fn parse(text: &str, now: SystemTime) -> Result<Self, Error> {
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
        let days = days.filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(|| {
            Error::Trust(Detail::new(
                format!("--expires: {} is no time to vouch for", quote(text)),
                format!("it is a number of days, at most {DAYS_MAX}"),
                "write it as `90d`",
            ))
        })?;
        Ok(Self(Some(seconds(now) + days * DAY)))
    }
}

pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// What is about to be vouched for.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// What.
    pub library: Library,
    /// Why.
    pub reason: String,
    /// Who: `name@realm`.
    pub by: String,
    /// How long.
    pub lasting: Lasting,
}

impl Vouched {
    pub(crate) fn statement(self, now: SystemTime) -> Result<Statement, Error> {
        let Self { library, reason, by, lasting } = self;
        let statement = Statement::Trust { library, reason, by, added: seconds(now), expires: lasting.0 };
        checked(statement)
    }
}

/// A statement that nobody would refuse to read.
pub(crate) fn checked(statement: Statement) -> Result<Statement, Error> {
    if statement.is_well_formed() {
        return Ok(statement);
    }
    Err(Error::Trust(Detail::new(
        "the statement cannot be signed",
        format!("its reason is a line of at most {TEXT_CHARS_MAX} characters, and there must be one"),
        "say with --reason why it is, in a sentence",
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_vouch_for_is_a_number_of_days() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(Lasting::parse("2d", now).unwrap(), Lasting(Some(1_000 + 2 * DAY)));
        for text in ["", "d", "0d", "-1d", "1h", "4000d", "99999999999999999999d"] {
            assert!(Lasting::parse(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn a_changed_statement_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_make(&folder.path().join("key")).unwrap();
        let revoke = |reason: &str| Statement::Revoke {
            entry: "x".to_owned(),
            reason: reason.to_owned(),
            by: "a@b".to_owned(),
            added: 1,
        };
        let line = Line::sign(&revoke("a"), &key).unwrap();
        assert_eq!(line.open(), Some(revoke("a")));
        let other = Line { statement: line.statement.replace("\"a\"", "\"b\""), ..line.clone() };
        assert_eq!(other.open(), None);
        assert_eq!(Line { key: "0".repeat(64), ..line }.open(), None);
        for reason in ["", " ", "a\nb", &"x".repeat(401)] {
            assert!(checked(revoke(reason)).is_err(), "{reason:?}");
            assert_eq!(Line::sign(&revoke(reason), &key).unwrap().open(), None);
        }
    }
}
