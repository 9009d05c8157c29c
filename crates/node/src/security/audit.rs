//! The node's trail, shown, held against its chain, and given to programs of others.

use std::collections::VecDeque;

use stockade_audit::{Entry, Expected, Link, PublicKey, Records, ocsf_event, verify};

use super::Security;
use super::show::time;
use crate::admin::table::Table;
use crate::refusal::{Kind, Refusal};

/// What is said of a record in a line: what was asked, how it went, and why. No record has all of it.
const WHAT: [&str; 13] = [
    "target",
    "command",
    "type",
    "name",
    "version",
    "to",
    "phase",
    "method",
    "privilege",
    "resource",
    "decision",
    "rule",
    "reason",
];
/// Where all of it can be had.
const BY_FILE: &str = "read the files: stockade audit export --trail FOLDER/store/audit";
/// Most that is held of records at once, and exported.
const BYTES_MAX: usize = 8 << 20;

/// The last records of the node's trail.
pub(super) async fn records(security: &Security, most: u32) -> Result<Table, Refusal> {
    let mut table = Table::new(&["Seq", "Time", "Record", "Principal", "Source", "What"]);
    let last = last(security, most).await?;
    if last.is_cut() {
        let count = last.entries.len();
        table
            .notes
            .push(format!("only the last {count}: more of them are larger than can be shown at once; {BY_FILE}"));
    }
    for entry in last.entries {
        let value = entry.value();
        let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        // A change of configuration has the number of its command there.
        let is_command = !text("target").is_empty();
        let said = WHAT.into_iter().filter(|key| is_command || *key != "command").map(text);
        let what = said.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let ms = value.get("time_ms").and_then(serde_json::Value::as_i64);
        table.push([
            entry.link.seq.to_string(),
            ms.map_or_else(String::new, time),
            entry.kind().to_owned(),
            text("principal"),
            text("source"),
            what,
        ]);
    }
    Ok(table)
}

/// The last records, whole, as lines for programs of others: as they stand in the files, or as OCSF has them.
pub(super) async fn exported(security: &Security, most: u32, is_ocsf: bool) -> Result<Table, Refusal> {
    let mut table = Table::new(&["Seq", "Record"]);
    let too_large = || {
        Refusal::new(
            Kind::TooLarge,
            "the records are too many for one answer",
            format!("they have more than {}", stockade_core::text::bytes(BYTES_MAX as u64)),
            format!("ask for fewer with --most, or {BY_FILE}"),
        )
    };
    let mut bytes = 0;
    let last = last(security, most).await?;
    if last.is_cut() {
        return Err(too_large());
    }
    for entry in last.entries {
        let line = if is_ocsf { ocsf_event(&entry).to_string() } else { entry.line.clone() };
        bytes += line.len();
        if bytes > BYTES_MAX {
            return Err(too_large());
        }
        table.push([entry.link.seq.to_string(), line]);
    }
    Ok(table)
}

/// The last records, the first of them first; fewer than so many where they are large.
#[derive(Default)]
struct Last {
    entries: VecDeque<Entry>,
    most: usize,
    /// Bytes of those.
    bytes: usize,
    /// How many came.
    count: usize,
}

impl Last {
    fn add(&mut self, entry: Entry) {
        self.count += 1;
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
        // The last one is always there.
        while self.entries.len() > self.most || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            self.bytes -= self.entries.pop_front().map_or(0, |first| first.line.len());
        }
    }

    /// Whether some are left out for their size.
    fn is_cut(&self) -> bool {
        self.entries.len() < self.most.min(self.count)
    }
}

async fn last(security: &Security, most: u32) -> Result<Last, Refusal> {
    let place = security.trail.place.clone();
    let read = move || {
        let mut last = Last { most: most as usize, ..Last::default() };
        let mut records = Records::of(place)?;
        while let Some(entry) = records.next_entry()? {
            last.add(entry);
        }
        Ok(last)
    };
    of_trail(read).await
}

/// Whether the node's trail is as it was written, by what somebody has kept elsewhere of an earlier time.
pub(super) async fn verified(security: &Security, known: (Option<&str>, Option<&str>)) -> Result<Table, Refusal> {
    let place = security.trail.place.clone();
    let unknown = |what: &str, why| Refusal::invalid(what, why, "give it as an earlier verification showed it");
    let key = known.0.map(|text| {
        PublicKey::parse(text).ok_or_else(|| unknown("the key cannot be used", "it has 64 hexadecimal digits"))
    });
    let link = known.1.map(|text| {
        Link::parse(text)
            .ok_or_else(|| unknown("the record cannot be looked for", "it is NUMBER:HASH of 64 hexadecimal digits"))
    });
    let (key, links) = (key.transpose()?, link.transpose()?.into_iter().collect());
    let (report, key) = of_trail(move || {
        let key = key.map_or_else(|| PublicKey::beside(&place), Ok)?;
        // All of it, as `stockade audit verify --key` takes it.
        let shown = key.to_string();
        Ok((verify(&place, &Expected { links, ..Expected::key(key) })?, shown))
    })
    .await?;
    if let Some(bad) = &report.bad {
        return Err(Refusal::new(
            Kind::Conflict,
            "the audit trail is not as it was written",
            format!("{}, line {}: {}", bad.file, bad.line, bad.what),
            "keep a copy of its folder, and find out who could write there",
        ));
    }
    let mut table = Table::of([
        ("Records", report.records.to_string()),
        ("Checkpoints", report.checkpoints.to_string()),
        ("Last", report.seq.to_string()),
        ("Hash", report.hash),
        ("Key", key),
    ]);
    if report.key_was_there {
        let note = "record 1 says that the key was there before it: a former trail, signed with it, is gone";
        table.notes.push(note.to_owned());
    }
    Ok(table)
}

/// Reads the trail where waiting for a disk holds nobody up.
async fn of_trail<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, stockade_audit::Error> + Send + 'static,
) -> Result<T, Refusal> {
    let failed =
        |error: stockade_audit::Error| Refusal::new(Kind::Failed, error.to_string(), error.why(), error.next());
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read.map_err(failed),
        Err(error) => Err(Refusal::failed("the audit trail cannot be read", error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stockade_audit::{Keeping, Place, Trail};

    use super::*;

    #[test]
    fn so_much_of_the_records_is_held_and_what_is_left_out_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path());
        let trail = Trail::new(place.clone());
        let entries = |sizes: &[usize]| {
            for size in sizes {
                trail.append(&json!({ "record": "note", "text": "x".repeat(*size) }), Keeping::Written).unwrap();
            }
            Records::of(place.clone()).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let all = entries(&[3 << 20, 3 << 20, 3 << 20, 10, 10]);
        let last = |most| {
            let mut last = Last { most, ..Last::default() };
            all.iter().cloned().for_each(|entry| last.add(entry));
            assert!(last.bytes <= BYTES_MAX);
            (last.entries.len(), last.is_cut())
        };
        // Two more are the beginning of the trail and a checkpoint.
        assert_eq!((all.len(), last(2), last(4), last(100)), (7, (2, false), (4, false), (5, true)));
    }
}
