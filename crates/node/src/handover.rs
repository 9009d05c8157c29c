//! The socket beside the API's, at which callers hand over tables: one small frame with one descriptor, answered with
//! a token, which the next request names.
//!
//! A stranger's descriptor may be of anything, and even closing it may take as long as a stranger likes (a file
//! system that is served by a program of theirs). So each connection has a thread of its own, and keeps its place
//! until that thread has ended.

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
use crate::tables::LIFE;

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
    /// Takes the descriptor beside it for a table.
    Table {},
}

/// What is said to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Taken<'a> {
    token: &'a str,
    bytes: u64,
    seconds: u64,
}

/// Takes connections, for ever.
pub(crate) async fn serve(listening: Listening, node: Arc<Node>) {
    loop {
        let Some((stream, user, place)) = listening.accept(&node).await else { continue };
        let Ok(stream) = stream.into_std() else { continue };
        let node = Arc::clone(&node);
        drop(tokio::task::spawn_blocking(move || {
            attend(&stream, &principal(user), &node);
            drop(stream);
            drop(place);
        }));
    }
}

/// Hears one caller to the end.
fn attend(stream: &UnixStream, principal: &Principal, node: &Arc<Node>) {
    for _ in 0..FRAMES_MAX {
        let mut waited = [PollFd::new(stream, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut waited, Some(&PATIENCE)), Ok(1..)) {
            return;
        }
        let Ok(Frame::Whole(bytes, descriptors)) = frames::receive(stream, Beside::One) else { return };
        let taken = hear(&bytes, descriptors, principal, node);
        let (answer, is_over) = match &taken {
            Ok((token, bytes)) => {
                let seconds = LIFE.as_secs();
                (serde_json::to_vec(&Taken { token, bytes: *bytes, seconds }), false)
            }
            // Who says what nobody says is not heard any further.
            Err(refusal) => (serde_json::to_vec(&problem_of(refusal.clone())), true),
        };
        let Ok(answer) = answer else { return };
        if frames::send(stream.as_fd(), &answer, &[]).is_err() || is_over {
            return;
        }
    }
}

/// One frame of a caller's.
fn hear(
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
    principal: &Principal,
    node: &Arc<Node>,
) -> Result<(String, u64), Refusal> {
    let Some(Ask::Table {}) = parse(bytes) else {
        return Err(misunderstood("it is not `{\"ask\":\"table\"}`"));
    };
    let Ok([given]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(misunderstood("one descriptor lies beside it, not more and not less"));
    };
    let (token, bytes) = node.tables.hand_over(principal, given)?;
    tracing::info!(principal = principal.0, bytes, "a table was handed over");
    Ok((token.as_str().to_owned(), bytes))
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

fn misunderstood(why: &str) -> Refusal {
    Refusal::invalid("the frame cannot be understood", why, "see the guide of tables")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_says_one_thing() {
        assert_eq!(parse(br#"{"ask":"table"}"#), Some(Ask::Table {}));
        for frame in [
            &br#"{"ask":"table","principal":"uid-0@local"}"#[..],
            br#"{"ask":"output"}"#,
            br#"{"ask":"table"}{"ask":"table"}"#,
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
            let said = parse(&bytes);
            prop_assert!(said.is_none() || said == Some(Ask::Table {}), "{:?}", said);
        }

        /// A frame with some bytes changed is refused, or says the same.
        #[test]
        fn a_damaged_frame_is_refused_or_says_the_same(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = br#"{"ask":"table"}"#.to_vec();
            let length = bytes.len();
            bytes[at.index(length)] = with;
            if with % 3 == 0 {
                bytes.truncate(cut.index(length));
            }
            if let Some(ask) = parse(&bytes) {
                prop_assert_eq!(ask, Ask::Table {});
            }
        }
    }
}
