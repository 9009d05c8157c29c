//! Durable appends to an audit trail, with group commit beside one wait for the disk each.

use crate::tools::{self, Done};

/// Times it.
pub(super) fn bench() -> Done {
    tools::run(&["cargo", "run", "--release", "--quiet", "--package", "stockade-audit", "--example", "appends"])
}
