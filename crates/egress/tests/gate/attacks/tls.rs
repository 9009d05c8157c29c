//! Greetings that name another server than the one that was granted, or none.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{connect, hello, rest, socks, tls, until, with_extension};
use crate::server::Server;
use crate::world::World;

/// Opens a tunnel to the granted name, sends `first`, and returns what comes back.
async fn greet(world: &World, target: &str, first: &[u8]) -> Vec<u8> {
    let mut stream = connect(world.proxy, target).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    answer
}

#[tokio::test]
async fn another_server_name_is_refused_even_a_listed_one() {
    let (server, certificate) = Server::tls("front.test").await;
    let world = World::new(&[server.grants("tls", "front.test"), server.grants("tls", "other.test")].concat());
    let target = format!("front.test:{}", server.port());
    for name in ["hidden.test", "other.test", "sub.front.test", "front.test.evil.test"] {
        let tunnel = connect(world.proxy, &target).await.unwrap();
        let error = tls(tunnel, name, &certificate).await.unwrap_err().to_string();
        assert!(error.contains("UnrecognizedName") || error.contains("UnrecognisedName"), "{error}");
        assert_eq!(world.refusals().last().unwrap(), &(target.clone(), "server-name".to_owned()));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_greeting_without_a_name_is_refused() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    assert_eq!(greet(&world, &target, &hello("api.test", false)).await, [21, 3, 3, 0, 2, 2, 112]);
    assert_eq!(world.refused("no-server-name").await, target);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_in_a_greeting_to_an_address_is_refused() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&[server.loopback()]);
    let target = format!("127.0.0.1:{}", server.port());
    greet(&world, &target, &hello("hidden.test", true)).await;
    assert_eq!(world.refused("server-name").await, target);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_hidden_name_is_refused_although_the_outer_one_is_granted() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    let piece = [&[0, 32][..], &[9; 32]].concat();
    let encrypted_hello = [&[0, 0, 1, 0, 1, 7][..], &piece, &piece].concat();
    let encrypted_name = [&[0x13, 1, 0, 29][..], &piece, &piece, &piece].concat();
    for (kind, body) in [(0xfe0d, encrypted_hello), (0xffce, encrypted_name)] {
        let hiding = with_extension(hello("api.test", true), kind, &body);
        assert_eq!(greet(&world, &target, &hiding).await, [21, 3, 3, 0, 2, 2, 49]);
        assert_eq!(world.refusals().last().unwrap().1, "hidden-server-name");
    }
    // The same greeting with an extension that hides nothing passes.
    let padded = with_extension(hello("api.test", true), 21, &[0; 40]);
    assert!(!greet(&world, &target, &padded).await.is_empty());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_name_that_cannot_be_decoded_is_refused() {
    let (server, _) = Server::tls("api.test").await;
    let world =
        World::new(&[format!("tls://api.test:{}", server.port()), format!("tls://127.0.0.1:{}", server.port())]);
    for granted in ["api.test", "127.0.0.1"] {
        let target = format!("{granted}:{}", server.port());
        for name in [
            &b""[..],
            b"\0\0",
            b"\0\x0c\x01\0\x09evil.test",
            b"\0\x0c\0\0\x09127.0.0.1",
            b"\0\x0c\0\0\x09evil\xfftest",
            b"\0\x0c\0\0\x09evil test",
            b"\0\x0c\0\0\x09evil_test.",
            b"\0\x03\0\0\0",
        ] {
            let before = world.refusals().len();
            greet(&world, &target, &with_extension(hello("api.test", false), 0, name)).await;
            let refused = world.refusals().split_off(before);
            assert_eq!(refused.len(), 1, "{granted} {name:?}");
            assert!(["bad-hello", "server-name"].contains(&refused[0].1.as_str()), "{name:?}: {refused:?}");
        }
    }
    assert_eq!(server.connections(), 0);
    // Without any, an address is greeted as ever.
    assert!(!greet(&world, &format!("127.0.0.1:{}", server.port()), &hello("api.test", false)).await.is_empty());
}

#[tokio::test]
async fn two_names_in_one_greeting_are_refused() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    let second = b"\0\x0c\0\0\x09evil.test";
    greet(&world, &target, &with_extension(hello("api.test", true), 0, second)).await;
    assert_eq!(world.refused("bad-hello").await, target);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_is_not_tls_does_not_pass_for_it() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    for first in [
        &b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x15\x03\x03\0\x02\x01\0",
    ] {
        greet(&world, &target, first).await;
        assert_eq!(world.refusals().last().unwrap(), &(target.clone(), "not-tls".to_owned()));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_malformed_or_endless_greeting_is_refused() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    let mut endless = Vec::new();
    for _ in 0..4 {
        // A handshake message of 16 MiB, sixteen KiB at a time.
        endless.extend_from_slice(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff");
        endless.resize(endless.len() + 0x4000 - 4, 0);
    }
    let mut other = hello("api.test", true);
    other[5] = 2;
    for first in [&b"\x16\x03\x01\0\x04\x01\0\0\0"[..], b"\x16\xff\xff\xff\xff\xff\xff", &endless, &other] {
        greet(&world, &target, first).await;
        assert_eq!(world.refusals().last().unwrap().1, "bad-hello", "{:?}", &first[..9]);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_greeting_cut_into_pieces_is_the_same_greeting() {
    let (server, _) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    for (name, passes) in [("api.test", true), ("evil.test", false)] {
        let whole = hello(name, true);
        let mut cut = Vec::new();
        for piece in whole[5..].chunks(40) {
            cut.extend_from_slice(&[22, 3, 1, 0, piece.len() as u8]);
            cut.extend_from_slice(piece);
        }
        let mut stream = connect(world.proxy, &target).await.unwrap();
        for byte in cut.chunks(7) {
            stream.write_all(byte).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert_eq!(answer.first() == Some(&22), passes, "{answer:?}");
    }
    assert_eq!((server.connections(), world.refusals().len()), (1, 1));
}

#[tokio::test]
async fn postgres_without_tls_is_refused() {
    let (server, _) = Server::postgres("db.test", b'S').await;
    let world = World::new(&server.grants("postgres", "db.test"));
    // A start packet of protocol 3.0, and a request to cancel.
    for first in [&b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0"[..], b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"] {
        let mut stream = socks(world.proxy, b"db.test", server.port()).await.unwrap();
        stream.write_all(first).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
        assert_eq!(world.refusals().last().unwrap().1, "postgres-plain");
    }
    // Bytes slipped in before the answer.
    let mut stream = socks(world.proxy, b"db.test", server.port()).await.unwrap();
    stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2fextra").await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn postgres_to_another_name_is_refused() {
    let (server, _) = Server::postgres("db.test", b'S').await;
    let world = World::new(&server.grants("postgres", "db.test"));
    for (greeting, reason) in [(hello("other.test", true), "server-name"), (hello("db.test", false), "no-server-name")]
    {
        let mut stream = socks(world.proxy, b"db.test", server.port()).await.unwrap();
        stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await.unwrap();
        until(&mut stream, "S").await;
        stream.write_all(&greeting).await.unwrap();
        rest(&mut stream).await;
        assert_eq!(world.refusals().last().unwrap().1, reason);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_postgres_server_without_tls_is_not_talked_to() {
    let (server, _) = Server::postgres("db.test", b'N').await;
    let world = World::new(&server.grants("postgres", "db.test"));
    let mut stream = socks(world.proxy, b"db.test", server.port()).await.unwrap();
    stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await.unwrap();
    until(&mut stream, "S").await;
    stream.write_all(&hello("db.test", true)).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    world.refused("postgres-server-plain").await;
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_greeting_is_checked_like_the_first() {
    let (server, certificate) = Server::tls_that_asks_again("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    let mut honest = tls(connect(world.proxy, &target).await.unwrap(), "api.test", &certificate).await.unwrap();
    honest.write_all(b"ping").await.unwrap();
    until(&mut honest, "ping").await;
    let change_cipher_spec = b"\x14\x03\x03\0\x01\x01";
    for (second, reason) in [
        (hello("hidden.test", true), "server-name"),
        (hello("api.test", false), "no-server-name"),
        ([&change_cipher_spec[..], &hello("hidden.test", true)].concat(), "server-name"),
        (b"\x15\x03\x03\0\x02\x01\x5a".to_vec(), "bad-hello"),
    ] {
        let mut stream = connect(world.proxy, &target).await.unwrap();
        stream.write_all(&hello("api.test", true)).await.unwrap();
        // The server's request to greet again is a whole record.
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.unwrap();
        let mut retry = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut retry).await.unwrap();
        stream.write_all(&second).await.unwrap();
        rest(&mut stream).await;
        assert_eq!(world.refusals().last().unwrap(), &(target.clone(), reason.to_owned()));
    }
}
