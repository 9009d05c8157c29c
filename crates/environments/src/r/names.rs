//! Names and versions of R packages, and what is asked for of them. Strict on purpose: a name becomes the
//! name of a folder, a version a part of the name of a file.

use crate::error::{Detail, Error};
use crate::quote::quote;

const NAME_BYTES_MAX: usize = 100;
const VERSION_BYTES_MAX: usize = 50;

/// The packages that are R itself: never fetched, never part of an environment.
pub(crate) const BASE: [&str; 15] = [
    "R",
    "base",
    "compiler",
    "datasets",
    "grDevices",
    "graphics",
    "grid",
    "methods",
    "parallel",
    "splines",
    "stats",
    "stats4",
    "tcltk",
    "tools",
    "utils",
];

/// Whether `text` is the name of an R package: letters, digits and dots, a letter first, no dot last.
pub(crate) fn is_r_name(text: &str) -> bool {
    (2..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        && !text.ends_with('.')
        && !BASE.contains(&text)
}

/// Whether `text` is the version of an R package: two numbers or more, with dots or hyphens between them.
pub(crate) fn is_r_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= VERSION_BYTES_MAX && text.contains(['.', '-']) && text.split(['.', '-']).all(number)
}

/// A package that is asked for, and the versions that will do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// An operator and a version.
    pub(crate) version: Option<(&'static str, String)>,
}

impl Wanted {
    /// As `dplyr`, `dplyr>=1.1` or, as R writes it, `dplyr (>= 1.1)`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let rest = rest.trim();
        let rest = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(rest).trim();
        if BASE.contains(&name) {
            let next = "leave it out: `library()` finds it in every run";
            return Err(refused(text, "it is a part of R itself, which every run has", next));
        }
        if !is_r_name(name) {
            return Err(refused(text, "a package of R is called by letters, digits and dots", FORM));
        }
        let version = match rest {
            "" => None,
            _ => Some(constraint(rest).ok_or_else(|| refused(text, "what follows its name is no version", FORM))?),
        };
        Ok(Self { name: name.to_owned(), version })
    }

    /// One line for the step that resolves.
    pub(crate) fn line(&self) -> String {
        match &self.version {
            None => format!("{}\n", self.name),
            Some((operator, version)) => format!("{} {operator} {version}\n", self.name),
        }
    }
}

const FORM: &str = "name packages as `--r dplyr,ggplot2` or `--r 'dplyr>=1.1'`";

fn constraint(text: &str) -> Option<(&'static str, String)> {
    let operator = [">=", "<=", "==", ">", "<"].into_iter().find(|operator| text.starts_with(operator))?;
    let version = text.strip_prefix(operator)?.trim();
    // As R compares them, a single number is a version too.
    let plain = is_r_version(version) || (!version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()));
    (plain && version.len() <= VERSION_BYTES_MAX).then(|| (operator, version.to_owned()))
}

fn refused(text: &str, why: &str, next: &str) -> Error {
    Error::Requirement(Detail::new(format!("the R package {} is refused", quote(text)), why, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_lead_nowhere() {
        for name in ["dplyr", "data.table", "R6", "A3"] {
            assert!(is_r_name(name), "{name}");
        }
        for name in ["", "a", "..", ".x", "x.", "1a", "a/b", "a_b", "stats", "base", "R", "a b", "é1", &"a".repeat(101)]
        {
            assert!(!is_r_name(name), "{name}");
        }
        assert!(["1.0", "0.5-1", "2023.1.2-10"].into_iter().all(is_r_version));
        assert!(!["", "1", "1.", ".1", "1..2", "1.a", "1.0/x", "1.0 ", "-1"].into_iter().any(is_r_version));
    }

    #[test]
    fn a_package_is_asked_for_as_r_or_as_python_writes_it() {
        let wanted = |text: &str| Wanted::parse(text).unwrap().line();
        assert_eq!(wanted("dplyr"), "dplyr\n");
        assert_eq!(wanted("dplyr>=1.1"), "dplyr >= 1.1\n");
        assert_eq!(wanted("dplyr (>= 1.1-2)"), "dplyr >= 1.1-2\n");
        for (bad, why) in [
            ("stats", "part of R itself"),
            ("../x", "letters, digits"),
            ("a;b", "letters, digits"),
            ("dplyr 1", "no version"),
            ("dplyr>=", "no version"),
            ("dplyr>=1,<2", "no version"),
            ("dplyr @ https://a", "no version"),
            ("github/dplyr", "no version"),
        ] {
            assert!(Wanted::parse(bad).unwrap_err().why().contains(why), "{bad}");
        }
    }
}
