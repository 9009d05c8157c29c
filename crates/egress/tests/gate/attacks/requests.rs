//! HTTP requests that say one thing to the gate and another to the server.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{connect, rest, talk};
use crate::server::{Server, plain};
use crate::world::World;

async fn ask(world: &World, request: &str) -> String {
    talk(world.proxy, request.replace('\n', "\r\n")).await
}

#[tokio::test]
async fn the_host_header_must_be_the_target_of_connect() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let port = server.port();
    for host in ["evil.test", "evil.test:443", "api.test.evil.test", "api.test:1", "api.test, evil.test"] {
        let answer = ask(&world, &format!("CONNECT api.test:{port} HTTP/1.1\nHost: {host}\n\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(world.refusals().last().unwrap().1, "host-header");
    }
    let twice = format!("CONNECT api.test:{port} HTTP/1.1\nHost: api.test\nHost: evil.test\n\n");
    assert!(ask(&world, &twice).await.starts_with("HTTP/1.1 400"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_host_header_must_be_the_authority_of_the_url() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    for headers in ["Host: evil.test\n", "Host: api.test\n", "", &format!("Host: api.test:{port}\nHost: evil.test\n")] {
        let answer = ask(&world, &format!("GET http://api.test:{port}/ HTTP/1.1\n{headers}\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
        assert_eq!(world.refusals().last().unwrap().1, "host-header");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn absolute_forms_have_no_second_reading() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    for target in [
        format!("http://api.test:{port}@evil.test/"),
        format!("http://evil.test#@api.test:{port}/"),
        format!("http://evil.test\\@api.test:{port}/"),
        format!("http:\\\\api.test:{port}/"),
        format!("http:/api.test:{port}/"),
        format!("//api.test:{port}/"),
        format!("/http://api.test:{port}/"),
        format!("https://api.test:{port}/"),
        format!("HTTP://evil.test:{port}/"),
        format!("http://api.test:{port}:{port}/"),
        format!("http://api.test:0{port}/"),
        "http://api.test:99999/".to_owned(),
        "*".to_owned(),
        "/".to_owned(),
    ] {
        let answer = ask(&world, &format!("GET {target} HTTP/1.1\nHost: api.test:{port}\n\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{target}: {answer}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_body_with_two_ends_smuggles_nothing() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let smuggled = format!("GET http://api.test:{port}/smuggled HTTP/1.1\nHost: api.test:{port}\n\n");
    for framing in [
        "Content-Length: 4\nContent-Length: 5\n",
        "Transfer-Encoding: gzip, chunked\n",
        "Content-Length: 4, 5\n",
        "Content-Length: +4\n",
        "Content-Length: 0x4\n",
        "Content-Length: -1\n",
        "Transfer-Encoding: identity\n",
        "Transfer-Encoding: chunked, identity\n",
        "Transfer-Encoding: xchunked\n",
        "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n",
        "Transfer-Encoding : chunked\n",
        "Transfer-Encoding:\u{b}chunked\n",
        " Content-Length: 4\n",
        "X: y\n Transfer-Encoding: chunked\n",
    ] {
        let request =
            format!("POST http://api.test:{port}/first HTTP/1.1\nHost: api.test:{port}\n{framing}\n0\n\n{smuggled}");
        let answer = ask(&world, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{framing}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing}: {answer}");
    }
    world.refused("bad-request").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_dropped_with_all_that_follows() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let smuggled = format!("GET http://api.test:{port}/smuggled HTTP/1.1\nHost: api.test:{port}\n\n");
    for framing in
        ["Content-Length: 4\nTransfer-Encoding: chunked\n", "Transfer-Encoding: chunked\nContent-Length: 99\n"]
    {
        let head = format!("POST http://api.test:{port}/first HTTP/1.1\nHost: api.test:{port}\n{framing}\n");
        let answer = ask(&world, &format!("{head}4\nbody\n0\n\n{smuggled}")).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{framing}: {answer}");
    }
    let once = format!("POST /first|host: api.test:{port}|transfer-encoding: chunked");
    assert_eq!(server.seen(), [once.clone(), once]);
}

#[tokio::test]
async fn what_follows_a_body_is_decided_on_as_a_request() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let first = format!("POST http://api.test:{port}/first HTTP/1.1\nHost: api.test:{port}\nContent-Length: 4\n\nbody");
    let second = format!("GET http://evil.test:{port}/second HTTP/1.1\nHost: evil.test:{port}\n\n");
    let third = format!("GET http://api.test:{port}/third HTTP/1.1\nHost: api.test:{port}\n\n");
    let answer = ask(&world, &format!("{first}{second}{third}")).await;
    assert!(answer.contains("POST /first 4") && answer.contains("HTTP/1.1 403"), "{answer}");
    assert_eq!(world.refused("not-granted").await, format!("evil.test:{port}"));
    // A refused request is the last of its connection.
    assert_eq!(server.seen().len(), 1);
    assert!(!answer.contains("third"), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_ends_where_the_gate_says() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let head = format!(
        "POST http://api.test:{port}/ HTTP/1.1\nHost: api.test:{port}\nTransfer-Encoding: chunked\nTrailer: X\n\n"
    );
    let answer = ask(&world, &format!("{head}4;ext=\"\"\nbody\n0\nX: y\n\n")).await;
    assert!(answer.contains("POST / 4"), "{answer}");
    assert_eq!(server.seen(), [format!("POST /|host: api.test:{port}|transfer-encoding: chunked")]);
    for bad in ["4\nbodyX\n0\n\n", "g\nbody\n0\n\n", "ffffffffffffffffff\nbody\n0\n\n", "-4\nbody\n0\n\n"] {
        let answer = ask(&world, &format!("{head}{bad}")).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{bad}: {answer}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_by_nobody_but_the_client() {
    let server = Server::http(|_| {
        let moved = hyper::Response::builder().status(302).header("location", "http://evil.test/");
        moved.body(Default::default()).unwrap()
    })
    .await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let answer = ask(&world, &format!("GET http://api.test:{port}/ HTTP/1.1\nHost: api.test:{port}\n\n")).await;
    assert!(answer.starts_with("HTTP/1.1 302") && answer.contains("location: http://evil.test/"), "{answer}");
    let answer = ask(&world, "GET http://evil.test/ HTTP/1.1\nHost: evil.test\n\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(world.refused("not-granted").await, "evil.test:80");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_tunnel_to_one_host_is_none_to_another_listed_host() {
    let (one, two) = (Server::http(plain).await, Server::http(plain).await);
    let world = World::new(&[one.grants("http", "one.test"), two.grants("http", "two.test")].concat());
    let target = format!("one.test:{}", one.port());
    for (request, reason) in [
        (format!("GET / HTTP/1.1\r\nHost: two.test:{}\r\n\r\n", two.port()), "host-header"),
        (format!("GET http://two.test:{0}/ HTTP/1.1\r\nHost: two.test:{0}\r\n\r\n", two.port()), "bad-request"),
        (format!("CONNECT two.test:{0} HTTP/1.1\r\nHost: two.test:{0}\r\n\r\n", two.port()), "bad-request"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "host-header"),
    ] {
        let mut stream = connect(world.proxy, &target).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.contains(" 400 "), "{request}");
        assert_eq!(world.refusals().last().unwrap().1, reason, "{request}");
    }
    assert_eq!((one.connections(), two.connections()), (0, 0));
}

#[tokio::test]
async fn no_other_protocol_begins_in_the_middle_of_http() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    for upgrade in [
        "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 13\n",
        "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n",
        "Upgrade: TLS/1.0\n",
        "Connection: keep-alive, UPGRADE\n",
    ] {
        let answer =
            ask(&world, &format!("GET http://api.test:{port}/ HTTP/1.1\nHost: api.test:{port}\n{upgrade}\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(world.refusals().last().unwrap().1, "upgrade");
    }
    // HTTP/2 without asking.
    let answer = talk(world.proxy, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!answer.contains("200"), "{answer}");
    world.refused("bad-request").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_server_cannot_change_the_protocol_either() {
    let server = Server::http(|_| {
        let switching = hyper::Response::builder().status(101).header("upgrade", "x").header("connection", "upgrade");
        switching.body(Default::default()).unwrap()
    })
    .await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let answer = ask(&world, &format!("GET http://api.test:{port}/ HTTP/1.1\nHost: api.test:{port}\n\n")).await;
    assert!(!answer.starts_with("HTTP/1.1 101"), "{answer}");
}

#[tokio::test]
async fn methods_and_paths_hold_for_every_request() {
    let server = Server::http(plain).await;
    let port = server.port();
    let world = World::new(&[
        format!("GET,POST http://api.test:{port}/v1"),
        format!("deny:api.test:{port}/v1/secret"),
        server.loopback(),
    ]);
    for (line, reason) in [
        ("DELETE /v1/a", "method"),
        ("get /v1/a", "method"),
        ("TRACE /v1/a", "method"),
        ("GET /v2", "path"),
        ("GET /v10", "path"),
        ("GET /v1/../v2", "ambiguous-path"),
        ("GET /v1/%2e%2e/v2", "ambiguous-path"),
        ("GET /v1/..%2fv2", "ambiguous-path"),
        ("GET /v1//../v2", "ambiguous-path"),
        ("GET /v1/..;/v2", "ambiguous-path"),
        ("GET /v1\\..\\v2", "ambiguous-path"),
        ("GET /v1/secret", "denied"),
        ("GET /v1/SECRET?x", "denied"),
        ("GET /v1/%73ecret", "ambiguous-path"),
        ("GET /v1/..%20/v2", "ambiguous-path"),
        ("GET /v1/%c0%ae%c0%ae/v2", "ambiguous-path"),
        ("GET /v1/secret%20", "ambiguous-path"),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let answer =
            ask(&world, &format!("{method} http://api.test:{port}{path} HTTP/1.1\nHost: api.test:{port}\n\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
        // What hyper does not take for a URL is refused as that.
        let last = world.refusals().last().unwrap().1.clone();
        assert!(last == reason || (path.contains('\\') && last == "bad-request"), "{line}: {last}");
    }
    assert_eq!(server.connections(), 0);
    let overrides = "X-HTTP-Method-Override: DELETE\nX_HTTP_Method_Override: DELETE\nX-Original-URL: /v2\nX_Rewrite_URL: /v2\nScript_Name: /v2\n";
    let request = format!("POST http://api.test:{port}/v1/a HTTP/1.1\nHost: api.test:{port}\n{overrides}\n");
    assert!(ask(&world, &request).await.contains("POST /v1/a"));
    assert_eq!(server.seen(), [format!("POST /v1/a|host: api.test:{port}")]);
}

#[tokio::test]
async fn the_tenth_request_is_decided_on_like_the_first() {
    let server = Server::http(plain).await;
    let port = server.port();
    let world = World::new(&[format!("http://api.test:{port}/open"), server.loopback()]);
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    for _ in 0..9 {
        let request = format!("GET http://api.test:{port}/open HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        crate::client::until(&mut stream, "GET /open 0").await;
    }
    let request = format!("GET http://api.test:{port}/closed HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 403"));
    assert_eq!(world.refused("path").await, format!("api.test:{port}"));
    assert_eq!(server.seen().len(), 9);
}
