//! The audit trail: one record a line, each line with the hash of the one before it.
//!
//! Outside, in whichever process has something to record; many append to one trail at the same time.
//!
//! ```text
//! record → line (seq, prev, hash) → lock → where does the chain end? → write, sync → head → unlock
//!                                          repaired, continued in a new file, signed when due
//! ```
//!
//! Start at [`Trail`] to append, at [`verify`] to hold a trail against itself, at [`Records`] to read it. A record
//! counts when its append has returned; an error means that nothing of it is in the file. It must never lose a record
//! that counts, or repair anything without saying so in the chain.

mod append;
mod attached;
mod error;
mod export;
mod files;
mod head;
mod hex;
mod key;
mod line;
mod lock;
mod look;
mod ocsf;
mod own;
mod read;
mod rotate;
mod verify;
mod writer;

pub use append::{Keeping, Trail};
pub use attached::Attached;
pub use error::Error;
pub use export::{Format, export};
pub use files::Place;
pub use key::PublicKey;
pub use line::{LINE_BYTES_MAX, Link};
pub use ocsf::event as ocsf_event;
pub use read::{Entry, Records};
pub use verify::{Bad, Expected, Report, Wrong, verify};
pub use writer::Writer;
