//! Between any two streams, bytes go through a buffer that is held only while they are in it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::inside::Inside;
use crate::upstream::Upstream;

/// One buffer: large enough that system calls do not dominate, small enough to stay in the cache.
const BUFFER_BYTES: usize = 128 << 10;
/// How many buffers wait for use.
const SPARE_MAX: usize = 8;

type Buffer = Box<[u8]>;

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Buffer>>);

impl Buffers {
    fn take(&self) -> Buffer {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    fn give(&self, buffer: Buffer) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// Carries both directions to their ends.
pub(super) async fn both_ways(inside: &mut Inside, upstream: &mut Upstream, buffers: &Buffers) -> io::Result<()> {
    let (mut from_run, mut to_run) = tokio::io::split(inside);
    let (mut from_server, mut to_server) = tokio::io::split(upstream);
    tokio::try_join!(one_way(&mut from_run, &mut to_server, buffers), one_way(&mut from_server, &mut to_run, buffers))?;
    Ok(())
}

/// Carries one direction to its end, then tells the other side that it is over.
async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    buffers: &Buffers,
) -> io::Result<()> {
    loop {
        let (buffer, length) = poll_fn(|cx| poll_read(Pin::new(from), cx, buffers)).await?;
        if length == 0 {
            buffers.give(buffer);
            return to.shutdown().await;
        }
        let written = to.write_all(buffer.get(..length).unwrap_or_default()).await;
        buffers.give(buffer);
        written?;
    }
}

/// Reads into a buffer that is given back at once if there is nothing to read.
fn poll_read(
    from: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    buffers: &Buffers,
) -> Poll<io::Result<(Buffer, usize)>> {
    let mut buffer = buffers.take();
    let mut part = ReadBuf::new(&mut buffer);
    let polled = from.poll_read(cx, &mut part);
    let length = part.filled().len();
    match polled {
        Poll::Ready(Ok(())) => Poll::Ready(Ok((buffer, length))),
        Poll::Ready(Err(error)) => {
            buffers.give(buffer);
            Poll::Ready(Err(error))
        }
        Poll::Pending => {
            buffers.give(buffer);
            Poll::Pending
        }
    }
}
