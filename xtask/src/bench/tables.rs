//! Tables by descriptor beside tables by stream, by the Python client.

use crate::tools::{self, Done};

/// Times it, with a Python that has pyarrow: the one that `STOCKADE_BENCH_PYARROW` names, or `python3`.
pub(super) fn bench() -> Done {
    tools::run(&["cargo", "build", "--release", "--package", "stockade", "--package", "stockade-node", "--bins"])?;
    let python = std::env::var("STOCKADE_BENCH_PYARROW").unwrap_or_else(|_| "python3".to_owned());
    let node = tools::built("release/stockade-node").to_string_lossy().into_owned();
    tools::run(&[&python, "xtask/src/bench/tables.py", &node, "clients/python/src"])
}
