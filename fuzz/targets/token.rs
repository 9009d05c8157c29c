//! Tokens and hashes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_identity::local::Stored;
use stockade_identity::oidc::fuzzing;
use stockade_identity::token::{LIFETIME_MS, Sessions};

fuzz_target!(|text: &str| {
    let sessions: Sessions<()> = Sessions::new("A.X", LIFETIME_MS);
    assert!(sessions.check(text, 0).is_err(), "it was given to nobody");
    fuzzing::token(text);
    let _parsed = Stored::parse(text);
});
