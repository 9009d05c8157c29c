//! Shows text from outside without letting it act on a terminal or flood a message.

use std::path::Path;

const SHOWN_CHARS_MAX: usize = 120;

/// The text in backticks, control and direction characters escaped, cut when long.
pub(crate) fn quote(text: &str) -> String {
    let mut shown = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        push_safe(&mut shown, c);
    }
    shown.push('`');
    shown
}

/// A path in backticks.
pub(crate) fn quote_path(path: &Path) -> String {
    let mut shown = String::from("`");
    for c in path.to_string_lossy().chars() {
        push_safe(&mut shown, c);
    }
    shown.push('`');
    shown
}

/// Text of several lines, made safe line by line.
pub(crate) fn neutral(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        if c == '\n' {
            safe.push('\n');
        } else {
            push_safe(&mut safe, c);
        }
    }
    safe
}

fn push_safe(shown: &mut String, c: char) {
    if c.is_control() || turns_text(c) {
        shown.extend(c.escape_default());
    } else {
        shown.push(c);
    }
}

/// Characters that reorder or hide what stands around them.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_codes_become_text() {
        assert_eq!(quote("a\x1b[31mb\u{202e}"), "`a\\u{1b}[31mb\\u{202e}`");
        assert_eq!(quote("\u{61c}a\u{2060}"), "`\\u{61c}a\\u{2060}`");
    }

    #[test]
    fn long_text_is_cut() {
        assert!(quote(&"x".repeat(500)).chars().count() < 130);
    }
}
