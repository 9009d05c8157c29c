//! What a statement is about: packages by name, versions, origin and hashes; or a whole environment.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use pep508_rs::pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{PackageName, Requirement, VerbatimUrl, VersionOrUrl};
use serde::{Deserialize, Serialize};

use crate::diff::{LockedPackage, locked};
use crate::digest::{self, is_sha256};
use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::{Detail, Error};
use crate::quote::quote;

/// Most hashes of one statement: a package has some dozens of files.
const HASHES_MAX: usize = 500;
/// The longest name or version.
const TEXT_BYTES_MAX: usize = 200;

/// The versions a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Versions {
    /// This one, as the lock writes it.
    Exactly(String),
    /// Those of a range (PEP 440).
    Within(String),
    /// Any that has one of the hashes.
    OfHashes,
}

/// What somebody vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "of")]
pub enum Library {
    /// Files of a package.
    Package(Package),
    /// An environment, whatever its lock says.
    Environment {
        /// Its digest.
        digest: String,
    },
}

/// Files of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Package {
    pub(crate) ecosystem: Ecosystem,
    /// The normalised name.
    pub(crate) name: String,
    pub(crate) versions: Versions,
    /// The host that its files come from; any, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    /// What its files hash to; anything, if there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) sha256: BTreeSet<String>,
}

impl Library {
    /// Parses what an administrator writes: `pandas>=2,<3`, `pypi:/pandas@2.2.3`, `cran:/dplyr@1.1.4`,
    /// `env:/DIGEST`, `file:/path/of.whl`. URIs of packages need `hashes`; a file is hashed here.
    ///
    /// # Errors
    /// When the text is none of these, a hash is missing or none, or the file cannot be read.
    pub fn parse(text: &str, hashes: &[String], index: Option<&str>) -> Result<Self, Error> {
        let refused = |why: &str, next: &str| refused(text, why, next);
        let sha256 = hashes
            .iter()
            .map(|hash| hash.strip_prefix("sha256:").unwrap_or(hash).to_ascii_lowercase())
            .collect::<BTreeSet<_>>();
        if !sha256.iter().all(|hash| is_sha256(hash)) || sha256.len() > HASHES_MAX {
            return Err(refused(
                "a hash of it is no SHA-256",
                "write 64 hexadecimal digits, as `env show --json` does",
            ));
        }
        if let Some(digest) = text.strip_prefix("env:/") {
            if !is_sha256(digest) || !sha256.is_empty() || index.is_some() {
                return Err(refused("an environment has a whole digest, and nothing besides", "write env:/DIGEST"));
            }
            return Ok(Self::Environment { digest: digest.to_owned() });
        }
        if let Some(path) = text.strip_prefix("file:") {
            return of_file(text, Path::new(path), sha256, index);
        }
        for ecosystem in [Ecosystem::Pypi, Ecosystem::Cran] {
            let Some(rest) = text.strip_prefix(ecosystem.name()).and_then(|rest| rest.strip_prefix(":/")) else {
                continue;
            };
            let Some((name, version)) = rest.split_once('@') else {
                return Err(refused("it names no version", "write it as in `pypi:/NAME@VERSION`"));
            };
            if sha256.is_empty() {
                let next = "add --hash sha256:…, or name it with --environment, whose lock has them";
                return Err(refused("a URI is trusted with its hashes only", next));
            }
            return Self::exactly(ecosystem, name, version, sha256, index)
                .ok_or_else(|| refused("its name or version is none", "write it as in `pypi:/NAME@VERSION`"));
        }
        range(text, sha256, index)
    }

    /// Whether it goes by this name: `pandas`, or all of `pypi:/pandas@2.2.3`.
    #[must_use]
    pub fn is_called(&self, text: &str) -> bool {
        let by_name = |package: &Package| match package.ecosystem {
            Ecosystem::Pypi => PackageName::from_str(text).is_ok_and(|name| name.as_ref() == package.name),
            Ecosystem::Cran => text == package.name,
        };
        matches!(self, Self::Package(package) if by_name(package)) || self.to_string() == text
    }

