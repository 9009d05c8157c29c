//! A secret in a file: itself, its hash, or where it is found. No refusal here shows what is written.

use super::Secret;
use super::words::Word;
use crate::refused::{Refused, Wrong};
use crate::value::Value;

const HASH_PREFIX: &str = "$argon2id$";
const HASH_BYTES_MAX: usize = 512;
const CLEAR_BYTES_MAX: usize = 1024;
/// Of a clear one, with what encryption adds.
const ENCRYPTED_BYTES_MAX: usize = 1500;

/// Which forms a secret may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Somebody else says it, and it is compared.
    Compared,
    /// It is said to somebody else, so its hash is of no use.
    Said,
}

/// Reads a secret.
pub(super) fn read(value: &Value<'_>, usage: Use) -> Result<Secret, Refused> {
    parse(value.text("a text in quotes")?, usage).map_err(|wrong| value.refuse(wrong))
}

/// Parses a secret.
pub(super) fn parse(text: &str, usage: Use) -> Result<Secret, Wrong> {
    if let Some(path) = text.strip_prefix("file:") {
        return if Word::Path.fits(path) { Ok(Secret::File(path.to_owned())) } else { Err(bad_path()) };
    }
    if let Some(name) = text.strip_prefix("env:") {
        return if is_variable(name) { Ok(Secret::Variable(name.to_owned())) } else { Err(bad_variable()) };
    }
    if let Some(encrypted) = text.strip_prefix("encrypted:") {
        return if is_encrypted(encrypted) {
            Ok(Secret::Encrypted(encrypted.to_owned()))
        } else {
            Err(bad_encrypted())
        };
    }
    if text.starts_with(HASH_PREFIX) {
        return match usage {
            Use::Compared if is_hash(text) => Ok(Secret::Hash(text.to_owned())),
            Use::Compared => Err(bad_hash()),
            Use::Said => Err(useless_hash()),
        };
    }
    if text.is_empty() {
        return Err(Wrong::Secret { why: "is empty", next: "write another, or leave the key out" });
    }
    if text.len() > CLEAR_BYTES_MAX || text.contains(char::is_control) {
        let why = "is longer than 1024 bytes or has control characters";
        return Err(Wrong::Secret { why, next: "write one line, or file:PATH" });
    }
    Ok(Secret::Clear(text.to_owned()))
}

const fn bad_path() -> Wrong {
    Wrong::Secret {
        why: "names no absolute path behind `file:`",
        next: "write file: and an absolute path without `..`",
    }
}

const fn bad_variable() -> Wrong {
    Wrong::Secret {
        why: "names no variable behind `env:`",
        next: "write env: and a name of letters, digits and underscores that begins with none of the digits",
    }
}

const fn bad_encrypted() -> Wrong {
    Wrong::Secret {
        why: "begins with `encrypted:` and is nothing that this version can open",
        next: "make one with `stockade admin encrypt secret`",
    }
}

const fn bad_hash() -> Wrong {
    Wrong::Secret { why: "begins as an Argon2id hash and is none", next: "make one with `stockade admin hash secret`" }
}

const fn useless_hash() -> Wrong {
    Wrong::Secret {
        why: "is a hash, where the secret itself is needed to say it to another server",
        next: "write encrypted:TEXT, file:PATH or env:NAME",
    }
}

/// A form that is known, and base64: whoever opens it knows more.
fn is_encrypted(text: &str) -> bool {
    let body = text.strip_prefix("v1:").unwrap_or_default();
    (40..=ENCRYPTED_BYTES_MAX).contains(&body.len())
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn is_variable(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, looked at from far: who compares with it parses it.
fn is_hash(text: &str) -> bool {
    let parts: Vec<&str> = text.split('$').collect();
    let is_plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=,.-".contains(&byte))
    };
    text.len() <= HASH_BYTES_MAX
        && matches!(parts.as_slice(), ["", "argon2id", version, cost, salt, hash]
            if version.starts_with("v=") && cost.starts_with("m=") && [salt, hash, version, cost].into_iter().all(is_plain))
}
