//! `stockade env sbom`.

use std::process::ExitCode;

use crate::problem::Problem;
use crate::{environment, printer};

/// Prints what an environment consists of, as a CycloneDX document.
pub(crate) fn sbom(reference: &str) -> Result<ExitCode, Problem> {
    let store = environment::store();
    let document = stockade_environments::sbom(&store, &store.environment(reference)?)?;
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    printer::page(&(text + "\n"));
    Ok(ExitCode::SUCCESS)
}
