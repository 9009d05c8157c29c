//! The Python versions of this machine: where they are kept is looked at, nothing is started.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A version such as `3`, `3.12` or `3.12.1`, as a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(String);

impl Wanted {
    /// The version, if the text is one and not the name of a program.
    pub(crate) fn parse(text: &Path) -> Option<Self> {
        let text = text.to_str()?;
        let parts: Vec<&str> = text.split('.').collect();
        let is_number = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
        (parts.len() <= 3 && parts.iter().all(is_number)).then(|| Self(text.to_owned()))
    }

    /// Whether a full version is the one that is wanted.
    pub(crate) fn is(&self, version: &str) -> bool {
        version == self.0 || version.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Whether a program of such a minor version may be it.
    fn may_be(&self, minor: &str) -> bool {
        self.is(minor) || self.0.strip_prefix(minor).is_some_and(|rest| rest.starts_with('.'))
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A program that is called as an interpreter is, and the minor version in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    minor: String,
    program: PathBuf,
}

/// Where interpreters of this machine and of its user are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    folders: Vec<PathBuf>,
}

impl Places {
    pub(crate) fn of_this_machine() -> Self {
        let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let home = |below: &str| var("HOME").map(|home| home.join(below));
        let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let mut folders = path.unwrap_or_default();
        // A version manager's own folders, since its shims know the chosen version only.
        let kept = [
            var("PYENV_ROOT").or_else(|| home(".pyenv")).map(|root| root.join("versions")),
            var("UV_PYTHON_INSTALL_DIR").or_else(|| home(".local/share/uv/python")),
        ];
        for kept in kept.into_iter().flatten() {
            let mut found: Vec<PathBuf> = listed(&kept).into_iter().map(|version| version.join("bin")).collect();
            found.sort();
            folders.extend(found);
        }
        folders.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
        folders.retain(|folder| folder.is_absolute());
        Self { folders }
    }

    /// The programs that may be the wanted version, those of `PATH` first; newest last among equals.
    pub(crate) fn programs(&self, wanted: &Wanted) -> Vec<PathBuf> {
        let mut found: Vec<Candidate> = self.candidates().collect();
        found.retain(|candidate| wanted.may_be(&candidate.minor));
        // `--python 3` is the newest one.
        found.sort_by_key(|candidate| std::cmp::Reverse(number(&candidate.minor)));
        found.into_iter().map(|candidate| candidate.program).collect()
    }

    /// The minor versions there are, in order.
    pub(crate) fn minors(&self) -> Vec<String> {
        let real = self.candidates().filter(|candidate| is_machine_code(&candidate.program));
        let minors: BTreeSet<(u32, String)> = real.map(|found| (number(&found.minor), found.minor)).collect();
        minors.into_iter().map(|(_, minor)| minor).collect()
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.folders.iter().flat_map(|folder| listed(folder)).filter_map(|program| {
            let minor = program.file_name()?.to_str()?.strip_prefix("python")?.to_owned();
            let digits = minor.strip_prefix("3.").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
            (!digits.is_empty()).then_some(Candidate { minor, program })
        })
    }
}

fn number(minor: &str) -> u32 {
    minor.strip_prefix("3.").and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path()).collect()
}

/// A shim is a script, and says nothing of what is there.
fn is_machine_code(program: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0_u8; 4];
    std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_from_a_program() {
        let wanted = |text: &str| Wanted::parse(Path::new(text));
        for no in ["python3.11", "./3.11", "3.11.7.1", "3.", "", "3.x", "conda/bin/python"] {
            assert!(wanted(no).is_none(), "{no}");
        }
        let minor = wanted("3.1").unwrap();
        assert!(minor.is("3.1.4") && minor.is("3.1") && !minor.is("3.11.7"));
        assert!(wanted("3.11.7").unwrap().may_be("3.11") && !wanted("3.11.7").unwrap().may_be("3.1"));
        assert!(wanted("3").unwrap().may_be("3.11"));
    }

    #[test]
    fn programs_are_found_by_their_names_newest_first() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("python3.9", &b"\x7fELFx"[..]),
            ("python3.11", b"\x7fELFx"),
            ("python3.12", b"#!/bin/sh\n"),
            ("python3.11-config", b"#!/bin/sh\n"),
            ("python2.7", b"\x7fELFx"),
        ] {
            std::fs::write(root.path().join(name), text).unwrap();
        }
        let places = Places { folders: vec![root.path().to_owned()] };
        assert_eq!(places.minors(), ["3.9", "3.11"]);
        let programs = |text: &str| {
            let found = places.programs(&Wanted::parse(Path::new(text)).unwrap());
            found.into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(programs("3"), ["python3.12", "python3.11", "python3.9"]);
        assert_eq!(programs("3.11.7"), ["python3.11"]);
        assert!(programs("3.1").is_empty());
    }
}
