//! The run's end of a connection: a stream of hostile bytes that can be looked at before they are taken.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::refusal::Reason;

/// A byte stream from inside: an accepted socket, or anything else that carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Why there is nothing more to look at.
pub(crate) const ENDED: Reason = Reason::BadRequest("the client ended before its request");
/// How much is read at once while looking.
const LOOK_BYTES: usize = 4 << 10;

/// A stream, and the bytes of it that were looked at and not taken yet.
pub(crate) struct Inside {
    early: BytesMut,
    end: End,
}

/// TCP is told apart because the kernel can carry its bytes by itself.
enum End {
    Tcp(TcpStream),
    Other(Box<dyn Stream>),
}

impl End {
    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            Self::Other(other) => Pin::new(other),
        }
    }
}

impl From<TcpStream> for Inside {
    fn from(tcp: TcpStream) -> Self {
        Self { early: BytesMut::new(), end: End::Tcp(tcp) }
    }
}

impl Inside {
    pub(crate) fn new(stream: impl Stream) -> Self {
        Self { early: BytesMut::new(), end: End::Other(Box::new(stream)) }
    }

    /// Ends a connection so that its client fails at once, with nothing to wait for or to misread.
    pub(crate) fn reset(self) {
        if let End::Tcp(tcp) = self.end {
            // Without it the end is an orderly one, which tells the client the same a little later.
            drop(tcp.set_zero_linger());
        }
    }

    /// Puts bytes back in front.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        let mut early = BytesMut::from(bytes);
        early.extend_from_slice(&self.early);
        self.early = early;
    }

    /// The bytes that were looked at.
    pub(crate) fn early(&self) -> &[u8] {
        &self.early
    }

    /// Takes `count` of the bytes that were looked at.
    pub(crate) fn take_early(&mut self, count: usize) {
        self.early.advance(count.min(self.early.len()));
    }

    /// Takes all of them, to be sent on.
    pub(crate) fn take_all_early(&mut self) -> BytesMut {
        std::mem::take(&mut self.early)
    }

    /// The socket itself, if it is TCP and nothing of it was looked at and not taken.
    pub(crate) fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.end {
            End::Tcp(tcp) if self.early.is_empty() => Some(tcp),
            End::Tcp(_) | End::Other(_) => None,
        }
    }

    /// Reads more to look at; the end of the stream, an error or the deadline is a refusal.
    pub(crate) async fn look_further(&mut self, deadline: Instant) -> Result<(), Reason> {
        self.early.reserve(LOOK_BYTES);
        match tokio::time::timeout_at(deadline, self.end.stream().read_buf(&mut self.early)).await {
            Ok(Ok(count)) if count > 0 => Ok(()),
            Ok(_) => Err(ENDED),
            Err(_) => Err(Reason::Slow),
        }
    }

    /// The first `count` bytes, not taken.
    pub(crate) async fn look(&mut self, count: usize, deadline: Instant) -> Result<&[u8], Reason> {
        while self.early.len() < count {
            self.look_further(deadline).await?;
        }
        Ok(self.early.get(..count).unwrap_or_default())
    }
}

/// The moment until which something must have arrived.
pub(crate) fn deadline(milliseconds: u64) -> Instant {
    let now = Instant::now();
    // A bound so far away that the clock cannot tell it is the far end of a day.
    now.checked_add(Duration::from_millis(milliseconds)).unwrap_or(now + Duration::from_hours(24))
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("early_bytes", &self.early.len()).finish_non_exhaustive()
    }
}

impl AsyncRead for Inside {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return self.end.stream().poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(count));
        if self.early.is_empty() {
            // What was looked at is over; an idle connection should not keep the room for it.
            self.early = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Inside {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.end.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.stream().poll_shutdown(cx)
    }
}
