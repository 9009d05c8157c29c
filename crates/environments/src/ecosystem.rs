//! Where packages come from, and what runs them: told by the interpreter an environment was built for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A world of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Python packages, as a package index has them.
    Pypi,
    /// R packages, as a CRAN-like repository has them.
    Cran,
}

impl Ecosystem {
    /// As URIs of packages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pypi => "pypi",
            Self::Cran => "cran",
        }
    }

    /// What its packages are written for.
    #[must_use]
    pub const fn language(self) -> &'static str {
        match self {
            Self::Pypi => "Python",
            Self::Cran => "R",
        }
    }

    /// The lock of an environment, at its top.
    #[must_use]
    pub const fn lock_file(self) -> &'static str {
        match self {
            Self::Pypi => "pylock.toml",
            Self::Cran => "rlock.toml",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
