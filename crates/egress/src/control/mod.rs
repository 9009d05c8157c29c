//! How a supervisor tells a gate what to do: one frame of JSON per message over a pair of sockets, descriptors beside it.
//!
//! ```text
//! supervisor                               gate
//! Hello  { version } + head of the trail →  Hello { version }
//! Open   { run, rules, budget, … }      →  Opened { authority_pem }   known before the sandbox exists
//! Serve  { run, counts } + descriptors  →  Serving                    what the sandbox has passed out
//! Close  { run }                        →  Closed { report }          everything of the run is cut
//! Metrics                               →  Metrics { totals }
//! ```
//!
//! Every failure is `Failed { what, why, next }`. When the supervisor's end closes, everything is cut and the gate
//! ends. [`Client`] knows nothing of an async runtime; [`serve`] is one.

mod client;
mod frame;
mod message;
mod server;

pub use client::{Client, Failure};
pub use frame::{DESCRIPTORS_MAX, FRAME_BYTES_MAX};
pub use message::{Open, Refused, SecretValue};
pub use server::{NotServed, answer, serve};

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The two ends of a control socket: the supervisor's and the gate's. Neither is inherited unless it is asked to be.
///
/// # Errors
/// When the system has no room for them.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
