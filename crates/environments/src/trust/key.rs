//! The key with which a principal signs: made once, kept in a file of his own.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::digest::hex;
use crate::error::{self, Detail, Error};
use crate::quote::quote_path;
use crate::tree;

/// What is signed begins with this, so that a signature of ours means nothing elsewhere.
const CONTEXT: &[u8] = b"stockade trust statement 1\n";

/// A principal's own key (Ed25519, RFC 8032).
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of this file; made first if there is none.
    ///
    /// # Errors
    /// When the file cannot be made or read, is not a key, or others may read it.
    pub fn load_or_make(path: &Path) -> Result<Self, Error> {
        match fs::File::open(path) {
            Ok(file) => Self::read(path, &file),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Self::make(path),
            Err(cause) => Err(error::store("read the key", path, &cause)),
        }
    }

    fn read(path: &Path, mut file: &fs::File) -> Result<Self, Error> {
        let about = file.metadata().map_err(|e| error::store("look at", path, &e))?;
        if about.mode() & 0o077 != 0 || about.uid() != rustix::process::geteuid().as_raw() {
            return Err(unusable(path, "others than its owner may read it, or it is another user's"));
        }
        let mut text = Zeroizing::new([0_u8; 65]);
        let mut seed = Zeroizing::new([0_u8; 32]);
        let read = file.read_exact(text.get_mut(..64).unwrap_or_default());
        read.map_err(|_| unusable(path, "it is shorter than a key"))?;
        if !unhex(text.get(..64).unwrap_or_default(), &mut *seed) {
            return Err(unusable(path, "it does not hold 64 hexadecimal digits"));
        }
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    fn make(path: &Path) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        let filled = getrandom(&mut *seed, GetRandomFlags::empty());
        if filled.map_err(|errno| error::store("make", path, &errno.into()))? != seed.len() {
            return Err(unusable(path, "the kernel gave too few random bytes"));
        }
        if let Some(folder) = path.parent() {
            tree::make_folder(folder)?;
        }
        // Linked into place when it is whole, so that two who make one at once end up with the same.
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let written =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).and_then(
                |mut file| {
                    file.write_all(Zeroizing::new(hex(&*seed)).as_bytes())?;
                    file.sync_all()
                },
            );
        let linked = written.and_then(|()| fs::hard_link(&temporary, path));
        drop(fs::remove_file(&temporary));
        match linked {
            Ok(()) => Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed))),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Self::load_or_make(path),
            Err(cause) => Err(error::store("write the key", path, &cause)),
        }
    }

    /// The public half, in hexadecimal.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        hex(&self.0.sign(&message(text)).to_bytes())
    }
}

/// Never the key itself.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

/// Whether `signature` of `text` was made with the private half of `key`; all but the text in hexadecimal.
/// Strict: no second key and no second form of a signature fits the same text.
pub(crate) fn fits(text: &str, key: &str, signature: &str) -> bool {
    let (mut key_bytes, mut signature_bytes) = ([0; 32], [0; 64]);
    let parsed = unhex(key.as_bytes(), &mut key_bytes) && unhex(signature.as_bytes(), &mut signature_bytes);
    let Some(key) = parsed.then(|| VerifyingKey::from_bytes(&key_bytes).ok()).flatten() else { return false };
    key.verify_strict(&message(text), &Signature::from_bytes(&signature_bytes)).is_ok()
}

fn message(text: &str) -> Vec<u8> {
    [CONTEXT, text.as_bytes()].concat()
}

/// Lower-case hexadecimal into exactly these bytes.
fn unhex(text: &[u8], into: &mut [u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.len() == 2 * into.len()
        && text.chunks_exact(2).zip(into).all(|(pair, byte)| match pair {
            [high, low] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                (Some(_) | None, Some(_) | None) => false,
            },
            _ => false,
        })
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::Trust(Detail::new(
        format!("the key {} cannot be used", quote_path(path)),
        why,
        "make it a file of yours with mode 600, or move it away, and a new key is made",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/key");
        let made = SigningKey::load_or_make(&path).unwrap();
        assert_eq!(SigningKey::load_or_make(&path).unwrap().public(), made.public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{made:?}").contains(&fs::read_to_string(&path).unwrap()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SigningKey::load_or_make(&path).unwrap_err().why().contains("others"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "z".repeat(64)).unwrap();
        assert!(SigningKey::load_or_make(&path).unwrap_err().why().contains("hexadecimal"));
    }

    #[test]
    fn a_signature_fits_one_text_and_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| SigningKey::load_or_make(&folder.path().join(name)).unwrap());
        let signature = one.sign("text");
        assert!(fits("text", &one.public(), &signature));
        assert!(!fits("texT", &one.public(), &signature));
        assert!(!fits("text", &other.public(), &signature));
        assert!(!fits("text", &one.public(), &signature.to_uppercase()));
        for broken in ["", "00", &"0".repeat(64), &"0".repeat(128)] {
            assert!(!fits("text", broken, &signature) && !fits("text", &one.public(), broken), "{broken}");
        }
    }
}
