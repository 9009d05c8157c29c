//! Whether who has connected to a socket is outside of every run.
//!
//! Where runs have users of their own, the number of the user says it. Where they have the node's own (`--shared-user`),
//! the kernel reports code that climbed out of its other walls as the node's user, who administers the node; but that
//! code is in a user namespace of its run still. Only the launcher may look: this process is confined by then.

use std::os::fd::AsFd;
use std::process::Child;

use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use crate::service::Node;
use crate::users::Engines;

/// How a socket knows the code of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// By its user.
    ByUser,
    /// By its user namespace, where it has this user.
    ByNamespace(u32),
}

impl Peers {
    /// How it is with this node and its launcher. Says so where the kernel cannot tell.
    pub(crate) async fn of(node: &Node, launcher: &Child) -> Self {
        if node.engines() != Engines::Shared {
            return Self::ByUser;
        }
        // The launcher is beside itself: a no is the kernel's.
        let seen = match pidfd_open(Pid::from_child(launcher), PidfdFlags::empty()) {
            Ok(process) => node.link.beside(process).await.map_err(|refusal| refusal.why),
            Err(errno) => Err(crate::system_text(&errno.into())),
        };
        match seen {
            Ok(()) => Self::ByNamespace(geteuid().as_raw()),
            Err(why) => {
                tracing::warn!(
                    why,
                    "the user namespace of a caller cannot be seen (Linux 6.11 shows it), and runs have the node's own user: what comes out of its walls could administer the node"
                );
                Self::ByUser
            }
        }
    }

    /// Whether the code of no run has connected. What cannot be seen is refused.
    pub(crate) async fn is_outside(self, node: &Node, socket: impl AsFd, user: u32) -> bool {
        if self != Self::ByNamespace(user) {
            return true;
        }
        let checked = match stockade_launch::users::peer(socket) {
            Ok(process) => node.link.beside(process).await.map_err(|refusal| refusal.why),
            Err(error) => Err(crate::system_text(&error)),
        };
        if let Err(why) = &checked {
            tracing::error!(user, why, "somebody who has connected is in another user namespace, or has gone");
            node.metrics.refused_connection();
        }
        checked.is_ok()
    }
}
