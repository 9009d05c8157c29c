//! What a principal can be called whom others vouch for.

use stockade_core::text;

const CHARS_MAX: usize = 128;

/// Whether it can be told from other names, and shown.
pub(crate) fn is_principal(name: &str) -> bool {
    let is_shown = !name.contains(text::is_harmful) && name.trim() == name && !name.is_empty();
    is_shown && name.chars().count() <= CHARS_MAX
}
