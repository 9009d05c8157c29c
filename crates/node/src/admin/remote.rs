//! A node that is asked over TLS: first that it is the one that is meant, then who asks, then the question.
//!
//! Nothing is told to a node whose certificate is not verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::api::USER;
use crate::question::{Question, within};
use crate::refusal::{Kind, Refusal};
use crate::status::problem_of;
use crate::tls::{Shown, fingerprint};

/// Where a node is asked, where nobody says at which port.
pub(crate) const PORT: u16 = 8443;
/// Where a token is asked for that makes the next one.
const FOR_LONG: &str = "/v1/login?refresh=true";

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How a node is known to be the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trusted {
    /// By one of these SHA-256 of its certificate, in hexadecimal.
    Pinned(Vec<String>),
    /// By its name, in a certificate that one of these authorities vouches for: PEM.
    Anchors(String),
    /// The same, with the authorities of this machine.
    System,
}

/// The files of a certificate of the caller's, and of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    certificate: PathBuf,
    key: PathBuf,
}

/// A token, as a node gives it.
#[derive(Deserialize)]
pub(crate) struct LoggedIn {
    pub(crate) principal: String,
    pub(crate) token: Zeroizing<String>,
    pub(crate) expires_in: u64,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
    pub(crate) refresh_expires_in: Option<u64>,
}

/// A log-in that its user goes on with in a browser.
#[derive(Deserialize)]
pub(crate) struct DeviceBegun {
    id: String,
    pub(crate) user_code: String,
    pub(crate) verification_uri: String,
    pub(crate) interval: u64,
    pub(crate) expires_in: u64,
}

/// What came of asking about it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum DeviceAsked {
    Done(LoggedIn),
    /// Ask again after so many seconds.
    Pending {
        interval: u64,
    },
}

/// Who asks, by what is shown of him.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// The owner of this token.
    Token(&'a str),
    /// The one of the certificate that is shown.
    Certificate,
    /// The user of this name of this host, by the host's own word: only nodes that trust hosts take it.
    OfHost(&'a str),
}

/// A way to nodes.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    config: Arc<ClientConfig>,
    patience: Duration,
}

impl Address {
    /// Reads `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, usual: u16) -> Result<Self, &'static str> {
        let is_address = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_address && !port.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or("what follows the colon is no port")?)
            }
            _ => (text, usual),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        match ServerName::try_from(host.as_str()) {
            Ok(_) => Ok(Self { host, port }),
            Err(_) => Err("it is neither a name nor an address"),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

impl Own {
    /// Those files, if any are named.
    ///
    /// # Errors
    /// [`Refusal`] for a path that is none. (That both are named is looked at where words are read.)
    pub(crate) fn of(certificate: Option<&str>, key: Option<&str>) -> Result<Option<Self>, Refusal> {
        // What is kept of a login is used from other folders, too.
        let absolute = |path: &str| {
            std::path::absolute(path).map_err(|error| {
                Refusal::invalid("your certificate cannot be shown", crate::system_text(&error), "name a file")
            })
        };
        let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(None) };
        Ok(Some(Self { certificate: absolute(certificate)?, key: absolute(key)? }))
    }
}

