//! One question to a node and its answer, over a connection of its own: what the command line speaks.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A request.
#[derive(Clone)]
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Whom the node shall take itself for: a name, or an address, of it.
    pub(crate) host: &'a str,
    /// What is shown of who asks, in its header; nothing at the local socket, where the kernel says it.
    pub(crate) shown: Option<(HeaderName, &'a str)>,
    /// JSON.
    pub(crate) body: Option<&'a str>,
}

impl Question<'_> {
    /// Asks it; the status and the text of the answer, whole.
    pub(crate) async fn ask<S>(&self, stream: S) -> Result<(u16, String)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
        let _talking = tokio::spawn(connection);
        let answer = sender.send_request(self.request()?).await.map_err(Error::other)?;
        let status = answer.status().as_u16();
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await.map_err(Error::other)?;
        let text = String::from_utf8(body.into()).map_err(|_| ErrorKind::InvalidData)?;
        Ok((status, text))
    }

    fn request(&self) -> Result<Request<Body>> {
        let mut request = Request::builder().method(self.method).uri(self.path).header(header::HOST, self.host);
        if let Some((name, shown)) = &self.shown {
            request = request.header(name, *shown);
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = self.body.map_or_else(Body::empty, |body| Body::from(body.to_owned()));
        request.header(header::CONNECTION, "close").body(body).map_err(Error::other)
    }
}

/// Waits so long for something, in a thread that has nothing else to do.
pub(crate) fn within<T>(patience: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let slow = |_| Error::new(ErrorKind::TimedOut, format!("it took more than {} s", patience.as_secs()));
        tokio::time::timeout(patience, asked).await.map_err(slow)?
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn answer(text: &'static str) -> Result<(u16, String)> {
        within(Duration::from_secs(10), async {
            let (ours, mut theirs) = tokio::io::duplex(4_096);
            tokio::spawn(async move {
                let _asked = theirs.read(&mut [0; 1_024]).await?;
                theirs.write_all(text.as_bytes()).await?;
                theirs.shutdown().await
            });
            let question = Question { method: "GET", path: "/", host: "node", shown: None, body: None };
            question.ask(ours).await
        })
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        let whole = answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!(whole, (200, "{}".to_owned()));
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, String::new()));
        for cut in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "nonsense\r\n\r\n"] {
            assert!(answer(cut).is_err(), "{cut}");
        }
    }

    #[test]
    fn nobody_is_waited_for_longer_than_was_said() {
        let forever = within(Duration::from_millis(1), std::future::pending::<Result<()>>());
        assert_eq!(forever.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
