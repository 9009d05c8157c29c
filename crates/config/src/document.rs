//! HOCON text as a tree of values, behind guards: the parser is of others, and lenient.
//!
//! It drops what follows a stray `}`, would read included files and variables, lets a later value replace an
//! earlier one, and descends as deep as a dotted key is long. All that is refused before it resolves anything, by
//! its own tokens and its own tree, so that guard and parser cannot read a text in two ways.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hocon::parser::{AstField, AstNode, Pos};
use hocon::{HoconError, HoconValue, Token, TokenKind};

use crate::filling::Filling;
use crate::refused::{Place, Refused, Wrong};
use crate::security::substitutions::Substitutions;
use crate::separators;

/// Most bytes of a text.
pub const BYTES_MAX: usize = 64 << 10;
/// Deepest nesting, dotted keys counted: a substitution may put a tree as deep as that into another.
pub(crate) const DEPTH_MAX: usize = 32;
/// Most `+=` in a text: each one is a step further down, to what was there before.
pub(crate) const APPENDS_MAX: usize = 64;
/// Most tokens a text may come to when every substitution doubles it.
const TOKENS_MAX: usize = 1 << 18;

/// Keys from the root to a value; items of lists are `[0]`, `[1]`, ….
pub(crate) type Path = Vec<String>;

/// A text that was understood.
#[derive(Debug)]
pub(crate) struct Document {
    root: Vec<(String, Option<HoconValue>)>,
    places: BTreeMap<Path, Place>,
    filled: BTreeSet<Path>,
    end: Place,
}

impl Document {
    /// Parses a text.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        Self::parse_within(text, BYTES_MAX)
    }

    /// Parses a text of at most so many bytes.
    pub(crate) fn parse_within(text: &str, bytes_max: usize) -> Result<Self, Refused> {
        if text.len() > bytes_max {
            return Err(Refused::new(None, Wrong::TooLarge(bytes_max)));
        }
        let tokens = hocon::tokenize(text).map_err(|error| syntax(&error))?;
        check_balance(&tokens)?;
        separators::check(&tokens)?;
        check_growth(&tokens)?;
        let tree = hocon::parser::parse_tokens(&tokens).map_err(|error| syntax(&error))?;
        let mut guard = Guard::default();
        guard.node(&tree, &mut Vec::new(), 0)?;
        let end = tokens.last().map_or(Place { line: 1, column: 1 }, place_of);
        // No variable is seen: what a policy says shall not depend on who reads it.
        let config = hocon::parse_with_env(text, &HashMap::new()).map_err(|error| resolved(&error))?;
        let root = config.keys().into_iter().map(|key| (key.to_owned(), config.get(&quoted(key)).cloned())).collect();
        Ok(Self { root, places: guard.places, filled: BTreeSet::new(), end })
    }

    /// Every value at the top.
    pub(crate) fn fields(&self) -> Vec<(&str, Option<&HoconValue>)> {
        self.root.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect()
    }

    /// Puts the values of variables into strings. Only what stood in quotes can have `${` in it by now.
    pub(crate) fn fill(&mut self, with: &Substitutions) -> Result<(), Refused> {
        let mut root = std::mem::take(&mut self.root);
        let mut filling = Filling::new(with);
        for (key, value) in &mut root {
            let mut path = Path::new();
            let filled = filling.field(key, value.as_mut(), &mut path);
            filled.map_err(|bad| Refused::new(Some(self.place(&path)), Wrong::Variable(bad)))?;
        }
        self.root = root;
        self.filled = filling.filled;
        Ok(())
    }

    /// Whether a string had a variable in it.
    pub(crate) fn is_filled(&self, path: &Path) -> bool {
        self.filled.contains(path)
    }

    /// Where a value stands, or what it is in.
    pub(crate) fn place(&self, path: &[String]) -> Place {
        (0..=path.len()).rev().find_map(|length| self.places.get(path.get(..length)?)).copied().unwrap_or(self.end)
    }
}

/// A key as a path of one segment.
fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

fn syntax(error: &hocon::ParseError) -> Refused {
    let place = Place { line: error.line, column: error.col };
    Refused::new(Some(place).filter(|place| place.line > 0), Wrong::Syntax(error.message.clone()))
}

