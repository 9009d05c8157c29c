//! Reads what a `pyproject.toml` depends on: `[project].dependencies` and the optional ones that are
//! named. Untrusted text, only read: the project is not built, and its settings of uv choose nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use pep508_rs::pep440_rs::VersionSpecifiers;
use pep508_rs::{ExtraName, PackageName, Requirement as Pep508, VerbatimUrl};
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::error::{Detail, Error};
use crate::quote::{neutral, quote, quote_path};
use crate::requirement::{self, Requirement};
use crate::requirements_file::FILE_BYTES_MAX;
use crate::text_file::{line_at, open_plain, text_of};

/// What a project says it needs.
#[derive(Debug, Default)]
pub(crate) struct Project {
    pub(crate) requirements: Vec<(Requirement, String)>,
    pub(crate) requires_python: Option<VersionSpecifiers>,
}

/// Settings of uv that say nothing about which packages are taken, and where from.
const HARMLESS: [&str; 16] = [
    "build-backend",
    "cache-dir",
    "cache-keys",
    "compile-bytecode",
    "default-groups",
    "dependency-groups",
    "dev-dependencies",
    "environments",
    "link-mode",
    "managed",
    "package",
    "publish-url",
    "python-downloads",
    "python-preference",
    "required-environments",
    "required-version",
];

mod wire {
    use super::{BTreeMap, Deserialize, IgnoredAny, Spanned};

    #[derive(Deserialize)]
    pub(super) struct File {
        pub(super) project: Option<Project>,
        pub(super) tool: Option<Tool>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Project {
        pub(super) name: Option<String>,
        #[serde(default)]
        pub(super) dependencies: Vec<Spanned<String>>,
        #[serde(default)]
        pub(super) optional_dependencies: BTreeMap<String, Vec<Spanned<String>>>,
        pub(super) requires_python: Option<Spanned<String>>,
        #[serde(default)]
        pub(super) dynamic: Vec<Spanned<String>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Tool {
        pub(super) uv: Option<BTreeMap<Spanned<String>, IgnoredAny>>,
    }
}

/// The requirements of a project and of these of its optional dependencies.
pub(crate) fn read(path: &Path, extras: &[String]) -> Result<Project, Error> {
    let text = text_of(open_plain(path), path, FILE_BYTES_MAX)?;
    parse(&text, path, extras)
}

fn parse(text: &str, path: &Path, extras: &[String]) -> Result<Project, Error> {
    let shown = quote_path(path);
    let file: wire::File = toml::from_str(text).map_err(|cause| {
        let place = cause.span().map_or_else(|| shown.clone(), |span| at(&shown, text, &span));
        refused(&place, &neutral(cause.message()), "write the file as the Python packaging guide describes it")
    })?;
    for key in file.tool.and_then(|tool| tool.uv).iter().flat_map(BTreeMap::keys) {
        if !HARMLESS.contains(&key.get_ref().as_str()) {
            let why = format!(
                "`[tool.uv]` may not choose indexes, sources or other settings, and {} does",
                quote(key.get_ref())
            );
            let next = "remove the setting; the administrator sets the index for this machine, for example with \
                        UV_DEFAULT_INDEX";
            return Err(refused(&at(&shown, text, &key.span()), &why, next));
        }
    }
    let Some(project) = file.project else {
        return Err(refused(
            &shown,
            "it has no `[project]` table",
            "name the dependencies in `[project]`, as PEP 621 has it",
        ));
    };
    let computed =
        |field: &&Spanned<String>| matches!(field.get_ref().as_str(), "dependencies" | "optional-dependencies");
    if let Some(field) = project.dynamic.iter().find(computed) {
        let why = format!("its {} are computed by its build, which is not run", quote(field.get_ref()));
        return Err(refused(&at(&shown, text, &field.span()), &why, "write them into the file, or lock them with uv"));
    }
    let mut found = Project::default();
    if let Some(specifiers) = &project.requires_python {
        found.requires_python = Some(VersionSpecifiers::from_str(specifiers.get_ref()).map_err(|_| {
            let why = format!("`requires-python` {} is not a version specifier", quote(specifiers.get_ref()));
            refused(&at(&shown, text, &specifiers.span()), &why, "write it as `>=3.11`")
        })?);
    }
    Reader { text, shown, project, taken: BTreeSet::new() }.take(extras, &mut found)?;
    Ok(found)
}

struct Reader<'a> {
    text: &'a str,
    shown: String,
    project: wire::Project,
    taken: BTreeSet<ExtraName>,
}

impl Reader<'_> {
    fn take(&mut self, extras: &[String], found: &mut Project) -> Result<(), Error> {
        let dependencies = std::mem::take(&mut self.project.dependencies);
        let mut wanted = Vec::new();
        for extra in extras {
            let name = ExtraName::from_str(extra).map_err(|_| self.no_extra(extra))?;
            wanted.push(name);
        }
        self.take_list(&dependencies, &mut wanted, found)?;
        while let Some(extra) = wanted.pop() {
            if self.taken.insert(extra.clone()) {
                let list = self.optional(&extra).ok_or_else(|| self.no_extra(extra.as_ref()))?;
                self.take_list(&list, &mut wanted, found)?;
            }
        }
        Ok(())
    }