    /// The only hashes its files may have; any, if there are none.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        let hashes = match self {
            Self::Package(package) => Some(&package.sha256),
            Self::Environment { .. } => None,
        };
        hashes.into_iter().flatten().map(String::as_str)
    }

    /// The only host its files may come from.
    #[must_use]
    pub fn index(&self) -> Option<&str> {
        match self {
            Self::Package(package) => package.index.as_deref(),
            Self::Environment { .. } => None,
        }
    }

    /// A package of exactly this version with these files.
    pub(crate) fn exactly(
        ecosystem: Ecosystem,
        name: &str,
        version: &str,
        sha256: BTreeSet<String>,
        index: Option<&str>,
    ) -> Option<Self> {
        let name = match ecosystem {
            Ecosystem::Pypi => PackageName::from_str(name).ok()?.to_string(),
            Ecosystem::Cran => Some(name).filter(|name| is_plain(name))?.to_owned(),
        };
        let version = match ecosystem {
            Ecosystem::Pypi => Version::from_str(version).ok()?.to_string(),
            Ecosystem::Cran => Some(version).filter(|version| is_plain(version))?.to_owned(),
        };
        let (versions, index) = (Versions::Exactly(version), index.map(str::to_ascii_lowercase));
        Some(Self::Package(Package { ecosystem, name, versions, index, sha256 }))
    }

    /// Whether it is what can be written down; what comes from a file may be anything.
    pub(crate) fn is_well_formed(&self) -> bool {
        match self {
            Self::Environment { digest } => is_sha256(digest),
            Self::Package(package) => {
                let bounded = |text: &String| text.len() <= TEXT_BYTES_MAX;
                let versions = match &package.versions {
                    Versions::Exactly(version) => bounded(version) && !package.sha256.is_empty(),
                    Versions::Within(range) => bounded(range) && VersionSpecifiers::from_str(range).is_ok(),
                    Versions::OfHashes => !package.sha256.is_empty(),
                };
                versions
                    && bounded(&package.name)
                    && package.index.as_ref().is_none_or(bounded)
                    && package.sha256.len() <= HASHES_MAX
                    && package.sha256.iter().all(|hash| is_sha256(hash))
            }
        }
    }
}

impl Package {
    /// Whether the version has a local part, as rebuilds of others have (PEP 440), which the range does not name.
    pub(crate) fn is_local(&self, version: &str) -> bool {
        let names_it = matches!(&self.versions, Versions::Within(range) if range.contains('+'));
        !names_it && version.contains('+')
    }

    /// Whether the version is meant.
    pub(crate) fn has_version(&self, version: &str) -> bool {
        match &self.versions {
            Versions::Exactly(exactly) => exactly == version,
            Versions::OfHashes => true,
            // Both were parsed when they were written down; what does not parse any more is not meant.
            Versions::Within(range) => match (VersionSpecifiers::from_str(range), Version::from_str(version)) {
                (Ok(range), Ok(version)) => range.contains(&version),
                (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
            },
        }
    }
}

/// What to vouch for to cover an environment as it is: each package with its version and hashes; an environment
/// that came in an archive, or has a package that was built from source, as a whole, since its lock does not prove all.
///
/// # Errors
/// When its lock is damaged.
pub fn libraries_of(environment: &Environment) -> Result<Vec<Library>, Error> {
    let packages = locked(environment)?;
    let built = |package: &LockedPackage| package.from_source && package.ecosystem == Ecosystem::Pypi;
    if environment.imported || packages.iter().any(built) {
        return Ok(vec![Library::Environment { digest: environment.digest.clone() }]);
    }
    let library = |package: LockedPackage| {
        let sha256 = package.files.into_iter().map(|file| file.sha256).collect();
        Library::exactly(package.ecosystem, &package.name, &package.version, sha256, None)
    };
    Ok(packages.into_iter().filter_map(library).collect())
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// A wheel by its file: its name says package and version, its bytes the hash.
fn of_file(text: &str, path: &Path, given: BTreeSet<String>, index: Option<&str>) -> Result<Library, Error> {
    let refused = |why: &str| refused(text, why, "name a wheel as in `file:/path/name-1.0-py3-none-any.whl`");
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = file.strip_suffix(".whl").unwrap_or_default().split('-');
    let (Some(name), Some(version)) = (parts.next().filter(|name| !name.is_empty()), parts.next()) else {
        return Err(refused("its name is not that of a wheel"));
    };
    let (sha256, _) = digest::of_file(path).map_err(|error| refused(&crate::error::said(&error)))?;
    if !given.is_empty() && !given.contains(&sha256) {
        return Err(refused("its hash is another one than --hash says"));
    }
    Library::exactly(Ecosystem::Pypi, name, version, BTreeSet::from([sha256]), index)
        .ok_or_else(|| refused("its name is not that of a wheel"))
}

/// A requirement as Python's tools write it.
fn range(text: &str, sha256: BTreeSet<String>, index: Option<&str>) -> Result<Library, Error> {
    let next = "write it as in `NAME>=1.2,<2`, `pypi:/NAME@1.2`, `cran:/NAME@1.2`, `env:/DIGEST` or `file:/PATH`";
    let refused = |why: &str| refused(text, why, next);
    let parsed = Requirement::<VerbatimUrl>::from_str(text).map_err(|_| refused("it names no library"))?;
    if !parsed.extras.is_empty() || !parsed.marker.is_true() {
        return Err(refused("extras and markers say nothing about the files of a library"));
    }
    let versions = match parsed.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(range)) if !range.is_empty() => Versions::Within(range.to_string()),
        Some(VersionOrUrl::VersionSpecifier(_)) | None if !sha256.is_empty() => Versions::OfHashes,
        Some(VersionOrUrl::VersionSpecifier(_)) | None => {
            return Err(refused("every version that there will ever be would be trusted"));
        }
        Some(VersionOrUrl::Url(_)) => return Err(refused("a URL is no version")),
    };
    let (name, index) = (parsed.name.to_string(), index.map(str::to_ascii_lowercase));
    Ok(Library::Package(Package { ecosystem: Ecosystem::Pypi, name, versions, index, sha256 }))
}

