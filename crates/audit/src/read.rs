//! Reading a trail from its first record on, without holding anybody up who appends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::Place;
use crate::line::{LINE_BYTES_MAX, Line, Link};

/// The lines of one file, one at a time.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<Take<File>>,
    pub(crate) path: PathBuf,
    /// Of the line that was read last, from 1.
    pub(crate) number: u64,
    line: Vec<u8>,
}

/// What stands in a line.
#[derive(Debug)]
pub(crate) enum Raw<'l> {
    /// Without its end.
    Line(&'l [u8]),
    /// Longer than any record.
    TooLong,
    /// The last, and it has no end.
    Torn,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        Ok(Self::of(file, path))
    }

    /// Of an open file, as long as it is now.
    pub(crate) fn of(file: File, path: &Path) -> Self {
        let length = file.metadata().map_or(0, |about| about.len());
        Self {
            reader: BufReader::with_capacity(256 << 10, file.take(length)),
            path: path.to_owned(),
            number: 0,
            line: Vec::new(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Raw<'_>>, Error> {
        self.line.clear();
        let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut self.reader).take(bound).read_until(b'\n', &mut self.line);
        let count = read.map_err(Error::file("read", &self.path))?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(match self.line.strip_suffix(b"\n") {
            Some(line) => Raw::Line(line),
            None if count == LINE_BYTES_MAX => Raw::TooLong,
            None => Raw::Torn,
        }))
    }

    /// The file without its folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// One record as it stands in the trail.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the chain.
    pub link: Link,
    /// Its line, without its end.
    pub line: String,
    kind: String,
}

impl Entry {
    /// Which record it is: `intent`, `network`, `checkpoint`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// All of it.
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.line).unwrap_or_default()
    }
}

/// The records of a trail in their order. What is appended meanwhile may come too; nothing comes twice.
#[derive(Debug)]
pub struct Records {
    place: Place,
    waiting: VecDeque<PathBuf>,
    rotated: u64,
    lines: Option<Lines>,
    last: u64,
}

impl Records {
    /// Of the trail of this place.
    ///
    /// # Errors
    /// [`Error::File`] when there is none, or it may not be read.
    pub fn of(place: Place) -> Result<Self, Error> {
        File::open(place.log()).map_err(Error::file("open", &place.log()))?;
        let mut records = Self { place, waiting: VecDeque::new(), rotated: 0, lines: None, last: 0 };
        records.list()?;
        Ok(records)
    }

    /// Files that have come, the log behind them; whether there are any.
    fn list(&mut self) -> Result<bool, Error> {
        let new: Vec<u64> = self.place.all_rotated()?.into_iter().filter(|number| *number > self.rotated).collect();
        let is_first = self.lines.is_none();
        self.rotated = new.last().copied().unwrap_or(self.rotated);
        self.waiting.extend(new.iter().map(|number| self.place.rotated(*number)));
        if is_first || !new.is_empty() {
            self.waiting.push_back(self.place.log());
        }
        Ok(is_first || !new.is_empty())
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a line that is no record, or was changed.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        loop {
            let Some(lines) = &mut self.lines else {
                match self.waiting.pop_front() {
                    Some(path) => self.lines = Some(Lines::open(&path)?),
                    None => return Ok(None),
                }
                continue;
            };
            let damaged = Error::Damaged { file: lines.name(), line: lines.number + 1 };
            match lines.next()? {
                Some(Raw::Line(line)) => {
                    let parsed = Line::parse(line).filter(Line::is_whole).ok_or(damaged)?;
                    let text = String::from_utf8(line.to_vec())
                        .map_err(|_| Error::Damaged { file: String::new(), line: 0 })?;
                    if parsed.link.seq > self.last {
                        self.last = parsed.link.seq;
                        return Ok(Some(Entry { link: parsed.link, kind: parsed.kind().to_owned(), line: text }));
                    }
                }
                Some(Raw::TooLong) => return Err(damaged),
                // What is being written, or was never written whole.
                None | Some(Raw::Torn) => {
                    if self.waiting.is_empty() && !self.list()? {
                        return Ok(None);
                    }
                    let path = self.waiting.pop_front();
                    self.lines = path.map(|path| Lines::open(&path)).transpose()?;
                }
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// Whether it is only that something is not there.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
