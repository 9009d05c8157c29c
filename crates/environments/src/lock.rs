//! Reads the `pylock.toml` that uv wrote in the jail, believing nothing: only wheels, only with
//! sha256 hashes, only from the hosts of the index. What was accepted is written anew; uv's own
//! text goes no further.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;
use serde::Deserialize;

use crate::digest::is_sha256;
use crate::ecosystem::Ecosystem;
use crate::environment::Package;
use crate::error::{Detail, Error};
use crate::given::{self, Given, GivenWheel};
use crate::inside;
use crate::interpreter::Interpreter;
use crate::quote::quote;
use crate::r::names::{is_r_name, is_r_version};
use crate::request::Request;
use crate::tree;
use crate::url::HttpsUrl;
use crate::wheel_name::is_wheel_of;
use crate::wheel_tags::best;

/// The largest lock that is read.
pub(crate) const LOCK_BYTES_MAX: u64 = 16 << 20;
pub(crate) const PACKAGES_MAX: usize = 2000;
pub(crate) const WHEELS_MAX: usize = 10_000;
const WHEEL_BYTES_MAX: u64 = 4 << 30;

/// A lock that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lock {
    ecosystem: Ecosystem,
    packages: Vec<Locked>,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) wheels: Vec<Wheel>,
    /// Where the wheel was built from, if it was; of R, the source package.
    pub(crate) source: Option<Wheel>,
    /// What of the lock it needs; of R only, where packages are installed one after the other.
    pub(crate) needs: Vec<String>,
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) url: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
    pub(crate) size: Option<u64>,
}

/// A wheel that was built here from a source distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) wheel: Wheel,
    pub(crate) source: Wheel,
}

/// The lock as uv writes it: untrusted bytes.
mod wire {
    use super::{BTreeMap, Deserialize};

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Lock {
        pub(super) lock_version: String,
        pub(super) ecosystem: Option<String>,
        #[serde(default)]
        pub(super) packages: Vec<Package>,
    }

    #[derive(Deserialize)]
    pub(super) struct Package {
        pub(super) name: String,
        pub(super) version: Option<String>,
        // Of R what was installed on the machine already.
        #[serde(default, alias = "installed")]
        pub(super) wheels: Vec<Wheel>,
        pub(super) sdist: Option<toml::Value>,
        pub(super) vcs: Option<toml::Value>,
        pub(super) directory: Option<toml::Value>,
        pub(super) archive: Option<toml::Value>,
        #[serde(default)]
        pub(super) needs: Vec<String>,
    }

    #[derive(Deserialize)]
    pub(super) struct Wheel {
        pub(super) name: Option<String>,
        pub(super) url: Option<String>,
        pub(super) path: Option<String>,
        pub(super) size: Option<u64>,
        #[serde(default)]
        pub(super) hashes: BTreeMap<String, String>,
    }
}

impl Lock {
    /// Parses and checks a lock; files may come from `hosts`, or be one of `built`, only.
    pub(crate) fn parse(text: &str, hosts: &BTreeSet<String>, built: &[Built]) -> Result<Self, Error> {
        let wire: wire::Lock =
            toml::from_str(text).map_err(|cause| refused("the lock", &crate::quote::neutral(cause.message())))?;
        if wire.lock_version != "1.0" {
            return Err(refused("the lock", "it is not of version 1.0"));
        }
        let wheels: usize = wire.packages.iter().map(|package| package.wheels.len()).sum();
        if wire.packages.len() > PACKAGES_MAX || wheels > WHEELS_MAX {
            return Err(refused("the lock", "it names more than 2,000 packages or 10,000 files"));
        }
        let mut packages = BTreeMap::new();
        for package in wire.packages {
            let locked = accept(package, hosts, built)?;
            if let Some(twice) = packages.insert(locked.name.clone(), locked) {
                return Err(refused(&twice.name, "the lock names it twice"));
            }
        }
        Ok(Self { ecosystem: Ecosystem::Pypi, packages: packages.into_values().collect() })
    }

