//! One supervisor: a child process that is waited for, asked to end, and at last killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::users::Lease;

/// After the first interrupt, which is the code's to handle, the second ends it.
const FIRST: Duration = Duration::from_millis(150);
/// After the second the supervisor has this long to collect what there is.
const SECOND: Duration = Duration::from_millis(5_000);

/// The status of what an interrupt has ended, as shells have it.
pub(super) const INTERRUPTED: i32 = 130;

#[derive(Debug)]
pub(super) struct Supervisor {
    process: Process,
    lease: Option<Lease>,
    pidfd: OwnedFd,
    stage: Stage,
    until: Instant,
}

/// How it came to be this process's child.
#[derive(Debug)]
enum Process {
    /// It was started here.
    Child(Child),
    /// It was forked by a child, beside that: by its pidfd it is known here.
    Twin,
}

/// How hard it was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Interrupted,
    InterruptedAgain,
    Killed,
}

impl Supervisor {
    /// Follows a child with these users that has until `until`.
    pub(super) fn of(mut child: Child, lease: Option<Lease>, until: Instant) -> io::Result<Self> {
        match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { process: Process::Child(child), lease, pidfd, stage: Stage::Running, until }),
            Err(errno) => {
                // Nobody could follow it.
                child.kill()?;
                child.wait()?;
                Err(errno.into())
            }
        }
    }

    /// Follows a child that another child has forked, which has until `until`.
    pub(super) const fn of_twin(pidfd: OwnedFd, until: Instant) -> Self {
        Self { process: Process::Twin, lease: None, pidfd, stage: Stage::Running, until }
    }

    /// Whether it was asked to end.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.stage != Stage::Running
    }

    pub(super) const fn lease(&self) -> Option<Lease> {
        self.lease
    }

    pub(super) const fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Its status, once it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.process {
            Process::Child(child) => child.try_wait().ok().flatten(),
            Process::Twin => waited_for(&self.pidfd, WaitIdOptions::NOHANG),
        }
    }

    /// Asks it to end, unless that was done.
    pub(super) fn cancel(&mut self, now: Instant) {
        if self.stage == Stage::Running {
            self.until = now;
            self.press(now);
        }
    }

    /// Gives it this long to end by itself.
    pub(super) fn end_by(&mut self, until: Instant) {
        if self.stage == Stage::Running {
            self.until = self.until.min(until);
        }
    }

    /// Goes one stage further when its time is over; tells when the next one is due.
    pub(super) fn press(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.until {
            (self.stage, self.until) = match self.stage {
                Stage::Running => (Stage::Interrupted, now + FIRST),
                Stage::Interrupted => (Stage::InterruptedAgain, now + SECOND),
                Stage::InterruptedAgain | Stage::Killed => (Stage::Killed, now + SECOND),
            };
            match self.stage {
                Stage::Running | Stage::Interrupted | Stage::InterruptedAgain => self.signal(Signal::INT),
                Stage::Killed => self.signal(Signal::KILL),
            }
        }
        Some(self.until)
    }

    pub(super) fn kill(&mut self) {
        self.stage = Stage::Killed;
        self.signal(Signal::KILL);
    }

    pub(super) fn wait(mut self) {
        match &mut self.process {
            Process::Child(child) => {
                if let Err(error) = child.wait() {
                    tracing::warn!(error = %error, "the end of a run cannot be waited for");
                }
            }
            Process::Twin => drop(waited_for(&self.pidfd, WaitIdOptions::empty())),
        }
    }

    /// By the descriptor: a number could be another's meanwhile.
    fn signal(&self, signal: Signal) {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => tracing::warn!(error = %io::Error::from(errno), "a run cannot be signalled"),
        }
    }
}

/// The status of a child by its pidfd; of what is no child of this process, that it was killed.
fn waited_for(pidfd: &OwnedFd, options: WaitIdOptions) -> Option<ExitStatus> {
    match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | options) {
        Ok(ended) => {
            let ended = ended?;
            let signal = ended.terminating_signal().unwrap_or(0);
            Some(ExitStatus::from_raw(ended.exit_status().unwrap_or(0) << 8 | signal))
        }
        Err(rustix::io::Errno::INTR) => None,
        Err(_) => Some(ExitStatus::from_raw(Signal::KILL.as_raw())),
    }
}

/// An exit status as shells have it, and whether a signal ended the process.
pub(super) fn status(status: ExitStatus) -> (i32, bool) {
    status.code().map_or_else(|| (128 + status.signal().unwrap_or(0), true), |code| (code, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(ignoring: bool) -> Supervisor {
        let trap = if ignoring { "trap '' INT; " } else { "" };
        // What is ignored stays so over an execution.
        let code = format!("{trap}echo; exec sleep 1000");
        let mut child =
            std::process::Command::new("sh").args(["-c", &code]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Supervisor::of(child, None, Instant::now() + Duration::from_secs(1_000)).unwrap()
    }

    fn ends(mut supervisor: Supervisor) -> (i32, bool) {
        rustix::event::poll(&mut [rustix::event::PollFd::new(supervisor.pidfd(), rustix::event::PollFlags::IN)], None)
            .unwrap();
        status(supervisor.ended().unwrap())
    }

    #[test]
    fn a_cancelled_child_is_interrupted() {
        let mut supervisor = sleeper(false);
        assert!(supervisor.ended().is_none());
        supervisor.cancel(Instant::now());
        assert_eq!(ends(supervisor), (130, true));
    }

    #[test]
    fn a_child_that_ignores_that_is_killed() {
        let mut supervisor = sleeper(true);
        let now = Instant::now();
        supervisor.cancel(now);
        assert_eq!(supervisor.press(now), Some(now + FIRST));
        assert_eq!(supervisor.press(now + FIRST), Some(now + FIRST + SECOND));
        supervisor.cancel(now + FIRST);
        assert!(supervisor.ended().is_none(), "asking again does not hurry it");
        supervisor.press(now + FIRST + SECOND);
        assert_eq!(ends(supervisor), (137, true));
    }
}
