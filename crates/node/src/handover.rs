//! The socket beside the API's, at which callers ask for memory to write a table to: one small frame, answered with a
//! descriptor of it and a token, which the next request names.
//!
//! Nothing that lies beside a caller's frame is taken. Each connection has a thread of its own and keeps its place
//! until that has ended, so whatever a caller does takes time of nobody else's.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use stockade_frames::{self as frames, Beside, Frame};

use crate::api::problem_of;
use crate::listen::{Listening, Principal, principal};
use crate::refusal::Refusal;
use crate::service::Node;
use crate::tables::{LIFE, Token};

/// What is added to the path of the API's socket.
pub(crate) const ENDING: &str = ".tables";
/// Connections at once; one principal has half of them.
pub(crate) const CONNECTIONS: usize = 32;
/// Longest frame of a caller.
const ASK_BYTES_MAX: usize = 256;
/// How long a caller may say nothing.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How often to look for tables that nobody asks for.
const SWEEP: Duration = Duration::from_secs(5);
/// Frames of one connection.
const FRAMES_MAX: usize = 64;

/// What a caller may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
enum Ask {
    /// For memory of a table.
    Table {
        /// How large it will be.
        bytes: u64,
    },
}

/// What is said to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Made<'a> {
    token: &'a str,
    bytes: u64,
    seconds: u64,
}

/// Takes connections, for ever.
pub(crate) async fn serve(listening: Listening, node: Arc<Node>) {
    loop {
        let Some((stream, user, place)) = listening.accept(&node).await else { continue };
        let (node, peers) = (Arc::clone(&node), listening.peers());
        tokio::spawn(async move {
            if !peers.is_outside(&node, &stream, user).await {
                return;
            }
            let Ok(stream) = stream.into_std() else { return };
            drop(tokio::task::spawn_blocking(move || {
                attend(&stream, user, &node);
                drop(stream);
                drop(place);
            }));
        });
    }
}

/// Hears one caller to the end.
fn attend(stream: &UnixStream, user: u32, node: &Arc<Node>) {
    let principal = &principal(user);
    for _ in 0..FRAMES_MAX {
        let mut waited = [PollFd::new(stream, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut waited, Some(&PATIENCE)), Ok(1..)) {
            return;
        }
        let Ok(Frame::Whole(frame, _)) = frames::receive(stream, Beside::Nothing) else { return };
        // Looked at each time: rights go while connections stay.
        let sent = match check(user, principal, node).and_then(|()| hear(&frame, principal, node)) {
            Ok((token, bytes, memory)) => {
                let made = Made { token: token.as_str(), bytes, seconds: LIFE.as_secs() };
                serde_json::to_vec(&made).map(|answer| frames::send(stream.as_fd(), &answer, &[memory.as_fd()]))
            }
            Err(refusal) => {
                if let Ok(answer) = serde_json::to_vec(&problem_of(refusal))
                    && let Err(error) = frames::send(stream.as_fd(), &answer, &[])
                {
                    tracing::debug!(error = %error, "a refusal is not heard");
                }
                // Who asks for what cannot be had is not heard any further.
                return;
            }
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Whoever may not run code has no use for a table.
fn check(user: u32, principal: &Principal, node: &Node) -> Result<(), Refusal> {
    let caller = node.security.caller(user, principal.clone());
    tokio::runtime::Handle::current().block_on(node.security.on_record(node.security.check_run(&caller)))
}

/// One frame of a caller's.
fn hear(frame: &[u8], principal: &Principal, node: &Node) -> Result<(Token, u64, OwnedFd), Refusal> {
    let Some(Ask::Table { bytes }) = parse(frame) else {
        let why = "it is not `{\"ask\":\"table\",\"bytes\":NUMBER}`";
        return Err(Refusal::invalid("the frame cannot be understood", why, "see the guide of tables"));
    };
    let (token, memory) = node.tables.make(principal, bytes)?;
    tracing::info!(principal = principal.0, bytes, "memory for a table");
    Ok((token, bytes, memory))
}

/// Lets go of tables that no run asks for, for ever.
pub(crate) async fn outdate(node: Arc<Node>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        node.tables.outdate(Instant::now());
    }
}

fn parse(bytes: &[u8]) -> Option<Ask> {
    if bytes.len() > ASK_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_says_one_thing() {
        assert_eq!(parse(br#"{"ask":"table","bytes":5}"#), Some(Ask::Table { bytes: 5 }));
        for frame in [
            &br#"{"ask":"table","bytes":5,"principal":"uid-0@local"}"#[..],
            br#"{"ask":"table"}"#,
            br#"{"ask":"table","bytes":-1}"#,
            br#"{"ask":"table","bytes":1e3}"#,
            br#"{"ask":"table","bytes":18446744073709551616}"#,
            br#"{"ask":"table","bytes":5,"bytes":6}"#,
            br#"{"ask":"output","bytes":5}"#,
            br#"{"ask":"table","bytes":5}{"ask":"table","bytes":5}"#,
            br#"{}"#,
            br#""table""#,
            b"",
            b"\0",
            &[b' '; ASK_BYTES_MAX + 1],
        ] {
            assert_eq!(parse(frame), None, "{}", String::from_utf8_lossy(frame));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(ask) = parse(&bytes) {
                prop_assert_eq!(parse(&serde_json::to_vec(&ask).unwrap()), Some(ask));
            }
        }

        /// A frame with some bytes changed is refused, or is one again that means the same written anew.
        #[test]
        fn a_damaged_frame_is_refused_or_whole(bytes in any::<u64>(), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut frame = serde_json::to_vec(&Ask::Table { bytes }).unwrap();
            let length = frame.len();
            frame[at.index(length)] = with;
            if with % 3 == 0 {
                frame.truncate(cut.index(length));
            }
            if let Some(ask) = parse(&frame) {
                prop_assert_eq!(parse(&serde_json::to_vec(&ask).unwrap()), Some(ask));
            }
        }
    }
}
