//! Which code is to be run, and which engine runs it.

use std::io::Read;
use std::path::{Path, PathBuf};

use stockade_core::request::{Input, Language};
use stockade_core::text;

use crate::args::Run;
use crate::function::Function;
use crate::problem::Problem;
use crate::staging;

/// Largest script that is read, for its digest and its requirements.
const SCRIPT_BYTES_MAX: u64 = 64 << 20;

/// The code of a command line.
#[derive(Debug)]
pub(crate) struct Code {
    /// What runs it.
    pub(crate) engine: Engine,
    /// How it is called in reports.
    pub(crate) label: String,
    /// Its own arguments.
    pub(crate) arguments: Vec<String>,
    /// Its bytes, or what stands for them in the audit record.
    pub(crate) bytes: Vec<u8>,
    /// Its file outside, when it has one.
    pub(crate) file: Option<PathBuf>,
    /// The file as an input, unless the project already holds it.
    pub(crate) staged: Vec<Input>,
    /// What it says of results, when it is a data function.
    pub(crate) function: Option<Function>,
}

/// What runs the code; names are paths below the working folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Script(String),
    Inline(String),
    Stdin,
    Notebook(String),
    Sql(String),
    R(String),
    Program(String),
    /// One that is kept, for code that comes later.
    Session(Language),
    /// A script that comes later, for an engine that is there already.
    Warm,
    /// A data function as the engine reads it.
    Function(Vec<u8>),
}

impl Engine {
    pub(crate) const fn language(&self) -> Language {
        match self {
            Self::Script(_) | Self::Inline(_) | Self::Stdin | Self::Notebook(_) | Self::Warm | Self::Function(_) => {
                Language::Python
            }
            Self::Session(language) => *language,
            Self::Sql(_) => Language::Sql,
            Self::R(_) => Language::R,
            Self::Program(_) => Language::Program,
        }
    }
}

/// Reads the code of a command line.
pub(crate) fn code(run: &Run) -> Result<Code, Problem> {
    if let Some(option) = run.unknown_option() {
        return Err(Problem::new(
            format!("there is no option `{}`", text::shown(&option.to_string_lossy(), 100)),
            "what stands before the script is for Stockade",
            "see `stockade run --help`; a script of such a name is `./-NAME`",
        ));
    }
    let mut words = words(run)?;
    if let Some(language) = &run.supervised.session {
        let known = Language::ALL.into_iter().find(|known| known.name() == language);
        let language = known.filter(|_| words.is_empty()).ok_or_else(no_script)?;
        return Ok(session(language));
    }
    if run.supervised.pool.is_some() {
        return pool(&words);
    }
    if let Some(path) = &run.data_function {
        return data_function(path, &words, run.supervised.report_fd.is_some());
    }
    if let Some(inline) = &run.code {
        return Ok(without_file(Engine::Inline(inline.clone()), "-c", words, inline.clone().into_bytes()));
    }
    if words.is_empty() {
        return Err(Problem::new(
            "nothing to run",
            "no script, no -c CODE and no `-- PROGRAM` was given",
            "stockade run SCRIPT, or see `stockade run --help`",
        ));
    }
    let first = words.remove(0);
    if run.is_program() {
        return program(first, words, run.project.as_deref());
    }
    if first == "-" {
        return Ok(without_file(Engine::Stdin, "-", words, b"-".to_vec()));
    }
    script(&first, words, run.project.as_deref())
}

/// Its code comes later, and each piece has a record of its own.
pub(crate) fn session(language: Language) -> Code {
    without_file(Engine::Session(language), "session", Vec::new(), b"session".to_vec())
}

fn no_script() -> Problem {
    Problem::new("a session has no script", "its code is ordered later", "leave out the script")
}

/// Runs are given to its engines later; their plan is what counts now.
fn pool(words: &[String]) -> Result<Code, Problem> {
    if words.is_empty() {
        return Ok(without_file(Engine::Warm, "engine", Vec::new(), b"engine".to_vec()));
    }
    Err(Problem::new("warm engines have no script", "runs are given to them later", "leave out the script"))
}

/// Its script is in its description, and its arguments are its inputs.
fn data_function(path: &Path, words: &[String], is_of_others: bool) -> Result<Code, Problem> {
    if !words.is_empty() {
        let why = "the description of a data function has all that is run";
        return Err(Problem::new("a data function has no script and no arguments beside it", why, "leave them out"));
    }
    let (function, staged) = Function::read(path, is_of_others)?;
    let bytes = function.bytes();
    Ok(Code {
        engine: Engine::Function(bytes.clone()),
        label: path.to_string_lossy().into_owned(),
        arguments: Vec::new(),
        bytes,
        file: Some(path.to_owned()),
        staged,
        function: Some(function),
    })
}

