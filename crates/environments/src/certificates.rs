//! Finds the certificate bundle the machine trusts, to be shown to the steps that use TLS.

use std::path::PathBuf;

use crate::error::{Detail, Error};
use crate::machine::Machine;

/// Bundles of the common distributions, below the root.
const BUNDLES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

/// `SSL_CERT_FILE` if it names a file, else the first bundle there is.
pub(crate) fn find(machine: &Machine) -> Result<PathBuf, Error> {
    machine
        .var("SSL_CERT_FILE")
        .map(PathBuf::from)
        .into_iter()
        .chain(BUNDLES.iter().map(|bundle| machine.root.join(bundle)))
        .filter_map(|path| path.canonicalize().ok())
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::Index(Detail::new(
                "cannot check the certificate of the package index",
                "no certificate bundle was found on this machine",
                "install the package `ca-certificates`, or set SSL_CERT_FILE to a bundle",
            ))
        })
}
