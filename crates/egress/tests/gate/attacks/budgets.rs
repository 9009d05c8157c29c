//! Too much, too long, too slow.

use std::time::{Duration, Instant};

use stockade_egress::Budget;
use stockade_egress::event::What;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{certificate, connect, hello, rest, socks, talk, tls, until};
use crate::server::{Server, plain};
use crate::world::{Unusual, World};

fn bounded(grants: &[String], budget: Budget) -> World {
    World::with(grants, Unusual { budget, ..Unusual::default() })
}

#[tokio::test]
async fn a_head_that_trickles_is_cut() {
    let server = Server::http(plain).await;
    let world = bounded(&server.grants("http", "api.test"), Budget { head_ms: 300, ..Budget::default() });
    let begun = Instant::now();
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    for byte in b"GET http://api.test/ HTTP/1.1\r\nHost: ".iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() || begun.elapsed() > Duration::from_secs(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    world.refused("slow").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn silence_before_the_first_byte_and_in_every_handshake_is_cut() {
    let (server, _) = Server::tls("api.test").await;
    let world = bounded(&server.grants("tls", "api.test"), Budget { head_ms: 200, ..Budget::default() });
    for first in [&b""[..], b"\x05", b"\x05\x01\0", b"\x05\x01\0\x05\x01\0\x03\xff", b"CONNECT api"] {
        let before = world.refusals().len();
        let mut stream = TcpStream::connect(world.proxy).await.unwrap();
        stream.write_all(first).await.unwrap();
        rest(&mut stream).await;
        assert_eq!(
            world.refusals()[before..].iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(),
            ["slow"],
            "{first:?}"
        );
    }
    let mut tunnel = connect(world.proxy, &format!("api.test:{}", server.port())).await.unwrap();
    tunnel.write_all(&crate::client::hello("api.test", true)[..20]).await.unwrap();
    rest(&mut tunnel).await;
    assert_eq!(world.refusals().last().unwrap(), &(format!("api.test:{}", server.port()), "slow".to_owned()));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let server = Server::http(plain).await;
    let world = bounded(&server.grants("http", "api.test"), Budget { head_bytes: 8 << 10, ..Budget::default() });
    let port = server.port();
    let large = format!("X: {}\r\n", "x".repeat(40 << 10));
    let many = (0..200).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    for headers in [large, many] {
        let answer = talk(
            world.proxy,
            format!("GET http://api.test:{port}/ HTTP/1.1\r\nHost: api.test:{port}\r\n{headers}\r\n"),
        )
        .await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        world.refused("bad-request").await;
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_flood_of_connections_stops_at_the_bound() {
    let server = Server::echo().await;
    let budget = Budget { connections_at_once: 10, connections: 30, ..Budget::default() };
    let world = bounded(&server.grants("tcp", "api.test"), budget);
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(socks(world.proxy, b"api.test", server.port()).await.unwrap());
    }
    for _ in 0..10 {
        let mut refused = TcpStream::connect(world.proxy).await.unwrap();
        assert_eq!(refused.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
    drop(kept);
    world.closed(10).await;
    // Refused ones count as well: ten are left of thirty.
    for _ in 0..10 {
        drop(socks(world.proxy, b"api.test", server.port()).await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut refused = TcpStream::connect(world.proxy).await.unwrap();
    assert_eq!(refused.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(world.refusals().iter().all(|(_, reason)| reason == "budget"));
    assert_eq!((server.connections(), world.refusals().len()), (20, 11));
}

#[tokio::test]
async fn one_connection_to_the_gate_opens_no_more_to_servers_than_the_bound() {
    let (one, two) = (Server::http(plain).await, Server::http(plain).await);
    let grants = [one.grants("http", "one.test"), two.grants("http", "two.test")].concat();
    let world = bounded(&grants, Budget { connections_at_once: 1, connections: 5, ..Budget::default() });
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    let request = |name: &str, server: &Server| {
        let host = format!("{name}.test:{}", server.port());
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    for (name, server) in [("one", &one), ("two", &two)].into_iter().cycle().take(5) {
        // The second request to the same server is no connection more.
        for _ in 0..2 {
            stream.write_all(request(name, server).as_bytes()).await.unwrap();
            until(&mut stream, "GET / 0").await;
        }
    }
    stream.write_all(request("two", &two).as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 403"));
    world.refused("budget").await;
    assert_eq!(one.connections() + two.connections(), 5);
}

#[tokio::test]
async fn connections_to_servers_at_once_are_bounded_by_themselves() {
    let server = Server::http(plain).await;
    let world = bounded(&server.grants("http", "api.test"), Budget { connections_at_once: 1, ..Budget::default() });
    // Each comes when the one before is over, and with it what it held.
    for number in 1..=10 {
        let host = format!("api.test:{}", server.port());
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = talk(world.proxy, request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        world.closed(number).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections(), 10);
}

#[tokio::test]
async fn a_server_that_is_silent_in_its_handshake_is_left() {
    let server = Server::sink().await;
    let budget = Budget { head_ms: 300, ..Budget::default() };
    let world = bounded(&[format!("GET https://api.test:{}/v1", server.port()), server.loopback()], budget);
    let authority = certificate(world.handle.authority_pem().unwrap());
    let begun = Instant::now();
    let host = format!("api.test:{}", server.port());
    let mut stream = tls(connect(world.proxy, &host).await.unwrap(), "api.test", &authority).await.unwrap();
    stream.write_all(format!("GET /v1 HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 502"));
    world.refused("upstream-tls").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_asks_for_a_second_greeting_and_reads_no_more_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let mut again = vec![22, 3, 3, 0, 0x2a, 2, 0, 0, 0x26, 3, 3];
        // SHA-256 of `HelloRetryRequest`.
        again.extend_from_slice(b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91");
        again.extend_from_slice(b"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c\0\x13\x01\0");
        stream.write_all(&again).await.unwrap();
        std::future::pending::<()>().await;
    });
    let grants = [format!("tls://api.test:{port}"), format!("127.0.0.1:{port}")];
    let world = bounded(&grants, Budget { head_ms: 500, ..Budget::default() });
    let mut stream = connect(world.proxy, &format!("api.test:{port}")).await.unwrap();
    stream.write_all(&hello("api.test", true)).await.unwrap();
    stream.read_exact(&mut [0; 47]).await.unwrap();
    let begun = Instant::now();
    let mut record = vec![23, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    let (mut reading, mut writing) = stream.split();
    let flood = async { while writing.write_all(&record).await.is_ok() {} };
    let _ended = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(flood, rest(&mut reading)) }).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "the gate waits for ever");
    world.refused("upstream-answer").await;
}

#[tokio::test]
async fn bytes_up_end_exactly_at_the_bound() {
    let server = Server::sink().await;
    let world = bounded(&server.grants("tcp", "api.test"), Budget { bytes_up: 100_000, ..Budget::default() });
    let mut stream = socks(world.proxy, b"api.test", server.port()).await.unwrap();
    let chunk = [1; 8 << 10];
    while stream.write_all(&chunk).await.is_ok() {}
    let closed = world.closed(1).await;
    assert!(matches!(closed[0], What::Closed { bytes_up: 100_000, .. }), "{closed:?}");
    world.refused("budget").await;
    // The next connection has nothing left.
    let mut stream = socks(world.proxy, b"api.test", server.port()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.seen(), ["100000", "0"]);
}

#[tokio::test]
async fn bytes_down_end_exactly_at_the_bound() {
    let server = Server::source().await;
    let world = bounded(&server.grants("tcp", "api.test"), Budget { bytes_down: 1_000_000, ..Budget::default() });
    let mut stream = socks(world.proxy, b"api.test", server.port()).await.unwrap();
    assert_eq!(rest(&mut stream).await.len(), 1_000_000);
    world.refused("budget").await;
}

#[tokio::test]
async fn a_body_over_the_budget_does_not_arrive_by_http() {
    let server = Server::http(plain).await;
    let world = bounded(&server.grants("http", "api.test"), Budget { bytes_up: 10_000, ..Budget::default() });
    let port = server.port();
    let mut request =
        format!("PUT http://api.test:{port}/ HTTP/1.1\r\nHost: api.test:{port}\r\nContent-Length: 50000\r\n\r\n")
            .into_bytes();
    request.resize(request.len() + 50_000, b'x');
    let answer = talk(world.proxy, request).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.refused("budget").await;
}

#[tokio::test]
async fn silence_and_long_life_end_a_tunnel() {
    let server = Server::echo().await;
    let idle = bounded(&server.grants("tcp", "api.test"), Budget { idle_ms: 200, ..Budget::default() });
    let mut stream = socks(idle.proxy, b"api.test", server.port()).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    idle.refused("budget").await;
    let short = bounded(&server.grants("tcp", "api.test"), Budget { connection_ms: 400, ..Budget::default() });
    let mut stream = socks(short.proxy, b"api.test", server.port()).await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"x").await.is_ok() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    short.refused("budget").await;
}

#[tokio::test]
async fn a_flood_of_refusals_fills_no_record() {
    let world = bounded(&["tcp://api.test:9".to_owned()], Budget { refusals_told: 5, ..Budget::default() });
    for number in 0..20 {
        assert_eq!(socks(world.proxy, format!("n{number}.test").as_bytes(), 9).await.unwrap_err(), 2);
    }
    assert_eq!(world.refusals().len(), 5);
    let totals = world.gate.remove("r1").await.unwrap().totals;
    assert_eq!(totals.refusals["not-granted"], 20);
}
