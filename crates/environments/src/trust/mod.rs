//! Trust lists: which libraries somebody vouches for, and whether they cover an environment.
//!
//! Outside. What is in an environment shares one process with everything else in it, so trust is a property of the
//! whole: every file that its lock names must be covered. The lock of an environment that came in an archive is
//! the word of who made the archive, so such a one is trusted by its digest or not at all.
//!
//! ```text
//! list.jsonl            a signed statement a line: somebody vouches, or takes it back
//! keys/NAME@REALM       the public keys whose statements count, one a line
//! ```
//!
//! Whoever may write to the folder says which keys count; who that is, the caller of this module has made sure of.

mod judge;
mod key;
mod library;
mod list;
mod statement;

pub use judge::judge;
pub use key::SigningKey;
pub use library::{Library, libraries_of};
pub use list::{Entry, Standing, TrustList, TrustPlace};
pub use statement::{Lasting, Vouched};
