//! Files of configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_config::security::{Secrets, Substitutions, export, parse};
use stockade_config::{parse_classes, parse_policy};

fuzz_target!(|text: &str| {
    let (_policy, _classes) = (parse_policy(text), parse_classes(text));
    if let Ok(object) = parse(text, &Substitutions::none()) {
        let written = export(&object, Secrets::Kept);
        let again = parse(&written, &Substitutions::none());
        assert_eq!(again.as_ref().map(|again| &again.roots), Ok(&object.roots), "{written}");
    }
});
