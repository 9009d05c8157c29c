//! The groups of an entry, and those that they are in, to a bound.

use std::collections::{BTreeSet, HashSet};

use ldap3::Scope;

use super::connection::Connection;
use super::names::{self, Group};
use super::refusal::{LdapRefusal, Trouble};
use super::{Ended, Limits};

/// Matches any entry.
const ANY: &str = "(objectClass=*)";
const SUCCESS: u32 = 0;
const REFERRAL: u32 = 10;
const NO_SUCH_OBJECT: u32 = 32;
const NO_SUCH_NAME: u32 = 34;

/// Every role that `entry` has by its groups, each once. More than the bounds is a refusal and not a shorter list: what
/// is left out could be denied something.
pub(super) async fn of(
    connection: &mut Connection,
    attribute: &str,
    entry: &str,
    limits: &Limits,
) -> Result<Vec<String>, Ended> {
    let mut roles = BTreeSet::new();
    let mut seen = HashSet::from([entry.to_lowercase()]);
    let mut level = vec![entry.to_owned()];
    for _ in 0..=limits.depth_max {
        let mut next = Vec::new();
        for entry in &level {
            for value in values(connection, entry, attribute).await? {
                match names::group(&value) {
                    Group::Entry(role) => {
                        // A group that was seen has been followed: loops end here.
                        if seen.insert(value.to_lowercase()) {
                            roles.extend(role);
                            next.push(value);
                        }
                    }
                    Group::Plain(role) => drop(roles.insert(role)),
                    Group::Unusable => {}
                }
                // The entry itself is one of those seen.
                if seen.len() > limits.groups_max + 1 || roles.len() > limits.groups_max {
                    return Err(LdapRefusal::too_many_groups(limits).into());
                }
            }
        }
        if next.is_empty() {
            return Ok(roles.into_iter().collect());
        }
        level = next;
    }
    Err(LdapRefusal::TooDeepGroups { depth_max: limits.depth_max }.into())
}

/// The values of one entry. One that is not there, may not be read, or is called as no entry can be, has none: many
/// directories leave names of groups that are no more, and some have plain names with a `=`.
async fn values(connection: &mut Connection, entry: &str, attribute: &str) -> Result<Vec<String>, Ended> {
    let answer = connection.search(entry, Scope::Base, ANY, attribute, 1).await?;
    match answer.code {
        REFERRAL => Err(LdapRefusal::Referred { what: "a group of the user".to_owned() }.into()),
        SUCCESS if answer.is_referred => Err(LdapRefusal::Referred { what: "a group of the user".to_owned() }.into()),
        SUCCESS | NO_SUCH_OBJECT | NO_SUCH_NAME => {
            Ok(answer.entries.into_iter().flat_map(|(_, values)| values).collect())
        }
        code => Err(Trouble::Search(code).into()),
    }
}
