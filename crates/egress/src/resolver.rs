//! The name server of one run: made-up addresses for names of which some port is granted, no for all others.
//!
//! It must never ask anybody outside: labels of names would be messages to whoever runs a domain. Every datagram is
//! hostile; of each only the header and one question are read.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use stockade_core::name::{BadHost, Host, Name};
use tokio::net::UdpSocket;

use crate::flow::Way;
use crate::pace::Pace;
use crate::refusal::{Reason, Refusal};
use crate::run::Run;

/// Largest query that is read: a name has at most 255 bytes (RFC 1035), EDNS adds a little.
const QUERY_BYTES_MAX: usize = 1232;
/// How long an answer may be kept, in seconds. It is true for as long as the run lasts.
const TTL: u32 = 60;
/// A pause after an error of the socket, which is about an answer that nobody took.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers until it is aborted.
pub(crate) async fn serve(run: Arc<Run>, socket: UdpSocket) {
    let (mut query, mut pace) = ([0; QUERY_BYTES_MAX], Pace::new());
    loop {
        let Ok((length, from)) = socket.recv_from(&mut query).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answer = query.get(..length).and_then(|query| answer(query, |question| decide(&run, question)));
        if let Some(answer) = answer {
            // An asker that is gone, or whose socket is full, asks again.
            drop(socket.try_send_to(&answer, from));
        }
        pace.step().await;
    }
}

/// What a question gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Address(Ipv4Addr),
    /// The name is there, without what was asked for.
    Nothing,
    NoSuchName,
    Failed,
}

fn decide(run: &Run, question: &Question<'_>) -> Said {
    let (text, name) = read_name(question);
    let refuse = |reason: Reason| {
        run.refused_once(&Refusal::new(Way::Resolver, &text, reason));
        Said::NoSuchName
    };
    if question.qtype == QTYPE::TYPE(TYPE::PTR) {
        return refuse(Reason::BadRequest("names of addresses are not looked up"));
    }
    let name = match name {
        Ok(name) => name,
        Err(bad) => return refuse(bad.into()),
    };
    if let Err(reason) = run.rules.names(&name) {
        return refuse(reason);
    }
    if question.qclass != QCLASS::CLASS(CLASS::IN) || question.qtype != QTYPE::TYPE(TYPE::A) {
        return Said::Nothing;
    }
    match run.names.address(&name) {
        Some(address) => Said::Address(address),
        None => {
            run.refused_once(&Refusal::new(Way::Resolver, "one more name", Reason::Names));
            Said::Failed
        }
    }
}

/// The name that is asked for, as text for people and in its one form. A label may hold any byte, also a dot that
/// would make two labels of it.
fn read_name(question: &Question<'_>) -> (String, Result<Name, BadHost>) {
    let labels: Vec<&[u8]> = question.qname.as_bytes().collect();
    let text = labels.iter().map(|label| label.escape_ascii().to_string()).collect::<Vec<_>>().join(".");
    let plain = labels.iter().all(|label| label.is_ascii() && !label.contains(&b'.'));
    let name = match Host::parse(&text) {
        _ if !plain => Err(BadHost::Character),
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Address(_)) => Err(BadHost::NotAName),
        Err(bad) => Err(bad),
    };
    (text, name)
}

