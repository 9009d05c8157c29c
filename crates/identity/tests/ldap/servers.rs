//! Several servers, and what some of them are instead.

use std::time::Instant;

use super::fake::{self, Listener, message, result};
use super::*;

const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_down_or_silent() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    let silent = Listener::silent();
    let soon = |port| LdapServer { connect_timeout_ms: 300, ..ldaps(port) };
    let nameless = LdapServer { host: "nowhere.example.com".to_owned(), ..ldaps(636) };
    for first in [soon(fake::nobody()), soon(silent.port()), plaintext(silent.port()), nameless] {
        let both = directory(&slapd, vec![first.clone(), ldaps(slapd.tls_port())]);
        assert_eq!(both.log_in("ada", password("of ada")).await.unwrap().user, "ada");
        let refused = directory(&slapd, vec![first.clone(), first]).log_in("ada", password("of ada")).await;
        let Err(LdapRefusal::Unavailable(failed)) = refused else { panic!("{refused:?}") };
        assert_eq!(failed.len(), 2, "{failed:?}");
    }
}

/// Elements in elements, each of a true length.
fn deep(levels: u32) -> Vec<u8> {
    (1..=levels).flat_map(|level| [vec![0x30, 0x84], (6 * (levels - level)).to_be_bytes().to_vec()].concat()).collect()
}

/// Everything here ends `ldap3` with a panic, fills memory or its stack, or would be believed.
#[tokio::test]
async fn the_next_server_is_asked_when_one_talks_nonsense() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    const LIES: usize = 11;
    let lies: [fn(u8, u8) -> Vec<u8>; LIES] = [
        |_, _| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        |_, _| vec![0; 64],
        // So much is claimed.
        |_, _| vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 2, 1, 1],
        |_, _| vec![0x30, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        |_, _| deep(100_000),
        |_, _| vec![0x30, 0],
        |id, _| message(id, &[]),
        |id, _| message(id, &result(0x79, 0)),
        // Somebody else's answer.
        |id, _| message(id + 1, &result(0x61, 0)),
        |id, asked| message(id, &result(if asked == SEARCH { 0x61 } else { 0x65 }, 0)),
        // It goes.
        |_, _| message(0, &result(0x78, 52)),
    ];
    for (place, lie) in lies.into_iter().enumerate() {
        for from in [BIND, SEARCH] {
            let (port, _heard) =
                fake::answering(
                    move |id, asked| {
                        if asked == from { lie(id, asked) } else { message(id, &result(0x61, 0)) }
                    },
                );
            let both = directory(&slapd, vec![plaintext(port), ldaps(slapd.tls_port())]);
            assert_eq!(both.log_in("ada", password("of ada")).await.unwrap().user, "ada", "{place}");
            let said = trouble(directory(&slapd, vec![plaintext(port)]).log_in("ada", password("of ada")).await);
            // Were it the library that ended, this would say so.
            assert_eq!(matches!(said, Trouble::Nonsense(_)), place + 1 < LIES, "{place}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_left() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    let endless = |id: u8| message(id, &fake::of(0x73, &[&[4, 1, b'x']])).repeat(5_000);
    let (port, _heard) =
        fake::answering(move |id, asked| if asked == SEARCH { endless(id) } else { message(id, &result(0x61, 0)) });
    let said = trouble(directory(&slapd, vec![plaintext(port)]).log_in("ada", password("of ada")).await);
    assert_eq!(said, Trouble::Nonsense("it is longer than any answer may be".to_owned()));
}

#[tokio::test]
async fn a_yes_to_somebody_who_was_not_found_is_a_no() {
    let Some(slapd) = Slapd::with("") else { return };
    let (port, _heard) =
        fake::answering(|id, asked| message(id, &result(asked + if asked == SEARCH { 2 } else { 1 }, 0)));
    let directory = directory(&slapd, vec![plaintext(port)]);
    assert_eq!(directory.log_in("ada", password("of ada")).await.unwrap_err(), LdapRefusal::Unknown);
    // Nor is it asked about an entry without a name, whom every password would be right for.
    let (port, heard) = fake::answering(|id, asked| match asked {
        SEARCH => [message(id, &fake::entry("", "ada")), message(id, &result(0x65, 0))].concat(),
        _ => message(id, &result(0x61, 0)),
    });
    let nameless = super::directory(&slapd, vec![plaintext(port)]);
    let refused = nameless.log_in("ada", password("of ada")).await.unwrap_err();
    assert_eq!(refused, LdapRefusal::Nameless { entry: String::new() });
    // The same work: the system principal, a search, and a bind as an entry that is not there.
    let said: Vec<Vec<u8>> = heard.try_iter().collect();
    let with_password = said.iter().filter(|bytes| bytes.windows(6).any(|part| part == b"of ada")).count();
    assert_eq!(with_password, 1);
    assert!(said.iter().any(|bytes| bytes.windows(8).any(|part| part == b"uid=ada,")));
}

#[tokio::test]
async fn a_log_in_has_an_end_whatever_servers_do() {
    let Some(slapd) = Slapd::with("") else { return };
    let silent = Listener::silent();
    let slow = LdapServer { connect_timeout_ms: 60_000, ..ldaps(silent.port()) };
    let limits = Limits { total: Duration::from_millis(300), ..limits() };
    let directory = believing(&slapd.authority(), None, vec![slow.clone(), slow], limits);
    let begun = Instant::now();
    assert_eq!(trouble(directory.log_in("ada", password("of ada")).await), Trouble::Slow("all of it"));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn only_so_many_are_looked_for_at_once_and_wait() {
    let Some(slapd) = Slapd::with("") else { return };
    let silent = Listener::silent();
    let slow = LdapServer { connect_timeout_ms: 60_000, ..ldaps(silent.port()) };
    let limits = Limits { at_once: 1, waiting: 1, total: Duration::from_millis(500), ..limits() };
    let directory = believing(&slapd.authority(), None, vec![slow], limits);
    let ask = || directory.log_in("ada", password("of ada"));
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    assert_eq!(trouble(first), Trouble::Slow("all of it"));
    // The second waited for its turn until its time was over; the third not at all.
    assert!(matches!(second, Err(LdapRefusal::Busy | LdapRefusal::Unavailable(_))), "{second:?}");
    assert_eq!(third.unwrap_err(), LdapRefusal::Busy);
    assert!(silent.connections() <= 2);
}
