//! How a launcher comes to be: from a process of whoever started the node to one that has only what it needs.
//!
//! It is started before the node gives anything up, for only root (or newuidmap) can write the map of its user
//! namespace. It says when it has one, waits for the node to have written the map, and begins with what the node
//! then tells it: by that time neither of them is root of the host any more.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::FdFlags;
use rustix::process::{Gid, Uid};

use super::Settings;
use crate::range::Range;
use crate::refusal::Refusal;
use crate::settings::Launcher;
use crate::user::{self, Service};
use crate::wire::{self, Answer, Ask, Beside, Frame};

/// The command, beside this program.
const COMMAND: &str = "stockade";

/// Becomes the launcher; `None` when the node thought better of it.
///
/// # Errors
/// [`Refusal`]; the process must end then.
pub(crate) fn become_launcher(control: &OwnedFd, asked: &Launcher) -> Result<Option<Settings>, Refusal> {
    let failed = |error: io::Error| Refusal::failed("the launcher cannot serve", crate::system_text(&error));
    let program = std::env::current_exe().map_err(failed)?.with_file_name(COMMAND);
    crate::start::allow_descriptors()?;
    let mut witness = None;
    if asked.users.is_some() {
        // From within it cannot be seen whose files are.
        let seen = stockade_launch::witness::Witness::look().to_file().map_err(failed)?;
        rustix::io::fcntl_setfd(&seen, FdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        witness = Some(seen.into_raw_fd());
        stockade_launch::users::separate().map_err(|failure| not_apart(&failure))?;
        let bytes = wire::encode(&Answer::Apart {}).unwrap_or_default();
        wire::send(control, &bytes, &[]).map_err(failed)?;
    }
    let Some((folder, policies, held)) = first_words(control).map_err(failed)? else { return Ok(None) };
    if asked.users.is_some() {
        stockade_launch::users::become_root().map_err(|failure| not_apart(&failure))?;
    } else {
        let (uid, gid) = (Uid::from_raw(asked.user), Gid::from_raw(asked.group));
        user::settle(&Service { uid, gid, name: None })?;
        rustix::thread::set_no_new_privs(true).map_err(|errno| failed(errno.into()))?;
    }
    // What is built below the folder is for the users of runs to read; the folder itself lets nobody else in.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for lock in held {
        // Whatever is started from here on holds them too, and so does this process to its end.
        rustix::io::fcntl_setfd(&lock, FdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        let _kept = lock.into_raw_fd();
    }
    rustix::process::chdir(folder.as_str()).map_err(|errno| failed(errno.into()))?;
    Ok(Some(Settings {
        folder: folder.into(),
        program,
        policies: policies.into_iter().map(Into::into).collect(),
        concurrent: asked.runs,
        sessions: asked.sessions,
        pools: asked.users.map_or(0, |range| asked.pools.min(pools_most(range))),
        users: asked.users,
        witness,
    }))
}

/// Half of the ids are for runs.
fn pools_most(range: Range) -> usize {
    usize::try_from(range.count() / 2 / super::pools::IDS).unwrap_or(0)
}

fn not_apart(failure: &stockade_launch::Failure) -> Refusal {
    Refusal::new(crate::refusal::Kind::Failed, failure.to_string(), failure.why(), failure.next())
}

type Words = (String, Vec<String>, Vec<OwnedFd>);

/// Waits for what the node says first.
fn first_words(control: &OwnedFd) -> io::Result<Option<Words>> {
    loop {
        match wire::receive(control.as_fd(), Beside::Descriptors) {
            Ok(Frame::End) => return Ok(None),
            Ok(Frame::Whole(bytes, held)) => match wire::parse::<Ask>(&bytes) {
                Some(Ask::Begin { folder, policies }) => return Ok(Some((folder, policies, held))),
                Some(_) | None => return Err(io::Error::other("the node said something unknown")),
            },
            Ok(Frame::Broken) => return Err(io::Error::other("a frame of the node's was too large")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(control)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the other side has said something, or closed its end.
pub(crate) fn wait_for(socket: &OwnedFd) -> io::Result<()> {
    match rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
