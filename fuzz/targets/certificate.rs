//! What a client could show that somebody has signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_identity::certificate;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(named) = certificate::read(bytes) {
        let is_in_it = bytes.windows(named.name.len()).any(|part| part == named.name.as_bytes());
        assert!(is_in_it || named.name.is_empty(), "nobody has written that name");
    }
});
