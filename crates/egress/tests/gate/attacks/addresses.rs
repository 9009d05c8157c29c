//! Granted names that lead to places nobody granted.

use std::sync::atomic::Ordering;

use super::refused_by_every_way;
use crate::client::socks;
use crate::server::Server;
use crate::world::World;

#[tokio::test]
async fn a_granted_name_does_not_open_special_addresses() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&[format!("tcp://api.test:{port}"), format!("http://api.test:{port}")]);
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::7f00:1",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ] {
        world.names.set("api.test", &[&[address]]);
        let reasons = refused_by_every_way(&world, "api.test", port).await;
        assert_eq!(reasons, ["special-address"; 3], "{address}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_addresses_of_this_machine_are_its_own() {
    let own = if_addrs::get_if_addrs().unwrap();
    let world = World::new(&["tcp://api.test:9"]);
    for address in own.iter().map(|interface| interface.ip().to_string()) {
        world.names.set("api.test", &[&[&address]]);
        assert_eq!(socks(world.proxy, b"api.test", 9).await.unwrap_err(), 2, "{address}");
        assert_eq!(world.refusals().last().unwrap().1, "special-address", "{address}");
    }
}

#[tokio::test]
async fn one_bad_answer_among_good_ones_refuses_all() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    world.names.set("api.test", &[&["127.0.0.1", "10.0.0.1"]]);
    assert_eq!(socks(world.proxy, b"api.test", server.port()).await.unwrap_err(), 2);
    world.refused("special-address").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_resolved_once_per_connection() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    world.names.set("api.test", &[&["127.0.0.1"], &["169.254.169.254"]]);
    socks(world.proxy, b"api.test", server.port()).await.unwrap();
    assert_eq!(world.names.asked.load(Ordering::Relaxed), 1);
    assert_eq!(socks(world.proxy, b"api.test", server.port()).await.unwrap_err(), 2);
    world.refused("special-address").await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_whole_internet_is_not_this_machine() {
    let server = Server::echo().await;
    let port = server.port();
    let world = World::new(&[
        format!("tcp://0.0.0.0/0:{port}"),
        format!("tcp://[::/0]:{port}"),
        format!("http://0.0.0.0/0:{port}"),
        format!("http://[::/0]:{port}"),
    ]);
    for address in ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "2130706433", "[64:ff9b::7f00:1]"] {
        let reasons = refused_by_every_way(&world, address, port).await;
        assert_eq!(reasons, ["special-address"; 3], "{address}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_denied_address_is_denied_behind_every_name() {
    let server = Server::echo().await;
    let mut grants = server.grants("tcp", "*.test");
    grants.push("deny:127.0.0.1".to_owned());
    let world = World::new(&grants);
    assert_eq!(socks(world.proxy, b"any.test", server.port()).await.unwrap_err(), 2);
    world.refused("denied").await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn no_answer_and_too_many_answers_are_none() {
    let server = Server::echo().await;
    let world = World::new(&server.grants("tcp", "api.test"));
    world.names.set("api.test", &[&[]]);
    assert_eq!(socks(world.proxy, b"api.test", server.port()).await.unwrap_err(), 4);
    world.names.set("api.test", &[&["127.0.0.1"; 100]]);
    assert_eq!(socks(world.proxy, b"api.test", server.port()).await.unwrap_err(), 4);
    assert_eq!(world.refused("unresolved").await, format!("api.test:{}", server.port()));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_machine_with_ipv6_only_is_reached_if_it_was_meant() {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return println!("SKIPPED: this machine has no IPv6");
    };
    let port = listener.local_addr().unwrap().port();
    let world = World::new(&[format!("tcp://six.test:{port}"), format!("[::1]:{port}")]);
    world.names.set("six.test", &[&["::1"]]);
    let (reached, accepted) = tokio::join!(socks(world.proxy, b"six.test", port), listener.accept());
    assert!(reached.is_ok() && accepted.is_ok());
    let without = World::new(&[format!("tcp://six.test:{port}")]);
    without.names.set("six.test", &[&["::1"]]);
    assert_eq!(socks(without.proxy, b"six.test", port).await.unwrap_err(), 2);
}
