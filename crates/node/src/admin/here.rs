//! Commands that no node is asked for: what has to do with secrets, and the way back into a node that nobody can
//! administer any more. They are for who owns the node's folder.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Gid, Uid};
use stockade_identity::local::{Costs, Password};

use super::commands::Command;
use super::table::Table;
use super::words::{Given, Globals};
use super::{print, show_one, value, values};
use crate::refusal::{Kind, Refusal};
use crate::secrets::Key;
use crate::security::{self, rescue};
use crate::settings;
use crate::user::{self, Service};

/// Does such a command.
pub(super) fn done(
    globals: &Globals,
    command: &Command,
    mut parameters: BTreeMap<&'static str, Given>,
) -> Result<ExitCode, Refusal> {
    match (command.target, command.command) {
        ("secret", "create") => create(globals),
        ("secret", "encrypt") => encrypt(globals, parameters.remove("secret")),
        ("secret", _) => hash(parameters),
        (_, name) => recover(globals, name, values(parameters)?.get("realm").map(String::as_str)),
    }
}

/// What a password hashes to.
fn hash(parameters: BTreeMap<&'static str, Given>) -> Result<ExitCode, Refusal> {
    let clear = values(parameters)?.remove("password").unwrap_or_default();
    let refused = |why: String, next: &str| Refusal::invalid("the password cannot be used", why, next);
    let password = Password::new(clear).map_err(|bad| refused(bad.to_string(), bad.next()))?;
    let stored = Costs::default().hash(&password).map_err(|bad| refused(bad.to_string(), bad.next()))?;
    print(&format!("{stored}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Makes the node's key.
fn create(globals: &Globals) -> Result<ExitCode, Refusal> {
    let folder = own_folder(globals)?;
    let path = Key::make(&folder)?;
    let table = Table::of([("Key", path.to_string_lossy().into_owned()), ("State", "created".to_owned())]);
    show_one(globals, service(globals, &folder)?, table);
    Ok(ExitCode::SUCCESS)
}

/// Prints what configuration may have in the place of a secret.
fn encrypt(globals: &Globals, given: Option<Given>) -> Result<ExitCode, Refusal> {
    // Before this process becomes somebody who may not read it.
    let secret = zeroize::Zeroizing::new(given.map_or_else(|| Ok(String::new()), value)?);
    let folder = own_folder(globals)?;
    let service = known_service(globals, &folder)?.ok_or_else(|| {
        let why = "what is encrypted is for a node of one name, and nothing tells how this one was started last";
        Refusal::invalid("the secret cannot be encrypted", why, "name the node: --servicename=NODE.CLUSTER")
    })?;
    if secret.is_empty() || secret.len() > 1_024 || secret.contains(char::is_control) {
        let why = "it is empty, longer than 1024 bytes, or more than one line";
        return Err(Refusal::invalid("the secret cannot be encrypted", why, "give one line"));
    }
    let key = Key::of(&folder)?.ok_or_else(|| {
        let next = "make one: stockade admin create secret, and start the node anew";
        Refusal::new(Kind::Missing, "the secret cannot be encrypted", "the node has no key", next)
    })?;
    print(&format!("encrypted:{}\n", key.encrypt(&service, &secret)?));
    Ok(ExitCode::SUCCESS)
}

/// Shows or resets who may log in, of a node that is not there.
fn recover(globals: &Globals, command: &str, realm: Option<&str>) -> Result<ExitCode, Refusal> {
    let who = rustix::process::getuid().as_raw();
    let folder = own_folder(globals)?;
    let service = service(globals, &folder)?;
    let table = rescue::recover(&folder, who, command, realm)?;
    show_one(globals, service, table);
    Ok(ExitCode::SUCCESS)
}

/// The node's folder. Who is not its owner has nothing to do here; root becomes its owner, for what is made to be his.
fn own_folder(globals: &Globals) -> Result<PathBuf, Refusal> {
    let named = settings::folder(globals.folder.as_ref().map(PathBuf::from).as_ref());
    let folder = named.ok_or_else(|| {
        Refusal::invalid("the node has no folder", "none is named", "name it: stockade admin --folder=DIR …")
    })?;
    let shown = stockade_core::text::shown(&folder.to_string_lossy(), 300);
    let about = std::fs::metadata(&folder).map_err(|error| {
        let next = "name the folder of a node: stockade admin --folder=DIR …";
        Refusal::new(Kind::Missing, format!("{shown} cannot be used"), crate::system_text(&error), next)
    })?;
    let (own, owner) = (rustix::process::geteuid(), Uid::from_raw(about.uid()));
    if own == owner {
        return Ok(folder);
    }
    if !own.is_root() {
        return Err(Refusal::new(
            Kind::Denied,
            "this is not for you",
            format!("{shown} is another user's"),
            "do it as the user that the node runs as, or as root",
        ));
    }
    user::become_user(&Service { uid: owner, gid: Gid::from_raw(about.gid()), name: None })?;
    Ok(folder)
}

/// The name of the node of a folder, for whoever reads it: where it is not known, the usual one.
fn service(globals: &Globals, folder: &Path) -> Result<String, Refusal> {
    Ok(known_service(globals, folder)?.unwrap_or_else(security::usual_service))
}

/// The name of the node of a folder: as it is said, or as the node was started last, whose name is the usual one where
/// it was given none.
fn known_service(globals: &Globals, folder: &Path) -> Result<Option<String>, Refusal> {
    if let Some(named) = &globals.service {
        return security::checked_service(named).map(Some);
    }
    let noted = std::fs::read_to_string(folder.join(settings::NOTE)).ok();
    let started = noted.and_then(|text| serde_json::from_str::<Noted>(&text).ok());
    Ok(started.map(|started| started.service_name.unwrap_or_else(security::usual_service)))
}

/// What is used of the note that a node makes when it is started.
#[derive(serde::Deserialize)]
struct Noted {
    service_name: Option<String>,
}
