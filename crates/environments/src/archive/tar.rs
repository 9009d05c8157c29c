//! The tar format, in the one way we write it: POSIX headers of regular files, no times, no owners.
//!
//! A reader that guesses what a writer meant is what attacks on archives live from. So a header is
//! accepted only if it is, byte for byte, the one that we would have written for the same file.

use std::io::{self, Read, Write};

pub(crate) const BLOCK: usize = 512;
/// The longest path, with our own folder in front.
pub(crate) const PATH_BYTES_MAX: usize = 1100;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
/// Eleven octal digits.
const SIZE_MAX: u64 = 0o77_777_777_777;
/// What stands in a header whose path is in the record before it.
const LONG: &str = "long";

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) executable: bool,
    pub(crate) bytes: u64,
}

/// Why an archive cannot be read further.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The bytes cannot be had, or end too early.
    Read(io::Error),
    /// They are something that we do not write.
    Shape(&'static str),
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        Self::Read(cause)
    }
}

/// The blocks before the content of a file; `None` if it cannot stand in an archive.
fn headers(member: &Member) -> Option<Vec<u8>> {
    if member.bytes > SIZE_MAX || member.path.is_empty() || member.path.len() > PATH_BYTES_MAX {
        return None;
    }
    let mode = if member.executable { 0o755 } else { 0o644 };
    match split(&member.path) {
        Some((prefix, name)) => Some(header(b'0', (prefix, name), mode, member.bytes)),
        None => {
            let record = record(&member.path);
            let length = u64::try_from(record.len()).ok()?;
            let mut blocks = header(b'x', ("", LONG), 0o644, length);
            blocks.extend_from_slice(&record);
            blocks.extend(std::iter::repeat_n(0, padding(length)));
            blocks.extend(header(b'0', ("", LONG), mode, member.bytes));
            Some(blocks)
        }
    }
}

/// A path as the two fields that a header has for it, the first as short as may be.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES && path != LONG {
        return Some(("", path));
    }
    let cuts = path.match_indices('/').map(|(at, _)| at);
    let fits = |at: &usize| *at > 0 && *at <= PREFIX_BYTES && path.len() - at - 1 <= NAME_BYTES;
    let at = cuts.into_iter().find(fits)?;
    Some((path.get(..at)?, path.get(at + 1..)?)).filter(|(_, name)| !name.is_empty())
}

/// `LENGTH path=PATH`, where the length counts itself.
fn record(path: &str) -> Vec<u8> {
    let rest = format!(" path={path}\n");
    let mut length = rest.len() + 1;
    while length.to_string().len() + rest.len() != length {
        length = length.to_string().len() + rest.len();
    }
    format!("{length}{rest}").into_bytes()
}

fn header(kind: u8, (prefix, name): (&str, &str), mode: u32, bytes: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK);
    let field = |block: &mut Vec<u8>, text: &[u8], width: usize| {
        block.extend_from_slice(text);
        block.extend(std::iter::repeat_n(0, width.saturating_sub(text.len())));
    };
    field(&mut block, name.as_bytes(), NAME_BYTES);
    field(&mut block, format!("{mode:07o}").as_bytes(), 8);
    field(&mut block, b"0000000", 8);
    field(&mut block, b"0000000", 8);
    field(&mut block, format!("{bytes:011o}").as_bytes(), 12);
    field(&mut block, b"00000000000", 12);
    let checksum_at = block.len();
    field(&mut block, b"        ", 8);
    block.push(kind);
    field(&mut block, b"", 100);
    field(&mut block, b"ustar", 6);
    field(&mut block, b"00", 2);
    field(&mut block, b"", 32);
    field(&mut block, b"", 32);
    field(&mut block, b"0000000", 8);
    field(&mut block, b"0000000", 8);
    field(&mut block, prefix.as_bytes(), PREFIX_BYTES);
    block.resize(BLOCK, 0);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = block.get_mut(checksum_at..checksum_at + 8) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    block
}

/// Zeros after a content, up to the next block.
fn padding(bytes: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from(bytes.wrapping_neg() % block).unwrap_or(0)
}

