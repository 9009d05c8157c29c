//! A lock that the user gives: `pylock.toml` (PEP 751) or `uv.lock`, untrusted text. Read here into what is
//! to be installed on one interpreter; each file is then held against the index and its hash as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use pep508_rs::pep440_rs::VersionSpecifiers;
use serde::Deserialize;
use toml::Spanned;

use crate::error::{Detail, Error};
use crate::interpreter::Interpreter;
use crate::lock::{LOCK_BYTES_MAX, PACKAGES_MAX, WHEELS_MAX};
use crate::markers::Markers;
use crate::project::at;
use crate::quote::{neutral, quote, quote_path};
use crate::text_file::{open_plain, text_of};
use crate::url::HttpsUrl;
use crate::uv_lock;
use crate::wheel_tags::may_run;

/// What a lock says is to be installed; nothing of it was held against an index yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// How the lock is called in messages.
    pub(crate) shown: String,
    pub(crate) packages: Vec<GivenPackage>,
    pub(crate) requires_python: Option<VersionSpecifiers>,
}

/// One package of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where it stands, for messages.
    pub(crate) place: String,
    pub(crate) wheels: Vec<GivenWheel>,
}

/// One file, as it is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GivenWheel {
    pub(crate) name: Option<String>,
    pub(crate) url: String,
    pub(crate) sha256: Option<String>,
    pub(crate) size: Option<u64>,
}

/// What both forms of lock are read with.
pub(crate) struct Reading<'a> {
    pub(crate) text: &'a str,
    pub(crate) shown: String,
    pub(crate) interpreter: &'a Interpreter,
    pub(crate) markers: Markers,
}

/// Reads a lock for this interpreter; `extras` are optional dependencies of the project it locks.
pub(crate) fn read(path: &Path, extras: &[String], interpreter: &Interpreter) -> Result<Given, Error> {
    let text = text_of(open_plain(path), path, LOCK_BYTES_MAX)?;
    parse(&text, path, extras, interpreter)
}

fn parse(text: &str, path: &Path, extras: &[String], interpreter: &Interpreter) -> Result<Given, Error> {
    let shown = quote_path(path);
    let Some(markers) = Markers::of(interpreter) else {
        return Err(refused(&shown, "the version of the interpreter is not one", "choose another one with --python"));
    };
    let reading = Reading { text, shown, interpreter, markers };
    let given = if path.file_name().is_some_and(|name| name == "uv.lock") {
        uv_lock::read(&reading, extras)?
    } else {
        if let Some(extra) = extras.first() {
            return Err(refused(
                &format!("--extra {}", quote(extra)),
                &format!("{} holds what was chosen when it was written", reading.shown),
                "leave --extra out, and write the lock with the extra",
            ));
        }
        pylock(&reading)?
    };
    if given.packages.len() > PACKAGES_MAX
        || given.packages.iter().map(|package| package.wheels.len()).sum::<usize>() > WHEELS_MAX
    {
        return Err(refused(&given.shown, "it names more than 2,000 packages or 10,000 files", "lock fewer packages"));
    }
    Ok(given)
}

/// The file of PEP 751.
mod wire {
    use super::{BTreeMap, Deserialize, Spanned};

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Lock {
        pub(super) lock_version: String,
        pub(super) requires_python: Option<Spanned<String>>,
        #[serde(default)]
        pub(super) environments: Vec<Spanned<String>>,
        #[serde(default)]
        pub(super) packages: Vec<Spanned<Package>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Package {
        pub(super) name: String,
        pub(super) version: Option<String>,
        pub(super) marker: Option<String>,
        pub(super) requires_python: Option<String>,
        #[serde(default)]
        pub(super) wheels: Vec<Wheel>,
        pub(super) vcs: Option<Spanned<toml::Value>>,
        pub(super) directory: Option<Spanned<toml::Value>>,
        pub(super) archive: Option<Spanned<toml::Value>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Wheel {
        pub(super) name: Option<String>,
        pub(super) url: Option<String>,
        pub(super) path: Option<Spanned<String>>,
        pub(super) size: Option<u64>,
        #[serde(default)]
        pub(super) hashes: BTreeMap<String, String>,
    }
}

fn pylock(reading: &Reading<'_>) -> Result<Given, Error> {
    let lock: wire::Lock = reading.toml()?;
    if lock.lock_version != "1.0" {
        return Err(refused(&reading.shown, "its `lock-version` is not 1.0", "write it with a current uv or pip"));
    }
    reading.check_environments(&lock.environments)?;
    let mut packages = Vec::new();
    for spanned in lock.packages {
        let place = reading.at(&spanned.span());
        let package = spanned.into_inner();
        if let Some(marker) = &package.marker
            && !reading.holds(marker, &package.name, &place)?
        {
            continue;
        }
        let elsewhere = [&package.vcs, &package.directory, &package.archive];
        if let Some(elsewhere) = elsewhere.into_iter().flatten().next() {
            return Err(reading.elsewhere(&package.name, &elsewhere.span()));
        }
        if let Some(path) = package.wheels.iter().find_map(|wheel| wheel.path.as_ref()) {
            return Err(reading.elsewhere(&package.name, &path.span()));
        }
        if let Some(python) = package.requires_python.as_deref().and_then(|text| VersionSpecifiers::from_str(text).ok())
        {
            reading.interpreter.meets(&python, &format!("{place}: package {}", quote(&package.name)))?;
        }
        let wheels = package.wheels.into_iter().map(|wheel| GivenWheel {
            name: wheel.name,
            url: wheel.url.unwrap_or_default(),
            sha256: wheel.hashes.get("sha256").cloned(),
            size: wheel.size,
        });
        let version = package.version.unwrap_or_default();
        packages.push(reading.package(package.name, version, place, wheels.collect())?);
    }
    reading.given(packages, lock.requires_python)
}

impl Reading<'_> {
    pub(crate) fn toml<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        toml::from_str(self.text).map_err(|cause| {
            let place = cause.span().map_or_else(|| self.shown.clone(), |span| self.at(&span));
            refused(&place, &neutral(cause.message()), "write the lock anew with the tool it comes from")
        })
    }

