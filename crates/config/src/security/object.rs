//! A file of the security type that was understood: its identity, its root objects, and what is notable.

use std::fmt;

use stockade_core::text;
use thiserror::Error;

use super::Root;
use crate::refused::Place;

/// Types of files that a node loads; each has a name of ours and one of the existing product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who may do what.
    Security,
    /// What the node itself is; its root objects are not read yet.
    Node,
}

impl Kind {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Security, Self::Node];

    /// Our name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Security => "stockade.security",
            Self::Node => "stockade.node",
        }
    }

    /// The name of the existing product, which means the same.
    #[must_use]
    pub const fn compatible_name(self) -> &'static str {
        match self {
            Self::Security => "com.tibco.ep.dtm.configuration.security",
            Self::Node => "com.tibco.ep.dtm.configuration.node",
        }
    }

    /// The type of either name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name || kind.compatible_name() == name)
    }
}

/// What a file is called by: no two that are loaded have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// `type`.
    pub kind: Kind,
    /// `name`.
    pub name: String,
    /// `version`, which is not compared with others.
    pub version: String,
}

impl Identity {
    /// Whether the other one is a version of the same: of two such, one can be active.
    #[must_use]
    pub fn is_version_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} `{}` version `{}`", self.kind.name(), self.name, self.version)
    }
}

/// A file that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is called by.
    pub identity: Identity,
    /// What is in it, in the order of the text; at most one of each kind.
    pub roots: Vec<Root>,
    /// What whoever loads it should know.
    pub notes: Vec<Noted>,
}

/// A note and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where.
    pub place: Place,
    /// What.
    pub note: Note,
}

impl fmt::Display for Noted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.note)
    }
}

/// What is accepted, and better written in another way.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Note {
    /// A secret that everybody who reads the file reads.
    #[error("`{0}` is in clear text")]
    ClearText(&'static str),
    /// Passwords cross the network as they are.
    #[error("passwords go to the directory `{}` without encryption", text::shown(.0, 100))]
    PlaintextLdap(String),
    /// A zone on an address that needs none.
    #[error("the zone of `{}` is ignored, as the address is not link-local", text::shown(.0, 100))]
    ZoneIgnored(String),
    /// A block that is seldom meant.
    #[error("`{}` trusts a very large block", text::shown(.0, 100))]
    WideBlock(String),
    /// A host stands for a password.
    #[error("with `legacyHostTrust`, who connects from a trusted host may need no password")]
    LegacyHostTrust,
    /// A rule that decides nothing.
    #[error("no node asks for the privilege {0} yet, so a rule about it changes nothing")]
    Unasked(&'static str),
}

impl Note {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::ClearText(_) => "write a hash made by `stockade admin hash secret`, or file:PATH or env:NAME",
            Self::PlaintextLdap(_) => "leave allowPlaintext out, and name a profile if the directory needs one",
            Self::ZoneIgnored(_) => "leave the zone out",
            Self::WideBlock(_) => "name narrower blocks",
            Self::LegacyHostTrust => "leave it out, and let local users use the node's socket",
            Self::Unasked(_) => "do not count on it to keep anybody from anything",
        }
    }
}
