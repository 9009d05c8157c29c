//! Python, R, SQL and program adapters: from code to what it needs inside the walls.
//!
//! Knows interpreters and start-up files; starts nothing of the code, and believes nothing of what
//! an engine says.

mod assets;
mod interpreter;
mod python;
mod r;
mod said;
mod versions;
pub mod warm;

pub use interpreter::{Interpreter, Unusable, Venv};
pub use python::{PythonCode, python};
pub use r::{R, r, r_library, r_session};
pub use said::{Said, said};
