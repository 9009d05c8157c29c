//! Which package index this machine is configured for: variables and files of uv, then of pip.
//! Reads a few small files and starts nothing, so that finding an environment stays cheap.
//! Further indexes (`extra-index-url`) are not used: they invite one package to pose as another.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{self, Detail, Error};
use crate::machine::Machine;
use crate::quote::quote_path;
use crate::url::HttpsUrl;

/// The index that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// None: the one built into the tools.
    Default,
    /// This one.
    Named(HttpsUrl),
}

impl Choice {
    /// What the key of a request says of the index.
    pub(crate) fn token(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::Named(url) => url.as_str(),
        }
    }
}

/// The first index that is configured, uv's before pip's, variables before files.
pub(crate) fn choose(machine: &Machine) -> Result<Choice, Error> {
    let Some((url, origin)) = configured(machine)? else {
        return Ok(Choice::Default);
    };
    HttpsUrl::parse(url.trim()).map(Choice::Named).map_err(|why| {
        // The URL itself is not shown: it may hold a password.
        Error::Index(Detail::new(
            format!("the package index named by {origin} cannot be used"),
            why,
            "name an index as `https://host/path`, for example with UV_DEFAULT_INDEX",
        ))
    })
}

/// The URL that is configured, and where.
fn configured(machine: &Machine) -> Result<Option<(String, String)>, Error> {
    let variable = |name: &str| machine.var(name).map(|url| (url.to_owned(), format!("the variable {name}")));
    if let Some(found) = variable("UV_DEFAULT_INDEX").or_else(|| variable("UV_INDEX_URL")) {
        return Ok(Some(found));
    }
    if let Some(found) = from_files(uv_files(machine), of_uv_toml)? {
        return Ok(Some(found));
    }
    match variable("PIP_INDEX_URL") {
        Some(found) => Ok(Some(found)),
        None => from_files(pip_files(machine), |text| Ok(of_pip_conf(text))),
    }
}

/// The first URL that one of the files names.
///
/// A file that is there and cannot be used is not passed over: it may name a private index, and
/// packages of the same names from the default one would be somebody else's.
fn from_files(
    paths: Vec<PathBuf>,
    read: fn(&str) -> Result<Option<String>, &'static str>,
) -> Result<Option<(String, String)>, Error> {
    for path in paths {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(cause) => return Err(unusable(&path, &error::said(&cause))),
        };
        if let Some(url) = read(&text).map_err(|why| unusable(&path, why))? {
            return Ok(Some((url, quote_path(&path))));
        }
    }
    Ok(None)
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::Index(Detail::new(
        format!("the configuration file {} cannot be used", quote_path(path)),
        why,
        "repair it, or name a package index with UV_DEFAULT_INDEX",
    ))
}

fn uv_files(machine: &Machine) -> Vec<PathBuf> {
    let named = machine.var("UV_CONFIG_FILE").map(PathBuf::from);
    let user = machine.user_config().map(|folder| folder.join("uv/uv.toml"));
    named.into_iter().chain(user).chain([machine.root.join("etc/uv/uv.toml")]).collect()
}

fn pip_files(machine: &Machine) -> Vec<PathBuf> {
    let named = machine.var("PIP_CONFIG_FILE").map(PathBuf::from);
    let user = machine.user_config().map(|folder| folder.join("pip/pip.conf"));
    let old = machine.var("HOME").map(|home| PathBuf::from(home).join(".pip/pip.conf"));
    named.into_iter().chain(user).chain(old).chain([machine.root.join("etc/pip.conf")]).collect()
}

/// The default index of a `uv.toml`, if it names one.
fn of_uv_toml(text: &str) -> Result<Option<String>, &'static str> {
    let table: toml::Table = toml::from_str(text).map_err(|_| "it is not TOML")?;
    let is_default = |index: &&toml::Value| index.get("default").and_then(toml::Value::as_bool) == Some(true);
    let indexes = table.get("index").and_then(toml::Value::as_array);
    let url = indexes
        .and_then(|list| list.iter().find(is_default))
        .and_then(|index| index.get("url"))
        .or_else(|| table.get("default-index"))
        .or_else(|| table.get("index-url"))
        .or_else(|| table.get("pip").and_then(|pip| pip.get("index-url")))
        .and_then(toml::Value::as_str);
    Ok(url.map(str::to_owned))
}

/// `index-url` of the sections of a `pip.conf` that hold for installing.
fn of_pip_conf(text: &str) -> Option<String> {
    let (mut section, mut found) = (String::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
        } else if let Some((key, value)) = line.split_once(['=', ':']) {
            let key = key.trim().replace('_', "-");
            if key == "index-url" && matches!(section.as_str(), "global" | "install") {
                found = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::machine;

    fn chosen(files: &[(&str, &str)], vars: &[(&str, &str)]) -> String {
        let (_root, machine) = machine(files, vars);
        choose(&machine).unwrap().token().to_owned()
    }

    #[test]
    fn the_first_configured_index_is_taken() {
        let pip = (
            "etc/pip.conf",
            "[global]\ncert = /x\nindex-url = https://pip.invalid/simple # no\n[list]\nindex-url=https://x.invalid",
        );
        let pip = (pip.0, &*pip.1.replace(" # no", ""));
        let uv = (
            "home/.config/uv/uv.toml",
            "[[index]]\nurl = 'https://extra.invalid'\n[[index]]\nurl = 'https://uv.invalid/simple'\ndefault = true",
        );
        assert_eq!(chosen(&[], &[]), "default");
        assert_eq!(chosen(&[pip], &[]), "https://pip.invalid/simple");
        assert_eq!(chosen(&[pip, uv], &[]), "https://uv.invalid/simple");
        assert_eq!(chosen(&[pip], &[("PIP_INDEX_URL", "https://var.invalid/")]), "https://var.invalid/");
        assert_eq!(
            chosen(&[uv], &[("UV_INDEX_URL", "https://b.invalid"), ("UV_DEFAULT_INDEX", "https://a.invalid")]),
            "https://a.invalid"
        );
        assert_eq!(chosen(&[("etc/uv/uv.toml", "[pip]\nindex-url = 'https://c.invalid'")], &[]), "https://c.invalid");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_never_taken_for_none() {
        for (file, text) in [
            ("home/.config/uv/uv.toml", &b"[[index]\nurl = 'https://private.invalid'"[..]),
            ("etc/uv/uv.toml", b"\xff"),
            ("etc/pip.conf", b"[global]\nindex-url = \xff"),
        ] {
            let (root, machine) = machine(&[(file, "")], &[]);
            fs::write(root.path().join(file), text).unwrap();
            let error = choose(&machine).unwrap_err();
            assert!(error.to_string().ends_with("cannot be used"), "{error}");
            assert!(error.to_string().contains(file) && !error.why().contains("private"), "{error}: {}", error.why());
        }
        let (root, machine) = machine(&[], &[]);
        fs::create_dir_all(root.path().join("etc/pip.conf")).unwrap();
        assert_eq!(choose(&machine).unwrap_err().why(), "is a directory");
    }

    #[test]
    fn an_index_that_cannot_be_used_is_refused_without_showing_its_password() {
        for url in ["https://user:secret@a.invalid/", "http://a.invalid/secret", "https://a.invalid:8080/secret"] {
            let (_root, machine) = machine(&[], &[("UV_DEFAULT_INDEX", url)]);
            let error = choose(&machine).unwrap_err();
            assert_eq!(error.to_string(), "the package index named by the variable UV_DEFAULT_INDEX cannot be used");
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
