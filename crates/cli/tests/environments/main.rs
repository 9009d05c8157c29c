//! `stockade env`, end to end: names, locks, checks, and taking away what nobody uses.
//!
//! Uses the package index of this machine for small packages; hostile wheels are those of
//! `crates/environments/tests/end_to_end`.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod archives;
mod building;
mod checks;
mod inputs;
mod inventories;
mod phases;
mod spotfire;
mod strange_indexes;
mod tidying;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use stockade_testkit::{Call, Folder, Ran, User, call};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// A store of its own, which has the tools and package files that all these tests share.
struct Place {
    cache: Folder,
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        let place = Self { cache: Folder::new(), folder: Folder::new() };
        for shared in ["tools", "wheels", "index"] {
            copy(&shared_cache().join("environments").join(shared), &place.store(shared));
        }
        place
    }

    /// A folder or file of the store.
    fn store(&self, below: &str) -> PathBuf {
        self.cache.path().join("environments").join(below)
    }

    fn call(&self, arguments: &[&str]) -> Call {
        call(STOCKADE, User::Caller)
            .env("STOCKADE_CACHE_DIR", self.cache.path())
            .env("STOCKADE_CONFIG_DIR", self.folder.path().join("config"))
            .within(self.folder.path())
            .args(arguments)
    }

    /// Runs a command to its end.
    fn ran(&self, arguments: &[&str]) -> Ran {
        self.call(arguments).run()
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    fn done(&self, arguments: &[&str]) {
        drop(self.ran(arguments).expect(0));
    }

    /// The document that a command prints.
    #[track_caller]
    fn document(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ran(arguments).expect(0).stdout).unwrap()
    }

    /// Builds an environment with this name; its digest.
    #[track_caller]
    fn built(&self, name: &str, options: &[&str]) -> String {
        let document = self.document(&[&["env", "build", "--json", name], options].concat());
        document["digest"].as_str().unwrap().to_owned()
    }

    /// The folder of an environment.
    fn environment(&self, digest: &str) -> PathBuf {
        self.store("envs").join(digest)
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.store(folder)).map_or(0, Iterator::count)
    }
}

/// The first digits of a digest.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap()
}

/// Filled once: uv and the files of `six` and `idna`.
fn shared_cache() -> &'static Path {
    static FILLED: OnceLock<PathBuf> = OnceLock::new();
    FILLED.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments-cache");
        let build = ["env", "build", "shared", "--with", "six,idna"];
        drop(call(STOCKADE, User::Caller).env("STOCKADE_CACHE_DIR", &cache).args(build).run().expect(0));
        cache
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap().flatten() {
        let place = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &place);
        } else {
            std::fs::copy(item.path(), place).unwrap();
        }
    }
}

/// What a refusal says, and that nothing half-built can be seen.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], parts: &[&str]) {
    let ran = place.ran(arguments).expect(125);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    for part in ["error: ", "  why:  ", "  next: "] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert_eq!((place.count("envs"), place.count("building"), place.count("names")), (0, 0, 0), "{arguments:?}");
}
