//! Measures a CONNECT tunnel beside a direct connection: throughput of one stream, and time to the first byte.
//!
//! `cargo run --release -p stockade-egress --example tunnel`. Both are measured in turns in one process, each end
//! on a thread of its own, so that only their ratio is worth reading.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark stops at the first surprise"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_egress::{Gate, JsonLines, NewRun, Rules, Sockets, SystemResolver};

const BYTES: u64 = 2 << 30;
const TURNS: usize = 5;
const GREETINGS: usize = 500;

fn main() {
    let server = server();
    let proxy = gate(server.port());
    let open = |through: bool| if through { tunnel(proxy, server) } else { TcpStream::connect(server).unwrap() };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        rates[0].push(rate(open(false)));
        rates[1].push(rate(open(true)));
    }
    let [direct, tunnelled] = rates.map(|rates| rates.into_iter().fold(0.0, f64::max));
    println!(
        "throughput: direct {direct:.2} GiB/s, through the gate {tunnelled:.2} GiB/s, ratio {:.2}",
        tunnelled / direct
    );
    let [direct, tunnelled] = [false, true].map(|through| round_trip(&mut open(through)));
    println!("round trip, median: direct {direct:?}, through the gate {tunnelled:?}");
}

/// Sends what it is asked for: `r` is everything, `p` is one byte back.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let (mut asked, buffer) = ([0], vec![0; 256 << 10]);
                while stream.read_exact(&mut asked).is_ok() {
                    if asked == *b"p" {
                        stream.write_all(b"p").unwrap();
                        continue;
                    }
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

/// A gate on a thread of its own.
fn gate(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let sink = Arc::new(JsonLines::new(std::io::sink()));
            let gate = Gate::new(Arc::new(SystemResolver::new().unwrap()), sink);
            let rules = Rules::new(vec![format!("tcp://127.0.0.1:{port}").parse().unwrap()]);
            let run = NewRun { id: "bench".to_owned(), rules, ..NewRun::default() };
            gate.add(run, Sockets::proxies(vec![listener.into()])).unwrap();
            std::future::pending::<()>().await;
        });
    });
    proxy
}

fn tunnel(proxy: SocketAddr, server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    write!(stream, "CONNECT {server} HTTP/1.1\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// GiB a second.
fn rate(mut stream: TcpStream) -> f64 {
    let begun = Instant::now();
    stream.write_all(b"r").unwrap();
    let (mut buffer, mut left) = (vec![0; 256 << 10], BYTES);
    while left > 0 {
        left = left.saturating_sub(stream.read(&mut buffer).unwrap() as u64);
    }
    BYTES as f64 / (1_u64 << 30) as f64 / begun.elapsed().as_secs_f64()
}

fn round_trip(stream: &mut TcpStream) -> Duration {
    stream.set_nodelay(true).unwrap();
    let mut times: Vec<Duration> = (0..GREETINGS)
        .map(|_| {
            let begun = Instant::now();
            stream.write_all(b"p").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[GREETINGS / 2]
}
