//! The first byte of a connection from inside: which proxy protocol is spoken?

use std::net::SocketAddr;
use std::sync::Arc;

use crate::budget::Excess;
use crate::flow::{Want, Way, admit};
use crate::hello;
use crate::inside::{Inside, deadline};
use crate::refusal::{Reason, Refusal};
use crate::run::Run;
use crate::{http, socks, transparent};

/// A connection that counts against the run's budget until it is dropped.
struct Entered<'r>(&'r Run);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.spent().arrived().leave();
    }
}

/// What came from inside.
pub(crate) enum Arrival {
    /// A connection to the run's proxy.
    Proxy(Inside),
    /// A connection that was dialled to this address.
    Transparent(SocketAddr, Inside),
}

/// Serves one arrival to its end.
pub(crate) async fn serve(run: Arc<Run>, arrival: Arrival) {
    if let Err(excess) = run.spent().arrived().enter(&run.budget) {
        return too_many(&run, arrival, excess);
    }
    let entered = Entered(&run);
    match arrival {
        Arrival::Proxy(inside) => proxy(Arc::clone(&run), inside).await,
        Arrival::Transparent(to, inside) => match transparent::want(&run, to) {
            Ok(want) => flow(&run, want, inside).await,
            Err(refusal) => {
                run.refused(&refusal);
                inside.reset();
            }
        },
    }
    drop(entered);
}

fn too_many(run: &Run, arrival: Arrival, excess: Excess) {
    let (way, asked, inside) = match arrival {
        Arrival::Proxy(inside) => (Way::Unknown, "a connection".to_owned(), inside),
        Arrival::Transparent(to, inside) => {
            let asked = transparent::want(run, to).map_or_else(|refusal| refusal.asked, |want| want.asked());
            (Way::Transparent, asked, inside)
        }
    };
    run.refused(&Refusal::new(way, &asked, excess));
    if way == Way::Transparent {
        inside.reset();
    }
}

async fn proxy(run: Arc<Run>, mut inside: Inside) {
    let first = match inside.look(1, deadline(run.budget.head_ms)).await {
        Ok(bytes) => bytes.first().copied().unwrap_or_default(),
        Err(Reason::Slow) => return refuse(&run, Reason::Slow),
        // Connected and left without a word: nothing was asked.
        Err(_) => return,
    };
    match first {
        5 => socks::serve(run, inside).await,
        b'A'..=b'Z' | b'a'..=b'z' => http::serve_proxy(run, inside).await,
        4 => refuse(&run, Reason::BadRequest("SOCKS4 is not served")),
        hello::FIRST_BYTE => refuse(&run, Reason::BadRequest("the proxy itself is reached without TLS")),
        _ => refuse(&run, Reason::BadRequest("neither HTTP nor SOCKS5 is spoken")),
    }
}

async fn flow(run: &Arc<Run>, want: Want, inside: Inside) {
    match admit(run, want.clone()).await {
        Ok(passage) => passage.carry(inside).await,
        Err(reason) => {
            run.refused(&want.refusal(reason));
            inside.reset();
        }
    }
}

fn refuse(run: &Run, reason: Reason) {
    run.refused(&Refusal::new(Way::Unknown, "a connection", reason));
}
