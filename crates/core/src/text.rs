//! The one place that makes outside text harmless to show: names from the sandbox, from users, from errors.

/// Shows `text` on one line: control characters and bidirectional overrides escaped, at most `chars_max` characters.
#[must_use]
pub fn shown(text: &str, chars_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(chars_max));
    for (count, character) in text.chars().enumerate() {
        if count == chars_max {
            line.push('…');
            break;
        }
        if is_harmful(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Whether a terminal or a reader could be misled by this character: controls, line and
/// paragraph separators, and the bidirectional formatting characters of Unicode TR 36.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A count of bytes as people read it: `1.5 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut tenths = 0;
    let mut name = "B";
    for unit in UNITS {
        if whole < 1024 {
            break;
        }
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        name = unit;
    }
    if tenths == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

/// A span of milliseconds as people read it: `420 ms`, `3.2 s`, `12 min 5 s`.
#[must_use]
pub fn span(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_overrides_are_escaped() {
        assert_eq!(shown("a\u{1b}[31mb\n\u{202e}c", 99), "a\\u{1b}[31mb\\n\\u{202e}c");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        assert_eq!(shown("abcdef", 3), "abc…");
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(
            (bytes(1023).as_str(), bytes(1536).as_str(), bytes(4 << 30).as_str()),
            ("1023 B", "1.5 KiB", "4 GiB")
        );
        assert_eq!(
            (span(999).as_str(), span(3_240).as_str(), span(725_000).as_str()),
            ("999 ms", "3.2 s", "12 min 5 s")
        );
    }
}
