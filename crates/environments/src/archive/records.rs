//! Which package brought which file: `RECORD`, which installers write and the digest does not cover.
//!
//! Of the one in an environment only this much travels: numbers of files in the list. An import writes
//! the text anew, with the hashes that it found itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use super::contents::Listed;
use crate::error::{self, Error};
use crate::tree;

/// The files of each `.dist-info` folder, as their places in the list.
pub(crate) type Records = BTreeMap<String, BTreeSet<usize>>;

const RECORD_BYTES_MAX: u64 = 64 << 20;
const METADATA: &str = "METADATA";

/// The folders of the list that describe a package.
fn folders(files: &[Listed]) -> impl Iterator<Item = &str> {
    let described = files.iter().filter_map(|file| file.path.strip_suffix(METADATA)?.strip_suffix('/'));
    described.filter(|folder| folder.ends_with(".dist-info"))
}

/// Reads them off an environment; a package without a `RECORD` that can be read has none.
pub(crate) fn of_environment(root: &Path, files: &[Listed]) -> Records {
    let places: HashMap<&str, usize> = files.iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect();
    let mut records = Records::new();
    for folder in folders(files) {
        let text = tree::read_bounded(&root.join(folder).join("RECORD"), RECORD_BYTES_MAX).unwrap_or_default();
        let site = folder.rsplit_once('/').map_or("", |(site, _)| site);
        let named = text.lines().filter_map(|line| beside(site, &first_cell(line)));
        records.insert(folder.to_owned(), named.filter_map(|path| places.get(path.as_str()).copied()).collect());
    }
    records
}

/// Whether every folder and every number stands for something in the list.
pub(crate) fn fit(records: &Records, files: &[Listed]) -> bool {
    let known: BTreeSet<&str> = folders(files).collect();
    let is_known = |(folder, places): (&String, &BTreeSet<usize>)| {
        known.contains(folder.as_str()) && places.last().is_none_or(|last| *last < files.len())
    };
    records.iter().all(is_known)
}

/// Writes the `RECORD` of each package into a tree.
pub(crate) fn write(root: &Path, files: &[Listed], records: &Records) -> Result<(), Error> {
    for (folder, places) in records {
        let site = folder.rsplit_once('/').map_or("", |(site, _)| site);
        let mut text = String::new();
        for file in places.iter().filter_map(|at| files.get(*at)) {
            let path = root.join(&file.path);
            let bytes = fs::symlink_metadata(&path).map_err(|e| error::store("look at", &path, &e))?.len();
            let cell = cell(&from(site, &file.path));
            text.push_str(&format!("{cell},sha256={},{bytes}\n", base64(&file.sha256)));
        }
        let own = format!("{folder}/RECORD");
        text.push_str(&format!("{},,\n", cell(&from(site, &own))));
        tree::write(&root.join(own), &text)?;
    }
    Ok(())
}

/// A path below the root that is written as seen from `site`; `None` when it leads out.
fn beside(site: &str, written: &str) -> Option<String> {
    let mut parts: Vec<&str> = site.split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "" | "." => return None,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The same the other way round.
fn from(site: &str, path: &str) -> String {
    match path.strip_prefix(site).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.to_owned(),
        None => {
            let up = site.split('/').filter(|part| !part.is_empty()).count();
            format!("{}{path}", "../".repeat(up))
        }
    }
}

fn first_cell(line: &str) -> String {
    match line.strip_prefix('"') {
        Some(rest) => rest.replace("\"\"", "\0").split('"').next().unwrap_or_default().replace('\0', "\""),
        None => line.split(',').next().unwrap_or_default().to_owned(),
    }
}

fn cell(text: &str) -> String {
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A hash in hexadecimal as `RECORD` has it: base64 for URLs, unpadded.
fn base64(hexadecimal: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0_u32);
    let letter = |number: u32| {
        let at = usize::try_from(number & 63).unwrap_or(0);
        LETTERS.get(at).copied().map_or('?', char::from)
    };
    for digit in hexadecimal.chars().filter_map(|c| c.to_digit(16)) {
        held = (held << 4) | digit;
        bits += 4;
        if bits >= 6 {
            bits -= 6;
            text.push(letter(held >> bits));
            held &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        text.push(letter(held << (6 - bits)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn paths_are_seen_from_the_folder_of_packages() {
        for (path, written) in [
            ("lib/python3.11/site-packages/six.py", "six.py"),
            ("bin/tool", "../../../bin/tool"),
            ("share/a,b", "../../../share/a,b"),
        ] {
            assert_eq!(from(SITE, path), written);
            assert_eq!(beside(SITE, written).as_deref(), Some(path));
            assert_eq!(first_cell(&format!("{},sha256=x,1", cell(written))), written);
        }
        assert_eq!(beside(SITE, "../../../../etc/passwd"), None);
        assert_eq!(first_cell(&format!("{},,", cell("a\"b"))), "a\"b");
    }

    #[test]
    fn hashes_are_written_as_installers_write_them() {
        // printf '' | sha256sum, and the same by Python's base64 module.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(base64(empty), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
