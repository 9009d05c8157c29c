//! SOCKS requests that are not "connect to this granted host".

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{rest, socks, socks_raw, talk};
use crate::server::Server;
use crate::world::World;

#[tokio::test]
async fn neither_udp_nor_listening_is_served() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    for command in [2, 3] {
        assert_eq!(socks_raw(world.proxy, command, b"\x03\x08api.test", server.port()).await.unwrap_err(), 7);
        assert_eq!(world.refusals().last().unwrap().1, "bad-request");
    }
    assert_ne!(socks_raw(world.proxy, 9, b"\x03\x08api.test", server.port()).await.unwrap_err(), 0);
    assert_ne!(socks_raw(world.proxy, 1, b"\x07\x08api.test", server.port()).await.unwrap_err(), 0);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_address_needs_a_grant_of_its_own() {
    let server = Server::echo().await;
    let world = World::new(&[format!("tcp://api.test:{}", server.port())]);
    assert_eq!(socks_raw(world.proxy, 1, &[1, 127, 0, 0, 1], server.port()).await.unwrap_err(), 2);
    let mut mapped = vec![4];
    mapped.extend_from_slice(&"::ffff:127.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(socks_raw(world.proxy, 1, &mapped, server.port()).await.unwrap_err(), 2);
    assert!(
        world
            .refusals()
            .iter()
            .all(|refusal| refusal == &(format!("127.0.0.1:{}", server.port()), "not-granted".to_owned()))
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn another_port_is_another_thing() {
    let server = Server::echo().await;
    let world = World::new(&[format!("tcp://api.test:{}", server.port() ^ 1), server.loopback()]);
    assert_eq!(socks(world.proxy, b"api.test", server.port()).await.unwrap_err(), 2);
    assert_eq!(socks(world.proxy, b"api.test", 0).await.unwrap_err(), 2);
    let reasons: Vec<String> = world.refusals().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["port", "bad-host"]);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_is_no_proxy_protocol_is_cut() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    for bytes in [
        &b"\x04\x01\x01\xbb\x7f\0\0\x01\0"[..],
        b"\x16\x03\x01\0\x05hello",
        b"\0\0\0\x08",
        b"\xff\xff",
        b"\x05\x01\x02",
        b"\x05\0",
    ] {
        let answer = talk(world.proxy, bytes).await;
        assert!(answer.is_empty() || answer.starts_with('\u{5}'), "{answer:?}");
        world.refused("bad-request").await;
    }
    assert_eq!(world.refusals().len(), 6);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn nothing_is_carried_before_the_answer() {
    let server = Server::echo().await;
    let world = World::new(&[format!("tcp://other.test:{}", server.port()), server.loopback()]);
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    let mut request = b"\x05\x01\0\x05\x01\0\x03\x08api.test".to_vec();
    request.extend_from_slice(&server.port().to_be_bytes());
    request.extend_from_slice(b"early bytes");
    stream.write_all(&request).await.unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, [5, 0, 5, 2]);
    rest(&mut stream).await;
    assert_eq!(server.connections(), 0);
}
