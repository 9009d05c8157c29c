//! Children of this process that nobody knows of: walls whose maker was killed before it could say that it had begun
//! them.
//!
//! They are this process's children, so nobody else may take notice of their ends; and the kernel ends a template's
//! init only when somebody has, of every process in its namespace.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;
use stockade_core::warm::Ids;

use crate::outside::Init;
use crate::sys;

/// How long the kernel may take to kill what is in a namespace.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of an init takes at most when nothing keeps it.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// Takes notice of every dead child with one of a template's users, until its init, which was killed, has ended.
pub(super) fn reap(init: &Init, ids: Ids) {
    let until = Instant::now() + PATIENCE;
    loop {
        let ended = rustix::event::poll(&mut [PollFd::new(&init.pidfd, PollFlags::IN)], Some(&MOMENT));
        if matches!(ended, Ok(1..)) || Instant::now() >= until {
            return;
        }
        for child in dead_children(ids) {
            // It is dead, so this does not wait.
            sys::reap(Some(child), false).ok();
        }
    }
}

fn dead_children(ids: Ids) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| is_dead_child(*pid, own, ids)).collect()
}

fn is_dead_child(pid: Pid, own: Pid, ids: Ids) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let first = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next())
    };
    let (parent, user) = (first("PPid"), first("Uid").and_then(|user| user.parse().ok()));
    let (lowest, count) = ids.others();
    first("State") == Some("Z")
        && parent.and_then(|parent| parent.parse().ok()) == Some(own.as_raw_nonzero().get())
        && user.is_some_and(|user: u32| user >= lowest && user - lowest < count)
}