impl Way {
    /// Prepares to ask nodes that are known like this.
    ///
    /// # Errors
    /// [`Refusal`] when nobody could be known by it.
    pub(crate) fn new(trusted: &Trusted, own: Option<&Own>, patience: Duration) -> Result<Self, Refusal> {
        let unusable = |why: String| {
            Refusal::invalid("no node can be verified", why, "name its authority with --cafile=FILE, or --fingerprint")
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(error.to_string()))?;
        let builder = match trusted {
            Trusted::Pinned(fingerprints) => {
                let fingerprints =
                    fingerprints.iter().map(|one| pin(one)).collect::<Result<_, _>>().map_err(unusable)?;
                let verifier = Pinned { fingerprints, algorithms };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trusted::Anchors(pem) => {
                let roots = anchors(pem).map_err(unusable)?;
                builder.with_root_certificates(roots)
            }
            Trusted::System => {
                let mut roots = RootCertStore::empty();
                // One that cannot be read vouches for nobody.
                let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots)
            }
        };
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let Shown { chain, key } = Shown::read(&own.certificate, &own.key)?;
                let unshowable = |error: rustls::Error| {
                    let next = "name a certificate and the key that belongs to it: --client-certificate, --client-key";
                    Refusal::invalid("your certificate cannot be shown", error.to_string(), next)
                };
                builder.with_client_auth_cert(chain, key).map_err(unshowable)?
            }
        };
        Ok(Self { config: Arc::new(config), patience })
    }

    /// A token for a password.
    ///
    /// # Errors
    /// [`Refusal`] of the node, or when it cannot be reached or is another one.
    pub(crate) fn log_in(&self, at: &Address, user: &str, password: &str) -> Result<LoggedIn, Refusal> {
        read(&self.ask(at, "/v1/login", Some(&basic(user, password)), None)?)
    }

    /// The same, and one for the next time.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(crate) fn log_in_for_long(&self, at: &Address, user: &str, password: &str) -> Result<LoggedIn, Refusal> {
        read(&self.ask(at, FOR_LONG, Some(&basic(user, password)), None)?)
    }

    /// A token for a refresh token, which is of no use any more then.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(crate) fn refresh(&self, at: &Address, refresh: &str) -> Result<LoggedIn, Refusal> {
        read(&self.ask(at, FOR_LONG, Some(&bearer(refresh)), None)?)
    }

    /// Begins a log-in that the user goes on with in a browser.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(crate) fn begin_device(&self, at: &Address, realm: Option<&str>) -> Result<DeviceBegun, Refusal> {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
        let query = match realm {
            Some(realm) if realm.chars().all(is_plain) => format!("?realm={realm}"),
            Some(_) => {
                return Err(Refusal::invalid("there is no such realm", "none is called so", "leave --realm out"));
            }
            None => String::new(),
        };
        read(&self.ask(at, &format!("/v1/login/device{query}"), None, None)?)
    }

    /// Whether he has said yes by now.
    ///
    /// # Errors
    /// [`Refusal`], as above, also when he has said no.
    pub(crate) fn ask_device(&self, at: &Address, begun: &DeviceBegun) -> Result<DeviceAsked, Refusal> {
        let id = begun.id.chars().all(|char| char.is_ascii_alphanumeric()).then_some(begun.id.as_str());
        let id =
            id.ok_or_else(|| Refusal::failed("the node's answer cannot be read", "its log-in has another name"))?;
        read(&self.ask(at, &format!("/v1/login/device/{id}"), None, None)?)
    }

    /// The end of a token.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(crate) fn log_out(&self, at: &Address, token: &str) -> Result<(), Refusal> {
        self.ask(at, "/v1/logout", Some(&bearer(token)), None).map(drop)
    }

    /// What the node answers to a question.
    ///
    /// # Errors
    /// [`Refusal`], as above.
    pub(crate) fn post(&self, at: &Address, path: &str, who: Who<'_>, body: &str) -> Result<String, Refusal> {
        match who {
            Who::Token(token) => self.ask(at, path, Some(&bearer(token)), Some(body)),
            Who::Certificate => self.ask(at, path, None, Some(body)),
            Who::OfHost(user) => self.ask_showing(at, path, Some((USER, user)), Some(body)),
        }
    }

    fn ask(&self, at: &Address, path: &str, shown: Option<&str>, body: Option<&str>) -> Result<String, Refusal> {
        self.ask_showing(at, path, shown.map(|shown| (header::AUTHORIZATION, shown)), body)
    }

    fn ask_showing(
        &self,
        at: &Address,
        path: &str,
        shown: Option<(HeaderName, &str)>,
        body: Option<&str>,
    ) -> Result<String, Refusal> {
        let host = at.to_string();
        let question = Question { method: "POST", path, host: &host, shown, body };
        let asked = within(self.patience, async { question.ask(self.connect(at).await?).await });
        let (status, text) = asked.map_err(|error| unreached(at, &error))?;
        if (200..300).contains(&status) { Ok(text) } else { Err(problem_of(status, &text)) }
    }

    /// A connection, its hand-shake done: nobody is told anything who is not verified.
    async fn connect(&self, at: &Address) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(at.host.clone()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect((at.host.as_str(), at.port)).await?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, Refusal> {
    serde_json::from_str(answer).map_err(|error| Refusal::failed("the node's answer cannot be read", error))
}

fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
}

fn bearer(token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("Bearer {token}"))
}

