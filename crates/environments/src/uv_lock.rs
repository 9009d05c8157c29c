//! Walks a `uv.lock`: from the project at its root along the dependencies whose markers hold here. It
//! resolves nothing: every version stands in the lock. Untrusted text.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep508_rs::ExtraName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::error::Error;
use crate::given::{Given, GivenWheel, Reading, refused};
use crate::project::no_extra;
use crate::quote::quote;

mod wire {
    use super::{BTreeMap, Deserialize, IgnoredAny, Spanned};

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Lock {
        pub(super) version: u32,
        pub(super) requires_python: Option<Spanned<String>>,
        #[serde(default)]
        pub(super) supported_markers: Vec<Spanned<String>>,
        #[serde(default)]
        pub(super) conflicts: Vec<Spanned<IgnoredAny>>,
        #[serde(default, rename = "package")]
        pub(super) packages: Vec<Spanned<Package>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Package {
        pub(super) name: String,
        pub(super) version: Option<String>,
        pub(super) source: Spanned<BTreeMap<String, toml::Value>>,
        #[serde(default)]
        pub(super) dependencies: Vec<Dependency>,
        #[serde(default)]
        pub(super) optional_dependencies: BTreeMap<String, Vec<Dependency>>,
        #[serde(default)]
        pub(super) wheels: Vec<Wheel>,
    }

    #[derive(Clone, Deserialize)]
    pub(super) struct Dependency {
        pub(super) name: String,
        pub(super) version: Option<String>,
        #[serde(default)]
        pub(super) extra: Vec<String>,
        pub(super) marker: Option<String>,
    }

    #[derive(Deserialize)]
    pub(super) struct Wheel {
        pub(super) url: Option<String>,
        pub(super) hash: Option<String>,
        pub(super) size: Option<u64>,
    }
}

/// What the project of the lock needs here, with these of its optional dependencies.
pub(crate) fn read(reading: &Reading<'_>, extras: &[String]) -> Result<Given, Error> {
    let mut lock: wire::Lock = reading.toml()?;
    if lock.version != 1 {
        return Err(refused(&reading.shown, "its `version` is not 1", "write it with a uv that this one understands"));
    }
    if let Some(conflict) = lock.conflicts.first() {
        let why = "it has conflicting extras or groups, which are not supported";
        return Err(refused(
            &reading.at(&conflict.span()),
            why,
            "export what is wanted: uv export --format pylock.toml",
        ));
    }
    reading.check_environments(&lock.supported_markers)?;
    let requires_python = lock.requires_python.take();
    let packages =
        Walk { reading, packages: &lock.packages, reached: BTreeSet::new(), seen: BTreeSet::new() }.walk(extras)?;
    reading.given(packages, requires_python)
}

struct Walk<'a> {
    reading: &'a Reading<'a>,
    packages: &'a [Spanned<wire::Package>],
    /// Indexes of packages that are needed.
    reached: BTreeSet<usize>,
    /// Packages with one of their extras, or none, whose dependencies were followed.
    seen: BTreeSet<(usize, Option<ExtraName>)>,
}

