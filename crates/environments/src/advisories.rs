//! Holds an environment against known vulnerabilities: OSV files in a folder, read here and offline.
//!
//! The files are from outside: bounded in number, size and depth, and shown only after they were made
//! harmless. One that cannot be understood is named, never passed over: what it says might concern us.

mod folder;
mod osv;
mod range;

use std::path::Path;
use std::str::FromStr;

use pep508_rs::pep440_rs::Version;
use serde::Serialize;

use crate::ecosystem::Ecosystem;
use crate::environment::{Environment, Package};
use crate::error::{Detail, Error};
use crate::quote::{neutral, quote_path};

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The digest of the environment.
    pub digest: String,
    /// Packages that were looked at.
    pub packages: usize,
    /// Advisories about packages of its language that were read.
    pub advisories: usize,
    /// Those of them that were withdrawn, and count for nothing.
    pub withdrawn: usize,
    /// What concerns the environment, by package and advisory.
    pub found: Vec<Finding>,
    /// Files that could not be understood, or not wholly.
    pub malformed: Vec<Malformed>,
}

/// An advisory that concerns a package of the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The package.
    pub package: String,
    /// The version that is in the environment.
    pub version: String,
    /// The advisory.
    pub id: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// How bad it is, as the advisory says it; empty when it does not.
    pub severity: String,
    /// The next version without it; empty when there is none.
    pub fixed_in: String,
    /// What it is about.
    pub summary: String,
}

/// A file that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Malformed {
    /// Its path.
    pub file: String,
    /// Why not.
    pub why: String,
}

/// Holds an environment against the advisories of a folder.
///
/// # Errors
/// When the folder cannot be read, or holds no advisory about Python packages.
pub fn audit(environment: &Environment, folder: &Path) -> Result<Audit, Error> {
    let ecosystem = environment.interpreter.ecosystem();
    let mut audit = Audit { digest: environment.digest.clone(), ..against(ecosystem, &environment.packages, folder)? };
    audit.found.sort();
    audit.found.dedup_by(|a, b| (&a.package, &a.id) == (&b.package, &b.id));
    audit.malformed.sort();
    Ok(audit)
}

fn against(ecosystem: Ecosystem, packages: &[Package], folder: &Path) -> Result<Audit, Error> {
    let mut audit = Audit { packages: packages.len(), ..Audit::default() };
    folder::each(folder, &mut |path, content| {
        let advisory = content.and_then(|text| osv::parse(ecosystem, &text));
        match advisory {
            Ok(advisory) if !advisory.is_about_ours() => {}
            Ok(advisory) => {
                audit.advisories += 1;
                if advisory.withdrawn {
                    audit.withdrawn += 1;
                } else {
                    for package in packages {
                        concern(ecosystem, package, &advisory, path, &mut audit);
                    }
                }
            }
            Err(why) => audit.malformed.push(malformed(path, &why)),
        }
    })?;
    if audit.advisories == 0 && audit.malformed.is_empty() {
        return Err(Error::Advisories(Detail::new(
            format!("{} has no advisory about {} packages", quote_path(folder), ecosystem.language()),
            format!(
                "none of its `.json` files, if it has any, is an OSV file that names the ecosystem `{}`",
                osv::name_of(ecosystem)
            ),
            "give the folder that the advisories were unpacked into",
        )));
    }
    Ok(audit)
}

fn malformed(path: &Path, why: &str) -> Malformed {
    Malformed { file: cut(&path.to_string_lossy(), 400), why: cut(why, 300) }
}

/// Adds what an advisory says of a package.
fn concern(ecosystem: Ecosystem, package: &Package, advisory: &osv::Advisory, path: &Path, audit: &mut Audit) {
    let written = osv::comparable(ecosystem, &package.version);
    let (Some(name), Ok(version)) = (osv::normal(ecosystem, &package.name), Version::from_str(&written)) else {
        return;
    };
    // What a local build adds to a version is not in advisories; without it nothing is missed.
    let version = version.without_local();
    for affected in advisory.affected.iter().filter(|affected| affected.is_of(&name)) {
        let verdict = affected.judge(&version, &written);
        if let Some(why) = verdict.unclear {
            audit.malformed.push(malformed(path, &format!("of {name} it says {why}")));
        }
        if verdict.concerned {
            audit.found.push(Finding {
                package: package.name.clone(),
                version: package.version.clone(),
                id: cut(&advisory.id, 80),
                aliases: advisory.aliases.iter().take(20).map(|alias| cut(alias, 80)).collect(),
                severity: cut(&affected.severity.clone().unwrap_or_else(|| advisory.severity.clone()), 120),
                fixed_in: verdict.fixed_in.map_or_else(String::new, |fixed| fixed.to_string()),
                summary: cut(&advisory.summary, 300),
            });
        }
    }
}

/// Bounded, on one line, and harmless to show.
fn cut(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(chars_max).collect();
    let mark = if short.len() < line.len() { "…" } else { "" };
    neutral(&short) + mark
}

#[cfg(test)]
mod tests;
