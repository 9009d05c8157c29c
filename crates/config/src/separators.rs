//! A second `:` or `=` in one field.
//!
//! The parser of others takes a colon within a value as text, where HOCON refuses it: a line that lacks a comma,
//! `password = x locked : true`, would be read as one long password, and the lock be lost.

use hocon::{Token, TokenKind};

use crate::document::place_of;
use crate::refused::{Refused, Wrong};

/// Where in a field a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Key,
    Separator,
    Value,
    /// Items have no keys.
    List,
}

/// Checks the tokens of a text whose brackets are balanced.
pub(crate) fn check(tokens: &[Token]) -> Result<(), Refused> {
    let mut at = At::Key;
    let mut outer = Vec::new();
    for token in tokens {
        match token.kind {
            TokenKind::LBrace | TokenKind::LBracket => {
                outer.push(if at == At::List { At::List } else { At::Value });
                at = if token.kind == TokenKind::LBrace { At::Key } else { At::List };
            }
            TokenKind::RBrace | TokenKind::RBracket => at = outer.pop().unwrap_or(At::Key),
            TokenKind::Colon | TokenKind::Equals | TokenKind::PlusEquals => match at {
                At::Key => at = At::Separator,
                At::Value => return Err(second(token)),
                At::Separator | At::List => {}
            },
            TokenKind::Comma | TokenKind::Newline if at == At::Value => at = At::Key,
            TokenKind::QuotedString | TokenKind::TripleQuotedString | TokenKind::Unquoted | TokenKind::Substitution
                if at == At::Separator =>
            {
                at = At::Value;
            }
            TokenKind::Comma
            | TokenKind::Newline
            | TokenKind::QuotedString
            | TokenKind::TripleQuotedString
            | TokenKind::Unquoted
            | TokenKind::Substitution
            | TokenKind::Eof => {}
        }
    }
    Ok(())
}

fn second(token: &Token) -> Refused {
    Refused::new(Some(place_of(token)), Wrong::SecondSeparator(token.value.clone()))
}
