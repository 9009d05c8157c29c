//! The list of files of an archive, checked before any of them is written.

use std::collections::BTreeMap;

use super::tar;
use crate::digest::is_sha256;
use crate::layout;
use crate::quote::quote;

pub(crate) const FILES_MAX: usize = 500_000;
const PATH_BYTES_MAX: usize = 1024;
const PART_BYTES_MAX: usize = 255;
const DEPTH_MAX: usize = 64;

/// One file that has to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: String,
    pub(crate) executable: bool,
    pub(crate) sha256: String,
}

/// The files of a list, or why it is refused.
pub(crate) fn parse(text: &str) -> Result<Vec<Listed>, String> {
    const { assert!(PATH_BYTES_MAX + super::TREE.len() <= tar::PATH_BYTES_MAX) };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its list of files is cut short".to_owned());
    }
    let mut files: Vec<Listed> = Vec::new();
    let mut names = Names::default();
    for line in text.split_terminator('\n') {
        let file = parse_line(line).ok_or_else(|| format!("{} is no line of a list of files", quote(line)))?;
        if files.len() == FILES_MAX {
            return Err("it has more than 500,000 files".to_owned());
        }
        if let Some(objection) = objection(&file.path) {
            return Err(format!("its file {} {objection}", quote(&file.path)));
        }
        if files.last().is_some_and(|last| last.path >= file.path) {
            return Err(format!("its file {} is listed twice, or not in order", quote(&file.path)));
        }
        if names.collides(&file.path) {
            return Err(format!(
                "its file {} differs from another only in small and capital letters",
                quote(&file.path)
            ));
        }
        files.push(file);
    }
    // A file and a folder of one name do not stand beside each other in the order of paths.
    match files.iter().find(|file| names.folders.contains_key(&file.path)) {
        Some(file) => Err(format!("its file {} is a folder of other files, too", quote(&file.path))),
        None => Ok(files),
    }
}

fn parse_line(line: &str) -> Option<Listed> {
    let mut parts = line.splitn(3, ' ');
    let executable = match parts.next()? {
        "-" => false,
        "x" => true,
        _ => return None,
    };
    let sha256 = parts.next().filter(|sha256| is_sha256(sha256))?.to_owned();
    Some(Listed { path: parts.next()?.to_owned(), executable, sha256 })
}

/// What is wrong with a path: completes "its file … ".
fn objection(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Some("has a path longer than 1,024 bytes");
    }
    if path.chars().any(char::is_control) {
        return Some("has control characters in its name");
    }
    if path.split('/').count() > DEPTH_MAX {
        return Some("lies deeper than 64 folders");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > PART_BYTES_MAX) {
        return Some("has no plain relative path");
    }
    if layout::is_reserved(path) {
        return Some("is one that only stockade makes");
    }
    if layout::is_uncounted(path) {
        return Some("is made anew by every import: bytecode and the lists of installed files are not taken");
    }
    None
}

/// Names as a system sees them that does not tell small and capital letters apart.
#[derive(Debug, Default)]
struct Names {
    files: BTreeMap<String, ()>,
    folders: BTreeMap<String, String>,
    last_folder: String,
}

impl Names {
    fn collides(&mut self, path: &str) -> bool {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != self.last_folder {
            folder.clone_into(&mut self.last_folder);
            let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
            for above in ends.filter_map(|end| folder.get(..end)).filter(|above| !above.is_empty()) {
                let known = self.folders.entry(above.to_lowercase()).or_insert_with(|| above.to_owned());
                if known != above {
                    return true;
                }
            }
        }
        self.files.insert(path.to_lowercase(), ()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> Result<Vec<Listed>, String> {
        let lines: Vec<String> = paths.iter().map(|path| format!("- {} {path}\n", "a".repeat(64))).collect();
        parse(&lines.concat())
    }

    #[test]
    fn only_plain_paths_in_order_are_listed() {
        assert_eq!(list(&["Lib/a", "bin/tool", "lib64/a b"]).unwrap().len(), 3);
        for (paths, why) in [
            (&["../a"][..], "plain relative"),
            (&["/etc/passwd"], "plain relative"),
            (&["a//b"], "plain relative"),
            (&["a/./b"], "plain relative"),
            (&["a/"], "plain relative"),
            (&[""], "plain relative"),
            (&["a\u{1b}[31m"], "control"),
            (&["a\rb"], "control"),
            (&["b", "a"], "in order"),
            (&["a", "a"], "twice"),
            (&["A/x", "a/y"], "letters"),
            (&["lib/A.py", "lib/a.py"], "letters"),
            (&["a", "a/b"], "folder of other files"),
            (&["a", "a.b", "a/b"], "folder of other files"),
            (&["pyvenv.cfg"], "only stockade"),
            (&["bin/python3"], "only stockade"),
            (&["bin/python._pth"], "only stockade"),
            (&["manifest.json"], "only stockade"),
            (&["complete"], "only stockade"),
            (&["a/__pycache__/b.cpython-311.pyc"], "made anew"),
            (&["a-1.dist-info/RECORD"], "made anew"),
        ] {
            let refused = list(paths).unwrap_err();
            assert!(refused.contains(why), "{paths:?}: {refused}");
        }
        assert!(list(&[&"a/".repeat(70)]).unwrap_err().contains("deeper"));
        assert!(list(&[&"a".repeat(256)]).unwrap_err().contains("plain relative"));
        assert!(list(&[&"a".repeat(1025)]).unwrap_err().contains("1,024"));
        for text in ["l aa b\n", "- 00 b\n", "- \n", "\n", "?"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