    /// Where something stands.
    pub(crate) fn at(&self, span: &Range<usize>) -> String {
        at(&self.shown, self.text, span)
    }

    pub(crate) fn holds(&self, marker: &str, name: &str, place: &str) -> Result<bool, Error> {
        self.markers.hold(marker).map_err(|why| {
            let next = "write the lock for the groups and extras that are wanted, without markers for them";
            refused(&format!("{place}: package {}", quote(name)), why, next)
        })
    }

    /// Refuses a lock that says for which platforms it is, when this one is none of them.
    pub(crate) fn check_environments(&self, environments: &[Spanned<String>]) -> Result<(), Error> {
        for environment in environments {
            if self.holds(environment.get_ref(), "-", &self.at(&environment.span()))? {
                return Ok(());
            }
        }
        let Some(first) = environments.first() else { return Ok(()) };
        let names: Vec<String> = environments.iter().map(|environment| quote(environment.get_ref())).collect();
        Err(self.of_another_platform(&self.at(&first.span()), &format!("it was written for {}", names.join(", "))))
    }

    /// One package with those of its files that may run here.
    pub(crate) fn package(
        &self,
        name: String,
        version: String,
        place: String,
        wheels: Vec<GivenWheel>,
    ) -> Result<GivenPackage, Error> {
        let place = format!("{place}: package {}", quote(&name));
        if wheels.is_empty() {
            let why = "the lock names no wheel of it, only what would run code to build";
            return Err(refused(
                &place,
                why,
                "lock a version that has a wheel, or ask for it by name with --allow-build",
            ));
        }
        let file = |wheel: &GivenWheel| {
            let of_url = || HttpsUrl::parse(&wheel.url).ok().and_then(|url| url.file_name());
            wheel.name.clone().or_else(of_url).unwrap_or_default()
        };
        let fitting: Vec<GivenWheel> =
            wheels.iter().filter(|wheel| may_run(&file(wheel), self.interpreter)).cloned().collect();
        if fitting.is_empty() && wheels.iter().all(|wheel| file(wheel).ends_with(".whl")) {
            return Err(self.of_another_platform(&place, &format!("none of its {} files runs here", wheels.len())));
        }
        // A file whose name says nothing is refused later, with its reason.
        let wheels = if fitting.is_empty() { wheels } else { fitting };
        Ok(GivenPackage { name, version, place, wheels })
    }

    fn of_another_platform(&self, place: &str, why: &str) -> Error {
        Error::Lock(Detail::new(
            format!("{place} is for another platform or Python"),
            format!("{why}; this is Python {} on {}", self.interpreter.version, self.interpreter.platform),
            "write the lock for this platform too, or choose another interpreter with --python",
        ))
    }

    /// Something that would not come from the index.
    pub(crate) fn elsewhere(&self, name: &str, span: &Range<usize>) -> Error {
        refused(
            &format!("{}: package {}", self.at(span), quote(name)),
            "it comes from a repository, folder, archive or URL and not from the package index",
            "lock a release of it that is on the index",
        )
    }

