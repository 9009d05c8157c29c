//! Objects as they are kept, and which of them is meant.

use sha2::{Digest, Sha256};
use stockade_config::security::{self, Object, Substitutions};
use stockade_store::ObjectId;

use super::{Security, force};
use crate::refusal::{Kind, Refusal};

/// An object of the store.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: ObjectId,
    /// Or why it is not understood any more: one that an earlier version kept, which was less strict.
    object: Result<Object, String>,
    pub(super) text: String,
    pub(super) active: bool,
    pub(super) loaded_ms: i64,
    pub(super) activated_ms: Option<i64>,
}

impl Kept {
    pub(super) fn digest(&self) -> String {
        digest(&self.text)
    }

    /// What it says.
    ///
    /// # Errors
    /// [`Refusal`] for one that can only be removed.
    pub(super) fn understood(&self) -> Result<&Object, Refusal> {
        self.object.as_ref().map_err(|why| {
            let name = stockade_core::text::shown(&self.id.name, 100);
            let next =
                "load what it shall say as another version, and remove this one: stockade admin remove configuration";
            Refusal::new(Kind::Conflict, format!("the object `{name}` is not understood"), why.clone(), next)
        })
    }

    pub(super) const fn state(&self) -> &'static str {
        match (&self.object, self.active) {
            (_, true) => "Active",
            (Ok(_), false) => "Inactive",
            (Err(_), false) => "Unreadable",
        }
    }
}

/// Those that are in force, understood.
pub(super) fn active(kept: &[Kept]) -> Result<Vec<&Object>, Refusal> {
    kept.iter().filter(|one| one.active).map(Kept::understood).collect()
}

/// What tells an object, as a caller says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
}

impl Security {
    /// Every object.
    pub(super) async fn kept(&self) -> Result<Vec<Kept>, Refusal> {
        let objects = self.keeper.with(stockade_store::Store::objects).await?;
        let kept = objects.into_iter().map(|object| Kept {
            object: force::read(&object.text),
            id: object.id,
            text: object.text,
            active: object.active,
            loaded_ms: object.loaded_ms,
            activated_ms: object.activated_ms,
        });
        Ok(kept.collect())
    }
}

/// Parses a text as it was given.
pub(super) fn parse(text: &str, variables: &Substitutions) -> Result<Object, Refusal> {
    security::parse(text, variables)
        .map_err(|bad| Refusal::invalid("the object cannot be understood", bad.to_string(), bad.next()))
}

pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The object that is meant; where no version is named the only one, or the only one for which `likely` says yes.
pub(super) fn choose<'a>(
    kept: &'a [Kept],
    which: Which<'_>,
    likely: impl Fn(&Kept) -> bool,
) -> Result<&'a Kept, Refusal> {
    let kind = kind(which.kind)?;
    let named: Vec<&Kept> = kept.iter().filter(|one| one.id.kind == kind && one.id.name == which.name).collect();
    let found = match which.version {
        Some(version) => named.iter().find(|one| one.id.version == version).copied(),
        None => match named.as_slice() {
            [only] => Some(*only),
            several => {
                let likely: Vec<&&Kept> = several.iter().filter(|one| likely(one)).collect();
                match likely.as_slice() {
                    [only] => Some(**only),
                    [] => None,
                    _ => {
                        let versions: Vec<_> = several.iter().map(|one| one.id.version.as_str()).collect();
                        let why = format!("there are the versions {}", versions.join(", "));
                        return Err(Refusal::invalid("which version is meant?", why, "name one with --version"));
                    }
                }
            }
        },
    };
    found.ok_or_else(|| {
        let name = stockade_core::text::shown(which.name, 100);
        Refusal::new(
            Kind::Missing,
            format!("there is no such object `{name}`"),
            "none of this type, name and version is loaded, or none in that state",
            "see stockade admin display configuration",
        )
    })
}

/// A type by one of its names, or without what is before its last dot.
pub(super) fn kind(word: &str) -> Result<&'static str, Refusal> {
    let known = security::Kind::ALL.into_iter();
    let found = security::Kind::parse(word)
        .or_else(|| known.clone().find(|kind| kind.name().rsplit_once('.').is_some_and(|(_, last)| last == word)));
    found.map(security::Kind::name).ok_or_else(|| {
        let names: Vec<_> = known.map(security::Kind::name).collect();
        let shown = stockade_core::text::shown(word, 100);
        Refusal::invalid(
            format!("there is no type `{shown}`"),
            "no object has it",
            stockade_core::near::next(word, &names),
        )
    })
}
