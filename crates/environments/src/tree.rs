//! Walks trees that came out of a jail, believing nothing, and makes finished ones read-only.
//!
//! The launcher brings only regular files and folders; that is checked again here.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{self, Detail, Error};
use crate::quote::quote;

const ENTRIES_MAX: usize = 500_000;
const DEPTH_MAX: usize = 64;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    Plain,
    Executable,
}

/// One file or folder below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The path below the root, with `/`; plain text without control characters.
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

/// Every entry below `root`, sorted by path; folders stand before what they hold.
pub(crate) fn walk(root: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut folders = vec![(root.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let listing = fs::read_dir(&folder).map_err(|e| error::store("read the folder", &folder, &e))?;
        for item in listing {
            let path = item.map_err(|e| error::store("read the folder", &folder, &e))?.path();
            let entry = inspect(&path, &prefix)?;
            if entry.kind == Kind::Folder {
                folders.push((path, format!("{}/", entry.path), depth + 1));
            }
            entries.push(entry);
        }
        if entries.len() > ENTRIES_MAX || depth > DEPTH_MAX {
            return Err(refused(&prefix, "the tree is too large or too deep"));
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn inspect(path: &Path, prefix: &str) -> Result<Entry, Error> {
    let name = path.file_name().unwrap_or_default();
    let shown = format!("{prefix}{}", name.to_string_lossy());
    let Some(name) = name.to_str().filter(|name| !name.chars().any(char::is_control)) else {
        return Err(refused(&shown, "its name is not plain text"));
    };
    let about = fs::symlink_metadata(path).map_err(|e| error::store("look at", path, &e))?;
    let mode = about.permissions().mode();
    let kind = if about.is_dir() {
        Kind::Folder
    } else if !about.is_file() {
        return Err(refused(&shown, "it is neither a regular file nor a folder"));
    } else if mode & 0o7000 != 0 {
        return Err(refused(&shown, "it has set-uid, set-gid or sticky bits"));
    } else if mode & 0o111 != 0 {
        Kind::Executable
    } else {
        Kind::Plain
    };
    Ok(Entry { path: format!("{prefix}{name}"), kind })
}

pub(crate) fn refused(path: &str, why: &str) -> Error {
    Error::Tree(Detail::new(
        format!("the file {} that a build step left is refused", quote(path)),
        why,
        "leave out the package that it belongs to, or choose another version",
    ))
}

/// Takes every write permission away below `root` and lets everybody read; the root itself stays
/// writable, since a folder that is not cannot be renamed to another place.
pub(crate) fn make_read_only(root: &Path) -> Result<(), Error> {
    for entry in walk_any(root)? {
        let mode = match entry.kind {
            Kind::Plain => 0o444,
            Kind::Executable | Kind::Folder => 0o555,
        };
        set_mode(&root.join(&entry.path), mode)?;
    }
    Ok(())
}

/// As `walk`, but our own links to the interpreter are passed over.
fn walk_any(root: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        for item in fs::read_dir(&at).map_err(|e| error::store("read the folder", &at, &e))? {
            let path = item.map_err(|e| error::store("read the folder", &at, &e))?.path();
            if path.is_symlink() {
                continue;
            }
            let prefix = folder.to_string_lossy();
            let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
            let entry = inspect(&path, &prefix)?;
            if entry.kind == Kind::Folder {
                folders.push(PathBuf::from(&entry.path));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Sets the permissions of one file or folder.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|e| error::store("set the permissions of", path, &e))
}

/// Removes a tree, read-only folders included; what is not there is removed already.
pub(crate) fn remove(root: &Path) -> Result<(), Error> {
    let Ok(about) = fs::symlink_metadata(root) else {
        return Ok(());
    };
    if !about.is_dir() {
        return fs::remove_file(root).map_err(|e| error::store("remove", root, &e));
    }
    open_folders(root)?;
    fs::remove_dir_all(root).map_err(|e| error::store("remove", root, &e))
}

/// Makes every folder writable for its owner, which removing its entries needs.
fn open_folders(root: &Path) -> Result<(), Error> {
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        set_mode(&folder, 0o700)?;
        for item in fs::read_dir(&folder).map_err(|e| error::store("read", &folder, &e))?.flatten() {
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(item.path());
            }
        }
    }
    Ok(())
}

/// Reads a small text file that a jail made.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, Error> {
    use std::io::Read;
    let about = fs::symlink_metadata(path).map_err(|e| error::store("look at", path, &e))?;
    if !about.is_file() {
        return Err(refused(&path.to_string_lossy(), "it is not a regular file"));
    }
    if about.len() > bytes_max {
        return Err(refused(&path.to_string_lossy(), "it is larger than a build step may hand over"));
    }
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(bytes_max).read_to_string(&mut text))
        .map_err(|e| error::store("read", path, &e))?;
    Ok(text)
}

/// Writes a file of our own.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|e| error::store("write", path, &e))
}

