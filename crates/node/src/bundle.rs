//! `stockade admin support-bundle`: one archive for a report of a bug. What looks like a secret is taken out of every
//! part; what people ran, put in and got out is not in it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::redact::Redactor;
use crate::refusal::Refusal;
use crate::settings::{self, Doctor, SupportBundle};
use crate::{doctor, log, plain, status, user};

/// Most of one part; of a log its end.
const PART_BYTES_MAX: u64 = 2 << 20;
/// Most policies of a node that are in it.
const POLICIES_MAX: usize = 20;
const UNITS: &str = "/etc/systemd/system";

/// Makes the archive.
///
/// # Errors
/// [`Refusal`] when it cannot be written. What cannot be had is told in it instead.
pub fn bundle(asked: &SupportBundle) -> Result<(), Refusal> {
    let redactor = Redactor::new()?;
    let failed = |error: std::io::Error| {
        Refusal::invalid(
            format!("{} cannot be written", stockade_core::text::shown(&asked.out.to_string_lossy(), 300)),
            crate::system_text(&error),
            "name a file that is not there yet, with --out FILE",
        )
    };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&asked.out).map_err(failed)?;
    let mut archive = tar::Builder::new(file);
    let mut missing = String::new();
    let folder = settings::folder(asked.folder.as_ref());
    let mut parts = of_machine(asked, folder.as_ref());
    match folder.ok_or_else(|| "no folder is named".to_owned()).and_then(|folder| as_owner(&folder).map(|()| folder)) {
        Ok(folder) => parts.extend(of_node(asked, &folder)),
        Err(why) => parts.push(("settings.json".to_owned(), Err(why))),
    }
    for (name, part) in parts {
        match part {
            Ok(text) => append(&mut archive, &name, &redactor.redact(&text)).map_err(failed)?,
            Err(why) => missing += &format!("{name}: {why}\n"),
        }
    }
    append(&mut archive, "missing.txt", &redactor.redact(&missing)).map_err(failed)?;
    archive.into_inner().and_then(|file| file.sync_all()).map_err(failed)?;
    let said = format!(
        "wrote {}\nWhat looks like a secret was taken out. Names of people and runs are in it: read it before you send it.\n",
        asked.out.display()
    );
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(said.as_bytes()));
    Ok(())
}

type Part = (String, Result<String, String>);

/// What whoever asks for the archive names, and what this program knows by itself: read with all rights there are.
fn of_machine(asked: &SupportBundle, folder: Option<&PathBuf>) -> Vec<Part> {
    let mut parts = vec![
        ("version.txt".to_owned(), Ok(concat!("stockade-node ", env!("CARGO_PKG_VERSION"), "\n").to_owned())),
        ("machine/version".to_owned(), file(Path::new("/proc/version"))),
        ("machine/os-release".to_owned(), file(Path::new("/etc/os-release"))),
        ("machine/meminfo".to_owned(), file(Path::new("/proc/meminfo"))),
        ("doctor.json".to_owned(), said_by_doctor()),
        ("doctor-node.json".to_owned(), Ok(examined(folder))),
    ];
    parts.extend(asked.socket.iter().flat_map(|socket| answers(socket)));
    parts.extend(units(asked.units.as_deref().unwrap_or(Path::new(UNITS))));
    parts
}

/// What the node's folder names. Whoever took the node over writes there, so that nothing is read for it that its owner
/// may not read.
fn of_node(asked: &SupportBundle, folder: &Path) -> Vec<Part> {
    let text = file(&folder.join(settings::NOTE));
    let settings: serde_json::Value =
        text.as_ref().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let named = |key: &str| settings.get(key).and_then(serde_json::Value::as_str).map(PathBuf::from);
    let mut parts = vec![("settings.json".to_owned(), text)];
    if asked.socket.is_none() {
        parts.extend(answers(&named("socket").unwrap_or_else(|| folder.join("node.sock"))));
    }
    if let Some(logs) = asked.log_dir.clone().or_else(|| named("log_dir")) {
        parts.extend(log::NAMES.map(|name| (format!("log/{name}"), file(&logs.join(name)))));
    }
    if let Some(properties) = named("properties") {
        parts.push(("custom.properties".to_owned(), file(&properties)));
    }
    let policies = settings.get("policies").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    for (number, policy) in policies.iter().filter_map(serde_json::Value::as_str).take(POLICIES_MAX).enumerate() {
        parts.push((format!("policy/{number}.conf"), file(Path::new(policy))));
    }
    parts
}

/// Becomes the owner of the node's folder for good, if this is root.
fn as_owner(folder: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let uid = std::fs::metadata(folder).map_err(|error| unread(folder, &error))?.uid().to_string();
    let service = user::find(Some(&uid)).and_then(|service| user::settle(&service));
    service.map_err(|refusal| format!("{}: its owner is {uid}; {}, {}", folder.display(), refusal.what, refusal.why))
}

