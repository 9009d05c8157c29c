//! The files of a folder of advisories, one after the other, within bounds.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{self, Detail, Error};
use crate::quote::quote_path;

const FILES_MAX: usize = 1_000_000;
const FOLDERS_MAX: usize = 100_000;
const DEPTH_MAX: usize = 16;
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What is handed on of a file: its text, or why there is none.
type Content = Result<String, String>;

/// Reads every `.json` file below a folder, in order. Links are not followed.
pub(super) fn each(root: &Path, take: &mut dyn FnMut(&Path, Content)) -> Result<(), Error> {
    let mut folders = vec![(root.to_path_buf(), 0)];
    let (mut files, mut seen) = (0_usize, 0_usize);
    while let Some((folder, depth)) = folders.pop() {
        seen += 1;
        if depth > DEPTH_MAX || seen > FOLDERS_MAX {
            return Err(refused(root, "it has more than 16 folders in each other, or more than 100,000"));
        }
        for path in entries(&folder).map_err(|e| unreadable(&folder, &e))? {
            let about = fs::symlink_metadata(&path).map_err(|e| unreadable(&path, &e))?;
            if about.is_dir() {
                folders.push((path, depth + 1));
            } else if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json")) {
                files += 1;
                if files > FILES_MAX {
                    return Err(refused(root, "it has more than 1,000,000 files"));
                }
                take(&path, read(&path));
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|item| item.map(|item| item.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Content {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NOCTTY;
    let flags = i32::from_ne_bytes(flags.bits().to_ne_bytes());
    let said = |cause: &io::Error| format!("it cannot be read: {}", error::said(cause));
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| said(&e))?;
    let about = file.metadata().map_err(|e| said(&e))?;
    if !about.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if about.len() > FILE_BYTES_MAX {
        return Err("it is larger than 8 MiB".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|e| said(&e))?;
    Ok(text)
}

fn refused(root: &Path, why: &str) -> Error {
    let what = format!("the advisories in {} are not read", quote_path(root));
    Error::Advisories(Detail::new(what, why, "give the folder that the advisories were unpacked into"))
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    let what = format!("cannot read the advisories in {}", quote_path(path));
    Error::Advisories(Detail::new(what, error::said(cause), "check its name and its permissions"))
}
