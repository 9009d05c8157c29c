//! What is still to be said to the node, whose end may be full for a moment.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::wire::{self, Answer};

/// More than a node ever leaves unread; one that does is not itself any more.
const WAITING_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Outbox(VecDeque<(Vec<u8>, Option<OwnedFd>)>);

impl Outbox {
    pub(super) fn say(&mut self, answer: &Answer, beside: Option<OwnedFd>) {
        match wire::encode(answer) {
            Some(bytes) => self.0.push_back((bytes, beside)),
            // No answer is that large: its texts are our own.
            None => tracing::error!("an answer does not fit a frame"),
        }
    }

    pub(super) fn has_something(&self) -> bool {
        !self.0.is_empty()
    }

    /// # Errors
    /// When the node does not read, or the socket fails.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some((bytes, beside)) = self.0.front() {
            let descriptors: Vec<BorrowedFd<'_>> = beside.iter().map(AsFd::as_fd).collect();
            match wire::send(socket, bytes, &descriptors) {
                Ok(()) => drop(self.0.pop_front()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                // Its end is closed, which is seen when it is read from.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    self.0.clear();
                }
                Err(error) => return Err(error),
            }
        }
        if self.0.len() > WAITING_MAX { Err(io::Error::other("the node does not read")) } else { Ok(()) }
    }
}
