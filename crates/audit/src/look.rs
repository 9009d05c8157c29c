//! Where the chain ends, and what has to be put right before anything can follow. The lock is held.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::files::Place;
use crate::head::{Cut, Head, Signed};
use crate::hex::hex;
use crate::line::{Line, Link};
use crate::own::{Before, Lost};

/// The last record is in here in nearly all cases.
const WINDOW_BYTES: u64 = 8 << 10;
/// More than one write ever leaves torn, and the longest line before it.
const WINDOW_BYTES_MAX: u64 = 32 << 20;
/// A head that knows of more is none: nobody writes as many.
const SEQ_MAX: u64 = u64::MAX / 2;

/// A trail's files, open and locked.
pub(crate) struct Held<'f> {
    pub(crate) place: &'f Place,
    pub(crate) log: &'f File,
    pub(crate) head: &'f File,
}

/// What the next record is up to.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What it follows.
    pub(crate) link: Link,
    /// The log is good up to here.
    pub(crate) bytes: u64,
    pub(crate) checkpoint: Signed,
    /// What comes before it.
    pub(crate) first: First,
    pub(crate) repair: Option<Repair>,
}

/// What the chain says about its own file first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    Nothing,
    Begun(Option<Before>),
    Continued(u64),
}

/// What was not as it should be.
#[derive(Debug)]
pub(crate) struct Repair {
    pub(crate) has_head: bool,
    pub(crate) cut: Option<Cut>,
    pub(crate) lost: Option<Lost>,
}

/// The last record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) link: Link,
    /// Where its line ends.
    pub(crate) at: u64,
}

/// What a file holds.
#[derive(Debug)]
enum Found {
    Empty,
    End(End),
    /// Part of one line, and nothing else.
    Torn,
    /// No record.
    Other,
}

/// Looks where the chain ends; `None` when the log was moved away, for it was none, and has to be opened anew.
pub(crate) fn look(held: &Held<'_>) -> Result<Option<Standing>, Error> {
    let path = held.place.log();
    let failed = Error::file("read", &path);
    let head = Head::read(held.head).map_err(Error::file("read", &held.place.head()))?;
    let head = head.filter(|head| head.link.seq <= SEQ_MAX);
    let length = held.log.metadata().map_err(&failed)?.len();
    let found = found(held.log, length).map_err(&failed)?;
    // Former files say nothing where the log and the head do.
    let is_usual = head.is_some() && matches!(found, Found::End(_));
    let rotated = if is_usual { None } else { held.place.all_rotated()?.last().copied() };
    let end = match found {
        Found::End(end) => Some(end),
        Found::Empty => None,
        Found::Torn | Found::Other if head.is_none() && rotated.is_none() => {
            set_aside(held.place)?;
            return Ok(None);
        }
        Found::Torn => None,
        Found::Other => return Err(Error::NoChain { path: path.to_string_lossy().into_owned() }),
    };
    let bytes = end.map_or(0, |end| end.at);
    let former = match (end, rotated) {
        (None, Some(number)) => Some(last_of(&held.place.rotated(number))?),
        _ => None,
    };
    let known = end.or(former).map(|end| end.link);
    let first = match (known, &head, rotated) {
        (None, None, _) => First::Begun(before(held.place)?),
        (_, _, Some(number)) if end.is_none() => First::Continued(number),
        _ => First::Nothing,
    };
    let cut = cut(held, bytes, length, head.as_ref()).map_err(&failed)?;
    let known = known.unwrap_or(Link::START);
    let lost = head.as_ref().filter(|head| head.link.seq > known.seq);
    let lost = lost.map(|head| Lost { from: known.seq + 1, to: head.link.seq });
    // Where both know the last record, the head is believed: was the line changed since, verifying shall find it.
    let link = head.as_ref().map(|head| head.link).filter(|link| link.seq >= known.seq).unwrap_or(known);
    let misses_head = head.is_none() && !matches!(first, First::Begun(_));
    let repair =
        (misses_head || cut.is_some() || lost.is_some()).then_some(Repair { has_head: head.is_some(), cut, lost });
    let checkpoint = head.map(|head| head.checkpoint).unwrap_or_default();
    Ok(Some(Standing { link, bytes, checkpoint, first, repair }))
}

