//! Inside, pid 1 of the sandbox: ours, never the code.
//!
//! Reaps, forwards signals, dies with the supervisor (parent-death signal and the control socket as
//! a lifeline), and when the code has ended kills whatever is left. It is not dumpable, has no
//! capability and hardly a system call, so the code finds nothing in it to take over.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::hooks::{self, Side};
use crate::seccomp::Instruction;
use crate::sys;
use crate::wire::{self, Event, Order, Received};

/// Watches over the code until the supervisor lets go.
pub(crate) fn guard(code: Pid, control: BorrowedFd<'_>, filter: &[Instruction]) -> ! {
    hooks::enter(Side::Init);
    // An init that cannot be guarded ends, and with it, by the kernel, everything inside.
    let status = match watch_over(code, control, filter) {
        Ok(()) => 0,
        Err(_) => 3,
    };
    sys::exit_now(status)
}

fn watch_over(code: Pid, control: BorrowedFd<'_>, filter: &[Instruction]) -> Result<(), Errno> {
    let children = sys::signal_descriptor(&[libc::SIGCHLD])?;
    let kept = {
        use std::os::fd::AsRawFd;
        let mut kept = [control.as_raw_fd(), children.as_raw_fd()];
        kept.sort_unstable();
        kept
    };
    sys::close_all_but(&kept)?;
    sys::close_streams();
    sys::drop_capabilities()?;
    sys::load_filter(filter, false)?;
    let mut guard = Guard { code: code.as_raw_nonzero().get(), ended: None };
    // The code may have ended before there was a descriptor to tell of it.
    guard.look_after_children(control)?;
    loop {
        let mut waited = [PollFd::from_borrowed_fd(control, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
        match rustix::event::poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let [from_control, from_children] = waited.map(|one| !one.revents().is_empty());
        if from_children {
            while sys::next_signal(children.as_fd()).is_some() {}
            guard.look_after_children(control)?;
        }
        if from_control {
            match wire::next_order(control)? {
                Received::Closed => return Ok(()),
                Received::Frame(Order::Kill) => sys::kill_all().or_else(none_left)?,
                Received::Frame(Order::Signal(signal)) => guard.forward(signal)?,
                Received::Frame(Order::Proceed) => return Err(Errno::PROTO),
            }
        }
    }
}

struct Guard {
    code: i32,
    ended: Option<i32>,
}

impl Guard {
    /// Reaps; when the code is among the dead, tells so, kills the rest and tells that.
    fn look_after_children(&mut self, control: BorrowedFd<'_>) -> Result<(), Errno> {
        self.reap_ended()?;
        let Some(status) = self.ended.take() else { return Ok(()) };
        wire::tell(control, Event::Exited(status), None)?;
        let killed = kill_the_rest()?;
        wire::tell(control, Event::Drained(killed), None)
    }

    fn reap_ended(&mut self) -> Result<(), Errno> {
        loop {
            match sys::reap(-1, false) {
                Ok(Some(ended)) if ended.pid == self.code => self.ended = Some(ended.status),
                Ok(Some(_)) => {}
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn forward(&self, signal: i32) -> Result<(), Errno> {
        sys::signal_group(self.code, signal).or_else(none_left)
    }
}

fn none_left(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::SRCH { Ok(()) } else { Err(errno) }
}

/// Kills until nobody is left; says how many there were.
fn kill_the_rest() -> Result<u32, Errno> {
    let mut killed = 0;
    loop {
        sys::kill_all().or_else(none_left)?;
        match sys::reap(-1, true) {
            Ok(Some(_)) => killed += 1,
            Err(Errno::CHILD) => return Ok(killed),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
