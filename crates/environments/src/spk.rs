//! Reads a Spotfire package of Python libraries (`.spk`) as what it names: the packages in it by version, and
//! its requirement file. Its files are not used: they come from a stranger, and no index vouches for their
//! hashes. What is named is resolved and fetched from the package index like anything else.
//!
//! ```text
//! module.xml, Metadata.xml
//! Contents/NAME.zip
//!     root/python/lib/python3.X/site-packages/…   what `pip install --target` left
//!     root/requirements-NAME.txt                  what was asked for
//! ```

mod zip;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use crate::error::{self, Detail, Error};
use crate::quote::{quote, quote_path};
use crate::requirement::{self, Requirement};
use crate::requirements_file::{self, Line};
use crate::sbom::metadata;
use crate::text_file::open_plain;
use zip::{Bad, Member, Zip};

/// Members of the outer zip; three are usual.
const OUTER_MEMBERS_MAX: u64 = 1_000;
/// Members of the inner one, which may hold a whole interpreter.
const INNER_MEMBERS_MAX: u64 = 500_000;
/// The inner zip, unpacked: at most this, and beyond a first part at most ten times what it takes packed. It is
/// packed already, so honest ones hardly shrink.
const INNER_BYTES_MAX: u64 = 4 << 30;
const INNER_FIRST_BYTES: u64 = 64 << 20;
const INNER_RATIO_MAX: u64 = 10;
/// One description of a package, or requirement file; and all of them together.
const TEXT_BYTES_MAX: u64 = 1 << 20;
const TEXTS_BYTES_MAX: u64 = 64 << 20;

/// What a Spotfire package asks for.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) lines: Vec<Line>,
    /// What the caller should know of it.
    pub(crate) remark: String,
}

/// Reads the package at `path`; its files stay where they are.
pub(crate) fn read(path: &Path, python: &str) -> Result<Library, Error> {
    let refused = |why: Bad| refused(path, &why);
    let file = open_plain(path).map_err(|cause| unreadable(path, &error::said(&cause)))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(unreadable(path, "it is no regular file"));
    }
    let outer = Zip::of(file).map_err(refused)?;
    let inner = Zip::of(payload(&outer).map_err(refused)?).map_err(refused)?;
    let wanted = inner.members(INNER_MEMBERS_MAX, |name| Kind::of(name).is_some()).map_err(refused)?;
    let mut reading = Reading { path, inner: &inner, bytes_left: TEXTS_BYTES_MAX, lines: Vec::new(), packages: 0 };
    for member in &wanted {
        reading.take(member)?;
    }
    if reading.lines.is_empty() {
        return Err(refused(
            "it names no package: it has neither packages with metadata nor a requirement file".into(),
        ));
    }
    let remark =
        remark(path, reading.packages, wanted.iter().find_map(python_of).filter(|other| !is_of(python, other)));
    Ok(Library { lines: reading.lines, remark })
}

/// What a member of the inner zip is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The metadata of an installed package.
    Package,
    /// Says that a package was not installed from an index.
    Origin,
    /// What was asked for.
    Requirements,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            [.., "site-packages" | "spotfire-packages", folder, file] if folder.ends_with(".dist-info") => {
                match *file {
                    "METADATA" => Some(Self::Package),
                    "direct_url.json" => Some(Self::Origin),
                    _ => None,
                }
            }
            ["root", file] if file.starts_with("requirements") && file.ends_with(".txt") => Some(Self::Requirements),
            _ => None,
        }
    }
}

/// Goes through the members of one Spotfire package.
struct Reading<'a> {
    path: &'a Path,
    inner: &'a Zip,
    bytes_left: u64,
    lines: Vec<Line>,
    packages: usize,
}

