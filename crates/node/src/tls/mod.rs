//! The node over TCP: always TLS, 1.3 only. Off unless `--listen` is given.
//!
//! `certificate.rs` is where the first certificate comes from, the operator or the node itself, `current.rs` the one
//! that is shown now, `serve.rs` takes connections. Sockets are bound and
//! files read while the process still can: see `confine.rs`. What is under TLS is the same API as at the local socket;
//! who asks is decided in `crate::security`, and whether a browser of somebody else asks in `api/remote.rs`.

mod certificate;
mod current;
mod serve;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ParsedCertificate};

use crate::refusal::Refusal;
use crate::settings::{Certificate, Start};
use certificate::Shown;
use current::Current;

pub(crate) use certificate::{contents, fingerprint};
pub(crate) use serve::{counted, serve};

/// What is spoken inside.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Sockets that are bound, and what is shown on them.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) names: Arc<Names>,
}

/// What the node is reached as.
#[derive(Debug)]
pub(crate) struct Names {
    current: Arc<Current>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Names {
    /// Whether a request for this host is for this node: an address at which the connection arrived or that it listens
    /// at, or a name of its certificate. Ports do not count: they are forwarded.
    pub(crate) fn has(&self, host: &str, arrived_at: IpAddr) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let address = address.to_canonical();
            let listens = self.addresses.iter().any(|known| known.ip() == address && !address.is_unspecified());
            if listens || address == arrived_at.to_canonical() {
                return true;
            }
        }
        let end = self.current.end();
        let (Ok(name), Ok(certificate)) = (ServerName::try_from(bare), ParsedCertificate::try_from(&end)) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }

    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.current.end())
    }

    /// Shows another certificate from the next connection on; those there are go on.
    ///
    /// # Errors
    /// [`Refusal`] for what is no certificate with its key; the one there is stays.
    pub(crate) fn replace(&self, certificate: &str, key: &str) -> Result<(), Refusal> {
        let shown = Shown::parse(certificate.as_bytes(), key.as_bytes()).map_err(|why| unusable(&why))?;
        self.current.replace(shown).map_err(|error| unusable(&error.to_string()))
    }
}

fn unusable(why: &str) -> Refusal {
    let next = "give a certificate and the key that belongs to it, as PEM";
    Refusal::invalid("the certificate cannot be shown", stockade_core::text::shown(why, 300), next)
}

/// Binds what the flags name and reads what is shown there; none where nothing is to be listened at.
///
/// # Errors
/// [`Refusal`] for an address that cannot be had, or a certificate or key that cannot be used.
pub(crate) fn open(asked: &Start, folder: &Path) -> Result<Option<Tls>, Refusal> {
    if asked.listen.is_empty() {
        return Ok(None);
    }
    let shown = match (&asked.tls_certificate, &asked.tls_key) {
        (Some(certificate), Some(key)) => Shown::read(certificate, key)?,
        _ => Shown::own(folder, &asked.listen)?,
    };
    let current = Arc::new(Current::new(shown).map_err(|error| unservable(&error))?);
    let config = Arc::new(config(Arc::clone(&current))?);
    let listeners = asked.listen.iter().map(|address| bind(*address)).collect::<Result<Vec<_>, _>>()?;
    // Where the system chose a port.
    let addresses = listeners.iter().zip(&asked.listen).map(|(one, asked)| one.local_addr().unwrap_or(*asked));
    let addresses: Vec<SocketAddr> = addresses.collect();
    let names = Names { current, addresses };
    for address in &names.addresses {
        tracing::info!(%address, fingerprint = names.fingerprint(), "listening over TLS");
    }
    Ok(Some(Tls { listeners, config, names: Arc::new(names) }))
}

/// Makes the certificate of a node that has none yet, and prints its SHA-256.
///
/// # Errors
/// [`Refusal`] when it cannot be kept.
pub fn first(asked: &Certificate) -> Result<(), Refusal> {
    let shown = Shown::own(&asked.folder, &asked.listen)?;
    if let Some(end) = shown.chain.first() {
        // A reader that went away is no error.
        drop(writeln!(std::io::stdout(), "{}", fingerprint(end)));
    }
    Ok(())
}

fn bind(address: SocketAddr) -> Result<TcpListener, Refusal> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        Refusal::invalid(
            format!("the node cannot listen at {address}"),
            crate::system_text(&error),
            "name an address of this machine and a port that is free and above 1023, with --listen ADDRESS:PORT",
        )
    })
}

