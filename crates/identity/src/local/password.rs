//! A password as somebody says it.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

/// Longest password: what a person or a secret store has is shorter, and longer ones cost time.
const BYTES_MAX: usize = 1024;

/// A password that somebody claims is his. It shows nowhere, and its memory is wiped when it is done with.
pub struct Password(Zeroizing<String>);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPassword {
    /// Nothing was written. Directories take an empty password for a yes, so it goes nowhere.
    #[error("the password is empty")]
    Empty,
    /// More than a password has.
    #[error("the password is longer than {BYTES_MAX} bytes")]
    TooLong,
}

impl BadPassword {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Empty => "give a password",
            Self::TooLong => "give a shorter one",
        }
    }
}

impl Password {
    /// Takes a text as a password, every character as it is.
    ///
    /// # Errors
    /// [`BadPassword`], when it is empty or too long.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self, BadPassword> {
        let text = text.into();
        match text.len() {
            0 => Err(BadPassword::Empty),
            1..=BYTES_MAX => Ok(Self(text)),
            _ => Err(BadPassword::TooLong),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(…)")
    }
}