fn resolved(error: &HoconError) -> Refused {
    match error {
        HoconError::Parse(error) => syntax(error),
        HoconError::Resolve(error) => {
            let path = if error.path.is_empty() { String::new() } else { format!(" (`{}`)", error.path) };
            let place = Place { line: error.line, column: error.col };
            let wrong = Wrong::Substitution(format!("{}{path}", error.message));
            Refused::new(Some(place).filter(|place| place.line > 0), wrong)
        }
        HoconError::Io(_) | HoconError::NotResolved(_) | HoconError::Config(_) | _ => {
            Refused::new(None, Wrong::Syntax(error.to_string()))
        }
    }
}

pub(crate) const fn place_of(token: &Token) -> Place {
    Place { line: token.line, column: token.col }
}

const fn place_at(position: &Pos) -> Place {
    Place { line: position.line, column: position.col }
}

/// Every bracket has its other half.
fn check_balance(tokens: &[Token]) -> Result<(), Refused> {
    let mut open: Vec<(char, Place)> = Vec::new();
    for token in tokens {
        let place = place_of(token);
        let (close, opener) = match token.kind {
            TokenKind::LBrace => {
                open.push(('{', place));
                continue;
            }
            TokenKind::LBracket => {
                open.push(('[', place));
                continue;
            }
            TokenKind::RBrace => ('}', '{'),
            TokenKind::RBracket => (']', '['),
            TokenKind::Comma
            | TokenKind::Colon
            | TokenKind::Equals
            | TokenKind::PlusEquals
            | TokenKind::Newline
            | TokenKind::QuotedString
            | TokenKind::TripleQuotedString
            | TokenKind::Unquoted
            | TokenKind::Substitution
            | TokenKind::Eof => continue,
        };
        if open.pop().is_none_or(|(last, _)| last != opener) {
            return Err(Refused::new(Some(place), Wrong::Unbalanced(close)));
        }
    }
    match open.pop() {
        Some((left, place)) => Err(Refused::new(Some(place), Wrong::Unbalanced(left))),
        None => Ok(()),
    }
}

/// A value that refers to itself or another one twice is twice as large, and so on.
fn check_growth(tokens: &[Token]) -> Result<(), Refused> {
    let mut appends = tokens.iter().filter(|token| token.kind == TokenKind::PlusEquals);
    if let Some(one_more) = appends.nth(APPENDS_MAX) {
        return Err(Refused::new(Some(place_of(one_more)), Wrong::TooManyAppends));
    }
    let mut substitutions = tokens.iter().filter(|token| token.kind == TokenKind::Substitution);
    let count = substitutions.clone().count();
    let size = u32::try_from(count).ok().and_then(|count| tokens.len().checked_shl(count)).unwrap_or(usize::MAX);
    if count < 32 && size <= TOKENS_MAX {
        return Ok(());
    }
    match substitutions.next_back() {
        Some(last) => Err(Refused::new(Some(place_of(last)), Wrong::TooManySubstitutions)),
        None => Ok(()),
    }
}

/// What a value is, as far as it can be told from others that it would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Objects merge.
    Object,
    /// Anything else replaces.
    Other,
}

/// Walks the tree before it is resolved.
#[derive(Debug, Default)]
struct Guard {
    places: BTreeMap<Path, Place>,
    given: BTreeMap<Path, (Kind, Place)>,
    lists: usize,
}

impl Guard {
    fn node(&mut self, node: &AstNode, path: &mut Path, depth: usize) -> Result<(), Refused> {
        match node {
            AstNode::Object { fields, pos } => {
                check_depth(depth, pos)?;
                fields.iter().try_for_each(|field| self.field(field, path, depth))
            }
            AstNode::Array { items, pos } => {
                check_depth(depth, pos)?;
                for (number, item) in items.iter().enumerate() {
                    path.push(format!("[{number}]"));
                    self.node(item, path, depth + 1)?;
                    if let Some(place) = first_of(item) {
                        self.places.entry(path.clone()).or_insert(place);
                    }
                    path.pop();
                }
                Ok(())
            }
            AstNode::Concat { nodes, .. } => nodes.iter().try_for_each(|part| self.part(part, path, depth)),
            AstNode::Substitution { segments, pos, .. } => check_depth(segments.len(), pos),
            AstNode::Scalar { .. } => Ok(()),
            AstNode::Include { pos, .. } => Err(Refused::new(Some(place_at(pos)), Wrong::Include)),
        }
    }

