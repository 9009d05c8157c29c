//! Runs that warm engines have: what their followers say of them, and what they are started anew with if need be.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use stockade_core::pool::Said;

use super::command::Task;
use crate::opening::Opening;
use crate::order::Order;
use crate::wire::{self, Beside, Frame, RunId};

/// Every run whose follower has not reported yet.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<RunId, Claimed>);

#[derive(Debug)]
struct Claimed {
    /// `None` once its follower has closed its end.
    socket: Option<OwnedFd>,
    /// `None` once the run has begun.
    anew: Option<Anew>,
}

/// What a run or a session is started with.
#[derive(Debug)]
pub(super) struct Anew {
    pub(super) principal: String,
    pub(super) work: Work,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What is to be done, kept.
#[derive(Debug)]
pub(super) enum Work {
    /// A run.
    Run(Order),
    /// A session, whose orders come over this socket.
    Session(Opening, OwnedFd),
}

impl Work {
    /// # Errors
    /// When there is no room for another descriptor.
    pub(super) fn of(task: Task<'_>) -> io::Result<Self> {
        Ok(match task {
            Task::Run(order) => Self::Run(order.clone()),
            Task::Session(opening, socket) => Self::Session(opening.clone(), socket.try_clone()?),
            // No engine is claimed for what runs nothing.
            Task::Look(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    pub(super) const fn task(&self) -> Task<'_> {
        match self {
            Self::Run(order) => Task::Run(order),
            Self::Session(opening, socket) => Task::Session(opening, socket),
        }
    }
}

impl Anew {
    /// What lies beside its claim.
    pub(super) fn beside(&self) -> Vec<BorrowedFd<'_>> {
        let socket = match &self.work {
            Work::Run(_) => None,
            Work::Session(_, socket) => Some(socket),
        };
        self.descriptors.iter().chain(socket).map(AsFd::as_fd).collect()
    }
}

/// What has come of a run.
#[derive(Debug)]
pub(super) enum Come {
    /// Nothing that matters.
    Nothing,
    /// It has not begun, and is to be started anew.
    Cold(Box<Anew>),
    /// It is over, and reported.
    Done(i32),
    /// Its follower said what none says.
    Nonsense,
}

impl Claims {
    pub(super) fn insert(&mut self, run: &RunId, socket: OwnedFd, anew: Anew) {
        self.0.insert(run.clone(), Claimed { socket: Some(socket), anew: Some(anew) });
    }

    /// What followers speak on.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&RunId, &OwnedFd)> {
        self.0.iter().filter_map(|(run, claimed)| Some((run, claimed.socket.as_ref()?)))
    }

    /// Lets go of a run whose follower has ended; what it is to be started with, if it has not begun.
    pub(super) fn remove(&mut self, run: &RunId) -> Option<Anew> {
        self.0.remove(run)?.anew
    }

    /// Takes one word of a follower.
    pub(super) fn hear(&mut self, run: &RunId) -> Come {
        let Some(claimed) = self.0.get_mut(run) else { return Come::Nothing };
        let Some(socket) = &claimed.socket else { return Come::Nothing };
        let said = match wire::receive(socket, Beside::Nothing) {
            Ok(Frame::Whole(bytes, _)) => Said::parse(&bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Come::Nothing;
            }
            Ok(Frame::Broken) => None,
            Ok(Frame::End) | Err(_) => {
                // Its end tells the rest.
                claimed.socket = None;
                return Come::Nothing;
            }
        };
        match (said, claimed.anew.take()) {
            (Some(Said::Begun), Some(_)) => Come::Nothing,
            (Some(Said::Cold), Some(anew)) => {
                self.0.remove(run);
                Come::Cold(Box::new(anew))
            }
            (Some(Said::Done(status)), None) => {
                self.0.remove(run);
                Come::Done(i32::from(status))
            }
            // Whether it has begun is not known any more: it is not started anew.
            _ => Come::Nonsense,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::order;

    fn claims() -> (Claims, RunId, OwnedFd) {
        let (near, far) = wire::pair().unwrap();
        let run = RunId::parse("0123456789abcdef").unwrap();
        let mut claims = Claims::default();
        let anew = Anew { principal: "uid-1@local".to_owned(), work: Work::Run(order()), descriptors: Vec::new() };
        claims.insert(&run, near, anew);
        (claims, run, far)
    }

    #[test]
    fn a_run_begins_and_ends_once() {
        let (mut claims, run, far) = claims();
        assert!(matches!(claims.hear(&run), Come::Nothing));
        wire::send(&far, &Said::Begun.to_bytes(), &[]).unwrap();
        assert!(matches!(claims.hear(&run), Come::Nothing));
        wire::send(&far, &Said::Done(3).to_bytes(), &[]).unwrap();
        assert!(matches!(claims.hear(&run), Come::Done(3)));
        assert!(wire::send(&far, &Said::Done(3).to_bytes(), &[]).is_err(), "nobody listens any more");
        assert!(matches!(claims.hear(&run), Come::Nothing));
    }

    #[test]
    fn a_run_that_has_begun_is_never_started_anew() {
        let (mut claims, run, far) = claims();
        wire::send(&far, &Said::Begun.to_bytes(), &[]).unwrap();
        claims.hear(&run);
        wire::send(&far, &Said::Cold.to_bytes(), &[]).unwrap();
        assert!(matches!(claims.hear(&run), Come::Nonsense));
        assert!(claims.remove(&run).is_none());
    }

    #[test]
    fn one_that_has_not_is() {
        let (mut claims, run, far) = claims();
        wire::send(&far, &Said::Cold.to_bytes(), &[]).unwrap();
        assert!(matches!(claims.hear(&run), Come::Cold(_)));
        let (mut claims, run, far) = self::claims();
        drop(far);
        assert!(matches!(claims.hear(&run), Come::Nothing));
        assert!(claims.remove(&run).is_some());
    }

    #[test]
    fn one_that_is_over_before_it_began_is_nonsense() {
        let (mut claims, run, far) = claims();
        wire::send(&far, &Said::Done(0).to_bytes(), &[]).unwrap();
        assert!(matches!(claims.hear(&run), Come::Nonsense));
        assert!(claims.remove(&run).is_none(), "nobody knows whether its code has run");
    }
}
