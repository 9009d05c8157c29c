//! Outside: engines that are followed by a process of their own, and what stays with the one that has the template.
//!
//! Whoever has the template waits for walls to end, keeps users from being used twice, and hears how engines ended.
//! Whoever follows an engine is a fork of that process and a child of its parent: it is given one run, follows it as
//! any run is followed, and its end is its parent's to see. So no run waits for another, or for engines to be made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::{Claimed, Engine, Lease, Rising, Template};
use crate::cgroup::Group;
use crate::failure::Failure;
use crate::finished::Finished;
use crate::outside::{Init, control_pair, failed};
use crate::ready::has_something;
use crate::session::Caller;
use crate::streams::Streams;
use crate::sys::{self, Forked};

/// Which side of the fork this is.
#[derive(Debug)]
pub enum Twin {
    /// The process that has the template: the other's pidfd, and the link to it.
    First(OwnedFd, Link),
    /// The new one, and its link.
    Second(Link),
}

/// Between the two: how the engine ended, and that it is somebody's now.
#[derive(Debug)]
pub struct Link(pub(super) OwnedFd);

/// What is said over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// To the first: the engine is a run's.
    Claimed,
    /// To the second: an engine that nobody has claimed is to go.
    GiveUp,
    /// To the second: the engine's process has ended, as wait(2) has it.
    Ended(i32),
}

const WORD_BYTES: usize = 8;

impl Word {
    const fn to_bytes(self) -> [u8; WORD_BYTES] {
        let (kind, [a, b, c, d]) = match self {
            Self::Claimed => (1, [0; 4]),
            Self::GiveUp => (2, [0; 4]),
            Self::Ended(status) => (3, status.to_le_bytes()),
        };
        [kind, 0, 0, 0, a, b, c, d]
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = match bytes {
            [1, ..] => Self::Claimed,
            [2, ..] => Self::GiveUp,
            [3, _, _, _, a, b, c, d] => Self::Ended(i32::from_le_bytes([*a, *b, *c, *d])),
            _ => return None,
        };
        (word.to_bytes() == bytes).then_some(word)
    }
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// This.
    Word(Word),
    /// Nothing at the moment.
    Nothing,
    /// The other is gone.
    Gone,
}

impl Link {
    /// Says something; who does not hear it is gone.
    pub fn say(&self, word: Word) {
        rustix::net::send(&self.0, &word.to_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT).ok();
    }

    /// What the other has said, without waiting.
    #[must_use]
    pub fn hear(&self) -> Heard {
        let mut bytes = [0; WORD_BYTES];
        match rustix::net::recv(&self.0, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((_, WORD_BYTES)) => Word::parse(&bytes).map_or(Heard::Gone, Heard::Word),
            Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
            Ok(_) | Err(_) => Heard::Gone,
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Forks this process, which must have one thread, into one beside it: both have the same parent, with which the new
/// one ends. In the new one signals wait until somebody follows a run.
///
/// # Errors
/// When the kernel refuses.
pub fn fork() -> Result<Twin, Failure> {
    if !sys::single_threaded() {
        return Err(Failure::Threads);
    }
    let (first, second) = control_pair()?;
    match sys::clone_beside(0).map_err(failed("start", "the process that follows an engine"))? {
        Forked::Parent { pidfd, .. } => Ok(Twin::First(pidfd, Link(first))),
        Forked::Child => {
            drop(first);
            let waiting = sys::signal_descriptor(&crate::supervise::SIGNALS);
            if waiting.is_err() || sys::die_with_parent().is_err() {
                sys::exit_now(1)
            }
            Ok(Twin::Second(Link(second)))
        }
    }
}

/// Ends this process at once: nothing of what it shares with the one it was forked from is taken down.
pub fn leave(status: u8) -> ! {
    sys::exit_now(i32::from(status))
}

/// What is left of an engine with the process that has the template. Dropping it kills everything in its walls.
#[derive(Debug)]
pub struct Remains {
    // Dropped in this order: a group with a process stays, and a user is another's only when nobody has it.
    init: Init,
    group: Option<Group>,
    _lease: Lease,
    pid_in_template: u32,
}

impl Engine {
    /// Lets go of everything that the process needs which follows it.
    #[must_use]
    pub fn into_remains(self) -> Remains {
        let Self { running, seen, lease, .. } = self;
        let crate::outside::Running { init, group, .. } = running;
        Remains { init, group, _lease: lease, pid_in_template: seen.pid_in_template }
    }
}

impl Remains {
    /// Ready when the walls are down.
    #[must_use]
    pub fn init(&self) -> BorrowedFd<'_> {
        self.init.pidfd.as_fd()
    }

    /// Whether they are.
    #[must_use]
    pub fn are_down(&self) -> bool {
        has_something(self.init())
    }

    /// Kills everything, and does not wait.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<(), Failure> {
        self.init.kill().map_err(failed("kill", "an engine"))
    }

    /// Kills the template, which keeps the kernel from taking these walls down.
    pub fn kill_template(&self) {
        self.init.kill_keeper();
    }

    /// In a fork of the process that has the template: they are not this one's to take down.
    pub fn disown(mut self) {
        self.init.disown();
        if let Some(group) = &mut self.group {
            group.disown();
        }
    }
}

impl Template {
    /// How an engine ended that another process follows, if it has: as wait(2) has it.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the template is gone, and all its engines with it.
    pub fn end_of_followed(&mut self, remains: &Remains) -> Result<Option<i32>, Failure> {
        self.end_by_number(remains.pid_in_template)
    }

