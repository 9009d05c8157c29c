//! An answer that goes into a file: a new one, which nobody else may read, or none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::table::Table;
use super::words::Given;
use crate::refusal::Refusal;

/// The file, empty.
#[derive(Debug)]
pub(super) struct Into {
    path: String,
    file: File,
}

/// The file that an answer is to go to, if one is named; made before a node is asked, so that nothing is asked for in
/// vain.
pub(super) fn take(nodes: usize, parameters: &mut BTreeMap<&'static str, Given>) -> Result<Option<Into>, Refusal> {
    let found = parameters.iter().find_map(|(name, given)| match given {
        Given::Into(path) => Some((*name, path.clone())),
        Given::Text(_) | Given::File(_) | Given::SecretFile(_) | Given::Stdin => None,
    });
    let Some((name, path)) = found else { return Ok(None) };
    parameters.remove(name);
    if nodes > 1 {
        let why = "several nodes would answer into one file";
        return Err(Refusal::invalid("nothing was asked", why, "ask one node after the other"));
    }
    let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let file = made.map_err(|error| {
        let shown = stockade_core::text::shown(&path, 300);
        let next = "name a file that is not there yet, in a folder that you may write";
        Refusal::invalid(format!("{shown} cannot be made"), crate::system_text(&error), next)
    })?;
    Ok(Some(Into { path, file }))
}

impl Into {
    /// There is nothing to write: no empty file is left in the way.
    pub(super) fn give_up(self) {
        drop(std::fs::remove_file(self.path));
    }

    /// Writes what was answered, the last cell of each row in a line of its own.
    pub(super) fn write(mut self, table: &Table) -> Result<(), Refusal> {
        let mut text = String::new();
        for cell in table.rows.iter().filter_map(|row| row.last()) {
            text += cell.trim_end_matches('\n');
            text.push('\n');
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            let shown = stockade_core::text::shown(&self.path, 300);
            Refusal::failed(format!("{shown} cannot be written"), crate::system_text(&error))
        })
    }
}