impl Walk<'_> {
    fn walk(mut self, extras: &[String]) -> Result<Vec<crate::given::GivenPackage>, Error> {
        let root = self.root()?;
        let mut open = vec![(root, None)];
        for extra in extras {
            let name = ExtraName::from_str(extra).ok().filter(|name| self.optional(root, name).is_some());
            open.push((root, Some(name.ok_or_else(|| self.no_extra(root, extra))?)));
        }
        while let Some(next) = open.pop() {
            if self.seen.insert(next.clone()) {
                self.follow(&next, &mut open)?;
            }
        }
        self.reached.remove(&root);
        self.reached.iter().filter_map(|index| self.packages.get(*index)).map(|package| self.take(package)).collect()
    }

    /// The one project that the lock is of: what it names its sources by is the folder it lies in.
    fn root(&self) -> Result<usize, Error> {
        let is_here = |package: &wire::Package| {
            let source = package.source.get_ref();
            ["virtual", "editable", "directory"]
                .iter()
                .any(|kind| source.get(*kind).and_then(toml::Value::as_str) == Some("."))
        };
        let mut found = self.packages.iter().enumerate().filter(|(_, package)| is_here(package.get_ref()));
        match (found.next(), found.next()) {
            (Some((root, _)), None) => Ok(root),
            (_, _) => Err(refused(
                &self.reading.shown,
                "it is not the lock of one project in its own folder",
                "export what is wanted: uv export --format pylock.toml",
            )),
        }
    }

    /// Follows the dependencies of a package, or those of one of its extras.
    fn follow(
        &mut self,
        (index, extra): &(usize, Option<ExtraName>),
        open: &mut Vec<(usize, Option<ExtraName>)>,
    ) -> Result<(), Error> {
        self.reached.insert(*index);
        let Some(package) = self.packages.get(*index) else { return Ok(()) };
        let place = self.reading.at(&package.span());
        let dependencies: &[wire::Dependency] = match extra {
            None => &package.get_ref().dependencies,
            // A package may be asked for an extra that it does not have, as pip lets it.
            Some(extra) => self.optional(*index, extra).unwrap_or_default(),
        };
        for dependency in dependencies {
            if let Some(marker) = &dependency.marker
                && !self.reading.holds(marker, &dependency.name, &place)?
            {
                continue;
            }
            let to = self.find(dependency, &place)?;
            open.push((to, None));
            let extras = dependency.extra.iter().filter_map(|extra| ExtraName::from_str(extra).ok());
            open.extend(extras.map(|extra| (to, Some(extra))));
        }
        Ok(())
    }

    fn find(&self, dependency: &wire::Dependency, place: &str) -> Result<usize, Error> {
        let fits = |package: &wire::Package| {
            package.name == dependency.name && (dependency.version.is_none() || package.version == dependency.version)
        };
        let mut found = self.packages.iter().enumerate().filter(|(_, package)| fits(package.get_ref()));
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (_, _) => {
                let why = format!("it needs {}, which the lock does not name, or not once", quote(&dependency.name));
                Err(refused(place, &why, "write the lock anew with uv"))
            }
        }
    }

    fn optional(&self, index: usize, extra: &ExtraName) -> Option<&[wire::Dependency]> {
        let mut all = self.packages.get(index)?.get_ref().optional_dependencies.iter();
        let is_it = |name: &str| ExtraName::from_str(name).is_ok_and(|name| name == *extra);
        all.find(|(name, _)| is_it(name)).map(|(_, list)| list.as_slice())
    }

    fn no_extra(&self, root: usize, extra: &str) -> Error {
        let all = self.packages.get(root).map(|package| &package.get_ref().optional_dependencies);
        let names: Vec<String> = all.into_iter().flat_map(BTreeMap::keys).map(|name| quote(name)).collect();
        no_extra(&self.reading.shown, extra, &names)
    }

    fn take(&self, package: &Spanned<wire::Package>) -> Result<crate::given::GivenPackage, Error> {
        let place = self.reading.at(&package.span());
        let package = package.get_ref();
        if !package.source.get_ref().contains_key("registry") {
            return Err(self.reading.elsewhere(&package.name, &package.source.span()));
        }
        let wheels = package.wheels.iter().map(|wheel| GivenWheel {
            name: None,
            url: wheel.url.clone().unwrap_or_default(),
            sha256: wheel.hash.as_deref().and_then(|hash| hash.strip_prefix("sha256:")).map(str::to_owned),
            size: wheel.size,
        });
        self.reading.package(package.name.clone(), package.version.clone().unwrap_or_default(), place, wheels.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;
    use crate::markers::Markers;

    fn names(text: &str, extras: &[&str]) -> Result<Vec<String>, Error> {
        let interpreter = interpreter();
        let markers = Markers::of(&interpreter).unwrap();
        let reading = Reading { text, shown: "`uv.lock`".into(), interpreter: &interpreter, markers };
        let extras: Vec<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
        Ok(read(&reading, &extras)?.packages.into_iter().map(|p| format!("{} {}", p.name, p.version)).collect())
    }

    fn package(name: &str, version: &str, rest: &str) -> String {
        format!(
            "[[package]]\nname = '{name}'\nversion = '{version}'\nsource = {{ registry = 'https://index.invalid/simple' }}\n\
             wheels = [{{ url = 'https://files.invalid/{name}-{version}-py3-none-any.whl', hash = 'sha256:aa', size = 1 }}]\n{rest}"
        )
    }

    const ROOT: &str = "version = 1\nrevision = 3\nrequires-python = '>=3.10'\n[[package]]\nname = 'demo'\nversion = '0'\nsource = { virtual = '.' }\n";

    #[test]
    fn only_what_is_needed_here_is_reached() {
        let text = format!(
            "{ROOT}dependencies = [{{ name = 'a', extra = ['x', 'no'] }}, {{ name = 'w', marker = \"sys_platform == 'win32'\" }},\n\
             {{ name = 'n', version = '1', marker = \"python_version < '3.11'\" }}, {{ name = 'n', version = '2', marker = \"python_version >= '3.11'\" }}]\n\
             [package.optional-dependencies]\nmore = [{{ name = 'm' }}]\n{}{}{}{}{}{}{}",
            package(
                "a",
                "1",
                "dependencies = [{ name = 'b' }]\n[package.optional-dependencies]\nx = [{ name = 'c' }]\n"
            ),
            package("b", "1", "dependencies = [{ name = 'a' }]\n"),
            package("c", "1", ""),
            package("m", "1", ""),
            package("n", "1", ""),
            package("n", "2", ""),
            package("w", "1", ""),
        );
        assert_eq!(names(&text, &[]).unwrap(), ["a 1", "b 1", "c 1", "n 2"]);
        assert_eq!(names(&text, &["More"]).unwrap(), ["a 1", "b 1", "c 1", "m 1", "n 2"]);
        assert_eq!(names(&text, &["less"]).unwrap_err().why(), "it has `more`");
    }

    #[test]
    fn sources_that_are_no_index_are_refused_by_line() {
        for source in [
            "{ git = 'https://host.invalid/x' }",
            "{ url = 'https://host.invalid/x.whl' }",
            "{ path = '../x.whl' }",
            "{ directory = '../x' }",
            "{ editable = '../x' }",
        ] {
            let text = format!(
                "{ROOT}dependencies = [{{ name = 'x' }}]\n[[package]]\nname = 'x'\nversion = '1'\nsource = {source}\n"
            );
            let error = names(&text, &[]).unwrap_err();
            assert_eq!(error.to_string(), "`uv.lock`, line 12: package `x` is refused", "{source}");
        }
        for (text, part) in [
            (format!("{ROOT}dependencies = [{{ name = 'x' }}]\n"), "needs `x`"),
            ("version = 1\n".to_owned(), "one project"),
            ("version = 2\n".to_owned(), "not 1"),
            (format!("conflicts = [[{{ package = 'x', extra = 'a' }}]]\n{ROOT}"), "conflicting"),
            (format!("supported-markers = [\"sys_platform == 'darwin'\"]\n{ROOT}"), "darwin"),
        ] {
            assert!(names(&text, &[]).unwrap_err().why().contains(part), "{text}");
        }
    }
}
