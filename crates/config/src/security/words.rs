//! The forms of names and of other short texts. They are shown in terminals, stand in command lines and become
//! parts of other names, so each is bounded and has no character that one of those reads as something else.

use stockade_core::text;

use crate::refused::{Refused, Wrong};
use crate::value::Value;

/// Kinds of short texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `name` and `version` of a file.
    Identity,
    /// Of a realm or a profile: what follows the `@` of a principal, so it has none.
    Realm,
    /// `userName`.
    User,
    /// A role; groups of a directory are roles, and their names have blanks and letters of every language.
    Role,
    /// What a privilege is on.
    Resource,
    /// A path of a file.
    Path,
    /// An entry of a directory.
    Entry,
    /// An attribute of such an entry.
    Attribute,
    /// A claim of a token.
    Claim,
    /// What an OpenID provider calls us, or those whom tokens are for.
    Client,
}

impl Word {
    const fn what(self) -> &'static str {
        match self {
            Self::Identity => "name or version of a file",
            Self::Realm => "name of a realm or profile",
            Self::User => "name of a user",
            Self::Role => "name of a role",
            Self::Resource => "resource",
            Self::Path => "path of a file",
            Self::Entry => "name of an entry of a directory",
            Self::Attribute => "name of an attribute",
            Self::Claim => "name of a claim",
            Self::Client => "identifier of a client",
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Identity => "1 to 128 letters, digits, dots, dashes, underscores, `+` and blanks inside",
            Self::Realm => "1 to 64 letters, digits, dots, dashes and underscores",
            Self::User => "1 to 128 letters, digits, dots, dashes, underscores, `+` and `@`",
            Self::Role => "1 to 128 letters, digits and any of ` ._-+@/&()'`, with no blank at its ends",
            Self::Resource => "1 to 512 characters without blanks and control characters",
            Self::Path => "an absolute path without `..`, of at most 1024 characters",
            Self::Entry => "such as ou=people,dc=acme,dc=com, of at most 1024 characters",
            Self::Attribute => "1 to 64 letters, digits, dots and dashes",
            Self::Claim => "1 to 128 letters, digits and any of `._-:/`",
            Self::Client => "1 to 256 visible characters of ASCII",
        }
    }

    const fn longest(self) -> usize {
        match self {
            Self::Realm | Self::Attribute => 64,
            Self::Identity | Self::User | Self::Role | Self::Claim => 128,
            Self::Client => 256,
            Self::Resource => 512,
            Self::Path | Self::Entry => 1024,
        }
    }

    /// Whether a text has this form.
    pub(super) fn fits(self, word: &str) -> bool {
        let plain = |also: &str| word.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter));
        let begins_plain = word.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        let shown = || !word.contains(text::is_harmful) && word.trim() == word;
        let has_form = match self {
            Self::Identity => begins_plain && plain("._-+ ") && shown(),
            Self::Realm => begins_plain && plain("._-"),
            Self::User => begins_plain && plain("._-+@"),
            Self::Role => {
                shown() && word.chars().all(|letter| letter.is_alphanumeric() || " ._-+@/&()'".contains(letter))
            }
            Self::Resource => shown() && !word.contains(char::is_whitespace),
            Self::Path => shown() && word.starts_with('/') && !word.split('/').any(|part| part == ".."),
            Self::Entry => shown() && word.contains('='),
            Self::Attribute => begins_plain && plain(".-"),
            Self::Claim => begins_plain && plain("._-:/"),
            Self::Client => word.bytes().all(|byte| byte.is_ascii_graphic()),
        };
        has_form && !word.is_empty() && word.chars().count() <= self.longest()
    }

    /// Checks a text.
    pub(super) fn check(self, word: &str, value: &Value<'_>) -> Result<String, Refused> {
        if self.fits(word) {
            return Ok(word.to_owned());
        }
        Err(value.refuse(Wrong::Form { what: self.what(), value: word.to_owned(), rule: self.rule() }))
    }

    /// Reads a text.
    pub(super) fn read(self, value: &Value<'_>) -> Result<String, Refused> {
        self.check(value.text("a text in quotes")?, value)
    }
}

/// Whether a role can be called this: whoever takes roles from elsewhere, such as groups of a directory, has to know
/// which of them a mapping could name.
#[must_use]
pub fn is_role(name: &str) -> bool {
    Word::Role.fits(name)
}
