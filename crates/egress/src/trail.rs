//! Events as lines of the audit trail, a file that other processes append to as well.
//!
//! A line is in it whole or not at all. It must never be written half, or between the parts of another's.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::event::{Event, Sink};

/// More than anybody leaves torn by a full disk; a file that ends in more without a line is not appended to.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// How long the lock may be held by others. One record takes microseconds.
const LOCK_TIME: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// What tells the gate's lines of the trail from others.
const RECORD: &str = "network";

/// Appends `line` as one write under the file's lock; what was written in part is taken back.
///
/// `file` must be open for appending, and by this process alone: the lock is between descriptions of open files, so
/// a descriptor that was inherited shares it with its giver. If it can be read as well, a part of a line that somebody
/// could not take back himself (the gate may not) is taken off first.
///
/// # Errors
/// When the line is not in the file whole; then nothing of it is, or nobody but the next who may read can tell.
pub fn append_whole(file: &File, line: &[u8]) -> io::Result<()> {
    lock(file)?;
    let appended = append_locked(file, line);
    // Dropped with the file at the latest; the line stands either way.
    drop(file.unlock());
    appended
}

/// Waits for the lock, not for ever: whoever holds it may be stopped, or mean harm.
fn lock(file: &File) -> io::Result<()> {
    let until = Instant::now() + LOCK_TIME;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

fn append_locked(mut file: &File, line: &[u8]) -> io::Result<()> {
    let before = without_torn(file)?;
    if again(|| file.write(line))? == line.len() {
        return Ok(());
    }
    file.set_len(before)?;
    Err(io::ErrorKind::StorageFull.into())
}

/// Where the last whole line ends; what lies behind it goes.
fn without_torn(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LINE_BYTES_MAX);
    let mut tail = Vec::new();
    let mut read = || {
        let mut last = [b'\n'];
        let at = if length == 0 { 0 } else { file.read_at(&mut last, length - 1)? };
        // The usual case costs one byte.
        if at == 0 || last == [b'\n'] {
            return Ok(true);
        }
        tail.resize(usize::try_from(length - from).unwrap_or_default(), 0);
        file.read_exact_at(&mut tail, from).map(|()| false)
    };
    match read() {
        Ok(true) => return Ok(length),
        Ok(false) => {}
        // Open for writing only.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => return Ok(length),
        Err(error) => return Err(error),
    }
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => from + u64::try_from(at + 1).unwrap_or_default(),
        None if from == 0 => 0,
        None => return Err(io::Error::new(io::ErrorKind::InvalidData, "it ends in no line")),
    };
    file.set_len(whole)?;
    Ok(whole)
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

/// The trail as the gate's sink: none any more, once a line could not be written whole. Part of it may be in the file
/// then, and what came after would be read as one with it.
#[derive(Debug)]
pub struct Trail(Mutex<Option<File>>);

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
        Self(Mutex::new(Some(file)))
    }
}

impl Sink for Trail {
    fn take(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { record: RECORD, event })?;
        line.push(b'\n');
        let mut trail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = trail.as_ref().ok_or(io::ErrorKind::StorageFull)?;
        append_whole(file, &line).inspect_err(|_| *trail = None)
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
    fn what_another_left_torn_is_taken_off_by_who_may_read() {
        for (before, after) in
            [("", "x\n"), ("a\n", "a\nx\n"), ("a\nb", "a\nx\n"), ("b", "x\n"), ("a\n\nbb", "a\n\nx\n")]
        {
            let (writing, path) = scratch();
            std::fs::write(&path, before).unwrap();
            append_whole(&File::options().read(true).append(true).open(&path).unwrap(), b"x\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:?}");
            // Who may only write appends, and takes nothing off.
            std::fs::write(&path, before).unwrap();
            append_whole(&writing, b"x\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{before}x\n"));
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_lock_that_is_never_let_go_is_not_waited_for_for_ever() {
        let (held, path) = scratch();
        held.lock().unwrap();
        let other = File::options().append(true).open(&path).unwrap();
        let failed = append_whole(&other, b"x\n").unwrap_err();
        std::fs::remove_file(path).unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn after_a_line_that_could_not_be_written_there_is_no_other() {
        let trail = Trail::new(File::options().append(true).open("/dev/full").unwrap());
        assert!(trail.take(&event()).is_err());
        assert!(trail.0.lock().unwrap().is_none() && trail.take(&event()).is_err());
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
                        append_whole(trail.0.lock().unwrap().as_ref().unwrap(), line.as_bytes()).unwrap();
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
