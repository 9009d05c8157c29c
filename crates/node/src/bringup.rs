//! Starts the launcher, while this process still may: with users of the host for engines, and with a cgroup for them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Pid;
use stockade_launch::cgroup::{self, Delegated};
use stockade_launch::users::{self, Map};

use crate::launcher::wait_for;
use crate::log;
use crate::range::Range;
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::user::Service;
use crate::users::Engines;
use crate::wire::{self, Answer, Ask, Beside, Frame};

/// The command, beside this program.
const COMMAND: &str = "stockade";

/// A launcher that waits to be told where its folder is. It ends by itself when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    process: Child,
    control: OwnedFd,
}

/// How many runs and sessions a launcher carries out at once, how many pools it keeps, and how much it logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most<'a> {
    pub(crate) runs: usize,
    pub(crate) sessions: usize,
    pub(crate) pools: usize,
    pub(crate) levels: &'a str,
}

/// Starts the launcher of a service that this process is, or is about to become.
///
/// # Errors
/// [`Refusal`] when it cannot be started, or cannot have the users that engines are to have.
pub(crate) fn start(service: &Service, engines: Engines, most: Most<'_>) -> Result<Waiting, Refusal> {
    let failed = |error: io::Error| Refusal::failed("the launcher cannot be started", crate::system_text(&error));
    let (control, far) = wire::pair().map_err(failed)?;
    let is_root = rustix::process::geteuid().is_root();
    let groups = if is_root { delegated(service) } else { None };
    let process = spawn(service, engines, most, far).map_err(failed)?;
    let pid = Pid::from_child(&process);
    let waiting = Waiting { process, control };
    if let Some(Err(failure)) = groups.map(|groups| groups.attach(pid)) {
        without_group(&failure);
    }
    if let Engines::Own(range) = engines {
        waiting.until_apart()?;
        let (users, groups) = (map(service.uid.as_raw(), range), map(service.gid.as_raw(), range));
        if is_root {
            users::write_maps(pid, users, groups)
                .map_err(|failure| Refusal::new(Kind::Failed, failure.to_string(), failure.why(), failure.next()))?;
        } else {
            for (program, map) in [("newuidmap", users), ("newgidmap", groups)] {
                write_map(program, pid, map)?;
            }
        }
    }
    Ok(waiting)
}

const fn map(root: u32, range: Range) -> Map {
    Map { root, first: range.first(), count: range.count() }
}

fn spawn(service: &Service, engines: Engines, most: Most<'_>, far: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(own_program()?);
    command.arg("internal-launcher").arg("--runs").arg(most.runs.to_string());
    command.arg("--sessions").arg(most.sessions.to_string());
    command.arg("--pools").arg(most.pools.to_string());
    // Secrets are for the process that keeps them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(secrets::VARIABLES) {
            command.env_remove(name);
        }
    }
    // They stay as they are at the start.
    command.env(log::VARIABLE, most.levels);
    command.arg("--user").arg(service.uid.as_raw().to_string());
    command.arg("--group").arg(service.gid.as_raw().to_string());
    if let Engines::Own(range) = engines {
        command.arg("--users").arg(range.to_string());
    }
    // Keys of a terminal are for the node.
    command.process_group(0).stdin(far).stdout(Stdio::null()).spawn()
}

fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Makes sure that the command is where runs will look for it.
///
/// # Errors
/// [`Refusal`] when it is not.
pub(crate) fn check_command() -> Result<(), Refusal> {
    let own =
        own_program().map_err(|error| Refusal::failed("the launcher cannot be started", crate::system_text(&error)))?;
    if own.with_file_name(COMMAND).is_file() {
        return Ok(());
    }
    Err(Refusal::invalid(
        "the command is missing",
        format!("there is no `{COMMAND}` beside `stockade-node`"),
        "install both into one folder",
    ))
}

/// Groups below this process's own for the service's user; none where there is no place for them.
fn delegated(service: &Service) -> Option<Delegated> {
    let available = cgroup::find();
    cgroup::sweep_delegated(&available);
    Delegated::make(&available, service.uid.as_raw(), service.gid.as_raw())
        .map_err(|failure| without_group(&failure))
        .ok()
}

fn without_group(failure: &cgroup::Failure) {
    tracing::warn!(
        why = %failure,
        errno = stockade_launch::errno_text(failure.errno()),
        "no cgroup for runs: what bounds them then is in their reports"
    );
}

/// By the program that is trusted with the host's ids.
fn write_map(program: &str, pid: Pid, map: Map) -> Result<(), Refusal> {
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string()).args(map.words().map(|word| word.to_string()));
    let refused = |why: String| {
        Refusal::invalid(
            "engines cannot have users of their own",
            why,
            "install newuidmap and newgidmap (Debian: apt install uidmap), start the node as root with --run-as USER, \
             or let all runs have the node's own user with --shared-user",
        )
    };
    match command.stdin(Stdio::null()).output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => {
            let said = String::from_utf8_lossy(&stderr);
            Err(refused(stockade_core::text::shown(said.trim(), 300)))
        }
        Err(error) => Err(refused(format!("`{program}`: {}", crate::system_text(&error)))),
    }
}

impl Waiting {
    /// Waits until it has a user namespace of its own.
    fn until_apart(&self) -> Result<(), Refusal> {
        let ended = |why: &str| Refusal::failed("the launcher has no user namespace", why);
        loop {
            match wire::receive(&self.control, Beside::Nothing) {
                Ok(Frame::Whole(bytes, _)) if wire::parse(&bytes) == Some(Answer::Apart {}) => return Ok(()),
                Ok(Frame::Whole(..) | Frame::Broken) => return Err(ended("it said something unknown")),
                Ok(Frame::End) => return Err(ended("it ended; the line above says why")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&self.control).map_err(|error| ended(&crate::system_text(&error)))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ended(&crate::system_text(&error))),
            }
        }
    }

    /// Lets it begin, in this folder, with locks that it and all it starts hold to their end.
    ///
    /// # Errors
    /// [`Refusal`] when it is gone, or a path cannot be told.
    pub(crate) fn begin(
        self,
        folder: &Path,
        policies: &[PathBuf],
        held: &[&std::fs::File],
    ) -> Result<(Child, OwnedFd), Refusal> {
        let ask = Ask::Begin {
            folder: told(folder)?,
            policies: policies.iter().map(|path| told(path)).collect::<Result<_, _>>()?,
        };
        let failed = |why: String| Refusal::failed("the launcher cannot be started", why);
        let bytes = wire::encode(&ask).ok_or_else(|| failed("too many policies are named".to_owned()))?;
        let held: Vec<_> = held.iter().map(|file| file.as_fd()).collect();
        wire::send(&self.control, &bytes, &held).map_err(|error| failed(crate::system_text(&error)))?;
        Ok((self.process, self.control))
    }
}

fn told(path: &Path) -> Result<String, Refusal> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| {
        let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
        Refusal::invalid(format!("the path `{shown}` cannot be used"), "it is no UTF-8", "name another")
    })
}
