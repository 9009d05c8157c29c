//! The first byte of a connection from inside: which proxy protocol is spoken?

use std::sync::Arc;

use crate::flow::{Want, Way, admit};
use crate::hello;
use crate::inside::{Inside, deadline};
use crate::refusal::{Reason, Refusal};
use crate::run::Run;
use crate::{http, socks};

/// A connection that counts against the run's budget until it is dropped.
struct Entered<'r>(&'r Run);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.spent().leave();
    }
}

/// What came from inside.
pub(crate) enum Arrival {
    /// A connection to the run's listener.
    Proxy(Inside),
    /// A stream that says where it wants to go.
    Flow(Want, Inside),
}

/// Serves one arrival to its end.
pub(crate) async fn serve(run: Arc<Run>, arrival: Arrival) {
    let (way, asked) = match &arrival {
        Arrival::Proxy(_) => (Way::Unknown, "a connection".to_owned()),
        Arrival::Flow(want, _) => (want.way, want.asked()),
    };
    if let Err(excess) = run.spent().enter(&run.budget) {
        return run.refused(&Refusal::new(way, &asked, excess));
    }
    let entered = Entered(&run);
    match arrival {
        Arrival::Proxy(inside) => proxy(Arc::clone(&run), inside).await,
        Arrival::Flow(want, inside) => flow(&run, want, inside).await,
    }
    drop(entered);
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
        Err(reason) => run.refused(&want.refusal(reason)),
    }
}

fn refuse(run: &Run, reason: Reason) {
    run.refused(&Refusal::new(Way::Unknown, "a connection", reason));
}
