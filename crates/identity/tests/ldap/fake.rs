//! Servers that are none: silent ones, and those that say what they are told to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// Somebody at a port.
pub(crate) struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Takes connections and never says anything.
    pub(crate) fn silent() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// How many came.
    pub(crate) fn connections(&self) -> usize {
        self.listener.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

/// A port where nobody is.
pub(crate) fn nobody() -> u16 {
    Listener::silent().port()
}

/// Answers each request with what `answer` makes of its number and what it asks (`0x60` bind, `0x63` search, `0x77`
/// extended); what it hears comes out. An empty answer ends the connection.
pub(crate) fn answering(
    answer: impl Fn(u8, u8) -> Vec<u8> + Send + Sync + Clone + 'static,
) -> (u16, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hear) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (heard, answer) = (heard.clone(), answer.clone());
            std::thread::spawn(move || converse(stream.unwrap(), &answer, |bytes| drop(heard.send(bytes))));
        }
    });
    (port, hear)
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(u8, u8) -> Vec<u8>, heard: impl Fn(Vec<u8>)) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let said = &bytes[..count];
        heard(said.to_vec());
        // Requests are short, and each comes in one piece.
        let header = if said[1] < 0x80 { 2 } else { 2 + usize::from(said[1] & 0x7f) };
        let (Some(id), Some(asked)) = (said.get(header + 2), said.get(header + 3)) else { return };
        let answer = answer(*id, *asked);
        if answer.is_empty() || stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// One element.
pub(crate) fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), &content].concat()
}

/// A message.
pub(crate) fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    of(0x30, &[&[2, 1, id], operation])
}

/// A result with this code; the tag says of what.
pub(crate) fn result(tag: u8, code: u8) -> Vec<u8> {
    of(tag, &[&[0x0a, 1, code, 4, 0, 4, 0]])
}

/// An entry with one value of `uid`.
pub(crate) fn entry(name: &str, uid: &str) -> Vec<u8> {
    let values = of(0x31, &[&of(4, &[uid.as_bytes()])]);
    of(0x64, &[&of(4, &[name.as_bytes()]), &of(0x30, &[&of(0x30, &[&of(4, &[b"uid"]), &values])])])
}
