//! Where runs have their files: `runs/ID/in` while they run, `runs/ID/out` until they are forgotten.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::wire::RunId;

/// Bytes of all files of one run; the API takes no more either.
const FILE_BYTES_MAX: u64 = 128 << 20;
const IN: &str = "in";
const OUT: &str = "out";

/// The folder of all runs.
#[derive(Debug)]
pub(super) struct Folders {
    runs: PathBuf,
}

/// The folder of one.
#[derive(Debug)]
pub(super) struct Place {
    inputs: PathBuf,
}

impl Folders {
    /// Opens it, and takes away what runs of a former process left that only mattered while they ran.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let runs = folder.join("runs");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs)?;
        for entry in std::fs::read_dir(&runs)? {
            let folder = entry?.path();
            remove(&folder.join(IN));
            // Of what had nothing else; a folder with outputs stays.
            drop(std::fs::remove_dir(folder));
        }
        Ok(Self { runs })
    }

    pub(super) fn make(&self, run: &RunId) -> io::Result<Place> {
        self.make_outputs(run)?;
        self.make_inputs(run)
    }

    /// For a run whose files need no place: where its outputs will be.
    pub(super) fn make_outputs(&self, run: &RunId) -> io::Result<PathBuf> {
        let folder = self.runs.join(run.as_str());
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        // What is there already is another run's.
        builder.create(&folder)?;
        let outputs = folder.join(OUT);
        match builder.create(&outputs) {
            Ok(()) => Ok(outputs),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    /// For what has no outputs.
    pub(super) fn make_inputs_alone(&self, run: &RunId) -> io::Result<Place> {
        std::fs::DirBuilder::new().mode(0o700).create(self.runs.join(run.as_str()))?;
        self.make_inputs(run)
    }

    /// For one that needs it after all.
    pub(super) fn make_inputs(&self, run: &RunId) -> io::Result<Place> {
        let folder = self.runs.join(run.as_str());
        let inputs = folder.join(IN);
        match std::fs::DirBuilder::new().mode(0o700).create(&inputs) {
            Ok(()) => Ok(Place { inputs }),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    pub(super) fn remove_inputs(&self, run: &RunId) {
        remove(&self.runs.join(run.as_str()).join(IN));
    }

    pub(super) fn remove(&self, run: &RunId) {
        remove(&self.runs.join(run.as_str()));
    }

    /// A regular file below the folder of outputs; no link and no mount is followed.
    pub(super) fn output(&self, run: &RunId, path: &str) -> io::Result<(OwnedFd, u64)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(self.runs.join(run.as_str()).join(OUT), flags | OFlags::DIRECTORY, Mode::empty())?;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        // Without waiting: nothing but regular files is collected, and nothing but them is given out.
        let file =
            rustix::fs::openat2(folder, path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty(), resolve)?;
        let status = File::from(file.try_clone()?).metadata()?;
        if status.is_file() { Ok((file, status.len())) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Place {
    pub(super) fn inputs(&self) -> &Path {
        &self.inputs
    }

    /// Writes the files. Their contents are copied: what the other process does to its own later changes nothing.
    pub(super) fn spool<'a>(&self, names: impl Iterator<Item = &'a String>, files: &[OwnedFd]) -> io::Result<()> {
        let mut left = FILE_BYTES_MAX;
        for (name, descriptor) in names.zip(files) {
            let mut from = File::from(descriptor.as_fd().try_clone_to_owned()?);
            // A pipe would let this wait.
            if !from.metadata()?.is_file() {
                return Err(io::Error::other("what lies beside an order is no file"));
            }
            from.rewind()?;
            let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.inputs.join(name))?;
            left -= io::copy(&mut (&from).take(left), &mut to)?;
            if left == 0 {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(())
    }
}

/// Takes a folder away; what cannot be is said, for it is in nobody's way.
fn remove(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(error) => tracing::warn!(path = %path.display(), error = %error, "files of a run are left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        RunId::parse("0123456789abcdef").unwrap()
    }

    fn file(contents: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, contents.as_bytes()).unwrap();
        file.into()
    }

    #[test]
    fn outputs_are_regular_files_below_their_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::open(folder.path()).unwrap();
        folders.make(&run()).unwrap();
        let out = folder.path().join("runs/0123456789abcdef/out");
        std::fs::create_dir(out.join("sub")).unwrap();
        std::fs::write(out.join("sub/a.txt"), "12345").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", out.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", out.join("away")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, out.join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(folder.path().join("runs/0123456789abcdef/in/secret"), "x").unwrap();
        assert_eq!(folders.output(&run(), "sub/a.txt").unwrap().1, 5);
        for path in [
            "link",
            "away/passwd",
            "/etc/passwd",
            "../in/secret",
            "sub/../../in/secret",
            "fifo",
            "sub",
            "",
            "none",
            "a\0b",
        ] {
            assert!(folders.output(&run(), path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_former_process_leaves_outputs_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = Folders::open(folder.path()).unwrap().make(&run()).unwrap();
        place.spool([&"main.py".to_owned()].into_iter(), &[file("print(1)")]).unwrap();
        assert_eq!(std::fs::read_to_string(place.inputs().join("main.py")).unwrap(), "print(1)");
        std::fs::write(folder.path().join("runs/0123456789abcdef/out/kept"), "x").unwrap();
        let folders = Folders::open(folder.path()).unwrap();
        assert!(!place.inputs().exists());
        assert!(folders.output(&run(), "kept").is_ok());
        assert!(folders.make(&run()).is_err(), "its name is taken");
        folders.remove(&run());
        assert_eq!(std::fs::read_dir(folder.path().join("runs")).unwrap().count(), 0);
    }

    #[test]
    fn only_files_are_spooled_and_none_twice() {
        let folder = tempfile::tempdir().unwrap();
        let place = Folders::open(folder.path()).unwrap().make(&run()).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(place.spool([&"a".to_owned()].into_iter(), &[reader]).is_err());
        let names = ["b".to_owned(), "b".to_owned()];
        assert!(place.spool(names.iter(), &[file("1"), file("2")]).is_err());
    }
}
