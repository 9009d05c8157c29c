//! The description of a data function, as a caller writes it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use stockade_core::text;

use crate::problem::Problem;

/// Most inputs, and most outputs.
const ENTRIES_MAX: usize = 200;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;

/// What an input or output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Table,
    Column,
    Value,
}

/// How it is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Sbdf,
    Arrow,
    Parquet,
    Csv,
}

impl Format {
    /// The ending of its files.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Sbdf => "sbdf",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }

    fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "sbdf" => Some(Self::Sbdf),
            "arrow" | "arrows" | "feather" | "ipc" => Some(Self::Arrow),
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) script: Option<String>,
    #[serde(default)]
    pub(super) script_file: Option<String>,
    #[serde(default)]
    pub(super) inputs: Vec<InputSpec>,
    #[serde(default)]
    pub(super) outputs: Vec<OutputSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputSpec {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) file: Option<String>,
    #[serde(default)]
    format: Option<Format>,
    /// `null` is a value that is missing; being left out is another thing.
    #[serde(default, deserialize_with = "given")]
    pub(super) value: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputSpec {
    pub(super) name: String,
    #[serde(rename = "type", default)]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) format: Format,
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a description cannot be taken.
pub(super) fn refused(why: impl Into<String>, next: &str) -> Problem {
    Problem::new("the data function cannot be run", why.into(), next)
}

impl Spec {
    pub(super) fn parse(json: &str, path: &Path) -> Result<Self, Problem> {
        let spec: Self = serde_json::from_str(json).map_err(|error| {
            Problem::new(
                format!("`{}` describes no data function", text::shown(&path.to_string_lossy(), 200)),
                text::shown(&error.to_string(), 300),
                "see docs/guides/data-functions.md for its form",
            )
        })?;
        check_names(&mut spec.inputs.iter().map(|input| input.name.as_str()), "input")?;
        check_names(&mut spec.outputs.iter().map(|output| output.name.as_str()), "output")?;
        if spec.outputs.is_empty() {
            return Err(refused("it has no output", "name what the script sets, in `outputs`"));
        }
        Ok(spec)
    }
}

impl InputSpec {
    /// Its format, if it is a file.
    pub(super) fn format(&self) -> Result<Option<Format>, Problem> {
        let name = &self.name;
        match (&self.file, &self.value) {
            (Some(file), None) => match self.format.or_else(|| Format::of(file)) {
                Some(format) => Ok(Some(format)),
                None => Err(refused(
                    format!("the format of the input `{name}` is unknown"),
                    "name it: \"format\": \"sbdf\", \"arrow\", \"parquet\" or \"csv\"",
                )),
            },
            // Its kind does not matter: the script sees None.
            (None, Some(Value::Null)) => Ok(None),
            (None, Some(Value::Bool(_) | Value::Number(_) | Value::String(_)))
                if self.kind == Kind::Value && self.format.is_none() =>
            {
                Ok(None)
            }
            (None, Some(_)) => Err(refused(
                format!("the value of the input `{name}` is none"),
                "an input of the type `value` has a number, a text, true, false or null; others are files",
            )),
            (None, None) | (Some(_), Some(_)) => Err(refused(
                format!("the input `{name}` has not one source"),
                "give it `file`, or `value` (null where it is missing)",
            )),
        }
    }
}

/// Each becomes a variable of the script, and the name of a file.
fn check_names(names: &mut dyn Iterator<Item = &str>, what: &str) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !plain || !begins || name.starts_with("__") || name.len() > NAME_BYTES_MAX {
            return Err(refused(
                format!("`{}` is no name for an {what}", text::shown(name, 100)),
                "use letters, digits and `_`, as for a variable; `__` is Python's own",
            ));
        }
        // Files of some disks do not tell large letters from small ones.
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(refused(format!("there are two {what}s `{name}`"), "give each a name of its own"));
        }
    }
    if seen.len() > ENTRIES_MAX {
        return Err(refused(format!("there are more than {ENTRIES_MAX} {what}s"), "put columns together into a table"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Spec, Problem> {
        let spec = Spec::parse(json, Path::new("spec.json"))?;
        for input in &spec.inputs {
            input.format()?;
        }
        Ok(spec)
    }

    #[test]
    fn a_description_is_read_strictly() {
        let good = r#"{"script": "y = x", "inputs": [{"name": "x", "type": "value", "value": 3},
            {"name": "t", "type": "table", "file": "a.csv"}, {"name": "n", "type": "column", "value": null}],
            "outputs": [{"name": "y", "type": "value", "format": "csv"}]}"#;
        assert!(parse(good).is_ok());
        for (bad, to) in [
            ("\"x\", \"type\": \"value\"", "\"a/b\", \"type\": \"value\""),
            ("\"x\", \"type\": \"value\"", "\"__builtins__\", \"type\": \"value\""),
            ("\"x\", \"type\": \"value\"", "\"../x\", \"type\": \"value\""),
            ("\"x\", \"type\": \"value\"", "\"T\", \"type\": \"value\""),
            ("\"value\": 3", "\"value\": [3]"),
            ("\"value\": 3", "\"format\": \"csv\""),
            ("\"value\": 3", "\"value\": 3, \"file\": \"a.csv\""),
            ("a.csv", "a.xlsx"),
            ("\"name\": \"y\"", "\"name\": \"y\", \"path\": \"/etc/x\""),
            ("\"csv\"}]", "\"xls\"}]"),
            ("\"outputs\": [{\"name\": \"y\", \"type\": \"value\", \"format\": \"csv\"}]", "\"outputs\": []"),
        ] {
            assert!(good.contains(bad), "{bad}");
            assert!(parse(&good.replace(bad, to)).is_err(), "{to}");
        }
    }
}
