//! TLS to a directory or provider: who vouches for it is given, and it is always verified, with its name.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// How the certificate of a directory or provider is verified, and what we show it: a client profile, its files read.
#[derive(Clone)]
pub struct Tls(pub(crate) Arc<ClientConfig>);

/// Who we are, for a directory that asks: a chain, our own certificate first, and its key.
#[derive(Debug)]
pub struct Shown {
    /// The chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// Why there can be no TLS with what is given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadTls {
    /// Nobody vouches for anybody.
    #[error("there is no certificate of an authority")]
    NoAnchor,
    /// One of them cannot be used.
    #[error("a certificate of an authority cannot be used: {0}")]
    Anchor(String),
    /// A file is not PEM, or has nothing in it.
    #[error("it is not PEM with what it should have: {0}")]
    Pem(String),
    /// Our own certificate and key are of no use.
    #[error("certificate and key cannot be shown: {0}")]
    Shown(String),
}

impl BadTls {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::NoAnchor => "name a `trustFile` with the authority's certificate, PEM",
            Self::Anchor(_) => "look at the certificates of `trustFile` with `openssl x509 -text`",
            Self::Pem(_) => "write the file as PEM: `-----BEGIN CERTIFICATE-----` and so on",
            Self::Shown(_) => "give the chain with the own certificate first, and the key that belongs to it",
        }
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// [`BadTls::Pem`], also when there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| BadTls::Pem(error.to_string()))?;
    if found.is_empty() { Err(BadTls::Pem("no certificate".to_owned())) } else { Ok(found) }
}

impl Shown {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// [`BadTls::Pem`].
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, BadTls> {
        let chain = certificates(chain)?;
        // The error of the key may show what is in the file.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadTls::Pem("no key".to_owned()))?;
        Ok(Self { chain, key })
    }
}

impl Tls {
    /// Believes who these vouch for; speaks TLS 1.3, and 1.2 if it may.
    ///
    /// # Errors
    /// [`BadTls`].
    pub fn new(anchors: &[CertificateDer<'static>], shown: Option<Shown>, allow_tls12: bool) -> Result<Self, BadTls> {
        let mut roots = RootCertStore::empty();
        for anchor in anchors {
            roots.add(anchor.clone()).map_err(|error| BadTls::Anchor(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(BadTls::NoAnchor);
        }
        let versions: &[_] = if allow_tls12 { rustls::ALL_VERSIONS } else { &[&rustls::version::TLS13] };
        let wrong = |error: rustls::Error| BadTls::Shown(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(wrong)?
            .with_root_certificates(roots);
        let config = match shown {
            Some(Shown { chain, key }) => builder.with_client_auth_cert(chain, key).map_err(wrong)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}
