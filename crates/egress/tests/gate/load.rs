//! Many runs at once, slow readers, idle connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_egress::event::What;
use stockade_egress::{Budget, Gate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{connect, socks, talk};
use crate::server::{Server, plain};
use crate::world::{Names, Told, World, add, refusals};

const RUNS: usize = 200;
const ROUNDS: usize = 5;

/// What one run does in one round: a tunnel, a SOCKS connection, a plain request, and something forbidden.
async fn round(proxy: SocketAddr, echo: u16, http: u16, number: usize) {
    let text = format!("run {number} ").repeat(500);
    for mut stream in
        [connect(proxy, &format!("echo.test:{echo}")).await.unwrap(), socks(proxy, b"echo.test", echo).await.unwrap()]
    {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer == text.as_bytes());
    }
    let request =
        format!("GET http://http.test:{http}/{number} HTTP/1.1\r\nHost: http.test:{http}\r\nConnection: close\r\n\r\n");
    assert!(talk(proxy, request).await.ends_with(&format!("GET /{number} 0")));
    assert_eq!(socks(proxy, b"evil.test", 443).await.unwrap_err(), 2);
}

#[tokio::test]
async fn two_hundred_runs_share_a_gate_and_lose_nothing() {
    let (echo, http) = (Server::echo().await, Server::http(plain).await);
    let (told, names) = (Arc::new(Told::default()), Arc::new(Names::default()));
    let gate = Gate::new(names, told.clone());
    let grants = [echo.grants("tcp", "echo.test"), http.grants("http", "http.test")].concat();
    let mut runs = JoinSet::new();
    for number in 0..RUNS {
        let (proxy, _) = add(&gate, &format!("r{number}"), &grants, Budget::default(), Vec::new());
        let (echo, http) = (echo.port(), http.port());
        runs.spawn(async move {
            for _ in 0..ROUNDS {
                round(proxy, echo, http, number).await;
            }
        });
    }
    while let Some(done) = runs.join_next().await {
        done.unwrap();
    }
    for number in 0..RUNS {
        let id = format!("r{number}");
        let totals = gate.remove(&id).await.unwrap().totals;
        let told = told.of(&id);
        let opened = told.iter().filter(|what| matches!(what, What::Opened { .. })).count();
        let closed = told.iter().filter(|what| matches!(what, What::Closed { .. })).count();
        assert_eq!((opened, closed, refusals(&told).len()), (3 * ROUNDS, 3 * ROUNDS, ROUNDS), "{id}");
        assert_eq!((totals.connections, totals.open), (3 * ROUNDS as u64, 0), "{id}");
        assert!(matches!(told.last(), Some(What::Ended { .. })), "{id}");
    }
    assert_eq!(gate.totals().connections, (3 * ROUNDS * RUNS) as u64);
    assert_eq!(echo.connections() + http.connections(), (3 * ROUNDS * RUNS) as u64);
}

#[tokio::test]
async fn a_slow_reader_holds_its_server_and_no_memory() {
    let server = Server::source().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(socks(world.proxy, b"api.test", server.port()).await.unwrap());
    }
    let before = resident_bytes();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = resident_bytes().saturating_sub(before);
    // What the kernel holds in socket buffers is not the gate's; this is.
    assert!(grown < 8 << 20, "grew by {grown} bytes");
    let totals = world.gate.remove("r1").await.unwrap().totals;
    assert!(totals.bytes_down < 8 * (24 << 20), "{totals:?}");
}

#[tokio::test]
async fn idle_connections_cost_little() {
    const IDLE: usize = 500;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let parked: Vec<_> = listener.incoming().take(IDLE).collect();
        std::thread::sleep(Duration::from_secs(60));
        drop(parked);
    });
    let world = World::with(
        &[format!("tcp://api.test:{port}"), format!("127.0.0.1:{port}")],
        crate::world::Unusual {
            budget: Budget { connections_at_once: IDLE as u64, ..Budget::default() },
            ..Default::default()
        },
    );
    let mut idle = vec![socks(world.proxy, b"api.test", port).await.unwrap()];
    let before = resident_bytes();
    while idle.len() < IDLE {
        idle.push(socks(world.proxy, b"api.test", port).await.unwrap());
    }
    let each = resident_bytes().saturating_sub(before) / IDLE as u64;
    assert!(each < 30_000, "{each} bytes each");
}

#[tokio::test]
async fn a_kept_listener_queue_is_served_in_full() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..120 {
        let (proxy, port) = (world.proxy, server.port());
        all.spawn(async move {
            let mut stream: TcpStream = socks(proxy, b"api.test", port).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(world.refusals(), []);
}

/// Bytes of this process in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
