//! What was granted is reached, by every way, and recorded.

use std::os::unix::net::UnixListener;

use stockade_core::grant::Protocol;
use stockade_egress::event::What;
use stockade_egress::gate::GateFailure;
use stockade_egress::{NewRun, Sockets, Way};
use stockade_testkit::ports::Silent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{connect, rest, socks, socks_raw, talk, tls, until};
use crate::server::{Server, plain};
use crate::world::{World, rules};

async fn echoes(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

#[tokio::test]
async fn tls_through_connect_reaches_the_granted_name_and_is_recorded() {
    let (server, certificate) = Server::tls("api.test").await;
    let world = World::new(&server.grants("tls", "api.test"));
    let tunnel = connect(world.proxy, &format!("API.test:{}", server.port())).await.unwrap();
    let mut stream = tls(tunnel, "api.test", &certificate).await.unwrap();
    echoes(&mut stream).await;
    drop(stream);
    let closed = world.closed(1).await;
    let What::Closed { connection, bytes_up, bytes_down, .. } = &closed[0] else { panic!("{closed:?}") };
    assert_eq!((connection.host.as_str(), connection.port), ("api.test", server.port()));
    assert_eq!(connection.address.to_string(), "127.0.0.1");
    assert_eq!((connection.protocol, connection.way, connection.inspected), (Protocol::Tls, Way::Connect, false));
    assert_eq!(connection.rule, format!("api.test:{}", server.port()));
    assert!(*bytes_up > 200 && *bytes_down > 200, "{closed:?}");
    assert!(matches!(&world.told.all()[0], What::Opened { connection: opened } if opened == connection));
    assert_eq!(world.refusals(), []);
}

#[tokio::test]
async fn plain_http_through_the_proxy_is_written_anew() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let request = format!(
        "GET http://API.test:{port}/a?b=c HTTP/1.1\r\nHost: api.test:{port}\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\nProxy-Authorization: x\r\n\r\n"
    );
    let answer = talk(world.proxy, request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("GET /a?b=c 0"), "{answer}");
    assert_eq!(server.seen(), [format!("GET /a?b=c|host: api.test:{port}|x-kept: 2")]);
}

#[tokio::test]
async fn a_kept_connection_serves_many_requests_over_one_to_the_server() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    for number in 0..20 {
        let request = format!(
            "POST http://api.test:{port}/{number} HTTP/1.1\r\nHost: api.test:{port}\r\nContent-Length: 3\r\n\r\nabc"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        until(&mut stream, &format!("POST /{number} 3")).await;
    }
    assert_eq!(server.connections(), 1);
    drop(stream);
    let closed = world.closed(1).await;
    assert!(matches!(closed[0], What::Closed { requests: 20, .. }), "{closed:?}");
}

#[tokio::test]
async fn a_kept_connection_goes_from_server_to_server() {
    let (one, two) = (Server::http(plain).await, Server::http(plain).await);
    let world = World::new(&[one.grants("http", "one.test"), two.grants("http", "two.test")].concat());
    let mut stream = TcpStream::connect(world.proxy).await.unwrap();
    for (name, port) in [("one.test", one.port()), ("two.test", two.port()), ("one.test", one.port())] {
        let request = format!("GET http://{name}:{port}/{name} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until(&mut stream, &format!("GET /{name} 0")).await;
    }
    assert_eq!((one.seen().len(), two.seen().len()), (2, 1));
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let stream = socks(world.proxy, b"api.test", server.port()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..32_u32 << 20).map(|number| (number % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&copy).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    let closed = world.closed(1).await;
    assert!(matches!(closed[0], What::Closed { bytes_up: 33_554_432, bytes_down: 33_554_432, .. }), "{closed:?}");
}

#[tokio::test]
async fn a_large_upload_by_plain_http_arrives() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let port = server.port();
    let mut request = format!(
        "PUT http://api.test:{port}/ HTTP/1.1\r\nHost: api.test:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        8 << 20
    )
    .into_bytes();
    request.resize(request.len() + (8 << 20), b'x');
    let answer = talk(world.proxy, request).await;
    assert!(answer.ends_with("PUT / 8388608"), "{answer}");
}

#[tokio::test]
async fn socks_takes_names_and_addresses() {
    let server = Server::echo().await;
    let mut grants = server.grants("tcp", "api.test");
    grants.push(format!("tcp://127.0.0.1:{}", server.port()));
    let world = World::new(&grants);
    echoes(&mut socks(world.proxy, b"api.test", server.port()).await.unwrap()).await;
    echoes(&mut socks_raw(world.proxy, 1, &[1, 127, 0, 0, 1], server.port()).await.unwrap()).await;
    echoes(&mut socks(world.proxy, b"127.0.0.1", server.port()).await.unwrap()).await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let server = Server::greeting().await;
    let world = World::new(&server.grants("tcp", "db.test"));
    let mut stream = connect(world.proxy, &format!("db.test:{}", server.port())).await.unwrap();
    assert_eq!(until(&mut stream, "\n").await, "hello\n");
    echoes(&mut stream).await;
}

#[tokio::test]
async fn bytes_sent_along_with_connect_are_not_lost() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    let answer = talk(world.proxy, format!("CONNECT api.test:{} HTTP/1.1\r\n\r\nearly", server.port())).await;
    assert!(answer.ends_with("\r\n\r\nearly"), "{answer}");
}

