//! Measures the gate as a process beside direct connections: one stream's throughput, latency, the time to set a
//! connection up, and what idle ones cost.
//!
//! `cargo run --release -p stockade-egress --example tunnel`. The ways are measured in turns, so that only ratios are
//! worth reading. CONNECT is measured in this namespace, beside tinyproxy if it is installed; the transparent path in
//! a namespace of its own, beside a server in there.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a benchmark stops at the first surprise"
)]

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use stockade_egress::control::{self, Client, Open};
use stockade_egress::{Budget, Rules, Sockets};

const BYTES: u64 = 2 << 30;
const TURNS: usize = 5;
const ROUND_TRIPS: usize = 2_000;
const SET_UPS: usize = 300;
const IDLE: usize = 2_000;

/// Gives the loopback interface its block, then becomes this program.
const NAMESPACE: &str = r#"
import fcntl, os, socket, struct, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
name = struct.pack("16s", b"lo")
for code, text in ((0x8916, "198.18.0.1"), (0x891C, "255.255.0.0")):
    fcntl.ioctl(one, code, name + struct.pack("=HH4s16x", socket.AF_INET, 0, socket.inet_aton(text)))
fcntl.ioctl(one, 0x8914, name + struct.pack("=H22x", 0x41))
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// A way to open a stream to the server.
type Way<'w> = (&'static str, &'w dyn Fn() -> TcpStream);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("gate") => gate(),
        Some("inside") => inside(arguments[2].parse().unwrap(), &arguments[3]),
        _ => outside(),
    }
}

fn outside() {
    let server = server();
    let (mut gate, mut client) = start_gate();
    let budget = Budget { connections_at_once: 1 << 20, bytes_down: u64::MAX, ..Budget::default() };
    let rules = |grants: &[String]| Rules::new(grants.iter().map(|grant| grant.parse().unwrap()).collect());
    let address = format!("tcp://{server}");
    manage(&mut client);
    let open = |id: &str, grants: &[String]| Open { budget: budget.clone(), ..Open::new(id, rules(grants)) };
    client.open(open("proxy", std::slice::from_ref(&address))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    client.serve("proxy", Sockets::proxies(vec![listener.into()])).unwrap();
    let direct = || TcpStream::connect(server).unwrap();
    let connect = || tunnel(proxy, server);
    let other = tinyproxy();
    let through_other = || tunnel(other.as_ref().unwrap().1, server);
    let mut ways: Vec<Way<'_>> = vec![("direct", &direct), ("CONNECT", &connect)];
    if other.is_some() {
        ways.push(("tinyproxy", &through_other));
    }
    compare(gate.id(), &ways);
    idle("CONNECT", gate.id(), &connect);
    client.close("proxy").unwrap();

    // What the name leads to is granted too, since it is this machine.
    let here = format!("tcp://[::1]:{}", server.port());
    client.open(open("inside", &[format!("tcp://localhost:{}", server.port()), address, here])).unwrap();
    let me = std::env::current_exe().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-Urn", "python3", "-c", NAMESPACE]).arg(me).arg("inside");
    command.args([server.port().to_string(), gate.id().to_string()]).stdin(OwnedFd::from(theirs));
    let mut sandbox = command.spawn().unwrap();
    client.serve("inside", passed_out(&ours)).unwrap();
    (&ours).write_all(b"x").unwrap();
    assert!(sandbox.wait().unwrap().success());
    let report = client.close("inside").unwrap();
    assert!(report.refusals.is_empty(), "{report:?}");
    drop(client);
    assert!(gate.wait().unwrap().success());
    if let Some((mut other, _)) = other {
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

/// The client in a namespace of its own.
fn inside(port: u16, gate: &str) {
    raise_descriptors();
    let transparent = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let resolver = UdpSocket::bind("127.0.0.1:53").unwrap();
    let control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors = [resolver.as_fd(), transparent.as_fd()];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
    rustix::net::sendmsg(&control, &[IoSlice::new(b"x")], &mut beside, SendFlags::empty()).unwrap();
    drop((resolver, transparent));
    (&control).read_exact(&mut [0]).unwrap();
    let begun = Instant::now();
    let address = lookup("localhost");
    println!("first look-up of a name {:?}", begun.elapsed());
    let near = server();
    let direct = || TcpStream::connect(near).unwrap();
    let through = || TcpStream::connect(SocketAddr::from((address, port))).unwrap();
    let gate = gate.parse().unwrap();
    compare(gate, &[("direct inside", &direct), ("transparent", &through)]);
    idle("transparent", gate, &through);
}

fn compare(gate: u32, ways: &[Way<'_>]) {
    let (mut rates, mut busy) = (vec![0.0_f64; ways.len()], vec![0; ways.len()]);
    for _ in 0..TURNS {
        for (number, (_, open)) in ways.iter().enumerate() {
            let before = ticks(gate);
            rates[number] = rates[number].max(rate(open()));
            busy[number] += ticks(gate) - before;
        }
    }
    let trips: Vec<Duration> = ways.iter().map(|(_, open)| round_trip(&mut open())).collect();
    let set_ups: Vec<Duration> = ways.iter().map(|(_, open)| set_up(open)).collect();
    for (number, (name, _)) in ways.iter().enumerate() {
        println!(
            "{name:>14}: {:6.2} Gbit/s, {:.2} x direct, the gate works {:.2} s a GiB; round trip {:?}, {:?} added; set-up {:?}, {:?} added",
            rates[number],
            rates[number] / rates[0],
            busy[number] as f64 / 100.0 / TURNS as f64 / (BYTES >> 30) as f64,
            trips[number],
            trips[number].saturating_sub(trips[0]),
            set_ups[number],
            set_ups[number].saturating_sub(set_ups[0]),
        );
    }
}

/// What a run costs that uses nothing: to open, serve and close it.
fn manage(client: &mut Client) {
    let grants = || Rules::new(vec!["api.example.com".parse().unwrap()]);
    let time = median(ROUND_TRIPS, || {
        client.open(Open::new("idle", grants())).unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        client.serve("idle", Sockets::proxies(vec![proxy.into()])).unwrap();
        client.close("idle").unwrap();
    });
    let begun = Instant::now();
    let inspected = Rules::new(vec!["GET https://api.example.com/v1".parse().unwrap()]);
    client.open(Open::new("inspected", inspected)).unwrap();
    println!("a run opened, served and closed {time:?}; a certificate made {:?}", begun.elapsed());
    client.close("inspected").unwrap();
}

/// The gate as a process: its control socket is descriptor 0.
fn gate() {
    let control = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let trail = File::options().append(true).open(place().log()).unwrap();
    control::serve(control, trail).unwrap();
}

/// Where its records go.
fn place() -> stockade_audit::Place {
    stockade_audit::Place::new(std::env::temp_dir().join("stockade-tunnel-trail.d"))
}

fn start_gate() -> (Child, Client) {
    raise_descriptors();
    let (ours, theirs) = control::pair().unwrap();
    let (_, head) = stockade_audit::Trail::new(place()).open_for_another().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let gate = command.arg("gate").stdin(theirs).spawn().unwrap();
    let mut client = Client::new(ours);
    let begun = Instant::now();
    client.hello(head.as_fd()).unwrap();
    println!("the gate greets after {:?}", begun.elapsed());
    (gate, client)
}

fn raise_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

fn passed_out(control: &UnixStream) -> Sockets {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(control, &mut [IoSliceMut::new(&mut [0])], &mut beside, flags).unwrap();
    assert_eq!(received.bytes, 1, "no network namespace can be made here");
    let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = beside.drain().next() else {
        panic!("no descriptors")
    };
    Sockets { resolver: descriptors.next(), transparent: descriptors.collect(), ..Sockets::default() }
}

/// Asks the resolver inside for an address.
fn lookup(name: &str) -> [u8; 4] {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let length = u8::try_from(name.len()).unwrap();
    let query = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length][..], name.as_bytes(), &[0, 0, 1, 0, 1]].concat();
    socket.send_to(&query, "127.0.0.1:53").unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    *answer[..length].last_chunk().unwrap()
}

/// Sends what it is asked for: `r` is everything, `p` is one byte back.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut asked = [0];
                while stream.read_exact(&mut asked).is_ok() {
                    if asked == *b"p" {
                        stream.write_all(b"p").unwrap();
                        continue;
                    }
                    let buffer = vec![0; 256 << 10];
                    let mut sent = 0;
                    while sent < BYTES {
                        stream.write_all(&buffer).unwrap();
                        sent += buffer.len() as u64;
                    }
                }
            });
        }
    });
    address
}

