//! `stockade admin` and `stockade node log`: looking after a node from a command line.
//!
//! `commands.rs` is the table of all commands, `words.rs` reads a command line by it, `nodes.rs` and `remote.rs` ask
//! nodes, `logins.rs` keeps tokens for that, `table.rs` prints answers. What a command does is the node's:
//! `crate::security`.

pub mod commands;
mod help;
mod here;
mod into;
mod log;
mod logins;
mod nodes;
pub(crate) mod parameters;
mod remote;
pub mod table;
mod words;

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use crate::refusal::{Kind, Refusal};

use commands::{Command, HERE};
use nodes::{Nodes, Place};
use table::Table;
use words::{Asked, Format, Given, Globals};

pub use log::log;
pub use logins::{login, logout};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use words::read as read_words;

/// Largest text of a parameter.
const VALUE_BYTES_MAX: u64 = 8 << 20;
/// Longest line that is a secret.
const SECRET_BYTES_MAX: u64 = 4096;
/// Largest file of authorities.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

/// What the words ask for.
#[derive(Debug)]
pub enum Work {
    /// It is done; this is the exit status.
    Done(ExitCode),
    /// The flags of a support bundle, for the reader of flags.
    Bundle(Vec<String>),
}

/// Does what the words after `stockade admin` ask for, and says how that went.
#[must_use]
pub fn admin(words: &[String]) -> Work {
    let done = match words::read(words) {
        Ok(Asked::Bundle(flags)) => return Work::Bundle(flags),
        Ok(Asked::Help { target, format }) => {
            print(&help::help(target.as_deref(), format));
            Ok(ExitCode::SUCCESS)
        }
        Ok(Asked::Command { globals, command, parameters }) if HERE.contains(&command.target) => {
            here::done(&globals, command, parameters).or_else(|refusal| {
                tell(&refusal);
                Ok(ExitCode::from(status_of(refusal.kind)))
            })
        }
        Ok(Asked::Command { globals, command, parameters }) => everywhere(&globals, command, parameters),
        Err(refusal) => {
            tell(&refusal);
            return Work::Done(ExitCode::from(USAGE));
        }
    };
    Work::Done(done.unwrap_or_else(|refusal| {
        tell(&refusal);
        ExitCode::from(USAGE)
    }))
}

/// What was asked for makes no sense.
const USAGE: u8 = 2;
/// Done on some nodes, and not on others.
const PARTLY: u8 = 6;

/// The exit status of a refusal.
const fn status_of(kind: Kind) -> u8 {
    match kind {
        Kind::Unauthenticated => 3,
        Kind::Denied => 4,
        Kind::Unavailable | Kind::Misdirected => 5,
        Kind::Invalid
        | Kind::Missing
        | Kind::Conflict
        | Kind::TooLarge
        | Kind::TooSlow
        | Kind::TooMany
        | Kind::NotAllowed
        | Kind::Full
        | Kind::Failed => 1,
    }
}

/// A node's answer, with its name.
#[derive(Debug, serde::Deserialize)]
struct Answer {
    service: String,
    #[serde(flatten)]
    table: Table,
}

/// Asks every node that is named.
fn everywhere(
    globals: &Globals,
    command: &Command,
    mut parameters: BTreeMap<&'static str, Given>,
) -> Result<ExitCode, Refusal> {
    // Of several secrets on standard input, that of the caller is the first.
    let nodes = Nodes::of(globals)?;
    let into = into::take(nodes.places.len(), &mut parameters)?;
    let body = serde_json::json!({ "parameters": values(parameters)?, "service": globals.service }).to_string();
    let asked = |place: &Place| one(&nodes, place, command, &body);
    // Side by side: one that does not answer holds up no other.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = nodes.places.iter().map(|place| scope.spawn(move || asked(place))).collect();
        let lost = || Refusal::failed("a node was not asked", "a thread of ours failed");
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(lost()))).collect()
    });
    match (into, answers.as_slice()) {
        (Some(into), [Ok(answer)]) => into.write(&answer.table)?,
        (into, _) => {
            if let Some(into) = into {
                into.give_up();
            }
            show(globals, &nodes.places, &answers);
        }
    }
    let mut failures = answers.iter().filter_map(|answer| answer.as_ref().err());
    Ok(match failures.next() {
        None => ExitCode::SUCCESS,
        Some(_) if globals.ignore_errors => ExitCode::SUCCESS,
        Some(_) if answers.iter().any(Result::is_ok) => ExitCode::from(PARTLY),
        Some(refusal) => ExitCode::from(status_of(refusal.kind)),
    })
}

