//! What the node shows: a certificate and key of its operator's, or ones it makes for itself.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustix::fs::OFlags;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::refusal::Refusal;
use crate::whole;

/// Where those lie that the node makes, in its folder.
const FOLDER: &str = "tls";
/// Largest file of certificates or of a key.
const BYTES_MAX: u64 = 1 << 20;
/// How long a certificate is good that the node makes. It is known by its fingerprint; nobody looks after it.
const YEARS: i64 = 10;
const YEAR_MS: i64 = 31_556_952_000;

/// A certificate, those above it, and its key.
pub(crate) struct Shown {
    /// The own one first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate, in hexadecimal.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shown {
    /// Those of an operator, as PEM.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, Refusal> {
        let text = contents(certificate, "certificate", false)?;
        let chain = certificates(text.as_bytes()).map_err(|why| unusable(certificate, "certificate", &why))?;
        let text = contents(key, "key", true)?;
        let key = key_of(text.as_bytes()).map_err(|why| unusable(key, "key", why))?;
        Ok(Self { chain, key })
    }

    /// Both as PEM.
    ///
    /// # Errors
    /// What is wrong with them; nothing of the key is in it.
    pub(super) fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self { chain: certificates(certificate)?, key: key_of(key)? })
    }

    /// Those that the node made in its folder; made now where there are none.
    pub(super) fn own(folder: &Path, listen: &[SocketAddr]) -> Result<Self, Refusal> {
        let folder = folder.join(FOLDER);
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        // The certificate is written last: without it nobody has seen either. An empty one is what a full disk or a
        // kill has left of an attempt.
        if std::fs::metadata(&certificate).map_or(true, |about| about.len() == 0) {
            make(&folder, listen, (&certificate, &key))
                .map_err(|error| Refusal::failed("the node cannot make its certificate", error))?;
            tracing::info!("a certificate was made: clients know it by its fingerprint");
        }
        Self::read(&certificate, &key)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("there is none in it".to_owned()) } else { Ok(chain) }
}

fn key_of(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    // The error may show what is in the text.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no key in it")
}

fn make(folder: &Path, listen: &[SocketAddr], (certificate, key): (&Path, &Path)) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let pair = KeyPair::generate().map_err(std::io::Error::other)?;
    let made = params(listen)?.self_signed(&pair).map_err(std::io::Error::other)?;
    whole::write(key, 0o600, Zeroizing::new(pair.serialize_pem()).as_bytes())?;
    whole::write(certificate, 0o600, made.pem().as_bytes())
}

fn params(listen: &[SocketAddr]) -> std::io::Result<CertificateParams> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    if rustls::pki_types::DnsName::try_from(machine.as_str()).is_ok() {
        names.push(machine);
    }
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names).map_err(std::io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, "Stockade node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let year = 1970 + crate::service::now_ms() / YEAR_MS;
    let year = |more: i64| i32::try_from(year + more).unwrap_or(1970);
    // A clock that is behind a little, or a year by this rough measure, does not make it one of the future.
    params.not_before = date_time_ymd(year(-1), 1, 1);
    params.not_after = date_time_ymd(year(YEARS), 1, 1);
    Ok(params)
}

/// What is in a file of the operator's that nobody else may write to, and if it is a secret nobody else may read.
///
/// # Errors
/// [`Refusal`] for one that cannot be read, is too large, or is open to others.
pub(crate) fn contents(path: &Path, what: &str, is_secret: bool) -> Result<Zeroizing<String>, Refusal> {
    let failed = |error: std::io::Error| unusable(path, what, &crate::system_text(&error));
    // A pipe would keep us waiting.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let status = file.metadata().map_err(failed)?;
    if !status.is_file() {
        return Err(unusable(path, what, "it is no file"));
    }
    if is_secret && status.mode() & 0o007 != 0 {
        return Err(unusable(path, what, "others can read it"));
    }
    if status.mode() & 0o022 != 0 {
        return Err(unusable(path, what, "others may write to it"));
    }
    if status.len() > BYTES_MAX {
        return Err(unusable(path, what, "it is too large"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn unusable(path: &Path, what: &str, why: &str) -> Refusal {
    Refusal::invalid(
        format!("the {what} `{}` cannot be used", stockade_core::text::shown(&path.to_string_lossy(), 300)),
        why,
        format!("name a PEM file with a {what}, which may be read by who is to use it and changed by nobody else"),
    )
}
