//! Makes terminal control sequences of untrusted output harmless: text, line ends, tabs, carriage
//! returns, backspace and colours pass; everything else a terminal would obey is dropped.
//!
//! A terminal obeys more than colours: it writes to the clipboard, answers questions onto the
//! caller's input, renames windows. The parser is the one of a terminal (crate `vte`).

use vte::{Params, Parser, Perform};

/// The filter of one stream.
#[derive(Default)]
pub struct Neutraliser {
    parser: Parser,
    coloured: bool,
}

impl std::fmt::Debug for Neutraliser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Neutraliser")
    }
}

impl Neutraliser {
    /// What may be shown of the next bytes of the stream.
    #[must_use]
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Shown(Vec::with_capacity(bytes.len()));
        self.parser.advance(&mut shown, bytes);
        self.coloured |= shown.0.contains(&0x1b);
        shown.0
    }

    /// Whether a colour was ever passed, so that it may still be on.
    #[must_use]
    pub const fn left_colours(&self) -> bool {
        self.coloured
    }
}

struct Shown(Vec<u8>);

impl Perform for Shown {
    fn print(&mut self, character: char) {
        // C1 controls arrive here as characters when they are written as UTF-8.
        if !character.is_control() {
            self.0.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r' | b'\t' | 0x08) {
            self.0.push(byte);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action != 'm' || ignore || !intermediates.is_empty() {
            return;
        }
        self.0.extend_from_slice(b"\x1b[");
        let groups: Vec<String> =
            params.iter().map(|group| group.iter().map(u16::to_string).collect::<Vec<_>>().join(":")).collect();
        self.0.extend_from_slice(groups.join(";").as_bytes());
        self.0.push(b'm');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pass(text: &str) -> String {
        String::from_utf8(Neutraliser::default().pass(text.as_bytes())).unwrap()
    }

    #[test]
    fn text_and_colours_pass() {
        let text = "grün\t\u{1b}[1;31mred\u{1b}[0m\r\n";
        assert_eq!(pass(text), text);
    }

    #[test]
    fn what_a_terminal_would_obey_is_dropped() {
        for attack in [
            "\u{1b}]52;c;ZWNobyBwd25lZA==\u{7}", // writes the clipboard
            "\u{1b}]0;title\u{1b}\\",
            "\u{1b}[6n", // makes the terminal type
            "\u{1b}[2J\u{1b}[H",
            "\u{1b}P1$r\u{1b}\\",
            "\u{1b}c",
            "\u{9b}31m",
            "\u{7}",
        ] {
            let shown = pass(&format!("a{attack}b"));
            assert!(
                shown.starts_with('a')
                    && shown.ends_with('b')
                    && !shown.contains('\u{1b}')
                    && !shown.contains('\u{9b}'),
                "{attack:?} → {shown:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn only_colours_begin_with_escape(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
            let mut filter = Neutraliser::default();
            let cut = cut.min(bytes.len());
            let mut shown = filter.pass(&bytes[..cut]);
            shown.extend(filter.pass(&bytes[cut..]));
            let text = String::from_utf8_lossy(&shown);
            for rest in text.split('\u{1b}').skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_digit() && !"[;:".contains(c));
                prop_assert!(end.is_some_and(|end| rest[end..].starts_with('m')), "{text:?}");
            }
        }
    }
}
