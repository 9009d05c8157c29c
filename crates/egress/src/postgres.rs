//! The few messages of PostgreSQL that come before TLS. Everything after it is between client and server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::hello;
use crate::inside::Inside;
use crate::refusal::Reason;
use crate::upstream::Upstream;

/// The first byte of a startup packet's length.
pub(crate) const FIRST_BYTE: u8 = 0;

/// Eight bytes of length, then the code of the request.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// Waits for the client's request for TLS and says yes. Anything else (a start without TLS, a cancellation)
/// would cross the network unencrypted and unchecked.
pub(crate) async fn accept_tls(inside: &mut Inside, until: Instant) -> Result<(), Reason> {
    for _ in 0..2 {
        let request = <[u8; 8]>::try_from(inside.look(8, until).await?).map_err(|_| Reason::PostgresPlain)?;
        let answer = match request {
            SSL_REQUEST => b"S",
            GSSENC_REQUEST => b"N",
            _ => return Err(Reason::PostgresPlain),
        };
        inside.take_early(request.len());
        // Bytes before the answer could be taken for part of what TLS protects.
        if !inside.early().is_empty() {
            return Err(Reason::PostgresPlain);
        }
        inside.write_all(answer).await.map_err(|_| Reason::PostgresPlain)?;
        if request == SSL_REQUEST {
            let first = inside.look(1, until).await?.first().copied();
            return if first == Some(hello::FIRST_BYTE) { Ok(()) } else { Err(Reason::NotTls) };
        }
    }
    Err(Reason::PostgresPlain)
}

/// Asks the server for TLS; reads exactly the one byte of its answer.
pub(crate) async fn ask_tls(upstream: &mut Upstream, until: Instant) -> Result<(), Reason> {
    let asked = async {
        upstream.write_all(&SSL_REQUEST).await?;
        upstream.read_u8().await
    };
    match timeout_at(until, asked).await {
        Ok(Ok(b'S')) => Ok(()),
        Ok(Ok(_)) => Err(Reason::PostgresServerPlain),
        Ok(Err(_)) | Err(_) => Err(Reason::UpstreamAnswer),
    }
}
