//! The list of a place: read whole and checked, or not at all; written by one rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::key::SigningKey;
use super::library::Library;
use super::statement::{Line, Statement, Vouched, checked, seconds};
use crate::digest::is_sha256;
use crate::error::{self, Detail, Error};
use crate::quote::{quote, quote_path};
use crate::tree;

const BYTES_MAX: u64 = 64 << 20;
const LINES_MAX: usize = 20_000;
const KEYS_BYTES_MAX: u64 = 64 << 10;

/// Where a list lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPlace {
    folder: PathBuf,
}

/// A list that was read whole; every signature in it fits.
#[derive(Clone, Debug, Default)]
pub struct TrustList {
    entries: Vec<Entry>,
}

/// Somebody's word for a library, and what it is worth now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is called.
    pub id: String,
    /// What it is about.
    pub library: Library,
    /// Why it is trusted.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// When, in seconds since 1970.
    pub added: u64,
    /// Until when, in seconds since 1970.
    pub expires: Option<u64>,
    /// What it is worth.
    pub standing: Standing,
}

/// What an entry is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Valid,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked {
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// The key it is signed with is none of its principal's.
    UnknownKey,
}

impl TrustPlace {
    /// The place at `folder`, which need not exist yet.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// The file of the list.
    #[must_use]
    pub fn list(&self) -> PathBuf {
        self.folder.join("list.jsonl")
    }

    /// The folder of the keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Reads the list; an empty one if there is none.
    ///
    /// # Errors
    /// When a line is not well formed or its signature does not fit: a list that somebody tampered with says nothing.
    pub fn read(&self, now: SystemTime) -> Result<TrustList, Error> {
        let lines = self.lines()?;
        let keys = self.known_keys()?;
        let mut list = TrustList::default();
        let mut revoked = BTreeMap::new();
        for (number, line) in lines.iter().enumerate() {
            match line.open().ok_or_else(|| self.damaged(number, "its signature does not fit what it says"))? {
                Statement::Trust { library, reason, by, added, expires } => {
                    let known = keys.get(&by).is_some_and(|keys| keys.contains(&line.key));
                    let standing = match expires {
                        _ if !known => Standing::UnknownKey,
                        Some(expires) if expires <= seconds(now) => Standing::Expired,
                        Some(_) | None => Standing::Valid,
                    };
                    list.entries.push(Entry { id: line.id(), library, reason, by, added, expires, standing });
                }
                // Whoever signed it: taking away can only make less trusted.
                Statement::Revoke { entry, reason, by, .. } => {
                    revoked.insert(entry, Standing::Revoked { by, reason });
                }
            }
        }
        for entry in &mut list.entries {
            if let Some(standing) = revoked.get(&entry.id) {
                entry.standing = standing.clone();
            }
        }
        Ok(list)
    }

