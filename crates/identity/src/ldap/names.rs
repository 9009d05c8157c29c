//! Names in a directory: what is asked for a user, what an entry calls him, and what a group is called.

use ldap3::{dn_escape, ldap_escape};
use stockade_config::security::is_role;

use crate::name::is_principal;

/// Longest name of a user, as somebody says it.
pub(super) const USER_BYTES_MAX: usize = 256;

/// The question for one user. `attribute` has been looked at by [`is_attribute`].
pub(super) fn filter(attribute: &str, user: &str) -> String {
    format!("({attribute}={})", ldap_escape(user))
}

/// An entry that would be this user's, and is not there: for the bind that must fail.
pub(super) fn nobody(attribute: &str, user: &str, root: &str) -> String {
    format!("{attribute}={},{root}", dn_escape(user))
}

/// Whether it can be the name of an attribute.
pub(super) fn is_attribute(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

/// The one name by which the directory knows a user: it finds `ADA` and ` ada ` too, and they must not be three
/// principals. Of several names in an entry it is the one that was meant. `None` where there is none that can be told
/// from others, or that can be shown.
pub(super) fn known_as(values: &[String], said: &str) -> Option<String> {
    let name = match values {
        [one] => one,
        _ => {
            let mut meant = values.iter().filter(|value| folded(value) == folded(said));
            meant.next().filter(|_| meant.next().is_none())?
        }
    };
    is_principal(name).then(|| name.clone())
}

fn folded(name: &str) -> String {
    name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a value of the role attribute is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The name of an entry, which may be in groups itself, and the role it stands for, unless no role can be
    /// called that: then no mapping can grant or deny it anything either.
    Entry(Option<String>),
    /// A role.
    Plain(String),
    /// Neither.
    Unusable,
}

/// Reads a value.
pub(super) fn group(value: &str) -> Group {
    match value.split_once('=') {
        Some((kind, rest)) if is_attribute(kind.trim()) => Group::Entry(first(rest).filter(|name| is_role(name))),
        None if is_role(value) => Group::Plain(value.to_owned()),
        _ => Group::Unusable,
    }
}

/// The value of the first part of a name (RFC 4514), from behind its `=`.
fn first(rest: &str) -> Option<String> {
    let rest = rest.trim_start();
    // Bytes of some other type, and quotes as in 1997.
    if rest.starts_with(['#', '"']) {
        return None;
    }
    let mut value = Vec::new();
    // How much of it is there in any case: blanks at the end are not, unless escaped.
    let mut kept = 0;
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'+' | b';' => break,
            b'\\' => {
                let escaped = bytes.next()?;
                value.push(match hex(escaped) {
                    Some(high) => high << 4 | hex(bytes.next()?)?,
                    None => escaped,
                });
                kept = value.len();
            }
            b' ' => value.push(b' '),
            other => {
                value.push(other);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    String::from_utf8(value).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fuzzing::{equality, parsed};
    use super::*;

    proptest! {
        #[test]
        fn no_name_of_a_user_changes_the_structure_of_the_filter(user in r"(?s).{1,40}") {
            prop_assert_eq!(parsed(&filter("uid", &user)), equality(&user));
        }

        #[test]
        fn no_name_made_of_what_filters_are_made_of_does(user in r"[*()\\|&!=<>~:a\x00 äé🦀]{1,20}") {
            prop_assert_eq!(parsed(&filter("uid", &user)), equality(&user));
        }

        #[test]
        fn a_name_in_the_name_of_an_entry_is_one_part_of_it(user in r#"[,+;=<>"\\# a\x00é]{1,20}"#) {
            let name = nobody("uid", &user, "dc=acme,dc=com");
            prop_assert_eq!(first(name.strip_prefix("uid=").unwrap()), Some(user));
        }
    }

    #[test]
    fn a_group_is_called_by_the_first_part_of_its_name() {
        let entry = |name: &str| Group::Entry(Some(name.to_owned()));
        for (value, expected) in [
            ("cn=Analysts,ou=groups,dc=acme,dc=com", entry("Analysts")),
            ("CN = Analysts , OU=groups", entry("Analysts")),
            ("cn=R&D+ou=x,dc=acme", entry("R&D")),
            (r"cn=Gr\c3\b6\c3\9fe,dc=acme", entry("Größe")),
            (r"cn=a\20,dc=acme", Group::Entry(None)),
            (r"cn=Smith\, Ann,dc=acme", Group::Entry(None)),
            ("cn=#04024869,dc=acme", Group::Entry(None)),
            ("cn=\"a\",dc=acme", Group::Entry(None)),
            ("cn=a\\", Group::Entry(None)),
            ("cn=,dc=acme", Group::Entry(None)),
            ("analysts", Group::Plain("analysts".to_owned())),
            ("analysts\n", Group::Unusable),
            ("a b=c", Group::Unusable),
            ("=x", Group::Unusable),
            ("", Group::Unusable),
        ] {
            assert_eq!(group(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_user_has_the_name_that_the_directory_has() {
        let known =
            |values: &[&str], said: &str| known_as(&values.iter().map(ToString::to_string).collect::<Vec<_>>(), said);
        assert_eq!(known(&["ada"], " ADA "), Some("ada".to_owned()));
        assert_eq!(known(&["lovelace", "Ada"], "ada"), Some("Ada".to_owned()));
        assert_eq!(known(&["lovelace", "countess"], "ada"), None);
        assert_eq!(known(&["ada", "Ada"], "ada"), None);
        assert_eq!(known(&[], "ada"), None);
        assert_eq!(known(&["a\u{1b}[2J"], "ada"), None);
        assert_eq!(known(&[&"a".repeat(129)], "ada"), None);
    }
}
