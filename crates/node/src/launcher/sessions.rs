//! The launcher's ends of sessions: one act at a time goes to a supervisor, and its answer comes back.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use stockade_core::session::{Act, Answer, Order};

use crate::opening::EXECUTION_MS_MAX;
use crate::order::check_name;
use crate::refusal::{Kind, Refusal};
use crate::wire::{self, Beside, Frame, RunId};

use super::tables;

/// Every session whose supervisor lives.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<RunId, Session>);

#[derive(Debug)]
struct Session {
    /// `None` once its supervisor has closed its end.
    socket: Option<OwnedFd>,
    act: Option<RunId>,
}

impl Sessions {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, session: &RunId, socket: OwnedFd) {
        self.0.insert(session.clone(), Session { socket: Some(socket), act: None });
    }

    /// Lets go of a session; tells the act that it had.
    pub(super) fn remove(&mut self, session: &RunId) -> Option<RunId> {
        self.0.remove(session)?.act
    }

    /// What answers come from.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&RunId, &OwnedFd)> {
        self.0.iter().filter_map(|(run, session)| Some((run, session.socket.as_ref()?)))
    }

    /// Hands an act over.
    pub(super) fn act(
        &mut self,
        session: &RunId,
        act: &RunId,
        what: Act,
        descriptors: &[OwnedFd],
    ) -> Result<(), Refusal> {
        check(&what, descriptors)?;
        let session = self.0.get_mut(session).ok_or_else(over)?;
        if session.act.is_some() {
            return Err(Refusal::failed("the session is busy", "it does one thing at a time"));
        }
        let socket = session.socket.as_ref().ok_or_else(over)?;
        let order = Order::Act { act: act.number(), what };
        let beside: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        wire::send(socket, &order.to_bytes(), &beside).map_err(|_| over())?;
        session.act = Some(act.clone());
        Ok(())
    }

    /// Interrupts an act, if it is the one under way.
    pub(super) fn interrupt(&self, session: &RunId, act: &RunId) {
        let Some(session) = self.0.get(session).filter(|session| session.act.as_ref() == Some(act)) else { return };
        // A supervisor that takes nothing has ended, or is about to be ended.
        if let Some(socket) = &session.socket
            && let Err(error) = wire::send(socket, &Order::Interrupt { act: act.number() }.to_bytes(), &[])
        {
            tracing::warn!(act = %act, error = %error, "an act is not interrupted");
        }
    }

    /// Tells a supervisor to end its session.
    pub(super) fn close(&self, session: &RunId) -> io::Result<()> {
        let socket = self.0.get(session).and_then(|session| session.socket.as_ref());
        wire::send(socket.ok_or(io::ErrorKind::NotConnected)?, &Order::Close.to_bytes(), &[])
    }

    /// The act that was answered, and its status; nothing, when there is nothing to hear.
    ///
    /// # Errors
    /// When the supervisor says what is no answer to what it was asked.
    pub(super) fn hear(&mut self, session: &RunId) -> io::Result<Option<(RunId, i32)>> {
        let Some(session) = self.0.get_mut(session) else { return Ok(None) };
        let Some(socket) = &session.socket else { return Ok(None) };
        match wire::receive(socket, Beside::Nothing) {
            Ok(Frame::Whole(bytes, _)) => {
                let answer = Answer::parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
                let act = session.act.take_if(|act| act.number() == answer.act);
                act.map(|act| Some((act, i32::from(answer.status)))).ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            Ok(Frame::Broken) => Err(io::ErrorKind::InvalidData.into()),
            Ok(Frame::End) => {
                session.socket = None;
                Ok(None)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(_) => {
                session.socket = None;
                Ok(None)
            }
        }
    }
}

/// What is said of a session that takes nothing any more.
pub(super) fn over() -> Refusal {
    let next = "open another session; GET of this one says how it ended";
    Refusal::new(Kind::Conflict, "the session is over", "its engine has ended, or could not be started", next)
}

fn check(what: &Act, descriptors: &[OwnedFd]) -> Result<(), Refusal> {
    match what {
        Act::Execute { time_ms } if *time_ms > EXECUTION_MS_MAX => {
            return Err(Refusal::invalid(
                "the execution has too much time",
                "no session lives so long",
                "ask for less",
            ));
        }
        Act::Execute { .. } => {}
        Act::Put { name } | Act::Get { name } | Act::Table { name } => check_name(name)?,
    }
    if descriptors.len() != what.descriptors() {
        return Err(Refusal::failed("the act cannot begin", "its descriptors are not those that it needs"));
    }
    if let (Act::Table { name }, Some(memory)) = (what, descriptors.get(1)) {
        tables::check_one(name, memory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RunId {
        RunId::parse(&format!("{number:016x}")).unwrap()
    }

    fn files(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| tempfile::tempfile().unwrap().into()).collect()
    }

    #[test]
    fn one_act_at_a_time_goes_in_and_only_its_answer_comes_out() {
        let mut sessions = Sessions::default();
        let (near, far) = wire::pair().unwrap();
        sessions.insert(&id(1), near);
        sessions.act(&id(1), &id(2), Act::Execute { time_ms: 5 }, &files(4)).unwrap();
        let Ok(Frame::Whole(bytes, given)) = wire::receive(&far, Beside::Descriptors) else { panic!() };
        assert_eq!(Order::parse(&bytes), Some(Order::Act { act: 2, what: Act::Execute { time_ms: 5 } }));
        assert_eq!(given.len(), 4);
        assert!(sessions.act(&id(1), &id(3), Act::Execute { time_ms: 5 }, &files(4)).is_err(), "busy");
        assert!(matches!(sessions.hear(&id(1)), Ok(None)));
        wire::send(&far, &Answer { act: 2, status: 7 }.to_bytes(), &[]).unwrap();
        assert_eq!(sessions.hear(&id(1)).unwrap(), Some((id(2), 7)));
        // Nobody asked for that.
        wire::send(&far, &Answer { act: 2, status: 7 }.to_bytes(), &[]).unwrap();
        assert!(sessions.hear(&id(1)).is_err());
        wire::send(&far, b"nonsense", &[]).unwrap();
        assert!(sessions.hear(&id(1)).is_err());
        drop(far);
        assert_eq!(sessions.hear(&id(1)).unwrap(), None);
        assert!(sessions.act(&id(1), &id(4), Act::Execute { time_ms: 5 }, &files(4)).is_err(), "over");
    }

    #[test]
    fn what_the_node_should_never_ask_is_refused() {
        let mut sessions = Sessions::default();
        let (near, _far) = wire::pair().unwrap();
        sessions.insert(&id(1), near);
        for (what, count) in [
            (Act::Execute { time_ms: 5 }, 3),
            (Act::Execute { time_ms: u64::MAX }, 4),
            (Act::Put { name: "../x".to_owned() }, 2),
            (Act::Get { name: "/etc/passwd".to_owned() }, 2),
            (Act::Get { name: "x".to_owned() }, 3),
            (Act::Table { name: "../x".to_owned() }, 2),
            // Files of disk.
            (Act::Table { name: "x".to_owned() }, 2),
        ] {
            assert!(sessions.act(&id(1), &id(2), what.clone(), &files(count)).is_err(), "{what:?} {count}");
        }
        assert!(sessions.act(&id(9), &id(2), Act::Execute { time_ms: 5 }, &files(4)).is_err(), "no such session");
        assert_eq!(sessions.remove(&id(1)), None);
    }
}
