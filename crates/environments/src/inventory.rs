//! What a store holds, for people and programs to look at.

use std::collections::BTreeMap;

use crate::environment::Environment;
use crate::error::Error;
use crate::store::Store;

/// One environment of a store, with the names that stand for it.
#[derive(Debug)]
pub struct Listed {
    /// The environment.
    pub environment: Environment,
    /// Its names, in order.
    pub names: Vec<String>,
}

/// Every finished environment: those with names first, in the order of names, then by digest.
///
/// # Errors
/// When the store cannot be read.
pub fn list(store: &Store) -> Result<Vec<Listed>, Error> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, digest) in store.names()? {
        names.entry(digest).or_default().push(name.to_string());
    }
    let mut listed = Vec::new();
    for digest in store.digests() {
        if let Some(environment) = Environment::load(store, &digest)? {
            listed.push(Listed { environment, names: names.remove(&digest).unwrap_or_default() });
        }
    }
    listed.sort_by(|one, other| {
        let key = |listed: &Listed| (listed.names.is_empty(), listed.names.first().cloned());
        key(one).cmp(&key(other))
    });
    Ok(listed)
}
