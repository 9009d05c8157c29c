//! One record as one line: `{"seq":N,"prev":"…",` what is recorded `,"hash":"…"}`.
//!
//! The canonical form is the bytes that were written. The hash is over all of them before itself, so nothing has to be
//! parsed and written again to know whether it was changed.

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::hex::{hex, unhex};

/// The longest line, its end included.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// A hash of ours means nothing elsewhere.
const CONTEXT: &[u8] = b"stockade audit record 1\n";
const SEQ: &[u8] = b"{\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";
/// What every record begins with, so that its kind is where nobody else's words are.
const RECORD: &[u8] = b"{\"record\":\"";
/// `,"hash":"` 64 digits `"}`
const END_BYTES: usize = HASH.len() + 64 + 2;

/// A place in a chain: the number of a record and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// From 1; 0 before the first.
    pub seq: u64,
    /// SHA-256; zeros before the first.
    pub hash: [u8; 32],
}

impl Link {
    /// Before the first record.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };

    /// The hash in hexadecimal.
    #[must_use]
    pub fn hash_hex(&self) -> String {
        hex(&self.hash)
    }

    /// From a number and a hash in hexadecimal.
    #[must_use]
    pub fn new(seq: u64, hash: &str) -> Option<Self> {
        Some(Self { seq, hash: unhex(hash.as_bytes())? })
    }

    /// From `NUMBER:HASH`, as a verification is told what an earlier one has said.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        Self::new(seq.parse().ok()?, hash)
    }
}

/// Adds the line of `record` (a JSON object whose first key is `record`) that follows `last`, and returns its link.
pub(crate) fn add(lines: &mut Vec<u8>, last: Link, record: &[u8]) -> Result<Link, Error> {
    let bad = |why: &str| Error::Record { why: why.to_owned() };
    let body = record.strip_prefix(b"{").and_then(|record| record.strip_suffix(b"}"));
    let body = body.filter(|_| record.starts_with(RECORD) && !record.contains(&b'\n'));
    let body = body.ok_or_else(|| bad("it is no object that says which record it is"))?;
    let seq = last.seq.checked_add(1).ok_or_else(|| bad("there are no more numbers"))?;
    let from = lines.len();
    for part in [SEQ, seq.to_string().as_bytes(), PREV, hex(&last.hash).as_bytes(), b"\",", body] {
        lines.extend_from_slice(part);
    }
    let hash = hash(lines.get(from..).unwrap_or_default());
    for part in [HASH, hex(&hash).as_bytes(), b"\"}\n"] {
        lines.extend_from_slice(part);
    }
    if lines.len() - from > LINE_BYTES_MAX {
        lines.truncate(from);
        return Err(bad("it has more than 4 MiB"));
    }
    Ok(Link { seq, hash })
}

/// A line that was taken apart, its own hash not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'l> {
    pub(crate) link: Link,
    pub(crate) prev: [u8; 32],
    /// What is recorded: an object without its braces.
    pub(crate) body: &'l [u8],
    hashed: &'l [u8],
}

impl<'l> Line<'l> {
    /// Takes a line apart, given without its end.
    pub(crate) fn parse(line: &'l [u8]) -> Option<Self> {
        let (hashed, end) = line.split_at_checked(line.len().checked_sub(END_BYTES)?)?;
        let hash = unhex(end.strip_prefix(HASH)?.strip_suffix(b"\"}")?)?;
        let rest = hashed.strip_prefix(SEQ)?;
        let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(digits)?;
        let seq: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (prev, rest) = rest.strip_prefix(PREV)?.split_at_checked(64)?;
        let body = rest.strip_prefix(b"\",")?;
        // The brace of a record is this line's.
        let is_record =
            digits.first() != Some(&b'0') && RECORD.strip_prefix(b"{").is_some_and(|begin| body.starts_with(begin));
        is_record.then_some(Self { link: Link { seq, hash }, prev: unhex(prev)?, body, hashed })
    }

    /// Whether its hash is that of its bytes.
    pub(crate) fn is_whole(&self) -> bool {
        hash(self.hashed) == self.link.hash
    }

    /// Which record it is.
    pub(crate) fn kind(&self) -> &'l str {
        let quoted = self.body.get(RECORD.len() - 1..).unwrap_or_default();
        quoted.split(|byte| *byte == b'"').next().and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default()
    }

    /// What is recorded, as JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        [b"{", self.body, b"}"].concat()
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(CONTEXT).chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_apart_as_it_was_put_together() {
        let mut lines = Vec::new();
        let first = add(&mut lines, Link::START, br#"{"record":"x","a":"}\n,\"hash\":\""}"#).unwrap();
        let second = add(&mut lines, first, br#"{"record":"why"}"#).unwrap();
        let split: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        assert_eq!(split.len(), 3);
        let [one, two] = [split[0], split[1]].map(|line| Line::parse(line).unwrap());
        assert!(one.is_whole() && two.is_whole());
        assert_eq!((one.link, two.link, one.prev, two.prev), (first, second, [0; 32], first.hash));
        assert_eq!((one.kind(), two.kind(), two.json()), ("x", "why", br#"{"record":"why"}"#.to_vec()));
        for line in &split[..2] {
            serde_json::from_slice::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn what_is_no_record_is_not_written() {
        let long = format!(r#"{{"record":"{}"}}"#, "x".repeat(LINE_BYTES_MAX));
        for record in ["", "{}", "[]", r#"{"seq":1}"#, "{\"record\":\"a\"\n}", r#"{"record":"a""#, &long] {
            let mut lines = b"before".to_vec();
            assert!(add(&mut lines, Link::START, record.as_bytes()).is_err());
            assert_eq!(lines, b"before");
        }
        assert!(add(&mut Vec::new(), Link { seq: u64::MAX, ..Link::START }, br#"{"record":"a"}"#).is_err());
    }

    #[test]
    fn there_is_one_form_of_a_line() {
        let mut lines = Vec::new();
        add(&mut lines, Link::START, br#"{"record":"x"}"#).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let line = text.trim_end();
        assert!(Line::parse(line.as_bytes()).is_some());
        for other in [
            line.replace("\"seq\":1", "\"seq\":01"),
            line.replace("\"seq\":1", "\"seq\": 1"),
            line.replace("record", "recorD"),
            format!(" {line}"),
            format!("{line} "),
            text.clone(),
            line.to_uppercase(),
            line[..line.len() - 1].to_owned(),
            line[line.len() - END_BYTES..].to_owned(),
        ] {
            assert!(Line::parse(other.as_bytes()).is_none(), "{other}");
        }
    }
}
