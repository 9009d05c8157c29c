//! One run, from its turn to its end: its files are handed over, its output is kept, its outcome is written down.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use stockade_core::session::Act;
use stockade_store::{Ended, Kind, NewEvent, Run};
use tokio::net::unix::pipe::Receiver;

use crate::asked::Asked;
use crate::link::Ending;
use crate::opening::Execution;
use crate::outcome::{self, Known, Outcome};
use crate::pump;
use crate::quota;
use crate::refusal::Refusal;
use crate::service::{Node, Stop, now_ms};
use crate::wire::RunId;

/// Largest report that is read.
const REPORT_BYTES_MAX: u64 = 8 << 20;
/// How long to wait before an outcome that could not be kept is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a run is given, and our ends of it.
pub(crate) struct Ends {
    pub(crate) out: Receiver,
    pub(crate) error: Receiver,
    report: File,
}

/// Runs it to its end, which is on record when this returns.
pub(crate) async fn run(node: &Node, principal: &str, run: &RunId) {
    let began = Instant::now();
    let (kind, durable, most_cpu, followed) = match node.run(principal, run.as_str()).await {
        Ok(kept) => (kept.kind, kept.durable, quota::most_of(&kept), follow(node, &kept, run).await),
        Err(refusal) => (Kind::Run, true, 0, Err(refusal)),
    };
    let outcome = match followed {
        Ok(Some(outcome)) => outcome,
        // It was over before its turn; or the launcher is gone, and so will be the node: it waits, or is lost.
        Ok(None) => return,
        Err(refusal) => outcome::refused(&refusal, known(node, run, kind, false)),
    };
    node.metrics.ended(kind, &outcome.cause, Some(began.elapsed()));
    node.metrics.reported(&outcome);
    let cpu_ms = quota::charge(kind, outcome.cpu_ms, began.elapsed(), most_cpu);
    node.metrics.used(cpu_ms);
    tracing::info!(run = %run, principal, cause = %outcome.cause, ms = began.elapsed().as_millis(), "ended");
    // Without a report nobody can name its outputs, and what they fill may be what the outcome needs.
    if !outcome.has_report
        && let Err(refusal) = node.link.forget(run).await
    {
        tracing::warn!(run = %run, why = %refusal.why, "files of the run stay until it is forgotten");
    }
    keep(node, run, outcome, durable, cpu_ms).await;
}

/// Ends a run that waits.
pub(crate) async fn end_unstarted(node: &Node, run: &RunId) {
    tracing::info!(run = %run, "cancelled while it waited");
    node.metrics.ended(Kind::Run, "cancelled", None);
    keep(node, run, outcome::unstarted(), true, 0).await;
}

/// Ends what waits and will never have its turn.
pub(crate) async fn end_refused(node: &Node, run: &RunId, refusal: &Refusal) {
    node.metrics.ended(Kind::Execution, "refused", None);
    keep(node, run, outcome::refused(refusal, Known::default()), true, 0).await;
}

/// What the node knows of the end of something.
fn known(node: &Node, run: &RunId, kind: Kind, cut: bool) -> Known {
    let reason = node.sessions.reason(run);
    Known { cancelled: node.is_cancelled(run), cut, is_of_session: kind != Kind::Run, reason }
}

