//! Warm engines, outside: one that waits, and what becomes of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::process::Pid;
use stockade_core::audit::Recorded;
use stockade_core::layer::Layers;
use stockade_core::plan::Plan;

use super::{Lease, ready, verify};
use crate::failure::Failure;
use crate::outside::{self, Running, failed};

/// An engine behind its walls that nobody has claimed. Dropping it kills everything in them.
#[derive(Debug)]
pub struct Engine {
    pub(super) running: Running,
    /// Its end of the socket is the engine's.
    pub(super) socket: OwnedFd,
    pub(super) seen: verify::Seen,
    // After the walls.
    pub(super) lease: Lease,
}

/// An engine that is one run's: for one principal, once. Dropping it kills everything in its walls.
#[derive(Debug)]
pub struct Claimed(pub(super) Engine);

/// An engine that was killed, and what the kernel still takes down. Dropping it waits.
#[derive(Debug)]
pub struct Dying(#[expect(dead_code, reason = "held until it is dropped")] Engine);

impl Claimed {
    /// Kills everything in its walls, and does not wait for the kernel to take them down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(self) -> Result<Dying, Failure> {
        self.0.running.init.kill().map_err(failed("kill", "an engine"))?;
        Ok(Dying(self.0))
    }

    /// Its socket: what comes from it is the word of the code.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }

    /// Its standard output, not blocking.
    #[must_use]
    pub fn output(&self) -> BorrowedFd<'_> {
        self.0.running.ends.output.as_fd()
    }

    /// Its standard error, not blocking.
    #[must_use]
    pub fn error(&self) -> BorrowedFd<'_> {
        self.0.running.ends.error.as_fd()
    }

    /// What it says on its result descriptor, not blocking: a claim of the code.
    #[must_use]
    pub fn result(&self) -> Option<BorrowedFd<'_>> {
        self.0.running.ends.result.as_ref().map(AsFd::as_fd)
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.0
    }

    /// Sends its process a signal, as an interrupt does; no error when it has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<(), Failure> {
        crate::sys::signal_session((self.0.seen.pidfd.as_fd(), self.0.seen.pid), signal)
            .map_err(failed("signal", "an engine"))
    }
}

impl Engine {
    /// Makes it that of a run, which is on record and whose plan is the engine's but for its name and for what is
    /// bounded from outside while it runs.
    ///
    /// # Errors
    /// [`Failure::Missing`] when the walls that stand are not those of the plan; the engine is gone then.
    pub fn claim(mut self, recorded: Recorded) -> Result<Claimed, Failure> {
        let plan = recorded.into_plan();
        if !self.serves(&plan) {
            return Err(Failure::Missing { missing: plan.required });
        }
        self.running.plan = plan;
        self.running.started = Instant::now();
        self.running.began = outside::wall_clock();
        Ok(Claimed(self))
    }

    /// Whether neither its process nor its walls have ended.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let waited = [self.seen.pidfd.as_fd(), self.running.init.pidfd.as_fd()];
        matches!(ready(waited, Instant::now()), Ok([false, false]))
    }

    /// Whether the walls that stand are those of this plan.
    #[must_use]
    pub fn serves(&self, plan: &Plan) -> bool {
        let own = &self.running.plan;
        let limits = stockade_core::limits::Limits {
            wall_ms: plan.limits.wall_ms,
            // The kernel holds each process to what the engine was born with; the tree is watched.
            cpu_ms: plan.limits.cpu_ms.min(own.limits.cpu_ms),
            output_bytes: plan.limits.output_bytes,
            output_files: plan.limits.output_files,
            output_depth: plan.limits.output_depth,
            stream_bytes: plan.limits.stream_bytes,
            ..own.limits
        };
        *plan == Plan { run: plan.run.clone(), label: plan.label.clone(), limits, ..own.clone() }
    }

    /// Its host user, by which the plan of its run is made.
    #[must_use]
    pub const fn user(&self) -> u32 {
        self.running.plan.identity.outside_uid
    }

    /// Its process's id outside.
    #[must_use]
    pub const fn process(&self) -> Pid {
        self.seen.pid
    }

    /// The layers in force.
    #[must_use]
    pub const fn enforced(&self) -> Layers {
        self.running.enforced
    }

    /// Its plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.running.plan
    }

    /// The init of its walls.
    #[must_use]
    pub const fn init(&self) -> Pid {
        self.running.init.pid
    }
}
