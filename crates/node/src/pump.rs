//! Keeps what a run says, as it says it.

use std::time::Duration;

use stockade_store::NewEvent;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::link::Ending;
use crate::service::{Node, Stop, now_ms};
use crate::wire::RunId;

/// As much as a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// Small pieces are gathered this long, so that code that prints byte by byte makes few events.
const GATHERING: Duration = Duration::from_millis(10);
/// After its end nobody should hold its pipes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Follows a run to its end; `None` when the launcher is gone. Says too whether something could not be kept.
pub(crate) async fn follow(
    node: &Node,
    run: &RunId,
    out: Receiver,
    error: Receiver,
    ending: oneshot::Receiver<Ending>,
) -> Option<(Ending, bool)> {
    let streams = async { tokio::join!(stream(node, run, "stdout", out), stream(node, run, "stderr", error)) };
    tokio::pin!(streams);
    tokio::pin!(ending);
    tokio::select! {
        (out_cut, error_cut) = &mut streams => {
            let ending = ending.await.ok()?;
            Some((ending, out_cut || error_cut))
        }
        ended = &mut ending => {
            let ending = ended.ok()?;
            let cut = match timeout(LAST_WORDS, streams).await {
                Ok((out_cut, error_cut)) => out_cut || error_cut,
                Err(_) => true,
            };
            Some((ending, cut))
        }
    }
}

/// Keeps one stream to its end; says whether something of it was not kept.
async fn stream(node: &Node, run: &RunId, kind: &'static str, mut from: Receiver) -> bool {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut held: Vec<u8> = Vec::new();
    let mut is_cut = false;
    let mut next = Instant::now();
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        held.extend(buffer.iter().take(length));
        if held.len() < CHUNK_BYTES / 4 {
            sleep_until(next).await;
            // What came meanwhile, without waiting for more.
            if let Ok(more) = from.try_read(&mut buffer) {
                held.extend(buffer.iter().take(more));
            }
            next = Instant::now() + GATHERING;
        }
        let rest = held.split_off(whole(&held));
        is_cut |= !keep(node, run, kind, std::mem::replace(&mut held, rest), is_cut).await;
    }
    is_cut | !keep(node, run, kind, held, is_cut).await
}

/// Keeps a piece; when that cannot be done the run is ended, for what it says would be lost.
async fn keep(node: &Node, run: &RunId, kind: &'static str, bytes: Vec<u8>, is_cut: bool) -> bool {
    if bytes.is_empty() || is_cut {
        return true;
    }
    let id = run.clone();
    let event = [NewEvent::new(kind, bytes)];
    let kept = match node.room.check() {
        Ok(()) => node.keeper.with(move |store| store.append(id.as_str(), &event, now_ms())).await,
        Err(refusal) => Err(refusal),
    };
    match kept {
        Ok(last) => {
            node.tell(run, last);
            true
        }
        Err(refusal) => {
            tracing::error!(run = %run, what = %refusal.what, "output cannot be kept, so the run is ended");
            // When that fails the launcher is gone, and the run with it.
            drop(node.stop(run, Stop::NoRoom).await);
            false
        }
    }
}

/// How much of these bytes ends with a whole character, so that most pieces of a text are text.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_torn_and_other_bytes_are_not_held_back() {
        assert_eq!(whole("aä".as_bytes()), 3);
        assert_eq!(whole(&"aä".as_bytes()[..2]), 1);
        assert_eq!(whole(b"a\xffb"), 3);
        assert_eq!(whole(b""), 0);
        assert_eq!(whole(b"\xc3"), 1, "it would wait for ever");
    }
}
