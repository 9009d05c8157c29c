//! What is tried with what administrators could say, by a test and by `fuzz/`.

use crate::admin::commands::COMMANDS;
use crate::{admin, api, security};

/// The words after `stockade admin`.
pub fn words(text: &str) {
    let words: Vec<String> = text.split('\0').map(str::to_owned).collect();
    if let Err(refusal) = admin::read_words(&words) {
        assert!(!refusal.what.is_empty() && !refusal.next.is_empty(), "{refusal:?}");
    }
}

/// The body of a request for a command, held against every command there is.
///
/// # Panics
/// When a refusal does not say what to do.
pub fn request(body: &[u8]) {
    let Some(values) = api::parameters_of(body) else { return };
    for command in COMMANDS {
        if let Err(refusal) = security::check_command(command, &values) {
            assert!(!refusal.what.is_empty() && !refusal.next.is_empty(), "{refusal:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_said_is_taken_or_refused_with_a_way_on(
            said in r#"(display|load|x|)(\x00(node|configuration|--[a-z-]{0,12}(=.{0,8})?)){0,6}"#,
            body in r#"\{"parameters": \{("[a-z]{0,8}": ("\PC{0,9}"|1|null|\{\}),?){0,4}\}\}"#,
        ) {
            super::words(&said);
            super::request(body.as_bytes());
        }
    }
}