impl Reading<'_> {
    fn take(&mut self, member: &Member) -> Result<(), Error> {
        match Kind::of(&member.name) {
            Some(Kind::Package) => {
                let text = self.text(member)?;
                self.packages += 1;
                self.package(member, &text)
            }
            Some(Kind::Requirements) => {
                let text = self.text(member)?;
                let shown = format!("{} in {}", quote(&member.name), quote_path(self.path));
                self.lines.extend(requirements_file::lines_of(&text, &shown)?);
                Ok(())
            }
            // The index may have another package by this name, of anybody.
            Some(Kind::Origin) => Err(Error::Requirement(Detail::new(
                format!("the Spotfire package {} is refused", quote_path(self.path)),
                format!(
                    "{} says that the package was installed from a URL or folder, not from an index",
                    quote(&member.name)
                ),
                "put that package into your package index and make the Spotfire package again, or give a requirement \
                 file of the others",
            ))),
            None => Ok(()),
        }
    }

    fn text(&mut self, member: &Member) -> Result<String, Error> {
        let bytes =
            self.inner.read(member, TEXT_BYTES_MAX.min(self.bytes_left)).map_err(|why| refused(self.path, &why))?;
        self.bytes_left = self.bytes_left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A package becomes a requirement of just this version.
    fn package(&mut self, member: &Member, text: &str) -> Result<(), Error> {
        let origin = format!("{} in {}", quote(&member.name), quote_path(self.path));
        let Some((name, version)) = metadata::name_and_version(text) else {
            return Err(refused(self.path, &format!("{} names no package and version", quote(&member.name))));
        };
        let requirement: Requirement = requirement::parse(&format!("{name}=={version}"), &origin)?;
        self.lines.push(Line { requirement, hashes: Vec::new(), origin });
        Ok(())
    }
}

/// The inner zip, as a file without a name.
fn payload(outer: &Zip) -> Result<File, Bad> {
    let members = outer.members(OUTER_MEMBERS_MAX, |name| {
        matches!(name, "module.xml" | "Metadata.xml") || name.starts_with("Contents/") && !name.ends_with('/')
    })?;
    let is_spotfire = members.iter().any(|member| member.name == "module.xml");
    let mut contents = members.iter().filter(|member| member.name.starts_with("Contents/"));
    let (true, Some(member), None) = (is_spotfire, contents.next(), contents.next()) else {
        return Err("it is no Spotfire package: those have a `module.xml` and one file below `Contents`".into());
    };
    if !member.name.ends_with(".zip") {
        return Err(format!(
            "its content {} is no zip; packages for Spotfire Analyst have a cabinet, which is not read",
            quote(&member.name)
        ));
    }
    // What the directory says of its size may be a lie; it is no larger than the file that holds it.
    let packed = member.packed_bytes.min(outer.bytes());
    let most = INNER_BYTES_MAX.min(packed.saturating_mul(INNER_RATIO_MAX).saturating_add(INNER_FIRST_BYTES));
    let mut file = tempfile::tempfile().map_err(|cause| format!("no temporary file: {}", error::said(&cause)))?;
    outer.copy(member, most, &mut file)?;
    file.seek(SeekFrom::Start(0)).map_err(|cause| error::said(&cause))?;
    Ok(file)
}

/// `3.11` of `…/lib/python3.11/site-packages/…`.
fn python_of(member: &Member) -> Option<String> {
    let parts: Vec<&str> = member.name.split('/').collect();
    let at = parts.iter().position(|part| *part == "site-packages")?;
    let version = parts.get(at.checked_sub(1)?)?.strip_prefix("python")?;
    let is_plain = version.len() < 8 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain.then(|| version.to_owned())
}

fn is_of(python: &str, minor: &str) -> bool {
    python.strip_prefix(minor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn remark(path: &Path, packages: usize, other_python: Option<String>) -> String {
    let packages = crate::progress::counted(packages, "package");
    let python = other_python.map_or_else(String::new, |other| format!("; it was made for Python {other}"));
    format!(
        "{} names {packages} by version, which come from the package index; its own files are not used{python}",
        quote_path(path)
    )
}

fn unreadable(path: &Path, why: &str) -> Error {
    let what = format!("cannot read the Spotfire package {}", quote_path(path));
    Error::Requirement(Detail::new(what, why, "check the path and the permissions of the file"))
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Requirement(Detail::new(
        format!("the Spotfire package {} is refused", quote_path(path)),
        why,
        "get it again from who made it, or give the requirement file that it was made from",
    ))
}
