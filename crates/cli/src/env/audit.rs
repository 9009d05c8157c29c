//! `stockade env audit`.

use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use stockade_core::text;
use stockade_environments::{Audit, Finding, audit as hold};

use crate::args::Audit as Arguments;
use crate::environment::{self, short};
use crate::printer;
use crate::problem::Problem;

/// Findings and files that people are shown; `--json` has all of them.
const SHOWN: usize = 200;
/// Some input was bad and nothing was found: no clean bill can be given.
const UNCLEAR: u8 = 125;

/// Holds an environment against advisories; status 1 when something is found, 125 when nothing is and
/// an advisory could not be understood.
pub(crate) fn audit(arguments: &Arguments) -> Result<ExitCode, Problem> {
    let environment = environment::store().environment(&arguments.environment)?;
    let audit = hold(&environment, &arguments.advisories)?;
    if arguments.json {
        printer::page(&(printer::document(&audit) + "\n"));
    } else {
        printer::page(&lines(&audit));
        for malformed in audit.malformed.iter().take(SHOWN) {
            printer::remark(&format!(
                "not understood: {}: {}",
                text::shown(&malformed.file, 400),
                text::shown(&malformed.why, 300)
            ));
        }
    }
    Ok(match (audit.found.is_empty(), audit.malformed.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(1),
        (true, false) => ExitCode::from(UNCLEAR),
    })
}

fn lines(audit: &Audit) -> String {
    let mut lines = table(&audit.found);
    if let Some(more) = audit.found.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines += &format!("{more} more (--json lists them)\n");
    }
    let found = text::count(audit.found.len(), "advisory concerns it", "advisories concern it");
    let read = text::count(audit.advisories, "advisory was read", "advisories were read");
    lines += &format!("{}: {found}; {read}, {} of them withdrawn", short(&audit.digest), audit.withdrawn);
    if !audit.malformed.is_empty() {
        lines += &format!(", and {} not understood", text::count(audit.malformed.len(), "file was", "files were"));
    }
    lines + "\n"
}

fn table(found: &[Finding]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["package", "version", "advisory", "severity", "fixed in", "about"]);
    for finding in found.iter().take(SHOWN) {
        let names = [&finding.id].into_iter().chain(&finding.aliases).take(4);
        let names: Vec<String> = names.map(|name| text::shown(name, 40)).collect();
        let or_dash =
            |said: &str, chars_max| if said.is_empty() { "-".to_owned() } else { text::shown(said, chars_max) };
        table.add_row([
            finding.package.clone(),
            finding.version.clone(),
            names.join(" "),
            or_dash(&finding.severity, 60),
            or_dash(&finding.fixed_in, 40),
            or_dash(&finding.summary, 100),
        ]);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}
