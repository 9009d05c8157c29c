//! A trail for programs of others, record by record.

use std::io::Write;
use std::sync::Arc;

use crate::error::Error;
use crate::ocsf;
use crate::read::Records;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As it stands in the files: each line can still be held against its hash.
    JsonLines,
    /// Events of the Open Cybersecurity Schema Framework, one a line.
    Ocsf,
}

/// Writes every record, and returns how many those were. Nobody who appends waits for the reader.
///
/// # Errors
/// [`Error`]; what was written before stands.
pub fn export(records: Records, format: Format, to: &mut dyn Write) -> Result<u64, Error> {
    let failed = |cause| Error::Output { cause: Arc::new(cause) };
    let mut count = 0;
    for entry in records {
        let entry = entry?;
        let line = match format {
            Format::JsonLines => entry.line,
            Format::Ocsf => ocsf::event(&entry).to_string(),
        };
        to.write_all(line.as_bytes()).and_then(|()| to.write_all(b"\n")).map_err(failed)?;
        count += 1;
    }
    to.flush().map_err(failed)?;
    Ok(count)
}
