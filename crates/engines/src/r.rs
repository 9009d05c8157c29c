//! R: scripts, by the machine's own `Rscript`.

use std::collections::BTreeMap;
use std::path::Path;

use stockade_core::paths;
use stockade_core::request::{ResultDescriptor, Start};

use crate::assets;
use crate::interpreter::Unusable;

/// What runs scripts.
const RSCRIPT: &str = "/usr/bin/Rscript";

/// What an R script of the working folder needs inside.
///
/// Our file runs as the user's profile and only sets up figures and reports; R then runs the
/// script itself, so that it sees exactly what plain `Rscript` gives.
#[must_use]
pub fn r(script: &str, arguments: Vec<String>) -> Start {
    let mut argv: Vec<String> =
        [RSCRIPT, "--no-environ", "--no-site-file", "--no-save", "--no-restore"].map(ToOwned::to_owned).into();
    argv.push(script.to_owned());
    argv.extend(arguments);
    let profile = format!("{}/main.R", paths::ENGINE);
    let vars =
        BTreeMap::from([("STOCKADE_RESULT_FD".to_owned(), "3".to_owned()), ("R_PROFILE_USER".to_owned(), profile)]);
    Start { argv, vars, trees: Vec::new(), files: assets::r(), result: ResultDescriptor::Open }
}

/// What a session of R needs inside: one process of R, which executes what it is ordered to.
#[must_use]
pub fn r_session() -> Start {
    let mut start = r(&format!("{}/session.R", paths::ENGINE), Vec::new());
    start.files.extend(assets::r_session());
    Start { result: ResultDescriptor::Conversation, ..start }
}

/// Where distributions keep R; what it is, is read there, and nothing is started.
const HOMES: [&str; 2] = ["/usr/lib/R", "/usr/lib64/R"];
const DESCRIPTION_BYTES_MAX: u64 = 64 << 10;

/// The machine's own R.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R {
    /// The program that runs scripts, outside as inside.
    pub executable: String,
    /// The full version, such as `4.2.2`.
    pub version: String,
    /// What its packages are compiled for, such as `x86_64-pc-linux-gnu`.
    pub platform: String,
}

impl R {
    /// Finds the R that runs scripts.
    ///
    /// # Errors
    /// [`Unusable`] when there is none.
    pub fn find() -> Result<Self, Unusable> {
        let found = HOMES.iter().find_map(|home| Self::of(Path::new(home)));
        found.filter(|found| Path::new(&found.executable).is_file()).ok_or_else(|| Unusable {
            what: "there is no R on this machine".to_owned(),
            why: format!("it is used as {RSCRIPT}, with its library in {}", HOMES.join(" or ")),
            next: "install it (Debian: r-base-core; to compile packages with C code, r-base-dev)".to_owned(),
        })
    }

    /// As its package `stats` says, which was compiled by it: `Built: R 4.2.2; x86_64-pc-linux-gnu; …`.
    fn of(home: &Path) -> Option<Self> {
        use std::io::Read;
        let file = std::fs::File::open(home.join("library/stats/DESCRIPTION")).ok()?;
        let mut text = String::new();
        file.take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text).ok()?;
        let built = text.lines().find_map(|line| line.strip_prefix("Built: R "))?;
        let mut parts = built.split(';').map(str::trim);
        let plain =
            |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let (version, platform) = (parts.next().filter(plain)?, parts.next().filter(plain)?);
        Some(Self { executable: RSCRIPT.to_owned(), version: version.to_owned(), platform: platform.to_owned() })
    }
}

/// Lets R look for packages in an environment, and in its own library; in no other of the machine.
#[must_use]
pub fn r_library() -> [(String, String); 3] {
    ["R_LIBS", "R_LIBS_SITE", "R_LIBS_USER"].map(|name| (name.to_owned(), format!("{}/library", paths::ENVIRONMENT)))
}
