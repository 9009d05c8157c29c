//! Descriptors that were passed out of a sandbox, made into what the runtime can wait for, or refused.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};

use crate::front::Arrival;
use crate::gate::GateFailure;
use crate::inside::Inside;
use crate::sockets::Sockets;

/// Every way into one run.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) resolver: Option<UdpSocket>,
    pub(crate) watchers: Vec<UdpSocket>,
}

/// What connections are accepted on.
#[derive(Debug)]
pub(crate) enum Listener {
    Proxy(TcpListener),
    UnixProxy(UnixListener),
    Transparent(TcpListener),
}

impl Doors {
    /// All of them, or none.
    pub(crate) fn new(sockets: Sockets) -> Result<Self, GateFailure> {
        let proxies = each(sockets.proxies, "proxy listener", Listener::proxy)?;
        let transparent = each(sockets.transparent, "transparent listener", Listener::transparent)?;
        Ok(Self {
            listeners: proxies.into_iter().chain(transparent).collect(),
            resolver: each(sockets.resolver, "resolver", resolver)?.pop(),
            watchers: each(sockets.watchers, "watcher", watcher)?,
        })
    }

    /// Where transparent listeners take connections.
    pub(crate) fn taken(&self) -> Arc<[SocketAddr]> {
        let taken = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Transparent(listener) => listener.local_addr().ok(),
            Listener::Proxy(_) | Listener::UnixProxy(_) => None,
        });
        taken.collect()
    }
}

fn each<T>(
    sockets: impl IntoIterator<Item = OwnedFd>,
    kind: &'static str,
    make: impl Fn(OwnedFd) -> io::Result<T>,
) -> Result<Vec<T>, GateFailure> {
    let made: io::Result<_> = sockets.into_iter().map(make).collect();
    made.map_err(|source| GateFailure::Socket { kind, source })
}

impl Listener {
    fn proxy(socket: OwnedFd) -> io::Result<Self> {
        match listening(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Proxy(TcpListener::from_std(socket.into())?)),
            AddressFamily::UNIX => Ok(Self::UnixProxy(UnixListener::from_std(socket.into())?)),
            _ => Err(not_it()),
        }
    }

    fn transparent(socket: OwnedFd) -> io::Result<Self> {
        match listening(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Transparent(TcpListener::from_std(socket.into())?)),
            _ => Err(not_it()),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Proxy(listener) => Ok(Arrival::Proxy(accept_tcp(listener).await?.into())),
            Self::UnixProxy(listener) => Ok(Arrival::Proxy(Inside::new(listener.accept().await?.0))),
            Self::Transparent(listener) => {
                let stream = accept_tcp(listener).await?;
                Ok(Arrival::Transparent(stream.local_addr()?, stream.into()))
            }
        }
    }
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    // Costs time only if it is refused.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

fn listening(socket: &OwnedFd) -> io::Result<AddressFamily> {
    rustix::io::ioctl_fionbio(socket, true)?;
    if !sockopt::socket_acceptconn(socket)? || sockopt::socket_type(socket)? != SocketType::STREAM {
        return Err(not_it());
    }
    Ok(sockopt::socket_domain(socket)?)
}

fn resolver(socket: OwnedFd) -> io::Result<UdpSocket> {
    let of_internet = matches!(sockopt::socket_domain(&socket)?, AddressFamily::INET | AddressFamily::INET6);
    let bound = of_internet && sockopt::socket_type(&socket)? == SocketType::DGRAM;
    if bound { datagrams(socket) } else { Err(not_it()) }
}

fn watcher(socket: OwnedFd) -> io::Result<UdpSocket> {
    let raw = sockopt::socket_type(&socket)? == SocketType::RAW;
    if raw && sockopt::socket_domain(&socket)? == AddressFamily::INET { datagrams(socket) } else { Err(not_it()) }
}

fn datagrams(socket: OwnedFd) -> io::Result<UdpSocket> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    UdpSocket::from_std(socket.into())
}

fn not_it() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}
