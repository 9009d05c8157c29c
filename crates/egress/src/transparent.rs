//! Connections of code that knows no proxy: the address that it dialled says where it wants to go.
//!
//! The kernel inside answers for every address of its loopback interface, made-up and granted ones; a connection's own
//! address, on the side that accepted it, is the one that was dialled. Nothing inside can change it.

use std::net::SocketAddr;

use stockade_core::name::Host;

use crate::flow::{Want, Way};
use crate::names::is_made_up;
use crate::refusal::{Reason, Refusal};
use crate::run::Run;

/// What a connection to `to` wants: the name that the address stands for, or the address itself.
pub(crate) fn want(run: &Run, to: SocketAddr) -> Result<Want, Refusal> {
    let want = Want { host: run.names.meant(to.ip()), port: to.port(), way: Way::Transparent };
    match want.host {
        // Somebody may have granted a machine in this block; else it is a guess, or another run's.
        Host::Address(address) if is_made_up(address) && run.rules.connection(&want.host, want.port).is_err() => {
            Err(want.refusal(Reason::NoName))
        }
        Host::Address(_) | Host::Name(_) => Ok(want),
    }
}
