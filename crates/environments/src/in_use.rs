//! Who uses an environment now, and who did: one file for each, `uses/<digest>`.
//!
//! Whoever has an [`Environment`](crate::Environment) holds a shared lock on it, and who takes an
//! environment away holds it alone: so nothing that is in use goes. The file's length counts the
//! runs, its time is that of the last one.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{self, Error};
use crate::store::Store;
use crate::tree;

/// A lock on an environment; it goes with this value, and with the process.
#[derive(Debug)]
pub(crate) struct InUse(File);

impl InUse {
    /// Keeps an environment where it is; waits while somebody takes it away.
    pub(crate) fn shared(store: &Store, digest: &str) -> Result<Self, Error> {
        let path = store.uses(digest);
        loop {
            let file = open(&path)?;
            file.lock_shared().map_err(|e| error::store("lock", &path, &e))?;
            if is_there(&file) {
                return Ok(Self(file));
            }
        }
    }

    /// The right to take an environment away, if nobody uses it.
    pub(crate) fn alone(store: &Store, digest: &str) -> Result<Option<Self>, Error> {
        let path = store.uses(digest);
        loop {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) if is_there(&file) => return Ok(Some(Self(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(cause)) => return Err(error::store("lock", &path, &cause)),
            }
        }
    }

    /// Counts one use. A store that cannot be written costs the count, nothing else.
    pub(crate) fn count(&self) {
        drop((&self.0).write(b"."));
    }

    /// How often the environment was used, and when last.
    pub(crate) fn used(&self) -> (u64, Option<SystemTime>) {
        self.0.metadata().map_or((0, None), |about| (about.len(), about.modified().ok()))
    }

    /// Takes the file away with the environment; who waited for the lock sees that it is gone.
    pub(crate) fn remove(self, store: &Store, digest: &str) {
        drop(fs::remove_file(store.uses(digest)));
    }
}

/// A user who may only read the store, holds environments all the same.
fn open(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    let opened = match options.append(true).create(true).open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            tree::make_folder(path.parent().unwrap_or(Path::new("/")))?;
            options.open(path)
        }
        Err(cause) if matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            File::open(path)
        }
        opened => opened,
    };
    opened.map_err(|e| error::store("open", path, &e))
}

/// Whether the file still has its name: between opening and locking it may have been taken away.
fn is_there(file: &File) -> bool {
    file.metadata().is_ok_and(|about| about.nlink() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_cannot_be_had_alone_and_uses_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path());
        let one = InUse::shared(&store, "d").unwrap();
        let other = InUse::shared(&store, "d").unwrap();
        assert!(InUse::alone(&store, "d").unwrap().is_none());
        one.count();
        other.count();
        assert_eq!(one.used().0, 2);
        drop(one);
        assert!(InUse::alone(&store, "d").unwrap().is_none());
        drop(other);
        let alone = InUse::alone(&store, "d").unwrap().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| InUse::shared(&store, "d").unwrap().used().0);
            std::thread::sleep(std::time::Duration::from_millis(20));
            alone.remove(&store, "d");
            // It came to a file without a name, and made a new one.
            assert_eq!(waits.join().unwrap(), 0);
        });
    }
}
