//! Names as messages: whoever runs a domain's name server reads every label that is asked for.

use std::sync::atomic::Ordering;

use stockade_egress::Budget;

use super::refused_by_every_way;
use crate::client::socks;
use crate::server::Server;
use crate::world::{Unusual, World};

#[tokio::test]
async fn a_name_that_was_not_granted_is_never_resolved() {
    let world = World::new(&["tcp://api.test:9", "http://api.test:9"]);
    for host in ["c2VjcmV0.evil.test", "c2VjcmV0.api.test", "api.test.c2VjcmV0.evil.test"] {
        let reasons = refused_by_every_way(&world, host, 9).await;
        assert_eq!(reasons, ["not-granted"; 3]);
    }
    // The port is part of the grant.
    assert_eq!(socks(world.proxy, b"api.test", 10).await.unwrap_err(), 2);
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_wildcard_is_no_channel_of_many_names() {
    let server = Server::echo().await;
    let budget = Budget { names_per_wildcard: 3, name_bytes: 30, ..Budget::default() };
    let world = World::with(&server.grants("tcp", "*.evil.test"), Unusual { budget, ..Unusual::default() });
    for number in 0..3 {
        socks(world.proxy, format!("n{number}.evil.test").as_bytes(), server.port()).await.unwrap();
    }
    for number in 3..9 {
        assert_eq!(socks(world.proxy, format!("n{number}.evil.test").as_bytes(), server.port()).await.unwrap_err(), 2);
    }
    // Names that are known already still work.
    socks(world.proxy, b"n1.evil.test", server.port()).await.unwrap();
    let long = format!("{}.evil.test", "a".repeat(40));
    assert_eq!(socks(world.proxy, long.as_bytes(), server.port()).await.unwrap_err(), 2);
    assert!(world.refusals().iter().all(|(_, reason)| reason == "budget"));
    assert_eq!((server.connections(), world.names.asked.load(Ordering::Relaxed)), (4, 4));
}

#[tokio::test]
async fn a_path_that_was_not_granted_reaches_no_resolver() {
    let world = World::new(&["http://api.test/open"]);
    let answer =
        crate::client::talk(world.proxy, "GET http://api.test/closed HTTP/1.1\r\nHost: api.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 0);
}
