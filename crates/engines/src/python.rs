//! Python: scripts, code, standard input, notebooks, and SQL through the environment's DuckDB.

use stockade_core::paths::{self, InsidePath};
use stockade_core::request::{MadeFile, ResultDescriptor, Start};

use crate::assets;
use crate::interpreter::Interpreter;

const FUNCTION: &str = "/opt/stockade/engine/function.py";
const FUNCTION_SPEC: &str = "/opt/stockade/engine/function.json";
const MAIN: &str = "/opt/stockade/engine/main.py";
/// Binds no name in `__main__`, and imports nothing of the working folder.
const SESSION: &str = "__import__('sys').path.pop(0); __import__('stockade_session').main()";
const SQL_SESSION: &str = "__import__('sys').path.pop(0); __import__('stockade_session').main('sql')";

/// What is to be run by Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PythonCode {
    /// A script of the working folder.
    Script(String),
    /// Code given on the command line.
    Inline(String),
    /// Code read from standard input.
    Stdin,
    /// A notebook of the working folder, executed top to bottom.
    Notebook(String),
    /// A query of the working folder, over the files staged beside it.
    Sql(String),
    /// One piece after the other, as they are ordered over the result descriptor.
    Session,
    /// The same of SQL: what is ordered are queries, over one connection.
    SqlSession,
    /// What a warm engine is given; its process is there already.
    Warm,
    /// A Spotfire data function: its description as JSON.
    Function(Vec<u8>),
}

/// What Python code needs inside; `executable` is the inside path of the interpreter or of its
/// virtual environment.
///
/// Scripts, code and standard input are run by plain `python`: our start-up is a `sitecustomize`
/// that only sets up reports, so that code sees exactly what it sees outside.
#[must_use]
pub fn python(code: PythonCode, arguments: Vec<String>, interpreter: &Interpreter, executable: &str) -> Start {
    let mut argv = vec![executable.to_owned()];
    let mut files: Vec<MadeFile> = assets::python().chain(interpreter.compiled(assets::SITE)).collect();
    // In an environment it is told what was imported.
    if executable != interpreter.inside_executable() {
        files.extend(interpreter.compiled(assets::RESULT));
    }
    let mut path = "/opt/stockade/engine/site";
    let mut result = ResultDescriptor::Open;
    match code {
        PythonCode::Session | PythonCode::SqlSession => {
            let code = if code == PythonCode::Session { SESSION } else { SQL_SESSION };
            argv.extend(["-c".to_owned(), code.to_owned()]);
            files.extend(assets::session());
            result = ResultDescriptor::Conversation;
        }
        // It may become a session.
        PythonCode::Warm => files.extend(assets::session()),
        PythonCode::Function(spec) => {
            argv.extend([FUNCTION, FUNCTION_SPEC].map(ToOwned::to_owned));
            files.extend(assets::function(spec));
        }
        PythonCode::Script(name) => argv.push(name),
        PythonCode::Inline(text) => argv.extend(["-c".to_owned(), text]),
        PythonCode::Stdin => argv.push("-".to_owned()),
        PythonCode::Notebook(name) => argv.extend(["-I".to_owned(), MAIN.to_owned(), "notebook".to_owned(), name]),
        PythonCode::Sql(name) => argv.extend(["-I".to_owned(), MAIN.to_owned(), "sql".to_owned(), name]),
    }
    if argv.iter().any(|word| word == MAIN) {
        files.extend(assets::main());
        path = "/opt/stockade/engine/lib";
    }
    argv.extend(arguments);
    Start {
        argv,
        vars: vars(path).into_iter().chain(interpreter.vars()).collect(),
        trees: interpreter.trees(),
        files,
        result,
    }
}

fn vars(path: &str) -> [(String, String); 4] {
    [
        ("STOCKADE_RESULT_FD", "3"),
        // Figures that are shown become files.
        ("MPLBACKEND", "module://stockade_figures"),
        ("MPLCONFIGDIR", "/home/runner/.cache/matplotlib"),
        ("PYTHONPATH", path),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Where an interpreter of the caller's own lies inside.
pub(crate) fn inside_tree() -> InsidePath {
    InsidePath::fixed(paths::INTERPRETER)
}
