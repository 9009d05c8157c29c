//! The node's own key: 32 random bytes in a file that its user alone may read, and what is encrypted with it.
//!
//! The key never leaves the machine: it is made, read and used here, and no command or answer has it.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::refusal::{Kind, Refusal};

/// In the node's folder.
const FILE: &str = "secret.key";
const KEY_BYTES: usize = 32;
/// How what is encrypted begins: what it is done with.
const FORM: &str = "v1:";
/// What is authenticated beside the secret, before the name of the node.
const PURPOSE: &str = "stockade secret v1\n";

/// The key.
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(…)")
    }
}

impl Key {
    /// Makes the key of a node, in its folder; never a second one.
    ///
    /// # Errors
    /// [`Refusal`]; there is none then, or the one there was.
    pub(crate) fn make(folder: &Path) -> Result<PathBuf, Refusal> {
        let path = folder.join(FILE);
        let failed = |error: &std::io::Error| {
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Refusal::failed("the key cannot be kept", crate::system_text(error));
            }
            Refusal::new(
                Kind::Conflict,
                "the node has a key",
                "another one could not open what is encrypted with it",
                "use that one; or remove its file first, and encrypt every secret again",
            )
        };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        random(bytes.as_mut_slice())?;
        // Whole or not at all: under its name only when it is on the disk.
        let new = tempfile_in(folder).map_err(|error| failed(&error))?;
        let kept = new.1.hold(bytes.as_slice()).and_then(|()| std::fs::hard_link(&new.0, &path));
        drop(std::fs::remove_file(&new.0));
        kept.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| failed(&error))?;
        Ok(path)
    }

    /// The key of a node, if it has one.
    ///
    /// # Errors
    /// [`Refusal`] when it is not a key that only the node's user knows.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>, Refusal> {
        let refused = |why: String| {
            let next = format!(
                "see to it that {FILE} in the node's folder is as it was made: 32 bytes, mode 600, the node's user's"
            );
            Refusal::invalid("the node's key cannot be used", why, next)
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(folder.join(FILE));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(crate::system_text(&error))),
        };
        let io = |error: std::io::Error| refused(crate::system_text(&error));
        let (about, owner) = (file.metadata().map_err(io)?, std::fs::metadata(folder).map_err(io)?.uid());
        if !is_private(&about, owner) {
            return Err(refused("others may read it, or it is no file of the node's user".to_owned()));
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        file.read_exact(bytes.as_mut_slice()).map_err(io)?;
        if about.len() != KEY_BYTES as u64 {
            return Err(refused(format!("it has {} bytes", about.len())));
        }
        Ok(Some(Self(bytes)))
    }

    /// What configuration may have in the place of a secret, for the node of this name.
    ///
    /// # Errors
    /// [`Refusal`] when the machine has no random numbers.
    pub(crate) fn encrypt(&self, service: &str, secret: &str) -> Result<String, Refusal> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        // Room for what is added, so that no copy of the secret is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret.len() + CHACHA20_POLY1305.tag_len()));
        bytes.extend_from_slice(secret.as_bytes());
        let sealed = self.cipher().and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, aad(service), &mut *bytes).ok()
        });
        sealed.ok_or_else(|| Refusal::failed("the secret cannot be encrypted", "the cipher refuses it"))?;
        Ok(format!("{FORM}{}", STANDARD.encode([&nonce, bytes.as_slice()].concat())))
    }

    /// The secret; none when it was encrypted with another key or for another node, or changed.
    pub(super) fn decrypt(&self, service: &str, text: &str) -> Option<Zeroizing<String>> {
        let mut bytes = Zeroizing::new(STANDARD.decode(text.strip_prefix(FORM)?).ok()?);
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let clear = self.cipher()?.open_in_place(nonce, aad(service), sealed).ok()?;
        Some(Zeroizing::new(std::str::from_utf8(clear).ok()?.to_owned()))
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, self.0.as_slice()).ok().map(LessSafeKey::new)
    }
}

/// Whether a file is its owner's alone.
fn is_private(about: &Metadata, owner: u32) -> bool {
    about.is_file() && about.uid() == owner && about.mode() & 0o077 == 0
}

fn aad(service: &str) -> Aad<String> {
    Aad::from(format!("{PURPOSE}{service}"))
}

fn random(bytes: &mut [u8]) -> Result<(), Refusal> {
    let none = |_| Refusal::failed("there is no key", "the machine has no random numbers");
    SystemRandom::new().fill(bytes).map_err(none)
}

/// A new file beside the key, for its user alone.
fn tempfile_in(folder: &Path) -> std::io::Result<(PathBuf, NewFile)> {
    let path = folder.join(format!("{FILE}.{}", std::process::id()));
    // What a former process of this number has left.
    drop(std::fs::remove_file(&path));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, NewFile(file)))
}

struct NewFile(File);

impl NewFile {
    fn hold(mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key() -> (tempfile::TempDir, Key) {
        let folder = tempfile::tempdir().unwrap();
        assert!(Key::of(folder.path()).unwrap().is_none());
        Key::make(folder.path()).unwrap();
        let key = Key::of(folder.path()).unwrap().unwrap();
        (folder, key)
    }

    #[test]
    fn what_is_encrypted_is_opened_by_the_same_key_for_the_same_node_and_nothing_else() {
        let ((_one, key), (_two, other)) = (key(), key());
        let text = key.encrypt("A.X", "hunter2").unwrap();
        assert!(text.starts_with("v1:") && text != key.encrypt("A.X", "hunter2").unwrap());
        assert_eq!(key.decrypt("A.X", &text).unwrap().as_str(), "hunter2");
        assert!(key.decrypt("B.X", &text).is_none() && other.decrypt("A.X", &text).is_none());
        let body = STANDARD.decode(&text[3..]).unwrap();
        for place in 0..body.len() {
            let mut changed = body.clone();
            changed[place] ^= 1;
            assert!(key.decrypt("A.X", &format!("v1:{}", STANDARD.encode(changed))).is_none(), "{place}");
        }
        for short in ["", "v1:", "v2:AAAA", "v1:AAAA", "v1:!", "hunter2"] {
            assert!(key.decrypt("A.X", short).is_none(), "{short}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_others_may_not_read_it() {
        let (folder, _) = key();
        let path = folder.path().join(FILE);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(before.len(), KEY_BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Key::make(folder.path()).unwrap_err().why.contains("could not open"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Key::of(folder.path()).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(Key::of(folder.path()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(Key::of(folder.path()).is_err());
    }
}