/// Writes files one after the other.
#[derive(Debug)]
pub(crate) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub(crate) const fn new(sink: W) -> Self {
        Self(sink)
    }

    /// Begins a file; exactly its bytes have to follow.
    pub(crate) fn begin(&mut self, member: &Member) -> io::Result<()> {
        let headers = headers(member).ok_or_else(|| io::Error::other("a path or file is too long for an archive"))?;
        self.0.write_all(&headers)
    }

    pub(crate) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends a file that had so many bytes.
    pub(crate) fn end(&mut self, bytes: u64) -> io::Result<()> {
        self.0.write_all(&vec![0; padding(bytes)])
    }

    pub(crate) fn whole(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let bytes = content.len() as u64;
        self.begin(&Member { path: path.to_owned(), executable: false, bytes })?;
        self.content(content)?;
        self.end(bytes)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        Ok(self.0)
    }
}

/// Reads what [`Writer`] wrote, and nothing else.
#[derive(Debug)]
pub(crate) struct Reader<R>(R);

impl<R: Read> Reader<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self(source)
    }

    /// The next file; its content has to be taken before the one after it. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Fault> {
        let first = self.block()?;
        if first.iter().all(|byte| *byte == 0) {
            let second = self.block()?;
            return if second.iter().all(|byte| *byte == 0) {
                Ok(None)
            } else {
                Err(Fault::Shape("something follows its end"))
            };
        }
        let mut blocks = first.to_vec();
        let path = if kind(&first) == b'x' { Some(self.long_path(&first, &mut blocks)?) } else { None };
        let last = match path {
            None => first,
            Some(_) => {
                let last = self.block()?;
                blocks.extend_from_slice(&last);
                last
            }
        };
        refuse_kind(kind(&last))?;
        let mode = octal(field(&last, 100, 8)).ok_or(Fault::Shape("the mode of a file cannot be read"))?;
        if mode & 0o7000 != 0 {
            return Err(Fault::Shape("one of its files has set-uid, set-gid or sticky bits"));
        }
        let bytes = octal(field(&last, 124, 12)).ok_or(Fault::Shape("the size of a file cannot be read"))?;
        let path = path.map_or_else(|| short_path(&last), Ok)?;
        let member = Member { path, executable: mode & 0o111 != 0, bytes };
        if headers(&member).as_ref() != Some(&blocks) {
            return Err(Fault::Shape("the header of a file is not as `stockade env export` writes it"));
        }
        Ok(Some(member))
    }

    /// Hands the content of the file to `take`, piece by piece.
    pub(crate) fn content<E: From<Fault>>(
        &mut self,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut piece = vec![0_u8; 128 << 10];
        let mut left = bytes;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let place = piece.get_mut(..wanted).unwrap_or_default();
            self.0.read_exact(place).map_err(Fault::Read)?;
            take(place)?;
            left = left.saturating_sub(wanted as u64);
        }
        let mut rest = vec![0_u8; padding(bytes)];
        self.0.read_exact(&mut rest).map_err(Fault::Read)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Fault::Shape("something is hidden behind a file").into());
        }
        Ok(())
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(mut self) -> Result<R, Fault> {
        match self.0.read(&mut [0; 1])? {
            0 => Ok(self.0),
            _ => Err(Fault::Shape("something follows its end")),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        self.0.read_exact(&mut block)?;
        Ok(block)
    }

    /// The path in the record that stands in front of a header; its blocks are added to `blocks`.
    fn long_path(&mut self, first: &[u8], blocks: &mut Vec<u8>) -> Result<String, Fault> {
        let length = octal(field(first, 124, 12)).filter(|length| *length <= PATH_BYTES_MAX as u64 + 20);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(Fault::Shape("one of its paths is longer than 1,024 bytes"))?;
        let mut content = vec![0; length + padding(length as u64)];
        self.0.read_exact(&mut content)?;
        blocks.extend_from_slice(&content);
        let text = content.get(..length).and_then(|text| std::str::from_utf8(text).ok());
        let path = text.and_then(|text| text.split_once(" path=")?.1.strip_suffix('\n'));
        path.map(str::to_owned).ok_or(Fault::Shape("it has records other than long paths"))
    }
}

fn field(block: &[u8], at: usize, width: usize) -> &[u8] {
    block.get(at..at + width).unwrap_or_default()
}

