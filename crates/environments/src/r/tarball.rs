//! Looks at the archive of a source package before R unpacks it: a folder of the package's name, with
//! regular files and folders in it and nothing else. R unpacks it in a jail, where a hostile one could reach
//! nothing; this names what is wrong with it.

use std::io::{Read, Seek};
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::Archive;

use crate::quote::quote;

const ENTRIES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;
/// What is said of one entry: names and times.
const REMARK_BYTES_MAX: u64 = 64 << 10;

/// What it takes unpacked, or why it is refused.
pub(super) fn check(mut packed: impl Read + Seek, package: &str, bytes_max: u64) -> Result<u64, String> {
    let bytes = measure(&mut packed, bytes_max)?;
    packed.rewind().map_err(|_| NO_ARCHIVE)?;
    let mut described = false;
    let mut archive = Archive::new(plain(&mut packed, bytes_max));
    for entry in archive.entries().map_err(|_| NO_ARCHIVE)? {
        let entry = entry.map_err(|_| NO_ARCHIVE)?;
        let path = entry.path().map_err(|_| "one of its names is no path".to_owned())?;
        let shown = quote(&path.to_string_lossy());
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        if kind.is_symlink() || kind.is_hard_link() {
            return Err(format!("its entry {shown} is a link"));
        }
        if !(kind.is_file() || kind.is_contiguous() || kind.is_dir()) {
            return Err(format!("its entry {shown} is neither a file nor a folder"));
        }
        if !is_below(&path, package) {
            return Err(format!("its entry {shown} does not lie in the folder {}", quote(package)));
        }
        described |= path.as_ref() == Path::new(package).join("DESCRIPTION");
    }
    if described { Ok(bytes) } else { Err("it has no file DESCRIPTION in the folder of its package".to_owned()) }
}

/// What all entries take. Entries as they lie in the archive: those that only say something of the next one,
/// such as its long name, are held in memory whole by whoever reads them, so they are bounded first.
fn measure(packed: &mut impl Read, bytes_max: u64) -> Result<u64, String> {
    let (mut entries, mut bytes) = (0_usize, 0_u64);
    let mut archive = Archive::new(plain(packed, bytes_max));
    for entry in archive.entries().map_err(|_| NO_ARCHIVE)?.raw(true) {
        let entry = entry.map_err(|_| NO_ARCHIVE)?;
        let kind = entry.header().entry_type();
        let is_remark = kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
        if is_remark && entry.size() > REMARK_BYTES_MAX {
            return Err("one of its entries has a name, or remarks, that are too long".to_owned());
        }
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > ENTRIES_MAX || bytes > bytes_max {
            return Err("it holds more files, or larger ones, than a build may write".to_owned());
        }
    }
    Ok(bytes)
}

/// The archive without its packing. One byte more than may be: what is larger is cut, and seen to be cut.
fn plain<R: Read>(packed: R, bytes_max: u64) -> impl Read {
    // Heads and padding take some, too.
    GzDecoder::new(packed).take(bytes_max.saturating_add(ENTRIES_MAX as u64 * 1024))
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
    use tar::{Builder, EntryType, Header};

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

    fn looked_at(archive: &[u8], package: &str) -> Result<u64, String> {
        check(std::io::Cursor::new(archive), package, 1 << 20)
    }

    #[test]
    fn only_plain_files_in_the_folder_of_the_package_are_accepted() {
        assert_eq!(looked_at(&archive("aa/R/x.R", EntryType::Regular, 9), "aa"), Ok(10));
        assert_eq!(looked_at(&archive("./aa/R/", EntryType::Directory, 0), "aa"), Ok(1));
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
            let refused = looked_at(&archive(name, kind, 0), "aa").unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
        assert!(looked_at(&archive("aa/x", EntryType::Regular, 0), "bb").is_err());
        // A name that stands in an entry of its own counts.
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = Header::new_gnu();
        header.set_size(0);
        for path in ["aa/DESCRIPTION".to_owned(), format!("bb/{}", "x".repeat(200))] {
            builder.append_data(&mut header, path, std::io::empty()).unwrap();
        }
        let refused = looked_at(&builder.into_inner().unwrap().finish().unwrap(), "aa").unwrap_err();
        assert!(refused.contains("does not lie"), "{refused}");
    }

    #[test]
    fn bombs_garbage_and_halves_are_refused() {
        for (kind, why) in [
            (EntryType::Regular, "larger ones"),
            (EntryType::GNULongName, "too long"),
            (EntryType::GNULongLink, "too long"),
            (EntryType::XHeader, "too long"),
        ] {
            let refused = looked_at(&archive("aa/x", kind, 2 << 20), "aa").unwrap_err();
            assert!(refused.contains(why), "{kind:?}: {refused}");
        }
        assert!(looked_at(b"hello", "aa").is_err() && looked_at(b"", "aa").is_err());
        let whole = archive("aa/x", EntryType::Regular, 100_000);
        assert!(looked_at(&whole[..whole.len() / 2], "aa").is_err());
    }
}