fn refused(text: &str, why: &str, next: &str) -> Error {
    Error::Trust(Detail::new(format!("the library {} cannot be trusted", quote(text)), why, next))
}

/// As it is written on the command line.
impl fmt::Display for Library {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { digest } => write!(out, "env:/{digest}"),
            Self::Package(Package { ecosystem, name, versions, .. }) => match versions {
                Versions::Exactly(version) => write!(out, "{}:/{name}@{version}", ecosystem.name()),
                Versions::Within(range) => write!(out, "{name}{}", range.replace(' ', "")),
                Versions::OfHashes => write!(out, "{name}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";

    #[test]
    fn what_an_administrator_writes_is_understood() {
        let hash = [format!("sha256:{HASH}")];
        for (text, hashes, shown) in [
            ("Pandas >=2, <3", &[] as &[String], "pandas>=2,<3"),
            ("pandas==2.2.3", &[], "pandas==2.2.3"),
            ("pandas", &hash, "pandas"),
            ("pypi:/Pandas@2.2.3", &hash, "pypi:/pandas@2.2.3"),
            ("cran:/data.table@1.15-4", &hash, "cran:/data.table@1.15-4"),
            (&format!("env:/{HASH}"), &[], &format!("env:/{HASH}")),
        ] {
            let library = Library::parse(text, hashes, None).unwrap();
            assert_eq!(library.to_string(), shown);
            assert!(library.is_well_formed());
            let again: Library = serde_json::from_str(&serde_json::to_string(&library).unwrap()).unwrap();
            assert_eq!(again, library);
        }
    }

    #[test]
    fn what_would_trust_more_than_is_meant_is_refused() {
        let hash = [HASH.to_owned()];
        for (text, hashes, why) in [
            ("pandas", &[] as &[String], "every version"),
            ("pypi:/pandas@2.2.3", &[], "with its hashes only"),
            ("cran:/dplyr@1.1", &[], "with its hashes only"),
            ("pypi:/pandas", &hash, "no version"),
            ("pypi:/pandas@latest", &hash, "name or version"),
            ("cran:/a b@1", &hash, "name or version"),
            ("pandas[all]>=2", &[], "extras"),
            ("pandas>=2; python_version>'3'", &[], "markers"),
            ("pandas @ https://files.example/x.whl", &[], "URL"),
            ("pandas>=2", &["abc".to_owned()], "no SHA-256"),
            ("env:/abc", &[], "whole digest"),
            ("*", &[], "names no library"),
            ("", &[], "names no library"),
            ("file:/nowhere/x.txt", &[], "not that of a wheel"),
            ("file:/nowhere/x-1.0-py3-none-any.whl", &[], "no such file"),
        ] {
            let error = Library::parse(text, hashes, None).unwrap_err();
            assert!(error.why().contains(why), "{text}: {}", error.why());
        }
    }

    #[test]
    fn a_wheel_is_named_by_its_file_and_hashed_here() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("Left_Pad-1.0-py3-none-any.whl");
        std::fs::write(&wheel, b"x").unwrap();
        let text = format!("file:{}", wheel.display());
        let Library::Package(package) = Library::parse(&text, &[], None).unwrap() else { panic!("no package") };
        assert_eq!((package.name.as_str(), package.sha256.len()), ("left-pad", 1));
        assert!(package.has_version("1.0") && !package.has_version("1.1"));
        assert!(Library::parse(&text, &[HASH.to_owned()], None).unwrap_err().why().contains("another one"));
    }
}
