//! One build: its own folder while it lasts, and the single rename that makes its result appear.
//!
//! A builder holds a lock on `building/<random>.lock` for as long as `building/<random>` exists.
//! Whoever builds next removes the folders whose lock nobody holds: a killed build leaves nothing.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::environment::{COMPLETE, Environment};
use crate::error::{self, Detail, Error};
use crate::in_use::InUse;
use crate::quote::quote_path;
use crate::record::{self, FILES, RECORDED};
use crate::share;
use crate::store::Store;
use crate::tree;

/// A build under way; what is left of it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Building {
    folder: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Building {
    /// Removes what killed builds left, and begins a new one.
    pub(crate) fn begin(store: &Store) -> Result<Self, Error> {
        let all = store.building();
        sweep(&all);
        loop {
            let made = tempfile::Builder::new().prefix("b-").suffix(".lock").rand_bytes(12).tempfile_in(&all);
            let named = made.map_err(|e| error::store("make a file in", &all, &e))?;
            let (lock, lock_path) = named.keep().map_err(|e| error::store("keep a file in", &all, &e.error))?;
            // Between making and locking, a sweep may have taken the file for an abandoned one.
            match lock.try_lock() {
                Ok(()) if lock.metadata().is_ok_and(|about| about.nlink() > 0) => {
                    let folder = lock_path.with_extension("");
                    tree::make_folder(&folder)?;
                    return Ok(Self { folder, lock_path, _lock: lock });
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(cause)) => {
                    drop(fs::remove_file(&lock_path));
                    return Err(error::store("lock", &lock_path, &cause));
                }
            }
        }
    }

    /// The folder of this build.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes `tree` the environment `digest`, and holds it; if there is one already, that one stays.
    pub(crate) fn publish(&self, store: &Store, tree: &Path, digest: &str) -> Result<Environment, Error> {
        // Another request with the same lock may be here too; a damaged place is cleared once.
        let _turn = take_turn(store, digest)?;
        // Held from before it appears, so that nobody takes it away in between.
        let in_use = InUse::shared(store, digest)?;
        let in_use = match Environment::read(store, digest, in_use) {
            Ok(there) => return Ok(there),
            Err(in_use) => in_use,
        };
        let (files, _) = record::read(tree, FILES)?;
        let rest = record::rest(tree, &files)?;
        tree::write(&tree.join(RECORDED), &rest)?;
        tree::make_read_only(tree)?;
        share::share(store, tree, &files)?;
        // Bytecode too: the same source at the same place gives the same bytes.
        share::share(store, tree, &record::parse(&rest).unwrap_or_default())?;
        let folder = File::open(tree).map_err(|e| error::store("open", tree, &e))?;
        // A power cut must not leave a name without its bytes.
        rustix::fs::syncfs(&folder).map_err(|e| error::store("write to disk", tree, &e.into()))?;
        let marker = tree.join(COMPLETE);
        tree::write(&marker, digest)?;
        tree::set_mode(&marker, 0o444)?;
        let place = store.environments().join(digest);
        if fs::symlink_metadata(&place).is_ok() {
            tree::set_mode(&place, 0o755)?;
            tree::rename(&place, &self.folder.join("damaged"))?;
        }
        tree::rename(tree, &place)?;
        tree::set_mode(&place, 0o555)?;
        Environment::read(store, digest, in_use).map_err(|_| vanished(&place))
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the sweep of the next build.
        if tree::remove(&self.folder).is_ok() {
            drop(fs::remove_file(&self.lock_path));
        }
    }
}

/// Removes every build whose lock is free. Best effort: it is no failure of the new build.
pub(crate) fn sweep(all: &Path) {
    for item in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = item.path();
        if path.extension().is_some_and(|end| end == "lock") {
            let Ok(lock) = File::options().write(true).open(&path) else {
                continue;
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => continue,
            }
            if tree::remove(&path.with_extension("")).is_ok() {
                drop(fs::remove_file(&path));
            }
        } else if item.file_type().is_ok_and(|kind| kind.is_dir()) && !path.with_extension("lock").exists() {
            drop(tree::remove(&path));
        }
    }
}

/// Says that a build is under way, for as long as the file is open: package files and notes stay.
pub(crate) fn hold_builds(store: &Store) -> Result<File, Error> {
    let path = store.builds();
    let file = open_lock(&path)?;
    file.lock_shared().map_err(|e| error::store("lock", &path, &e))?;
    Ok(file)
}

/// The right to take package files and notes away, if no build is under way.
pub(crate) fn without_builds(store: &Store) -> Result<Option<File>, Error> {
    let path = store.builds();
    let file = open_lock(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(cause)) => Err(error::store("lock", &path, &cause)),
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).open(path).map_err(|e| error::store("open the lock", path, &e))
}

