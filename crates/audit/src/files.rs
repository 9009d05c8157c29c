//! Which files a trail is made of, in one place.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

const LOG: &str = "audit.jsonl";
/// A file that has grown to this is continued in a new one.
const ROTATE_BYTES: u64 = 32 << 20;

/// Where a trail lies.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    key: PathBuf,
    rotate_bytes: u64,
}

impl Place {
    /// A trail in this folder, its key beside it.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { key: folder.join("audit.key"), folder, rotate_bytes: ROTATE_BYTES }
    }

    /// With its key elsewhere.
    #[must_use]
    pub fn with_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = path.into();
        self
    }

    /// With another size at which a new file is begun.
    #[must_use]
    pub const fn rotating_at(mut self, bytes: u64) -> Self {
        self.rotate_bytes = bytes;
        self
    }

    /// The file that is appended to. It stays the same file (inode) when it is continued: who has it open goes on.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Whether there is anything of a trail: a log with something in it, or a former file.
    ///
    /// # Errors
    /// [`Error::File`] when its folder cannot be listed.
    pub fn is_begun(&self) -> Result<bool, Error> {
        let has_log = fs::metadata(self.log()).is_ok_and(|about| about.len() > 0);
        Ok(has_log || !self.all_rotated()?.is_empty())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.folder.join("audit.head")
    }

    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// The public half of the key, for those who verify.
    pub(crate) fn public(&self) -> PathBuf {
        self.folder.join("audit.pub")
    }

    pub(crate) const fn rotate_bytes(&self) -> u64 {
        self.rotate_bytes
    }

    pub(crate) fn rotated(&self, number: u64) -> PathBuf {
        self.folder.join(rotated_name(number))
    }

    /// Former files in their order.
    pub(crate) fn all_rotated(&self) -> Result<Vec<u64>, Error> {
        let failed = Error::file("list", &self.folder);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            numbers.extend(name.to_str().and_then(rotated_number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens the log for reading and appending and the head beside it; made, with their folder, if they are not there.
    pub(crate) fn open(&self) -> Result<(File, File), Error> {
        let both = || Ok((self.open_log(OpenOptions::new().read(true).append(true))?, self.open_head()?));
        both().or_else(|_: Error| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
            made.map_err(Error::file("make", &self.folder))?;
            both()
        })
    }

    pub(crate) fn open_log(&self, options: &mut OpenOptions) -> Result<File, Error> {
        options.create(true).mode(0o600).open(self.log()).map_err(Error::file("open", &self.log()))
    }

    pub(crate) fn open_head(&self) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.head()).map_err(Error::file("open", &self.head()))
    }

    /// Whether the open log is still the one at its path: somebody may have moved it before it was locked.
    pub(crate) fn is_at_its_path(&self, log: &File) -> bool {
        let both = log.metadata().and_then(|open| Ok((open, fs::metadata(self.log())?)));
        both.is_ok_and(|(open, there)| (open.dev(), open.ino()) == (there.dev(), there.ino()))
    }

    /// That a file was made or renamed is on the disk.
    pub(crate) fn sync_folder(&self) -> Result<(), Error> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::file("write to the disk", &self.folder))
    }
}

pub(crate) fn rotated_name(number: u64) -> String {
    format!("audit.{number:06}.jsonl")
}

fn rotated_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("audit.")?.strip_suffix(".jsonl")?.parse().ok()?;
    (rotated_name(number) == name).then_some(number)
}