    pub(crate) fn given(
        &self,
        packages: Vec<GivenPackage>,
        requires_python: Option<Spanned<String>>,
    ) -> Result<Given, Error> {
        let specifiers = requires_python.map(|text| {
            VersionSpecifiers::from_str(text.get_ref()).map_err(|_| {
                refused(&self.at(&text.span()), "its `requires-python` is no version specifier", "write it as `>=3.11`")
            })
        });
        let mut names = BTreeSet::new();
        if let Some(twice) = packages.iter().find(|package| !names.insert(&package.name)) {
            return Err(refused(&twice.place, "the lock names it twice for this platform", "write the lock anew"));
        }
        Ok(Given { shown: self.shown.clone(), packages, requires_python: specifiers.transpose()? })
    }
}

impl Given {
    /// What the key of a request says of the lock.
    pub(crate) fn parts(&self) -> impl Iterator<Item = String> + '_ {
        self.packages.iter().flat_map(|package| {
            let GivenPackage { name, version, .. } = package;
            package.wheels.iter().map(move |wheel| {
                let sha256 = wheel.sha256.as_deref().unwrap_or("-");
                format!("lock {name} {version} {} {sha256}", wheel.url)
            })
        })
    }
}

pub(crate) fn refused(place: &str, why: &str, next: &str) -> Error {
    Error::Lock(Detail::new(format!("{place} is refused"), why, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;

    fn read(text: &str) -> Result<Given, Error> {
        parse(text, Path::new("pylock.toml"), &[], &interpreter())
    }

    const SIX: &str =
        "wheels = [{ url = 'https://files.invalid/six-1-py3-none-any.whl', hashes = { sha256 = 'aa' } }]\n";

    #[test]
    fn what_is_for_this_platform_is_taken() {
        let text = format!(
            "lock-version = '1.0'\nrequires-python = '>=3.10'\nenvironments = [\"sys_platform == 'win32'\", \"sys_platform == 'linux'\"]\n\
             [[packages]]\nname = 'six'\nversion = '1'\nindex = 'https://index.invalid'\n{SIX}\
             [[packages]]\nname = 'colorama'\nversion = '1'\nmarker = \"sys_platform == 'win32'\"\n{SIX}\
             [[packages]]\nname = 'numpy'\nversion = '2'\nwheels = [\n{{ url = 'https://files.invalid/numpy-2-cp311-cp311-win_amd64.whl' }},\n\
             {{ url = 'https://files.invalid/numpy-2-cp311-cp311-manylinux2014_x86_64.whl' }}]\n"
        );
        let given = read(&text).unwrap();
        let names: Vec<(&str, usize)> = given.packages.iter().map(|p| (p.name.as_str(), p.wheels.len())).collect();
        assert_eq!(names, [("six", 1), ("numpy", 1)]);
        assert_eq!(given.requires_python.unwrap().to_string(), ">=3.10");
    }

    #[test]
    fn hostile_and_foreign_locks_are_refused_by_line() {
        let head = "lock-version = '1.0'\n[[packages]]\nname = 'six'\nversion = '1'\n";
        for (text, part, place) in [
            (
                format!("{head}vcs = {{ type = 'git', url = 'https://x.invalid' }}"),
                "repository",
                "line 5: package `six`",
            ),
            (format!("{head}directory = {{ path = '/etc' }}"), "repository", "line 5"),
            (format!("{head}archive = {{ url = 'https://x.invalid/x.zip' }}"), "repository", "line 5"),
            (format!("{head}wheels = [\n{{ path = '/etc/x.whl' }}]"), "repository", "line 6"),
            (format!("{head}sdist = {{ url = 'https://x.invalid/x.tar.gz' }}"), "no wheel", "line 2"),
            (format!("{head}marker = \"'x' in\"\n{SIX}"), "marker", "line 2"),
            (format!("{head}{SIX}[[packages]]\nname = 'six'\nversion = '2'\n{SIX}"), "twice", "line 6"),
            (
                format!("{head}wheels = [{{ url = 'https://files.invalid/six-1-cp39-cp39-win_amd64.whl' }}]"),
                "none of its 1 files runs here; this is Python 3.11.7 on linux_x86_64",
                "line 2: package `six` is for another platform",
            ),
            (
                "lock-version = '1.0'\nenvironments = [\"sys_platform == 'win32'\"]".to_owned(),
                "win32",
                "line 2 is for another",
            ),
            ("lock-version = '2.0'".to_owned(), "1.0", "`pylock.toml`"),
            ("lock-version = '1.0'\n[".to_owned(), "", "line 2"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.why().contains(part), "{text}: {}", error.why());
            assert!(error.to_string().contains(place), "{text}: {error}");
        }
    }
}
