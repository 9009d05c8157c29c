//! `stockade env list`.

use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use stockade_core::text;
use stockade_environments::Listed;

use super::time;
use crate::environment::{self, Versions, short};
use crate::printer;
use crate::problem::Problem;

/// Lists the environments of this user's store.
pub(crate) fn list(json: bool) -> Result<ExitCode, Problem> {
    let listed = stockade_environments::list(&environment::store())?;
    if json {
        let rows: Vec<Row<'_>> = listed.iter().map(Row::of).collect();
        printer::page(&(printer::document(&rows) + "\n"));
    } else if listed.is_empty() {
        printer::page("there is no environment yet: `stockade env build NAME --with PACKAGES` makes one\n");
    } else {
        printer::page(&table(&listed));
    }
    Ok(ExitCode::SUCCESS)
}

/// One environment, for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    names: &'a [String],
    digest: &'a str,
    #[serde(flatten)]
    versions: Versions,
    packages: usize,
    bytes: u64,
    created: Option<u64>,
    used: Option<u64>,
    uses: u64,
}

impl<'a> Row<'a> {
    fn of(listed: &'a Listed) -> Self {
        let environment = &listed.environment;
        let (uses, used) = environment.used();
        Self {
            names: &listed.names,
            digest: &environment.digest,
            versions: Versions::of(&environment.interpreter),
            packages: environment.packages.len(),
            bytes: environment.bytes,
            created: environment.created().map(time::seconds),
            used: used.filter(|_| uses > 0).map(time::seconds),
            uses,
        }
    }
}

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["name", "digest", "for", "packages", "size", "built", "used"]);
    let now = SystemTime::now();
    for listed in listed {
        let environment = &listed.environment;
        let (uses, used) = environment.used();
        table.add_row([
            if listed.names.is_empty() { "-".to_owned() } else { listed.names.join(" ") },
            short(&environment.digest).to_owned(),
            environment::runs_with(&environment.interpreter),
            environment.packages.len().to_string(),
            text::bytes(environment.bytes),
            environment.created().map_or_else(|| "-".to_owned(), |at| time::ago(at, now)),
            match used.filter(|_| uses > 0) {
                Some(at) => format!("{}, {}", time::ago(at, now), text::count(uses, "run", "runs")),
                None => "never".to_owned(),
            },
        ]);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}
