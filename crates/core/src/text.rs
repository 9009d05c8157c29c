//! The one place that makes outside text harmless to show: names from the sandbox, from users, from errors.

use std::ffi::OsStr;
use std::fmt::Display;

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

/// Shows one word of several as a shell takes it: bare when nothing in it can be misread, else in
/// quotes, else as `$'…'` with escapes. Cut like [`shown`], with the mark outside of the quotes.
#[must_use]
pub fn quoted(word: impl AsRef<OsStr>, chars_max: usize) -> String {
    let word = word.as_ref();
    let Some(text) = word.to_str().filter(|text| !text.contains(is_harmful)) else {
        return escaped(word.as_encoded_bytes(), chars_max);
    };
    let is_bare = |character: char| character.is_alphanumeric() || "/._-+=:,@%".contains(character);
    let cut: String = text.chars().take(chars_max).collect();
    if cut.len() < text.len() {
        format!("'{}'…", cut.replace('\'', r"'\''"))
    } else if !text.is_empty() && text.chars().all(is_bare) {
        cut
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A word with what a terminal shall not get, or with bytes that are no UTF-8.
fn escaped(word: &[u8], chars_max: usize) -> String {
    let escape = |character: char| match character {
        '\\' | '\'' => format!("\\{character}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        _ if is_harmful(character) => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    };
    let mut characters = word.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(escape);
        valid.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")))
    });
    let text: String = characters.by_ref().take(chars_max).collect();
    let mark = if characters.next().is_some() { "…" } else { "" };
    format!("$'{text}'{mark}")
}

/// A number of things: `1 file`, `2 files`.
#[must_use]
pub fn count(number: impl Display, one: &str, many: &str) -> String {
    let number = number.to_string();
    format!("{number} {}", if number == "1" { one } else { many })
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

/// A span of milliseconds as people read it: `420 ms`, `3.2 s`, `12 min 5 s`, `2 h`.
#[must_use]
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        60..3_600 => two_units(seconds / 60, "min", seconds % 60, "s"),
        _ => two_units(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// A time as RFC 3339 writes it, from seconds since 1970, UTC.
#[must_use]
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's `civil_from_days`, for days after 1970: years begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + next;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest % 3_600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_has_it() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_826_394, "2000-02-29T12:13:14Z"),
            (1_795_822_097, "2026-11-27T23:28:17Z"),
        ] {
            assert_eq!(utc(seconds), written);
        }
    }

    #[test]
    fn escape_sequences_and_overrides_are_escaped() {
        assert_eq!(shown("a\u{1b}[31mb\n\u{202e}c", 99), "a\\u{1b}[31mb\\n\\u{202e}c");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        assert_eq!(shown("abcdef", 3), "abc…");
    }

    #[test]
    fn words_of_a_line_cannot_be_mistaken_for_others() {
        for (word, line) in [
            ("/data/größe-1.csv", "/data/größe-1.csv"),
            ("", "''"),
            ("a b at /job", "'a b at /job'"),
            ("it's", r"'it'\''s'"),
            (r"a\nb", r"'a\nb'"),
            ("a\nb", r"$'a\nb'"),
            ("'\u{1b}[2J\\\u{202e}", r"$'\'\u001b[2J\\\u202e'"),
        ] {
            assert_eq!(quoted(word, 99), line);
        }
        assert_eq!(quoted(OsStr::from_bytes(b"a\xff b"), 99), r"$'a\xff b'");
        assert_eq!((quoted("abcdef", 3).as_str(), quoted("abcde\t", 3).as_str()), ("'abc'…", "$'abc'…"));
    }

    #[test]
    fn one_thing_is_not_many() {
        let counted = |number: usize| count(number, "process", "processes");
        assert_eq!([0, 1, 2].map(counted), ["0 processes", "1 process", "2 processes"]);
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(
            (bytes(1023).as_str(), bytes(1536).as_str(), bytes(4 << 30).as_str()),
            ("1023 B", "1.5 KiB", "4 GiB")
        );
        for (milliseconds, text) in
            [(999, "999 ms"), (3_240, "3.2 s"), (725_000, "12 min 5 s"), (3_600_000, "1 h"), (8_100_000, "2 h 15 min")]
        {
            assert_eq!(span(milliseconds), text);
        }
    }
}
