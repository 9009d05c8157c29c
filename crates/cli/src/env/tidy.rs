//! `stockade env rm` and `stockade env gc`.

use std::process::ExitCode;
use std::time::SystemTime;

use stockade_core::text;
use stockade_environments::{Collected, Keep, Name, days_ago, gc as collect, remove};

use crate::args::Gc;
use crate::environment::{self, short};
use crate::printer;
use crate::problem::Problem;

/// Takes names away, or environments that have none.
pub(crate) fn rm(references: &[String]) -> Result<ExitCode, Problem> {
    let store = environment::store();
    for reference in references {
        let named = reference.parse::<Name>().ok().filter(|name| store.has_name(name));
        match named {
            Some(name) => {
                store.remove_name(&name)?;
                printer::page(&format!("{name}: the name is gone; `stockade env gc` takes away what nobody needs\n"));
            }
            None => {
                let digest = store.digest(reference)?;
                remove(&store, &digest)?;
                printer::page(&format!("{}: gone\n", short(&digest)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes away what nobody needs.
pub(crate) fn gc(arguments: &Gc) -> Result<ExitCode, Problem> {
    let since = days_ago(arguments.keep_days, SystemTime::now());
    let collected = collect(&environment::store(), Keep { since, dry_run: arguments.dry_run })?;
    printer::page(&if arguments.json {
        printer::document(&collected) + "\n"
    } else {
        lines(&collected, arguments.dry_run)
    });
    Ok(ExitCode::SUCCESS)
}

fn lines(collected: &Collected, dry_run: bool) -> String {
    let goes = if dry_run { "would go" } else { "gone" };
    let mut lines: String =
        collected.environments.iter().map(|digest| format!("{goes}: environment {}\n", short(digest))).collect();
    lines += &format!(
        "{goes}: {}, {}, {}; {}\n",
        text::count(collected.environments.len(), "environment", "environments"),
        text::count(collected.wheels, "package file", "package files"),
        text::count(collected.notes, "note", "notes"),
        text::bytes(collected.bytes)
    );
    if collected.builds_under_way {
        lines += "kept: package files and notes, for something is being built\n";
    }
    lines
}
