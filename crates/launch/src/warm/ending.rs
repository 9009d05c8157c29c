//! Outside: how the process of a warm engine ended. It says so itself; its parent, far away, says it too.
//!
//! What the process says is the word of the code: at most its own end.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal};

use super::twin::{Heard, Link, Word};
use super::wire;
use crate::failure::Failure;
use crate::outside::failed;
use crate::ready::has_something;

/// The process of an engine, while its run is followed.
#[derive(Debug)]
pub(crate) struct Engine<'e> {
    /// `None` once it has closed its end, and where a session has it.
    socket: Option<OwnedFd>,
    /// `None` once who has the template is gone.
    link: Option<&'e Link>,
    pidfd: OwnedFd,
    pub(crate) pid: Pid,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Nothing,
    /// It has ended, with this status of wait(2).
    End(i32),
    /// It has closed its end.
    Silence,
    /// It said what is no answer.
    Nonsense,
}

impl<'e> Engine<'e> {
    pub(crate) fn new(socket: OwnedFd, link: &'e Link, (pid, pidfd): (Pid, OwnedFd)) -> Self {
        Self { socket: Some(socket), link: Some(link), pidfd, pid }
    }

    /// Takes its socket, over which a session is spoken, and its end told.
    pub(crate) const fn take_socket(&mut self) -> Option<OwnedFd> {
        self.socket.take()
    }

    pub(crate) fn wait(&self) -> [Option<PollFd<'_>>; 2] {
        [
            self.socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)),
            self.link.map(|link| PollFd::new(link, PollFlags::IN)),
        ]
    }

    pub(crate) fn hear(&mut self) -> Of {
        // What its parent says is the kernel's word, and comes after its own.
        match self.answer() {
            Of::Nothing => self.parent(),
            Of::Silence => match self.parent() {
                Of::Nothing | Of::Silence => Of::Silence,
                other @ (Of::End(_) | Of::Nonsense) => other,
            },
            other @ (Of::End(_) | Of::Nonsense) => other,
        }
    }

    fn answer(&mut self) -> Of {
        let Some(socket) = &self.socket else { return Of::Nothing };
        match wire::receive_from(socket.as_fd(), RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => Of::Nothing,
            Err(_) | Ok((_, None)) => {
                self.socket = None;
                Of::Silence
            }
            // A child of the code, which has the socket too: of its end nobody asks.
            Ok((_, Some(sender))) if sender != self.pid => Of::Nothing,
            Ok((Some([2, 0, 0, 0, status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), _)) => Of::End(i32::from(status) << 8),
            Ok(_) => Of::Nonsense,
        }
    }

    fn parent(&mut self) -> Of {
        match self.link.map(Link::hear) {
            // Numbers of processes come again, and what was said of another with this one's is no word of it.
            Some(Heard::Word(Word::Ended(status))) if self.has_ended() => Of::End(status),
            None | Some(Heard::Nothing | Heard::Word(_)) => Of::Nothing,
            // With the template all its engines end, which the walls tell.
            Some(Heard::Gone) => {
                self.link = None;
                Of::Nothing
            }
        }
    }

    /// Whether its process has ended, by the kernel's word.
    pub(crate) fn has_ended(&self) -> bool {
        has_something(&self.pidfd)
    }

    /// Sends its process, and those of its group, a signal; no error when it has ended.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        let Some(signal) = Signal::from_named_raw(signal) else { return Ok(()) };
        crate::sys::signal_session((self.pidfd.as_fd(), self.pid), signal).map_err(failed("signal", "an engine"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use rustix::process::PidfdFlags;

    use super::*;
    use crate::outside::control_pair;

    const END: [u8; 16] = [2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn pidfd(pid: Pid) -> OwnedFd {
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
    }

    fn socket() -> (OwnedFd, OwnedFd) {
        let (near, far) = control_pair().unwrap();
        rustix::net::sockopt::set_socket_passcred(&near, true).unwrap();
        (near, far)
    }

    #[test]
    fn the_end_of_another_with_the_same_number_is_none_of_an_engine_that_lives() {
        let ((near, _far), (link, parent)) = (socket(), control_pair().unwrap());
        let (link, parent) = (Link(link), Link(parent));
        let mut process: Child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&process);
        let mut engine = Engine::new(near, &link, (pid, pidfd(pid)));
        parent.say(Word::Ended(0));
        assert_eq!(engine.hear(), Of::Nothing);
        process.kill().unwrap();
        process.wait().unwrap();
        parent.say(Word::Ended(9));
        assert_eq!(engine.hear(), Of::End(9));
    }

    #[test]
    fn what_a_child_of_the_code_says_is_not_the_end_of_the_run() {
        let ((near, far), (link, _parent)) = (socket(), control_pair().unwrap());
        let link = Link(link);
        let own = rustix::process::getpid();
        let mut engine = Engine::new(near, &link, (own, pidfd(own)));
        let write = "import os; os.write(1, bytes([2, 0, 0, 0, 3] + [0] * 11))";
        let child = Command::new("python3").args(["-c", write]).stdout(Stdio::from(far.try_clone().unwrap())).status();
        assert!(child.unwrap().success());
        assert_eq!(engine.hear(), Of::Nothing, "it was heard, and passed over");
        rustix::io::write(&far, &END).unwrap();
        assert_eq!(engine.hear(), Of::End(3 << 8));
        rustix::io::write(&far, &[7; 16]).unwrap();
        assert_eq!(engine.hear(), Of::Nonsense);
        drop(far);
        assert_eq!(engine.hear(), Of::Silence);
        assert!(!engine.has_ended(), "code that closes what it has open goes on");
    }
}
