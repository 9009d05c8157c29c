//! A token as text, and as what is kept of it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// Random bytes of a token, and their characters.
const BYTES: usize = 32;
const CHARACTERS: usize = 43;

/// What a token is for. One is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests of a session.
    Session,
    /// Making another session, later.
    Refresh,
}

impl Kind {
    /// What a token begins with, so that people and scanners of secrets know it.
    const fn start(self) -> &'static str {
        match self {
            Self::Session => "stockade_session_",
            Self::Refresh => "stockade_refresh_",
        }
    }
}

/// Whether a text begins as a refresh token does.
#[must_use]
pub fn is_refresh(text: &str) -> bool {
    text.starts_with(Kind::Refresh.start())
}

/// A token that somebody has. It shows only where it is asked for, and its memory is wiped.
pub struct Bearer {
    kind: Kind,
    bytes: Zeroizing<[u8; BYTES]>,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadToken {
    /// No token of this kind.
    #[error("it is no token")]
    Form,
    /// One that this node did not make, or that was ended.
    #[error("the node does not know the token")]
    Unknown,
    /// Its time is over.
    #[error("the token's time is over")]
    Over,
}

impl BadToken {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        "log in again: `stockade login`"
    }
}

/// What is kept of a token: enough to know it again on this node, and of no use anywhere.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Bearer {
    /// A new one; `None` when the system has no random bytes.
    #[must_use]
    pub fn fresh(kind: Kind) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        // The kernel gives as few bytes at once, or none.
        let count = getrandom(bytes.as_mut_slice(), GetRandomFlags::empty()).ok()?;
        (count == BYTES).then_some(Self { kind, bytes })
    }

    /// Reads one; there is one text for each.
    ///
    /// # Errors
    /// [`BadToken::Form`].
    pub fn parse(text: &str, kind: Kind) -> Result<Self, BadToken> {
        let encoded = text.strip_prefix(kind.start()).filter(|encoded| encoded.len() == CHARACTERS);
        let mut bytes = Zeroizing::new([0; BYTES]);
        let count = encoded.and_then(|encoded| URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut_slice()).ok());
        if count == Some(BYTES) { Ok(Self { kind, bytes }) } else { Err(BadToken::Form) }
    }

    /// The text, for its principal alone.
    #[must_use]
    pub fn dangerous_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.kind.start().len() + CHARACTERS));
        text.push_str(self.kind.start());
        URL_SAFE_NO_PAD.encode_string(self.bytes.as_slice(), &mut text);
        text
    }

    /// What the node with this name keeps.
    #[must_use]
    pub fn digest(&self, node: &str) -> Digest {
        let mut hash = Sha256::new();
        hash.update(self.kind.start());
        // Of a fixed length, so nothing of the name can be taken for a part of the token.
        hash.update(self.bytes.as_slice());
        hash.update(node);
        Digest(hash.finalize().into())
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Bearer({:?}, …)", self.kind)
    }
}

impl Digest {
    /// One that was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To be kept.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Both halves.
    pub(super) fn halves(self) -> ([u8; 16], [u8; 16]) {
        let (mut first, mut second) = ([0; 16], [0; 16]);
        let (front, back) = self.0.split_at(16);
        first.copy_from_slice(front);
        second.copy_from_slice(back);
        (first, second)
    }
}

impl PartialEq for Digest {
    /// In time that does not depend on where they differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Digest(…)")
    }
}
