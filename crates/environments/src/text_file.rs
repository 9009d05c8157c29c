//! Reads the files that say what is wanted: untrusted text, bounded, from a regular file only.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{self, Detail, Error};
use crate::quote::quote_path;

/// Opens a file that the user named: a link is followed, a pipe is not waited for.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// The bounded UTF-8 text of an opened regular file.
pub(crate) fn text_of(opened: io::Result<File>, path: &Path, bytes_max: u64) -> Result<String, Error> {
    let file = opened.map_err(|cause| unreadable(path, &cause))?;
    let about = file.metadata().map_err(|cause| unreadable(path, &cause))?;
    if !about.is_file() {
        return Err(refused_file(path, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(path, &cause))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(refused_file(path, &format!("it is larger than {} MiB", bytes_max >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused_file(path, "it is not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The number of the line that a place in a text is on.
pub(crate) fn line_at(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

pub(crate) fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::Requirement(Detail::new(
        format!("cannot read the requirement file {}", quote_path(path)),
        error::said(cause),
        "check the path and the permissions of the file",
    ))
}

pub(crate) fn refused_file(path: &Path, why: &str) -> Error {
    Error::Requirement(Detail::new(
        format!("the requirement file {} is refused", quote_path(path)),
        why,
        "give a text file with one requirement a line, a pyproject.toml, a pylock.toml or a uv.lock",
    ))
}
