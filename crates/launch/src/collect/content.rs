//! Copying and comparing the content of regular files.
//!
//! Parent, outside; both ends are open already and known to be regular files.
//! Must never read past the size that was seen, nor fill a hole with bytes.

use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

const CHUNK_BYTES: usize = 128 * 1024;

/// Buffers kept for the whole collection.
#[derive(Debug)]
pub(super) struct Content {
    one: Vec<u8>,
    other: Vec<u8>,
}

/// Which end of a copy failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyFault {
    Read(Errno),
    Write(Errno),
    /// The file ended before the size that was seen.
    Short,
}

impl Content {
    pub(super) fn new() -> Self {
        Self { one: vec![0; CHUNK_BYTES], other: Vec::new() }
    }

    /// Copies `bytes` of a file into an empty one; holes stay holes.
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        bytes: u64,
        sparse: bool,
    ) -> Result<(), CopyFault> {
        if !sparse {
            return self.copy_range(from, to, 0, bytes);
        }
        let mut at = 0;
        while let Some((start, end)) = data_after(from, at, bytes).map_err(CopyFault::Read)? {
            self.copy_range(from, to, start, end)?;
            at = end;
        }
        ftruncate(to, bytes).map_err(CopyFault::Write)
    }

    fn copy_range(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), CopyFault> {
        let mut at = start;
        // For small files one read and one write are quicker.
        if end.saturating_sub(start) > bytes_of(CHUNK_BYTES) {
            at = copy_in_kernel(from, to, start, end)?;
        }
        while at < end {
            let chunk = chunk(&mut self.one, end.saturating_sub(at));
            let length = fill(from, chunk, at).map_err(CopyFault::Read)?;
            let chunk = chunk.get(..length).unwrap_or_default();
            if chunk.is_empty() {
                return Err(CopyFault::Short);
            }
            write_whole(to, chunk, at).map_err(CopyFault::Write)?;
            at = at.saturating_add(bytes_of(length));
        }
        Ok(())
    }

    /// Whether two files hold the same `bytes`.
    pub(super) fn same(&mut self, one: BorrowedFd<'_>, other: BorrowedFd<'_>, bytes: u64) -> Result<bool, Errno> {
        self.other.resize(CHUNK_BYTES, 0);
        let mut at = 0;
        while at < bytes {
            let left = bytes.saturating_sub(at);
            let first = chunk(&mut self.one, left);
            let second = chunk(&mut self.other, left);
            let length = fill(one, first, at)?;
            if fill(other, second, at)? != length || first.get(..length) != second.get(..length) {
                return Ok(false);
            }
            if length == 0 {
                return Ok(false);
            }
            at = at.saturating_add(bytes_of(length));
        }
        Ok(true)
    }
}

/// The next stretch of data at or after `at`, within `bytes`.
fn data_after(file: BorrowedFd<'_>, at: u64, bytes: u64) -> Result<Option<(u64, u64)>, Errno> {
    if at >= bytes {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, bytes))),
        Err(errno) => return Err(errno),
    };
    if start >= bytes {
        return Ok(None);
    }
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(bytes);
    Ok(Some((start, end.clamp(start.saturating_add(1), bytes))))
}

/// Copies as far as the kernel is willing; what is left is for the slow way,
/// which also finds out which end failed.
fn copy_in_kernel(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<u64, CopyFault> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end.saturating_sub(read_at)).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), left) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                return Err(CopyFault::Write(errno));
            }
            Err(_) => break,
        }
    }
    Ok(read_at)
}

fn chunk(buffer: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    buffer.get_mut(..length).unwrap_or_default()
}

/// Reads until the buffer is full or the file ends.
fn fill(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let place = at.saturating_add(bytes_of(length));
        match retry_on_intr(|| pread(file, &mut *rest, place))? {
            0 => break,
            more => length = length.saturating_add(more),
        }
    }
    Ok(length)
}

fn write_whole(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| pwrite(file, bytes, at))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = bytes.get(written..).unwrap_or_default();
        at = at.saturating_add(bytes_of(written));
    }
    Ok(())
}

fn bytes_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
