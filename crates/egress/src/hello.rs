//! The first message of TLS, read without answering it: which server does the client want?
//!
//! rustls parses it, as a server would. A second parser only looks for encrypted client hello, which hides the
//! name that counts behind one that may be granted, and for names that rustls leaves out. Bytes that were looked at stay where they are.

use rustls::server::{Accepted, Acceptor};
use tls_parser::{TlsExtensionType, TlsMessage, TlsMessageHandshake, TlsRecordType};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::inside::Inside;
use crate::refusal::{Fault, Reason, shown};
use stockade_core::name::{Host, Name};

/// The first byte of TLS: a handshake record.
pub(crate) const FIRST_BYTE: u8 = 22;
/// Largest greeting: post-quantum keys make them long, but not this long.
const HELLO_BYTES_MAX: usize = 32 << 10;
/// Encrypted client hello, and the draft before it (encrypted server name).
const HIDING: [u16; 2] = [0xfe0d, 0xffce];

/// Reads the greeting and compares its server name with the granted one. A server that was granted by its
/// address has no name, and a greeting to it must name none.
pub(crate) async fn check(inside: &mut Inside, granted: Option<&Name>, until: Instant) -> Result<(), Reason> {
    let hello = read(inside, until).await?;
    let extensions = extensions(inside.early())?;
    if extensions.iter().any(|kind| HIDING.contains(kind)) {
        return Err(Reason::HiddenServerName);
    }
    match (hello.client_hello().server_name(), granted) {
        (Some(said), Some(granted)) if Host::parse(said) == Ok(Host::Name(granted.clone())) => Ok(()),
        (Some(said), _) => Err(Reason::ServerName { said: shown(said) }),
        // Named in a way that rustls takes for no name; a server may take it for one.
        (None, _) if extensions.contains(&TlsExtensionType::ServerName.0) => Err(Reason::BadHello),
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Reason::NoServerName),
    }
}

async fn read(inside: &mut Inside, until: Instant) -> Result<Accepted, Reason> {
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        let mut new = inside.early().get(fed..).unwrap_or_default();
        fed += new.len();
        while !new.is_empty() {
            acceptor.read_tls(&mut new).map_err(|_| Reason::BadHello)?;
        }
        match acceptor.accept() {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) if fed > HELLO_BYTES_MAX => return Err(Reason::BadHello),
            Ok(None) => inside.look_further(until).await?,
            Err(_) => return Err(Reason::BadHello),
        }
    }
}

/// The kinds of the greeting's extensions.
fn extensions(records: &[u8]) -> Result<Vec<u16>, Reason> {
    let message = first_message(records).ok_or(Reason::BadHello)?;
    let (_, message) = tls_parser::parse_tls_message_handshake(&message).map_err(|_| Reason::BadHello)?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = message else {
        return Err(Reason::BadHello);
    };
    let Some(extensions) = hello.ext else { return Ok(Vec::new()) };
    let (rest, extensions) = tls_parser::parse_tls_extensions(extensions).map_err(|_| Reason::BadHello)?;
    if !rest.is_empty() {
        return Err(Reason::BadHello);
    }
    Ok(extensions.iter().map(|extension| TlsExtensionType::from(extension).0).collect())
}

/// The first handshake message, joined from as many records as it takes.
fn first_message(mut records: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let (rest, header) = tls_parser::parse_tls_record_header(records).ok()?;
        if header.record_type != TlsRecordType::Handshake {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(usize::from(header.len))?;
        message.extend_from_slice(payload);
        if let Some([_, a, b, c]) = message.first_chunk() {
            let whole = 4 + usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).ok()?;
            if message.len() >= whole {
                message.truncate(whole);
                return Some(message);
            }
        }
        records = rest;
    }
}

/// How a refusal is told inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alert {
    AccessDenied = 49,
    InternalError = 80,
    UnrecognizedName = 112,
}

impl Alert {
    pub(crate) const fn of(reason: &Reason) -> Self {
        match reason.fault() {
            _ if matches!(reason, Reason::ServerName { .. } | Reason::NoServerName) => Self::UnrecognizedName,
            Fault::Request | Fault::Rules => Self::AccessDenied,
            Fault::Server | Fault::Gate => Self::InternalError,
        }
    }
}

/// Sends a fatal alert; the client shows it as its error. It may be gone already.
pub(crate) async fn alert(inside: &mut Inside, alert: Alert) {
    // An alert record of TLS 1.2, which 1.3 uses too: two bytes, fatal.
    drop(inside.write_all(&[21, 3, 3, 0, 2, 2, alert as u8]).await);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_joined_from_its_records() {
        let cut = [&[22, 3, 1, 0, 3, 1, 0, 0][..], &[22, 3, 1, 0, 3, 2, 7, 8], &[22, 3, 1, 0, 1, 9]].concat();
        assert_eq!(first_message(&cut), Some(vec![1, 0, 0, 2, 7, 8]));
        assert_eq!(first_message(&cut[..10]), None);
        assert_eq!(first_message(&[23, 3, 1, 0, 1, 0]), None);
    }

    #[test]
    fn a_refusal_has_its_word_in_tls() {
        assert_eq!(Alert::of(&Reason::NoServerName), Alert::UnrecognizedName);
        assert_eq!(Alert::of(&Reason::Slow), Alert::AccessDenied);
        assert_eq!(Alert::of(&Reason::Unreachable), Alert::InternalError);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..30) {
            let length = u8::try_from(bytes.len().min(255)).unwrap();
            let record = [&[22, 3, 1, 0, length, kind, 0, 0, length.saturating_sub(4)], &bytes[..]].concat();
            let (_, _) = (extensions(&bytes), extensions(&record));
        }
    }
}
