//! One question to a provider: bounded in time and size, over TLS, and never sent on to somewhere else.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use stockade_config::security::provider::{BadProviderUrl, Plaintext, document_of, provider_url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::refusal::Trouble;
use crate::hosts::Resolve;
use crate::ldap::Tls;
use crate::reach;

/// The start of an answer, all of its headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// An address that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(Url);

impl Address {
    /// One that a provider names, by the rule for those that files name.
    pub(super) fn parse(text: &str, plaintext: Plaintext) -> Option<Self> {
        provider_url(text, plaintext).ok().map(Self)
    }

    /// That of a provider's document, and its issuer.
    pub(super) fn of_document(text: &str, plaintext: Plaintext) -> Result<(Self, &str), BadProviderUrl> {
        document_of(text, plaintext).map(|(url, issuer)| (Self(url), issuer))
    }

    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    fn is_plaintext(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Name or address of the server. Without encryption no resolver is asked who this machine is.
    fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Domain(_)) if self.is_plaintext() => Ipv4Addr::LOCALHOST.to_string(),
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(v4)) => v4.to_string(),
            Some(Host::Ipv6(v6)) => v6.to_string(),
            None => String::new(),
        }
    }
}

/// How providers are asked.
#[derive(Clone)]
pub(super) struct Http {
    pub(super) tls: Option<Tls>,
    pub(super) resolver: Arc<dyn Resolve>,
    /// For one question with its answer.
    pub(super) answer: Duration,
    pub(super) bytes_max: usize,
}

/// What is sent along.
pub(super) enum Sent {
    Nothing,
    /// A form, and who we are.
    Form(Zeroizing<String>, Option<Zeroizing<String>>),
}

/// An answer of a status that is one.
pub(super) struct Answer {
    pub(super) is_yes: bool,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Http {
    /// Asks, within the time for an answer.
    pub(super) async fn ask(&self, address: &Address, sent: Sent) -> Result<Answer, Trouble> {
        let until = Instant::now() + self.answer;
        let port = address.0.port_or_known_default().unwrap_or(443);
        let host = address.host();
        let tcp = reach::reach(&host, port, self.resolver.as_ref(), until).await?;
        let asked = async {
            match &self.tls {
                _ if address.is_plaintext() => self.exchange(tcp, address, sent).await,
                Some(tls) => self.exchange(reach::encrypt(&host, tls, tcp, until).await?, address, sent).await,
                None => Err(Trouble::Tls("there is none for it".to_owned())),
            }
        };
        timeout_at(until, asked).await.map_err(|_| Trouble::Slow("answer"))?
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: &Address,
        sent: Sent,
    ) -> Result<Answer, Trouble> {
        let http = |error: hyper::Error| Trouble::Http(error.to_string());
        let handshake =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(http)?;
        // Gone with this question, whatever the other side still has to say.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let is_form = matches!(sent, Sent::Form(..));
        let request = request(address, sent).map_err(|error| Trouble::Http(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(http)?;
        let is_yes = match response.status().as_u16() {
            200 => true,
            // With a reason, as RFC 6749 has it; the status itself is another one with each provider.
            400..500 if is_form => false,
            status @ 300..400 => return Err(Trouble::Redirect(status)),
            status => return Err(Trouble::Status(status)),
        };
        let body = Limited::new(response.into_body(), self.bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Trouble::TooLong { bytes_max: self.bytes_max },
            None => Trouble::Http(error.to_string()),
        })?;
        Ok(Answer { is_yes, body: Zeroizing::new(body.to_bytes().to_vec()) })
    }
}

fn request(address: &Address, sent: Sent) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let url = &address.0;
    let request = Request::builder()
        .uri(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .header(USER_AGENT, "stockade");
    match sent {
        Sent::Nothing => request.method(Method::GET).body(Full::default()),
        Sent::Form(form, who) => {
            let request = request.method(Method::POST).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let request = who.iter().fold(request, |request, who| request.header(AUTHORIZATION, who.as_str()));
            request.body(Full::new(Bytes::copy_from_slice(form.as_bytes())))
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Http")
            .field("answer", &self.answer)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}