fn kind(block: &[u8]) -> u8 {
    block.get(156).copied().unwrap_or(0)
}

fn refuse_kind(kind: u8) -> Result<(), Fault> {
    Err(Fault::Shape(match kind {
        b'0' => return Ok(()),
        b'1' => "it holds a hard link; only regular files are taken",
        b'2' => "it holds a symbolic link; only regular files are taken",
        b'3' | b'4' => "it holds a device; only regular files are taken",
        b'6' => "it holds a FIFO; only regular files are taken",
        b'S' => "it holds a sparse file; only plain files are taken",
        _ => "it holds something that is no regular file",
    }))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.strip_suffix('\0')?;
    // The standard library would take a sign.
    let plain = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    plain.then(|| u64::from_str_radix(text, 8).ok()).flatten()
}

fn short_path(block: &[u8]) -> Result<String, Fault> {
    let text = |at, width| {
        let field = field(block, at, width);
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(width);
        std::str::from_utf8(field.get(..end).unwrap_or_default())
            .map_err(|_| Fault::Shape("one of its paths is no text"))
    };
    let (prefix, name) = (text(345, PREFIX_BYTES)?, text(0, NAME_BYTES)?);
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn member(path: &str, executable: bool, bytes: u64) -> Member {
        Member { path: path.to_owned(), executable, bytes }
    }

    fn paths() -> Vec<String> {
        let deep = vec!["folder"; 30].join("/");
        vec![
            "a".into(),
            "long".into(),
            "é/ü.py".into(),
            "x".repeat(100),
            "x".repeat(101),
            format!("{deep}/x"),
            format!("{deep}/{}", "y".repeat(120)),
            format!("{}/{}", "z".repeat(155), "y".repeat(100)),
            format!("{}/{}", "z".repeat(156), "y".repeat(100)),
            vec!["w".repeat(90); 11].join("/"),
        ]
    }

    #[test]
    fn what_is_written_reads_back_here_and_elsewhere() {
        let mut writer = Writer::new(Vec::new());
        for (number, path) in (0_u64..).zip(paths()) {
            writer.begin(&member(&path, number % 2 == 1, number * 300)).unwrap();
            writer.content(&vec![7; usize::try_from(number * 300).unwrap()]).unwrap();
            writer.end(number * 300).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        for (number, path) in (0_u64..).zip(paths()) {
            let read = reader.next().unwrap().unwrap();
            assert_eq!(read, member(&path, number % 2 == 1, number * 300));
            let mut count = 0;
            let take = |piece: &[u8]| -> Result<(), Fault> {
                count += piece.len();
                Ok(())
            };
            reader.content(read.bytes, take).unwrap();
            assert_eq!(count as u64, number * 300);
        }
        assert_eq!(reader.next().unwrap(), None);
        assert!(reader.end().is_ok());
        // The readers of others see the same.
        let script = "import sys,tarfile
for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|'): print(m.name, oct(m.mode), m.size, m.isreg(), m.mtime)";
        let said: Vec<String> = (0..)
            .zip(paths())
            .map(|(n, path)| format!("{path} {} {} True 0\n", if n % 2 == 1 { "0o755" } else { "0o644" }, n * 300))
            .collect();
        assert_eq!(piped(Command::new("python3").args(["-I", "-c", script]), &bytes), said.concat());
        let lines: Vec<String> = paths().into_iter().map(|path| path + "\n").collect();
        assert_eq!(piped(Command::new("tar").args(["-t", "--quoting-style=literal"]), &bytes), lines.concat());
    }

    fn piped(command: &mut Command, bytes: &[u8]) -> String {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// Any change of any byte of a header is seen: nothing in it is passed over.
    #[test]
    fn no_byte_of_a_header_is_passed_over() {
        for path in paths() {
            let good = headers(&member(&path, false, 5)).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                let read = Reader::new(bad.as_slice()).next();
                // The record of a long path has no checksum: it then is another path.
                let other = read.as_ref().is_ok_and(|read| read.as_ref().unwrap().path.len() == path.len());
                let is_record = good.len() > BLOCK && (BLOCK..good.len() - BLOCK).contains(&at);
                assert!(read.is_err() || (is_record && other), "byte {at} of {path}: {read:?}");
            }
        }
    }
}
