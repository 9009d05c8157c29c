//! Hosts that are spelled to be something else than what they are compared as.

use super::refused_by_every_way;
use crate::client::{connect, socks, talk};
use crate::server::Server;
use crate::world::World;

#[tokio::test]
async fn an_address_in_any_spelling_is_an_address() {
    let server = Server::echo().await;
    let world = World::new(&[format!("localhost:{}", server.port()), format!("*.test:{}", server.port())]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "256.256.256.256",
        "1.2.3.4.5",
        "api.test.0x7f",
    ] {
        for reason in refused_by_every_way(&world, host, server.port()).await {
            assert!(["not-granted", "bad-host"].contains(&reason.as_str()), "{host}: {reason}");
        }
    }
    assert_eq!((server.connections(), world.names.asked.load(std::sync::atomic::Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn a_zone_is_no_part_of_an_address() {
    let server = Server::echo().await;
    let world = World::new(&[format!("[::1]:{}", server.port())]);
    for name in ["::1%lo", "fe80::1%25eth0", "::1%1"] {
        assert_eq!(socks(world.proxy, name.as_bytes(), server.port()).await.unwrap_err(), 2, "{name}");
    }
    assert!(world.refusals().iter().all(|(_, reason)| reason == "bad-host"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn nul_and_control_characters_end_nothing() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    for name in [
        &b"api.test\0.evil.test"[..],
        b"api.test\0",
        b"\0api.test",
        b"api.test\r\nX: y",
        b"api.test\n",
        b"api\t.test",
        b"api.test ",
        b"api.test\x7f",
    ] {
        assert_eq!(socks(world.proxy, name, server.port()).await.unwrap_err(), 2, "{name:?}");
    }
    assert!(world.refusals().iter().all(|(asked, reason)| reason == "bad-host" && !asked.contains(char::is_control)));
    // In HTTP such bytes are no request at all.
    for host in ["api.test\0.evil.test", "api.test\u{1}"] {
        let answer = talk(world.proxy, format!("CONNECT {host}:{} HTTP/1.1\r\n\r\n", server.port())).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    world.refused("bad-request").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_no_name() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    assert!(socks(world.proxy, b"api.test\xff", server.port()).await.is_err());
    assert!(socks(world.proxy, b"", server.port()).await.is_err());
    world.refused("bad-host").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn userinfo_hides_no_host() {
    let server = Server::echo().await;
    let world = World::new(&[server.grants("http", "api.test"), server.grants("tcp", "api.test")].concat());
    let port = server.port();
    for target in
        [format!("api.test@evil.test:{port}"), format!("u:p@api.test:{port}"), format!("api.test:{port}@evil.test:80")]
    {
        let head = connect(world.proxy, &target).await.unwrap_err();
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        let answer = talk(world.proxy, format!("GET http://{target}/ HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert!(world.refusals().iter().all(|(_, reason)| reason == "bad-host" || reason == "bad-request"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_trailing_dot_is_refused_with_a_word_about_it() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let head = connect(world.proxy, &format!("api.test.:{}", server.port())).await.unwrap_err();
    assert!(head.contains("the host ends in a dot - write the name without its final dot"), "{head}");
    assert_eq!(socks(world.proxy, b"api.test.", server.port()).await.unwrap_err(), 2);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn case_is_no_way_around_a_denial() {
    let server = Server::echo().await;
    let mut grants = server.grants("tcp", "*.test");
    grants.push("deny:bad.test".to_owned());
    let world = World::new(&grants);
    assert_eq!(socks(world.proxy, b"BAD.tEst", server.port()).await.unwrap_err(), 2);
    assert_eq!(world.refused("denied").await, format!("bad.test:{}", server.port()));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_look_alike_is_another_name() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "apple.test"));
    for (name, asked) in
        [("аpple.test", "xn--pple-43d.test"), ("appIe.test", "appie.test"), ("applе.test", "xn--appl-y4d.test")]
    {
        assert_eq!(socks(world.proxy, name.as_bytes(), server.port()).await.unwrap_err(), 2, "{name}");
        let refusals = world.refusals();
        assert_eq!(refusals.last().unwrap(), &(format!("{asked}:{}", server.port()), "not-granted".to_owned()));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn escapes_and_separators_are_no_part_of_a_host() {
    let server = Server::echo().await;
    let world = World::new(&[server.grants("http", "api.test"), server.grants("tcp", "api.test")].concat());
    let port = server.port();
    for host in [
        "api%2etest",
        "api.test%00",
        "evil.test#",
        "api.test/..",
        "api.test\\.evil.test",
        "*.test",
        "api.test,evil.test",
    ] {
        assert_eq!(socks(world.proxy, host.as_bytes(), port).await.unwrap_err(), 2, "{host}");
        let answer = talk(world.proxy, format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: api.test\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn unix_sockets_are_no_hosts() {
    let server = Server::echo().await;
    let world = World::new(&[server.grants("http", "api.test"), server.grants("tcp", "api.test")].concat());
    for name in ["/run/docker.sock", "unix:/run/docker.sock", "\0abstract", "@abstract", "unix:"] {
        assert_eq!(socks(world.proxy, name.as_bytes(), 80).await.unwrap_err(), 2, "{name}");
    }
    for line in [
        "GET http+unix://%2Frun%2Fdocker.sock/ HTTP/1.1",
        "GET unix:/run/docker.sock HTTP/1.1",
        "GET http://%2Frun%2Fdocker.sock/ HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET ftp://api.test/ HTTP/1.1",
    ] {
        let answer = talk(world.proxy, format!("{line}\r\nHost: api.test\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{line}: {answer}");
    }
    assert_eq!(server.connections(), 0);
}
