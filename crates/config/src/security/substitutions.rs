//! `"${VAR:-default}"` inside of quoted strings, filled at load from what the caller gives.
//!
//! Not to be mistaken for `${key}` outside of quotes, which is HOCON's own and names a key of the same file.
//! What is put in is text and stays text: it is not read as HOCON and not looked at for variables again, and
//! variables of the process are not seen. Values may be secrets: nothing here shows one.

use std::collections::BTreeMap;
use std::fmt;

use stockade_core::text;
use thiserror::Error;

use crate::refused::{Place, Refused, Wrong};

/// Most bytes of a file of substitutions.
pub const FILE_BYTES_MAX: usize = 64 << 10;
/// Most variables.
const VARIABLES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4_096;

/// Variables and their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Substitutions(BTreeMap<String, String>);

/// Names only: values may be secrets.
impl fmt::Debug for Substitutions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a variable cannot be given, or a text not be filled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadVariable {
    /// `${` without `}`.
    #[error("`${{` in a quoted string has no `}}`")]
    Open,
    /// No name of a variable.
    #[error("`{}` is no name of a variable", text::shown(.0, 60))]
    Name(String),
    /// `${A:-${B}}`.
    #[error("the default of `{}` has a variable in it", text::shown(.0, 60))]
    Nested(String),
    /// Nobody gave it.
    #[error("there is no variable `{}`, and no default for it", text::shown(.0, 60))]
    Unknown(String),
    /// A variable in what is left of `=`.
    #[error("a key cannot have a variable in it")]
    Key,
    /// The text would grow without bound.
    #[error("its variables make it too large")]
    TooLarge,
    /// A line without `=`.
    #[error("it is not NAME=value")]
    NoPair,
    /// A value that no string can have.
    #[error("the value of `{}` is longer than {VALUE_BYTES_MAX} bytes or has control characters", text::shown(.0, 60))]
    Value(String),
    /// An escape that other programs read in other ways.
    #[error("the value of `{}` has a backslash before something else than `\\` or `}}`", text::shown(.0, 60))]
    Escape(String),
    /// Given twice.
    #[error("the variable `{}` is given twice", text::shown(.0, 60))]
    Twice(String),
    /// More than anybody needs.
    #[error("there are more than {VARIABLES_MAX} variables")]
    TooMany,
}

impl BadVariable {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Open => "write ${NAME} or ${NAME:-default}; for the two characters themselves, ${:-$}{".to_owned(),
            Self::Name(_) => "use letters, digits, dots, dashes, underscores and `$`".to_owned(),
            Self::Nested(_) => "write the default itself".to_owned(),
            Self::Unknown(name) => {
                let name = text::shown(name, 60);
                format!("give it with --substitutions or --substitution-file, or write ${{{name}:-default}}")
            }
            Self::Key => "write the key itself".to_owned(),
            Self::TooLarge => "give shorter values".to_owned(),
            Self::NoPair => "write NAME=value; lines that begin with `#` or `!` are comments".to_owned(),
            Self::Value(_) => "give it a shorter value of one line".to_owned(),
            Self::Escape(_) => "write `\\\\` for a backslash and `\\}` for a brace".to_owned(),
            Self::Twice(_) => "give it once".to_owned(),
            Self::TooMany => "leave out what is not needed".to_owned(),
        }
    }
}

impl Substitutions {
    /// None at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// One more.
    ///
    /// # Errors
    /// [`BadVariable`].
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), BadVariable> {
        if !is_name(name) {
            return Err(BadVariable::Name(name.to_owned()));
        }
        if value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
            return Err(BadVariable::Value(name.to_owned()));
        }
        if self.0.contains_key(name) {
            return Err(BadVariable::Twice(name.to_owned()));
        }
        if self.0.len() >= VARIABLES_MAX {
            return Err(BadVariable::TooMany);
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// One more, as `NAME=value`, which a command line gives: everything behind the `=` is the value.
    ///
    /// # Errors
    /// [`BadVariable`].
    pub fn add_pair(&mut self, pair: &str) -> Result<(), BadVariable> {
        let (name, value) = pair.split_once('=').ok_or(BadVariable::NoPair)?;
        self.add(name, value)
    }

    /// Parses the text of a file: `NAME=value` lines, comments behind `#` or `!`, empty lines.
    ///
    /// Blanks around the name and before the value do not count. `\\` and `\}` are a backslash and a brace, as in
    /// the files of the existing product; every other backslash is refused, since property files read it as more.
    ///
    /// # Errors
    /// [`Refused`], with the place.
    pub fn parse_file(text: &str) -> Result<Self, Refused> {
        if text.len() > FILE_BYTES_MAX {
            return Err(Refused::new(None, Wrong::TooLarge(FILE_BYTES_MAX)));
        }
        let mut all = Self::none();
        for (line, written) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
            all.add_line(written).map_err(|bad| Refused::new(Some(Place { line, column: 1 }), Wrong::Variable(bad)))?;
        }
        Ok(all)
    }

    fn add_line(&mut self, line: &str) -> Result<(), BadVariable> {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with(['#', '!']) {
            return Ok(());
        }
        let (name, value) = line.split_once('=').ok_or(BadVariable::NoPair)?;
        let name = name.trim_end_matches([' ', '\t']);
        let value =
            unescaped(value.trim_start_matches([' ', '\t'])).ok_or_else(|| BadVariable::Escape(name.to_owned()))?;
        self.add(name, &value)
    }

    /// These, and of `others` what is not among them: what a command line gives comes before what a file gives.
    #[must_use]
    pub fn before(mut self, others: Self) -> Self {
        for (name, value) in others.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// Puts values where a string has variables. `None` where it has none.
    ///
    /// # Errors
    /// [`BadVariable`].
    pub fn fill(&self, string: &str) -> Result<Option<String>, BadVariable> {
        let Some((front, mut rest)) = string.split_once("${") else { return Ok(None) };
        let mut filled = front.to_owned();
        loop {
            let (reference, after) = reference(rest)?;
            filled.push_str(&self.value(reference)?);
            let Some((between, more)) = after.split_once("${") else {
                filled.push_str(after);
                return Ok(Some(filled));
            };
            filled.push_str(between);
            rest = more;
        }
    }

    fn value(&self, reference: &str) -> Result<String, BadVariable> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        // `${:-…}` has no name, and so nobody can give it: it is its default.
        let is_nobody = name.is_empty() && default.is_some();
        if !is_name(name) && !is_nobody {
            return Err(BadVariable::Name(name.to_owned()));
        }
        let Some(default) = default else {
            return self.0.get(name).cloned().ok_or_else(|| BadVariable::Unknown(name.to_owned()));
        };
        if default.contains("${") {
            return Err(BadVariable::Nested(name.to_owned()));
        }
        Ok(self.0.get(name).cloned().unwrap_or_else(|| default.replace("\\}", "}")))
    }
}

/// Splits what follows `${` where its `}` is; `\}` is none.
fn reference(text: &str) -> Result<(&str, &str), BadVariable> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == '}' && !escaped {
            return text
                .split_at_checked(at)
                .and_then(|(inside, rest)| Some((inside, rest.strip_prefix('}')?)))
                .ok_or(BadVariable::Open);
        }
        escaped = character == '\\';
    }
    Err(BadVariable::Open)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte))
}

fn unescaped(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next().filter(|next| matches!(next, '\\' | '}'))?),
            _ => plain.push(character),
        }
    }
    Some(plain)
}
