//! Results that were collected, held against what was asked for: there, in the format, of the shape.
//!
//! Bounded in memory, and nothing is built of what is read. A table of Arrow, Parquet or SBDF is looked at from outside
//! only: whoever reads it must do so as carefully as any file of a stranger's.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Format, Function, Kind, Wanted};
use crate::outputs::Outputs;
use crate::problem::Problem;

/// Longest line of a CSV that is looked at.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Looks at every result in the folder of the outputs.
///
/// A file that lay there before is none: only what this run left counts.
pub(crate) fn check(function: &Function, folder: &OwnedFd, outputs: &Outputs) -> Result<(), Problem> {
    for wanted in &function.outputs {
        if !outputs.files.iter().any(|file| file.path == wanted.file) {
            let left_out = outputs.left_out.iter().find(|left| left.name == wanted.file);
            let why = left_out.map_or_else(|| "the code left no such file".to_owned(), |left| left.why.clone());
            return Err(missing(wanted, &why));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(folder.as_fd(), &*wanted.file, flags, Mode::empty())
            .map_err(|errno| missing(wanted, &stockade_launch::errno_text(errno)))?;
        look(&mut File::from(file), wanted).map_err(|why| wrong(wanted, &why))?;
    }
    Ok(())
}

fn missing(wanted: &Wanted, why: &str) -> Problem {
    Problem::new(
        format!("the data function has no result `{}`", wanted.name),
        why,
        "set it in the script; give a folder without a file of that name, or --overwrite",
    )
    .with_status(1)
}

fn wrong(wanted: &Wanted, why: &str) -> Problem {
    Problem::new(
        format!("the result `{}` of the data function is not what was asked for", wanted.name),
        why,
        "do not use it: the code wrote it by other ways than the library",
    )
    .with_status(1)
}

fn look(file: &mut File, wanted: &Wanted) -> Result<(), String> {
    match wanted.format {
        Format::Csv => csv(file, wanted.kind),
        // A section of the kind 1, "file header", version 1.0.
        Format::Sbdf => framed(file, &[0xdf, 0x5b, 0x01, 0x01, 0x00], &[]),
        Format::Arrow => framed(file, b"ARROW1\0\0", b"ARROW1"),
        Format::Parquet => framed(file, b"PAR1", b"PAR1"),
    }
}

/// Begins and ends as files of its format do.
fn framed(file: &mut File, first: &[u8], last: &[u8]) -> Result<(), String> {
    let not = || "it is no file of this format".to_owned();
    let ends_with = |file: &mut File, at: SeekFrom, text: &[u8]| {
        let mut found = vec![0; text.len()];
        file.seek(at).and_then(|_| file.read_exact(&mut found)).is_ok() && found == text
    };
    let back = i64::try_from(last.len()).map_err(|_| not())?;
    let is_one = ends_with(file, SeekFrom::Start(0), first) && ends_with(file, SeekFrom::End(-back), last);
    if is_one { Ok(()) } else { Err(not()) }
}

/// Every line has as many fields as the first one; a column has one, a value one line of one.
fn csv(file: &mut File, kind: Kind) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(Bounded { file, left: RECORD_BYTES_MAX });
    let columns = reader.headers().map_err(|error| text(&error))?.len();
    let mut record = csv::StringRecord::new();
    let mut rows = 0_u64;
    reader.get_mut().left = RECORD_BYTES_MAX;
    while reader.read_record(&mut record).map_err(|error| text(&error))? {
        rows += 1;
        reader.get_mut().left = RECORD_BYTES_MAX;
    }
    match kind {
        Kind::Table if columns > 0 => Ok(()),
        Kind::Column if columns == 1 => Ok(()),
        Kind::Value if columns == 1 && rows == 1 => Ok(()),
        Kind::Table | Kind::Column | Kind::Value => Err(format!("it has {columns} columns and {rows} rows")),
    }
}

/// A file of which so much is read and no more: one line without an end would be held in memory whole.
struct Bounded<'a> {
    file: &'a mut File,
    left: usize,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::Error::other("a line is longer than any that is looked at"));
        }
        let most = buffer.len().min(self.left);
        let count = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}

fn text(error: &csv::Error) -> String {
    stockade_core::text::shown(&error.to_string(), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(bytes: &[u8], format: Format, kind: Kind) -> Result<(), String> {
        let wanted = Wanted { name: "x".to_owned(), kind, format, file: "x".to_owned() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        look(&mut File::open(path).unwrap(), &wanted)
    }

    #[test]
    fn a_line_without_an_end_is_not_held_in_memory() {
        let text = |rows: usize, width: usize| format!("a\n{}", ("x".repeat(width) + "\n").repeat(rows));
        looked(text(3, 9 << 20).as_bytes(), Format::Csv, Kind::Table).unwrap();
        let refused = looked(text(1, RECORD_BYTES_MAX + (1 << 20)).as_bytes(), Format::Csv, Kind::Table).unwrap_err();
        assert!(refused.contains("a line is longer"), "{refused}");
    }

    #[test]
    fn results_are_held_against_their_format_and_shape() {
        let table = |bytes: &[u8], format| looked(bytes, format, Kind::Table);
        table(b"a,b\n1,\"x\ny\"\n", Format::Csv).unwrap();
        table(b"ARROW1\0\0....ARROW1", Format::Arrow).unwrap();
        table(b"PAR1....PAR1", Format::Parquet).unwrap();
        table(&[0xdf, 0x5b, 1, 1, 0, 9], Format::Sbdf).unwrap();
        looked(b"a\n1\n2\n", Format::Csv, Kind::Column).unwrap();
        looked(b"a\n1\n", Format::Csv, Kind::Value).unwrap();
        for (bytes, format, kind) in [
            (b"a,b\n1\n".as_slice(), Format::Csv, Kind::Table),
            (b"a,b\n1,\xff\n", Format::Csv, Kind::Table),
            (b"", Format::Csv, Kind::Table),
            (b"a,b\n1,2\n", Format::Csv, Kind::Column),
            (b"a\n1\n2\n", Format::Csv, Kind::Value),
            (b"PAR1", Format::Arrow, Kind::Table),
            (b"PAR1....", Format::Parquet, Kind::Table),
            (b"a,b\n1,2\n", Format::Sbdf, Kind::Table),
            (b"", Format::Sbdf, Kind::Table),
        ] {
            assert!(looked(bytes, format, kind).is_err(), "{bytes:?}");
        }
    }
}