/// Shows what was done without asking a node.
fn show_one(globals: &Globals, service: String, table: Table) {
    show(globals, &[], &[Ok(Answer { service, table })]);
}

fn show(globals: &Globals, places: &[Place], answers: &[Result<Answer, Refusal>]) {
    let mut out = String::new();
    let mut documents = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Ok(answer) => {
                let table = answer.table.clone().only(&globals.columns);
                for note in &table.notes {
                    say(&format!(
                        "[{}] note: {}\n",
                        stockade_core::text::shown(&answer.service, 200),
                        stockade_core::text::shown(note, 600)
                    ));
                }
                match globals.format {
                    Format::Json => documents.push(as_json(&answer.service, &table)),
                    Format::Text | Format::Csv => out += &table.print(&answer.service, globals.format, out.is_empty()),
                }
                if globals.format == Format::Text && !out.is_empty() && answers.len() > 1 {
                    out.push('\n');
                }
            }
            Err(refusal) => match places.get(number).filter(|_| answers.len() > 1) {
                Some(place) => tell_of(place, refusal),
                None => tell(refusal),
            },
        }
    }
    if globals.format == Format::Json {
        out = serde_json::to_string_pretty(&documents).unwrap_or_default() + "\n";
    }
    print(&out);
}

/// Rows as objects, by the names of the columns.
fn as_json(service: &str, table: &Table) -> serde_json::Value {
    let row = |cells: &Vec<String>| {
        let pairs = table.columns.iter().zip(cells).map(|(name, cell)| (name.clone(), cell.clone().into()));
        serde_json::Value::Object(pairs.collect())
    };
    let rows: Vec<_> = table.rows.iter().map(row).collect();
    serde_json::json!({ "service": service, "rows": rows, "notes": table.notes })
}

/// Asks one node.
fn one(nodes: &Nodes, place: &Place, command: &Command, body: &str) -> Result<Answer, Refusal> {
    let path = format!("/v1/admin/commands/{}/{}", command.target, command.command);
    let text = nodes.post(place, &path, body)?;
    serde_json::from_str(&text).map_err(|error| Refusal::failed("the node's answer cannot be read", error))
}

/// The parameters with what is in the files that they name.
fn values(parameters: BTreeMap<&'static str, Given>) -> Result<BTreeMap<&'static str, String>, Refusal> {
    parameters.into_iter().map(|(name, given)| Ok((name, value(given)?))).collect()
}

fn value(given: Given) -> Result<String, Refusal> {
    match given {
        Given::Text(value) => Ok(value),
        Given::File(path) => file(&path, VALUE_BYTES_MAX),
        // Taken out before: its name is nobody else's.
        Given::Into(_) => Ok(String::new()),
        Given::SecretFile(path) => file(&path, SECRET_BYTES_MAX).map(secret),
        Given::Stdin => {
            let mut line = String::new();
            let failed =
                |error: std::io::Error| Refusal::failed("standard input cannot be read", crate::system_text(&error));
            std::io::stdin().lock().take(SECRET_BYTES_MAX).read_line(&mut line).map_err(failed)?;
            Ok(secret(line))
        }
    }
}

/// Without the line's end.
fn secret(mut line: String) -> String {
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    line
}

fn file(path: &str, most: u64) -> Result<String, Refusal> {
    let shown = stockade_core::text::shown(path, 300);
    let failed =
        |why: String| Refusal::invalid(format!("{shown} cannot be read"), why, "name a file of text that you may read");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(crate::system_text(&error)))?;
    file.take(most + 1).read_to_string(&mut text).map_err(|error| failed(crate::system_text(&error)))?;
    if text.len() as u64 > most {
        return Err(failed(format!("it is larger than {}", stockade_core::text::bytes(most))));
    }
    Ok(text)
}

/// A reader that went away is no error.
fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn tell(refusal: &Refusal) {
    say(&format!("error: {refusal}\n"));
}

/// Of several nodes, which one.
fn tell_of(place: &Place, refusal: &Refusal) {
    tell(&Refusal { what: format!("{}: {}", place.shown(), refusal.what), ..refusal.clone() });
}
