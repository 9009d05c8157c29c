//! The form of a properties file: `name: value`, `name=value` or `name value` on each line.

use crate::refusal::Refusal;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// What a file says, in order.
///
/// # Errors
/// [`Refusal`] for what Java would read otherwise than it looks, and for a property that is set twice.
pub(super) fn lines(text: &str) -> Result<Vec<Line<'_>>, Refusal> {
    let mut found: Vec<Line<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        if line.contains('\\') {
            return Err(Refusal::invalid(
                format!("line {number}: a backslash is not understood"),
                "it would join lines or stand for other characters",
                "write the name and the value on one line, without one",
            ));
        }
        let end = line.find(|one: char| one == ':' || one == '=' || one.is_whitespace()).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
        let rest = rest.trim_start();
        let value = rest.strip_prefix([':', '=']).unwrap_or(rest).trim();
        if let Some(former) = found.iter().find(|former| former.name == name) {
            return Err(Refusal::invalid(
                format!("line {number}: `{}` is set again", stockade_core::text::shown(name, 100)),
                format!("it is set in line {}", former.number),
                "leave one of them out",
            ));
        }
        found.push(Line { number, name, value });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_values_are_told_apart_as_java_does() {
        let text = "\u{feff}# remark\n! too\n\n a.b : c d \na.c=e\r\na.d f\na.e\n";
        let found = lines(text).unwrap();
        let plain: Vec<_> = found.iter().map(|line| (line.number, line.name, line.value)).collect();
        assert_eq!(plain, [(4, "a.b", "c d"), (5, "a.c", "e"), (6, "a.d", "f"), (7, "a.e", "")]);
        assert!(lines("a: b\\\nc: d").is_err());
        assert!(lines("a: 1\na = 2").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let lines = lines(&text).unwrap_or_default();
            prop_assert!(lines.iter().all(|line| text.contains(line.name) && text.contains(line.value)));
        }
    }
}
