//! Looks at the archive of a source package before R unpacks it: a folder of the package's name, with
//! regular files and folders in it and nothing else. R unpacks it in a jail, where a hostile one could reach
//! nothing; this names what is wrong with it.

use std::io::Read;
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::quote::quote;

const ENTRIES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;

/// What it takes unpacked, or why it is refused.
pub(super) fn check(packed: impl Read, package: &str, bytes_max: u64) -> Result<u64, String> {
    // One more than may be: what is larger is cut, and seen to be cut.
    let plain = GzDecoder::new(packed).take(bytes_max.saturating_add(1));
    let (mut entries, mut bytes, mut described) = (0_usize, 0_u64, false);
    let mut archive = Archive::new(plain);
    for entry in archive.entries().map_err(|_| NO_ARCHIVE)? {
        let entry = entry.map_err(|_| NO_ARCHIVE)?;
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > ENTRIES_MAX || bytes > bytes_max {
            return Err("it holds more files, or larger ones, than a build may write".to_owned());
        }
        let path = entry.path().map_err(|_| "one of its names is no path".to_owned())?;
        let shown = quote(&path.to_string_lossy());
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => {}
            EntryType::XGlobalHeader => continue,
            EntryType::Symlink | EntryType::Link => return Err(format!("its entry {shown} is a link")),
            _ => return Err(format!("its entry {shown} is neither a file nor a folder")),
        }
        if !is_below(&path, package) {
            return Err(format!("its entry {shown} does not lie in the folder {}", quote(package)));
        }
        described |= path.as_ref() == Path::new(package).join("DESCRIPTION");
    }
    if described { Ok(bytes) } else { Err("it has no file DESCRIPTION in the folder of its package".to_owned()) }
}

const NO_ARCHIVE: &str = "it is no archive that tar and gzip made, or it is cut short";

fn is_below(path: &Path, package: &str) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let first = parts.next();
    // `./` itself is a folder that R makes anyway.
    plain && parts.count() < DEPTH_MAX && first.is_none_or(|first| first.as_os_str() == package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    /// An archive with a good DESCRIPTION and one entry more, whose name nobody looks at.
    fn archive(name: &str, kind: EntryType, size: u64) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, kind, size) in [("aa/DESCRIPTION", EntryType::Regular, 1), (name, kind, size)] {
            let mut header = Header::new_ustar();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(kind);
            header.set_size(size);
            header.set_mode(0o644);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name("target").unwrap();
            }
            header.set_cksum();
            builder.append(&header, std::io::repeat(b'x').take(size)).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn only_plain_files_in_the_folder_of_the_package_are_accepted() {
        assert_eq!(check(&*archive("aa/R/x.R", EntryType::Regular, 9), "aa", 1 << 20), Ok(10));
        assert_eq!(check(&*archive("./aa/R/", EntryType::Directory, 0), "aa", 1 << 20), Ok(1));
        for (name, kind, why) in [
            ("../x", EntryType::Regular, "does not lie"),
            ("aa/../../x", EntryType::Regular, "does not lie"),
            ("/etc/passwd", EntryType::Regular, "does not lie"),
            ("bb/x", EntryType::Regular, "does not lie"),
            ("aa/link", EntryType::Symlink, "is a link"),
            ("aa/link", EntryType::Link, "is a link"),
            ("aa/device", EntryType::Char, "neither a file"),
            ("aa/fifo", EntryType::Fifo, "neither a file"),
        ] {
            let refused = check(&*archive(name, kind, 0), "aa", 1 << 20).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
        assert!(check(&*archive("aa/x", EntryType::Regular, 0), "bb", 1 << 20).is_err());
    }

    #[test]
    fn bombs_garbage_and_halves_are_refused() {
        assert!(check(&*archive("aa/x", EntryType::Regular, 2 << 20), "aa", 1 << 20).unwrap_err().contains("larger ones"));
        assert!(check(&b"hello"[..], "aa", 1 << 20).is_err());
        assert!(check(&b""[..], "aa", 1 << 20).is_err());
        let whole = archive("aa/x", EntryType::Regular, 100_000);
        assert!(check(&whole[..whole.len() / 2], "aa", 1 << 20).is_err());
    }
}
