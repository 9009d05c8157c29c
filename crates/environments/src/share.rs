//! One copy of each large file for all environments: hard links into `files/` of the store, made by
//! the store when it publishes, never by a jail.
//!
//! A shared copy has its hash as its name. It is not hashed again when it is shared, for no file is
//! when it is used; `verify` hashes, and takes a copy that is not what its name says out of `files/`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{self, Error};
use crate::record::{Files, Recorded};
use crate::store::Store;

/// Smaller files are many and take little: a link costs more than the block it saves.
pub(crate) const BYTES_MIN: u64 = 16 << 10;

/// Replaces the large files of a read-only tree by links to those the store has, and offers its own.
pub(crate) fn share(store: &Store, tree: &Path, files: &Files) -> Result<(), Error> {
    for (path, recorded) in files {
        let at = tree.join(path);
        let about = fs::symlink_metadata(&at).map_err(|e| error::store("look at", &at, &e))?;
        if about.is_file() && about.len() >= BYTES_MIN {
            share_one(&at, &about, &place(store, recorded));
        }
    }
    Ok(())
}

/// Best effort: a file that cannot be shared is there all the same.
fn share_one(at: &Path, own: &fs::Metadata, place: &Path) {
    let same = |there: &fs::Metadata| {
        there.is_file() && (there.len(), there.mode(), there.uid()) == (own.len(), own.mode(), own.uid())
    };
    match fs::symlink_metadata(place) {
        Ok(there) if same(&there) && there.ino() != own.ino() => {
            let Some(folder) = at.parent() else { return };
            let beside = folder.join(".shared");
            // The folder is read-only by now.
            let mode = fs::metadata(folder).map(|about| about.permissions());
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            if fs::set_permissions(folder, open).is_ok() {
                if fs::hard_link(place, &beside).is_ok() && fs::rename(&beside, at).is_err() {
                    drop(fs::remove_file(&beside));
                }
                drop(mode.and_then(|mode| fs::set_permissions(folder, mode)));
            }
        }
        Ok(there) if same(&there) => {}
        Ok(_) => drop(fs::remove_file(place)),
        Err(_) => drop(fs::hard_link(at, place)),
    }
}

/// Where the shared copy of a file is.
pub(crate) fn place(store: &Store, recorded: &Recorded) -> PathBuf {
    let kind = if recorded.kind == 'x' { "-x" } else { "" };
    store.file(&format!("{}{kind}", recorded.sha256))
}

/// The shared copies that no environment has any more, with their sizes.
pub(crate) fn unused(store: &Store) -> Vec<(PathBuf, u64)> {
    let items = fs::read_dir(store.file("")).into_iter().flatten().flatten();
    let about = items.filter_map(|item| Some((item.path(), item.metadata().ok()?)));
    about.filter(|(_, about)| about.is_file() && about.nlink() == 1).map(|(path, about)| (path, about.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record;
    use crate::tree;

    #[test]
    fn two_trees_have_one_copy_of_a_large_file() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(&root.path().join("store"));
        store.prepare().unwrap();
        let trees = ["one", "two"].map(|name| root.path().join(name));
        for tree in &trees {
            fs::create_dir_all(tree.join("lib")).unwrap();
            fs::write(tree.join("lib/large"), vec![7; 1 << 16]).unwrap();
            fs::write(tree.join("lib/small"), "x").unwrap();
            tree::make_read_only(tree).unwrap();
            let files = record::parse(&record::rest(tree, &Files::new()).unwrap()).unwrap();
            share(&store, tree, &files).unwrap();
        }
        let inode = |tree: &Path, name: &str| fs::metadata(tree.join("lib").join(name)).unwrap().ino();
        assert_eq!(inode(&trees[0], "large"), inode(&trees[1], "large"));
        assert_ne!(inode(&trees[0], "small"), inode(&trees[1], "small"));
        assert_eq!(fs::metadata(trees[1].join("lib")).unwrap().mode() & 0o777, 0o555);
        assert_eq!(fs::read_dir(trees[1].join("lib")).unwrap().count(), 2);
        assert!(unused(&store).is_empty());
        for tree in &trees {
            tree::remove(tree).unwrap();
        }
        assert_eq!(unused(&store).len(), 1);
    }
}