    /// Vouches; gives the ids of the new entries.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn vouch(&self, vouched: Vec<Vouched>, key: &SigningKey, now: SystemTime) -> Result<Vec<String>, Error> {
        let statements = vouched.into_iter().map(|vouched| vouched.statement(now)).collect::<Result<Vec<_>, _>>()?;
        self.append(&statements, key)
    }

    /// Takes an entry back, by its id.
    ///
    /// # Errors
    /// When there is no such entry, or the list cannot be written.
    pub fn revoke(&self, id: &str, reason: &str, by: &str, key: &SigningKey, now: SystemTime) -> Result<(), Error> {
        let list = self.read(now)?;
        let found = list.entries.iter().any(|entry| entry.id == id);
        if !found {
            return Err(Error::Trust(Detail::new(
                format!("there is no entry {}", quote(id)),
                format!("{} has none", quote_path(&self.list())),
                "`stockade env trust list` shows them",
            )));
        }
        let (entry, reason, by) = (id.to_owned(), reason.to_owned(), by.to_owned());
        let statement = checked(Statement::Revoke { entry, reason, by, added: seconds(now) })?;
        self.append(&[statement], key).map(drop)
    }

    /// Lets what `key` signs for `by` count here.
    ///
    /// # Errors
    /// When the file cannot be written, or the principal's name cannot name one.
    pub fn admit(&self, by: &str, key: &str) -> Result<(), Error> {
        let path = self.keys().join(file_of(by)?);
        let mut known = keys_of(&path)?;
        if !is_sha256(key) || !known.insert(key.to_owned()) {
            return Ok(());
        }
        self.make()?;
        let text: String = known.iter().map(|key| format!("{key}\n")).collect();
        write_whole(&path, &text)
    }

    fn append(&self, statements: &[Statement], key: &SigningKey) -> Result<Vec<String>, Error> {
        self.make()?;
        let lock = self.folder.join("lock");
        let held = File::create(&lock).map_err(|e| error::store("open the lock", &lock, &e))?;
        held.lock().map_err(|e| error::store("lock", &lock, &e))?;
        let (mut lines, mut ids) = (self.lines()?, Vec::new());
        for statement in statements {
            let line = Line::sign(statement, key)?;
            ids.push(line.id());
            // The same word again, in the same second, is the same entry.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        if lines.len() > LINES_MAX {
            return Err(self.damaged(LINES_MAX, "there are more lines than a list may have"));
        }
        let mut text = String::new();
        for line in &lines {
            let line = serde_json::to_string(line).map_err(|e| error::store("write", &self.list(), &e.into()))?;
            text.push_str(&line);
            text.push('\n');
        }
        write_whole(&self.list(), &text)?;
        Ok(ids)
    }

    fn make(&self) -> Result<(), Error> {
        let keys = self.keys();
        if !keys.is_dir() {
            tree::make_folder(&keys)?;
            tree::set_mode(&self.folder, 0o755)?;
            tree::set_mode(&keys, 0o755)?;
        }
        Ok(())
    }

    fn lines(&self) -> Result<Vec<Line>, Error> {
        let path = self.list();
        let Some(text) = read_if_there(&path, BYTES_MAX)? else { return Ok(Vec::new()) };
        if text.lines().count() > LINES_MAX {
            return Err(self.damaged(LINES_MAX, "there are more lines than a list may have"));
        }
        let parsed = text.lines().enumerate().map(|(number, line)| {
            serde_json::from_str(line).map_err(|_| self.damaged(number, "it is not a signed statement"))
        });
        parsed.collect()
    }

    /// The keys that count, by principal.
    fn known_keys(&self) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
        let folder = self.keys();
        let listing = match fs::read_dir(&folder) {
            Ok(listing) => listing,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(cause) => return Err(error::store("read the folder", &folder, &cause)),
        };
        let mut known = BTreeMap::new();
        for item in listing {
            let path = item.map_err(|e| error::store("read the folder", &folder, &e))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            known.insert(name.to_owned(), keys_of(&path)?);
        }
        Ok(known)
    }

    fn damaged(&self, number: usize, why: &str) -> Error {
        Error::Trust(Detail::new(
            format!("the trust list {} is refused at line {}", quote_path(&self.list()), number + 1),
            format!("{why}; nothing of it counts until that is put right"),
            "find out who changed it; take the line away, or bring the list back from a copy",
        ))
    }
}

impl TrustList {
    /// What it says, in the order it was said.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

/// The name of a principal's file of keys.
fn file_of(by: &str) -> Result<&str, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if by.is_empty() || by.len() > 200 || by.starts_with('.') || !by.bytes().all(plain) {
        return Err(Error::Trust(Detail::new(
            format!("{} cannot have keys here", quote(by)),
            "a principal is written as NAME@REALM, with letters, digits, `-`, `_` and `.`",
            "use another principal",
        )));
    }
    Ok(by)
}

fn keys_of(path: &Path) -> Result<BTreeSet<String>, Error> {
    let text = read_if_there(path, KEYS_BYTES_MAX)?.unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: BTreeSet<String> = lines.map(str::to_owned).collect();
    if let Some(bad) = keys.iter().find(|key| !is_sha256(key)) {
        return Err(Error::Trust(Detail::new(
            format!("the keys {} cannot be used", quote_path(path)),
            format!("{} is no public key: 64 hexadecimal digits", quote(bad)),
            "`stockade env trust key` prints one's own; write one a line, `#` in front of remarks",
        )));
    }
    Ok(keys)
}

/// The text of a regular file of at most `most` bytes.
fn read_if_there(path: &Path, most: u64) -> Result<Option<String>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(error::store("read", path, &cause)),
    };
    let about = file.metadata().map_err(|e| error::store("look at", path, &e))?;
    if !about.is_file() || about.len() > most {
        return Err(error::store("read", path, &ErrorKind::FileTooLarge.into()));
    }
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).map_err(|e| error::store("read", path, &e))?;
    Ok(Some(text))
}

