//! Why a text is refused, and where.

use std::fmt;

use stockade_core::grant::BadGrant;
use stockade_core::policy::BadPolicy;
use stockade_core::text;
use thiserror::Error;

use crate::document::{APPENDS_MAX, DEPTH_MAX};
use crate::security::hosts::BadEntry;
use crate::security::provider::BadProviderUrl;
use crate::security::substitutions::BadVariable;

/// A place in a text, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)
    }
}

/// A text that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    place: Option<Place>,
    wrong: Wrong,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// More than any such file needs.
    #[error("it is larger than {}", text::bytes(*.0 as u64))]
    TooLarge(
        /// Most bytes there may be.
        usize,
    ),
    /// Short to write, and longer with every key.
    #[error("with every key written out it is larger than {}", text::bytes(*.0 as u64))]
    LargeWritten(
        /// Most bytes there may be.
        usize,
    ),
    /// A bracket without its other half.
    #[error("`{0}` has no other half")]
    Unbalanced(char),
    /// A field after a field, with nothing between them.
    #[error("`{0}` stands in a value")]
    SecondSeparator(String),
    /// Another file would be read.
    #[error("other files are not included")]
    Include,
    /// Objects and lists within each other.
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Text that grows when it is read.
    #[error("its substitutions could make it too large")]
    TooManySubstitutions,
    /// A list that is put together from too many pieces.
    #[error("it has more than {APPENDS_MAX} times `+=`")]
    TooManyAppends,
    /// No HOCON.
    #[error("{}", text::shown(.0, 300))]
    Syntax(String),
    /// A `${…}` that leads nowhere.
    #[error("{}", text::shown(.0, 300))]
    Substitution(String),
    /// A value that another one would replace unseen.
    #[error("`{}` is given twice, first in {first}", text::shown(.key, 100))]
    Twice {
        /// Which.
        key: String,
        /// Where it was given before.
        first: Place,
    },
    /// The same thing twice in a list.
    #[error("`{}` is in the list twice", text::shown(.0, 100))]
    Repeated(String),
    /// An empty list where a missing one means all.
    #[error("the list is empty, which reads as nothing and would mean everything")]
    Empty,
    /// A key that nobody reads.
    #[error("there is no key `{}` in {within}", text::shown(.key, 100))]
    UnknownKey {
        /// The key.
        key: String,
        /// In what.
        within: &'static str,
        /// The keys there are.
        known: &'static [&'static str],
    },
    /// A key that this version cannot heed.
    #[error("`{0}` is not supported yet")]
    NotYet(&'static str),
    /// A key that must be there.
    #[error("{within} has no key `{key}`")]
    Missing {
        /// The key.
        key: &'static str,
        /// In what.
        within: &'static str,
    },
    /// Another kind of value.
    #[error("`{}` is {found}, where {expected} is expected", text::shown(.key, 100))]
    Kind {
        /// Of which key.
        key: String,
        /// What is expected.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A word that is none of those there are.
    #[error("there is no {what} `{}`", text::shown(.word, 100))]
    Word {
        /// What it should be.
        what: &'static str,
        /// What it is.
        word: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// No amount of a limit.
    #[error("`{}`: {why}", text::shown(.value, 60))]
    Amount {
        /// What is written.
        value: String,
        /// What is expected.
        why: String,
    },
    /// No grant.
    #[error("`{}` is no network grant: {why}", text::shown(.grant, 200))]
    Grant {
        /// What is written.
        grant: String,
        /// Why not.
        why: BadGrant,
    },
    /// A denial that only some would be held to.
    #[error("a denial holds for every run, whatever its libraries")]
    KeptDenial,
    /// An address that HOCON would take for several things.
    #[error("`{}` is written like an address, and has no quotes", text::shown(.0, 60))]
    Unquoted(String),
    /// A type whose objects this version cannot read.
    #[error("files of type `{0}` cannot be read yet")]
    LaterType(&'static str),
    /// A text that is not of the form that its kind has.
    #[error("`{}` is no {what}", text::shown(.value, 100))]
    Form {
        /// What it should be.
        what: &'static str,
        /// What is written.
        value: String,
        /// What such a text looks like.
        rule: &'static str,
    },
    /// A secret, which is not shown.
    #[error("the secret {why}")]
    Secret {
        /// Why not.
        why: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// Two things that cannot both hold, or one that needs another.
    #[error("{why}")]
    Against {
        /// Why not.
        why: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// A variable that cannot be filled.
    #[error("{0}")]
    Variable(BadVariable),
    /// No entry of trusted hosts.
    #[error("`{}` is no trusted host: {why}", text::shown(.entry, 100))]
    Host {
        /// What is written.
        entry: String,
        /// Why not.
        why: BadEntry,
    },
    /// No address of a provider.
    #[error("`{}` is no address of a provider: {why}", text::shown(.url, 300))]
    Provider {
        /// What is written.
        url: String,
        /// Why not.
        why: BadProviderUrl,
    },
    /// Well formed, and no policy.
    #[error("{0}")]
    Policy(BadPolicy),
}

impl Refused {
    pub(crate) const fn new(place: Option<Place>, wrong: Wrong) -> Self {
        Self { place, wrong }
    }

    /// Where, if that can be said.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        self.place
    }

    /// What is wrong.
    #[must_use]
    pub const fn wrong(&self) -> &Wrong {
        &self.wrong
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match &self.wrong {
            Wrong::TooLarge(_) => "leave out what is not needed".to_owned(),
            Wrong::LargeWritten(_) => "make several files of it".to_owned(),
            Wrong::Unbalanced(_) => "write each bracket with its other half".to_owned(),
            Wrong::SecondSeparator(_) => "begin a new line for the next key, or put the value in quotes".to_owned(),
            Wrong::Include => "write what is needed into this file".to_owned(),
            Wrong::TooDeep => "write it flatter".to_owned(),
            Wrong::TooManySubstitutions => "write values out instead of `${…}`".to_owned(),
            Wrong::TooManyAppends => "write the list at once: `[…, …]`".to_owned(),
            Wrong::Syntax(_) => "quote what has other characters than letters and digits".to_owned(),
            Wrong::Substitution(_) => "name a key of this file; variables are not seen".to_owned(),
            Wrong::Twice { .. } => "give it once; `+=` adds to a list".to_owned(),
            Wrong::Repeated(_) => "name it once".to_owned(),
            Wrong::Empty => "leave the key out if everything is meant".to_owned(),
            Wrong::UnknownKey { key, known, .. } => stockade_core::near::next(key, known),
            Wrong::Word { word, known, .. } => stockade_core::near::next(word, known),
            Wrong::NotYet(_) => "leave it out; this version does not restrict that".to_owned(),
            Wrong::Missing { key, .. } => format!("add `{key} = …`"),
            Wrong::Kind { expected, .. } => format!("write {expected}"),
            Wrong::Amount { .. } => "write another value".to_owned(),
            Wrong::Grant { why, .. } => why.next().to_owned(),
            Wrong::KeptDenial => "leave out `requiresTrust` or `deny`".to_owned(),
            Wrong::Unquoted(address) => format!("put it in quotes: \"{}\"", text::shown(address, 60)),
            Wrong::LaterType(_) => "use a file of type `stockade.security`".to_owned(),
            Wrong::Form { what, rule, .. } => format!("write a {what}: {rule}"),
            Wrong::Secret { next, .. } | Wrong::Against { next, .. } => (*next).to_owned(),
            Wrong::Variable(bad) => bad.next(),
            Wrong::Host { why, .. } => why.next(),
            Wrong::Provider { why, .. } => why.next().to_owned(),
            Wrong::Policy(bad) => bad.next(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(out, "{place}: {}", self.wrong),
            None => write!(out, "{}", self.wrong),
        }
    }
}

impl std::error::Error for Refused {}
