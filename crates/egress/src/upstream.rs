//! The server's end of a connection: dialled, recorded and counted.
//!
//! Every byte to or from a server passes one [`Upstream`], whatever speaks over it, so budgets and records need
//! no other place. Its end, for whatever cause, writes the closing record.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::budget::Excess;
use crate::event::{Connection, What};
use crate::refusal::Refusal;
use crate::run::{Dialled, Run};
use crate::tally::Entry;
use crate::tunnel::within;

/// What is counted on one connection.
#[derive(Debug, Default)]
pub(crate) struct Count {
    up: AtomicU64,
    down: AtomicU64,
    requests: AtomicU64,
}

impl Count {
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes in both directions; grows whenever something moves.
    pub(crate) fn moved(&self) -> u64 {
        self.up.load(Ordering::Relaxed).wrapping_add(self.down.load(Ordering::Relaxed))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Upstream {
    tcp: TcpStream,
    run: Arc<Run>,
    connection: Connection,
    entry: Entry,
    count: Arc<Count>,
    opened: Instant,
    exceeded: AtomicBool,
    _dialled: Dialled,
}

impl Upstream {
    /// Records the connection; without a record there is none.
    pub(crate) fn open(tcp: TcpStream, run: Arc<Run>, connection: Connection, dialled: Dialled) -> io::Result<Self> {
        let entry = run.opened(&connection)?;
        Ok(Self {
            tcp,
            run,
            connection,
            entry,
            count: Arc::default(),
            opened: Instant::now(),
            exceeded: AtomicBool::new(false),
            _dialled: dialled,
        })
    }

    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run)
    }

    pub(crate) fn count(&self) -> Arc<Count> {
        Arc::clone(&self.count)
    }

    pub(crate) const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Bytes that may still go up and down.
    pub(crate) fn left(&self) -> (u64, u64) {
        self.run.left()
    }

    pub(crate) fn went_up(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.count.up.fetch_add(bytes, Ordering::Relaxed);
        self.run.spent().bytes_up.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn came_down(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.count.down.fetch_add(bytes, Ordering::Relaxed);
        self.run.spent().bytes_down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells of a budget that ended this connection; once.
    pub(crate) fn exceed(&self, excess: Excess) -> io::Error {
        if !self.exceeded.swap(true, Ordering::Relaxed) {
            let asked = format!("{}:{}", self.connection.host, self.connection.port);
            self.run.refused(&Refusal::new(self.connection.way, &asked, excess));
        }
        io::Error::other(excess)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let closed = What::Closed {
            connection: self.connection.clone(),
            bytes_up: self.count.up.load(Ordering::Relaxed),
            bytes_down: self.count.down.load(Ordering::Relaxed),
            requests: self.count.requests.load(Ordering::Relaxed),
            wall_ms: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.run.ended(self.entry, closed);
    }
}

impl AsyncRead for Upstream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (_, left) = this.left();
        if left == 0 {
            return Poll::Ready(Err(this.exceed(Excess::BytesDown)));
        }
        let part = buffer.initialize_unfilled_to(within(buffer.remaining(), left));
        let mut part = ReadBuf::new(part);
        ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        this.came_down(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (left, _) = this.left();
        if left == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(this.exceed(Excess::BytesUp)));
        }
        let part = bytes.get(..within(bytes.len(), left)).unwrap_or_default();
        let count = ready!(Pin::new(&mut this.tcp).poll_write(cx, part))?;
        this.went_up(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
