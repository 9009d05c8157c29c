//! What is asked for: requirements from the command line, from files and from a script, parsed
//! and canonical. The key of a request names its cached answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use pep508_rs::pep440_rs::VersionSpecifiers;
use pep508_rs::{Requirement as Pep508, VerbatimUrl, VersionOrUrl};
use sha2::{Digest, Sha256};

use crate::age::Moment;
use crate::digest::hex;
use crate::error::Error;
use crate::given::{self, Given};
use crate::interpreter::Interpreter;
use crate::project;
use crate::requirement::{self, Requirement};
use crate::requirements_file::Line;
use crate::{requirements_file, script, spk, with_list};

const REQUIREMENTS_MAX: usize = 1000;
/// Raised when the meaning of a request or the layout of an environment changes.
const FORMAT: &str = "stockade-environment 2";

/// A set of requirements, all of them accepted.
#[derive(Debug, Clone, Default)]
pub struct Request {
    texts: BTreeSet<String>,
    names: BTreeSet<String>,
    hashes: BTreeMap<String, BTreeSet<String>>,
    python: Vec<(VersionSpecifiers, String)>,
    builds: BTreeSet<String>,
    newest: Option<Moment>,
    given: Option<Given>,
    remarks: Vec<String>,
}

impl Request {
    /// A request for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the requirements of one `--with`, such as `pandas>=2,<3,matplotlib`.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn with(&mut self, list: &str) -> Result<(), Error> {
        for text in with_list::split(list) {
            let parsed = requirement::parse(text, "--with")?;
            self.add(parsed, "--with")?;
        }
        Ok(())
    }

    /// Adds one requirement that a source distribution names for its build.
    pub(crate) fn build_tool(&mut self, text: &str, project: &str) -> Result<(), Error> {
        let origin = format!("the build of {}", crate::quote::quote(project));
        let parsed = requirement::parse(text, &origin)?;
        self.add(parsed, &origin)
    }

    /// Adds what a file asks for, told apart by its name: `pyproject.toml`, `uv.lock`, `pylock.toml` or
    /// `pylock.NAME.toml`, a Spotfire package (`.spk`), else a requirement file. Locks are read for `interpreter`, and `extras` are
    /// optional dependencies of a project or of the one that a `uv.lock` locks.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it is refused.
    pub fn file(&mut self, path: &Path, extras: &[String], interpreter: &Interpreter) -> Result<(), Error> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "pyproject.toml" {
            return self.project(path, extras);
        }
        if name == "uv.lock" || (name.starts_with("pylock.") && name.ends_with(".toml")) {
            return self.lock(path, extras, interpreter);
        }
        if let Some(extra) = extras.first() {
            let file = crate::quote::quote_path(path);
            return Err(project::no_extra(&file, extra, &[]));
        }
        if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("spk")) {
            return self.spotfire_package(path, &interpreter.version);
        }
        self.requirements_file(path)
    }

    fn project(&mut self, path: &Path, extras: &[String]) -> Result<(), Error> {
        let project = project::read(path, extras)?;
        for (requirement, origin) in project.requirements {
            self.add(requirement, &origin)?;
        }
        let origin = crate::quote::quote_path(path);
        self.python.extend(project.requires_python.map(|specifiers| (specifiers, origin)));
        Ok(())
    }

    fn lock(&mut self, path: &Path, extras: &[String], interpreter: &Interpreter) -> Result<(), Error> {
        let given = given::read(path, extras, interpreter)?;
        if let Some(other) = &self.given {
            return Err(given::refused(
                &given.shown,
                &format!("{} is a whole lock already", other.shown),
                "give one lock",
            ));
        }
        self.python.extend(given.requires_python.clone().map(|specifiers| (specifiers, given.shown.clone())));
        self.given = Some(given);
        Ok(())
    }

    /// Ignores what was released less than `age` before now, such as `7d`.
    ///
    /// # Errors
    /// When `age` is no age.
    pub fn min_age(&mut self, age: &str, now: SystemTime) -> Result<(), Error> {
        self.newest = Some(Moment::before(age, now)?);
        Ok(())
    }

    /// The same bound on releases as that of another request.
    pub(crate) fn no_newer_than(mut self, other: &Self) -> Self {
        self.newest.clone_from(&other.newest);
        self
    }

    /// Adds the requirements of a requirement file and of the files it names inside its folder.
    ///
    /// # Errors
    /// When the file cannot be read or one of its lines is refused.
    pub(crate) fn requirements_file(&mut self, path: &Path) -> Result<(), Error> {
        requirements_file::read(path)?.into_iter().try_for_each(|line| self.line(line))
    }

    fn line(&mut self, line: Line) -> Result<(), Error> {
        let name = line.requirement.name.clone();
        self.add(line.requirement, &line.origin)?;
        if !line.hashes.is_empty() {
            self.hashes.entry(name).or_default().extend(line.hashes);
        }
        Ok(())
    }

    fn spotfire_package(&mut self, path: &Path, python: &str) -> Result<(), Error> {
        let library = spk::read(path, python)?;
        self.remarks.push(library.remark);
        library.lines.into_iter().try_for_each(|line| self.line(line))
    }

    /// What the caller should know of what is asked for.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Adds what the PEP 723 block of a script asks for; says whether it has one.
    ///
    /// # Errors
    /// When the block is malformed or asks for something that is refused.
    pub fn script(&mut self, source: &[u8], name: &str) -> Result<bool, Error> {
        let Some(block) = script::parse(source, name)? else {
            return Ok(false);
        };
        for requirement in block.requirements {
            self.add(requirement, name)?;
        }
        let origin = format!("the script {}", crate::quote::quote(name));
        self.python.extend(block.requires_python.map(|specifiers| (specifiers, origin)));
        Ok(true)
    }

    /// Lets the newest fitting source distribution of this package run its build, in a jail
    /// without network. Everything else stays wheels only.
    ///
    /// # Errors
    /// When `name` is not the name of a package.
    pub fn allow_build(&mut self, name: &str) -> Result<(), Error> {
        let parsed = requirement::parse(name, "--allow-build")?;
        if parsed.name != parsed.text {
            let why = "only a name is expected";
            return Err(requirement::refused(name, "--allow-build", why, "give versions with `--with`"));
        }
        self.builds.insert(parsed.name);
        Ok(())
    }

    /// Whether no package is asked for, so that no environment is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.given.as_ref().is_none_or(|given| given.packages.is_empty())
    }

    /// Refuses a request that contradicts itself, or an interpreter that a `requires-python` leaves out.
    ///
    /// # Errors
    /// When it does, naming both.
    pub fn check(&self, interpreter: &Interpreter) -> Result<(), Error> {
        let more = !self.texts.is_empty() || !self.builds.is_empty() || self.newest.is_some();
        if let Some(given) = self.given.as_ref().filter(|_| more) {
            return Err(given::refused(
                &given.shown,
                "a lock is installed as it is, and more is asked for: packages, a build or a least age",
                "give the lock alone, or write it with what is asked for",
            ));
        }
        self.python.iter().try_for_each(|(specifiers, origin)| interpreter.meets(specifiers, origin))
    }

    /// The requirements in a stable order, one a line: what uv reads.
    pub(crate) fn text(&self) -> String {
        self.texts.iter().flat_map(|text| [text.as_str(), "\n"]).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The normalised names asked for, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The packages whose source distribution may be built, in order.
    pub(crate) fn builds(&self) -> impl Iterator<Item = &str> {
        self.builds.iter().map(String::as_str)
    }

    /// The lock that is to be installed as it is.
    pub(crate) const fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    /// The moment after which nothing counts as released.
    pub(crate) const fn newest(&self) -> Option<&Moment> {
        self.newest.as_ref()
    }

    /// What the request says of the versions of a package.
    pub(crate) fn specifiers_of(&self, name: &str) -> Vec<VersionSpecifiers> {
        let parsed = self.texts.iter().filter_map(|text| Pep508::<VerbatimUrl>::from_str(text).ok());
        parsed
            .filter(|requirement| requirement.name.as_ref() == name)
            .filter_map(|requirement| match requirement.version_or_url {
                Some(VersionOrUrl::VersionSpecifier(specifiers)) => Some(specifiers),
                Some(VersionOrUrl::Url(_)) | None => None,
            })
            .collect()
    }

    /// The only hashes the files of a package may have, if the request says so.
    pub(crate) fn hashes_of(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.hashes.get(name)
    }

    /// The name of the cached answer: it changes with everything that changes the answer.
    pub(crate) fn key(&self, interpreter: &Interpreter, index: &str) -> String {
        let mut hash = Sha256::new();
        let hashes = self.hashes.iter().flat_map(|(name, set)| set.iter().map(move |h| format!("{name} {h}")));
        let interpreter =
            [&interpreter.inside_executable, &interpreter.version, &interpreter.abi, &interpreter.platform];
        let parts = [FORMAT.to_owned(), index.to_owned()]
            .into_iter()
            .chain(interpreter.into_iter().cloned())
            .chain(self.texts.iter().cloned())
            .chain(hashes)
            .chain(self.builds.iter().map(|name| format!("build {name}")))
            .chain(self.newest.iter().map(|moment| format!("newest {}", moment.as_str())))
            .chain(self.given.iter().flat_map(Given::parts));
        for part in parts {
            // Lengths keep two different lists from reading the same.
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize())
    }

    fn add(&mut self, requirement: Requirement, origin: &str) -> Result<(), Error> {
        if self.texts.len() == REQUIREMENTS_MAX && !self.texts.contains(&requirement.text) {
            let why = "more than 1,000 requirements are asked for";
            return Err(requirement::refused(&requirement.text, origin, why, "ask for fewer packages"));
        }
        self.names.insert(requirement.name);
        self.texts.insert(requirement.text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;

    fn key(lists: &[&str]) -> String {
        let mut request = Request::new();
        lists.iter().for_each(|list| request.with(list).unwrap());
        request.key(&interpreter(), "default")
    }

    #[test]
    fn the_key_depends_on_what_is_asked_and_not_on_how() {
        assert_eq!(key(&["six,Idna>=3"]), key(&["idna >= 3", "six", "six"]));
        assert_ne!(key(&["six"]), key(&["six>=1"]));
        let mut other = interpreter();
        other.abi = "cp312".into();
        let mut request = Request::new();
        request.with("six").unwrap();
        assert_ne!(request.key(&interpreter(), "default"), request.key(&other, "default"));
        assert_ne!(request.key(&interpreter(), "default"), request.key(&interpreter(), "other"));
    }

    #[test]
    fn too_many_requirements_are_refused() {
        let list: Vec<String> = (0..1001).map(|n| format!("p{n}")).collect();
        assert!(Request::new().with(&list.join(",")).unwrap_err().why().contains("1,000"));
    }

    #[test]
    fn an_interpreter_the_script_does_not_accept_is_refused() {
        let mut request = Request::new();
        request.script(b"# /// script\n# requires-python = '>=3.12'\n# ///\n", "a.py").unwrap();
        let error = request.check(&interpreter()).unwrap_err();
        assert_eq!(error.to_string(), "the script `a.py` needs Python `>=3.12`");
        assert_eq!(error.why(), "the interpreter chosen is Python `3.11.7`");
        assert!(request.is_empty());
    }
}
