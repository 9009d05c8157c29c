//! A lock of R packages that a user gives: only one that is, to the byte, as we write it.

use std::path::Path;

use super::{is_plain, library};
use crate::ecosystem::Ecosystem;
use crate::error::{Detail, Error};
use crate::lock::{LOCK_BYTES_MAX, Lock, PACKAGES_MAX};
use crate::quote::quote_path;
use crate::text_file;

/// The lock of a file.
pub(super) fn read(path: &Path) -> Result<Lock, Error> {
    let no = |why: &str| {
        Error::Lock(Detail::new(
            format!("the lock {} is refused", quote_path(path)),
            why,
            "give the lock that `stockade env show` names, unchanged, or name packages with --r",
        ))
    };
    let text = text_file::text_of(text_file::open_plain(path), path, LOCK_BYTES_MAX)?;
    let lock = Lock::of_environment(&text).map_err(|error| no(error.why()))?;
    let count = lock.locked().count();
    let ordered = lock.locked().zip(lock.locked().skip(1)).all(|(one, next)| one.name < next.name);
    let ours = lock.ecosystem() == Ecosystem::Cran && (1..=PACKAGES_MAX).contains(&count);
    if !ours || !ordered || !lock.locked().all(is_plain) || lock.to_text() != text {
        return Err(no("it is not as stockade writes it"));
    }
    if let Some(installed) = lock.wheels().find(|file| file.file.ends_with(library::END)) {
        let what = format!("`{}` was taken from the library of a machine, and can be fetched nowhere", installed.file);
        return Err(no(&what));
    }
    Ok(lock)
}
