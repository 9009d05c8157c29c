//! The node over TCP: always TLS, 1.3 only unless a profile says otherwise. Off unless `--listen` is given.
//!
//! `certificate.rs` is where the first certificate comes from, the operator or the node itself, `current.rs` the one
//! that is shown now, `offer.rs` all that a connection is made with, `serve.rs` takes connections. Sockets are bound and
//! files read while the process still can: see `confine.rs`. What is under TLS is the same API as at the local socket;
//! who asks is decided in `crate::security`, and whether a browser of somebody else asks in `api/remote.rs`.

mod certificate;
mod current;
mod offer;
mod serve;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use stockade_identity::certificate::{Named, Unnamed};
use tokio::sync::watch;

use crate::refusal::Refusal;
use crate::settings::{Certificate, Start};

pub(crate) use certificate::{Shown, contents, fingerprint};
pub(crate) use offer::{Asked, Clients, Offer};
pub(crate) use serve::{counted, serve};

/// Sockets that are bound, and what is offered at them.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) names: Arc<Names>,
}

/// What the node is reached as.
#[derive(Debug)]
pub(crate) struct Names {
    /// Or why nobody is connected with.
    offer: watch::Sender<Result<Arc<Offer>, String>>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// The certificate that a client has shown at the hand-shake, where it was verified.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) named: Result<Named, Unnamed>,
    /// That it is on record who was admitted by it, on its connection.
    pub(crate) is_on_record: AtomicBool,
}

impl Names {
    /// What is offered to the next connection.
    ///
    /// # Errors
    /// Why nothing is.
    pub(crate) fn offer(&self) -> Result<Arc<Offer>, String> {
        self.offer.borrow().clone()
    }

    /// Offers something else from the next connection on; those there are take no more requests.
    pub(crate) fn offer_now(&self, offer: Result<Arc<Offer>, String>) {
        if let Err(why) = &offer {
            tracing::error!(why, "nobody is connected with over TLS");
        }
        self.offer.send_if_modified(|now| {
            let is_same = match (&*now, &offer) {
                (Ok(now), Ok(offer)) => Arc::ptr_eq(now, offer),
                (Err(now), Err(why)) => now == why,
                _ => false,
            };
            *now = offer;
            !is_same
        });
    }

    /// Whether this is what is offered.
    pub(crate) fn offers(&self, offer: &Arc<Offer>) -> bool {
        self.offer.borrow().as_ref().is_ok_and(|now| Arc::ptr_eq(now, offer))
    }

    /// Until something else is offered.
    async fn outdated(&self, offer: &Arc<Offer>) {
        let mut changes = self.offer.subscribe();
        // The other end lives as long as this.
        drop(changes.wait_for(|now| !now.as_ref().is_ok_and(|now| Arc::ptr_eq(now, offer))).await);
    }

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
        let Some(end) = self.end() else { return false };
        let (Ok(name), Ok(certificate)) = (ServerName::try_from(bare), ParsedCertificate::try_from(&end)) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }

    /// The node's own certificate, if it shows one.
    fn end(&self) -> Option<CertificateDer<'static>> {
        self.offer().ok().map(|offer| offer.current.end())
    }

    /// SHA-256 of the certificate, in hexadecimal; none where none is shown.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.end().map(|end| fingerprint(&end))
    }

    /// Shows another certificate from the next connection on; those there are go on.
    ///
    /// # Errors
    /// [`Refusal`] for what is no certificate with its key; the one there is stays.
    pub(crate) fn replace(&self, certificate: &str, key: &str) -> Result<(), Refusal> {
        let offer = self.offer().map_err(|why| unusable(&why))?;
        let shown = Shown::parse(certificate.as_bytes(), key.as_bytes()).map_err(|why| unusable(&why))?;
        offer.current.replace(shown).map_err(|error| unusable(&error.to_string()))
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
    let offer = match (&asked.tls_certificate, &asked.tls_key, &asked.tls_profile) {
        (Some(certificate), Some(key), _) => Ok(own(Shown::read(certificate, key)?)?),
        (_, _, Some(profile)) => Err(format!("the server profile `{profile}` is not in force")),
        _ => Ok(own(Shown::own(folder, &asked.listen)?)?),
    };
    let listeners = asked.listen.iter().map(|address| bind(*address)).collect::<Result<Vec<_>, _>>()?;
    // Where the system chose a port.
    let addresses = listeners.iter().zip(&asked.listen).map(|(one, asked)| one.local_addr().unwrap_or(*asked));
    let addresses: Vec<SocketAddr> = addresses.collect();
    let names = Names { offer: watch::Sender::new(offer), addresses };
    for address in &names.addresses {
        tracing::info!(%address, fingerprint = names.fingerprint(), "listening over TLS");
    }
    Ok(Some(Tls { listeners, names: Arc::new(names) }))
}

/// A certificate of the node's, shown to whoever comes.
fn own(shown: Shown) -> Result<Arc<Offer>, Refusal> {
    Offer::showing(shown, None, false).map(Arc::new).map_err(|error| unservable(&error))
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
        Names { offer: watch::Sender::new(Ok(own(shown).unwrap())), addresses }
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

    #[test]
    fn what_a_full_disk_has_left_of_the_first_certificate_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let listen = ["127.0.0.1:8443".parse().unwrap()];
        drop(Shown::own(folder.path(), &listen).unwrap());
        let [key, certificate] = ["key", "certificate"].map(|name| folder.path().join(format!("tls/{name}.pem")));
        let before = std::fs::read_to_string(&key).unwrap();
        std::fs::write(&certificate, "").unwrap();
        let anew = Shown::own(folder.path(), &listen).unwrap();
        assert!(own(anew).is_ok(), "they belong together");
        assert_ne!(std::fs::read_to_string(&key).unwrap(), before);
        let names = std::fs::read_dir(folder.path().join("tls")).unwrap().map(|one| one.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["certificate.pem", "key.pem"]);
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

    #[tokio::test]
    async fn a_connection_is_over_when_something_else_is_offered() {
        let names = names("127.0.0.1:8443");
        let first = names.offer().unwrap();
        let is_over = || tokio::time::timeout(std::time::Duration::ZERO, names.outdated(&first));
        names.offer_now(Ok(Arc::clone(&first)));
        assert!(names.offers(&first) && is_over().await.is_err(), "it is the same");
        names.offer_now(Err("it is not in force".to_owned()));
        assert!(!names.offers(&first) && is_over().await.is_ok());
        assert!(names.fingerprint().is_none() && !names.has("localhost", "192.0.2.7".parse().unwrap()));
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
        let foreign = Shown::read(&certificate, &key).and_then(own).unwrap_err();
        assert!(foreign.to_string().contains("cannot be served"), "{foreign}");
        assert!(Shown::read(&key, &certificate).is_err());
        assert!(Shown::read(folder.path(), &key).is_err(), "a folder");
        assert!(Shown::read(std::path::Path::new("/dev/null"), &key).is_err());
    }
}
