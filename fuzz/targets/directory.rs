//! What a directory could answer, and how a user of it could be called.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_identity::ldap::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::answer(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::user(text);
    }
});