/// TLS 1.3, by *ring*; sessions are not resumed, so every connection sees the certificate and nothing is kept.
fn config(current: Arc<Current>) -> Result<rustls::ServerConfig, Refusal> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unservable(&error))?
        .with_no_client_auth()
        .with_cert_resolver(current);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn unservable(error: &rustls::Error) -> Refusal {
    Refusal::invalid(
        "the certificate cannot be served",
        error.to_string(),
        "name a certificate and the key that belongs to it, with --tls-certificate and --tls-key",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listen: &str) -> Names {
        let folder = tempfile::tempdir().unwrap();
        let shown = Shown::own(folder.path(), &[listen.parse().unwrap()]).unwrap();
        let addresses = vec![listen.parse().unwrap()];
        Names { current: Arc::new(Current::new(shown).unwrap()), addresses }
    }

    #[test]
    fn a_request_is_for_this_node_by_its_address_or_a_name_of_its_certificate() {
        let names = names("0.0.0.0:8443");
        let at: IpAddr = "192.0.2.7".parse().unwrap();
        for host in ["192.0.2.7", "localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
            assert!(names.has(host, at), "{host}");
        }
        for host in ["192.0.2.8", "0.0.0.0", "evil.example", "localhost.evil.example", "", "a b", "[127.0.0.1", "*"] {
            assert!(!names.has(host, at), "{host}");
        }
    }

    #[test]
    fn the_first_certificate_is_kept_and_half_of_one_is_not_made_whole() {
        let folder = tempfile::tempdir().unwrap();
        let listen = ["127.0.0.1:8443".parse().unwrap()];
        let first = Shown::own(folder.path(), &listen).unwrap();
        let again = Shown::own(folder.path(), &listen).unwrap();
        assert_eq!(first.chain, again.chain);
        let key = folder.path().join("tls/key.pem");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o604)).unwrap();
        let refused = Shown::own(folder.path(), &listen).unwrap_err();
        assert!(refused.to_string().contains("others can read it"), "{refused}");
        std::fs::remove_file(&key).unwrap();
        assert!(Shown::own(folder.path(), &listen).is_err(), "who pinned it would be locked out silently");
    }

    fn served(shown: Shown) -> Result<Current, Refusal> {
        Current::new(shown).map_err(|error| unservable(&error))
    }

    #[test]
    fn another_certificate_takes_the_place_of_the_one_there_is_or_nothing_changes() {
        let (names, other) = (names("127.0.0.1:8443"), tempfile::tempdir().unwrap());
        let first = names.fingerprint();
        drop(Shown::own(other.path(), &["192.0.2.9:8443".parse().unwrap()]).unwrap());
        let pem = |name: &str| std::fs::read_to_string(other.path().join("tls").join(name)).unwrap();
        let (certificate, key) = (pem("certificate.pem"), pem("key.pem"));
        let third = tempfile::tempdir().unwrap();
        drop(Shown::own(third.path(), &["192.0.2.9:8443".parse().unwrap()]).unwrap());
        let foreign = std::fs::read_to_string(third.path().join("tls/key.pem")).unwrap();
        for (certificate, key) in [("", ""), (certificate.as_str(), ""), ("", &key), (&certificate, &foreign)] {
            let refused = names.replace(certificate, key).unwrap_err();
            assert!(!refused.to_string().contains("PRIVATE"), "{refused}");
            assert_eq!(names.fingerprint(), first);
        }
        names.replace(&certificate, &key).unwrap();
        assert_ne!(names.fingerprint(), first);
        let elsewhere: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(names.has("192.0.2.9", elsewhere), "its names are those of the new one");
    }

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_refused_with_a_way_on() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| folder.path().join(name));
        let listen = ["127.0.0.1:8443".parse().unwrap()];
        for home in [&one, &other] {
            drop(Shown::own(home, &listen).unwrap());
        }
        let (certificate, key) = (one.join("tls/certificate.pem"), other.join("tls/key.pem"));
        let foreign = Shown::read(&certificate, &key).and_then(served).unwrap_err();
        assert!(foreign.to_string().contains("cannot be served"), "{foreign}");
        assert!(Shown::read(&key, &certificate).is_err());
        assert!(Shown::read(folder.path(), &key).is_err(), "a folder");
        assert!(Shown::read(std::path::Path::new("/dev/null"), &key).is_err());
    }
}
