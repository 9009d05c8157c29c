//! The package index of a world: what is on its shelf, and the manners it has when it is asked.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How the package index of a world behaves; each has an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Plain,
    /// It names hashes that its files do not have.
    Lying,
    /// Half of a listing arrives, and then nothing.
    Stalling,
    /// Half of a file arrives, and then nothing.
    StallingFiles,
    /// It takes the question and says nothing.
    Silent,
}

impl Manner {
    /// Its address, for `UV_DEFAULT_INDEX`.
    #[must_use]
    pub const fn url(self) -> &'static str {
        match self {
            Self::Plain => "https://index.example.com/plain/simple",
            Self::Lying => "https://index.example.com/lying/simple",
            Self::Stalling => "https://index.example.com/stalling/simple",
            Self::StallingFiles => "https://index.example.com/stalling-files/simple",
            Self::Silent => "https://index.example.com/silent/simple",
        }
    }
}

/// Makes a package file in the folder that the index serves.
pub(super) fn put(folder: &Path, kind: &str, (name, version): (&str, &str), members: &[(&str, &str)]) {
    let shelf = folder.join("shelf");
    std::fs::create_dir_all(&shelf).unwrap();
    let mut command = Command::new("python3");
    command.args(["-I", "-c", include_str!("package.py")]).arg(shelf).args([kind, name, version]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(serde_json::to_string(members).unwrap().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{name} could not be made");
}
