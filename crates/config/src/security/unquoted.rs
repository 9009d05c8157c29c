//! Addresses without quotes.

use hocon::TokenKind;

use super::hosts::is_like_address;
use crate::document::place_of;
use crate::refused::{Place, Refused, Wrong};

/// Refuses an address without quotes: HOCON would take its colons for something else, and others for a number.
pub(super) fn check(text: &str) -> Result<(), Refused> {
    // What cannot be told apart is refused by the parser, which says so better.
    let Ok(tokens) = hocon::tokenize(text) else { return Ok(()) };
    let mut run = String::new();
    let mut begun = None;
    for token in &tokens {
        let is_part = matches!(token.kind, TokenKind::Unquoted | TokenKind::Colon);
        if !is_part || token.preceding_space {
            check_run(&run, begun)?;
            run.clear();
            begun = None;
        }
        if is_part {
            begun = begun.or(Some(place_of(token)));
            run.push_str(&token.value);
        }
    }
    check_run(&run, begun)
}

fn check_run(run: &str, begun: Option<Place>) -> Result<(), Refused> {
    // `host:1.2.3.4` is a key and a value.
    let values = [Some(run), run.split_once(':').map(|(_, value)| value), run.rsplit_once(':').map(|(_, value)| value)];
    match values.into_iter().flatten().find(|text| is_like_address(text)) {
        Some(address) => Err(Refused::new(begun, Wrong::Unquoted(address.to_owned()))),
        None => Ok(()),
    }
}
