//! System calls of the run's own network, one function each, safe to call, no policy.
#![expect(unsafe_code, reason = "system calls that no kept crate wraps")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, sockopt};

use crate::sys::{Sys, call, check, unshare};

const NEW_NETWORK: u64 = 0x4000_0000;
/// How many connections wait to be accepted by the gate.
const BACKLOG: i32 = 1024;

/// A network namespace of its own.
pub(super) fn make_network() -> Sys<()> {
    unshare(NEW_NETWORK)
}

/// Moves this process into the network namespace of another, given by pidfd (setns(2), Linux 5.8).
pub(crate) fn enter_network_of(process: BorrowedFd<'_>) -> Sys<()> {
    call("setns", || {
        rustix::thread::move_into_thread_name_spaces(process, rustix::thread::ThreadNameSpaceType::NETWORK)
    })
}

fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Sys<OwnedFd> {
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
}

/// A request about an interface, by its label.
fn request(label: &str) -> Sys<libc::ifreq> {
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if label.len() >= request.ifr_name.len() {
        return Err(Errno::NAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(label.bytes()) {
        *to = libc::c_char::try_from(from).map_err(|_| Errno::INVAL)?;
    }
    Ok(request)
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn bring_loopback_up() -> Sys<()> {
    const UP: libc::c_short = 0x1 | 0x40; // IFF_UP | IFF_RUNNING, netdevice(7)
    call("loopback up", || {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let mut request = request("lo")?;
        request.ifr_ifru.ifru_flags = UP;
        // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
        check(libc::c_long::from(answer)).map(drop)
    })
}

/// Lets the loopback answer for a whole block: an address on it with a mask makes all that the mask covers local
/// (`fib_add_ifaddr`). Labels tell several apart, netdevice(7).
pub(super) fn answer_for(number: u32, address: Ipv4Addr, mask: Ipv4Addr) -> Sys<()> {
    call("loopback address", || {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let label = format!("lo:{number}");
        for (what, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
            let mut request = request(&label)?;
            request.ifr_ifru.ifru_addr = inet_address(address)?;
            // SAFETY: both read a `struct ifreq` that holds an address.
            let answer = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw const request) };
            check(libc::c_long::from(answer))?;
        }
        Ok(())
    })
}

/// An IPv4 address without a port as ioctls take it: `struct sockaddr_in` in the place of `struct sockaddr`.
fn inet_address(address: Ipv4Addr) -> Sys<libc::sockaddr> {
    let mut data = [0; 14];
    // After the port's two bytes; bytes are bytes, signed or not.
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let family = libc::sa_family_t::try_from(libc::AF_INET).map_err(|_| Errno::INVAL)?;
    Ok(libc::sockaddr { sa_family: family, sa_data: data })
}

/// Lets the loopback answer for one IPv6 address.
pub(super) fn answer_for_v6(address: Ipv6Addr) -> Sys<()> {
    /// `struct in6_ifreq` (linux/ipv6.h).
    #[repr(C)]
    struct Request {
        address: [u8; 16],
        prefix_length: u32,
        interface: libc::c_int,
    }
    /// The loopback is the first interface of every namespace.
    const LOOPBACK: libc::c_int = 1;
    call("loopback address", || {
        let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
        let request = Request { address: address.octets(), prefix_length: 128, interface: LOOPBACK };
        // SAFETY: on an IPv6 socket SIOCSIFADDR reads a `struct in6_ifreq`.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &raw const request) };
        check(libc::c_long::from(answer)).map(drop)
    })
}

/// A socket bound to this address of this network namespace; a stream listens.
pub(super) fn bind(address: SocketAddr, kind: SocketType) -> Sys<OwnedFd> {
    call("bind", || {
        let socket = match address {
            SocketAddr::V4(_) => socket(AddressFamily::INET, kind, None)?,
            SocketAddr::V6(_) => {
                let socket = socket(AddressFamily::INET6, kind, None)?;
                sockopt::set_ipv6_v6only(&socket, true)?;
                socket
            }
        };
        rustix::net::bind(&socket, &address)?;
        if kind == SocketType::STREAM {
            rustix::net::listen(&socket, BACKLOG)?;
        }
        Ok(socket)
    })
}

/// What a watcher sees.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched {
    /// First segments of TCP connections.
    TcpGreetings,
    /// UDP to other addresses than 127.0.0.0/8.
    Datagrams,
}

/// A raw socket (raw(7)) that takes only what is watched for; the filter sees packets from their IPv4 header on.
pub(super) fn watch(watched: Watched) -> Sys<OwnedFd> {
    // Classic BPF (linux/filter.h): code, jump if true, jump if false, operand. 64 bytes of a packet are kept.
    const GREETINGS: [(u16, u8, u8, u32); 6] = [
        (0xb1, 0, 0, 0),  // X = length of the IPv4 header
        (0x50, 0, 0, 13), // A = flags of the TCP header
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02), // SYN without ACK
        (0x06, 0, 0, 64),
        (0x06, 0, 0, 0),
    ];
    const DATAGRAMS: [(u16, u8, u8, u32); 4] = [
        (0x30, 0, 0, 16), // A = first byte of the destination
        (0x15, 1, 0, 127),
        (0x06, 0, 0, 64),
        (0x06, 0, 0, 0),
    ];
    let (protocol, filter) = match watched {
        Watched::TcpGreetings => (ipproto::TCP, GREETINGS.as_slice()),
        Watched::Datagrams => (ipproto::UDP, DATAGRAMS.as_slice()),
    };
    call("watcher", || {
        let mut program: Vec<libc::sock_filter> =
            filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
        let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
        let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        let socket = socket(AddressFamily::INET, SocketType::RAW, Some(protocol))?;
        let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(|_| Errno::INVAL)?;
        // SAFETY: SO_ATTACH_FILTER reads a `struct sock_fprog` whose instructions outlive the call.
        let answer = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size,
            )
        };
        check(libc::c_long::from(answer))?;
        Ok(socket)
    })
}
