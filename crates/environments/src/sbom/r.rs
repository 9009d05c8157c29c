//! What installed R packages say of themselves: the licence in their `DESCRIPTION`. Untrusted text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::metadata::{self, Metadata};
use super::property;
use crate::lock::{Lock, Locked};
use crate::tree;

const BYTES_MAX: u64 = 1 << 20;

/// The usual statements, and what they stand for. "file LICENSE" has the names of the holders only.
const EXPRESSIONS: [(&str, &str); 19] = [
    ("AGPL-3", "AGPL-3.0-only"),
    ("Apache License (== 2.0)", "Apache-2.0"),
    ("Apache License 2.0", "Apache-2.0"),
    ("Artistic-2.0", "Artistic-2.0"),
    ("BSD_2_clause", "BSD-2-Clause"),
    ("BSD_3_clause", "BSD-3-Clause"),
    ("BSL-1.0", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("GPL (>= 2)", "GPL-2.0-or-later"),
    ("GPL (>= 2.0)", "GPL-2.0-or-later"),
    ("GPL (>= 3)", "GPL-3.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2 | GPL-3", "GPL-2.0-only OR GPL-3.0-only"),
    ("GPL-3", "GPL-3.0-only"),
    ("LGPL (>= 2.1)", "LGPL-2.1-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("MIT", "MIT"),
    ("MPL-2.0", "MPL-2.0"),
];

/// That of every package of a lock; what cannot be read is passed over.
pub(super) fn all(library: &Path, lock: &Lock) -> BTreeMap<String, Metadata> {
    let described = lock.locked().filter_map(|package| {
        let text = tree::read_bounded(&library.join(&package.name).join("DESCRIPTION"), BYTES_MAX).ok()?;
        Some((package.name.clone(), parse(&text)))
    });
    described.collect()
}

fn parse(text: &str) -> Metadata {
    let licence = metadata::fields(text).into_iter().find_map(|(field, value)| (field == "License").then_some(value));
    let known = licence.as_deref().and_then(|licence| {
        let plain = licence.split('+').next().map(str::trim).filter(|_| is_plain(licence))?;
        EXPRESSIONS.iter().find(|(written, _)| *written == plain)
    });
    Metadata { licence_expression: known.map(|(_, spdx)| (*spdx).to_owned()), licence, ..Metadata::default() }
}

/// Whether what is added says nothing more: of a licence of the GNU project, a file changes it.
fn is_plain(licence: &str) -> bool {
    match licence.split_once('+') {
        None => true,
        Some((head, more)) => {
            matches!(more.trim(), "file LICENSE" | "file LICENCE")
                && matches!(head.trim(), "MIT" | "BSD_2_clause" | "BSD_3_clause")
        }
    }
}

/// Who needs whom, as the lock says.
pub(super) fn needs(lock: &Lock) -> BTreeMap<String, BTreeSet<String>> {
    lock.locked().map(|package| (package.name.clone(), package.needs.iter().cloned().collect())).collect()
}

/// Where it came from, beyond what its hash says.
pub(super) fn properties(package: &Locked) -> Vec<Value> {
    let installed = package.source.is_none();
    if installed { vec![property("stockade:from-library-of-machine", "true")] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_an_expression_only_where_it_says_no_more() {
        let of = |licence: &str| parse(&format!("Package: x\nLicense: {licence}\nVersion: 1.0\n"));
        assert_eq!(of("MIT + file LICENSE").licence_expression.as_deref(), Some("MIT"));
        assert_eq!(of("GPL-2 | GPL-3").licence_expression.as_deref(), Some("GPL-2.0-only OR GPL-3.0-only"));
        for open in ["GPL-3 + file LICENSE", "GPL", "file LICENSE", "MIT + file OTHER", ""] {
            assert_eq!(of(open).licence_expression, None, "{open}");
        }
        assert_eq!(of("GPL-3 + file LICENSE").licence.as_deref(), Some("GPL-3 + file LICENSE"));
    }
}
