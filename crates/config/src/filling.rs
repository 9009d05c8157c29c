//! Variables in the strings of a text that was resolved, filled once.

use std::collections::BTreeSet;

use hocon::{HoconValue, ScalarType};

use crate::document::{BYTES_MAX, Path};
use crate::security::substitutions::{BadVariable, Substitutions};

/// Goes through values and fills their strings; after an error, the path that was given is where it happened.
#[derive(Debug)]
pub(crate) struct Filling<'a> {
    with: &'a Substitutions,
    /// Which strings had a variable.
    pub(crate) filled: BTreeSet<Path>,
    bytes: usize,
}

impl<'a> Filling<'a> {
    pub(crate) const fn new(with: &'a Substitutions) -> Self {
        Self { with, filled: BTreeSet::new(), bytes: 0 }
    }

    pub(crate) fn field(
        &mut self,
        key: &str,
        value: Option<&mut HoconValue>,
        path: &mut Path,
    ) -> Result<(), BadVariable> {
        path.push(key.to_owned());
        if key.contains("${") {
            return Err(BadVariable::Key);
        }
        if let Some(value) = value {
            self.value(value, path)?;
        }
        path.pop();
        Ok(())
    }

    fn value(&mut self, value: &mut HoconValue, path: &mut Path) -> Result<(), BadVariable> {
        match value {
            HoconValue::Object(fields) => {
                fields.iter_mut().try_for_each(|(key, value)| self.field(key, Some(value), path))
            }
            HoconValue::Array(items) => items.iter_mut().enumerate().try_for_each(|(number, item)| {
                path.push(format!("[{number}]"));
                self.value(item, path)?;
                path.pop();
                Ok(())
            }),
            HoconValue::Scalar(scalar) if scalar.value_type == ScalarType::String => self.string(&mut scalar.raw, path),
            HoconValue::Scalar(_) | _ => Ok(()),
        }
    }

    fn string(&mut self, string: &mut String, path: &Path) -> Result<(), BadVariable> {
        let Some(filled) = self.with.fill(string)? else { return Ok(()) };
        self.bytes = self.bytes.saturating_add(filled.len());
        if self.bytes > BYTES_MAX {
            return Err(BadVariable::TooLarge);
        }
        *string = filled;
        self.filled.insert(path.clone());
        Ok(())
    }
}
