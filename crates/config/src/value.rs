//! A value of a document, and how it is read: every read says what it expects.

use hocon::{HoconValue, ScalarType};

use crate::document::{Document, Path};
use crate::refused::{Place, Refused, Wrong};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    document: &'a Document,
    path: Path,
    value: &'a HoconValue,
}

/// The values of an object whose keys are all known, in the order of the text.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    document: &'a Document,
    path: Path,
    within: &'static str,
    values: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Fields<'a> {
    /// The values at the top of a document.
    pub(crate) fn of_document(document: &'a Document, known: &'static [&'static str]) -> Result<Self, Refused> {
        let mut found = Vec::new();
        for (key, value) in document.fields() {
            // A key so strange that it cannot be asked for is none that is known.
            let strange = || Wrong::UnknownKey { key: key.to_owned(), within: "the file", known };
            found.push((key, value.ok_or_else(|| Refused::new(Some(document.place(&[key.to_owned()])), strange()))?));
        }
        Self::of(document, Vec::new(), "the file", known, found.into_iter())
    }

    fn of(
        document: &'a Document,
        path: Path,
        within: &'static str,
        known: &'static [&'static str],
        found: impl Iterator<Item = (&'a str, &'a HoconValue)>,
    ) -> Result<Self, Refused> {
        let mut values = Vec::new();
        for (key, value) in found {
            let path = [path.as_slice(), &[key.to_owned()]].concat();
            let Some(key) = known.iter().find(|name| **name == key) else {
                let wrong = Wrong::UnknownKey { key: key.to_owned(), within, known };
                return Err(Refused::new(Some(document.place(&path)), wrong));
            };
            values.push((*key, Value { document, path, value }));
        }
        Ok(Self { document, path, within, values })
    }

    /// The value of a key, if it is given.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value<'a>> {
        let at = self.values.iter().position(|(name, _)| *name == key)?;
        Some(self.values.swap_remove(at).1)
    }

    /// The value of a key that must be given.
    pub(crate) fn need(&mut self, key: &'static str) -> Result<Value<'a>, Refused> {
        let missing = Wrong::Missing { key, within: self.within };
        self.take(key).ok_or_else(|| Refused::new(Some(self.document.place(&self.path)), missing))
    }

    /// What is left, as it stands in the text.
    pub(crate) fn rest(self) -> impl Iterator<Item = (&'static str, Value<'a>)> {
        self.values.into_iter()
    }
}

impl<'a> Value<'a> {
    /// A refusal of this value.
    pub(crate) fn refuse(&self, wrong: Wrong) -> Refused {
        Refused::new(Some(self.document.place(&self.path)), wrong)
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        self.document.place(&self.path)
    }

    fn kind(&self, expected: &'static str) -> Refused {
        let found = match self.value {
            HoconValue::Object(_) => "an object",
            HoconValue::Array(_) => "a list",
            HoconValue::Scalar(scalar) => match scalar.value_type {
                ScalarType::Number => "a number",
                ScalarType::Boolean => "true or false",
                ScalarType::Null => "null",
                ScalarType::String | _ => "a text",
            },
            _ => "nothing that can be read",
        };
        let key = self.path.iter().rev().find(|key| !key.starts_with('[')).cloned().unwrap_or_default();
        self.refuse(Wrong::Kind { key, expected, found })
    }

    /// An object, all of whose keys are among the known ones.
    pub(crate) fn object(&self, within: &'static str, known: &'static [&'static str]) -> Result<Fields<'a>, Refused> {
        let HoconValue::Object(found) = self.value else { return Err(self.kind("an object in braces")) };
        let found = found.iter().map(|(key, value)| (key.as_str(), value));
        Fields::of(self.document, self.path.clone(), within, known, found)
    }

    /// The values of an object whose keys are names that the author chose, in the order of the text.
    pub(crate) fn named(&self, expected: &'static str) -> Result<Vec<(&'a str, Self)>, Refused> {
        let HoconValue::Object(found) = self.value else { return Err(self.kind(expected)) };
        let named = |(key, value): (&'a String, &'a HoconValue)| {
            let path = [self.path.as_slice(), std::slice::from_ref(key)].concat();
            (key.as_str(), Value { document: self.document, path, value })
        };
        Ok(found.iter().map(named).collect())
    }

    /// Whether it is an object.
    pub(crate) const fn is_object(&self) -> bool {
        matches!(self.value, HoconValue::Object(_))
    }

    /// Whether it is a list.
    pub(crate) const fn is_list(&self) -> bool {
        matches!(self.value, HoconValue::Array(_))
    }

    /// The items of a list.
    pub(crate) fn list(&self, expected: &'static str) -> Result<Vec<Self>, Refused> {
        let HoconValue::Array(items) = self.value else { return Err(self.kind(expected)) };
        let item = |(number, value)| {
            let path = [self.path.as_slice(), &[format!("[{number}]")]].concat();
            Value { document: self.document, path, value }
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A text, not a number.
    pub(crate) fn text(&self, expected: &'static str) -> Result<&'a str, Refused> {
        self.scalar(expected, |kind| kind == ScalarType::String)
    }

    /// A text or a number, as it is written.
    pub(crate) fn amount(&self, expected: &'static str) -> Result<&'a str, Refused> {
        self.scalar(expected, |kind| matches!(kind, ScalarType::String | ScalarType::Number))
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Result<bool, Refused> {
        let expected = "true or false";
        // What a variable says is always a text.
        let filled = self.document.is_filled(&self.path);
        let text = self.scalar(expected, |kind| kind == ScalarType::Boolean || filled && kind == ScalarType::String)?;
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.kind(expected)),
        }
    }

    fn scalar(&self, expected: &'static str, may_be: impl Fn(ScalarType) -> bool) -> Result<&'a str, Refused> {
        match self.value {
            HoconValue::Scalar(scalar) if may_be(scalar.value_type) => Ok(&scalar.raw),
            HoconValue::Object(_) | HoconValue::Array(_) | HoconValue::Scalar(_) | _ => Err(self.kind(expected)),
        }
    }
}
