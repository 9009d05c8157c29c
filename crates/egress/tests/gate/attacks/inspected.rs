//! Inside TLS that the gate ends: requests that were not granted, and secrets that code wants to see.

use std::time::Duration;

use hyper::Response;
use rustls::pki_types::CertificateDer;
use stockade_egress::{NewRun, Secret, Sockets};
use tokio::io::AsyncWriteExt;
use tokio_rustls::client::TlsStream;

use crate::client::{certificate, connect, rest, socks, talk, tls};
use crate::server::{Answer, Server, plain};
use crate::world::{Unusual, World, rules};

const VALUE: &str = "real-token-0123456789";

fn secret(host: &str) -> Secret {
    let value = VALUE.to_owned().into();
    Secret::new(host.parse().unwrap(), "authorization", "STOCKADE_TOKEN".to_owned(), value).unwrap()
}

/// A world whose server has a certificate that the gate trusts, granted by `grant` with `PORT` in it.
async fn world(grant: &str, answer: Answer, secrets: Vec<Secret>) -> (World, Server, CertificateDer<'static>) {
    let (server, root) = Server::https("api.test", answer).await;
    let grants = [grant.replace("PORT", &server.port().to_string()), server.loopback()];
    let world = World::with(&grants, Unusual { secrets, roots: vec![root], ..Unusual::default() });
    let authority = certificate(world.handle.authority_pem().unwrap());
    (world, server, authority)
}

async fn open(world: &World, server: &Server, authority: &CertificateDer<'static>) -> TlsStream<tokio::net::TcpStream> {
    let tunnel = connect(world.proxy, &format!("api.test:{}", server.port())).await.unwrap();
    tls(tunnel, "api.test", authority).await.unwrap()
}