    /// Takes a list of dependencies; what the project wants of itself are more optional ones.
    fn take_list(
        &self,
        list: &[Spanned<String>],
        wanted: &mut Vec<ExtraName>,
        found: &mut Project,
    ) -> Result<(), Error> {
        let own = self.project.name.as_deref().and_then(|name| PackageName::from_str(name).ok());
        for dependency in list {
            let origin = at(&self.shown, self.text, &dependency.span());
            let parsed = requirement::parse(dependency.get_ref(), &origin)?;
            if own.as_ref().is_some_and(|own| own.as_ref() == parsed.name) {
                let itself = Pep508::<VerbatimUrl>::from_str(&parsed.text).map(|itself| itself.extras);
                wanted.extend(itself.unwrap_or_default());
            } else {
                found.requirements.push((parsed, origin));
            }
        }
        Ok(())
    }

    fn optional(&self, extra: &ExtraName) -> Option<Vec<Spanned<String>>> {
        let mut all = self.project.optional_dependencies.iter();
        all.find(|(name, _)| ExtraName::from_str(name).is_ok_and(|name| name == *extra)).map(|(_, list)| list.clone())
    }

    fn no_extra(&self, extra: &str) -> Error {
        let names: Vec<String> = self.project.optional_dependencies.keys().map(|name| quote(name)).collect();
        no_extra(&self.shown, extra, &names)
    }
}

/// An extra that a file does not have.
pub(crate) fn no_extra(file: &str, extra: &str, names: &[String]) -> Error {
    let why = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    Error::Requirement(Detail::new(
        format!("{file} has no optional dependencies {}", quote(extra)),
        why,
        "name one of those with --extra, or leave it out",
    ))
}

/// Where something stands: the file and the line.
pub(crate) fn at(shown: &str, text: &str, span: &std::ops::Range<usize>) -> String {
    format!("{shown}, line {}", line_at(text, span))
}

fn refused(place: &str, why: &str, next: &str) -> Error {
    Error::Requirement(Detail::new(format!("{place} is refused"), why, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, extras: &[&str]) -> Result<Vec<String>, Error> {
        let extras: Vec<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
        let project = parse(text, Path::new("pyproject.toml"), &extras)?;
        Ok(project.requirements.into_iter().map(|(requirement, _)| requirement.text).collect())
    }

    #[test]
    fn dependencies_and_named_optional_ones_are_read() {
        let text = "[project]\nname = 'My.Demo'\nrequires-python = '>=3.10'\ndependencies = ['six', 'Pandas>=2 ; os_name == \"posix\"']\n\
                    [project.optional-dependencies]\nmore = ['idna']\nall = ['my-demo[more,More]', 'attrs']\n[tool.uv]\npackage = false\n[tool.other]\nx = 1\n";
        assert_eq!(texts(text, &[]).unwrap(), ["six", "pandas>=2 ; os_name == 'posix'"]);
        assert_eq!(texts(text, &["ALL"]).unwrap().len(), 4);
        let error = texts(text, &["none"]).unwrap_err();
        assert_eq!(error.to_string(), "`pyproject.toml` has no optional dependencies `none`");
        assert_eq!(error.why(), "it has `all`, `more`");
    }

    #[test]
    fn hostile_projects_are_refused_by_line() {
        let project = "[project]\nname = 'x'\n";
        for (text, part, line) in [
            (format!("{project}dependencies = [\n'six',\n'x @ https://files.invalid/x.whl']"), "URL", 5),
            (format!("{project}dependencies = ['x @ file:///etc/passwd']"), "URL", 3),
            (format!("{project}dependencies = ['x @ git+https://host.invalid/x']"), "URL", 3),
            (format!("{project}dependencies = ['-e .']"), "editable", 3),
            (format!("{project}dynamic = ['version', 'dependencies']"), "computed by its build", 3),
            (format!("{project}[[tool.uv.index]]\nurl = 'https://index.invalid'"), "`index`", 3),
            (format!("{project}[tool.uv.sources]\nsix = {{ path = '/tmp' }}"), "`sources`", 3),
            (
                format!("{project}[tool.uv]\npackage = true\nextra-index-url = ['https://x.invalid']"),
                "extra-index-url",
                5,
            ),
            (format!("{project}[tool.uv.pip]\nindex-url = 'https://x.invalid'"), "`pip`", 3),
            (format!("{project}requires-python = 'three'"), "specifier", 3),
            (format!("{project}dependencies = [1]"), "", 3),
            ("[".to_owned(), "", 1),
        ] {
            let error = texts(&text, &[]).unwrap_err();
            let place = format!("`pyproject.toml`, line {line}");
            assert!(error.why().contains(part), "{text}: {}", error.why());
            assert!(error.to_string().starts_with(&place), "{text}: {error}");
        }
        assert!(texts("[tool.poetry]\n", &[]).unwrap_err().why().contains("[project]"));
    }
}
