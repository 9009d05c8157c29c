//! Parent, outside: how much a run has written to its folder. The host's file system has no limit for
//! one folder, so this is looked at again and again, and is approximate: what grows between two looks,
//! and files that are open but have no name any more, are not seen.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType};
use stockade_core::limits::{Limit, Limits};

use super::folder::open_folder;
use super::tree::links;

/// Deeper than this is over the limit: each level holds a descriptor.
const DEPTH_MAX: usize = 200;

/// Which limit of scratch the folder is over, if it is.
pub(crate) fn over(folder: BorrowedFd<'_>, limits: &Limits) -> Option<Limit> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    let mut waiting = vec![Dir::read_from(folder).ok()?];
    while let Some(here) = waiting.last_mut() {
        let Some(entry) = here.next() else {
            waiting.pop();
            continue;
        };
        let Ok(entry) = entry else { continue };
        let name: CString = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(parent) = here.fd() else { continue };
        let Ok(status) = rustix::fs::statat(parent, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        files += 1;
        let blocks = u64::try_from(status.st_blocks).unwrap_or(0);
        bytes = bytes.saturating_add(blocks.saturating_mul(512) / links(&status).max(1));
        if bytes > limits.scratch_bytes {
            return Some(Limit::Scratch);
        }
        if files > limits.scratch_files.saturating_add(crate::root::OWN_FILES) {
            return Some(Limit::ScratchFiles);
        }
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            let inner = open_folder(parent.as_fd(), &name).and_then(Dir::new);
            if waiting.len() >= DEPTH_MAX {
                return Some(Limit::ScratchFiles);
            }
            waiting.extend(inner);
        }
    }
    None
}