    /// Ready when an engine has ended, or the template has.
    #[must_use]
    pub fn control(&self) -> BorrowedFd<'_> {
        self.running.control.as_fd()
    }

    /// In a fork of the process that has it: it is not this one's to end.
    pub fn disown(mut self) {
        self.is_disowned = true;
        self.maker.disown();
        self.running.disown();
        self.stand.iter_mut().for_each(|cell| cell.running.disown());
        for Rising { group, .. } in &mut self.rising {
            group.iter_mut().for_each(Group::disown);
        }
    }
}

impl Claimed {
    /// Puts files into the working folder, where the code finds them; they are its user's.
    ///
    /// # Errors
    /// [`Failure`] when they do not fit, or one is no regular file.
    pub fn stage(&mut self, files: &[(&str, &OwnedFd)]) -> Result<(), Failure> {
        let running = &mut self.0.running;
        let scratch = running.scratch.as_ref().ok_or(Failure::Lost)?;
        let staged = crate::stage::copy_given(&running.plan, scratch.as_fd(), files)?;
        running.staged.extend(staged);
        Ok(())
    }

    /// Follows it to its end, as a run; `link` tells how its process ended if it did not say so itself.
    ///
    /// # Errors
    /// [`Failure`] when it ended without a word; everything in it is dead then.
    pub fn follow(self, streams: Streams<'_>, link: &Link) -> Result<Finished, Failure> {
        self.follow_as(streams, link, None)
    }

    /// Follows it as a session, to its end: `caller` orders, and is answered.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub fn converse(self, streams: Streams<'_>, link: &Link, caller: &mut dyn Caller) -> Result<Finished, Failure> {
        self.follow_as(streams, link, Some(caller))
    }

    fn follow_as(
        self,
        streams: Streams<'_>,
        link: &Link,
        caller: Option<&mut dyn Caller>,
    ) -> Result<Finished, Failure> {
        let Engine { running, socket, seen, .. } = self.0;
        let engine = super::ending::Engine::new(socket, link, (seen.pid, seen.pidfd));
        crate::supervise::follow_engine(running, streams, engine, caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_was_said_and_nothing_else_is_one() {
        for word in [Word::Claimed, Word::GiveUp, Word::Ended(-1), Word::Ended(7 << 8)] {
            assert_eq!(Word::parse(&word.to_bytes()), Some(word));
        }
        for bytes in [&[1, 0, 0, 0, 1, 0, 0, 0][..], &[0; 8], &[4, 0, 0, 0, 0, 0, 0, 0], &[1], &[]] {
            assert_eq!(Word::parse(bytes), None, "{bytes:?}");
        }
    }
}
