//! Warm engines: what a plan's process is to others, and how the plans of a template and of its engines
//! differ from that of a run.
//!
//! A template is a run whose code forks engines; an engine is a run whose process comes out of a template.
//! Its walls are those of a run; those of a template leave open what engines cannot be born behind.

use std::fmt;

use crate::ground::Ground;
use crate::layer::{Layer, Layers};
use crate::network::Network;
use crate::plan::{Groups, Identity, Mount, Plan};
use crate::request::{ResultDescriptor, Streams};

/// What a plan's process is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It executes the code.
    Run,
    /// It forks engines, whose users are of these ids.
    Template(Ids),
    /// A template forks it.
    Engine,
}

/// Host ids of no one, for one template and its engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    first: u32,
    count: u32,
}

/// The template, and what makes its engines' walls.
const OWN_IDS: u32 = 2;
/// Ids of root and of the users of a machine end below this (systemd, shadow-utils).
const FIRST_MIN: u32 = 0x0001_0000;
/// Negative as the C library has them.
const LAST_MAX: u32 = 0x7fff_ffff;

impl Ids {
    /// These ids; `None` when they are too few, or could be those of users.
    #[must_use]
    pub fn parse(first: u32, count: u32) -> Option<Self> {
        let last = first.checked_add(count)?.checked_sub(1)?;
        (first >= FIRST_MIN && last <= LAST_MAX && count > OWN_IDS).then_some(Self { first, count })
    }

    /// The template's own.
    #[must_use]
    pub const fn template(self) -> u32 {
        self.first
    }

    /// That of the process which makes its engines' walls.
    #[must_use]
    pub const fn maker(self) -> u32 {
        self.first + 1
    }

    /// Those of engines.
    #[must_use]
    pub const fn engines(self) -> std::ops::Range<u32> {
        self.first + OWN_IDS..self.first + self.count
    }

    /// All but the template's own: the first, and how many.
    #[must_use]
    pub const fn others(self) -> (u32, u32) {
        (self.first + 1, self.count - 1)
    }
}

impl std::str::FromStr for Ids {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once(':').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
        numbers.and_then(|(first, count)| Self::parse(first, count)).ok_or("ids of no one are FIRST:COUNT")
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engines = self.engines();
        write!(out, "whose users outside are {} to {}", engines.start, engines.end - 1)
    }
}

/// Why a plan cannot be that of a template or an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWarm {
    /// Only namespaces can be made ahead.
    #[error("warm engines need the tier `namespaces`")]
    Tier,
    /// Only root, or whoever is it in a user namespace, maps one id for each engine.
    #[error("warm engines need ids of their own, which an ordinary user cannot give")]
    Identity,
    /// A template serves many, so it reaches nothing of anyone.
    #[error("a template of warm engines has no inputs, no shares and no network")]
    Given,
    /// A terminal belongs to one.
    #[error("warm engines have no terminal")]
    Terminal,
}

impl Plan {
    /// The plan of a template: its code forks engines for others.
    ///
    /// What goes is what engines could not be born behind. Landlock holds for children too, whose files are
    /// others. A second user namespace would stand between the template and its engines' users. And what it
    /// does not see it cannot reach into: it has no process file system, for its engines are below it.
    ///
    /// # Errors
    /// [`NotWarm`].
    pub fn into_template(self, ids: Ids) -> Result<Self, NotWarm> {
        let plan = self.warm(ids.template())?;
        let mounts = plan.mounts.into_iter().filter(|mount| *mount != Mount::Proc).collect();
        let gone = [Layer::Landlock, Layer::LockedMounts, Layer::Proc];
        Ok(Self {
            role: Role::Template(ids),
            mounts,
            landlock: Vec::new(),
            syscalls: plan.syscalls.of_template(),
            result: ResultDescriptor::Open,
            required: gone.into_iter().fold(plan.required, Layers::without),
            ..plan
        })
    }

    /// The plan of an engine with this user: all the walls of a run, and its process comes out of a template.
    ///
    /// # Errors
    /// [`NotWarm`].
    pub fn into_engine(self, user: u32) -> Result<Self, NotWarm> {
        let plan = self.warm(user)?;
        let required = [Layer::UserNamespace, Layer::PidNamespace, Layer::Proc, Layer::ThrowAwayUser];
        Ok(Self { role: Role::Engine, required: required.into_iter().fold(plan.required, Layers::with), ..plan })
    }

    fn warm(self, user: u32) -> Result<Self, NotWarm> {
        if self.ground != Ground::OwnRoot {
            return Err(NotWarm::Tier);
        }
        if self.identity.groups != Groups::Dropped {
            return Err(NotWarm::Identity);
        }
        if self.streams != Streams::Pipes {
            return Err(NotWarm::Terminal);
        }
        let is_given = |mount: &Mount| {
            matches!(
                mount,
                Mount::CopyOnWrite { .. }
                    | Mount::CopiedTree { .. }
                    | Mount::Copied { .. }
                    | Mount::Shared { .. }
                    | Mount::Table { .. }
            )
        };
        if self.network != Network::None || self.mounts.iter().any(is_given) {
            return Err(NotWarm::Given);
        }
        Ok(Self { identity: Identity { outside_uid: user, outside_gid: user, groups: Groups::Dropped }, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_users_are_refused() {
        assert_eq!(Ids::parse(1000, 65_536), None);
        assert_eq!(Ids::parse(0x7fff_0000, 0x0001_0001), None);
        assert_eq!(Ids::parse(0x7100_0000, 2), None);
        assert_eq!(Ids::parse(u32::MAX, 4), None);
        assert!(Ids::parse(0x7100_0000, 65_536).is_some());
    }

    #[test]
    fn no_two_of_a_template_share_an_id() {
        let ids = Ids::parse(0x7100_0000, 16).unwrap();
        assert!(!ids.engines().contains(&ids.template()));
        assert!(!ids.engines().contains(&ids.maker()));
        assert_ne!(ids.template(), ids.maker());
        assert_eq!(ids.engines().count(), 14);
    }

    #[test]
    fn a_plan_of_an_ordinary_user_is_not_warm() {
        assert_eq!(Plan::fixture().into_engine(0x7100_0002), Err(NotWarm::Identity));
    }
}
