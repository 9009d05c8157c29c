//! Inside, trusts nothing: walls that stand before their engine's process comes.
//!
//! The same phases as a run's init goes through, alone: there is no other half yet. It makes the network and the
//! root, lets the launcher have the ways in, and stays as pid 1. The process comes out of a template
//! ([`super::enter`]), and what only a process can do for itself it does there.

use std::convert::Infallible;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stockade_core::layer::Layer;

use super::entrance::Entrance;
use crate::failure::Step;
use crate::inside::{At, Carried, Failed, hide_groups_and_clocks};
use crate::wire::Event;
use crate::{confine, init, network, sys};

/// The namespaces of this process, and the one its children are to have.
const NAMESPACES: [(Entrance, Layer, &std::ffi::CStr); 8] = [
    (Entrance::Users, Layer::UserNamespace, c"self/ns/user"),
    (Entrance::Mounts, Layer::MountNamespace, c"self/ns/mnt"),
    (Entrance::Processes, Layer::PidNamespace, c"self/ns/pid"),
    (Entrance::Network, Layer::Network, c"self/ns/net"),
    (Entrance::Queues, Layer::IpcNamespace, c"self/ns/ipc"),
    (Entrance::HostName, Layer::UtsNamespace, c"self/ns/uts"),
    (Entrance::Groups, Layer::CgroupNamespace, c"self/ns/cgroup"),
    (Entrance::Clocks, Layer::TimeNamespace, c"self/ns/time_for_children"),
];

/// Where process ids of an engine begin.
const FIRST_ID: &[u8] = b"100";

/// Makes the walls and waits in them; returns only when they could not be made.
pub(crate) fn furnish(mut carried: Carried<'_>) -> Result<Infallible, Failed> {
    hide_groups_and_clocks(&mut carried);
    network::make(&mut carried)?;
    skip_process_ids(&carried)?;
    // Unreadable before the host is gone, as the init of every run.
    sys::set_dumpable(false).at(Step::ParentDeath)?;
    let (root, built) = init::build_root(&mut carried, None)?;
    root.finish()?;
    carried.enforced = carried.enforced.and(built);
    for (which, layer, name) in NAMESPACES {
        if carried.enforced.has(layer) {
            let proc = carried.kit.host_proc.as_fd();
            let namespace = rustix::fs::openat(proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            carried.tell(Event::Entrance(which as u8), Some(namespace.at(Step::Namespaces)?.as_fd()))?;
        }
    }
    if let Some(rules) = confine::rules(carried.plan)? {
        carried.tell(Event::Entrance(Entrance::Rules as u8), Some(rules.made.as_fd()))?;
    }
    carried.tell(Event::Stands(carried.enforced.bits()), None)?;
    init::watch_over_namespace(&init::Watched::Comers, carried.control, &carried.kit.init_filter)
}

/// The template is process 2 of its namespace, and so would be every engine of its own. Libraries see by their
/// process id that they were forked (OpenSSL's random numbers, Python's `tempfile`), and would see nothing.
fn skip_process_ids(carried: &Carried<'_>) -> Result<(), Failed> {
    match sys::write_kernel_file(carried.kit.host_proc.as_fd(), c"sys/kernel/ns_last_pid", FIRST_ID) {
        // A kernel without checkpoints: an id is skipped by being used.
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => match sys::clone_into(0, None).at(Step::Fork)? {
            sys::Forked::Child => sys::exit_now(0),
            sys::Forked::Parent { pid, .. } => sys::reap(Some(pid), true).at(Step::Fork).map(drop),
        },
        other => other.at(Step::Fork),
    }
}
