//! Network: addresses, names, families, and what of it the report tells.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use crate::support::{Folder, STOCKADE, assert_all, assert_said, attack, call, mark, outside, said, users};

#[test]
fn the_loopback_of_the_host_is_not_reached() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let code = format!(
        r#"
def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(address)
attempt("tcp", lambda: connect(socket.AF_INET, ("127.0.0.1", {tcp})))
attempt("any", lambda: connect(socket.AF_INET, ("0.0.0.0", {tcp})))
attempt("other loopback", lambda: connect(socket.AF_INET, ("127.1.2.3", {tcp})))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", {udp})))
attempt("tcp6", lambda: connect(socket.AF_INET6, ("::1", {tcp6})))
attempt("mapped", lambda: connect(socket.AF_INET6, ("::ffff:127.0.0.1", {tcp})))
"#,
        tcp = tcp.local_addr().unwrap().port(),
        udp = udp.local_addr().unwrap().port(),
        tcp6 = tcp6.as_ref().map_or(1, |listener| listener.local_addr().unwrap().port()),
    );
    let folder = Folder::new();
    assert_eq!(said(&outside(folder.path(), &code))["tcp"], "done");
    while tcp.accept().is_ok() {}
    let mut heard = [0; 16];
    assert_eq!(udp.recv(&mut heard).unwrap(), 5);
    for user in users() {
        let ran = attack(user, &[], &code).run().expect(0);
        let mut told = said(&ran);
        // A datagram to a port where nobody listens is sent, and lost inside.
        assert_eq!(told.remove("udp").unwrap(), "done 5");
        for (what, how) in told {
            assert!(["ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH"].contains(&how.as_str()), "{what}: {how}");
        }
        assert!(tcp.accept().is_err() && udp.recv(&mut heard).is_err(), "the code reached the host");
    }
}

#[test]
fn no_address_is_reached() {
    for user in users() {
        let code = r#"
def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(5)
        one.connect(address)
# Documentation ranges, private ranges, the metadata services of clouds.
for address in ("192.0.2.1", "198.51.100.7", "10.0.0.1", "172.17.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255"):
    attempt(address, lambda: connect(socket.AF_INET, (address, 80)))
for address in ("2001:db8::1", "fd00:ec2::254", "fe80::1", "ff02::1"):
    attempt(address, lambda: connect(socket.AF_INET6, (address, 80)))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
attempt("udp6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("2001:db8::1", 53)))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["ENETUNREACH", "EACCES", "EINVAL", "EADDRNOTAVAIL", "EHOSTUNREACH"]);
        assert_eq!(said(&ran)["169.254.169.254"], "ENETUNREACH");
        assert_eq!(said(&ran)["2001:db8::1"], "ENETUNREACH");
        let denied = ran.report()["denials"].to_string();
        assert!(denied.contains("addresses"), "{denied}");
    }
}

#[test]
fn there_is_no_interface_but_an_empty_loopback() {
    for user in users() {
        let code = r#"
say("interfaces", socket.if_nameindex() if False else sorted(line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]))
say("routes", len(open("/proc/net/route").readlines()) - 1)
say("tcp", len(open("/proc/net/tcp").readlines()) - 1)
say("unix", len(open("/proc/net/unix").readlines()) - 1)
say("address", socket.gethostbyname("localhost"))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_said(
            &ran,
            &[("interfaces", "['lo']"), ("routes", "0"), ("tcp", "0"), ("unix", "0"), ("address", "127.0.0.1")],
        );
    }
}

/// A name is asked of the run's own resolver, whose listener is outside and which always says no.
#[test]
fn a_name_that_was_asked_is_in_the_report_and_never_leaves() {
    let name = format!("{}.example.com", mark("name"));
    for user in users() {
        let code = format!(
            r#"
try:
    socket.getaddrinfo({name:?}, 443)
    say("resolved", "yes")
except socket.gaierror as refused:
    say("resolved", "no")
say("file", repr(open("/etc/resolv.conf").read()))
# DNS carried by hand to another server has no route.
query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x00\x00\x01\x00\x01"
attempt("elsewhere", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ("192.0.2.53", 53)))
attempt("port", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 53)))
"#
        );
        let ran = attack(user, &[], &code).run().expect(0);
        assert_eq!(said(&ran)["resolved"], "no");
        assert!(said(&ran)["file"].contains("nameserver 127.0.0.1"));
        assert_eq!(said(&ran)["elsewhere"], "ENETUNREACH");
        assert!(["EADDRINUSE", "EACCES"].contains(&said(&ran)["port"].as_str()), "{}", ran.stdout);
        let denied = ran.report()["denials"].to_string();
        assert!(denied.contains(&name), "{denied}");
        // People are told too, and what they can do.
        let shown = call(STOCKADE, user)
            .args(["run", "-c", &format!("import socket\ntry: socket.getaddrinfo({name:?}, 1)\nexcept OSError: pass")])
            .run()
            .expect(0);
        assert!(
            shown.stderr.contains(&format!("denied: network to {name}")) && shown.stderr.contains("next:"),
            "{}",
            shown.stderr
        );
    }
}

