//! Tables by descriptor beside tables by stream, by the Python client.

use crate::tools::{self, Done};

/// Times it.
pub(super) fn bench() -> Done {
    tools::run(&["cargo", "build", "--release", "--package", "stockade", "--package", "stockade-node", "--bins"])?;
    let python = tools::python_of_client()?;
    let node = tools::built("release/stockade-node").to_string_lossy().into_owned();
    tools::run(&[&python, "xtask/src/bench/tables.py", &node, "clients/python/src"])
}