/// Why a node has not answered, in the terms of who asked.
fn unreached(at: &Address, error: &std::io::Error) -> Refusal {
    let told = |what: String, why: String, next: &str| Refusal::new(Kind::Unavailable, what, why, next);
    let at = stockade_core::text::shown(&at.to_string(), 200);
    match of_tls(error) {
        Some(rustls::Error::InvalidCertificate(bad)) => told(
            format!("the node at {at} is not verified, so it was told nothing"),
            stockade_core::text::shown(&why_not(bad), 400),
            "compare its SHA-256 with `stockade admin display node` at the node and name it: --fingerprint=SHA256; or its authority: --cafile=FILE",
        ),
        Some(rustls::Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)) => told(
            format!("the node at {at} cannot be asked"),
            "it does not speak TLS 1.3".to_owned(),
            "look whether it is a node: stockade node start --listen",
        ),
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => told(
            format!("the node at {at} does not speak with you"),
            "it wants a certificate of yours".to_owned(),
            "show one that it believes: --client-certificate=FILE --client-key=FILE",
        ),
        Some(other) => told(
            format!("the node at {at} cannot be asked"),
            stockade_core::text::shown(&other.to_string(), 300),
            "look whether it is a node: stockade node start --listen",
        ),
        None => told(
            format!("no node answers at {at}"),
            crate::system_text(error),
            "look whether it runs and listens there: stockade node start --listen",
        ),
    }
}

/// What went wrong with TLS, wherever it was noticed.
fn of_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    let mut one: &(dyn std::error::Error + 'static) = error.get_ref()?;
    loop {
        if let Some(found) = one.downcast_ref() {
            return Some(found);
        }
        // The source of an error of the system is what its cause comes from, and not its cause.
        one = match one.downcast_ref::<std::io::Error>() {
            Some(error) => error.get_ref()?,
            None => one.source()?,
        };
    }
}

fn why_not(bad: &CertificateError) -> String {
    if *bad == CertificateError::ApplicationVerificationFailure {
        "its certificate has another SHA-256".to_owned()
    } else if matches!(bad, CertificateError::UnknownIssuer | CertificateError::BadSignature) {
        // The second one of two authorities of one name.
        "nobody who is trusted here vouches for its certificate".to_owned()
    } else {
        bad.to_string()
    }
}

/// A SHA-256 in one spelling.
fn pin(text: &str) -> Result<String, String> {
    let plain: String = text.chars().filter(|char| *char != ':').collect::<String>().to_ascii_lowercase();
    if plain.len() == 64 && plain.chars().all(|char| char.is_ascii_hexdigit()) {
        Ok(plain)
    } else {
        Err(format!("`{}` is no SHA-256: it has 64 hexadecimal digits", stockade_core::text::shown(text, 100)))
    }
}

fn anchors(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for anchor in stockade_identity::ldap::certificates(pem.as_bytes()).map_err(|bad| bad.to_string())? {
        roots.add(anchor).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

/// Reads what somebody names as an authority, to say early that it is none.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_pem(path: &Path, pem: &str) -> Result<(), Refusal> {
    let shown = stockade_core::text::shown(&path.to_string_lossy(), 300);
    anchors(pem).map(drop).map_err(|why| {
        Refusal::invalid(
            format!("`{shown}` cannot be used"),
            why,
            "name a PEM file with the certificate of an authority",
        )
    })
}

/// Knows a node by its certificate alone: its name and age say nothing more.
#[derive(Debug)]
struct Pinned {
    fingerprints: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.fingerprints.contains(&fingerprint(end)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // It is not spoken.
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    /// That whoever shows the certificate has its key.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, host, port) in [
            ("node.example", "node.example", 8443),
            ("node.example:1", "node.example", 1),
            ("192.0.2.7:99", "192.0.2.7", 99),
            ("::1", "::1", 8443),
            ("[::1]", "::1", 8443),
            ("[::1]:99", "::1", 99),
        ] {
            assert_eq!(Address::parse(text, PORT), Ok(Address { host: host.to_owned(), port }), "{text}");
        }
        for text in
            ["", ":1", "node:", "node:0", "node:99999", "a b", "node:1:2", "user@node", "node/x", "[::1", "a\r\nb"]
        {
            assert!(Address::parse(text, PORT).is_err(), "{text}");
        }
        assert_eq!(Address { host: "::1".to_owned(), port: 9 }.to_string(), "[::1]:9");
    }

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let plain = "ab".repeat(32);
        assert_eq!(pin(&"AB:".repeat(32)).unwrap(), plain);
        assert!(pin("ab").is_err() && pin(&"xy".repeat(32)).is_err() && pin("").is_err());
    }
}
