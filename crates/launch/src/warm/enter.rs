//! In a template, and in the engines that it forks before any of their own code: into the walls and behind them.
//!
//! Linked into the library that a template loads. The walls stand already (`warm::cell`); here the new process
//! is born into them, and does what only a process can for itself: its user, its rights, its limits, its filter.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stockade_core::layer::{Layer, Layers};
use stockade_core::paths;

use super::entrance::{Entrance, Entrances};
use super::sealing::Sealing;
use super::sys::{Side, enter_namespace, fork_through};
use super::wire::{self as orders, Said};
use crate::failure::Step;
use crate::hooks;
use crate::inside::{At, Failed, become_own_user, enter_own_users, give_up_rights, tell_failure};
use crate::sys;
use crate::wire::{self, Event};

/// What the interpreter wants done around a fork.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Before, in the template.
    pub before: fn(),
    /// After, in the template.
    pub after: fn(),
}

/// Why [`serve`] returned.
#[derive(Debug)]
pub enum Served {
    /// This process is an engine behind its walls, and this descriptor its socket to the launcher.
    Engine(RawFd),
    /// This is the template, and nobody orders engines any more.
    Over,
}

/// Tells the launcher that the template has imported what it was to, and forks engines on its orders.
///
/// # Errors
/// When the launcher cannot be heard.
pub fn serve(socket: BorrowedFd<'_>, sealing: &Sealing, around: Around) -> Result<Served, Errno> {
    orders::say(socket, Said::Ready)?;
    let mut number: u32 = 0;
    while let Some(entrances) = orders::next_engine(socket)? {
        number = number.wrapping_add(1);
        (around.before)();
        let forked = fork_through(|| enter(&entrances));
        if forked == Ok(Side::Child) {
            return Ok(Served::Engine(become_engine(entrances, sealing)));
        }
        (around.after)();
        if let Err(errno) = forked {
            orders::say(socket, Said::Failed(number, errno.raw_os_error()))?;
        }
    }
    Ok(Served::Over)
}

/// In the process between: into everything that the engine must be born into.
fn enter(entrances: &Entrances) -> Result<(), Errno> {
    let are_for_birth = |which: &Entrance| *which < Entrance::Clocks;
    entrances.iter().filter(|(which, _)| are_for_birth(which)).try_for_each(|(_, namespace)| enter_namespace(namespace))
}

/// Puts up the walls, or ends.
fn become_engine(entrances: Entrances, sealing: &Sealing) -> RawFd {
    // Closed by number below, or kept.
    let entrances = std::mem::ManuallyDrop::new(entrances);
    let Some(control) = entrances.get(Entrance::Control) else { sys::exit_now(2) };
    match seal(&entrances, sealing, control) {
        Ok(()) => control.as_raw_fd(),
        Err(failed) => {
            tell_failure(control, failed);
            sys::exit_now(1)
        }
    }
}

fn seal(entrances: &Entrances, sealing: &Sealing, control: BorrowedFd<'_>) -> Result<(), Failed> {
    if let Some(clocks) = entrances.get(Entrance::Clocks) {
        enter_namespace(clocks).at(Step::Time)?;
    }
    become_own_user(true)?;
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut enforced = Layers::NONE;
    if enter_own_users(proc.at(Step::Proc)?.as_fd())? {
        enforced = enforced.with(Layer::LockedMounts);
    }
    sys::start_session().at(Step::Session)?;
    for (resource, most) in &sealing.limits {
        sys::limit(*resource, *most).at(Step::Rlimits)?;
    }
    enforced = enforced.with(Layer::Rlimits).and(give_up_rights()?);
    rustix::process::chdir(paths::JOB).at(Step::WorkingFolder)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let streams = [Entrance::Input, Entrance::Output, Entrance::Error, Entrance::Result];
    for (number, which) in (0..).zip(streams) {
        if let Some(stream) = entrances.get(which) {
            sys::place_descriptor(stream, number).at(Step::Streams)?;
        }
    }
    if let Some(rules) = entrances.get(Entrance::Rules) {
        sys::restrict_self(rules).at(Step::Landlock)?;
        enforced = enforced.and(sealing.rules_give);
    }
    let mut kept = vec![control.as_raw_fd()];
    kept.extend(entrances.get(Entrance::Result).map(|_| 3));
    kept.sort_unstable();
    sys::close_all_but(&kept).at(Step::Descriptors)?;
    if !hooks::removed(Layer::Seccomp) {
        sys::load_filter(&sealing.filter, false).at(Step::Seccomp)?;
        enforced = enforced.with(Layer::Seccomp);
    }
    wire::tell(control, Event::Sealed(enforced.bits()), None).at(Step::Supervisor)
}
