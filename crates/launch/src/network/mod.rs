//! Child, inside, trusts nothing: the run's own network, which is a loopback and nothing else.
//!
//! Whatever leaves is carried by a process outside that holds the listening sockets made here; this side keeps none
//! of them. Where something is granted, the loopback answers for the granted addresses and for those that stand for
//! granted names, so that the kernel itself is the TCP of programs that know no proxy: a connection is accepted by
//! the gate, and its local address tells where it wanted to go. No route leads anywhere else.

mod sys;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::SocketType;
use stockade_core::layer::Layer;
use stockade_core::network::{Egress, MADE_UP, Network, PROXY_PORT};

use crate::failure::Step;
use crate::hooks;
use crate::inside::{At, Carried, Failed};
use crate::wire::Event;

pub(crate) use sys::enter_network_of;

/// What the egress gate serves a run through; every socket belongs to the run's own network namespace.
#[derive(Debug, Default)]
pub struct GateSockets {
    /// Listens on the proxy's port.
    pub proxy: Option<OwnedFd>,
    /// The name server's socket.
    pub resolver: Option<OwnedFd>,
    /// Listen on every granted port, at every address that the loopback answers for.
    pub transparent: Vec<OwnedFd>,
    /// See what asks for other ports, and what is not TCP: raw IPv4 packets.
    pub watchers: Vec<OwnedFd>,
}

/// A network namespace of its own, of which the init becomes part when the root stands.
pub(crate) fn make(carried: &mut Carried<'_>) -> Result<(), Failed> {
    if hooks::removed(Layer::Network) {
        return Ok(());
    }
    sys::make_network().at(Step::Namespaces)?;
    sys::bring_loopback_up().at(Step::Loopback)?;
    let localhost = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let resolver = sys::bind(localhost(53), SocketType::DGRAM).at(Step::Resolver)?;
    carried.tell(Event::Resolver, Some(resolver.as_fd()))?;
    if let Network::Gate(egress) = &carried.plan.network {
        let proxy = sys::bind(localhost(PROXY_PORT), SocketType::STREAM).at(Step::Proxy)?;
        carried.tell(Event::Proxy, Some(proxy.as_fd()))?;
        open_transparent(carried, egress)?;
        carried.enforce(Layer::Gate);
    }
    carried.enforce(Layer::Network);
    Ok(())
}

/// The path of programs that know no proxy.
fn open_transparent(carried: &Carried<'_>, egress: &Egress) -> Result<(), Failed> {
    let ports = egress.ports();
    if ports.is_empty() {
        return Ok(());
    }
    // The first address of the made-up block is the run's own end of such connections.
    let own = MADE_UP.hosts().next().unwrap_or(MADE_UP.network());
    let granted = egress.blocks().into_iter().map(|block| (block.network(), block.netmask()));
    for (number, (address, mask)) in (1..).zip(std::iter::once((own, MADE_UP.netmask())).chain(granted)) {
        sys::answer_for(number, address, mask).at(Step::Answers)?;
    }
    let sixes = egress.addresses_v6();
    for address in &sixes {
        sys::answer_for_v6(*address).at(Step::Answers)?;
    }
    for port in ports {
        let listener = sys::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), SocketType::STREAM);
        carried.tell(Event::Transparent, Some(listener.at(Step::Transparent)?.as_fd()))?;
        if !sixes.is_empty() {
            let listener = sys::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), SocketType::STREAM);
            carried.tell(Event::Transparent, Some(listener.at(Step::Transparent)?.as_fd()))?;
        }
    }
    for watched in [sys::Watched::TcpGreetings, sys::Watched::Datagrams] {
        let watcher = sys::watch(watched).at(Step::Watcher)?;
        carried.tell(Event::Watcher, Some(watcher.as_fd()))?;
    }
    Ok(())
}
