//! What passes and what does not, and that the library takes what passes.

use proptest::prelude::*;

use super::super::fuzzing::{WAITING, taken};
use super::*;

fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], length.as_slice(), &content].concat()
}

fn message(operation: &[u8]) -> Vec<u8> {
    of(SEQUENCE, &[&[INTEGER, 1, 2], operation])
}

fn done() -> Vec<u8> {
    message(&of(SEARCH_DONE, &[&[ENUMERATED, 1, 0, OCTETS, 0, OCTETS, 0]]))
}

#[test]
fn an_answer_passes_as_it_is_and_loses_its_controls() {
    assert_eq!(answer(&done(), WAITING), Ok(done()));
    let operation = of(SEARCH_DONE, &[&[ENUMERATED, 1, 0, OCTETS, 0, OCTETS, 0]]);
    // What is in controls is looked at by nobody, however deep it is.
    let deep = (0..10_000).fold(Vec::new(), |inner, _| of(CONTROLS, &[&inner[..inner.len().min(60_000)]]));
    let with = of(SEQUENCE, &[&[INTEGER, 1, 2], &operation, &of(CONTROLS, &[&deep])]);
    assert_eq!(answer(&with, WAITING), Ok(done()));
}

#[test]
fn what_was_not_asked_is_no_answer() {
    assert_eq!(answer(&done(), None), Err(Nonsense::Unasked));
    assert_eq!(answer(&done(), Some(Asked { id: 3, operation: SEARCH })), Err(Nonsense::Unasked));
    assert_eq!(answer(&done(), Some(Asked { id: 2, operation: BIND })), Err(Nonsense::Unasked));
    let closing = of(SEQUENCE, &[&[INTEGER, 1, 0], &of(EXTENDED_DONE, &[&[ENUMERATED, 1, 52]])]);
    assert_eq!(answer(&closing, WAITING), Err(Nonsense::Closing));
}

#[test]
fn what_would_end_the_library_does_not_reach_it() {
    let nested = (0..100).fold(vec![], |inner, _| of(SEQUENCE, &[&inner]));
    for operation in [
        of(25 | 0x60, &[]),
        of(SEARCH_DONE, &[]),
        of(SEARCH_DONE, &[&[INTEGER, 1, 0, OCTETS, 0, OCTETS, 0]]),
        of(SEARCH_DONE, &[&[ENUMERATED, 0, OCTETS, 0, OCTETS, 0]]),
        of(SEARCH_DONE, &[&[ENUMERATED, 1, 0, OCTETS, 1, 0xff, OCTETS, 0]]),
        of(SEARCH_DONE, &[&[ENUMERATED, 1, 0, OCTETS, 0, OCTETS, 0], &nested]),
        of(ENTRY, &[&[OCTETS, 1, 0xff, SEQUENCE, 0]]),
        of(ENTRY, &[&[OCTETS, 0], &nested]),
        of(ENTRY, &[&[OCTETS, 0], &of(SEQUENCE, &[&of(SEQUENCE, &[&[OCTETS, 0, SET, 2], &[INTEGER, 0]])])]),
        of(REFERENCE, &[&[OCTETS, 1, 0xff]]),
    ] {
        assert!(answer(&message(&operation), WAITING).is_err(), "{operation:?}");
    }
    assert!(answer(&[SEQUENCE, 0], WAITING).is_err());
    assert!(answer(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], WAITING).is_err());
}

#[test]
fn an_entry_with_more_values_than_anybody_has_is_too_long() {
    let with = |count: usize| {
        let values = of(SET, &[&[OCTETS, 0].repeat(count)]);
        let attributes = of(SEQUENCE, &[&of(SEQUENCE, &[&[OCTETS, 1, b'a'], &values])]);
        answer(&message(&of(ENTRY, &[&[OCTETS, 0], &attributes])), WAITING).map(drop)
    };
    assert_eq!(with(VALUES_MAX - 1), Ok(()));
    assert_eq!(with(VALUES_MAX), Err(Nonsense::TooLong));
}

proptest! {
    #[test]
    fn no_bytes_make_it_stop(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(answer(&bytes, WAITING));
        drop(answer(&message(&bytes), WAITING));
        prop_assert!(asked(&bytes).is_err() || bytes.len() > 4);
        prop_assert!(starts_tls(&bytes, 2).is_err() || bytes.len() > 4);
    }

    /// Answers of every kind, and such as are broken somewhere: what passes does not make the library stop.
    #[test]
    fn what_passes_is_taken_by_the_library(
        kind in 0usize..3,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = samples().swap_remove(kind);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(passed) = answer(&bytes, WAITING) {
            taken(&passed);
        }
    }
}

fn samples() -> Vec<Vec<u8>> {
    let referral = of(REFERRAL, &[&[OCTETS, 1, b'x']]);
    let attribute = of(SEQUENCE, &[&[OCTETS, 1, b'a'], &of(SET, &[&[OCTETS, 1, b'b', OCTETS, 1, 0xff]])]);
    vec![
        message(&of(SEARCH_DONE, &[&[ENUMERATED, 1, 10, OCTETS, 0, OCTETS, 1, b't'], &referral])),
        message(&of(ENTRY, &[&[OCTETS, 1, b'd'], &of(SEQUENCE, &[&attribute])])),
        message(&of(REFERENCE, &[&[OCTETS, 1, b'x']])),
    ]
}

#[test]
fn the_samples_pass() {
    for sample in samples() {
        taken(&answer(&sample, WAITING).unwrap());
    }
}
