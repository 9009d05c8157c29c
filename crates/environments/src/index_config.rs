//! Which package index this machine is configured for: variables and files of uv, then of pip.
//! Reads a few small files and starts nothing, so that finding an environment stays cheap.
//! Further indexes (`extra-index-url`) are not used: they invite one package to pose as another.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Detail, Error};
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
    let variable = |name: &str| machine.var(name).map(|url| (url.to_owned(), format!("the variable {name}")));
    let found = variable("UV_DEFAULT_INDEX")
        .or_else(|| variable("UV_INDEX_URL"))
        .or_else(|| uv_files(machine).into_iter().find_map(|path| from_file(&path, of_uv_toml)))
        .or_else(|| variable("PIP_INDEX_URL"))
        .or_else(|| pip_files(machine).into_iter().find_map(|path| from_file(&path, of_pip_conf)));
    let Some((url, origin)) = found else {
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

fn from_file(path: &Path, read: fn(&str) -> Option<String>) -> Option<(String, String)> {
    let url = read(&fs::read_to_string(path).ok()?)?;
    Some((url, quote_path(path)))
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

/// The default index of a `uv.toml`.
fn of_uv_toml(text: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let is_default = |index: &&toml::Value| index.get("default").and_then(toml::Value::as_bool) == Some(true);
    let indexes = table.get("index").and_then(toml::Value::as_array);
    indexes
        .and_then(|list| list.iter().find(is_default))
        .and_then(|index| index.get("url"))
        .or_else(|| table.get("default-index"))
        .or_else(|| table.get("index-url"))
        .or_else(|| table.get("pip").and_then(|pip| pip.get("index-url")))
        .and_then(toml::Value::as_str)
        .map(str::to_owned)
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

    fn machine(files: &[(&str, &str)], vars: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut machine = Machine { root: root.path().to_path_buf(), ..Machine::default() };
        machine.vars.insert("HOME".into(), root.path().join("home").to_string_lossy().into_owned());
        machine.vars.extend(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        (root, machine)
    }

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
    fn an_index_that_cannot_be_used_is_refused_without_showing_its_password() {
        for url in ["https://user:secret@a.invalid/", "http://a.invalid/secret", "https://a.invalid:8080/secret"] {
            let (_root, machine) = machine(&[], &[("UV_DEFAULT_INDEX", url)]);
            let error = choose(&machine).unwrap_err();
            assert_eq!(error.to_string(), "the package index named by the variable UV_DEFAULT_INDEX cannot be used");
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
