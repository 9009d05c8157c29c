//! Carries bytes both ways between a client and a server until both are done, one is silent for
//! too long, or the relay stops.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

const IDLE: Duration = Duration::from_secs(120);
const WRITE_TIME: Duration = Duration::from_secs(60);
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Runs until the tunnel is over; an I/O failure on either side is its end.
pub(super) fn run(client: &TcpStream, server: &TcpStream, stop: &AtomicBool) {
    for side in [client, server] {
        if side.set_read_timeout(None).is_err() || side.set_write_timeout(Some(WRITE_TIME)).is_err() {
            return;
        }
    }
    let mut buffer = vec![0_u8; 64 << 10];
    let (mut up, mut down) = (true, true);
    let mut last = Instant::now();
    while (up || down) && last.elapsed() < IDLE && !stop.load(Ordering::Relaxed) {
        let (from_client, from_server) = readable(client, server, up, down);
        if from_client {
            up = carry(client, server, &mut buffer);
        }
        if from_server {
            down = carry(server, client, &mut buffer);
        }
        if from_client || from_server {
            last = Instant::now();
        }
    }
}

/// Which open sides have bytes, or their end, to read; waits for a tick at most.
fn readable(client: &TcpStream, server: &TcpStream, up: bool, down: bool) -> (bool, bool) {
    let wanted = |open: bool| {
        if open { PollFlags::IN } else { PollFlags::empty() }
    };
    let mut sides = [PollFd::new(client, wanted(up)), PollFd::new(server, wanted(down))];
    if rustix::event::poll(&mut sides, Some(&TICK)).is_err() {
        return (false, false);
    }
    let [client, server] = &sides;
    (up && !client.revents().is_empty(), down && !server.revents().is_empty())
}

/// Moves one piece; false when this direction is over.
fn carry(mut from: &TcpStream, mut to: &TcpStream, buffer: &mut [u8]) -> bool {
    let moved = match from.read(buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => buffer.get(..count).is_some_and(|bytes| to.write_all(bytes).is_ok()),
    };
    if !moved {
        drop(to.shutdown(Shutdown::Write));
    }
    moved
}
