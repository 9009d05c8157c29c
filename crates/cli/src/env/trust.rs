//! `stockade env trust`: who vouches for which libraries.

use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use stockade_core::text;
use stockade_core::trust::Doubt;
use stockade_environments::{Entry, Lasting, Library, SigningKey, Standing, TrustPlace, Vouched, libraries_of};

use super::time;
use crate::args::{Trust, TrustAdd, TrustRemove};
use crate::environment;
use crate::pipeline::principal;
use crate::printer;
use crate::problem::Problem;
use crate::trust::{self, of_machine, own, places};

/// Does what was asked about the trust in libraries.
pub(crate) fn trust(command: &Trust) -> Result<ExitCode, Problem> {
    match command {
        Trust::Add(arguments) => add(arguments),
        Trust::Remove(arguments) => remove(arguments),
        Trust::List(arguments) => list(arguments.json),
        Trust::Check(arguments) => check(&arguments.environment, arguments.json),
        Trust::Key => {
            printer::page(&format!("{}\n", key()?.public()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The caller's own key.
fn key() -> Result<SigningKey, Problem> {
    Ok(SigningKey::load_or_make(&crate::files::config().join("trust-key"))?)
}

/// The list that is to be written.
fn place(machine: bool) -> Result<TrustPlace, Problem> {
    if !machine {
        return Ok(own());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::new(
            "the machine's trust list is not yours to write",
            "it is root's alone",
            "run it as root; without --machine it is your own list that is written",
        ));
    }
    // What others could have written is not added to.
    places()?;
    Ok(of_machine())
}

/// An entry that was added.
#[derive(Debug, Serialize)]
struct Added {
    id: String,
    library: String,
}

fn add(arguments: &TrustAdd) -> Result<ExitCode, Problem> {
    let now = SystemTime::now();
    let lasting = arguments.expires.as_deref().map_or(Ok(Lasting::forever()), |text| Lasting::parse(text, now))?;
    let libraries = libraries(arguments)?;
    let (place, key, by) = (place(arguments.machine)?, key()?, principal());
    let shown: Vec<String> = libraries.iter().map(ToString::to_string).collect();
    let vouched = libraries.into_iter().map(|library| Vouched {
        library,
        reason: arguments.reason.clone(),
        by: by.clone(),
        lasting,
    });
    let vouched: Vec<Vouched> = vouched.collect();
    place.admit(&by, &key.public())?;
    let ids = place.vouch(vouched, &key, now)?;
    let added: Vec<Added> = ids.into_iter().zip(shown).map(|(id, library)| Added { id, library }).collect();
    printer::page(&if arguments.json {
        printer::document(&added) + "\n"
    } else {
        added.iter().map(|added| format!("{} {}\n", added.id, text::shown(&added.library, 200))).collect()
    });
    remark_unless_it_counts(&place)?;
    Ok(ExitCode::SUCCESS)
}

/// Says so when the list that was written has no say on this machine.
fn remark_unless_it_counts(place: &TrustPlace) -> Result<(), Problem> {
    if !places()?.contains(place) {
        printer::remark(
            "stockade: this machine has a policy, so only its administrator's list counts\n  next: ask for an entry in /etc/stockade/trust",
        );
    }
    Ok(())
}

/// What is vouched for: as it is written, or as the lock of an environment has it.
fn libraries(arguments: &TrustAdd) -> Result<Vec<Library>, Problem> {
    let Some(reference) = &arguments.environment else {
        let parse = |text: &String| Ok(Library::parse(text, &arguments.hashes, arguments.index.as_deref())?);
        return arguments.libraries.iter().map(parse).collect();
    };
    let store = environment::store();
    let environment = store.environment(reference)?;
    // Somebody vouches for what was built, not for what a store may say by now.
    if !stockade_environments::verify(&store, &environment.digest)?.wrong.is_empty() {
        return Err(Problem::new(
            "the environment is not as it was built",
            "files of it or its lock have changed",
            format!("`stockade env verify {}` names them", text::quoted(reference, 100)),
        ));
    }
    let all = libraries_of(&environment)?;
    if arguments.libraries.is_empty() {
        return Ok(all);
    }
    arguments
        .libraries
        .iter()
        .map(|wanted| {
            let is_it = |library: &&Library| library.is_called(wanted);
            all.iter().find(is_it).cloned().ok_or_else(|| {
                Problem::new(
                    format!("{} is not in the environment", text::quoted(wanted, 100)),
                    "versions and hashes are taken from its lock",
                    format!("`stockade env show {}` lists what is in it", text::quoted(reference, 100)),
                )
            })
        })
        .collect()
}

fn remove(arguments: &TrustRemove) -> Result<ExitCode, Problem> {
    let (place, key, by) = (place(arguments.machine)?, key()?, principal());
    for id in &arguments.ids {
        place.revoke(id, &arguments.reason, &by, &key, SystemTime::now())?;
        printer::page(&format!("{}: taken back\n", text::shown(id, 100)));
    }
    Ok(ExitCode::SUCCESS)
}

/// One entry, for programs.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    library: String,
    files: Vec<String>,
    index: Option<String>,
    by: String,
    reason: String,
    added: u64,
    expires: Option<u64>,
    standing: String,
    list: String,
}

impl Row {
    fn of(entry: &Entry, place: &TrustPlace) -> Self {
        Self {
            id: entry.id.clone(),
            library: entry.library.to_string(),
            files: entry.library.hashes().map(ToOwned::to_owned).collect(),
            index: entry.library.index().map(ToOwned::to_owned),
            by: entry.by.clone(),
            reason: entry.reason.clone(),
            added: entry.added,
            expires: entry.expires,
            standing: match &entry.standing {
                Standing::Valid => "valid".to_owned(),
                Standing::Expired => "expired".to_owned(),
                Standing::Revoked { by, reason } => format!("taken back by {by}: {reason}"),
                Standing::UnknownKey => "unknown key".to_owned(),
            },
            list: place.list().to_string_lossy().into_owned(),
        }
    }
}

fn list(json: bool) -> Result<ExitCode, Problem> {
    let now = SystemTime::now();
    let mut rows = Vec::new();
    for place in places()? {
        rows.extend(place.read(now)?.entries().map(|entry| Row::of(entry, &place)));
    }
    if json {
        printer::page(&(printer::document(&rows) + "\n"));
    } else if rows.is_empty() {
        printer::page("nobody vouches for anything yet: `stockade env trust add --help` says how\n");
    } else {
        printer::page(&table(&rows, now));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Row], now: SystemTime) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let columns = printer::columns(std::io::stdout()).and_then(|columns| u16::try_from(columns).ok());
    table.set_width(columns.unwrap_or(120));
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(["id", "library", "files", "by", "until", "reason", "state"]);
    for row in rows {
        let library = text::shown(&row.library, 60);
        table.add_row([
            row.id.clone(),
            row.index.as_ref().map_or(library.clone(), |index| format!("{library} from {}", text::shown(index, 60))),
            if row.files.is_empty() { "any".to_owned() } else { row.files.len().to_string() },
            text::shown(&row.by, 40),
            row.expires.map_or_else(|| "taken back".to_owned(), |at| time::left(at, now)),
            text::shown(&row.reason, 80),
            text::shown(&row.standing, 80),
        ]);
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// Whether an environment is trusted, for programs.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    digest: &'a str,
    trusted: bool,
    doubts: &'a [Doubt],
}

fn check(reference: &str, json: bool) -> Result<ExitCode, Problem> {
    let environment = environment::store().environment(reference)?;
    let doubts = trust::doubts(&environment)?;
    let trusted = doubts.is_empty();
    printer::page(&if json {
        printer::document(&Checked { digest: &environment.digest, trusted, doubts: &doubts }) + "\n"
    } else {
        lines(&doubts, environment.packages.len())
    });
    Ok(if trusted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What `check` and `show` say of an environment.
pub(super) fn lines(doubts: &[Doubt], packages: usize) -> String {
    if doubts.is_empty() {
        return format!("trusted: all of {}\n", text::count(packages, "package", "packages"));
    }
    let mut lines = format!("not trusted: {} of {packages} without an entry that counts\n", doubts.len());
    for doubt in doubts {
        lines += &format!("  {}: {}\n", text::shown(&doubt.library, 100), text::shown(&doubt.why, 300));
    }
    lines
}