/// One request on a connection of its own.
async fn ask(world: &World, server: &Server, authority: &CertificateDer<'static>, request: &str) -> String {
    let mut stream = open(world, server, authority).await;
    let request = request.replace("HOST", &format!("api.test:{}", server.port())).replace('\n', "\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

const GET: &str = "GET /v1/a HTTP/1.1\nHost: HOST\nAuthorization: Bearer STOCKADE_TOKEN\nConnection: close\n";

#[tokio::test]
async fn what_was_granted_passes_and_is_recorded_as_inspected() {
    let (world, server, authority) = world("GET https://api.test:PORT/v1", plain, Vec::new()).await;
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("GET /v1/a 0"), "{answer}");
    let closed = format!("{:?}", world.closed(1).await);
    assert!(closed.contains("inspected: true") && closed.contains("requests: 1"), "{closed}");
}

#[tokio::test]
async fn roots_of_one_run_are_not_trusted_for_another() {
    let (server, root) = Server::https("api.test", plain).await;
    let grants = [format!("GET https://api.test:{}/v1", server.port()), server.loopback()];
    let mut world = World::new(&grants);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let run = NewRun { id: "r2".to_owned(), rules: rules(&grants), extra_roots: vec![root], ..NewRun::default() };
    let trusting = world.gate.add(run, Sockets::proxies(vec![listener.into()])).unwrap();
    let authority = certificate(world.handle.authority_pem().unwrap());
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 the server's TLS cannot be trusted"), "{answer}");
    let authority = certificate(trusting.authority_pem().unwrap());
    world.proxy = proxy;
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn methods_and_paths_hold_inside_tls() {
    let (world, server, authority) = world("GET https://api.test:PORT/v1", plain, Vec::new()).await;
    for (request, reason) in [
        ("POST /v1/a HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n", "method"),
        ("GET /v2 HTTP/1.1\nHost: HOST\n\n", "path"),
        ("GET /v1/../v2 HTTP/1.1\nHost: HOST\n\n", "ambiguous-path"),
        ("GET /v1 HTTP/1.1\nHost: other.test\n\n", "host-header"),
        ("GET /v1 HTTP/1.1\n\n", "host-header"),
        ("GET https://other.test/v1 HTTP/1.1\nHost: other.test\n\n", "bad-request"),
        ("CONNECT other.test:443 HTTP/1.1\nHost: other.test:443\n\n", "bad-request"),
        ("GET /v1 HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\n\n", "upgrade"),
        ("GET /v1 HTTP/1.1\nHost: HOST\nTransfer-Encoding: gzip, chunked\n\n0\n\n", "bad-request"),
    ] {
        let answer = ask(&world, &server, &authority, request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{request}: {answer}");
        let last = world.refusals().last().unwrap().1.clone();
        assert_eq!(last, reason, "{request}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_server_name_is_checked_before_tls_is_ended() {
    let (world, server, authority) = world("https://api.test:PORT/v1", plain, Vec::new()).await;
    let tunnel = connect(world.proxy, &format!("api.test:{}", server.port())).await.unwrap();
    assert!(tls(tunnel, "other.test", &authority).await.is_err());
    world.refused("server-name").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_server_that_cannot_be_verified_gets_no_request() {
    let (server, _) = Server::https("api.test", plain).await;
    let grants = [format!("https://api.test:{}/v1", server.port()), server.loopback()];
    let world = World::with(&grants, Unusual { secrets: vec![secret("api.test")], ..Unusual::default() });
    let authority = certificate(world.handle.authority_pem().unwrap());
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    world.refused("upstream-tls").await;
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn the_authority_of_one_run_is_none_of_another() {
    let (one, _, first) = world("https://api.test:PORT/v1", plain, Vec::new()).await;
    let (two, server, second) = world("https://api.test:PORT/v1", plain, Vec::new()).await;
    assert_ne!(first, second);
    let tunnel = connect(two.proxy, &format!("api.test:{}", server.port())).await.unwrap();
    assert!(tls(tunnel, "api.test", &first).await.is_err());
    two.refused("bad-request").await;
    drop(one);
}

#[tokio::test]
async fn a_secret_reaches_its_host_and_comes_back_from_nowhere() {
    let echo: Answer = |request| {
        let said = request.headers()["authorization"].to_str().unwrap().to_owned();
        Response::builder().header("x-said", &said).body(format!("you said {said}!").into()).unwrap()
    };
    let (world, server, authority) = world("api.test:PORT", echo, vec![secret("api.test")]).await;
    let answer = ask(&world, &server, &authority, &format!("{GET}Range: bytes=0-20\nAccept-Encoding: gzip\n\n")).await;
    assert!(answer.contains("you said Bearer STOCKADE_TOKEN"), "{answer}");
    assert!(answer.contains("x-said: Bearer STOCKADE_TOKEN"), "{answer}");
    assert!(!answer.contains(VALUE), "{answer}");
    let seen = server.seen()[0].clone();
    assert!(seen.contains(&format!("authorization: Bearer {VALUE}")), "{seen}");
    assert!(seen.contains("accept-encoding: identity") && !seen.contains("range"), "{seen}");
}

#[tokio::test]
async fn a_secret_goes_into_no_other_header_path_or_body() {
    let (world, server, authority) = world("api.test:PORT", plain, vec![secret("api.test")]).await;
    let request = "POST /STOCKADE_TOKEN HTTP/1.1\nHost: HOST\nX-Other: STOCKADE_TOKEN\nConnection: close\nContent-Length: 14\n\nSTOCKADE_TOKEN";
    ask(&world, &server, &authority, request).await;
    assert!(!server.seen()[0].contains(VALUE), "{:?}", server.seen());
}

#[tokio::test]
async fn a_secret_of_one_host_goes_to_no_other() {
    let (world, server, authority) = world("https://api.test:PORT/v1", plain, vec![secret("vault.test")]).await;
    ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(server.seen()[0].contains("authorization: Bearer STOCKADE_TOKEN"), "{:?}", server.seen());
}

#[tokio::test]
async fn an_answer_that_cannot_be_searched_is_not_given() {
    let packed: Answer = |_| Response::builder().header("content-encoding", "gzip").body(VALUE.into()).unwrap();
    let (world, server, authority) = world("api.test:PORT", packed, vec![secret("api.test")]).await;
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502") && !answer.contains(VALUE), "{answer}");
    world.refused("encoded").await;
}

#[tokio::test]
async fn an_answer_that_is_encoded_for_the_hop_is_not_given() {
    // The value, as a server that packs bodies for the hop would send it; to be unpacked by whoever gets it.
    let packed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\n\x1f\x08zz\r\n0\r\n\r\n";
    let (server, root) = Server::https_raw("api.test", packed).await;
    let grants = [format!("tls://api.test:{}", server.port()), server.loopback()];
    let secrets = vec![secret("api.test")];
    let world = World::with(&grants, Unusual { secrets, roots: vec![root], ..Unusual::default() });
    let authority = certificate(world.handle.authority_pem().unwrap());
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502") && !answer.contains("zz"), "{answer}");
    world.refused("encoded").await;
    assert!(server.seen()[0].contains(VALUE), "{:?}", server.seen());
}

#[tokio::test]
async fn an_echo_that_is_cut_off_shows_nothing() {
    // Shows the first characters of a token that it does not know, as many servers do.
    let cut: Answer = |request| {
        let said = request.headers()["authorization"].to_str().unwrap();
        Response::new(format!("bad token `{}...`", said.chars().take(24).collect::<String>()).into())
    };
    let (world, server, authority) = world("tls://api.test:PORT", cut, vec![secret("api.test")]).await;
    for scheme in ["", "a ", "abc ", "Bearer ", "abcdefghijkl ", "xxxx", "x x x ", "STOCKADE_TOKEN "] {
        let request =
            format!("GET / HTTP/1.1\nHost: HOST\nAuthorization: {scheme}STOCKADE_TOKEN\nConnection: close\n\n");
        let answer = ask(&world, &server, &authority, &request).await;
        assert!(!answer.contains("real-tok"), "{scheme}: {answer}");
    }
    assert_eq!(server.seen().iter().filter(|seen| seen.contains(VALUE)).count(), 5);
}

#[tokio::test]
async fn a_secret_does_not_come_back_by_plain_http() {
    let knows: Answer = |request| Response::new(format!("{:?} {VALUE}!", request.headers()).into());
    let server = Server::http(knows).await;
    let (port, secrets) = (server.port(), vec![secret("api.test")]);
    for protocol in ["http", "tcp"] {
        let unusual = Unusual { secrets: secrets.clone(), ..Unusual::default() };
        let world = World::with(&server.grants(protocol, "api.test"), unusual);
        let head = format!("Host: api.test:{port}\r\nAuthorization: STOCKADE_TOKEN\r\nConnection: close\r\n\r\n");
        let proxied = talk(world.proxy, format!("GET http://api.test:{port}/ HTTP/1.1\r\n{head}")).await;
        let mut tunnel = socks(world.proxy, b"api.test", port).await.unwrap();
        tunnel.write_all(format!("GET / HTTP/1.1\r\n{head}").as_bytes()).await.unwrap();
        for answer in [proxied, rest(&mut tunnel).await] {
            assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("real-tok"), "{protocol}: {answer}");
        }
    }
    assert!(server.seen().iter().all(|seen| seen.contains("STOCKADE_TOKEN")), "{:?}", server.seen());
}

#[tokio::test]
async fn a_host_with_a_secret_gets_no_bytes_that_cannot_be_searched() {
    let server = Server::greeting().await;
    for (protocol, first) in [("tcp", &b"\x01read it back"[..]), ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f")] {
        let unusual = Unusual { secrets: vec![secret("api.test")], ..Unusual::default() };
        let world = World::with(&server.grants(protocol, "api.test"), unusual);
        if let Ok(mut stream) = socks(world.proxy, b"api.test", server.port()).await {
            stream.write_all(first).await.unwrap();
            assert_eq!(rest(&mut stream).await, "", "{protocol}");
        }
        world.refused("secret").await;
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_secret_in_pieces_is_found() {
    // A large body is cut where it pleases the kernel; the secret is everywhere.
    let large: Answer = |_| Response::new(VALUE.repeat(50_000).into());
    let (world, server, authority) = world("api.test:PORT", large, vec![secret("api.test")]).await;
    let answer = ask(&world, &server, &authority, &format!("{GET}\n")).await;
    assert_eq!(answer.matches("STOCKADE_TOKEN").count(), 50_000);
    assert!(!answer.contains("real-token"), "a piece of the secret came through");
}

#[tokio::test]
async fn an_inspected_connection_is_cut_with_the_run() {
    let (world, server, authority) = world("https://api.test:PORT/v1", plain, Vec::new()).await;
    let mut stream = open(&world, &server, &authority).await;
    let request = format!("GET /v1/a HTTP/1.1\r\nHost: api.test:{}\r\n\r\n", server.port());
    stream.write_all(request.as_bytes()).await.unwrap();
    crate::client::until(&mut stream, "GET /v1/a 0").await;
    let removed = tokio::time::timeout(Duration::from_secs(5), world.gate.remove("r1")).await.unwrap().unwrap().totals;
    assert_eq!(removed.open, 0);
    rest(&mut stream).await;
}
