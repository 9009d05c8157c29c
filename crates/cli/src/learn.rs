//! `--learn FILE`: a commented proposal of what the code asked for. Nothing in it is granted until a
//! person edits it; names come from the code and are marked so.

use std::path::Path;

use stockade_core::outcome::{Denial, Outcome};

use crate::problem::Problem;

/// Writes the proposal.
pub(crate) fn write(file: &Path, outcome: &Outcome) -> Result<(), Problem> {
    std::fs::write(file, proposal(outcome)).map_err(|error| Problem::path("write the proposal to", file, &error, "name a file you may write"))
}

fn proposal(outcome: &Outcome) -> String {
    let mut lines = vec![
        "# What a run asked for beyond its policy. Every line is a comment: nothing here is granted.".to_owned(),
        "# Names were chosen by the code. Uncomment only what you would have granted unasked.".to_owned(),
    ];
    for denial in &outcome.denials {
        lines.push(format!("\n# evidence: {}", denial.what()));
        lines.push(match denial {
            Denial::Name { name } => format!("# egress = [ {{ host = \"{name}\" }} ]   # said by the code"),
            Denial::Addresses { .. } => "# egress: which addresses is not known".to_owned(),
            Denial::SystemCall { name, .. } => format!("# no policy permits system call {name}"),
            Denial::Full { limit } => format!("# limits.{limit} = \"MORE\""),
            Denial::Processes { .. } => "# limits.processes = MORE".to_owned(),
        });
    }
    if outcome.denials.is_empty() {
        lines.push("\n# Nothing was refused that can be known.".to_owned());
    }
    lines.join("\n") + "\n"
}