/// All of a file or nothing of it, also when the machine loses power.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(path);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| error::store("make a file in", folder, &e))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
    written.map_err(|e| error::store("write", path, &e))?;
    tree::set_mode(file.path(), 0o644)?;
    file.persist(path).map_err(|e| error::store("put into place", path, &e.error))?;
    let folder = File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(|e| error::store("write", path, &e))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::statement::Lasting;
    use super::*;
    use std::time::Duration;

    pub(crate) const BY: &str = "ann@local";

    /// A place with one key that counts.
    pub(crate) fn place() -> (tempfile::TempDir, TrustPlace, SigningKey) {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::load_or_make(&folder.path().join("key")).unwrap();
        let place = TrustPlace::at(&folder.path().join("trust"));
        place.admit(BY, &key.public()).unwrap();
        (folder, place, key)
    }

    pub(crate) fn vouched(text: &str) -> Vouched {
        Vouched {
            library: Library::parse(text, &[], None).unwrap(),
            reason: "reviewed".to_owned(),
            by: BY.to_owned(),
            lasting: Lasting::forever(),
        }
    }

    fn standings(place: &TrustPlace, now: SystemTime) -> Vec<Standing> {
        place.read(now).unwrap().entries().map(|entry| entry.standing.clone()).collect()
    }

    #[test]
    fn what_is_vouched_for_counts_until_it_ends_or_is_taken_back() {
        let (_folder, place, key) = place();
        let now = SystemTime::now();
        let week = Vouched { lasting: Lasting::parse("7d", now).unwrap(), ..vouched("b>=1") };
        let ids = place.vouch(vec![vouched("a>=1"), week], &key, now).unwrap();
        assert_eq!(standings(&place, now), [Standing::Valid, Standing::Valid]);
        let later = now + Duration::from_secs(7 * 86_400 + 1);
        assert_eq!(standings(&place, later), [Standing::Valid, Standing::Expired]);
        assert!(place.revoke("unknown", "x", BY, &key, now).is_err());
        place.revoke(&ids[0], "a flaw", BY, &key, now).unwrap();
        let revoked = Standing::Revoked { by: BY.to_owned(), reason: "a flaw".to_owned() };
        assert_eq!(standings(&place, now), [revoked.clone(), Standing::Valid]);
        // Putting the same line back does not bring it back.
        let text = fs::read_to_string(place.list()).unwrap();
        fs::write(place.list(), format!("{text}{}\n", text.lines().next().unwrap())).unwrap();
        assert_eq!(standings(&place, now), [revoked.clone(), Standing::Valid, revoked]);
    }

    #[test]
    fn a_word_counts_with_a_key_of_who_is_said_to_have_given_it() {
        let (folder, place, key) = place();
        let now = SystemTime::now();
        let stranger = SigningKey::load_or_make(&folder.path().join("other")).unwrap();
        place.admit("eve@local", &stranger.public()).unwrap();
        place.vouch(vec![vouched("a>=1")], &stranger, now).unwrap();
        assert_eq!(standings(&place, now), [Standing::UnknownKey]);
        // Who is no longer known has no say, but what he took back stays taken back.
        let ids = place.vouch(vec![vouched("b>=1")], &key, now).unwrap();
        place.revoke(&ids[0], "a flaw", "eve@local", &stranger, now).unwrap();
        fs::remove_file(place.keys().join("eve@local")).unwrap();
        assert!(matches!(standings(&place, now)[..], [Standing::UnknownKey, Standing::Revoked { .. }]));
        fs::remove_dir_all(place.keys()).unwrap();
        place.vouch(vec![vouched("c>=1")], &key, now).unwrap();
        assert_eq!(standings(&place, now)[2], Standing::UnknownKey);
    }

    #[test]
    fn a_list_that_somebody_changed_says_nothing() {
        let (_folder, place, key) = place();
        let now = SystemTime::now();
        place.vouch(vec![vouched("a>=1"), vouched("b>=1")], &key, now).unwrap();
        let text = fs::read_to_string(place.list()).unwrap();
        for changed in [
            text.replace(">=1", ">=0"),
            text.replace("reviewed", "Reviewed"),
            text.replace(&key.public(), &"0".repeat(64)),
            format!("{text}noise\n"),
            format!("{text}\n"),
            text.replacen("{\"statement\"", "{\"more\":1,\"statement\"", 1),
            text.get(..text.len() - 20).unwrap().to_owned(),
        ] {
            assert_ne!(changed, text);
            fs::write(place.list(), &changed).unwrap();
            let error = place.read(now).unwrap_err();
            assert!(error.to_string().contains("is refused at line"), "{error}");
        }
        fs::write(place.list(), text).unwrap();
        fs::write(place.keys().join(BY), "not a key\n").unwrap();
        assert!(place.read(now).unwrap_err().why().contains("no public key"));
    }

    #[test]
    fn no_principal_leads_out_of_the_folder_of_keys() {
        let (_folder, place, key) = place();
        for by in ["", "../x", "a/b", ".a", "a\nb", "ä"] {
            assert!(place.admit(by, &key.public()).is_err(), "{by:?}");
        }
    }

    #[test]
    fn those_who_write_at_once_lose_nothing() {
        let (_folder, place, key) = place();
        let now = SystemTime::now();
        std::thread::scope(|scope| {
            for number in 0..20 {
                let (place, key) = (&place, &key);
                scope.spawn(move || place.vouch(vec![vouched(&format!("p{number}>=1"))], key, now).unwrap());
            }
        });
        assert_eq!(standings(&place, now).len(), 20);
    }
}
