//! TLS that the gate ends itself, so that requests can be decided on and secrets put in.
//!
//! The client meets a certificate of the run's own authority, which nothing outside the sandbox trusts; the
//! server meets a client that verifies it against the roots of this machine.

mod authority;
mod scrub;
mod secret;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) use authority::Authority;
pub(crate) use scrub::{Scrubbed, Scrubber};
pub(crate) use secret::Secrets;
pub use secret::{BadSecret, Secret};

use crate::flow::Passage;
use crate::http;
use crate::inside::{Inside, deadline};
use crate::refusal::Reason;
use crate::upstream::Upstream;
use stockade_core::grant::Protocol;
use stockade_core::name::Host;

/// The only protocol spoken inside inspected TLS.
const ALPN: &[u8] = b"http/1.1";

/// Which authorities servers must have their certificates from; read when first needed.
pub(crate) struct Trust {
    extra: Vec<CertificateDer<'static>>,
    config: OnceLock<Option<Arc<ClientConfig>>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("extra", &self.extra.len()).finish_non_exhaustive()
    }
}

impl Trust {
    /// The roots of this machine, and `extra` ones.
    pub(crate) const fn new(extra: Vec<CertificateDer<'static>>) -> Self {
        Self { extra, config: OnceLock::new() }
    }

    /// With `more` roots beside these; the same, if there are none.
    pub(crate) fn and(self: &Arc<Self>, more: Vec<CertificateDer<'static>>) -> Arc<Self> {
        if more.is_empty() {
            return Arc::clone(self);
        }
        Arc::new(Self::new(self.extra.iter().cloned().chain(more).collect()))
    }

    fn client(&self) -> Option<Arc<ClientConfig>> {
        self.config.get_or_init(|| client_config(&self.extra).map(Arc::new)).clone()
    }

    /// Makes TLS to the server and verifies that it is the granted one.
    pub(crate) async fn connect(
        &self,
        host: &Host,
        upstream: Upstream,
        until: Instant,
    ) -> Result<TlsStream<Upstream>, Reason> {
        let config = self.client().ok_or(Reason::UpstreamTls)?;
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|_| Reason::UpstreamTls)?,
            Host::Address(address) => ServerName::from(*address),
        };
        match timeout_at(until, TlsConnector::from(config).connect(name, upstream)).await {
            Ok(Ok(tls)) => Ok(tls),
            Ok(Err(_)) | Err(_) => Err(Reason::UpstreamTls),
        }
    }
}

fn client_config(extra: &[CertificateDer<'static>]) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A root that cannot be read is one less to trust; servers under it are refused then.
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let (_, _) = roots.add_parsable_certificates(extra.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Some(config)
}

/// Ends the client's TLS and serves the requests in it, one by one.
pub(crate) async fn serve(passage: Passage, inside: &mut Inside) -> Result<(), Reason> {
    let run = Arc::clone(&passage.run);
    let authority = run.authority.as_ref().ok_or(Reason::Protocol { granted: "uninspected tls".to_owned() })?;
    let config = authority.server(&passage.want.host).map_err(|_: io::Error| Reason::UpstreamTls)?;
    let until = deadline(run.budget.head_ms);
    match timeout_at(until, TlsAcceptor::from(config).accept(inside)).await {
        Ok(Ok(tls)) => http::serve_tunnel(passage, tls, Protocol::Tls).await,
        // Most often a client that does not trust the authority: it has not been told, or pins certificates.
        Ok(Err(_)) => Err(Reason::BadRequest("the client does not accept the certificate of the gate")),
        Err(_) => Err(Reason::Slow),
    }
}
