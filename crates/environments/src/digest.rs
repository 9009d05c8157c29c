//! Hashes: of bytes, of files, and of a whole environment.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::interpreter::Interpreter;
use crate::lock::Lock;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sha256 of some text.
pub(crate) fn of_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The sha256 and the length of a file.
pub(crate) fn of_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    let mut piece = vec![0_u8; 256 << 10];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((hex(&hash.finalize()), length));
        }
        hash.update(piece.get(..count).unwrap_or_default());
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// The digest of an environment: what was locked, for which interpreter, and the files that came
/// of it. `files` holds one line a file; bytecode and launchers are not in it, for they differ
/// between versions of the tools that make them.
pub(crate) fn of_environment(lock: &Lock, interpreter: &Interpreter, files: &str) -> String {
    of_text(&format!(
        "stockade-environment 2\nplatform {}\nabi {}\nexecutable {}\n{}{files}",
        interpreter.platform,
        interpreter.abi,
        interpreter.inside_executable,
        lock.identity(),
    ))
}

/// Whether `text` is a sha256 in lower-case hexadecimal.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
