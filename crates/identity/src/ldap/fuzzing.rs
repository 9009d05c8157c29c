//! What is tried with bytes of anybody, by tests and by `fuzz/`: that `ldap3` takes what passes the screen, and that no
//! name is more than a name.

use ldap3::asn1::Tag;
use ldap3::{LdapResult, ResultEntry, SearchEntry, parse_filter, parse_refs};

use super::names::filter;
use super::screen::{self, Asked, SEARCHING};

/// A search that waits for its answer.
pub(super) const WAITING: Option<Asked> = Some(SEARCHING);

/// What a directory could answer.
///
/// # Panics
/// When what passes would end the library, and so the node.
pub fn answer(bytes: &[u8]) {
    if let Ok(passed) = screen::answer(bytes, WAITING) {
        taken(&passed);
    }
    let (_, _) = (screen::asked(bytes).is_ok(), screen::starts_tls(bytes, 2).is_ok());
}

/// Does with an answer what the library does.
pub(super) fn taken(passed: &[u8]) {
    let (rest, tag) = ldap3::asn1::parse_tag(passed).expect("it is a message");
    assert!(rest.is_empty(), "something follows it");
    let operation = tag.expect_constructed().expect("it has parts").swap_remove(1);
    match operation.id {
        4 => drop(SearchEntry::construct(ResultEntry::new(operation))),
        5 => drop(LdapResult::from(Tag::StructureTag(operation))),
        19 => drop(parse_refs(operation)),
        other => panic!("nothing asks for {other}"),
    }
}

/// What somebody could say that he is called.
///
/// # Panics
/// When the question for him is more than one for an equal name.
pub fn user(name: &str) {
    if !name.is_empty() {
        assert_eq!(parsed(&filter("uid", name)), equality(name));
    }
}

/// What the library makes of an equality, as text.
pub(super) fn parsed(filter: &str) -> String {
    format!("{:?}", parse_filter(filter).expect("it is a filter"))
}

/// The same without any text of a filter: only the value differs from that of a plain name.
pub(super) fn equality(user: &str) -> String {
    let plain = parsed("(uid=ada)");
    let bytes = |text: &str| format!("{:?}", text.as_bytes());
    assert_eq!(plain.matches(&bytes("ada")).count(), 1, "{plain}");
    plain.replace(&bytes("ada"), &bytes(user))
}