    /// A lock that the user gave, held against the hosts of the index.
    pub(crate) fn of_given(given: &Given, hosts: &BTreeSet<String>) -> Result<Self, Error> {
        let mut packages = BTreeMap::new();
        for package in &given.packages {
            let wheel = |wheel: &GivenWheel| wire::Wheel {
                name: wheel.name.clone(),
                url: Some(wheel.url.clone()),
                path: None,
                size: wheel.size,
                hashes: wheel.sha256.iter().map(|sha256| ("sha256".to_owned(), sha256.clone())).collect(),
            };
            let wire = wire::Package {
                name: package.name.clone(),
                version: Some(package.version.clone()),
                wheels: package.wheels.iter().map(wheel).collect(),
                sdist: None,
                vcs: None,
                directory: None,
                archive: None,
                needs: Vec::new(),
            };
            let locked = accept(wire, hosts, &[]).map_err(|error| {
                let next = "write the lock anew against the package index of this machine";
                given::refused(&package.place, error.why(), next)
            })?;
            if let Some(twice) = packages.insert(locked.name.clone(), locked) {
                return Err(refused(&twice.name, "the lock names it twice"));
            }
        }
        Ok(Self { ecosystem: Ecosystem::Pypi, packages: packages.into_values().collect() })
    }

    /// The lock that stands in a finished environment: ours, so a source distribution is what a wheel was
    /// built from, and its hosts are those of back then.
    pub(crate) fn of_environment(text: &str) -> Result<Self, Error> {
        let wire: wire::Lock =
            toml::from_str(text).map_err(|cause| refused("the lock", &crate::quote::neutral(cause.message())))?;
        let ecosystem = match wire.ecosystem.as_deref() {
            None => Ecosystem::Pypi,
            Some("cran") => Ecosystem::Cran,
            Some(_) => return Err(refused("the lock", "it is of an ecosystem that is not known here")),
        };
        let mut packages = Vec::new();
        for package in wire.packages {
            let no = |why: &str| refused(&package.name, why);
            let name = name_in(ecosystem, &package.name).ok_or_else(|| no("its name is not one"))?;
            let version = package.version.as_deref().and_then(|version| version_in(ecosystem, version));
            let Some(version) = version else { return Err(no("it has no version that can be parsed")) };
            let (sdist, wheels) = (package.sdist, package.wheels);
            let file = |wheel: wire::Wheel| {
                let (file, sha256) = (wheel.name.unwrap_or_default(), wheel.hashes.get("sha256").cloned());
                let sha256 = sha256.filter(|hash| is_sha256(hash)).ok_or_else(|| no("its file has no sha256 hash"))?;
                Ok(Wheel { url: wheel.url.unwrap_or_default(), file, sha256, size: wheel.size })
            };
            packages.push(Locked {
                name,
                version,
                needs: package.needs,
                wheels: wheels.into_iter().map(file).collect::<Result<_, _>>()?,
                source: sdist
                    .map(|sdist| sdist.try_into().map_err(|_| no("its source is no file")))
                    .transpose()?
                    .map(file)
                    .transpose()?,
            });
        }
        Ok(Self { ecosystem, packages })
    }

    /// A lock of R packages, whose values were checked.
    pub(crate) fn of_r(mut packages: Vec<Locked>) -> Self {
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        Self { ecosystem: Ecosystem::Cran, packages }
    }

