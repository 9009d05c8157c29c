//! Attacks, one file per class. Each is refused, the record says why, and no server saw a connection.

mod addresses;
mod budgets;
mod channels;
mod inspected;
mod lifetime;
mod names;
mod requests;
mod socks;
mod tls;
mod transparent;

use crate::client::{connect, socks, talk};
use crate::world::World;

/// Asks for `HOST:PORT` by each way, expects a refusal each time, and returns the reasons.
async fn refused_by_every_way(world: &World, host: &str, port: u16) -> Vec<String> {
    let before = world.refusals().len();
    let head = connect(world.proxy, &format!("{host}:{port}")).await.expect_err("CONNECT must be refused");
    assert!(head.starts_with("HTTP/1.1 4"), "{host}: {head}");
    let answer = talk(world.proxy, format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    // SOCKS has no brackets around addresses.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let code = socks(world.proxy, name.as_bytes(), port).await.expect_err("SOCKS must be refused");
    assert_ne!(code, 0, "{host}");
    let reasons: Vec<String> = world.refusals().split_off(before).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons.len(), 3, "{host}: {reasons:?}");
    reasons
}