fn vanished(place: &Path) -> Error {
    Error::Store(Detail::new(
        format!("the environment that was built is not at {}", quote_path(place)),
        "something else changes the store",
        "let nothing but stockade write into its store, then run again",
    ))
}

/// Waits until no other process works at the same request or digest; the lock goes with the file.
pub(crate) fn take_turn(store: &Store, key: &str) -> Result<File, Error> {
    let path = store.lock(key);
    let file = open_lock(&path)?;
    file.lock().map_err(|e| error::store("lock", &path, &e))?;
    Ok(file)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::{self, Manifest};

    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path());
        store.prepare().unwrap();
        (root, store)
    }

    fn finished(building: &Building, digest: &str) -> PathBuf {
        let tree = building.folder().join("env");
        fs::create_dir_all(tree.join("lib")).unwrap();
        let manifest = Manifest {
            format: 1,
            digest: digest.into(),
            python: "3.11.7".into(),
            abi: "cp311".into(),
            platform: "linux_x86_64".into(),
            executable: "/p/bin/python3".into(),
            packages: Vec::new(),
            dropped_startup: Vec::new(),
            shadowed: Vec::new(),
            denied: Vec::new(),
            bytes: 0,
            imported: false,
        };
        fs::write(tree.join(manifest::FILE), serde_json::to_string(&manifest).unwrap()).unwrap();
        fs::write(tree.join(FILES), "").unwrap();
        tree
    }

    /// An empty environment of this digest.
    pub(crate) fn published(store: &Store, digest: &str) -> Environment {
        let building = Building::begin(store).unwrap();
        building.publish(store, &finished(&building, digest), digest).unwrap()
    }

    #[test]
    fn many_builders_of_one_digest_publish_one_environment() {
        let (_root, store) = store();
        let digest = "a".repeat(64);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let building = Building::begin(&store).unwrap();
                    let tree = finished(&building, &digest);
                    building.publish(&store, &tree, &digest).unwrap();
                });
            }
        });
        assert!(Environment::load(&store, &digest).unwrap().is_some());
        assert_eq!(fs::read_dir(store.environments()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(store.building()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_a_living_one_is_not() {
        let (_root, store) = store();
        let living = Building::begin(&store).unwrap();
        let dead = Building::begin(&store).unwrap();
        let (folder, lock_path) = (dead.folder.clone(), dead.lock_path.clone());
        fs::create_dir(folder.join("half")).unwrap();
        tree::make_read_only(&folder).unwrap();
        // As if the process had been killed: the lock goes, the files stay.
        let mut dead = std::mem::ManuallyDrop::new(dead);
        dead._lock = File::open("/dev/null").unwrap();
        fs::create_dir(store.building().join("stray")).unwrap();
        let _next = Building::begin(&store).unwrap();
        assert!(!folder.exists() && !lock_path.exists());
        assert!(!store.building().join("stray").exists());
        assert!(living.folder().exists());
    }

    #[test]
    fn an_environment_without_its_marker_is_not_found() {
        let (_root, store) = store();
        let digest = "b".repeat(64);
        let building = Building::begin(&store).unwrap();
        let tree = finished(&building, &digest);
        fs::rename(tree, store.environments().join(&digest)).unwrap();
        assert!(Environment::load(&store, &digest).unwrap().is_none());
        assert!(Environment::load(&store, "../building").unwrap().is_none());
    }

    #[test]
    fn a_damaged_environment_is_replaced() {
        let (_root, store) = store();
        let digest = "c".repeat(64);
        let place = store.environments().join(&digest);
        fs::create_dir_all(place.join("half")).unwrap();
        let building = Building::begin(&store).unwrap();
        building.publish(&store, &finished(&building, &digest), &digest).unwrap();
        assert!(Environment::load(&store, &digest).unwrap().is_some());
        assert!(!place.join("half").exists());
    }

    #[test]
    fn a_damaged_environment_is_replaced_once_however_many_come() {
        for _ in 0..20 {
            let (_root, store) = store();
            let digest = "d".repeat(64);
            fs::create_dir_all(store.environments().join(&digest).join("half")).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let building = Building::begin(&store).unwrap();
                        building.publish(&store, &finished(&building, &digest), &digest).unwrap();
                        // Whoever is told that it is there can use it from now on.
                        for _ in 0..20 {
                            assert!(Environment::load(&store, &digest).unwrap().is_some());
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn builders_of_one_request_take_turns() {
        let (_root, store) = store();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _turn = take_turn(&store, "key").unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
        });
    }
}
