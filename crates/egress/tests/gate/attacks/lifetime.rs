//! What outlives a run, and what one run can do with another's.

use std::sync::Arc;
use std::time::Duration;

use stockade_egress::event::What;
use stockade_egress::{Budget, Event, Gate, Sink};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{connect, rest, socks, talk};
use crate::server::{Server, plain};
use crate::world::{Names, World, add, refusals};

#[tokio::test]
async fn a_connection_that_a_child_keeps_is_cut_with_the_run() {
    let server = Server::sink().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let mut tunnel = socks(world.proxy, b"api.test", server.port()).await.unwrap();
    let mut waiting = TcpStream::connect(world.proxy).await.unwrap();
    tunnel.write_all(b"still here").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let totals = world.gate.remove("r1").await.unwrap().totals;
    assert_eq!((totals.connections, totals.open, totals.bytes_up), (1, 0, 10));
    // Both records are there when the run is gone, the end last.
    assert!(
        matches!(world.told.all()[..], [What::Opened { .. }, What::Closed { .. }, What::Ended { .. }]),
        "{:?}",
        world.told.all()
    );
    assert_eq!(rest(&mut tunnel).await, "");
    assert_eq!(rest(&mut waiting).await, "");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.seen(), ["10"]);
    assert!(TcpStream::connect(world.proxy).await.is_err());
}

#[tokio::test]
async fn a_request_without_its_answer_is_cut_with_the_run() {
    let server = Server::sink().await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    let request = format!("GET http://api.test:{port}/ HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let totals = tokio::time::timeout(Duration::from_secs(5), world.gate.remove("r1")).await.unwrap().unwrap().totals;
    assert_eq!((totals.connections, totals.open), (1, 0));
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn the_listener_decides_whose_rules_hold() {
    let (one, two) = (Server::echo().await, Server::echo().await);
    let world = World::new(&one.grants("tcp", "one.test"));
    let (other, _) = add(&world.gate, "r2", &two.grants("tcp", "two.test"), Budget::default(), Vec::new());
    socks(world.proxy, b"one.test", one.port()).await.unwrap();
    socks(other, b"two.test", two.port()).await.unwrap();
    assert_eq!(socks(world.proxy, b"two.test", two.port()).await.unwrap_err(), 2);
    assert_eq!(socks(other, b"one.test", one.port()).await.unwrap_err(), 2);
    assert_eq!(refusals(&world.told.of("r1")), [(format!("two.test:{}", two.port()), "not-granted".to_owned())]);
    assert_eq!(refusals(&world.told.of("r2")), [(format!("one.test:{}", one.port()), "not-granted".to_owned())]);
    // The end of one run is nothing to the other.
    world.gate.remove("r1").await.unwrap();
    socks(other, b"two.test", two.port()).await.unwrap();
    assert!(world.gate.remove("r1").await.is_err());
}

#[tokio::test]
async fn no_header_or_password_says_which_run_one_is() {
    let two = Server::http(plain).await;
    let world = World::new(&["unused.test"]);
    add(&world.gate, "r2", &two.grants("http", "two.test"), Budget::default(), Vec::new());
    let port = two.port();
    let claims = "Proxy-Authorization: Basic cjI6\r\nX-Stockade-Run: r2\r\n";
    let answer =
        talk(world.proxy, format!("GET http://two.test:{port}/ HTTP/1.1\r\nHost: two.test:{port}\r\n{claims}\r\n"))
            .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(two.connections(), 0);
}

#[derive(Debug)]
struct Full;

impl Sink for Full {
    fn take(&self, _: &Event) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[tokio::test]
async fn without_a_record_there_is_no_connection() {
    let server = Server::sink().await;
    let gate = Gate::new(Arc::new(Names::default()), Arc::new(Full));
    let (proxy, _) = add(&gate, "r1", &server.grants("tcp", "api.test"), Budget::default(), Vec::new());
    let head = connect(proxy, &format!("api.test:{}", server.port())).await.unwrap_err();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.seen().iter().all(|bytes| bytes == "0"));
}
