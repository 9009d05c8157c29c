//! What administrators could say: a command line, and the body of a request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_node::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::request(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::words(text);
    }
});
