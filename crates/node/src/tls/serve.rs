//! Takes connections over TCP: so many in all and of one address, a hand-shake within its time, then the API.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Extension;
use stockade_identity::certificate;
use stockade_identity::hosts::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Client, Names, Tls};
use crate::api;
use crate::listen::connection;
use crate::places::Places;
use crate::refusal::Refusal;
use crate::service::Node;

/// How long a hand-shake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// One address may have this part of all connections.
const PART: usize = 4;

/// A socket with all that its connections need.
#[derive(Clone)]
struct Front {
    node: Arc<Node>,
    router: axum::Router,
    names: Arc<Names>,
    places: Arc<Places<IpAddr>>,
}

/// Takes connections of every socket, in tasks of their own that go on for ever.
///
/// # Errors
/// [`Refusal`] when a socket cannot be waited at.
pub(crate) fn serve(tls: Tls, connections: usize, node: &Arc<Node>) -> Result<(), Refusal> {
    let front = Front {
        node: Arc::clone(node),
        router: api::router(Arc::clone(node)),
        names: tls.names,
        places: Arc::new(Places::new(connections, connections / PART)),
    };
    for listener in tls.listeners {
        let listener = TcpListener::from_std(listener)
            .map_err(|error| Refusal::failed("the node cannot listen", crate::system_text(&error)))?;
        tokio::spawn(front.clone().accept(listener));
    }
    Ok(())
}

impl Front {
    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.take(stream, from),
                Err(error) => {
                    // Too many open files, most likely: a moment later there may be fewer.
                    tracing::warn!(error = %error, "a connection cannot be taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, from: SocketAddr) {
        let offer = self.names.offer();
        let (Some(place), Ok(at), Ok(offer)) = (self.places.take(counted(from.ip())), stream.local_addr(), offer)
        else {
            // Closed at once: an answer would have to wait for a reader.
            self.node.metrics.refused_connection();
            return;
        };
        self.node.metrics.connected();
        let (node, names, router) = (Arc::clone(&self.node), Arc::clone(&self.names), self.router.clone());
        let acceptor = TlsAcceptor::from(Arc::clone(&offer.config));
        tokio::spawn(async move {
            // Answers are short; a failure makes them slower only.
            drop(stream.set_nodelay(true));
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let (client, at) = (client(&stream), at.ip().to_canonical());
                    let remote = api::Remote { from: Peer::of(from), at, client, offer: Arc::clone(&offer) };
                    connection(stream, router.layer(Extension(remote)), names.outdated(&offer)).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(error = %error, "a hand-shake failed");
                    if let Some(why) = unproved(&error) {
                        node.security.record_hand_shake(Peer::of(from).address(), &why).await;
                    }
                }
                Err(_) => tracing::debug!("a hand-shake took too long"),
            }
            drop(place);
        });
    }
}

/// What was wrong with the certificate of a client, where that is what ended the hand-shake.
fn unproved(error: &std::io::Error) -> Option<String> {
    let error: &rustls::Error = error.get_ref()?.downcast_ref()?;
    let is_of_client = matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    is_of_client.then(|| error.to_string())
}

/// Whose certificate the hand-shake has verified, if the client has shown one.
fn client(stream: &TlsStream<TcpStream>) -> Option<Arc<Client>> {
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first)?;
    Some(Arc::new(Client { named: certificate::read(shown), is_on_record: AtomicBool::new(false) }))
}

/// The address as it counts: a host has all of its /64.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_once_whichever_of_its_addresses_it_takes() {
        let address = |text: &str| counted(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.7"), address("192.0.2.7"));
        assert_ne!(address("192.0.2.7"), address("192.0.2.8"));
    }
}
