//! Ordinary analytics code, unchanged, inside the walls: "too tight to import pandas is as much a
//! defect as too loose" (run.md).
//!
//! Every test also holds that honest code has nothing denied.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod figures;
mod functions;
mod notebooks;
mod outer_tiers;
mod packages;
mod python_stdlib;
mod r;
mod same;
mod sql;
mod support;
mod unpackaged;
