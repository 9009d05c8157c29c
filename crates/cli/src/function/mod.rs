//! `--data-function`: a Spotfire data function, from its description to results that were looked at.
//!
//! The description is the caller's. What comes back is files that the code left, claims of the code like every output:
//! collected by the walk, held against their names, formats and shapes, and never taken from what the code prints.

mod results;
mod spec;

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use stockade_core::facts::SourceKind;
use stockade_core::request::Input;
use stockade_core::text;

pub(crate) use results::check;
pub(crate) use spec::{Format, Kind};

use crate::problem::Problem;
use crate::staging;
use spec::Spec;

/// The package that runs data functions: its inputs and outputs are what Spotfire's own server gives and takes.
const PACKAGE: &str = "spotfire==2.4.2";
/// What reads and writes Arrow and Parquet.
const ARROW: &str = "pyarrow";
/// Largest description, its script included.
const BYTES_MAX: u64 = 4 << 20;

/// A data function as the engine is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Function {
    script: String,
    inputs: Vec<Given>,
    pub(crate) outputs: Vec<Wanted>,
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Given {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// Below the working folder.
    file: Option<String>,
    format: Option<Format>,
    value: serde_json::Value,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    /// In the working folder, and in that of the outputs.
    pub(crate) file: String,
}

impl Function {
    /// Reads a description, and looks at every file that it names. One of somebody else's names files that were sent
    /// beside it, and no others: they are read with rights that its author has not.
    pub(crate) fn read(path: &Path, is_of_others: bool) -> Result<(Self, Vec<Input>), Problem> {
        let text = read(path, "read the data function")?;
        let spec = Spec::parse(&text, path)?;
        if is_of_others {
            check_beside(&spec)?;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let script = match (spec.script, spec.script_file) {
            (Some(script), None) => script,
            (None, Some(file)) => read(&folder.join(file), "read the script of the data function")?,
            (None, None) => return Err(spec::refused("it has no script", "give `script` or `script_file`")),
            (Some(_), Some(_)) => return Err(spec::refused("it has two scripts", "give `script` or `script_file`")),
        };
        let mut staged = Vec::new();
        let mut inputs = Vec::new();
        for input in spec.inputs {
            let format = input.format()?;
            let file = match (&input.file, format) {
                (Some(file), Some(format)) => {
                    let name = format!("inputs/{}.{}", input.name, format.ending());
                    let source =
                        staging::look(&folder.join(file)).map_err(|problem| of_input(&input.name, &problem))?;
                    if !matches!(source.kind, SourceKind::File { .. }) {
                        return Err(spec::refused(format!("the input `{}` is no file", input.name), "name a file"));
                    }
                    staged.push(Input { source, target: staging::in_job(&name)?, hidden: Vec::new() });
                    Some(name)
                }
                _ => None,
            };
            inputs.push(Given {
                name: input.name,
                kind: input.kind,
                file,
                format,
                value: input.value.unwrap_or_default(),
            });
        }
        let outputs = spec.outputs.into_iter().map(|output| {
            let file = format!("{}.{}", output.name, output.format.ending());
            Wanted { name: output.name, kind: output.kind, format: output.format, file }
        });
        Ok((Self { script, inputs, outputs: outputs.collect() }, staged))
    }

    /// Packages without which it cannot be run.
    pub(crate) fn packages(&self) -> String {
        let formats = self.inputs.iter().filter_map(|input| input.format);
        let mut formats = formats.chain(self.outputs.iter().map(|output| output.format));
        let needs_arrow = formats.any(|format| matches!(format, Format::Arrow | Format::Parquet));
        if needs_arrow { format!("{PACKAGE},{ARROW}") } else { PACKAGE.to_owned() }
    }

    /// As the engine reads it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Texts and numbers only: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn check_beside(spec: &Spec) -> Result<(), Problem> {
    let mut files = spec.inputs.iter().filter_map(|input| input.file.as_ref()).chain(&spec.script_file);
    match files.find(|file| !stockade_core::session::is_file_name(file)) {
        None => Ok(()),
        Some(file) => Err(spec::refused(
            format!("`{}` is not the name of a file that was sent", text::shown(file, 200)),
            "send the file as an input, and name it without a folder",
        )),
    }
}

fn of_input(name: &str, problem: &Problem) -> Problem {
    Problem::new(
        format!("the input `{name}` of the data function is missing"),
        problem.what(),
        "name a file that is there; relative paths start at the folder of the description",
    )
}

fn read(path: &Path, what: &str) -> Result<String, Problem> {
    let failed = |error: &std::io::Error| {
        Problem::path(what, path, error, "look at the spelling; paths start at the folder of the description")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= BYTES_MAX) {
        return Ok(text);
    }
    Err(spec::refused(format!("it has more than {}", text::bytes(BYTES_MAX)), "give data as files"))
}
