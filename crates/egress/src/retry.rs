//! TLS 1.3 lets a server ask for a second greeting. Some servers go by the name in that one, so it is checked too:
//! else a first greeting with the granted name and without a usable key would open the way to any other.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::hello;
use crate::inside::Inside;
use crate::refusal::Reason;
use crate::upstream::Upstream;
use stockade_core::name::Name;

/// Records, by their first byte.
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;
/// The type of the handshake message that answers a greeting.
const SERVER_HELLO: u8 = 2;
/// Where the random number of a server's answer lies: after the headers of record and message, and the version.
const RANDOM: std::ops::Range<usize> = 11..43;
/// The random number that means "greet again": SHA-256 of `HelloRetryRequest` (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Sends the checked greeting, passes the beginning of the answer back, and checks the second greeting if there is
/// to be one.
pub(crate) async fn follow(
    inside: &mut Inside,
    upstream: &mut Upstream,
    granted: Option<&Name>,
    until: Instant,
) -> Result<(), Reason> {
    let answer = by(until, Reason::UpstreamAnswer, async {
        upstream.write_all(&inside.take_all_early()).await?;
        beginning(upstream).await
    })
    .await?;
    by(until, Reason::BadHello, inside.write_all(&answer)).await?;
    if answer.get(RANDOM) != Some(&RETRY[..]) {
        return Ok(());
    }
    pass_ignored(inside, upstream, until).await?;
    hello::check(inside, granted, until).await
}

/// Sees something through in time; whoever does not read or write fails like one that is gone.
async fn by<T>(until: Instant, broken: Reason, what: impl Future<Output = io::Result<T>>) -> Result<T, Reason> {
    match timeout_at(until, what).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(broken),
    }
}

/// As much of the answer as tells whether it asks for a second greeting.
async fn beginning(upstream: &mut Upstream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::with_capacity(4 << 10);
    while answer.len() < RANDOM.end {
        let other = answer.first().is_some_and(|kind| *kind != hello::FIRST_BYTE)
            || answer.get(5).is_some_and(|message| *message != SERVER_HELLO);
        if other || upstream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(answer)
}

/// Passes on what a server skips before the second greeting: early data, and a record that is there for old
/// middleboxes. Anything but a greeting after it is refused.
async fn pass_ignored(inside: &mut Inside, upstream: &mut Upstream, until: Instant) -> Result<(), Reason> {
    loop {
        let header = <[u8; 5]>::try_from(inside.look(5, until).await?).map_err(|_| Reason::BadHello)?;
        let [kind, _, _, high, low] = header;
        match kind {
            hello::FIRST_BYTE => return Ok(()),
            CHANGE_CIPHER_SPEC | APPLICATION_DATA => {
                let length = header.len() + usize::from(u16::from_be_bytes([high, low]));
                let record = inside.look(length, until).await?;
                by(until, Reason::UpstreamAnswer, upstream.write_all(record)).await?;
                inside.take_early(length);
            }
            _ => return Err(Reason::BadHello),
        }
    }
}
