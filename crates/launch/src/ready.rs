//! Whether a descriptor has something, without waiting for it.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Whether there is something to read at this moment: of a process, by its pidfd, that it has ended. That nobody
/// is at the other end any more is nothing to read.
#[must_use]
pub fn has_something(descriptor: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut one = [PollFd::new(&descriptor, PollFlags::IN)];
    matches!(rustix::event::poll(&mut one, Some(&now)), Ok(1..))
        && one.iter().all(|one| one.revents().contains(PollFlags::IN))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags};

    use super::*;

    #[test]
    fn a_pipe_has_something_while_there_is_something_in_it() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(!has_something(&reader));
        rustix::io::write(&writer, b"x").unwrap();
        assert!(has_something(&reader));
        rustix::io::read(&reader, &mut [0; 1]).unwrap();
        drop(writer);
        assert!(!has_something(&reader), "its end alone is nothing");
    }

    #[test]
    fn a_process_has_ended_once_it_has_also_when_somebody_has_waited_for_it() {
        let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
        assert!(!has_something(&pidfd));
        process.kill().unwrap();
        rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        assert!(has_something(&pidfd));
        process.wait().unwrap();
        assert!(has_something(&pidfd));
    }
}
