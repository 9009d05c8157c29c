//! Carries bytes both ways between the two ends of a connection that was checked.
//!
//! Nothing is held while nothing moves, so thousands of idle tunnels cost their sockets and little more; a slow
//! reader stops the reading from the other side, so memory stays bounded.

mod copy;
mod splice;

use std::time::Duration;

use tokio::io::AsyncWriteExt;

pub(crate) use copy::Buffers;
pub(crate) use splice::Pipes;

use crate::budget::Excess;
use crate::inside::Inside;
use crate::upstream::{Count, Upstream};
use stockade_core::budget::Budget;

/// Joins the two ends until both directions are over, one fails, or a budget is used up.
pub(crate) async fn join(inside: &mut Inside, mut upstream: Upstream) {
    let (run, count) = (upstream.run(), upstream.count());
    let carried = async {
        upstream.write_all(&inside.take_all_early()).await?;
        match inside.as_tcp() {
            Some(tcp) => splice::both_ways(tcp, &upstream, &run.shared.pipes).await,
            None => copy::both_ways(inside, &mut upstream, &run.shared.buffers).await,
        }
    };
    let excess = tokio::select! {
        // Whatever ended it, the peers see the same: the connection is over.
        _ = carried => None,
        excess = watch(&count, &run.budget) => Some(excess),
    };
    if let Some(excess) = excess {
        drop(upstream.exceed(excess));
    }
}

/// At most as much as is left, as a length.
pub(crate) fn within(length: usize, left: u64) -> usize {
    length.min(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Returns when the connection has lasted too long, or was silent for too long.
pub(crate) async fn watch(count: &Count, budget: &Budget) -> Excess {
    let until = crate::inside::deadline(budget.connection_ms);
    let idle = Duration::from_millis(budget.idle_ms.max(1));
    loop {
        let moved = count.moved();
        tokio::select! {
            () = tokio::time::sleep_until(until) => return Excess::ConnectionTime,
            () = tokio::time::sleep(idle) => {}
        }
        if count.moved() == moved {
            return Excess::Idle;
        }
    }
}