async fn follow(node: &Node, kept: &Run, run: &RunId) -> Result<Option<Outcome>, Refusal> {
    let asked = Asked::parse(kept.kind, &kept.request)?;
    // It may have been accepted when there was time left, long ago, or beside many others.
    node.check_cpu(&kept.principal).await?;
    let mut given = Vec::new();
    for file in (0_i64..).take(asked.files()) {
        given.push(spool(node, run, file).await?);
    }
    given.extend(node.tables_of(run, asked.tables())?);
    let (ends, mut descriptors) = ends().map_err(|error| Refusal::failed("the run cannot be started", error))?;
    descriptors.append(&mut given);
    if node.link.is_over() {
        return Ok(None);
    }
    let (id, durable) = (run.clone(), kept.durable);
    // From here on it is never handed over again, even if the node ends before the launcher has heard of it.
    let started = [NewEvent::new("started", "{}")];
    if !node.keeper.with(move |store| store.start((id.as_str(), durable), &started, now_ms())).await? {
        return Ok(None);
    }
    node.metrics.started(kept.kind, now_ms() - kept.accepted_ms);
    node.tell(run, 2);
    if node.is_cancelled(run) {
        return Ok(Some(outcome::unstarted()));
    }
    let begun = match asked {
        Asked::Run(order) => node.link.start(run, &kept.principal, order, descriptors).await,
        Asked::Session(opening) => node.link.open_session(run, &kept.principal, opening, descriptors).await,
        Asked::Execution(Execution { session, time_ms }) => {
            node.link.act(&session, run, Act::Execute { time_ms }, descriptors).await
        }
    };
    let ending = match begun {
        Ok(ending) => ending,
        // Nobody knows whether the launcher has heard of it.
        Err(_) if node.link.is_over() => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    node.sessions.handed_over(run);
    // Asked for before the launcher knew it.
    if node.sessions.reason(run).is_some() {
        node.link.close_session(run).await?;
    } else if node.is_cancelled(run) {
        node.stop(run, Stop::Asked).await?;
    }
    let Ends { out, error, report } = ends;
    let Some((ending, cut)) = pump::follow(node, run, out, error, ending).await else { return Ok(None) };
    let report = read_report(report, &ending);
    Ok(Some(outcome::of(&ending, &report, known(node, run, kept.kind, cut))))
}

/// Streams and the report: our ends, and those of the run, in the order in which the launcher takes them.
pub(crate) fn ends() -> std::io::Result<(Ends, Vec<OwnedFd>)> {
    let (out, out_far) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (error, error_far) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let report = memory("report")?;
    let far = report.try_clone()?;
    let ends = Ends { out: Receiver::from_owned_fd(out)?, error: Receiver::from_owned_fd(error)?, report };
    Ok((ends, vec![out_far, error_far, far.into()]))
}

impl Ends {
    /// The report, when the run has ended.
    pub(crate) fn into_report(self, ending: &Ending) -> Vec<u8> {
        read_report(self.report, ending)
    }
}

/// The report of something that has ended.
pub(crate) fn read_report(mut report: File, ending: &Ending) -> Vec<u8> {
    let mut bytes = Vec::new();
    if matches!(ending, Ending::Ended { .. }) {
        let read = report.rewind().and_then(|()| report.take(REPORT_BYTES_MAX).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::warn!(error = %error, "a report cannot be read");
            bytes.clear();
        }
    }
    bytes
}

/// A file of memory; nobody else can name it.
pub(crate) fn memory(name: &str) -> std::io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC))?
        .into())
}

/// A file of a run that waited, as the launcher takes it.
async fn spool(node: &Node, run: &RunId, file: i64) -> Result<OwnedFd, Refusal> {
    let failed = |error| Refusal::failed("the run cannot be started", error);
    let mut memory = memory("input").map_err(failed)?;
    for part in 0_i64.. {
        let id = run.clone();
        let Some(bytes) = node.keeper.with(move |store| store.part_of_file(id.as_str(), file, part)).await? else {
            break;
        };
        memory.write_all(&bytes).map_err(failed)?;
    }
    Ok(memory.into())
}

/// Writes an outcome down, however long it takes: until then the run is not over.
async fn keep(node: &Node, run: &RunId, outcome: Outcome, durable: bool, cpu_ms: i64) {
    loop {
        let (id, document, events) = (run.clone(), outcome.document.clone(), outcome.events.clone());
        let outputs = outcome.outputs;
        match node
            .keeper
            .with(move |store| {
                let ended = Ended { outcome: &document, outputs, cpu_ms, events: &events };
                store.end((id.as_str(), durable), &ended, now_ms())
            })
            .await
        {
            Ok(_) => return,
            Err(refusal) => {
                tracing::error!(run = %run, what = %refusal.what, next = %refusal.next, "an outcome is not kept yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
