//! What a directory may say: messages are held against the grammar of RFC 4511 before `ldap3` sees them.
//!
//! `ldap3` takes a message apart with recursion that nothing bounds, waits for any length that a message claims, and
//! panics on what it does not expect; a panic ends the node. So this passes on the few forms that are answers to what
//! was asked, of bounded size, and without controls. Depth is that of the grammar. It must never change what is said.

use thiserror::Error;

/// Longest message: an entry with thousands of groups fits.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Values of one entry: each costs far more memory than its bytes.
const VALUES_MAX: usize = 20_000;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const CONTROLS: u8 = 0xa0;
const REFERRAL: u8 = 0xa3;
const SASL: u8 = 0x87;
const EXTENDED_NAME: u8 = 0x8a;
const EXTENDED_VALUE: u8 = 0x8b;

const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED_DONE: u8 = 0x78;

/// Why what came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Nonsense {
    #[error("it is not LDAP")]
    Form,
    #[error("it is longer than any answer may be")]
    TooLong,
    #[error("it answers what was not asked")]
    Unasked,
    #[error("the server says that it ends the connection")]
    Closing,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    id: u32,
    operation: u8,
}

/// A search that waits for its answer.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const SEARCHING: Asked = Asked { id: 2, operation: SEARCH };

/// How long the rest of a message is, once its first two bytes are there: bytes of the length, then the length.
pub(super) fn length_bytes(first: u8, second: u8) -> Result<usize, Nonsense> {
    match (first, second) {
        (SEQUENCE, 0..=0x7f) => Ok(0),
        (SEQUENCE, 0x81..=0x84) => Ok(usize::from(second & 0x7f)),
        _ => Err(Nonsense::Form),
    }
}

/// What a request of ours asks; `None` where nothing answers it.
pub(super) fn asked(request: &[u8]) -> Result<Option<Asked>, Nonsense> {
    let message = Message::read(request)?;
    match message.operation.tag {
        BIND | SEARCH => Ok(Some(Asked { id: message.id, operation: message.operation.tag })),
        UNBIND => Ok(None),
        _ => Err(Nonsense::Form),
    }
}

/// The same message without its controls, if it is an answer to what was asked.
pub(super) fn answer(bytes: &[u8], asked: Option<Asked>) -> Result<Vec<u8>, Nonsense> {
    let message = Message::read(bytes)?;
    if message.id == 0 {
        return Err(Nonsense::Closing);
    }
    let asked = asked.filter(|asked| asked.id == message.id).ok_or(Nonsense::Unasked)?;
    let content = message.operation.content;
    match (asked.operation, message.operation.tag) {
        (BIND, BIND_DONE) | (SEARCH, SEARCH_DONE) => result(content).map(drop)?,
        (SEARCH, ENTRY) => entry(content)?,
        (SEARCH, REFERENCE) => texts(Reader(content))?,
        _ => return Err(Nonsense::Unasked),
    }
    Ok(message.without_controls())
}

/// Whether an answer to the request for TLS says yes; else its code.
pub(super) fn starts_tls(bytes: &[u8], id: u32) -> Result<u32, Nonsense> {
    let message = Message::read(bytes)?;
    match message.operation.tag {
        EXTENDED_DONE if message.id == id => result(message.operation.content),
        _ => Err(Nonsense::Unasked),
    }
}

/// One element: its tag, what is in it, and all of it.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

struct Message<'a> {
    id: u32,
    named: Element<'a>,
    operation: Element<'a>,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Nonsense> {
        let mut outer = Reader(bytes);
        let mut inner = Reader(outer.take(SEQUENCE)?.content);
        outer.end()?;
        let named = inner.take(INTEGER)?;
        let id = number(named.content)?;
        let operation = inner.next()?;
        if !inner.0.is_empty() {
            // The second is what Active Directory puts there when it goes.
            let more = inner.next()?;
            if more.tag != CONTROLS && (id != 0 || more.tag != EXTENDED_NAME) {
                return Err(Nonsense::Form);
            }
            inner.end()?;
        }
        Ok(Self { id, named, operation })
    }

    fn without_controls(&self) -> Vec<u8> {
        let content = [self.named.whole, self.operation.whole].concat();
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[SEQUENCE, 0x84], length.as_slice(), content.as_slice()].concat()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, whatever it is. Lengths are written out, in at most four bytes.
    fn next(&mut self) -> Result<Element<'a>, Nonsense> {
        let (&tag, rest) = self.0.split_first().ok_or(Nonsense::Form)?;
        let (&first, rest) = rest.split_first().ok_or(Nonsense::Form)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(Nonsense::Form)?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return Err(Nonsense::Form),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(Nonsense::Form)?;
        let whole = self.0.get(..self.0.len() - rest.len()).ok_or(Nonsense::Form)?;
        self.0 = rest;
        Ok(Element { tag, content, whole })
    }

    fn take(&mut self, tag: u8) -> Result<Element<'a>, Nonsense> {
        self.next().and_then(|element| if element.tag == tag { Ok(element) } else { Err(Nonsense::Form) })
    }

    fn text(&mut self) -> Result<&'a str, Nonsense> {
        std::str::from_utf8(self.take(OCTETS)?.content).map_err(|_| Nonsense::Form)
    }

    const fn end(&self) -> Result<(), Nonsense> {
        if self.0.is_empty() { Ok(()) } else { Err(Nonsense::Form) }
    }
}

fn number(content: &[u8]) -> Result<u32, Nonsense> {
    match content {
        [0..=0x7f, ..] if content.len() <= 4 => {
            Ok(content.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        _ => Err(Nonsense::Form),
    }
}

/// Code, name, text, and what may follow.
fn result(content: &[u8]) -> Result<u32, Nonsense> {
    let mut reader = Reader(content);
    let code = number(reader.take(ENUMERATED)?.content)?;
    reader.text()?;
    reader.text()?;
    while !reader.0.is_empty() {
        let more = reader.next()?;
        match more.tag {
            REFERRAL => texts(Reader(more.content))?,
            SASL | EXTENDED_VALUE => {}
            EXTENDED_NAME => std::str::from_utf8(more.content).map(drop).map_err(|_| Nonsense::Form)?,
            _ => return Err(Nonsense::Form),
        }
    }
    Ok(code)
}

fn texts(mut reader: Reader<'_>) -> Result<(), Nonsense> {
    for _ in 0..VALUES_MAX {
        if reader.0.is_empty() {
            return Ok(());
        }
        reader.text()?;
    }
    Err(Nonsense::TooLong)
}

/// A name, and attributes with their values, which are any bytes.
fn entry(content: &[u8]) -> Result<(), Nonsense> {
    let mut reader = Reader(content);
    reader.text()?;
    let mut attributes = Reader(reader.take(SEQUENCE)?.content);
    reader.end()?;
    let mut count = 0;
    while !attributes.0.is_empty() {
        let mut attribute = Reader(attributes.take(SEQUENCE)?.content);
        attribute.text()?;
        let mut values = Reader(attribute.take(SET)?.content);
        attribute.end()?;
        count += 1;
        while !values.0.is_empty() {
            values.take(OCTETS)?;
            count += 1;
            if count > VALUES_MAX {
                return Err(Nonsense::TooLong);
            }
        }
    }
    if count > VALUES_MAX { Err(Nonsense::TooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
