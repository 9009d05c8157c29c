//! A log that has grown is copied to a file of its own and goes on empty.
//!
//! Copied, not renamed: the egress gate has it open for appending and may open nothing, so it must stay the same file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::append::{Batch, Keeping, write};
use crate::error::Error;
use crate::files::Place;
use crate::look::{First, Held, Standing, last_of};

/// What is left free for the records themselves.
const SPARE_BYTES: u64 = 1 << 20;

/// Whether the log is to go on empty. Not where the disk has no room for a copy of it: a record that can still be
/// written is worth more than files of one size, and nobody copies in vain for each.
pub(crate) fn is_due(held: &Held<'_>, standing: &Standing) -> Result<bool, Error> {
    if standing.bytes < held.place.rotate_bytes() || standing.repair.is_some() {
        return Ok(false);
    }
    let last = held.place.all_rotated()?.last().copied().unwrap_or(0);
    if is_kept(held.place, last, standing)? {
        return Ok(true);
    }
    let about =
        rustix::fs::fstatvfs(held.log).map_err(|errno| Error::file("look at", &held.place.log())(errno.into()))?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize) > standing.bytes.saturating_add(SPARE_BYTES))
}

/// Signs what is there, keeps it, and empties the log. Where there is no room for the copy after all, it goes on as it is.
pub(crate) fn rotate(held: &Held<'_>, standing: Standing, time_ms: u64) -> Result<Standing, Error> {
    let last = held.place.all_rotated()?.last().copied().unwrap_or(0);
    let (number, standing) = if is_kept(held.place, last, &standing)? {
        // Somebody was ended between keeping and emptying it.
        (last, standing)
    } else {
        let number = last + 1;
        let standing = sign(held, standing, time_ms)?;
        let to = held.place.rotated(number);
        match keep(held.log, standing.bytes, &to) {
            Err(error) if is_for_room(&error) => return Ok(standing),
            kept => kept.map_err(Error::file("write", &to))?,
        }
        held.place.sync_folder()?;
        (number, standing)
    };
    held.log.set_len(0).map_err(Error::file("empty", &held.place.log()))?;
    Ok(Standing { bytes: 0, first: First::Continued(number), ..standing })
}

fn is_for_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the log is what the last kept file holds already.
pub(crate) fn is_kept(place: &Place, last: u64, standing: &Standing) -> Result<bool, Error> {
    if last == 0 {
        return Ok(false);
    }
    let end = last_of(&place.rotated(last))?;
    Ok((end.link, end.at) == (standing.link, standing.bytes))
}

fn sign(held: &Held<'_>, standing: Standing, time_ms: u64) -> Result<Standing, Error> {
    let mut batch = Batch::after(&standing);
    batch.sign(held.place, time_ms)?;
    write(held, standing.bytes, &batch, Keeping::Written)?;
    let added = u64::try_from(batch.lines.len()).unwrap_or_default();
    Ok(Standing { link: batch.link, checkpoint: batch.checkpoint, bytes: standing.bytes + added, ..standing })
}

/// Copies the log to a file that is there whole or not at all.
fn keep(mut log: &File, bytes: u64, to: &Path) -> io::Result<()> {
    let part = to.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    log.seek(SeekFrom::Start(0))?;
    let copied = io::copy(&mut io::Read::take(log, bytes), &mut file)
        .and_then(|copied| if copied == bytes { file.sync_all() } else { Err(io::ErrorKind::UnexpectedEof.into()) });
    copied.and_then(|()| std::fs::rename(&part, to)).inspect_err(|_| drop(std::fs::remove_file(&part)))
}
