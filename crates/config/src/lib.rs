//! Configuration objects: HOCON text in, values of `core` out, or an error that names its place.
//!
//! Pure: whoever reads the file brings its text. Nothing in a text can include a file, see a variable or pass
//! unread: what is not understood is an error. `document.rs` guards the parser of others, `policy.rs`,
//! `classes.rs` and `security/` read what it says.
#![forbid(unsafe_code)]

mod classes;
mod document;
mod filling;
mod policy;
mod refused;
pub mod security;
mod separators;
mod value;

pub use classes::parse as parse_classes;
pub use document::BYTES_MAX;
pub use policy::parse as parse_policy;
pub use refused::{Place, Refused, Wrong};
