//! What the run tried and no listener took: first packets of TCP, and datagrams, seen by raw sockets inside.
//!
//! Only told, never answered: the kernel inside has refused them already. The bytes are hostile, headers included.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::net::UdpSocket;

use crate::flow::{Want, Way};
use crate::pace::Pace;
use crate::refusal::Reason;
use crate::run::Run;
use crate::transparent;

/// Room for the longest IPv4 header and what is read after it.
const PACKET_BYTES: usize = 128;
/// How many packets are read at the end of a run.
const DRAINED_MAX: usize = 1_024;
const PAUSE: Duration = Duration::from_millis(10);

/// What a packet tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    /// A connection.
    Connection(SocketAddr),
    /// A datagram.
    Datagram(SocketAddr),
}

/// One raw socket. The runtime knows none; as one for datagrams it reads it all the same.
#[derive(Debug)]
pub(crate) struct Watcher {
    run: Arc<Run>,
    socket: UdpSocket,
    /// Where listeners are, which tell what they refuse themselves.
    served: Arc<[SocketAddr]>,
}

impl Watcher {
    pub(crate) fn new(run: &Arc<Run>, socket: UdpSocket, served: &Arc<[SocketAddr]>) -> Self {
        Self { run: Arc::clone(run), socket, served: Arc::clone(served) }
    }

    /// Watches until it is aborted.
    pub(crate) async fn serve(self: Arc<Self>) {
        let (mut packet, mut pace) = ([0; PACKET_BYTES], Pace::new());
        loop {
            match self.socket.recv(&mut packet).await {
                Ok(length) => self.tell(packet.get(..length)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            pace.step().await;
        }
    }

    /// Tells what still waits when the run is over: what code tried last is often why it ended.
    pub(crate) fn drain(&self) {
        let mut packet = [0; PACKET_BYTES];
        for _ in 0..DRAINED_MAX {
            let Ok((length, _)) = rustix::net::recv(&self.socket, &mut packet, RecvFlags::DONTWAIT) else { return };
            self.tell(packet.get(..length));
        }
    }

    fn tell(&self, packet: Option<&[u8]>) {
        if let Some(tried) = packet.and_then(read) {
            tell(&self.run, tried, &self.served);
        }
    }
}

fn tell(run: &Run, tried: Tried, served: &[SocketAddr]) {
    let (Tried::Connection(to) | Tried::Datagram(to)) = tried;
    if to.ip().is_loopback() {
        return;
    }
    match tried {
        Tried::Connection(to) if is_served(to, served) => {}
        Tried::Connection(to) => match transparent::want(run, to) {
            Ok(want) => {
                let permitted = run.rules.connection(&want.host, want.port);
                let reason = permitted.err().unwrap_or(Reason::BadRequest("no listener inside takes this port"));
                run.refused_once(&want.refusal(reason));
            }
            Err(refusal) => run.refused_once(&refusal),
        },
        Tried::Datagram(to) => {
            let want = Want { host: run.names.meant(to.ip()), port: to.port(), way: Way::Transparent };
            run.refused_once(&want.refusal(Reason::NotTcp));
        }
    }
}

fn is_served(to: SocketAddr, served: &[SocketAddr]) -> bool {
    served.iter().any(|listener| {
        listener.port() == to.port() && (listener.ip() == to.ip() || listener.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    })
}

/// Where a packet goes, if it begins something. The socket's own filter passes nothing else; it is not relied on.
fn read(packet: &[u8]) -> Option<Tried> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SYN_AND_ACK: u8 = 0x12;
    const SYN: u8 = 0x02;
    let [first, _, _, _, _, _, fragment_high, fragment_low, _, protocol, _, _, _, _, _, _, a, b, c, d] =
        *packet.first_chunk::<20>()?;
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x1fff;
    let header_bytes = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header_bytes < 20 || fragment != 0 {
        return None;
    }
    let carried = packet.get(header_bytes..)?;
    let [_, _, high, low] = *carried.first_chunk()?;
    let to = SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])));
    match protocol {
        TCP if carried.get(13)? & SYN_AND_ACK == SYN => Some(Tried::Connection(to)),
        UDP => Some(Tried::Datagram(to)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(protocol: u8, flags: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2];
        packet.extend_from_slice(&[0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn what_begins_something_is_read() {
        let to: SocketAddr = "198.18.0.2:8080".parse().unwrap();
        assert_eq!(read(&packet(6, 0x02)), Some(Tried::Connection(to)));
        assert_eq!(read(&packet(6, 0xc2)), Some(Tried::Connection(to)));
        assert_eq!(read(&packet(17, 0)), Some(Tried::Datagram(to)));
        for other in
            [packet(6, 0x12), packet(6, 0x10), packet(6, 0x04), packet(1, 0x02), packet(6, 0x02)[..30].to_vec()]
        {
            assert_eq!(read(&other), None);
        }
        let mut later_fragment = packet(17, 0);
        later_fragment[7] = 1;
        let mut short_header = packet(17, 0);
        short_header[0] = 0x44;
        assert_eq!((read(&later_fragment), read(&short_header)), (None, None));
    }

    #[test]
    fn options_before_the_ports_are_skipped() {
        let plain = packet(6, 2);
        let mut long = [&plain[..20], &[1; 40], &plain[20..]].concat();
        long[0] = 0x4f;
        assert_eq!(read(&long), read(&plain));
        assert!(long.len() <= PACKET_BYTES);
    }

    #[test]
    fn a_listener_on_one_address_serves_that_one() {
        let to: SocketAddr = "10.0.0.5:443".parse().unwrap();
        let served = |listener: &str| is_served(to, &[listener.parse().unwrap()]);
        assert!(served("0.0.0.0:443") && served("10.0.0.5:443"));
        assert!(!served("0.0.0.0:80") && !served("10.0.0.6:443") && !served("[::]:443"));
    }

    proptest! {
        #[test]
        fn no_packet_stops_the_watcher(mut bytes in proptest::collection::vec(any::<u8>(), 0..128), v4 in any::<bool>()) {
            if let (true, Some(first)) = (v4, bytes.first_mut()) {
                *first = 0x40 | (*first & 0x0f);
            }
            let _tried = read(&bytes);
        }
    }
}