#[tokio::test]
async fn postgres_is_tls_after_the_request_for_it() {
    let (server, certificate) = Server::postgres("db.test", b'S').await;
    let world = World::new(&server.grants("postgres", "db.test"));
    let mut stream = socks(world.proxy, b"db.test", server.port()).await.unwrap();
    // libpq may ask for GSS first.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 48]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'N');
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    echoes(&mut tls(stream, "db.test", &certificate).await.unwrap()).await;
}

#[tokio::test]
async fn http_in_a_tunnel_is_served_like_http_to_the_proxy() {
    let server = Server::http(plain).await;
    let world = World::new(&server.grants("http", "api.test"));
    let target = format!("api.test:{}", server.port());
    let mut stream = connect(world.proxy, &target).await.unwrap();
    let request = format!("GET /in-tunnel HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("GET /in-tunnel 0"));
}

#[tokio::test]
async fn a_unix_listener_serves_alike() {
    let server = Server::echo().await;
    let world = World::new(&["unused.test"]);
    let path = std::env::temp_dir().join(format!("stockade-egress-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let run = NewRun { id: "unix".to_owned(), rules: rules(&server.grants("tcp", "api.test")), ..NewRun::default() };
    world.gate.add(run, Sockets::proxies(vec![listener.into()])).unwrap();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    stream.write_all(format!("CONNECT api.test:{} HTTP/1.1\r\n\r\n", server.port()).as_bytes()).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    echoes(&mut stream).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_that() {
    let server = Server::echo().await;
    let silent = Silent::new();
    let port = silent.address().port();
    let world = World::new(&[format!("tcp://api.test:{port}"), format!("127.0.0.1:{port}"), server.loopback()]);
    let head = connect(world.proxy, &format!("api.test:{port}")).await.unwrap_err();
    assert!(head.starts_with("HTTP/1.1 502 it cannot be reached"), "{head}");
    assert_eq!(world.refused("unreachable").await, format!("api.test:{port}"));
}

#[tokio::test]
async fn what_is_no_listener_is_not_served() {
    let world = World::new(&["unused.test"]);
    let stream = std::net::TcpStream::connect(world.proxy).unwrap();
    for socket in [stream.into(), std::fs::File::open("/dev/null").unwrap().into()] {
        let run = NewRun { id: "r2".to_owned(), ..NewRun::default() };
        assert!(world.gate.add(run, Sockets::proxies(vec![socket])).is_err());
    }
}

#[tokio::test]
async fn a_gate_holds_a_bounded_number_of_runs() {
    let world = World::new(&["unused.test"]);
    let open = |number: usize| world.gate.open(NewRun { id: format!("n{number}"), ..NewRun::default() });
    // One is open already.
    assert!((1..10_000).all(|number| open(number).is_ok()));
    assert!(matches!(open(10_000), Err(GateFailure::Full)));
    world.gate.remove("n7").await.unwrap();
    open(10_000).unwrap();
    world.gate.clear().await;
    assert!(world.gate.remove("n8").await.is_err());
}

#[tokio::test]
async fn a_client_that_only_looks_whether_a_port_is_open_is_told_nothing() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tls", "api.test"));
    let target = format!("api.test:{}", server.port());
    drop(connect(world.proxy, &target).await.unwrap());
    let mut half = connect(world.proxy, &target).await.unwrap();
    half.write_all(&[0x16, 3]).await.unwrap();
    drop(half);
    // Half a greeting is one that ended too early; nothing is nothing.
    assert_eq!(world.refused("bad-request").await, target);
    assert_eq!(world.refusals().len(), 1, "{:?}", world.refusals());
    assert_eq!(server.connections(), 0);
}
