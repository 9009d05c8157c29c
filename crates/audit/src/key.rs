//! The key that checkpoints are signed with: made once, in a file of its owner's alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::files::Place;
use crate::hex::{hex, unhex};
use crate::line::Link;
use crate::own::Own;

/// What is signed begins with this, so that a signature of ours means nothing elsewhere.
const CONTEXT: &str = "stockade audit checkpoint 1\n";

/// Signs checkpoints.
pub(crate) struct Key(SigningKey);

impl Key {
    /// The key of this trail; made first if there is none. Its public half is beside the trail from then on.
    pub(crate) fn of(place: &Place) -> Result<Self, Error> {
        match File::open(place.key()) {
            Ok(file) => Self::read(place.key(), &file),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Self::make(place),
            Err(cause) => Err(unusable(place.key(), &cause.to_string())),
        }
    }

    fn read(path: &Path, mut file: &File) -> Result<Self, Error> {
        let about = file.metadata().map_err(|cause| unusable(path, &cause.to_string()))?;
        if about.mode() & 0o077 != 0 {
            return Err(unusable(path, "others than its owner may read it"));
        }
        let mut text = Zeroizing::new([0_u8; 64]);
        file.read_exact(&mut *text).map_err(|_| unusable(path, "it is shorter than a key"))?;
        let seed = unhex(&*text).map(Zeroizing::new).ok_or_else(|| unusable(path, "it is no key"))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    fn make(place: &Place) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        let filled = getrandom(&mut *seed, GetRandomFlags::empty());
        if filled.map_err(|errno| unusable(place.key(), &errno.to_string()))? != seed.len() {
            return Err(unusable(place.key(), "the kernel gave too few random bytes"));
        }
        let key = Self(SigningKey::from_bytes(&seed));
        // The public half first: no checkpoint is made that nobody can verify.
        put(&place.public(), 0o644, (key.public().to_string() + "\n").as_bytes())?;
        put(place.key(), 0o600, Zeroizing::new(hex(&*seed)).as_bytes())?;
        place.sync_folder()?;
        Ok(key)
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// A checkpoint of a record.
    pub(crate) fn checkpoint(&self, of: Link, time_ms: u64) -> Own {
        let key = self.public().id();
        let signature = hex(&self.0.sign(&message(of, time_ms, &key)).to_bytes());
        Own::Checkpoint { time_ms, of_seq: of.seq, of_hash: of.hash_hex(), key, signature }
    }
}

/// Never the key itself.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.public()).finish()
    }
}

/// Whole or not at all; the trail's lock is held, so nobody else makes one.
fn put(path: &Path, mode: u32, text: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let failed = |cause: std::io::Error| unusable(path, &cause.to_string());
    // What a process left there that was killed.
    drop(fs::remove_file(&temporary));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    let written = file.write_all(text).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|cause| {
        drop(fs::remove_file(&temporary));
        failed(cause)
    })
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::Key { path: path.to_string_lossy().into_owned(), why: why.to_owned() }
}

fn message(of: Link, time_ms: u64, key: &str) -> Vec<u8> {
    format!("{CONTEXT}{}\n{}\n{time_ms}\n{key}\n", of.seq, of.hash_hex()).into_bytes()
}

/// What checkpoints are verified with; printed as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        VerifyingKey::from_bytes(&unhex(text.trim().as_bytes())?).ok().map(Self)
    }

    /// The one that lies beside a trail: worth as much as whoever may write there.
    ///
    /// # Errors
    /// When it is not there, or none.
    pub fn beside(place: &Place) -> Result<Self, Error> {
        let path = place.public();
        let none = |why: &str| Error::NoKey { path: path.to_string_lossy().into_owned(), why: why.to_owned() };
        let text = fs::read_to_string(&path).map_err(|cause| none(&cause.to_string()))?;
        Self::parse(&text).ok_or_else(|| none("it does not hold 64 hexadecimal digits of a key"))
    }

    /// Its short name, as checkpoints have it.
    #[must_use]
    pub fn id(&self) -> String {
        hex(Sha256::digest(self.0.as_bytes()).get(..8).unwrap_or_default())
    }

    /// Whether a checkpoint of `of` was signed with the private half. Strict: no second form of a signature fits.
    pub(crate) fn fits(&self, of: Link, time_ms: u64, signature: &str) -> bool {
        let Some(signature) = unhex(signature.as_bytes()) else { return false };
        self.0.verify_strict(&message(of, time_ms, &self.id()), &Signature::from_bytes(&signature)).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}
