//! Patterns of resources: text in which `*` is any text, the empty one included. Nothing else has a meaning.
//!
//! Whether a resource matches is Cedar's to say (`like`); here is only what it cannot be asked: whether one pattern
//! has everything of another, and whether two have anything in common.

use super::kind::Privilege;

/// Longest pattern, and longest resource.
pub(crate) const BYTES_MAX: usize = 1024;
/// Stars of one pattern: matching takes time with their number.
const STARS_MAX: usize = 8;

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGlob {
    /// Nothing is written.
    #[error("it is empty")]
    Empty,
    /// More than a resource has.
    #[error("it is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// More stars than a resource has parts.
    #[error("it has more than {STARS_MAX} stars")]
    Stars,
    /// A wildcard of shells that would be taken as it is written, and match nothing.
    #[error("`{0}` is no wildcard here")]
    Character(char),
}

impl BadGlob {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Empty => "leave `resource` out if all of its kind are meant",
            Self::TooLong => "write a shorter one",
            Self::Stars => "leave stars out; one stands for any text",
            Self::Character(_) => "write it with `*`, which stands for any text, or as several entries",
        }
    }
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Star,
    Char(char),
}

impl Glob {
    /// Parses one; two stars side by side are one.
    pub(crate) fn parse(text: &str, privilege: Privilege) -> Result<Self, BadGlob> {
        if text.is_empty() {
            return Err(BadGlob::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(BadGlob::TooLong);
        }
        // `[::1]:443` is a resource.
        let banned: &[char] =
            if privilege == Privilege::Egress { &['?', '\\'] } else { &['?', '\\', '[', ']', '{', '}'] };
        if let Some(character) = text.chars().find(|character| banned.contains(character)) {
            return Err(BadGlob::Character(character));
        }
        let mut tokens: Vec<Token> =
            text.chars().map(|character| if character == '*' { Token::Star } else { Token::Char(character) }).collect();
        tokens.dedup_by(|one, other| (*one, *other) == (Token::Star, Token::Star));
        let stars = tokens.iter().filter(|token| **token == Token::Star).count();
        if stars > STARS_MAX { Err(BadGlob::Stars) } else { Ok(Self(tokens)) }
    }

    /// Whether it is all there is.
    pub(crate) fn is_everything(&self) -> bool {
        self.0 == [Token::Star]
    }

    /// Its pieces in order: text, and `None` for a star.
    pub(crate) fn pieces(&self) -> Vec<Option<String>> {
        let mut pieces: Vec<Option<String>> = Vec::new();
        for token in &self.0 {
            match (token, pieces.last_mut()) {
                (Token::Star, _) => pieces.push(None),
                (Token::Char(character), Some(Some(text))) => text.push(*character),
                (Token::Char(character), _) => pieces.push(Some(character.to_string())),
            }
        }
        pieces
    }

    /// Whether everything that `other` matches, this one matches too. A star of `other` can stand for a text that
    /// no pattern names, so it is a character that only a star takes.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        table(&self.0, &other.0, |here, there| here == Token::Star || here == there, false)
    }

    /// Whether there is a text that both match.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        table(&self.0, &other.0, |here, there| here == Token::Star || there == Token::Star || here == there, true)
    }
}

/// Walks both patterns side by side. `takes` says whether a token of the first takes one of the second; a star of
/// the first takes none or more of the second, and with `both` the other way round too.
fn table(one: &[Token], other: &[Token], takes: impl Fn(Token, Token) -> bool, both: bool) -> bool {
    // Row: how far in `one`; column: how far in `other`.
    let mut row: Vec<bool> = Vec::with_capacity(other.len() + 1);
    row.push(true);
    for token in other {
        let skipped = both && *token == Token::Star && row.last() == Some(&true);
        row.push(skipped);
    }
    for here in one {
        let mut below = vec![*here == Token::Star && row.first() == Some(&true)];
        for ((above, diagonal), there) in row.iter().skip(1).zip(&row).zip(other) {
            let left = below.last() == Some(&true);
            let by_star = *here == Token::Star && (*above || left);
            let by_other_star = both && *there == Token::Star && (*above || left);
            below.push(by_star || by_other_star || (*diagonal && takes(*here, *there)));
        }
        row = below;
    }
    row.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text, Privilege::Egress).unwrap()
    }

    #[test]
    fn only_a_star_has_a_meaning_and_what_looks_like_another_is_refused() {
        assert_eq!(glob("a**b*").pieces(), [Some("a".to_owned()), None, Some("b".to_owned()), None]);
        for (text, bad) in [
            ("", BadGlob::Empty),
            ("node.?", BadGlob::Character('?')),
            ("node.{start,stop}", BadGlob::Character('{')),
            ("[a-z]", BadGlob::Character('[')),
            ("a\\*", BadGlob::Character('\\')),
            ("a*b*c*d*e*f*g*h*i*j", BadGlob::Stars),
        ] {
            assert_eq!(Glob::parse(text, Privilege::Run), Err(bad), "{text}");
        }
        assert_eq!(Glob::parse(&"x".repeat(1025), Privilege::Run), Err(BadGlob::TooLong));
        assert!(Glob::parse("[::1]:443", Privilege::Egress).is_ok());
    }

    #[test]
    fn patterns_are_held_against_each_other() {
        for (one, other, covers, meets) in [
            ("*", "a*", true, true),
            ("a*", "*", false, true),
            ("node.*", "node.start", true, true),
            ("node.start", "node.*", false, true),
            ("*.display", "node.*", false, true),
            ("*.display", "node.display", true, true),
            ("a*b", "a*", false, true),
            ("a*", "a*b", true, true),
            ("a*a", "a", false, false),
            ("a", "b", false, false),
            ("a*x", "b*x", false, false),
            ("*a*", "*b*", false, true),
        ] {
            assert_eq!(
                (glob(one).covers(&glob(other)), glob(one).meets(&glob(other))),
                (covers, meets),
                "{one} {other}"
            );
        }
    }

    /// Every text of up to five letters.
    fn texts() -> Vec<String> {
        let mut all = vec![String::new()];
        let mut longest = all.clone();
        for _ in 0..5 {
            longest = longest.iter().flat_map(|text| ["a", "b", "c"].map(|letter| format!("{text}{letter}"))).collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    fn plainly(pattern: &str, text: &str) -> bool {
        match pattern.split_at_checked(1) {
            None => text.is_empty(),
            Some(("*", rest)) => (0..=text.len()).any(|at| plainly(rest, &text[at..])),
            Some((letter, rest)) => text.strip_prefix(letter).is_some_and(|text| plainly(rest, text)),
        }
    }

    proptest! {
        /// `c` is in no pattern, so it stands for what no pattern names.
        #[test]
        fn what_is_covered_and_met_is_what_the_texts_say(one in "[ab*]{1,4}", other in "[ab*]{1,4}") {
            let texts = texts();
            let covers = texts.iter().all(|text| !plainly(&other, text) || plainly(&one, text));
            let meets = texts.iter().any(|text| plainly(&other, text) && plainly(&one, text));
            prop_assert_eq!(glob(&one).covers(&glob(&other)), covers);
            // The shortest text that both match may be longer than five: then nothing is claimed.
            prop_assert!(!meets || glob(&one).meets(&glob(&other)));
            prop_assert!(glob(&one).meets(&glob(&other)) == meets || one.len() + other.len() > 5);
        }
    }
}
