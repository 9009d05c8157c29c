//! What is different between two objects, key by key. Secrets are compared and never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stockade_core::text;

use super::Secret;
use super::export::plain_or_quoted;
use super::object::Object;
use super::tree::Tree;

/// A key that was added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path: `TrustedHosts.hosts["10.0.0.1"]`.
    pub path: String,
    /// What it was, as it is shown; absent where it was not there.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = |value: &str| if value.is_empty() { String::new() } else { format!(" = {value}") };
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(out, "+ {}{}", self.path, is(after)),
            (Some(before), None) => write!(out, "- {}{}", self.path, is(before)),
            (Some(before), Some(after)) => write!(out, "~ {}: {before} -> {after}", self.path),
            (None, None) => Ok(()),
        }
    }
}

/// What is different, in the order of paths. The order of hosts and of roles is no difference, that of servers is.
#[must_use]
pub fn diff(before: &Object, after: &Object) -> Vec<Change> {
    let (before, after) = (leaves(before), leaves(after));
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes = paths.into_iter().map(|path| (path, before.get(path), after.get(path)));
    let changes = changes.filter(|(_, before, after)| before != after);
    changes
        .map(|(path, before, after)| Change { path: path.clone(), before: before.map(shown), after: after.map(shown) })
        .collect()
}

/// Every key that has a value of its own.
fn leaves(object: &Object) -> BTreeMap<String, Leaf> {
    let identity = &object.identity;
    let mut found = BTreeMap::new();
    for (key, value) in [("name", &*identity.name), ("version", &*identity.version), ("type", identity.kind.name())] {
        found.insert(key.to_owned(), Leaf::Value(Tree::Text(value.to_owned())));
    }
    for root in &object.roots {
        walk(root.key().to_owned(), root.tree(), &mut found);
    }
    found
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leaf {
    Value(Tree),
    /// It is there, as its path says.
    There,
}

fn walk(path: String, tree: Tree, found: &mut BTreeMap<String, Leaf>) {
    match tree {
        Tree::Fields(fields) => {
            for (key, value) in fields {
                walk(format!("{path}.{}", plain_or_quoted(&key)), value, found);
            }
            // An object says something by being there.
            found.insert(path, Leaf::There);
        }
        Tree::Texts(texts) => {
            for text in texts {
                found.insert(format!("{path}[{}]", plain_or_quoted(&text)), Leaf::There);
            }
        }
        Tree::Items(items) => {
            for (label, item) in items {
                walk(format!("{path}[{}]", plain_or_quoted(&label)), item, found);
            }
        }
        Tree::Text(_) | Tree::Number(_) | Tree::Flag(_) | Tree::Secret(_) => {
            found.insert(path, Leaf::Value(tree));
        }
    }
}

fn shown(leaf: &Leaf) -> String {
    match leaf {
        Leaf::There => String::new(),
        Leaf::Value(Tree::Number(number)) => number.to_string(),
        Leaf::Value(Tree::Flag(flag)) => flag.to_string(),
        Leaf::Value(Tree::Text(text)) => text::shown(&format!("\"{text}\""), 200),
        Leaf::Value(Tree::Secret(Secret::Clear(_))) => "(clear text, not shown)".to_owned(),
        Leaf::Value(Tree::Secret(Secret::Hash(_))) => "(hash, not shown)".to_owned(),
        Leaf::Value(Tree::Secret(Secret::Encrypted(_))) => "(encrypted, not shown)".to_owned(),
        Leaf::Value(Tree::Secret(Secret::File(path))) => text::shown(&format!("\"file:{path}\""), 200),
        Leaf::Value(Tree::Secret(Secret::Variable(name))) => text::shown(&format!("\"env:{name}\""), 200),
        Leaf::Value(Tree::Fields(_) | Tree::Items(_) | Tree::Texts(_)) => "(several)".to_owned(),
    }
}