fn units(folder: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    for unit in ["stockade-node.service", "stockade-node.socket"] {
        parts.push((format!("unit/{unit}"), file(&folder.join(unit))));
        let drop_ins = std::fs::read_dir(folder.join(format!("{unit}.d"))).into_iter().flatten().flatten();
        for entry in drop_ins.take(100) {
            let name = entry.file_name().to_string_lossy().replace('/', "_");
            parts.push((format!("unit/{unit}.d/{name}"), file(&entry.path())));
        }
    }
    parts
}

/// The end of a file, from the beginning of a line on.
fn file(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| unread(path, &error);
    let mut file = plain::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let skipped = length.saturating_sub(PART_BYTES_MAX);
    if skipped > 0 {
        file.seek(SeekFrom::Start(skipped)).map_err(failed)?;
    }
    let mut bytes = Vec::new();
    file.take(PART_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(if skipped > 0 { whole_lines(&text).to_owned() } else { text })
}

fn unread(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {}", path.display(), crate::system_text(error))
}

/// Without the rest of what began before: of a line, and of a key, which could not be told from other text any more.
fn whole_lines(text: &str) -> &str {
    let text = text.split_once('\n').map_or("", |(_, rest)| rest);
    match (text.find("-----END "), text.find("-----BEGIN ")) {
        (Some(end), begin) if begin.is_none_or(|begin| end < begin) => {
            text.get(end..).and_then(|rest| rest.split_once('\n')).map_or("", |(_, rest)| rest)
        }
        _ => text,
    }
}

fn said_by_doctor() -> Result<String, String> {
    let program = std::env::current_exe().map(|program| program.with_file_name("stockade"));
    let ran =
        program.and_then(|program| Command::new(program).args(["doctor", "--json"]).stdin(Stdio::null()).output());
    ran.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).map_err(|error| crate::system_text(&error))
}

fn examined(folder: Option<&PathBuf>) -> String {
    let folder = folder.cloned().unwrap_or_else(|| "/var/lib/stockade".into());
    let owner = std::fs::metadata(&folder).ok().and_then(|status| user::name_of(status.uid()));
    let user = owner.unwrap_or_else(|| "stockade".to_owned());
    let asked = Doctor { user, folder, json: true, root: "/".into() };
    format!("{}\n", doctor::document(&doctor::examine(&asked)))
}

fn answers(socket: &Path) -> [Part; 2] {
    [("metrics.txt", "/metrics"), ("readyz.txt", "/readyz")].map(|(name, path)| (name.to_owned(), asked(socket, path)))
}

/// By a process of its own: one that was root may not be looked at by others of its user, and the node hears its own
/// user only where it can see in which user namespace he is.
fn asked(socket: &Path, path: &str) -> Result<String, String> {
    let program = std::env::current_exe();
    let ran = program.and_then(|program| {
        Command::new(program).arg("internal-ask").arg(socket).arg(path).stdin(Stdio::null()).output()
    });
    let ran = ran.map_err(|error| unread(socket, &error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr).trim_end().to_owned()) }
}

/// What a node answers, for a process that asks it for another one.
///
/// # Errors
/// [`Refusal`] when none does.
pub fn ask(socket: &Path, path: &str) -> Result<(), Refusal> {
    let (_, body) = status::ask(socket, "GET", path, None).map_err(|error| status::nobody(socket, &error))?;
    // A reader that went away is no error.
    drop(std::io::stdout().write_all(body.as_bytes()));
    Ok(())
}

fn append(archive: &mut tar::Builder<std::fs::File>, name: &str, text: &str) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len().try_into().unwrap_or(u64::MAX));
    header.set_mode(0o600);
    archive.append_data(&mut header, Path::new("support-bundle").join(name), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_line_or_key_that_is_cut_off_is_not_in_it() {
        assert_eq!(whole_lines("cret=1\nnext\n"), "next\n");
        assert_eq!(whole_lines("x\nc2VjcmV0\n-----END PRIVATE KEY-----\nnext\n"), "next\n");
        assert_eq!(whole_lines("x\n-----BEGIN A-----\n-----END A-----\n"), "-----BEGIN A-----\n-----END A-----\n");
        assert_eq!(whole_lines("no end"), "");
    }

    #[test]
    fn of_a_long_file_the_end_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let line = "0123456789abcde\n";
        std::fs::write(&path, line.repeat(200_000) + "the last\n").unwrap();
        let text = file(&path).unwrap();
        assert!(text.len() <= 2 << 20 && text.starts_with(line) && text.ends_with("the last\n"));
    }
}
