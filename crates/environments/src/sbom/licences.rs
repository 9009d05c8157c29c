//! Licences as packages state them, in the forms that CycloneDX has: an SPDX expression, an SPDX
//! identifier where the statement stands for exactly one, else a name.

use serde_json::{Value, json};

use super::metadata::Metadata;
use crate::quote::neutral;

const NAME_CHARS_MAX: usize = 100;
const TEXT_CHARS_MAX: usize = 4_000;

/// What classifiers, and the usual short texts, stand for. Those that leave the version or the variant
/// open ("BSD License") stand for none and stay names.
const IDENTIFIERS: [(&str, &str); 27] = [
    ("academic free license (afl)", "AFL-3.0"),
    ("apache 2.0", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("boost software license 1.0 (bsl-1.0)", "BSL-1.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd 3-clause", "BSD-3-Clause"),
    ("cc0 1.0 universal (cc0 1.0) public domain dedication", "CC0-1.0"),
    ("gnu affero general public license v3", "AGPL-3.0-only"),
    ("gnu affero general public license v3 or later (agplv3+)", "AGPL-3.0-or-later"),
    ("gnu general public license v2 (gplv2)", "GPL-2.0-only"),
    ("gnu general public license v2 or later (gplv2+)", "GPL-2.0-or-later"),
    ("gnu general public license v3 (gplv3)", "GPL-3.0-only"),
    ("gnu general public license v3 or later (gplv3+)", "GPL-3.0-or-later"),
    ("gnu lesser general public license v3 (lgplv3)", "LGPL-3.0-only"),
    ("gnu lesser general public license v3 or later (lgplv3+)", "LGPL-3.0-or-later"),
    ("isc license (iscl)", "ISC"),
    ("isc", "ISC"),
    ("mit license", "MIT"),
    ("mit no attribution license (mit-0)", "MIT-0"),
    ("mit", "MIT"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mpl-2.0", "MPL-2.0"),
    ("the unlicense (unlicense)", "Unlicense"),
    ("zlib", "Zlib"),
];

/// The licences of a package, as the value of the field `licenses`.
pub(super) fn of(metadata: &Metadata) -> Vec<Value> {
    if let Some(expression) = metadata.licence_expression.as_ref().filter(|text| is_expression(text)) {
        return vec![json!({ "expression": expression, "acknowledgement": "declared" })];
    }
    let classified = metadata.classifiers.iter().filter_map(|text| text.strip_prefix("License ::"));
    let names = classified.filter_map(|text| text.rsplit("::").next()).map(str::trim);
    let mut found: Vec<Value> = names.filter(|name| *name != "OSI Approved" && !name.is_empty()).map(named).collect();
    if found.is_empty() {
        let texts = [&metadata.licence_expression, &metadata.licence].into_iter().flatten();
        found.extend(texts.filter(|text| !matches!(text.trim(), "" | "UNKNOWN")).take(1).map(|text| of_text(text)));
    }
    found.dedup();
    found
}

/// An identifier if it stands for one, else a name.
fn named(name: &str) -> Value {
    let lower = name.to_lowercase();
    match IDENTIFIERS.iter().find(|(known, _)| *known == lower) {
        Some((_, id)) => json!({ "license": { "id": id, "acknowledgement": "declared" } }),
        None => json!({ "license": { "name": cut(name, NAME_CHARS_MAX), "acknowledgement": "declared" } }),
    }
}

/// A text that may be the whole licence: its first line is the name then.
fn of_text(text: &str) -> Value {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if first == text.trim() && first.chars().count() <= NAME_CHARS_MAX {
        return named(first);
    }
    json!({ "license": {
        "name": cut(first, NAME_CHARS_MAX),
        "text": { "content": cut(text, TEXT_CHARS_MAX) },
        "acknowledgement": "declared",
    } })
}

fn cut(text: &str, chars_max: usize) -> String {
    neutral(&text.chars().take(chars_max).collect::<String>())
}

/// Whether a text has the form of an SPDX expression: identifiers with operators between them.
fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut open, mut wants_identifier) = (0_u32, true);
    for word in spaced.split_whitespace() {
        match (word, wants_identifier) {
            ("(", true) => open += 1,
            (")", false) if open > 0 => open -= 1,
            ("AND" | "OR" | "WITH", false) => wants_identifier = true,
            (_, true) if is_identifier(word) => wants_identifier = false,
            (_, _) => return false,
        }
    }
    open == 0 && !wants_identifier && text.len() <= 500
}

fn is_identifier(word: &str) -> bool {
    !matches!(word, "AND" | "OR" | "WITH") && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licences(expression: Option<&str>, licence: Option<&str>, classifiers: &[&str]) -> String {
        let metadata = Metadata {
            licence_expression: expression.map(str::to_owned),
            licence: licence.map(str::to_owned),
            classifiers: classifiers.iter().map(|&text| text.to_owned()).collect(),
            requires: Vec::new(),
        };
        let text = serde_json::to_string(&of(&metadata)).unwrap();
        text.replace("\"acknowledgement\":\"declared\",", "").replace(",\"acknowledgement\":\"declared\"", "")
    }

    #[test]
    fn an_expression_goes_before_classifiers_and_these_before_a_text() {
        let mit = ["License :: OSI Approved :: MIT License", "Topic :: X"];
        let both = licences(Some("Apache-2.0 OR (MIT AND BSD-3-Clause)"), Some("x"), &mit);
        assert_eq!(both, r#"[{"expression":"Apache-2.0 OR (MIT AND BSD-3-Clause)"}]"#);
        assert_eq!(licences(None, Some("x"), &mit), r#"[{"license":{"id":"MIT"}}]"#);
        assert_eq!(licences(None, Some("BSD-3-Clause"), &[]), r#"[{"license":{"id":"BSD-3-Clause"}}]"#);
        assert_eq!(
            licences(None, None, &["License :: OSI Approved :: BSD License"]),
            r#"[{"license":{"name":"BSD License"}}]"#
        );
        assert_eq!(licences(None, Some("UNKNOWN"), &["License :: OSI Approved"]), "[]");
        assert_eq!(
            licences(Some("no \u{1b}[31m expression"), None, &[]),
            r#"[{"license":{"name":"no \\u{1b}[31m expression"}}]"#
        );
    }

    #[test]
    fn a_whole_text_is_cut() {
        let said = licences(None, Some(&format!("The Licence\n{}", "x".repeat(100_000))), &[]);
        assert!(said.len() < 4_200 && said.contains(r#""name":"The Licence""#), "{}", said.len());
    }

    #[test]
    fn only_expressions_are_expressions() {
        for (text, is_one) in [
            ("MIT", true),
            ("GPL-2.0-or-later WITH Classpath-exception-2.0", true),
            ("(MIT OR Apache-2.0) AND LicenseRef-x", true),
            ("MIT OR", false),
            ("MIT Apache-2.0", false),
            ("(MIT", false),
            ("MIT)", false),
            ("", false),
            ("see LICENSE", false),
            ("MIT; rm", false),
        ] {
            assert_eq!(is_expression(text), is_one, "{text}");
        }
    }
}
