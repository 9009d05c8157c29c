//! The certificate that is shown now. Another one takes its place while the node serves.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Shown;

/// A chain that is not empty, with the key of its first certificate.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    /// # Errors
    /// What is wrong, where the key cannot be used or is another certificate's.
    pub(super) fn new(shown: Shown) -> Result<Self, rustls::Error> {
        certified(shown).map(|certified| Self(RwLock::new(certified)))
    }

    /// From the next hand-shake on.
    ///
    /// # Errors
    /// As above; then nothing has changed.
    pub(super) fn replace(&self, shown: Shown) -> Result<(), rustls::Error> {
        let certified = certified(shown)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// The node's own certificate.
    pub(super) fn end(&self) -> CertificateDer<'static> {
        self.now().end_entity_cert().map_or_else(|_| CertificateDer::from(Vec::new()), |end| end.clone().into_owned())
    }

    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn certified(shown: Shown) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(shown.chain, shown.key, &provider).map(Arc::new)
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}
