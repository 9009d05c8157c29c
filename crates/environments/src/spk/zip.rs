//! Reads a zip that a stranger made. Its list is gone through without being kept, whatever it claims to be
//! long; nothing is written by a name of it; and every byte that is unpacked is counted and checked.

use std::fs::File;
use std::io::{Read, Write};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder};

use crate::quote::{neutral, quote};

/// Why a zip is not taken.
pub(super) type Bad = String;

/// Members that are read; a package of a thousand packages is refused for its requirements, too.
const PICKED_MAX: usize = 3_000;

pub(super) struct Zip {
    archive: ZipArchive<FileReader>,
    bytes: u64,
}

/// A member that was asked for.
pub(super) struct Member {
    /// With `/` between its parts.
    pub(super) name: String,
    pub(super) packed_bytes: u64,
    method: CompressionMethod,
    place: ZipArchiveEntryWayfinder,
}

impl Zip {
    pub(super) fn of(file: File) -> Result<Self, Bad> {
        let bytes = file.metadata().map_err(|cause| crate::error::said(&cause))?.len();
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(|bad| unreadable(&bad))?;
        Ok(Self { archive, bytes })
    }

    /// What it takes as a file.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The members that are wanted. All are looked at: a zip with one that leads elsewhere is refused, though
    /// nothing would be written there.
    pub(super) fn members(&self, most: u64, wanted: impl Fn(&str) -> bool) -> Result<Vec<Member>, Bad> {
        let (mut picked, mut count) = (Vec::new(), 0_u64);
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let mut entries = self.archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(|bad| unreadable(&bad))? {
            count += 1;
            if count > most {
                return Err(format!("it has more than {most} members"));
            }
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).replace('\\', "/");
            if let Some(why) = strange(&name, entry.external_attributes()) {
                return Err(format!("its member {} {why}", quote(&name)));
            }
            if !wanted(&name) {
                continue;
            }
            let flags = entry.flags();
            if flags.is_encrypted() || flags.has_strong_encryption() {
                return Err(format!("its member {} is encrypted", quote(&name)));
            }
            if picked.len() == PICKED_MAX {
                return Err(format!("more than {PICKED_MAX} of its members would have to be read"));
            }
            picked.push(Member {
                name,
                packed_bytes: entry.compressed_size_hint(),
                method: entry.compression_method(),
                place: entry.wayfinder(),
            });
        }
        Ok(picked)
    }

    /// What a small member holds.
    pub(super) fn read(&self, member: &Member, bytes_max: u64) -> Result<Vec<u8>, Bad> {
        let mut bytes = Vec::new();
        self.copy(member, bytes_max, &mut bytes)?;
        Ok(bytes)
    }

    /// Unpacks a member, which is refused when it is larger, damaged, or not packed in the usual ways.
    pub(super) fn copy(&self, member: &Member, bytes_max: u64, to: &mut impl Write) -> Result<(), Bad> {
        let entry = self.archive.get_entry(member.place).map_err(|bad| unreadable(&bad))?;
        let packed = entry.reader();
        let unpacked: Box<dyn Read + '_> = match member.method {
            CompressionMethod::STORE => Box::new(packed),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(packed)),
            _ => return Err(format!("its member {} is packed in an unusual way", quote(&member.name))),
        };
        // Its length and checksum are held against what the list says, once all of it was read.
        let mut limited = entry.verifying_reader(unpacked).take(bytes_max.saturating_add(1));
        let copied = std::io::copy(&mut limited, to).map_err(|cause| {
            format!("its member {} cannot be read: {}", quote(&member.name), neutral(&cause.to_string()))
        })?;
        if copied > bytes_max {
            return Err(format!("its member {} is larger than {bytes_max} bytes", quote(&member.name)));
        }
        Ok(())
    }
}

/// What no installer leaves in a package.
fn strange(name: &str, attributes: u32) -> Option<&'static str> {
    const LINK: u32 = 0o12;
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with('/') || drive || name.split('/').any(|part| part == "..") {
        Some("leads out of the place where it is unpacked")
    } else if attributes >> 28 == LINK {
        Some("is a symbolic link")
    } else if name.contains('\0') || name.is_empty() {
        Some("has a name that no file has")
    } else {
        None
    }
}

fn unreadable(bad: &rawzip::Error) -> Bad {
    format!("it is no zip that can be read: {}", neutral(&bad.to_string()))
}
