//! Whether anything can be run: a real job, tiny, through the launcher and the walls.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

use crate::link::Ending;
use crate::order::{Bounds, Order, limits};
use crate::refusal::{Kind, Refusal};
use crate::runner::{Ends, ends, memory};
use crate::service::Node;
use crate::wire::RunId;

const CODE: &[u8] = b"print('ready')\n";
/// Who asks for it, in the record.
const PRINCIPAL: &str = "readiness@node";
/// An answer holds for this long, so that asking often costs nothing.
const HOLDS: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found last. Whoever asks meanwhile waits for the same answer.
static LAST: Mutex<Option<(Instant, Result<(), Refusal>)>> = Mutex::const_new(None);

/// Runs the job, unless that was done a moment ago.
///
/// # Errors
/// [`Refusal`] when nothing can be run.
pub(crate) async fn check(node: &Node) -> Result<(), Refusal> {
    let mut last = LAST.lock().await;
    if let Some((when, found)) = &*last
        && when.elapsed() < HOLDS
    {
        return found.clone();
    }
    let found = match tokio::time::timeout(PATIENCE, job(node)).await {
        Ok(found) => found,
        Err(_) => Err(not_ready("it did not end in time")),
    };
    *last = Some((Instant::now(), found.clone()));
    found
}

async fn job(node: &Node) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| not_ready(&crate::system_text(&error));
    let run = RunId::random().map_err(failed)?;
    let mut script = memory("ready").map_err(failed)?;
    script.write_all(CODE).map_err(failed)?;
    let (mut ends, mut descriptors) = ends().map_err(failed)?;
    descriptors.push(script.into());
    let order = Order {
        script: "ready.py".to_owned(),
        arguments: Vec::new(),
        inputs: Vec::new(),
        with: Vec::new(),
        environment: None,
        tables: Vec::new(),
        data_function: false,
        only_built: false,
        limits: limits(&[("time".to_owned(), "30s".to_owned())].into(), &Bounds::default())?,
    };
    let ending = node.link.start(&run, PRINCIPAL, order, descriptors).await?;
    let mut said = Vec::new();
    let read = (&mut ends.out).take(64).read_to_end(&mut said).await;
    let ending = ending.await.map_err(|_| not_ready("the launcher is gone"))?;
    let judged = read.map_err(failed).and_then(|_| judge(&said, &ending, ends));
    node.link.forget(&run).await?;
    judged
}

fn judge(said: &[u8], ending: &Ending, ends: Ends) -> Result<(), Refusal> {
    match ending {
        Ending::Ended { status: 0, .. } if said == b"ready\n" => Ok(()),
        Ending::Refused(refusal) => Err(not_ready(&format!("{}: {}", refusal.what, refusal.why))),
        Ending::Ended { status, .. } => {
            let report: serde_json::Value = serde_json::from_slice(&ends.into_report(ending)).unwrap_or_default();
            let text = |key: &str| report.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
            let why = text("what").zip(text("why")).map(|(what, why)| format!("{what}: {why}"));
            Err(not_ready(&why.unwrap_or_else(|| format!("it ended with status {status}"))))
        }
    }
}

fn not_ready(why: &str) -> Refusal {
    Refusal::new(Kind::Unavailable, "a tiny job cannot be run", why, "the node's log says more; see `stockade doctor`")
}
