//! One OSV file, as far as it is about packages of one ecosystem: untrusted bytes.

use std::str::FromStr;

use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;

use super::range;
use crate::ecosystem::Ecosystem;
use crate::r::names::is_r_name;

/// As OSV files call it.
pub(super) const fn name_of(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Pypi => "PyPI",
        Ecosystem::Cran => "CRAN",
    }
}

/// The one spelling of a name, if it is one.
pub(super) fn normal(ecosystem: Ecosystem, name: &str) -> Option<String> {
    match ecosystem {
        Ecosystem::Pypi => PackageName::from_str(name).ok().map(|name| name.to_string()),
        Ecosystem::Cran => is_r_name(name).then(|| name.to_owned()),
    }
}

/// A version as it can be compared: to R a hyphen is a dot, to Python the start of a later release.
pub(super) fn comparable(ecosystem: Ecosystem, version: &str) -> String {
    match ecosystem {
        Ecosystem::Pypi => version.to_owned(),
        Ecosystem::Cran => version.replace('-', "."),
    }
}

/// What is read of an advisory.
#[derive(Debug)]
pub(super) struct Advisory {
    pub(super) id: String,
    pub(super) aliases: Vec<String>,
    pub(super) summary: String,
    pub(super) severity: String,
    pub(super) withdrawn: bool,
    pub(super) affected: Vec<Affected>,
}

/// What it says of one package.
#[derive(Debug)]
pub(super) struct Affected {
    name: String,
    versions: Vec<String>,
    ranges: Vec<Vec<wire::Event>>,
    pub(super) severity: Option<String>,
}

/// What an advisory means for one version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) concerned: bool,
    pub(super) fixed_in: Option<Version>,
    /// What could not be understood of it.
    pub(super) unclear: Option<String>,
}

mod wire {
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Deserialize)]
    pub(super) struct Advisory {
        pub(super) id: String,
        #[serde(default)]
        pub(super) aliases: Option<Vec<String>>,
        #[serde(default)]
        pub(super) summary: Option<String>,
        #[serde(default)]
        pub(super) details: Option<String>,
        #[serde(default)]
        pub(super) withdrawn: Option<String>,
        #[serde(default)]
        pub(super) severity: Option<Vec<Severity>>,
        #[serde(default)]
        pub(super) database_specific: Option<Value>,
        #[serde(default)]
        pub(super) affected: Option<Vec<Affected>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Severity {
        pub(super) score: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Affected {
        #[serde(default)]
        pub(super) package: Option<Package>,
        #[serde(default)]
        pub(super) versions: Option<Vec<String>>,
        #[serde(default)]
        pub(super) ranges: Option<Vec<Range>>,
        #[serde(default)]
        pub(super) severity: Option<Vec<Severity>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Package {
        pub(super) ecosystem: String,
        pub(super) name: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Range {
        #[serde(rename = "type")]
        pub(super) kind: String,
        pub(super) events: Vec<Event>,
    }

    /// One of these has a value.
    #[derive(Debug, Deserialize)]
    pub(in crate::advisories) struct Event {
        #[serde(default)]
        pub(in crate::advisories) introduced: Option<String>,
        #[serde(default)]
        pub(in crate::advisories) fixed: Option<String>,
        #[serde(default)]
        pub(in crate::advisories) last_affected: Option<String>,
        #[serde(default)]
        pub(in crate::advisories) limit: Option<String>,
    }
}

pub(super) use wire::Event;

impl Event {
    fn comparable(self, ecosystem: Ecosystem) -> Self {
        let of = |version: Option<String>| version.map(|version| comparable(ecosystem, &version));
        let Self { introduced, fixed, last_affected, limit } = self;
        Self { introduced: of(introduced), fixed: of(fixed), last_affected: of(last_affected), limit: of(limit) }
    }
}

/// An advisory, or why the text is none.
pub(super) fn parse(ecosystem: Ecosystem, text: &str) -> Result<Advisory, String> {
    let wire: wire::Advisory = serde_json::from_str(text).map_err(|cause| format!("it is no OSV file: {cause}"))?;
    if wire.id.is_empty() {
        return Err("it is no OSV file: its `id` is empty".to_owned());
    }
    let mut affected = Vec::new();
    for one in wire.affected.unwrap_or_default() {
        let Some(package) = one.package.filter(|package| is_of(ecosystem, &package.ecosystem)) else { continue };
        affected.push(Affected {
            name: normal(ecosystem, package.name.trim())
                .ok_or_else(|| "it names a package that cannot be one".to_owned())?,
            versions: one.versions.unwrap_or_default().iter().map(|version| comparable(ecosystem, version)).collect(),
            ranges: ranges(ecosystem, one.ranges.unwrap_or_default()),
            severity: one.severity.and_then(|all| all.into_iter().next()).map(|severity| severity.score),
        });
    }
    let word = wire.database_specific.as_ref().and_then(|about| about.get("severity")?.as_str()).map(str::to_owned);
    let score = wire.severity.unwrap_or_default().into_iter().next().map(|severity| severity.score);
    Ok(Advisory {
        id: wire.id,
        aliases: wire.aliases.unwrap_or_default(),
        summary: wire.summary.or(wire.details).unwrap_or_default(),
        severity: word.or(score).unwrap_or_default(),
        withdrawn: wire.withdrawn.is_some(),
        affected,
    })
}

/// The ranges whose events are versions of packages; others speak of commits.
fn ranges(ecosystem: Ecosystem, ranges: Vec<wire::Range>) -> Vec<Vec<Event>> {
    ranges
        .into_iter()
        .filter(|range| matches!(range.kind.as_str(), "ECOSYSTEM" | "SEMVER"))
        .map(|range| range.events.into_iter().map(|event| event.comparable(ecosystem)).collect())
        .collect()
}

fn is_of(ecosystem: Ecosystem, named: &str) -> bool {
    named.split(':').next() == Some(name_of(ecosystem))
}

impl Advisory {
    pub(super) fn is_about_ours(&self) -> bool {
        !self.affected.is_empty()
    }
}

impl Affected {
    pub(super) fn is_of(&self, name: &str) -> bool {
        self.name == name
    }

    /// Whether it concerns a version, which is also given as it was written.
    pub(super) fn judge(&self, version: &Version, written: &str) -> Verdict {
        let mut verdict = Verdict::default();
        let is_same = |listed: &String| {
            listed == written || Version::from_str(listed).is_ok_and(|listed| listed.without_local() == *version)
        };
        verdict.concerned = self.versions.iter().any(is_same);
        for events in &self.ranges {
            match range::parse(events) {
                Ok(range) => {
                    verdict.concerned |= range.holds(version);
                    let fixed = range.fixed_after(version).cloned();
                    verdict.fixed_in = [verdict.fixed_in, fixed].into_iter().flatten().min();
                }
                Err(why) => verdict.unclear = Some(why),
            }
        }
        verdict
    }
}