    /// The lock that stands in the folder of an environment.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        Self::of_environment(&text_of(folder)?)
    }

    /// Whose packages these are.
    pub(crate) const fn ecosystem(&self) -> Ecosystem {
        self.ecosystem
    }

    /// Refuses a lock whose files are not among the hashes the request insists on. When every
    /// requirement has hashes, as in a file that was compiled, nothing comes without: an index
    /// that is not trusted with files is not trusted with the list of dependencies either.
    pub(crate) fn check_hashes(&self, request: &Request) -> Result<(), Error> {
        let all_named = request.names().all(|name| request.hashes_of(name).is_some());
        for package in &self.packages {
            let Some(allowed) = request.hashes_of(&package.name) else {
                if all_named {
                    return Err(unnamed(&package.name));
                }
                continue;
            };
            if !package.origins().iter().all(|wheel| allowed.contains(&wheel.sha256)) {
                let why = "the package index offers a file whose hash is not one of the requirement's";
                return Err(refused(&package.name, why));
            }
        }
        Ok(())
    }

    /// The same lock with only the files that are installed: where a package has several that run on this
    /// interpreter, the one that fits best.
    pub(crate) fn installed_on(mut self, interpreter: &Interpreter) -> Self {
        for package in &mut self.packages {
            let files = package.wheels.iter().map(|wheel| wheel.file.as_str());
            if let Some(best) = best(files, interpreter).filter(|_| package.wheels.len() > 1) {
                package.wheels = vec![package.wheels.swap_remove(best)];
            }
        }
        self
    }

    /// The packages, sorted by name.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package> + '_ {
        self.packages.iter().map(|p| Package { name: p.name.clone(), version: p.version.clone() })
    }

    /// The packages with their files, sorted by name.
    pub(crate) fn locked(&self) -> impl Iterator<Item = &Locked> {
        self.packages.iter()
    }

    /// Every file of the lock.
    pub(crate) fn wheels(&self) -> impl Iterator<Item = &Wheel> {
        self.packages.iter().flat_map(|package| &package.wheels)
    }

    /// What the lock says without saying where from: the same for every mirror.
    pub(crate) fn identity(&self) -> String {
        let mut text = String::new();
        for package in &self.packages {
            for file in package.origins() {
                text.push_str(&format!("{} {} {} {}\n", package.name, package.version, file.file, file.sha256));
            }
        }
        text
    }

    /// The lock as PEP 751 text; of R packages in the same form. Every value was checked to need no escaping.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from("lock-version = \"1.0\"\ncreated-by = \"stockade\"\n");
        if self.ecosystem == Ecosystem::Cran {
            text.push_str(&format!("ecosystem = \"{}\"\n", self.ecosystem));
        }
        for package in &self.packages {
            let Locked { name, version, .. } = package;
            text.push_str(&format!("\n[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\n"));
            if !package.needs.is_empty() {
                text.push_str(&format!("needs = [\"{}\"]\n", package.needs.join("\", \"")));
            }
            let files: Vec<String> = package.origins().iter().map(as_table).collect();
            match package.source {
                Some(_) => text.push_str(&format!("sdist = {}\n", files.concat())),
                None if self.ecosystem == Ecosystem::Cran => {
                    text.push_str(&format!("installed = [{}]\n", files.join(", ")))
                }
                None => text.push_str(&format!("wheels = [\n  {},\n]\n", files.join(",\n  "))),
            }
        }
        text
    }
}

impl Locked {
    /// A requirement line with hashes, for an installer that has only the verified files.
    pub(crate) fn requirement(&self) -> String {
        let hashes = self.wheels.iter().map(|wheel| format!(" --hash=sha256:{}", wheel.sha256));
        format!("{}=={}{}\n", self.name, self.version, hashes.collect::<String>())
    }

    /// The files as the index has them: the source distribution of a wheel that was built here.
    pub(crate) fn origins(&self) -> &[Wheel] {
        self.source.as_ref().map_or(self.wheels.as_slice(), std::slice::from_ref)
    }
}

/// The text of the lock in the folder of an environment; only we can have put one there.
pub(crate) fn text_of(folder: &Path) -> Result<String, Error> {
    let path = [Ecosystem::Cran, Ecosystem::Pypi].map(|ecosystem| folder.join(ecosystem.lock_file()));
    let [cran, pypi] = &path;
    tree::read_bounded(if cran.is_file() { cran } else { pypi }, LOCK_BYTES_MAX)
}

/// The name of a package as it is in a lock.
fn name_in(ecosystem: Ecosystem, text: &str) -> Option<String> {
    match ecosystem {
        Ecosystem::Pypi => PackageName::from_str(text).ok().map(|name| name.to_string()),
        Ecosystem::Cran => is_r_name(text).then(|| text.to_owned()),
    }
}

fn version_in(ecosystem: Ecosystem, text: &str) -> Option<String> {
    match ecosystem {
        Ecosystem::Pypi => Version::from_str(text).ok().map(|version| version.to_string()),
        Ecosystem::Cran => is_r_version(text).then(|| text.to_owned()),
    }
}

/// One file as an inline table of TOML.
fn as_table(file: &Wheel) -> String {
    let size = file.size.map_or_else(String::new, |size| format!(", size = {size}"));
    let Wheel { url, file, sha256, .. } = file;
    let url = if url.is_empty() { String::new() } else { format!(", url = \"{url}\"") };
    let hashes = format!("hashes = {{ sha256 = \"{sha256}\" }}");
    format!("{{ name = \"{file}\"{url}{size}, {hashes} }}")
}

