//! The interpreter an environment is built for, as the sandbox will see it.

use std::str::FromStr;

use pep508_rs::pep440_rs::{Version, VersionSpecifiers};

use crate::ecosystem::Ecosystem;
use crate::error::{Detail, Error};
use crate::quote::quote;

/// One interpreter of Python, or of R; the jail and the sandbox show it at the same inside path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Where the executable is inside jails and sandboxes, such as `/opt/stockade/python/bin/python3.11`.
    pub inside_executable: String,
    /// The full version, such as `3.11.7`.
    pub version: String,
    /// The ABI tag, such as `cp311`; of R its whole version, as `R4.2.2`.
    pub abi: String,
    /// The platform tag, such as `linux_x86_64`.
    pub platform: String,
    /// The version of the GNU C library it runs with, if that is known: what tells which of several wheels
    /// fits best. The digest does not cover it, for it covers the wheel that was chosen.
    pub glibc: Option<(u32, u32)>,
}

impl Interpreter {
    /// Whose packages it runs.
    #[must_use]
    pub fn ecosystem(&self) -> Ecosystem {
        if self.abi.starts_with('R') { Ecosystem::Cran } else { Ecosystem::Pypi }
    }

    /// `python3.11`: the name of the library folder and of one executable link.
    pub(crate) fn folder_name(&self) -> Result<String, Error> {
        let mut parts = self.version.split('.');
        match (parts.next(), parts.next()) {
            (Some(major), Some(minor)) if is_number(major) && is_number(minor) => Ok(format!("python{major}.{minor}")),
            (_, _) => Err(self.unusable("its version is not of the form X.Y.Z")),
        }
    }

    /// The folder that holds the executable, inside.
    pub(crate) fn inside_home(&self) -> Result<&str, Error> {
        let plain = !self.inside_executable.chars().any(char::is_whitespace);
        match self.inside_executable.rsplit_once('/') {
            Some((home, name)) if plain && home.starts_with('/') && !name.is_empty() => Ok(home),
            Some(_) | None => Err(self.unusable("its inside path is not absolute and plain")),
        }
    }

    /// Refuses an interpreter that `specifier` leaves out.
    pub(crate) fn meets(&self, specifier: &VersionSpecifiers, origin: &str) -> Result<(), Error> {
        let version =
            Version::from_str(&self.version).map_err(|_| self.unusable("its version is not a PEP 440 version"))?;
        if specifier.contains(&version) {
            return Ok(());
        }
        Err(Error::Python(Detail::new(
            format!("{origin} needs Python {}", quote(&specifier.to_string())),
            format!("the interpreter chosen is Python {}", quote(&self.version)),
            "choose another interpreter with `--python X.Y`, or change `requires-python`",
        )))
    }

    fn unusable(&self, why: &str) -> Error {
        Error::Python(Detail::new(
            format!("the interpreter {} cannot be used", quote(&self.inside_executable)),
            why,
            "choose another interpreter with `--python X.Y`",
        ))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::Interpreter;

    pub(crate) fn interpreter() -> Interpreter {
        Interpreter {
            inside_executable: "/opt/stockade/python/bin/python3.11".into(),
            version: "3.11.7".into(),
            abi: "cp311".into(),
            platform: "linux_x86_64".into(),
            glibc: Some((2, 36)),
        }
    }
}
