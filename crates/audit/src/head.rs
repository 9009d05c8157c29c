//! The head: where the chain ends, in a small file of one form and length that is written over in place.
//!
//! It tells who may not read the trail where to go on (the egress gate), and everybody what must be there: records that
//! are cut off its end are missed. The log is what counts; a head that is behind it is no fault, for a process that is
//! killed leaves one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

use crate::hex::{hex, unhex};
use crate::line::Link;

/// One sector: it is on the disk whole or not at all.
const HEAD_BYTES: usize = 512;

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last record.
    pub(crate) link: Link,
    /// Which file it is in, and how long that is.
    pub(crate) inode: u64,
    pub(crate) bytes: u64,
    /// The last checkpoint.
    pub(crate) checkpoint: Signed,
    /// What was taken off the end of the log, while that is not on record.
    pub(crate) cut: Option<Cut>,
}

/// Which record the last checkpoint is, and when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signed {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
}

/// Bytes that were no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    seq: u64,
    hash: String,
    inode: u64,
    bytes: u64,
    checkpoint: Signed,
    cut: Option<Cut>,
}

impl Head {
    /// `None` when there is none, or what is there is none.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut text = [0; HEAD_BYTES];
        let mut filled = 0;
        while let Some(rest) = text.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, u64::try_from(filled).unwrap_or_default()) {
                Ok(0) => return Ok(None),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let Ok(form) = serde_json::from_slice::<Form>(&text) else { return Ok(None) };
        let Some(hash) = unhex(form.hash.as_bytes()) else { return Ok(None) };
        let checkpoint = if form.checkpoint.seq > form.seq { Signed::default() } else { form.checkpoint };
        let link = Link { seq: form.seq, hash };
        Ok(Some(Self { link, inode: form.inode, bytes: form.bytes, checkpoint, cut: form.cut }))
    }

    /// Writes it over the former, by one write within one page: there is no moment at which it is neither.
    pub(crate) fn write(&self, file: &File) -> io::Result<()> {
        let form = Form {
            seq: self.link.seq,
            hash: hex(&self.link.hash),
            inode: self.inode,
            bytes: self.bytes,
            checkpoint: self.checkpoint,
            cut: self.cut.clone(),
        };
        let mut text = serde_json::to_vec(&form)?;
        if text.len() >= HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        text.resize(HEAD_BYTES - 1, b' ');
        text.push(b'\n');
        file.write_all_at(&text, 0)
    }
}

/// The inode and the length of the log.
pub(crate) fn measure(log: &File) -> io::Result<(u64, u64)> {
    log.metadata().map(|about| (about.ino(), about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_nothing_else_is_one() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Head::read(&file).unwrap(), None);
        let largest = Head {
            link: Link { seq: u64::MAX, hash: [0xff; 32] },
            inode: u64::MAX,
            bytes: u64::MAX,
            checkpoint: Signed { seq: u64::MAX, time_ms: u64::MAX },
            cut: Some(Cut { bytes: u64::MAX, sha256: hex(&[0xff; 32]) }),
        };
        largest.write(&file).unwrap();
        assert_eq!(Head::read(&file).unwrap(), Some(largest));
        for (at, byte) in [(0, b' '), (40, b'x'), (511, b'}')] {
            let mut text = [0; HEAD_BYTES];
            file.read_exact_at(&mut text, 0).unwrap();
            file.write_all_at(&[byte], at).unwrap();
            assert_eq!(Head::read(&file).unwrap(), None, "{at}");
            file.write_all_at(&text, 0).unwrap();
        }
        file.set_len(511).unwrap();
        assert_eq!(Head::read(&file).unwrap(), None);
    }
}
