//! The way of messages between `ldap3` and a server: one question at a time, and only what `screen.rs` lets pass.

use std::io;
use std::pin::pin;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::refusal::Trouble;
use super::screen::{self, Asked, MESSAGE_BYTES_MAX, Nonsense};

/// What one connection may say, in all.
const BYTES_MAX: usize = 8 << 20;
const MESSAGES_MAX: usize = 4_096;

/// What a server is at the other end of.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Until one of them hangs up, or the server says what it should not. Why is in `fault` before the library notices.
pub(super) async fn relay(ours: UnixStream, theirs: Box<dyn Duplex>, fault: &OnceLock<Trouble>) {
    let (our_reader, our_writer) = ours.into_split();
    let (their_reader, their_writer) = tokio::io::split(theirs);
    let asked = Mutex::new(None);
    let requests = pin!(requests(our_reader, their_writer, &asked));
    let answers = pin!(answers(their_reader, our_writer, &asked));
    // Both keep their ends until why is known.
    let ended = tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    };
    fault.get_or_init(|| ended.err().unwrap_or(Trouble::Ended));
}

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &Mutex<Option<Asked>>,
) -> Result<(), Trouble> {
    while let Some(request) = message(&mut from).await? {
        *asked.lock().unwrap_or_else(PoisonError::into_inner) = screen::asked(&request)?;
        to.write_all(&request).await.map_err(lost)?;
        to.flush().await.map_err(lost)?;
    }
    Ok(())
}

async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: &Mutex<Option<Asked>>,
) -> Result<(), Trouble> {
    let mut bytes_left = BYTES_MAX;
    for _ in 0..MESSAGES_MAX {
        let Some(said) = message(&mut from).await? else { return Ok(()) };
        bytes_left = bytes_left.checked_sub(said.len()).ok_or(Nonsense::TooLong)?;
        let now = *asked.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = screen::answer(&said, now)?;
        to.write_all(&passed).await.map_err(lost)?;
    }
    Err(Nonsense::TooLong.into())
}

/// One whole message and not a byte more; `None` when the other side has hung up between two. Memory grows with what
/// has come, not with what is claimed.
pub(super) async fn message(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Trouble> {
    let Ok(first) = from.read_u8().await else { return Ok(None) };
    let second = from.read_u8().await.map_err(lost)?;
    let mut whole = vec![first, second];
    let mut length = usize::from(second & 0x7f);
    let more = screen::length_bytes(first, second)?;
    if more > 0 {
        length = 0;
        for _ in 0..more {
            let byte = from.read_u8().await.map_err(lost)?;
            whole.push(byte);
            length = length << 8 | usize::from(byte);
        }
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(Nonsense::TooLong.into());
    }
    let limit = u64::try_from(length).unwrap_or(0);
    let read = from.take(limit).read_to_end(&mut whole).await.map_err(lost)?;
    if read == length { Ok(Some(whole)) } else { Err(Trouble::Ended) }
}

pub(super) fn lost(_: io::Error) -> Trouble {
    Trouble::Ended
}

impl From<Nonsense> for Trouble {
    fn from(nonsense: Nonsense) -> Self {
        if nonsense == Nonsense::Closing { Self::Ended } else { Self::Nonsense(nonsense.to_string()) }
    }
}