    /// Items of lists that are put together have no numbers yet.
    fn part(&mut self, node: &AstNode, path: &mut Path, depth: usize) -> Result<(), Refused> {
        if matches!(node, AstNode::Array { .. }) { self.item(node, path, depth) } else { self.node(node, path, depth) }
    }

    /// What is an item, or has some, of a list whose other parts are elsewhere.
    fn item(&mut self, node: &AstNode, path: &mut Path, depth: usize) -> Result<(), Refused> {
        self.lists += 1;
        path.push(format!("[+{}]", self.lists));
        let walked = self.node(node, path, depth);
        path.pop();
        walked
    }

    fn field(&mut self, field: &AstField, path: &mut Path, depth: usize) -> Result<(), Refused> {
        let place = place_at(&field.pos);
        let (length, depth) = (path.len(), depth + field.key.len());
        if depth > DEPTH_MAX {
            return Err(Refused::new(Some(place), Wrong::TooDeep));
        }
        for segment in &field.key {
            path.push(segment.clone());
            self.places.entry(path.clone()).or_insert(place);
        }
        if !matches!(field.value, AstNode::Include { .. }) {
            self.give(field, path, length, place)?;
        }
        if field.append { self.item(&field.value, path, depth) } else { self.node(&field.value, path, depth) }?;
        path.truncate(length);
        Ok(())
    }

    /// Notes what is given, and refuses what would replace something that was given before.
    fn give(&mut self, field: &AstField, path: &Path, outer: usize, place: Place) -> Result<(), Refused> {
        let twice = |first: Place| {
            let key = path.iter().filter(|key| !key.starts_with('[')).cloned().collect::<Vec<_>>().join(".");
            Err(Refused::new(Some(place), Wrong::Twice { key, first }))
        };
        // `a.b = 1` makes `a` an object.
        for length in outer + 1..path.len() {
            let Some(front) = path.get(..length) else { continue };
            match self.given.get(front) {
                Some((Kind::Other, first)) => return twice(*first),
                Some((Kind::Object, _)) => {}
                None => drop(self.given.insert(front.to_vec(), (Kind::Object, place))),
            }
        }
        let kind = if matches!(field.value, AstNode::Object { .. }) { Kind::Object } else { Kind::Other };
        match self.given.get(path) {
            None => drop(self.given.insert(path.clone(), (kind, place))),
            Some((Kind::Object, _)) if kind == Kind::Object && !is_root_object(path) => {}
            Some((Kind::Other, _)) if field.append || refers_to(&field.value, path) => {}
            Some((_, first)) => return twice(*first),
        }
        Ok(())
    }
}

/// Whether it is one of the objects that a file is made of: two of them are two, and do not merge.
fn is_root_object(path: &Path) -> bool {
    matches!(path.as_slice(), [first, _] if first == "configuration")
}

/// Whether a value keeps what was given before: `a = ${a} […]`.
fn refers_to(node: &AstNode, path: &Path) -> bool {
    match node {
        AstNode::Substitution { segments, .. } => segments.iter().map(|segment| &segment.text).eq(path.iter()),
        AstNode::Concat { nodes, .. } => nodes.iter().any(|part| refers_to(part, path)),
        AstNode::Object { .. } | AstNode::Array { .. } | AstNode::Scalar { .. } | AstNode::Include { .. } => false,
    }
}

/// Where a node begins.
fn first_of(node: &AstNode) -> Option<Place> {
    match node {
        AstNode::Object { pos, .. }
        | AstNode::Array { pos, .. }
        | AstNode::Scalar { pos, .. }
        | AstNode::Concat { pos, .. }
        | AstNode::Substitution { pos, .. }
        | AstNode::Include { pos, .. } => Some(place_at(pos)).filter(|place| place.line > 0),
    }
}

const fn check_depth(depth: usize, position: &Pos) -> Result<(), Refused> {
    if depth > DEPTH_MAX { Err(Refused::new(Some(place_at(position)), Wrong::TooDeep)) } else { Ok(()) }
}
