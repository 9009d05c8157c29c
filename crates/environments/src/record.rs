//! What an environment consists of, file by file.
//!
//! `files.txt` has what the digest covers. `recorded.txt` has all the rest as it was when it was
//! published: bytecode, launchers, the lock, what makes the folder a virtual environment. The digest
//! does not cover these, since they differ between two builds; but Python runs bytecode without
//! looking at its source, so `verify` has to know what it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::digest::{self, is_sha256};
use crate::environment::COMPLETE;
use crate::error::{self, Error};

/// What the digest covers.
pub(crate) const FILES: &str = "files.txt";
/// What was there besides.
pub(crate) const RECORDED: &str = "recorded.txt";

const ENTRIES_MAX: usize = 600_000;
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// A file or link: its kind, and the hash of its bytes or of where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) kind: char,
    pub(crate) sha256: String,
}

/// The files of a list, by path.
pub(crate) type Files = BTreeMap<String, Recorded>;

/// A kind of file: `-`, executable `x`, link `l`, or something that has no place here.
fn kind(about: &fs::Metadata) -> char {
    if about.is_symlink() {
        'l'
    } else if !about.is_file() {
        '?'
    } else if about.permissions().mode() & 0o111 != 0 {
        'x'
    } else {
        '-'
    }
}

/// Looks at one file of an environment and hashes it; `None` when it is not there.
pub(crate) fn look(root: &Path, path: &str) -> Result<Option<Recorded>, Error> {
    let at = root.join(path);
    let Ok(about) = fs::symlink_metadata(&at) else { return Ok(None) };
    let kind = kind(&about);
    let sha256 = match kind {
        'l' => {
            let target = fs::read_link(&at).map_err(|e| error::store("read the link", &at, &e))?;
            digest::of_text(&target.to_string_lossy())
        }
        '?' => String::new(),
        _ => digest::of_file(&at).map_err(|e| error::store("read", &at, &e))?.0,
    };
    Ok(Some(Recorded { kind, sha256 }))
}

/// Every path below `root` that is no folder, links and oddities included, in order.
pub(crate) fn paths(root: &Path) -> Result<Vec<String>, Error> {
    let (mut paths, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(below) = folders.pop() {
        let folder = root.join(&below);
        for item in fs::read_dir(&folder).map_err(|e| error::store("read the folder", &folder, &e))? {
            let item = item.map_err(|e| error::store("read the folder", &folder, &e))?;
            let path = format!("{below}{}", item.file_name().to_string_lossy());
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path + "/");
            } else {
                paths.push(path);
            }
        }
        if paths.len() > ENTRIES_MAX {
            return Err(error::damaged(root, "it has more files than any environment"));
        }
    }
    paths.sort();
    Ok(paths)
}

/// One line a file.
pub(crate) fn line(path: &str, recorded: &Recorded) -> String {
    format!("{} {} {path}\n", recorded.kind, recorded.sha256)
}

/// The text of `recorded.txt` for a tree that has everything but it and the marker.
pub(crate) fn rest(root: &Path, files: &Files) -> Result<String, Error> {
    let mut text = String::new();
    for path in paths(root)?.iter().filter(|path| !files.contains_key(*path)) {
        if let Some(recorded) = look(root, path)?.filter(|_| path != RECORDED && path != COMPLETE) {
            text.push_str(&line(path, &recorded));
        }
    }
    Ok(text)
}

/// A list that stands in an environment; its text, too.
pub(crate) fn read(root: &Path, list: &str) -> Result<(Files, String), Error> {
    let path = root.join(list);
    let about = fs::symlink_metadata(&path).map_err(|e| error::store("read", &path, &e))?;
    if !about.is_file() || about.len() > TEXT_BYTES_MAX {
        return Err(error::damaged(&path, "it is no list of files"));
    }
    let text = fs::read_to_string(&path).map_err(|e| error::store("read", &path, &e))?;
    let files = parse(&text).ok_or_else(|| error::damaged(&path, "one of its lines is no file with its hash"))?;
    Ok((files, text))
}

/// The files of a text that `line` made.
pub(crate) fn parse(text: &str) -> Option<Files> {
    text.lines()
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let kind = parts.next().filter(|kind| matches!(*kind, "-" | "x" | "l"))?.chars().next()?;
            let sha256 = parts.next().filter(|sha256| is_sha256(sha256))?.to_owned();
            let path = parts.next().filter(|path| path.split('/').all(|part| !matches!(part, "" | "." | "..")))?;
            Some((path.to_owned(), Recorded { kind, sha256 }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_and_leads_nowhere_else() {
        let hash = "a".repeat(64);
        let text = format!("- {hash} a b/c.py\nl {hash} bin/python\nx {hash} bin/x\n");
        let files = parse(&text).unwrap();
        assert_eq!(files.iter().map(|(path, recorded)| line(path, recorded)).collect::<String>(), text);
        assert_eq!(files["bin/python"].kind, 'l');
        for bad in ["- x a", "? 00 a", "-", &format!("- {hash} ../a"), &format!("- {hash} /a"), &format!("- {hash} ")] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
