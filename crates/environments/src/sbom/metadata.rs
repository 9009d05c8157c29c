//! What installed packages say of themselves: the head of their `METADATA`. Untrusted text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use pep508_rs::{PackageName, Requirement, VerbatimUrl};

use crate::requirement::has_too_many_joints;
use crate::tree;

const BYTES_MAX: u64 = 4 << 20;
const REQUIRES_MAX: usize = 1_000;
const REQUIRES_BYTES_MAX: usize = 1_000;

/// What is read of it.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) licence_expression: Option<String>,
    pub(super) licence: Option<String>,
    pub(super) classifiers: Vec<String>,
    pub(super) requires: Vec<Requirement<VerbatimUrl>>,
}

/// That of every package in a folder, by its normalised name; what cannot be read is passed over.
pub(super) fn all(site: &Path) -> BTreeMap<String, Metadata> {
    let items = fs::read_dir(site).into_iter().flatten().flatten();
    let folders = items.map(|item| item.path()).filter(|path| path.extension().is_some_and(|end| end == "dist-info"));
    folders.filter_map(|folder| parse(&tree::read_bounded(&folder.join("METADATA"), BYTES_MAX).ok()?)).collect()
}

/// The name and the rest; `None` without a name.
pub(super) fn parse(text: &str) -> Option<(String, Metadata)> {
    let (mut name, mut metadata) = (None, Metadata::default());
    for (field, value) in fields(text) {
        match field.to_ascii_lowercase().as_str() {
            "name" if name.is_none() => name = PackageName::from_str(value.trim()).ok(),
            "license-expression" => metadata.licence_expression = Some(value),
            "license" => metadata.licence = Some(value),
            "classifier" => metadata.classifiers.push(value),
            "requires-dist" if metadata.requires.len() < REQUIRES_MAX => metadata.requires.extend(requirement(&value)),
            _ => {}
        }
    }
    Some((name?.to_string(), metadata))
}

/// The name and the version, as they are written.
pub(crate) fn name_and_version(text: &str) -> Option<(String, String)> {
    let fields = fields(text);
    let value = |wanted: &str| {
        let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    Some((value("name")?, value("version")?))
}

fn requirement(text: &str) -> Option<Requirement<VerbatimUrl>> {
    let marker = text.split_once(';').map_or("", |(_, marker)| marker);
    if text.len() > REQUIRES_BYTES_MAX || has_too_many_joints(marker) {
        return None;
    }
    Requirement::from_str(text).ok()
}

/// The fields of the head; a line that begins with a blank belongs to the one before.
pub(super) fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim_start().trim_start_matches('|'));
            }
        } else if let Some((field, value)) = line.split_once(':') {
            fields.push((field.to_owned(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_read_and_the_description_is_not() {
        let text = "Metadata-Version: 2.1\nName: Zope.Interface\nLicense: first\n        second\nClassifier: A\nClassifier: B\n\
                    Requires-Dist: six>=1 ; python_version < '3'\nRequires-Dist: ???\n\nLicense: of the description\n";
        let (name, metadata) = parse(text).unwrap();
        assert_eq!(name, "zope-interface");
        assert_eq!(metadata.licence.as_deref(), Some("first\nsecond"));
        assert_eq!(metadata.classifiers, ["A", "B"]);
        assert_eq!(metadata.requires.len(), 1);
        assert!(parse("Summary: x\n").is_none());
    }
}