fn tinyproxy() -> Option<(Child, SocketAddr)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = std::env::temp_dir().join(format!("stockade-tinyproxy-{}", std::process::id()));
    std::fs::write(&configuration, format!("Port {port}\nListen 127.0.0.1\nMaxClients 100\nTimeout 600\n")).unwrap();
    let mut command = Command::new("tinyproxy");
    let child = command.arg("-d").arg("-c").arg(&configuration).stdout(Stdio::null()).spawn().ok()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(configuration).unwrap();
    Some((child, address))
}

fn tunnel(proxy: SocketAddr, server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.split(' ').nth(1) == Some("200"), "{head}");
    stream
}

/// Gbit a second.
fn rate(mut stream: TcpStream) -> f64 {
    let begun = Instant::now();
    stream.write_all(b"r").unwrap();
    let (mut buffer, mut left) = (vec![0; 256 << 10], BYTES);
    while left > 0 {
        left = left.saturating_sub(stream.read(&mut buffer).unwrap() as u64);
    }
    BYTES as f64 * 8e-9 / begun.elapsed().as_secs_f64()
}

fn round_trip(stream: &mut TcpStream) -> Duration {
    stream.set_nodelay(true).unwrap();
    median(ROUND_TRIPS, || ping(stream))
}

/// Until the first byte has come back.
fn set_up(open: &dyn Fn() -> TcpStream) -> Duration {
    median(SET_UPS, || ping(&mut open()))
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"p").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

fn median(count: usize, mut act: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            act();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[count / 2]
}

/// What many connections that were used once cost the gate.
fn idle(way: &str, gate: u32, open: &dyn Fn() -> TcpStream) {
    let before = resident_kib(gate);
    let kept: Vec<TcpStream> = (0..IDLE)
        .map(|_| {
            let mut stream = open();
            ping(&mut stream);
            stream
        })
        .collect();
    let after = resident_kib(gate);
    println!("{IDLE} idle by {way}: the gate grows from {:.1} to {:.1} MiB", mib(before), mib(after));
    drop(kept);
}

/// Hundredths of a second that a process has worked so far, outside of and inside the kernel.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.split(' ').skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
