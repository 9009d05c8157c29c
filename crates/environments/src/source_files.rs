//! Picks the source distribution of a package whose build was allowed: the newest one listed that
//! fits what the request says of it. This is the one choice of a version that is not uv's, since
//! uv would have to run the build to learn what the package needs.

use std::collections::BTreeSet;
use std::str::FromStr;

use pep508_rs::PackageName;
use pep508_rs::pep440_rs::{Version, VersionSpecifiers};

use crate::age::Moment;
use crate::index::Listed;
use crate::lock::Wheel;

/// What a source distribution has to fit.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) specifiers: &'a [VersionSpecifiers],
    /// The only hashes it may have, if the request says so.
    pub(crate) hashes: Option<&'a BTreeSet<String>>,
    pub(crate) python: &'a str,
    /// Nothing newer counts.
    pub(crate) newest: Option<&'a Moment>,
}

/// The newest source distribution that fits, and its version.
pub(crate) fn newest(listed: &[Listed], wanted: &Wanted<'_>) -> Option<(Version, Wheel)> {
    let old = |file: &Listed| wanted.newest.is_none_or(|moment| moment.allows(file.uploaded.as_deref()));
    let fitting = listed.iter().filter(|file| !file.yanked && runs_on(file, wanted.python) && old(file));
    fitting
        .filter_map(|file| {
            let name = file.url.file_name()?;
            let version = version_of(&name, wanted.name)?;
            let allowed = |sha256: &String| wanted.hashes.is_none_or(|allowed| allowed.contains(sha256));
            let source = Wheel {
                url: file.url.as_str().to_owned(),
                file: name,
                sha256: file.sha256.clone().filter(allowed)?,
                size: file.size,
            };
            Some((version, source))
        })
        .filter(|(version, _)| fits(version, wanted.specifiers))
        .max_by(|(one, _), (other, _)| one.cmp(other))
}

fn runs_on(file: &Listed, python: &str) -> bool {
    let Some(text) = &file.requires_python else {
        return true;
    };
    let (specifiers, version) = (VersionSpecifiers::from_str(text), Version::from_str(python));
    matches!((specifiers, version), (Ok(specifiers), Ok(version)) if specifiers.contains(&version))
}

/// Pre-releases count only when a specifier names one.
fn fits(version: &Version, specifiers: &[VersionSpecifiers]) -> bool {
    let asked = specifiers.iter().flat_map(|list| list.iter()).any(|one| one.version().any_prerelease());
    (asked || !version.any_prerelease()) && specifiers.iter().all(|list| list.contains(version))
}

/// The version in `name-version.tar.gz`, if the file is of this package and its name is plain.
fn version_of(file: &str, name: &str) -> Option<Version> {
    let stem = file.strip_suffix(".tar.gz").or_else(|| file.strip_suffix(".zip"))?;
    let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b));
    let (found, version) = stem.rsplit_once('-')?;
    let found = PackageName::from_str(found).ok()?;
    (plain && !file.starts_with('.') && found.as_ref() == name).then(|| Version::from_str(version).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::HttpsUrl;

    fn listed(file: &str, requires_python: Option<&str>, yanked: bool) -> Listed {
        Listed {
            url: HttpsUrl::parse(&format!("https://files.invalid/{file}")).unwrap(),
            sha256: Some("a".repeat(64)),
            size: Some(1),
            requires_python: requires_python.map(str::to_owned),
            yanked,
            uploaded: None,
        }
    }

    #[test]
    fn the_newest_source_that_fits_is_picked() {
        let mut files = vec![
            listed("my_pkg-1.0.tar.gz", None, false),
            listed("my-pkg-1.2.zip", Some(">=3.5"), false),
            listed("my_pkg-1.10.tar.gz", Some(">=3.5"), false),
            listed("my_pkg-1.11.tar.gz", Some(">=4"), false),
            listed("my_pkg-1.12.tar.gz", None, true),
            listed("my_pkg-2.0rc1.tar.gz", None, false),
            listed("my_pkg-9.0-py3-none-any.whl", None, false),
            listed("my_pkg-extra-9.0.tar.gz", None, false),
        ];
        files.push(Listed { sha256: None, ..listed("my_pkg-1.13.tar.gz", None, false) });
        let pick = |text: &str| {
            let specifiers: Vec<_> = VersionSpecifiers::from_str(text).into_iter().collect();
            let wanted =
                Wanted { name: "my-pkg", specifiers: &specifiers, hashes: None, python: "3.11.7", newest: None };
            newest(&files, &wanted).map(|(version, source)| (version.to_string(), source.file))
        };
        assert_eq!(pick("").unwrap(), ("1.10".into(), "my_pkg-1.10.tar.gz".into()));
        assert_eq!(pick("<1.5").unwrap().0, "1.2");
        assert_eq!(pick(">=2.0rc1").unwrap().0, "2.0rc1");
        assert_eq!(pick(">3"), None);
    }

    #[test]
    fn a_source_with_another_hash_than_the_requirement_names_is_not_picked() {
        let mut files = vec![listed("my_pkg-1.0.tar.gz", None, false), listed("my_pkg-1.2.tar.gz", None, false)];
        files[0].sha256 = Some("b".repeat(64));
        let allowed = BTreeSet::from(["b".repeat(64)]);
        let wanted = Wanted { name: "my-pkg", specifiers: &[], hashes: Some(&allowed), python: "3.11.7", newest: None };
        assert_eq!(newest(&files, &wanted).map(|(_, source)| source.file).as_deref(), Some("my_pkg-1.0.tar.gz"));
        let none = BTreeSet::new();
        assert!(newest(&files, &Wanted { hashes: Some(&none), ..wanted }).is_none());
    }
}
