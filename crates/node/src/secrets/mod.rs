//! Secrets that configuration names: encrypted with the node's own key, in files of one folder, in variables of one
//! prefix. Everything is taken before the process is confined; a secret is opened when what names it is put in force.
//!
//! Nothing here is ever printed, logged, put on record or sent.

mod folder;
mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use stockade_config::security::Secret;
use zeroize::Zeroizing;

use crate::refusal::{Kind, Refusal};
use folder::Folder;

pub(crate) use key::Key;

/// Variables that may hold a secret begin with this.
pub(crate) const VARIABLES: &str = "STOCKADE_SECRET_";
/// Longest secret.
const BYTES_MAX: usize = 1_024;

/// Where secrets come from.
#[derive(Default)]
pub(crate) struct Secrets {
    /// The name of the node, which what is encrypted is for.
    service: String,
    key: Option<Key>,
    folder: Option<Folder>,
    variables: BTreeMap<String, Zeroizing<String>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Takes what there is for the node of this name and folder.
    ///
    /// # Errors
    /// [`Refusal`] when there is a key that others could know, or the named folder is none.
    pub(crate) fn take(service: &str, folder: &Path, named: Option<&Path>) -> Result<Self, Refusal> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(VARIABLES))?;
            Some((name, Zeroizing::new(value.into_string().ok()?)))
        });
        Ok(Self {
            service: service.to_owned(),
            key: Key::of(folder)?,
            folder: named.map(|named| Folder::open(named, folder)).transpose()?,
            variables: variables.collect(),
        })
    }

    /// The folder of secrets, which the process may go on reading.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(Folder::path)
    }

    /// The secret itself.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot be had; it never shows anything of it.
    pub(crate) fn open(&self, secret: &Secret) -> Result<Zeroizing<String>, Refusal> {
        let text = match secret {
            Secret::Clear(text) => Zeroizing::new(text.clone()),
            Secret::Hash(_) => return Err(refused("it is a hash", "write one that can be opened")),
            Secret::Encrypted(text) => self.decrypted(text)?,
            Secret::Variable(name) => self.variable(name)?,
            Secret::File(path) => self.file(path)?,
        };
        if text.is_empty() || text.len() > BYTES_MAX || text.contains(char::is_control) {
            let why = format!("it is empty, longer than {BYTES_MAX} bytes, or more than one line");
            return Err(refused(&why, "write one line there"));
        }
        Ok(text)
    }

    fn decrypted(&self, text: &str) -> Result<Zeroizing<String>, Refusal> {
        let Some(key) = &self.key else {
            let next = "make one with stockade admin create secret, encrypt again, and start the node anew";
            return Err(refused("it is encrypted, and the node had no key when it was started", next));
        };
        key.decrypt(&self.service, text).ok_or_else(|| {
            let why = "it was not encrypted with the node's key and for its name, or was changed";
            refused(why, "encrypt it again: stockade admin encrypt secret --secret-stdin")
        })
    }

    fn variable(&self, name: &str) -> Result<Zeroizing<String>, Refusal> {
        let shown = stockade_core::text::shown(name, 128);
        if !name.starts_with(VARIABLES) {
            let why = format!("`{shown}` may be anything of the node's surroundings");
            return Err(refused(&why, &format!("name a variable that begins with {VARIABLES}")));
        }
        self.variables.get(name).cloned().ok_or_else(|| {
            let why = format!("the node was started without the variable `{shown}`");
            refused(&why, "set it where the node is started, and start it anew")
        })
    }

    fn file(&self, path: &str) -> Result<Zeroizing<String>, Refusal> {
        let shown = stockade_core::text::shown(path, 300);
        let Some(folder) = &self.folder else {
            let next = "start it with --secrets FOLDER, or write stockade admin encrypt secret";
            return Err(refused("the node reads no files of secrets: it was not told of a folder of them", next));
        };
        folder.read(Path::new(path)).map_err(|why| {
            refused(
                &format!("{shown}: {why}"),
                "put it into the folder of --secrets, of the node's user and for it alone",
            )
        })
    }
}

fn refused(why: &str, next: &str) -> Refusal {
    Refusal::new(Kind::Conflict, "a secret cannot be opened", why, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_of_the_prefix_are_secrets() {
        let variables = [("STOCKADE_SECRET_A", "one"), ("STOCKADE_SECRET_B", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned())));
        let secrets = Secrets { variables: variables.into(), ..Secrets::default() };
        let open = |name: &str| secrets.open(&Secret::Variable(name.to_owned()));
        assert_eq!(open("STOCKADE_SECRET_A").unwrap().as_str(), "one");
        for name in ["PATH", "HOME", "STOCKADE_SECRET_B", "STOCKADE_SECRET_C"] {
            assert!(open(name).is_err(), "{name}");
        }
        assert_eq!(format!("{secrets:?}"), "Secrets { .. }");
    }

    #[test]
    fn without_a_key_or_a_folder_nothing_is_opened() {
        let secrets = Secrets::default();
        for secret in [Secret::File("/etc/hostname".to_owned()), Secret::Encrypted("v1:AAAA".to_owned())] {
            assert!(!secrets.open(&secret).unwrap_err().next.is_empty());
        }
        assert!(secrets.open(&Secret::Hash("$argon2id$".to_owned())).is_err());
    }
}