fn accept(package: wire::Package, hosts: &BTreeSet<String>, built: &[Built]) -> Result<Locked, Error> {
    let shown = package.name.clone();
    let no = |why: &str| refused(&shown, why);
    let name = PackageName::from_str(&package.name).map_err(|_| no("its name is not one"))?;
    let version = package.version.as_deref().map(Version::from_str);
    let Some(Ok(version)) = version else {
        return Err(no("it has no version that can be parsed"));
    };
    if package.vcs.is_some() || package.directory.is_some() || package.archive.is_some() {
        return Err(no("it comes from a repository, folder or archive and not from the index"));
    }
    if package.sdist.is_some() {
        return Err(no("it names a source distribution, which would run code to build"));
    }
    if package.wheels.is_empty() {
        return Err(no("it has no wheel"));
    }
    let (name_text, version_text) = (name.to_string(), version.to_string());
    let (wheels, source) = match built_here(&package.wheels, built) {
        Some(built) if is_wheel_of(&built.wheel.file, &name, &version) => {
            (vec![built.wheel.clone()], Some(built.source.clone()))
        }
        Some(_) => return Err(no("what was built for it is of another package or version")),
        None => {
            let files = package.wheels.into_iter();
            let files = files.map(|wheel| accept_wheel(wheel, &name, &version, hosts));
            let files = files.collect::<Result<Vec<_>, _>>()?;
            let names: BTreeSet<&str> = files.iter().map(|wheel| wheel.file.as_str()).collect();
            if names.len() < files.len() {
                return Err(no("one of its files is named twice"));
            }
            (files, None)
        }
    };
    Ok(Locked { name: name_text, version: version_text, wheels, source, needs: Vec::new() })
}

/// The wheel built here that a package's only file is: same place, same hash.
fn built_here<'a>(wheels: &[wire::Wheel], built: &'a [Built]) -> Option<&'a Built> {
    let [wheel] = wheels else { return None };
    built.iter().find(|built| {
        let place = format!("file://{}/{}", inside::BUILT, built.wheel.file);
        wheel.url.as_ref() == Some(&place) && wheel.hashes.get("sha256") == Some(&built.wheel.sha256)
    })
}

fn accept_wheel(
    wheel: wire::Wheel,
    name: &PackageName,
    version: &Version,
    hosts: &BTreeSet<String>,
) -> Result<Wheel, Error> {
    let no = |why: &str| refused(name.as_ref(), why);
    if wheel.path.is_some() {
        return Err(no("its file is a local path"));
    }
    let url = HttpsUrl::parse(wheel.url.as_deref().unwrap_or_default())
        .map_err(|why| no(&format!("the URL of its file is refused: {why}")))?;
    if !hosts.contains(url.host()) {
        return Err(no(&format!("its file is at {}, which is no host of the index", quote(url.host()))));
    }
    let file = wheel.name.or_else(|| url.file_name()).unwrap_or_default();
    if !is_wheel_of(&file, name, version) {
        return Err(no(&format!("its file {} is not a wheel of this package and version", quote(&file))));
    }
    let sha256 = wheel.hashes.get("sha256").map(|hash| hash.to_ascii_lowercase());
    let sha256 = sha256.filter(|hash| is_sha256(hash)).ok_or_else(|| no("its file has no sha256 hash"))?;
    if wheel.size.is_some_and(|size| size > WHEEL_BYTES_MAX) {
        return Err(no("its file is larger than 4 GiB"));
    }
    Ok(Wheel { url: url.as_str().to_owned(), file, sha256, size: wheel.size })
}

fn unnamed(package: &str) -> Error {
    Error::Lock(Detail::new(
        format!("the resolution is refused at {}", quote(package)),
        "every requirement has hashes, and this package is needed too but has none",
        "add it to the requirement file with its hashes, as `uv pip compile --generate-hashes` does",
    ))
}

