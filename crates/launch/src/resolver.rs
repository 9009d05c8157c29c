//! Parent, outside: the run's name server, which always answers no and remembers what was asked.
//!
//! The socket belongs to the sandbox's network namespace and is held outside only. Every datagram
//! is untrusted: bounded in size and in how many names are kept.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use simple_dns::{Packet, RCODE};
use stockade_core::text;

/// How many different names one run may leave in its report.
const NAMES_MAX: usize = 100;
/// Largest query that is read: a name has at most 255 bytes (RFC 1035), EDNS adds a little.
const QUERY_BYTES_MAX: usize = 1232;
/// How many queries are answered before the loop looks at anything else.
const AT_ONCE: usize = 16;

/// The resolver of one run.
#[derive(Debug)]
pub(crate) struct Resolver {
    socket: OwnedFd,
    names: BTreeSet<String>,
}

impl Resolver {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, names: BTreeSet::new() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.socket.as_fd()
    }

    /// The names asked so far, neutralised.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    /// Answers what waits. What cannot be parsed gets no answer: the asker's time-out is its own.
    pub(crate) fn answer_waiting(&mut self) {
        for _ in 0..AT_ONCE {
            let mut query = [0_u8; QUERY_BYTES_MAX];
            let Ok((bytes, _, Some(from))) = rustix::net::recvfrom(&self.socket, &mut query, RecvFlags::DONTWAIT)
            else {
                return;
            };
            let Some((reply, name)) = query.get(..bytes).and_then(refuse) else { continue };
            if self.names.len() < NAMES_MAX {
                self.names.insert(name);
            }
            // An asker that is gone does not need it.
            rustix::net::sendto(&self.socket, &reply, SendFlags::DONTWAIT, &from).ok();
        }
    }
}

/// The answer "no such name" to a query, and the name it asked for.
fn refuse(query: &[u8]) -> Option<(Vec<u8>, String)> {
    // One question, and nothing else is looked at: the parser makes room for as many records as a header promises.
    let mut header: [u8; 12] = *query.first_chunk()?;
    let [_, _, _, _, questions @ .., _, _, _, _, _, _] = header;
    if questions != [0, 1] {
        return None;
    }
    header.iter_mut().skip(6).for_each(|byte| *byte = 0);
    let asked = [&header, query.get(12..)?].concat();
    let packet = Packet::parse(&asked).ok()?;
    let name = packet.questions.first()?.qname.to_string();
    let mut reply = Packet::new_reply(packet.id());
    reply.questions.clone_from(&packet.questions);
    *reply.rcode_mut() = RCODE::NameError;
    Some((reply.build_bytes_vec().ok()?, text::shown(&name.to_lowercase(), 255)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::{CLASS, Name, Question, TYPE};

    fn query(name: &str) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.questions.push(Question::new(Name::new_unchecked(name), TYPE::A.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn the_answer_is_always_no() {
        let (reply, name) = refuse(&query("API.example.com")).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(
            (reply.id(), reply.rcode(), reply.answers.len(), name.as_str()),
            (7, RCODE::NameError, 0, "api.example.com")
        );
    }

    #[test]
    fn a_hostile_name_is_escaped() {
        let (_, name) = refuse(&query("a\u{1b}[2J")).unwrap();
        assert!(!name.contains('\u{1b}'), "{name}");
    }

    #[test]
    fn what_a_header_promises_takes_no_room() {
        let mut query = query("api.example.com");
        query[6..12].fill(0xff);
        assert!(refuse(&query).is_some());
        query[4..6].fill(0xff);
        assert!(refuse(&query).is_none());
    }

    proptest! {
        #[test]
        fn no_datagram_stops_the_resolver(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _answer = refuse(&bytes);
        }
    }
}
