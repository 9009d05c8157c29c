//! What connections are made with: what the node shows, which clients it wants to see and in which versions.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::certificate::Shown;
use super::current::Current;

/// What is spoken inside.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// It never changes but for the certificate that is shown; another one takes its place.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(super) current: Arc<Current>,
    pub(super) config: Arc<ServerConfig>,
}

/// The certificates of clients that are believed.
#[derive(Debug)]
pub(crate) struct Clients {
    /// Who vouches for them; not empty.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// Whether nobody is let in without one.
    pub(crate) are_required: bool,
}

/// What an operator's files and words say.
pub(crate) struct Asked<'a> {
    /// PEM, the node's own first.
    pub(crate) certificate: &'a [u8],
    /// PEM.
    pub(crate) key: &'a [u8],
    pub(crate) clients: Option<Clients>,
    pub(crate) allow_tls12: bool,
}

impl Offer {
    /// # Errors
    /// What is wrong, in a line; nothing of the key is in it.
    pub(crate) fn of(asked: Asked<'_>) -> Result<Self, String> {
        let shown = Shown::parse(asked.certificate, asked.key)?;
        Self::showing(shown, asked.clients, asked.allow_tls12).map_err(|error| error.to_string())
    }

    /// TLS by *ring*. Sessions are not resumed, so that every connection sees certificates and nothing is kept.
    ///
    /// # Errors
    /// What cannot be served.
    pub(super) fn showing(shown: Shown, clients: Option<Clients>, allow_tls12: bool) -> Result<Self, rustls::Error> {
        let current = Arc::new(Current::new(shown)?);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(clients, &provider)?;
        let versions: &[_] = if allow_tls12 { rustls::ALL_VERSIONS } else { &[&rustls::version::TLS13] };
        let resolver = Arc::clone(&current);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { current, config: Arc::new(config) })
    }
}

/// Who signed a certificate, that it is for clients and for this time, and that its key is there: all by rustls.
fn verifier(
    clients: Option<Clients>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let Some(clients) = clients else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for authority in clients.authorities {
        roots.add(authority)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if clients.are_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| rustls::Error::General(error.to_string()))
}