#[test]
fn a_flood_of_hostile_names_does_not_reach_the_report_whole() {
    for user in users() {
        let code = r#"
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(2)
def ask(label):
    one.sendto(b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + bytes([len(label)]) + label + b"\x00\x00\x01\x00\x01", ("127.0.0.1", 53))
for number in range(400):
    ask(b"name%d" % number)
    try: one.recv(2000)
    except OSError: pass
for rubbish in (b"", b"\xff" * 1000, b"\x00" * 12, b"\x00\x07\x01\x00\xff\xff" + b"\xc0\x0c" * 40):
    one.sendto(rubbish, ("127.0.0.1", 53))
ask(b"\x1b[2J\x07\n")
time.sleep(0.2)
say("alive", "yes")
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_said(&ran, &[("alive", "yes")]);
        let denials = ran.report()["denials"].as_array().unwrap().len();
        assert!(denials <= 101, "{denials}");
        assert!(!ran.stderr.contains('\u{1b}'));
    }
}

#[test]
fn socket_families_that_lead_elsewhere_are_closed() {
    for user in users() {
        let code = r#"
STREAM, DATAGRAM, RAW = 1, 2, 3
for what, arguments in {
    "netlink": (16, RAW, 0), "netlink audit": (16, RAW, 9), "netlink netfilter": (16, RAW, 12), "packet": (17, RAW, 768), "raw": (2, RAW, 1), "raw6": (10, RAW, 58),
    "ping": (2, DATAGRAM, 1), "ping6": (10, DATAGRAM, 58), "alg": (38, 5, 0), "vsock": (40, STREAM, 0), "bluetooth": (31, RAW, 1), "can": (29, RAW, 1),
    "tipc": (30, STREAM, 0), "rds": (21, 5, 0), "xdp": (44, RAW, 0), "smc": (43, STREAM, 0), "kcm": (41, DATAGRAM, 0), "qipcrtr": (42, DATAGRAM, 0),
    "ax25": (3, DATAGRAM, 0), "appletalk": (5, DATAGRAM, 0), "x25": (9, 5, 0), "key": (15, RAW, 2), "rxrpc": (33, DATAGRAM, 2), "nfc": (39, RAW, 0), "caif": (37, STREAM, 0),
    "sctp": (2, STREAM, 132), "dccp": (2, 6, 33), "udplite": (2, DATAGRAM, 136), "mptcp": (2, STREAM, 262), "l2tp": (2, DATAGRAM, 115), "high bits": (2 | 1 << 32, RAW, 1), "rds high": (21 | 1 << 40, 5, 0),
}.items():
    attempt(what, lambda: call("socket", *arguments))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        // Netlink answers as a kernel without it: programs that list interfaces go on without.
        assert_all(&ran, &["EPERM", "EINVAL"]);
        let told = said(&ran);
        assert_eq!(told.len(), 32);
        assert!(told.iter().all(|(what, how)| how == "EPERM" || what.starts_with("netlink")), "{told:?}");
    }
}

#[test]
fn interfaces_and_routes_cannot_be_changed() {
    for user in users() {
        let code = r#"
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = ctypes.create_string_buffer(b"lo".ljust(40, b"\0"), 40)
for what, number in (("SIOCSIFFLAGS", 0x8914), ("SIOCSIFADDR", 0x8916), ("SIOCADDRT", 0x890B), ("SIOCSIFHWADDR", 0x8924), ("SIOCBRADDBR", 0x89A0), ("SIOCGSKNS", 0x894C), ("SIOCSARP", 0x8955)):
    attempt(what, lambda: call("ioctl", one.fileno(), number, request))
stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
for what, level, option in (("SO_ATTACH_FILTER", 1, 26), ("SO_ATTACH_BPF", 1, 50), ("TCP_ULP", 6, 31)):
    attempt(what, lambda: stream.setsockopt(level, option, b"\0" * 16))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        // As a kernel without the family, for netlink: getifaddrs copes, ZeroMQ aborts on EPERM.
        assert_all(&ran, &["EPERM", "EINVAL"]);
        assert_eq!(said(&ran).len(), 10);
    }
}

/// Abstract sockets have no file: only the network namespace and Landlock's scope keep them apart.
#[test]
fn abstract_sockets_of_the_host_are_not_reached() {
    let name = mark("abstract");
    let stream = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let datagram = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{name}-d")).unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    datagram.set_nonblocking(true).unwrap();
    let code = format!(
        r#"
def connect():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.connect("\0{name}")
attempt("stream", connect)
attempt("datagram", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"hello", "\0{name}-d"))
"#
    );
    let folder = Folder::new();
    assert_said(&outside(folder.path(), &code), &[("stream", "done"), ("datagram", "done 5")]);
    drop(stream.accept().unwrap());
    let mut heard = [0; 16];
    assert_eq!(datagram.recv(&mut heard).unwrap(), 5);
    for user in users() {
        let ran = attack(user, &[], &code).run().expect(0);
        assert_said(&ran, &[("stream", "ECONNREFUSED"), ("datagram", "ECONNREFUSED")]);
        assert!(stream.accept().is_err() && datagram.recv(&mut heard).is_err());
    }
}

#[test]
fn the_network_inside_works_for_the_code_itself() {
    // Too tight is a defect as well: loopback within the run is the code's own.
    for user in users() {
        let code = r#"
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
other, _ = server.accept()
client.sendall(b"hello")
say("heard", other.recv(10).decode())
"#;
        assert_said(&attack(user, &[], code).run().expect(0), &[("heard", "hello")]);
    }
}