fn without_file(engine: Engine, label: &str, arguments: Vec<String>, bytes: Vec<u8>) -> Code {
    Code { engine, label: label.to_owned(), arguments, bytes, file: None, staged: Vec::new(), function: None }
}

fn words(run: &Run) -> Result<Vec<String>, Problem> {
    run.words
        .iter()
        .map(|word| {
            word.to_str().map(ToOwned::to_owned).ok_or_else(|| {
                Problem::new(
                    format!("argument `{}` is not valid UTF-8", text::shown(&word.to_string_lossy(), 100)),
                    "arguments are recorded as text",
                    "use a name in UTF-8",
                )
            })
        })
        .collect()
}

fn script(path: &str, arguments: Vec<String>, project: Option<&Path>) -> Result<Code, Problem> {
    let bytes = read(Path::new(path), path)?;
    let (name, staged) = place(Path::new(path), project)?;
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or("");
    let engine = match extension {
        "py" | "pyw" => Engine::Script(name),
        "ipynb" => Engine::Notebook(name),
        "R" | "r" => Engine::R(name),
        "sql" => Engine::Sql(name),
        _ if is_python(&bytes) => Engine::Script(name),
        _ => {
            let here = if path.contains('/') { "" } else { "./" };
            return Err(Problem::new(
                format!("cannot tell what runs `{}`", text::shown(path, 200)),
                "its name ends in none of .py, .ipynb, .R and .sql",
                format!("stockade run -- {here}{} to run it as a program", text::quoted(path, 200)),
            ));
        }
    };
    Ok(Code {
        engine,
        label: path.to_owned(),
        arguments,
        bytes,
        file: Some(PathBuf::from(path)),
        staged: staged.into_iter().collect(),
        function: None,
    })
}

/// A script without an ending may say in its first line that it is Python.
fn is_python(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && first.windows(6).any(|word| word == b"python")
}

fn read(path: &Path, shown: &str) -> Result<Vec<u8>, Problem> {
    let failed = |error: &std::io::Error| {
        let (status, next) = if error.kind() == std::io::ErrorKind::NotFound {
            (127, "look at the spelling; relative paths start at the current folder")
        } else {
            (126, "make it readable to you")
        };
        Problem::path("read the script", path, error, next).with_status(status)
    };
    let status = std::fs::metadata(path).map_err(|error| failed(&error))?;
    if !status.is_file() {
        return Err(Problem::new(
            format!("cannot run `{}`", text::shown(shown, 200)),
            "it is not a regular file",
            "name a script",
        )
        .with_status(126));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SCRIPT_BYTES_MAX {
        return Err(Problem::new(
            format!("`{}` is too large for a script", text::shown(shown, 200)),
            format!("the most is {}", text::bytes(SCRIPT_BYTES_MAX)),
            "stage data with --in",
        )
        .with_status(126));
    }
    Ok(bytes)
}

/// Where a file of the caller is inside: in the project that holds it, else staged under its name.
fn place(path: &Path, project: Option<&Path>) -> Result<(String, Option<Input>), Problem> {
    let source = staging::look(path)?;
    if let Some(project) = project {
        let project = staging::look(project)?;
        if let Ok(below) = source.path.strip_prefix(&project.path) {
            return Ok((below.to_string_lossy().into_owned(), None));
        }
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("program").to_owned();
    let target = staging::in_job(&name)?;
    Ok((name, Some(Input { source, target, hidden: Vec::new() })))
}

/// A program of the machine by its name or path, or one of the caller's, which is staged.
fn program(word: String, arguments: Vec<String>, project: Option<&Path>) -> Result<Code, Problem> {
    let bytes = std::iter::once(&word).chain(&arguments).flat_map(|word| word.bytes().chain([0])).collect();
    let path = Path::new(&word);
    let of_the_machine =
        !word.contains('/') || ["/usr", "/bin", "/sbin", "/lib"].iter().any(|folder| path.starts_with(folder));
    if of_the_machine || !path.exists() {
        return Ok(without_file(Engine::Program(word.clone()), &word, arguments, bytes));
    }
    if path.is_dir() {
        return Err(Problem::new(
            format!("cannot run `{}`", text::shown(&word, 200)),
            "it is a folder",
            "name a program",
        )
        .with_status(126));
    }
    let (name, staged) = place(path, project)?;
    Ok(Code {
        engine: Engine::Program(format!("./{name}")),
        file: Some(PathBuf::from(&word)),
        label: word,
        arguments,
        bytes,
        staged: staged.into_iter().collect(),
        function: None,
    })
}