/// Takes off what lies behind the last record. That it was there is in the head before it is gone, and stays there until
/// it is on record: the disk may be too full for that now.
fn cut(held: &Held<'_>, from: u64, length: u64, head: Option<&Head>) -> io::Result<Option<Cut>> {
    let pending = head.and_then(|head| head.cut.clone());
    if length <= from {
        return Ok(pending);
    }
    let (bytes, sha256) = digest(held.log, from, length)?;
    let cut = match pending {
        Some(former) if former.sha256 != sha256 => Cut { bytes: former.bytes.saturating_add(bytes), sha256 },
        _ => Cut { bytes, sha256 },
    };
    if let Some(head) = head {
        Head { cut: Some(cut.clone()), ..head.clone() }.write(held.head)?;
    }
    held.log.set_len(from)?;
    Ok(Some(cut))
}

/// The last record of a file that is to hold some.
pub(crate) fn last_of(path: &Path) -> Result<End, Error> {
    let failed = Error::file("read", path);
    let file = File::open(path).map_err(&failed)?;
    let length = file.metadata().map_err(&failed)?.len();
    match found(&file, length).map_err(&failed)? {
        Found::End(end) => Ok(end),
        Found::Empty | Found::Torn | Found::Other => Err(Error::NoChain { path: path.to_string_lossy().into_owned() }),
    }
}

/// Looks for the last whole record, from the end.
fn found(file: &File, length: u64) -> io::Result<Found> {
    if length == 0 {
        return Ok(Found::Empty);
    }
    let mut window = WINDOW_BYTES;
    loop {
        let from = length.saturating_sub(window);
        let mut tail = vec![0; usize::try_from(length - from).unwrap_or_default()];
        file.read_exact_at(&mut tail, from)?;
        if let Some(end) = last_in(&tail, from) {
            return Ok(Found::End(end));
        }
        if from == 0 {
            return Ok(if tail.contains(&b'\n') { Found::Other } else { Found::Torn });
        }
        if window >= WINDOW_BYTES_MAX {
            return Ok(Found::Other);
        }
        window = window.saturating_mul(8).min(WINDOW_BYTES_MAX);
    }
}

/// The last whole record in the end of a file that begins `from` bytes into it.
fn last_in(tail: &[u8], from: u64) -> Option<End> {
    let mut end = tail.iter().rposition(|byte| *byte == b'\n')?;
    loop {
        let before = tail.get(..end)?;
        let start = match before.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if from == 0 => 0,
            None => return None,
        };
        if let Some(line) = Line::parse(before.get(start..)?).filter(Line::is_whole) {
            let at = from + u64::try_from(end + 1).ok()?;
            return Some(End { link: line.link, at });
        }
        end = start.checked_sub(1)?;
    }
}

/// How many bytes lie between, and their SHA-256.
fn digest(mut file: &File, from: u64, to: u64) -> io::Result<(u64, String)> {
    file.seek(SeekFrom::Start(from))?;
    let mut hasher = Sha256::new();
    let mut part = vec![0; 64 << 10];
    let mut rest = file.take(to.saturating_sub(from));
    let mut bytes = 0_u64;
    loop {
        let count = rest.read(&mut part)?;
        if count == 0 {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        bytes += u64::try_from(count).unwrap_or_default();
        hasher.update(part.get(..count).unwrap_or_default());
    }
}

/// The name of what was there before there was a chain.
const BEFORE: &str = "audit.before.jsonl";

/// Gives a file that is no chain another name; the chain names its digest when it begins.
fn set_aside(place: &Place) -> Result<(), Error> {
    let to = place.folder().join(BEFORE);
    if to.exists() {
        return Err(Error::NoChain { path: place.log().to_string_lossy().into_owned() });
    }
    std::fs::rename(place.log(), &to).map_err(Error::file("set aside", &place.log()))?;
    place.sync_folder()
}

/// What was there before, as it is now; `None` if there was nothing.
pub(crate) fn before(place: &Place) -> Result<Option<Before>, Error> {
    let path = place.folder().join(BEFORE);
    let failed = Error::file("read", &path);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (bytes, sha256) = digest(&file, 0, u64::MAX).map_err(failed)?;
    Ok(Some(Before { file: BEFORE.to_owned(), bytes, sha256 }))
}
