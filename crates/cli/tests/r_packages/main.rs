//! Environments of R packages, end to end: from a CRAN-like repository in a network of a test's own, through
//! the gate, and compiled behind walls.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod building;
mod hostile;

use std::path::{Path, PathBuf};

use serde_json::Value;
use stockade_testkit::cran::{Cran, Source};
use stockade_testkit::world::World;
use stockade_testkit::{Call, Folder, Ran, User, skipped};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// A world with a repository, and a store of its own.
struct Place {
    world: World,
    cache: Folder,
    folder: Folder,
}

impl Place {
    fn new() -> Option<Self> {
        for (program, what) in [("Rscript", "R"), ("make", "make"), ("gcc", "a compiler of C")] {
            if !Path::new("/usr/bin").join(program).is_file() {
                skipped("environments of R packages", &format!("{what} is not installed"));
                return None;
            }
        }
        Some(Self { world: World::new()?, cache: Folder::new(), folder: Folder::new() })
    }

    fn call(&self, arguments: &[&str]) -> Call {
        self.world
            .call(STOCKADE, User::Caller)
            .env("STOCKADE_CACHE_DIR", self.cache.path())
            .env("STOCKADE_R_REPOSITORY", Cran::URL)
            .env("SSL_CERT_FILE", self.world.authority())
            .within(self.folder.path())
            .args(arguments)
    }

    fn ran(&self, arguments: &[&str]) -> Ran {
        self.call(arguments).run()
    }

    #[track_caller]
    fn document(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ran(arguments).expect(0).stdout).unwrap()
    }

    /// Builds an environment with this name; its digest.
    #[track_caller]
    fn built(&self, name: &str, packages: &str) -> String {
        self.document(&["env", "build", "--json", name, "--r", packages])["digest"].as_str().unwrap().to_owned()
    }

    /// A folder or file of the store.
    fn store(&self, below: &str) -> PathBuf {
        self.cache.path().join("environments").join(below)
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.store(folder)).map_or(0, Iterator::count)
    }

    /// What a refusal says, and that nothing half-built can be seen.
    #[track_caller]
    fn refused(&self, arguments: &[&str], parts: &[&str]) -> String {
        let ran = self.ran(arguments).expect(125);
        for part in parts.iter().chain(&["error: ", "  why:  ", "  next: "]) {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
        assert_eq!((self.count("envs"), self.count("building"), self.count("names")), (0, 0, 0), "{arguments:?}");
        ran.stderr
    }
}

/// Two, with C code.
fn withc() -> Source {
    Source::new("withc")
        .version("0.5-1")
        .field("NeedsCompilation", "yes")
        .code("useDynLib(withc)", "two <- function() .Call(\"C_two\", PACKAGE = \"withc\")")
        .file("src/two.c", "#include <Rinternals.h>\nSEXP C_two(void) { return ScalarInteger(2); }\n")
}

/// Three, of the one with C code.
fn pure() -> Source {
    Source::new("pure")
        .field("Imports", "withc (>= 0.5), stats")
        .code("import(withc)", "three <- function() two() + 1L")
}
