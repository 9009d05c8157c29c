//! A range of versions as OSV has them: events, in the order of PEP 440.

use std::str::FromStr;

use pep508_rs::pep440_rs::Version;

use super::osv::Event;

/// What happens at a version. The order is that of events at one version: what is introduced where
/// something else was fixed is there, and what was affected last, was introduced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Fixed,
    Introduced,
    LastAffected,
}

/// A range that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Whether every version is affected until an event says otherwise.
    from_the_start: bool,
    events: Vec<(Version, What)>,
    /// Nothing at or after the last of these is affected.
    limit: Option<Version>,
}

/// A range, or what cannot be understood of it.
pub(super) fn parse(events: &[Event]) -> Result<Range, String> {
    let mut range = Range { from_the_start: false, events: Vec::new(), limit: None };
    for event in events {
        let fields = [
            (What::Introduced, &event.introduced),
            (What::Fixed, &event.fixed),
            (What::LastAffected, &event.last_affected),
        ];
        if fields.iter().all(|(_, value)| value.is_none()) && event.limit.is_none() {
            return Err("an event without a version".to_owned());
        }
        for (what, value) in fields {
            match value.as_deref() {
                None => {}
                Some("0") if what == What::Introduced => range.from_the_start = true,
                Some(text) => range.events.push((version(text)?, what)),
            }
        }
        if let Some(text) = event.limit.as_deref().filter(|text| *text != "*") {
            range.limit = range.limit.max(Some(version(text)?));
        }
    }
    if events.iter().any(|event| event.limit.as_deref() == Some("*")) {
        range.limit = None;
    }
    if !range.from_the_start && !range.events.iter().any(|(_, what)| *what == What::Introduced) {
        return Err("a range that begins nowhere".to_owned());
    }
    range.events.sort();
    Ok(range)
}

fn version(text: &str) -> Result<Version, String> {
    let version = Version::from_str(text).map_err(|_| format!("`{text}`, which is no version of a Python package"))?;
    Ok(version.without_local())
}

impl Range {
    pub(super) fn holds(&self, version: &Version) -> bool {
        let mut affected = self.from_the_start;
        for (at, what) in &self.events {
            match what {
                What::Introduced if version >= at => affected = true,
                What::Fixed if version >= at => affected = false,
                What::LastAffected if version > at => affected = false,
                What::Introduced | What::Fixed | What::LastAffected => {}
            }
        }
        affected && self.limit.as_ref().is_none_or(|limit| version < limit)
    }

    /// The first version after this one in which it is fixed, if this one is affected.
    pub(super) fn fixed_after(&self, version: &Version) -> Option<&Version> {
        let mut fixed = self.events.iter().filter(|(at, what)| *what == What::Fixed && at > version);
        fixed.next().map(|(at, _)| at).filter(|_| self.holds(version))
    }
}
