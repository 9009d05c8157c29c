//! A run whose caller is the node: it ends with its caller, and its report goes to a descriptor.

use std::fs::{File, OpenOptions};
use std::io::Write;

use rustix::process::{Pid, Signal};
use stockade_launch::witness::Witness;

use crate::args::Supervised;
use crate::machine;
use crate::printer;
use crate::problem::Problem;

/// Where the report goes.
#[derive(Debug)]
pub(crate) struct Reporter(Option<File>);

/// Ties this process to its caller, and opens what its report goes to, before anything is made.
pub(crate) fn begin(asked: &Supervised) -> Result<Reporter, Problem> {
    if let Some(parent) = asked.parent {
        end_with(parent)?;
    }
    if let Some(number) = asked.witness_fd {
        let read = File::open(format!("/proc/self/fd/{number}")).and_then(Witness::read);
        machine::believe(read.map_err(|error| {
            Problem::new("cannot see what is the machine's", error.to_string(), "start the node anew")
        })?);
    }
    if asked.host_user.is_some() && !rustix::process::geteuid().is_root() {
        return Err(Problem::new(
            "the code cannot have the user that was leased to it",
            "only root, or who is root in a user namespace, gives users",
            "run it without --host-user",
        ));
    }
    asked.report_fd.map(open).transpose().map(Reporter)
}

impl Reporter {
    /// One whose report goes here.
    pub(crate) fn to(descriptor: std::os::fd::OwnedFd) -> Self {
        Self(Some(descriptor.into()))
    }

    /// Whether a program waits for the report.
    pub(crate) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the one document. Who reads it takes none, or half of one, for a run of unknown end.
    pub(crate) fn write(&mut self, document: &str) {
        if let Some(file) = &mut self.0
            && let Err(error) = file.write_all(document.as_bytes())
        {
            printer::remark(&format!("stockade: cannot write the report: {error}"));
        }
    }
}

/// Opened anew by its number: descriptors that are inherited have no owner here.
fn open(number: u32) -> Result<File, Problem> {
    let failed = |error: &std::io::Error| {
        Problem::new("cannot write the report", error.to_string(), "give --report-fd a descriptor that is open")
    };
    OpenOptions::new().write(true).open(format!("/proc/self/fd/{number}")).map_err(|error| failed(&error))
}

/// The kernel kills this process when its parent ends, and with it the sandbox.
pub(crate) fn end_with(parent: u32) -> Result<(), Problem> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|errno| {
        Problem::new("cannot tie this run to its caller", stockade_launch::errno_text(errno), "run it without --parent")
    })?;
    // The caller may have ended before the kernel was told.
    let is_there = rustix::process::getppid()
        .map(Pid::as_raw_nonzero)
        .is_some_and(|pid| i64::from(pid.get()) == i64::from(parent));
    if is_there {
        Ok(())
    } else {
        Err(Problem::new("the caller of this run has ended", "nobody waits for it", "start it again"))
    }
}
