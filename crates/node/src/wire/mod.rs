//! Between the node and its launcher: one message a frame, bounded, with descriptors beside it.
//!
//! The node speaks with strangers and the launcher starts things, so the launcher takes every frame for one of a
//! stranger's: parsed here into a message of known form, then checked by [`crate::launcher`].

mod message;

pub use message::{Answer, Ask, RunId};
pub use stockade_frames::{Beside, DESCRIPTORS_MAX, FRAME_BYTES_MAX, Frame, pair, receive, send};

/// Reads a message out of a frame; `None` when it has no form that is known.
#[must_use]
pub fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.len() > FRAME_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// A message as a frame; `None` when it is too large for one.
#[must_use]
pub fn encode(message: &impl serde::Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(message).ok().filter(|bytes| bytes.len() <= FRAME_BYTES_MAX)
}
