//! Between two TCP sockets, bytes go through a pipe inside the kernel and are never copied out of it.
//!
//! A pipe is held only while bytes are in it, like a buffer of [`super::copy`].

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::budget::Excess;
use crate::upstream::Upstream;

/// What one pipe is asked to hold; the kernel may give less.
const PIPE_BYTES: usize = 512 << 10;
/// How many empty pipes wait for use.
const SPARE_MAX: usize = 8;

/// An empty pipe.
#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// Pipes that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Mutex<Vec<Pipe>>);

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        if let Some(spare) = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(spare);
        }
        let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe is slower and nothing worse.
        rustix::pipe::fcntl_setpipe_size(&into, PIPE_BYTES).ok();
        Ok(Pipe { out, into })
    }

    fn give(&self, pipe: Pipe) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(pipe);
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

/// Carries both directions to their ends.
pub(super) async fn both_ways(inside: &TcpStream, upstream: &Upstream, pipes: &Pipes) -> io::Result<()> {
    tokio::try_join!(
        one_way(inside, upstream.tcp(), Direction::Up, upstream, pipes),
        one_way(upstream.tcp(), inside, Direction::Down, upstream, pipes)
    )?;
    Ok(())
}

async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    direction: Direction,
    upstream: &Upstream,
    pipes: &Pipes,
) -> io::Result<()> {
    loop {
        from.readable().await?;
        let most = match direction {
            Direction::Up => upstream.may_go_up(PIPE_BYTES)?,
            Direction::Down => upstream.may_come_down(PIPE_BYTES)?,
        };
        let pipe = pipes.take()?;
        let taken = match from.try_io(Interest::READABLE, || splice(from, &pipe.into, most)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipes.give(pipe);
                continue;
            }
            taken => taken?,
        };
        if taken == 0 {
            pipes.give(pipe);
            return Ok(rustix::net::shutdown(to, Shutdown::Write)?);
        }
        match direction {
            Direction::Up => upstream.went_up(taken),
            Direction::Down => upstream.came_down(taken),
        }
        let mut left = taken;
        while left > 0 {
            left -= to.async_io(Interest::WRITABLE, || splice(&pipe.out, to, left)).await?;
        }
        // Only an empty pipe may carry another connection's bytes next; one that failed is dropped above.
        pipes.give(pipe);
    }
}

fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
    Ok(rustix::pipe::splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
}

impl Upstream {
    fn may_go_up(&self, most: usize) -> io::Result<usize> {
        let (left, _) = self.left();
        if left == 0 { Err(self.exceed(Excess::BytesUp)) } else { Ok(super::within(most, left)) }
    }

    fn may_come_down(&self, most: usize) -> io::Result<usize> {
        let (_, left) = self.left();
        if left == 0 { Err(self.exceed(Excess::BytesDown)) } else { Ok(super::within(most, left)) }
    }
}