fn refused(subject: &str, why: &str) -> Error {
    Error::Lock(Detail::new(
        format!("the resolution is refused at {}", quote(subject)),
        why,
        "leave out the package, or choose a version of it that has a wheel on the index",
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::interpreter::fixture::interpreter;

    const HASH: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";

    fn hosts() -> BTreeSet<String> {
        BTreeSet::from(["files.invalid".to_owned()])
    }

    pub(crate) fn lock_of_six(host: &str) -> Lock {
        let wheel = format!(
            "{{ url = \"https://{host}/a/six-1.17.0-py2.py3-none-any.whl\", size = 11050, hashes = {{ sha256 = \"{HASH}\" }} }}"
        );
        Lock::parse(
            &text(&format!("name = \"six\"\nversion = \"1.17.0\"\nwheels = [{wheel}]")),
            &BTreeSet::from([host.to_owned()]),
            &[],
        )
        .unwrap()
    }

    fn text(package: &str) -> String {
        format!("lock-version = \"1.0\"\ncreated-by = \"uv\"\n\n[[packages]]\n{package}\n")
    }

    #[test]
    fn what_was_accepted_reads_back_the_same() {
        let lock = lock_of_six("files.invalid");
        assert_eq!(Lock::parse(&lock.to_text(), &hosts(), &[]).unwrap(), lock);
        let lines: String = lock.locked().map(Locked::requirement).collect();
        assert_eq!(lines, format!("six==1.17.0 --hash=sha256:{HASH}\n"));
    }

    #[test]
    fn of_several_files_of_a_package_only_the_one_that_is_installed_stays() {
        let wheel = |tag: &str| {
            let url = format!("https://files.invalid/six-1.17.0-{tag}.whl");
            format!("{{ url = \"{url}\", hashes = {{ sha256 = \"{HASH}\" }} }}")
        };
        let tags = ["py3-none-any", "cp311-cp311-musllinux_1_2_x86_64", "cp311-cp311-manylinux_2_17_x86_64"];
        let wheels = tags.map(wheel).join(", ");
        let package = format!("name = \"six\"\nversion = \"1.17.0\"\nwheels = [{wheels}]");
        let lock = Lock::parse(&text(&package), &hosts(), &[]).unwrap();
        let files = |lock: Lock| lock.wheels().map(|wheel| wheel.file.clone()).collect::<Vec<_>>();
        let here = interpreter();
        assert_eq!(files(lock.clone().installed_on(&here)), ["six-1.17.0-cp311-cp311-manylinux_2_17_x86_64.whl"]);
        let old = Interpreter { glibc: Some((2, 12)), ..here.clone() };
        assert_eq!(files(lock.clone().installed_on(&old)), ["six-1.17.0-py3-none-any.whl"]);
        // Where it is not known, uv chooses.
        let of_another = Interpreter { glibc: None, ..here };
        assert_eq!(lock.clone().installed_on(&of_another), lock);
    }

    #[test]
    fn the_identity_does_not_depend_on_the_mirror() {
        assert_eq!(lock_of_six("files.invalid").identity(), lock_of_six("mirror.invalid").identity());
    }

    #[test]
    fn hostile_locks_are_refused() {
        let url = "https://files.invalid/six-1.17.0-py3-none-any.whl";
        let hashes = format!("hashes = {{ sha256 = \"{HASH}\" }}");
        let good = format!("wheels = [{{ url = \"{url}\", {hashes} }}]");
        let six = "name = \"six\"\nversion = \"1.17.0\"";
        for (package, part) in [
            (format!("name = \"six\"\n{good}"), "no version"),
            (format!("name = \"six\"\nversion = \"one\"\n{good}"), "no version"),
            (format!("name = \"../six\"\nversion = \"1\"\n{good}"), "name"),
            (six.to_owned(), "no wheel"),
            (format!("{six}\n{good}\nsdist = {{ url = \"{url}\" }}"), "source distribution"),
            (format!("{six}\nvcs = {{ type = \"git\", url = \"https://x.invalid\" }}"), "repository"),
            (format!("{six}\ndirectory = {{ path = \"/etc\" }}"), "repository"),
            (format!("{six}\narchive = {{ url = \"{url}\" }}"), "repository"),
            (format!("{six}\nwheels = [{{ url = \"{url}\" }}]"), "sha256"),
            (format!("{six}\nwheels = [{{ url = \"{url}\", hashes = {{ md5 = \"00\" }} }}]"), "sha256"),
            (format!("{six}\nwheels = [{{ url = \"{url}\", hashes = {{ sha256 = \"00\" }} }}]"), "sha256"),
            (format!("{six}\nwheels = [{{ path = \"/etc/passwd\", {hashes} }}]"), "local path"),
            (format!("{six}\nwheels = [{{ url = \"http://files.invalid/x.whl\", {hashes} }}]"), "https"),
            (
                format!("{six}\nwheels = [{{ url = \"https://evil.invalid/six-1.17.0-py3-none-any.whl\", {hashes} }}]"),
                "no host of the index",
            ),
            (
                format!(
                    "{six}\nwheels = [{{ url = \"https://files.invalid@evil.invalid/six-1.17.0-py3-none-any.whl\", {hashes} }}]"
                ),
                "user name",
            ),
            (
                format!("{six}\nwheels = [{{ url = \"https://files.invalid/evil-1-py3-none-any.whl\", {hashes} }}]"),
                "not a wheel of this package",
            ),
            (
                format!("{six}\nwheels = [{{ name = \"../../x.whl\", url = \"{url}\", {hashes} }}]"),
                "not a wheel of this package",
            ),
            (format!("{six}\nwheels = [{{ url = \"{url}\", size = 99999999999, {hashes} }}]"), "4 GiB"),
            (
                format!("{six}\nwheels = [{{ url = \"{url}\", {hashes} }}, {{ url = \"{url}\", {hashes} }}]"),
                "named twice",
            ),
            (format!("{six}\n{good}\n[[packages]]\nname = \"Six\"\nversion = \"1.17.0\"\n{good}"), "twice"),
        ] {
            let error = Lock::parse(&text(&package), &hosts(), &[]).unwrap_err();
            assert!(error.why().contains(part), "{package}: {}", error.why());
        }
        assert!(Lock::parse("lock-version = \"2.0\"", &hosts(), &[]).unwrap_err().why().contains("version 1.0"));
        assert!(Lock::parse("\u{1b}[31m", &hosts(), &[]).is_err());
    }

    #[test]
    fn a_wheel_built_here_is_accepted_only_where_and_as_it_was_built() {
        let file = |name: &str, sha256: &str| Wheel {
            url: format!("https://files.invalid/{name}"),
            file: name.into(),
            sha256: sha256.into(),
            size: None,
        };
        let built = [Built {
            wheel: file("six-1.17.0-py3-none-any.whl", HASH),
            source: file("six-1.17.0.tar.gz", &"a".repeat(64)),
        }];
        let lock = |place: &str, hash: &str| {
            let wheel = format!("{{ url = \"file://{place}\", hashes = {{ sha256 = \"{hash}\" }} }}");
            let package = format!("name = \"six\"\nversion = \"1.17.0\"\nwheels = [{wheel}]");
            Lock::parse(&text(&package), &hosts(), &built)
        };
        let place = "/opt/stockade/built/six-1.17.0-py3-none-any.whl";
        let accepted = lock(place, HASH).unwrap();
        assert!(accepted.identity().contains("six-1.17.0.tar.gz aaaa"));
        assert!(accepted.to_text().contains("sdist = { name = \"six-1.17.0.tar.gz\""));
        assert!(accepted.locked().all(|package| package.requirement().contains(HASH)));
        assert!(lock("/etc/six-1.17.0-py3-none-any.whl", HASH).is_err());
        assert!(lock(place, &"b".repeat(64)).is_err());
    }

    #[test]
    fn a_dependency_without_hashes_is_refused_where_all_requirements_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.txt");
        std::fs::write(&path, format!("six --hash=sha256:{HASH}")).unwrap();
        let mut request = Request::new();
        request.requirements_file(&path).unwrap();
        let mut lock = lock_of_six("files.invalid");
        let surprise = Locked { name: "surprise".into(), ..lock.packages[0].clone() };
        lock.packages.push(surprise);
        assert!(lock.check_hashes(&request).unwrap_err().to_string().contains("`surprise`"));
        // Who adds a package without hashes gets what it needs.
        request.with("other").unwrap();
        assert!(lock.check_hashes(&request).is_ok());
    }

    #[test]
    fn hashes_of_a_requirement_bind_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.txt");
        for (hash, fits) in [(HASH.to_owned(), true), ("0".repeat(64), false)] {
            std::fs::write(&path, format!("six --hash=sha256:{hash}")).unwrap();
            let mut request = Request::new();
            request.requirements_file(&path).unwrap();
            assert_eq!(lock_of_six("files.invalid").check_hashes(&request).is_ok(), fits);
        }
    }
}
