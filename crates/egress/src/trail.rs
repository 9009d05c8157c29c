//! Events as lines of the audit trail, a file that other processes append to as well.
//!
//! A line is in it whole or not at all. It must never be written half, or between the parts of another's.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::event::{Event, Sink};

/// What tells the gate's lines of the trail from others.
const RECORD: &str = "network";

/// Appends `line` as one write under the file's lock; what was written in part is taken back.
///
/// `file` must be open for appending, and by this process alone: the lock is between descriptions of open files, so
/// a descriptor that was inherited shares it with its giver.
///
/// # Errors
/// When the line is not in the file whole; then nothing of it is.
pub fn append_whole(file: &File, line: &[u8]) -> io::Result<()> {
    again(|| file.lock())?;
    let appended = append_locked(file, line);
    // Dropped with the file at the latest; the line stands either way.
    drop(file.unlock());
    appended
}

fn append_locked(mut file: &File, line: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    if again(|| file.write(line))? == line.len() {
        return Ok(());
    }
    file.set_len(before)?;
    Err(io::ErrorKind::StorageFull.into())
}

/// Until no signal comes in between.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The trail as the gate's sink.
#[derive(Debug)]
pub struct Trail(Mutex<File>);

#[derive(Serialize)]
struct Line<'e> {
    record: &'static str,
    #[serde(flatten)]
    event: &'e Event,
}

impl Trail {
    /// Appends to `file`, which nobody else has the same description of (see [`append_whole`]). It is not opened
    /// anew here: the gate has given up the right to by the time it serves.
    #[must_use]
    pub const fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }
}

impl Sink for Trail {
    fn take(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { record: RECORD, event })?;
        line.push(b'\n');
        append_whole(&self.0.lock().unwrap_or_else(PoisonError::into_inner), &line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Totals, What};

    fn event() -> Event {
        Event { time_ms: 5, run: "r1".to_owned(), what: What::Ended { totals: Totals::default() } }
    }

    fn scratch() -> (File, std::path::PathBuf) {
        let name = format!("stockade-trail-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        (File::options().append(true).create(true).open(&path).unwrap(), path)
    }

    #[test]
    fn a_line_says_which_record_it_is() {
        let (file, path) = scratch();
        Trail::new(file).take(&event()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(text.starts_with(r#"{"record":"network","time_ms":5,"run":"r1","event":"ended","#), "{text}");
        assert!(text.ends_with("}\n"), "{text}");
        let read: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(read, event());
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        assert_eq!(append_whole(&full, b"x\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(Trail::new(full).take(&event()).is_err());
    }

    #[test]
    fn lines_of_many_writers_stay_whole() {
        let (_, path) = scratch();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let trail = Trail::new(File::options().append(true).open(&path).unwrap());
                scope.spawn(move || {
                    for number in 0..200 {
                        let line = format!("{writer} {number} {}\n", "x".repeat(number * 7));
                        append_whole(&trail.0.lock().unwrap(), line.as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(text.lines().count(), 800);
        for line in text.lines() {
            let mut parts = line.split(' ').skip(1);
            let number: usize = parts.next().unwrap().parse().unwrap();
            assert_eq!(parts.next().unwrap().len(), number * 7);
        }
    }
}