/// Moves a file or folder within the store.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|e| error::store("put into place", to, &e))
}

/// Moves everything of the tree `from` into the tree `into`; a file that both have is then that of
/// `from`, as when packages are installed one after the other.
pub(crate) fn merge(from: &Path, into: &Path) -> Result<(), Error> {
    // Links are refused before one is followed.
    walk(from)?;
    merge_plain(from, into)
}

fn merge_plain(from: &Path, into: &Path) -> Result<(), Error> {
    if !into.exists() || (from.is_file() && into.is_file()) {
        return rename(from, into);
    }
    if from.is_file() || into.is_file() {
        return Err(refused(&into.to_string_lossy(), "of two packages, one has a file and one a folder there"));
    }
    for item in fs::read_dir(from).map_err(|e| error::store("read the folder", from, &e))? {
        let item = item.map_err(|e| error::store("read the folder", from, &e))?;
        merge_plain(&item.path(), &into.join(item.file_name()))?;
    }
    Ok(())
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|e| error::store("make the folder", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_and_folders_are_walked() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(root.path().join("a/b"), "").unwrap();
        set_mode(&root.path().join("a/b"), 0o755).unwrap();
        let entries = walk(root.path()).unwrap();
        assert_eq!(
            entries.iter().map(|e| (e.path.as_str(), e.kind)).collect::<Vec<_>>(),
            [("a", Kind::Folder), ("a/b", Kind::Executable)]
        );
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        assert!(walk(root.path()).unwrap_err().why().contains("neither"));
        fs::remove_file(root.path().join("link")).unwrap();
        set_mode(&root.path().join("a/b"), 0o4755).unwrap();
        assert!(walk(root.path()).unwrap_err().why().contains("set-uid"));
        fs::remove_file(root.path().join("a/b")).unwrap();
        let error = read_bounded(&root.path().join("a"), 1).unwrap_err().to_string();
        assert_eq!(error, format!("the file `{}/a` that a build step left is refused", root.path().display()));
        fs::write(root.path().join("a/new\nline"), "").unwrap();
        assert!(walk(root.path()).unwrap_err().why().contains("plain text"));
    }

    #[test]
    fn trees_are_merged_as_if_one_were_installed_after_the_other() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (tree, file) in
            [(&one, "lib/a/x"), (&one, "lib/n/1"), (&two, "lib/b/y"), (&two, "lib/n/2"), (&two, "lib/a/x")]
        {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, tree.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        let into = root.path().join("all");
        merge(&one, &into).unwrap();
        merge(&two, &into).unwrap();
        let files: Vec<String> = walk(&into).unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(files, ["lib", "lib/a", "lib/a/x", "lib/b", "lib/b/y", "lib/n", "lib/n/1", "lib/n/2"]);
        assert_eq!(fs::read_to_string(into.join("lib/a/x")).unwrap(), "two");
        fs::create_dir_all(one.join("lib/a/x")).unwrap();
        assert!(merge(&one, &into).unwrap_err().why().contains("one a folder"));
        std::os::unix::fs::symlink("/etc", one.join("link")).unwrap();
        assert!(merge(&one, &into).unwrap_err().why().contains("neither"));
    }

    #[test]
    fn a_read_only_tree_can_be_removed() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/c"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
        make_read_only(&tree).unwrap();
        assert_eq!(fs::metadata(tree.join("a/b/c")).unwrap().permissions().mode() & 0o777, 0o444);
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