/// The answer to one datagram; none to what is no question.
fn answer(query: &[u8], decide: impl FnOnce(&Question<'_>) -> Said) -> Option<Vec<u8>> {
    let mut header: [u8; 12] = *query.first_chunk()?;
    let [id_high, id_low, flags, _, questions @ .., _, _, _, _, _, _] = header;
    // An answer, or another operation: answering answers would never end.
    if flags & 0xf8 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([id_high, id_low]);
    // The other sections are not looked at, so nothing has to parse them.
    header.iter_mut().skip(6).for_each(|byte| *byte = 0);
    let asked = [&header, query.get(12..)?].concat();
    let parsed = (questions == [0, 1]).then(|| Packet::parse(&asked).ok()).flatten();
    let mut reply = Packet::new_reply(id);
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    if flags & 1 != 0 {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let Some(question) = parsed.as_ref().and_then(|packet| packet.questions.first()) else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply.build_bytes_vec().ok();
    };
    match decide(question) {
        Said::Address(address) => reply.answers.push(ResourceRecord::new(
            question.qname.clone(),
            CLASS::IN,
            TTL,
            RData::A(A { address: address.into() }),
        )),
        Said::Nothing => {}
        Said::NoSuchName => *reply.rcode_mut() = RCODE::NameError,
        Said::Failed => *reply.rcode_mut() = RCODE::ServerFailure,
    }
    reply.questions.push(question.clone());
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label);
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        query
    }

    fn name_of(labels: &[&[u8]]) -> (String, Result<Name, BadHost>) {
        let mut seen = None;
        answer(&query(labels, 1), |question| {
            seen = Some(read_name(question));
            Said::Nothing
        });
        seen.unwrap()
    }

    #[test]
    fn an_address_is_answered_under_the_name_as_it_was_asked() {
        let address = Ipv4Addr::new(198, 18, 0, 2);
        let bytes = answer(&query(&[b"API", b"example"], 1), |_| Said::Address(address)).unwrap();
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!((reply.id(), reply.rcode()), (7, RCODE::NoError));
        assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        let [record] = &reply.answers[..] else { panic!("{reply:?}") };
        assert_eq!((record.name.to_string().as_str(), record.ttl), ("API.example", 60));
        assert!(matches!(&record.rdata, RData::A(a) if Ipv4Addr::from(a.address) == address));
    }

    #[test]
    fn a_no_says_which_no() {
        for (said, code) in [
            (Said::Nothing, RCODE::NoError),
            (Said::NoSuchName, RCODE::NameError),
            (Said::Failed, RCODE::ServerFailure),
        ] {
            let bytes = answer(&query(&[b"a"], 28), |_| said).unwrap();
            let reply = Packet::parse(&bytes).unwrap();
            assert_eq!((reply.rcode(), reply.answers.len(), reply.questions.len()), (code, 0, 1));
        }
    }

    #[test]
    fn a_label_is_not_read_as_two() {
        assert_eq!(name_of(&[b"a", b"example"]).1.unwrap().as_str(), "a.example");
        for labels in
            [&[&b"a.example"[..]][..], &[b"a\\", b"example"], &[b"\xe4", b"example"], &[b"127", b"0", b"0", b"1"]]
        {
            assert!(name_of(labels).1.is_err(), "{labels:?}");
        }
        assert_eq!(name_of(&[b"a\x1b[2J", b"b\n"]).0, "a\\x1b[2J.b\\n");
    }

    #[test]
    fn what_is_no_question_is_not_decided() {
        let never = |_: &Question<'_>| panic!("decided");
        let good = query(&[b"a"], 1);
        let with = |at: usize, byte: u8| {
            let mut changed = good.clone();
            changed[at] = byte;
            changed
        };
        // An answer, a notification, no header.
        for silent in [with(2, 0x80), with(2, 0x20), good[..11].to_vec(), Vec::new()] {
            assert_eq!(answer(&silent, never), None);
        }
        // No question, two, an unfinished one, a name that points to itself, an unknown class.
        let circle = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        for malformed in [with(5, 0), with(5, 2), with(4, 255), good[..14].to_vec(), circle, with(18, 9)] {
            let reply = answer(&malformed, never).unwrap();
            assert_eq!(Packet::parse(&reply).unwrap().rcode(), RCODE::FormatError, "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_stops_the_resolver(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            front in any::<bool>(),
            pointers in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = if front { [&query(&[b"abc", b"example"], 1), &bytes[..]].concat() } else { bytes };
            for (place, low) in pointers {
                if bytes.len() > 14 {
                    let place = 12 + place % (bytes.len() - 13);
                    bytes[place] = 0xc0;
                    bytes[place + 1] = low;
                }
            }
            if let Some(reply) = answer(&bytes, |question| { read_name(question).1.ok(); Said::NoSuchName }) {
                prop_assert!(Packet::parse(&reply).is_ok() && reply.len() <= 12 + 260 + 4);
            }
        }
    }
}
