//! Names of environments: `names/NAME` holds a digest. A name is changed by one rename, and only by
//! who holds the environment, so that it never points to one that is being taken away.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::str::FromStr;

use crate::digest::is_sha256;
use crate::environment::Environment;
use crate::error::{self, Detail, Error};
use crate::quote::quote;
use crate::store::Store;
use crate::tree;

const NAME_BYTES_MAX: usize = 100;
const FOLDERS_MAX: usize = 8;
/// The fewest digits of a digest that stand for it: as many as are shown, and too many to be found by trying.
const PREFIX_DIGITS_MIN: usize = 12;

/// The name of an environment, such as `analysis` or `approved/analysis`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
                && !part.contains("..")
        };
        let parts = text.split('/').count();
        // A digest is never a name: what it stands for shall not depend on the store.
        if text.len() > NAME_BYTES_MAX || parts > FOLDERS_MAX || !text.split('/').all(plain) || is_sha256(text) {
            return Err(Error::Name(Detail::new(
                format!("{} is no name for an environment", quote(text)),
                "a name has up to 100 small letters, digits, `.`, `_`, `-` and `/`, begins with a letter or digit \
                 after each `/` too, and is no digest",
                "choose another name, such as `analysis` or `approved/analysis`",
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Store {
    /// The environment that a name, a digest, or the first digits of one stands for.
    ///
    /// # Errors
    /// When there is none, or several begin with these digits.
    pub fn environment(&self, reference: &str) -> Result<Environment, Error> {
        if let Ok(name) = reference.parse::<Name>() {
            while let Some(digest) = self.named(&name)? {
                if let Some(environment) = Environment::load(self, &digest)? {
                    return Ok(environment);
                }
                // Between reading and holding it another one may have got the name.
                if self.named(&name)?.as_ref() == Some(&digest) {
                    return Err(unknown(reference, "the environment it stood for is gone or damaged"));
                }
            }
        }
        let digest = self.digest_of(reference)?;
        Environment::load(self, &digest)?.ok_or_else(|| unknown(reference, "it is damaged, or was taken away just now"))
    }

    /// The digest that a name, a digest or the first digits of one stand for, whatever state it is in.
    ///
    /// # Errors
    /// When there is none, or several begin with these digits.
    pub fn digest(&self, reference: &str) -> Result<String, Error> {
        if let Ok(name) = reference.parse::<Name>()
            && let Some(digest) = self.named(&name)?
        {
            return Ok(digest);
        }
        self.digest_of(reference)
    }

    /// Whether an environment has this name.
    #[must_use]
    pub fn has_name(&self, name: &Name) -> bool {
        self.named(name).is_ok_and(|digest| digest.is_some())
    }

    /// The whole digest that a digest or its first digits stand for.
    fn digest_of(&self, reference: &str) -> Result<String, Error> {
        let is_prefix = (PREFIX_DIGITS_MIN..=64).contains(&reference.len())
            && reference.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let digests = if is_prefix { self.digests() } else { Vec::new() };
        let mut found = digests.into_iter().filter(|digest| digest.starts_with(reference));
        match (found.next(), found.next()) {
            (Some(digest), None) => Ok(digest),
            (Some(_), Some(_)) => Err(unknown(reference, "the digests of several environments begin with it")),
            (None, _) => Err(unknown(reference, "it is neither a name nor the digest of one in the store")),
        }
    }

    /// The digests of all environments, finished or damaged, in order.
    #[must_use]
    pub fn digests(&self) -> Vec<String> {
        let items = fs::read_dir(self.environments()).into_iter().flatten().flatten();
        let mut digests: Vec<String> = items.filter_map(|item| item.file_name().into_string().ok()).collect();
        digests.retain(|digest| is_sha256(digest));
        digests.sort();
        digests
    }

    /// The digest that has a name.
    pub(crate) fn named(&self, name: &Name) -> Result<Option<String>, Error> {
        let path = self.name(&name.0);
        match fs::read_to_string(&path) {
            Ok(digest) if is_sha256(&digest) => Ok(Some(digest)),
            Ok(_) => Err(unknown(&name.0, "what the store has under this name is no digest")),
            Err(cause)
                if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) =>
            {
                Ok(None)
            }
            Err(cause) => Err(error::store("read", &path, &cause)),
        }
    }

    /// Every name with its digest, in order.
    ///
    /// # Errors
    /// When the folder of names cannot be read.
    pub fn names(&self) -> Result<Vec<(Name, String)>, Error> {
        let mut found = Vec::new();
        self.names_below("", 0, &mut found)?;
        found.sort();
        Ok(found)
    }

    fn names_below(&self, below: &str, depth: usize, found: &mut Vec<(Name, String)>) -> Result<(), Error> {
        let folder = self.name(below);
        let items = match fs::read_dir(&folder) {
            Ok(items) => items,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(error::store("read the folder", &folder, &cause)),
        };
        for item in items {
            let item = item.map_err(|e| error::store("read the folder", &folder, &e))?;
            let Ok(file) = item.file_name().into_string() else { continue };
            let path = format!("{below}{file}");
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < FOLDERS_MAX {
                    self.names_below(&format!("{path}/"), depth + 1, found)?;
                }
            } else if let Ok(name) = path.parse::<Name>()
                && let Some(digest) = self.named(&name)?
            {
                found.push((name, digest));
            }
        }
        Ok(())
    }

    /// Lets a name stand for this environment, whatever it stood for before.
    ///
    /// # Errors
    /// When a part of the name is a name itself, or the store cannot be written.
    pub fn set_name(&self, name: &Name, environment: &Environment) -> Result<(), Error> {
        let path = self.name(&name.0);
        let folder = path.parent().unwrap_or(self.root());
        let taken = |cause: &std::io::Error| {
            matches!(
                cause.kind(),
                ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::DirectoryNotEmpty
            )
        };
        let write = || -> Result<(), (std::io::Error, &Path)> {
            fs::create_dir_all(folder).map_err(|e| (e, folder))?;
            let mut file = tempfile::Builder::new().prefix(".part-").tempfile_in(folder).map_err(|e| (e, folder))?;
            file.write_all(environment.digest.as_bytes()).map_err(|e| (e, &*path))?;
            file.as_file().sync_all().map_err(|e| (e, &*path))?;
            let plain = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            fs::set_permissions(file.path(), plain).map_err(|e| (e, &*path))?;
            file.persist(&path).map(drop).map_err(|e| (e.error, &*path))
        };
        write().map_err(|(cause, at)| {
            if taken(&cause) {
                return Error::Name(Detail::new(
                    format!("{} cannot be the name of an environment", quote(&name.0)),
                    "a name cannot be a folder of other names, nor lie in another name",
                    "choose another name; `stockade env list` shows those that are taken",
                ));
            }
            error::store("write", at, &cause)
        })
    }

    /// Takes a name away; the environment stays until `gc` finds nobody who needs it.
    ///
    /// # Errors
    /// When there is no such name.
    pub fn remove_name(&self, name: &Name) -> Result<(), Error> {
        let path = self.name(&name.0);
        if self.named(name)?.is_none() {
            return Err(unknown(&name.0, "no environment has this name"));
        }
        fs::remove_file(&path).map_err(|e| error::store("remove", &path, &e))?;
        // Folders that hold no name any more go too; one that still does cannot.
        let names = self.name("");
        let above = path.ancestors().skip(1).take_while(|folder| *folder != names && folder.starts_with(&names));
        for folder in above {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Takes away what a name that was being written left when its process was killed.
    pub(crate) fn sweep_names(&self, older_than: std::time::SystemTime) {
        let Ok(entries) = tree::walk(&self.name("")) else { return };
        for entry in entries.iter().filter(|entry| entry.path.rsplit('/').next().is_some_and(is_part)) {
            let path = self.name(&entry.path);
            let modified = fs::metadata(&path).and_then(|about| about.modified());
            if modified.is_ok_and(|at| at < older_than) {
                drop(fs::remove_file(&path));
            }
        }
    }
}

fn is_part(file: &str) -> bool {
    file.starts_with(".part-")
}

fn unknown(reference: &str, why: &str) -> Error {
    Error::Name(Detail::new(
        format!("there is no environment {}", quote(reference)),
        why,
        "`stockade env list` shows those there are; `stockade env build NAME` makes one",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::{published, store};

    #[test]
    fn names_are_plain_and_bounded() {
        for name in ["a", "analysis", "approved/x", "3.11-base_1", "a/b/c", "decade"] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        let (long, digest) = ("x".repeat(101), "a".repeat(64));
        let deep = ["a"; 9].join("/");
        for name in [
            "", "A", "../x", "a/../b", "a..b", "/a", "a/", "a//b", ".a", "-a", "a/.b", "a b", "ä", "a\n", &long,
            &digest, &deep,
        ] {
            assert!(name.parse::<Name>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_name_stands_for_what_it_was_given_last() {
        let (_root, store) = store();
        let (one, other) = (published(&store, &"a".repeat(64)), published(&store, &"b".repeat(64)));
        let name: Name = "approved/x".parse().unwrap();
        assert!(store.environment("approved/x").is_err());
        store.set_name(&name, &one).unwrap();
        store.set_name(&name, &other).unwrap();
        assert_eq!(store.environment("approved/x").unwrap().digest, other.digest);
        assert_eq!(store.environment(&"a".repeat(12)).unwrap().digest, one.digest);
        assert!(store.environment(&"a".repeat(11)).is_err() && store.environment(&"c".repeat(12)).is_err());
        assert_eq!(store.names().unwrap(), [(name.clone(), other.digest.clone())]);
        for taken in ["approved", "approved/x/y"] {
            let error = store.set_name(&taken.parse().unwrap(), &one).unwrap_err();
            assert!(error.why().contains("a folder of other names"), "{taken}: {error}: {}", error.why());
        }
        store.remove_name(&name).unwrap();
        assert!(store.remove_name(&name).is_err() && !store.name("approved").exists());
        store.set_name(&"approved".parse().unwrap(), &one).unwrap();
    }

    #[test]
    fn a_name_is_whole_whenever_it_is_read() {
        let (_root, store) = store();
        let all = ["a", "b", "c"].map(|digit| published(&store, &digit.repeat(64)));
        let name: Name = "x".parse().unwrap();
        store.set_name(&name, &all[0]).unwrap();
        std::thread::scope(|scope| {
            for environment in &all {
                scope.spawn(|| (0..50).for_each(|_| store.set_name(&name, environment).unwrap()));
            }
            scope.spawn(|| (0..300).for_each(|_| drop(store.environment("x").unwrap())));
        });
        assert_eq!(store.names().unwrap().len(), 1);
    }
}
