//! The gate's side: a process that serves runs until its supervisor is gone.
//!
//! Frames are answered one after the other. Nothing of a bad one is believed: it is refused whole, and its
//! descriptors are closed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::SocketType;
use rustix::process::Resource;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use stockade_core::name::Name;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::frame::{self, Beside, DESCRIPTORS_MAX, FRAME_BYTES_MAX, Frame};
use super::message::{Answer, Ask, Counts, Numbered, Open, Refused, VERSION, is_run};
use crate::dial::{self, Resolve, SystemResolver};
use crate::event::Sink;
use crate::gate::{Gate, GateFailure, NewRun};
use crate::inspect::Secret;
use crate::trail::Trail;

/// Descriptors that the process may ask for.
const DESCRIPTORS_OF_PROCESS_MAX: u64 = 65_536;

/// Why a gate cannot serve, or not any longer.
#[derive(Debug, Error)]
pub enum NotServed {
    /// Not one end of [`super::pair`].
    #[error("the control socket cannot be used: {0}")]
    Control(#[source] io::Error),
    /// The system has no room for a runtime.
    #[error("the gate cannot begin: {0}")]
    Runtime(#[source] io::Error),
}

impl NotServed {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::Control(_) => "start the gate with one end of a pair of sequenced-packet sockets",
            Self::Runtime(_) => "look at the limits on processes and open files",
        }
    }
}

/// Serves runs for whoever holds the other end of `control`, until that end is closed. Records go to `trail`, open for
/// appending by a description of its own.
///
/// # Errors
/// [`NotServed`]; whatever was served is cut.
pub fn serve(control: OwnedFd, trail: File) -> Result<(), NotServed> {
    ask_for_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NotServed::Runtime)?;
    runtime.block_on(async {
        let trail = Arc::new(Trail::new(trail));
        let gate = Gate::new(system_resolver(), Arc::clone(&trail) as Arc<dyn Sink>);
        answered(control, &gate, Some(&trail)).await
    })
}

/// Every connection takes two descriptors. With fewer than hoped for, accepting pauses sooner and nothing is lost.
fn ask_for_descriptors() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_OF_PROCESS_MAX);
    if limit.current.is_some_and(|soft| soft < hard) {
        limit.current = Some(hard);
        rustix::process::setrlimit(Resource::Nofile, limit).ok();
    }
}

/// A machine without a resolver can still reach addresses.
fn system_resolver() -> Arc<dyn Resolve> {
    match SystemResolver::new() {
        Ok(resolver) => Arc::new(resolver),
        Err(_) => Arc::new(NoResolver),
    }
}

#[derive(Debug)]
struct NoResolver;

impl Resolve for NoResolver {
    fn resolve<'a>(&'a self, _: &'a Name) -> dial::Answer<'a> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

/// As [`serve`], with a gate of one's own and within its runtime. At the end every run of the gate is cut.
///
/// # Errors
/// [`NotServed::Control`].
pub async fn answer(control: OwnedFd, gate: &Gate) -> Result<(), NotServed> {
    answered(control, gate, None).await
}

async fn answered(control: OwnedFd, gate: &Gate, trail: Option<&Trail>) -> Result<(), NotServed> {
    let answered = answer_all(control, gate, trail).await;
    gate.clear().await;
    answered.map_err(NotServed::Control)
}

async fn answer_all(control: OwnedFd, gate: &Gate, trail: Option<&Trail>) -> io::Result<()> {
    if rustix::net::sockopt::socket_type(&control)? != SocketType::SEQPACKET {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    frame::make_room(&control);
    rustix::io::ioctl_fionbio(&control, true)?;
    // The runtime knows no sequenced packets; readiness is all that is asked of it.
    let control = UnixDatagram::from_std(control.into())?;
    let mut desk = Desk { gate, trail, greeted: false };
    loop {
        // A supervisor that is killed leaves answers unread, which is an error here and an end all the same.
        let frame = match control.async_io(Interest::READABLE, || frame::receive(&control, Beside::Descriptors)).await {
            Err(error) if frame::is_end(&error) => return Ok(()),
            frame => frame?,
        };
        let answer = match frame {
            Frame::End => return Ok(()),
            Frame::Broken => Numbered { number: 0, body: Answer::Failed(too_large()) },
            Frame::Whole(bytes, descriptors) => desk.read(&bytes, descriptors).await,
        };
        let bytes = frame::encode(&answer).ok_or(io::ErrorKind::InvalidData)?;
        match control.async_io(Interest::WRITABLE, || frame::send(&control, &bytes, &[])).await {
            Err(error) if frame::is_end(&error) => return Ok(()),
            sent => sent?,
        }
    }
}

/// Answers one frame after the other.
struct Desk<'g> {
    gate: &'g Gate,
    /// The one that waits for its head; none where events go elsewhere.
    trail: Option<&'g Trail>,
    greeted: bool,
}

impl Desk<'_> {
    async fn read(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> Numbered<Answer> {
        match serde_json::from_slice::<Numbered<Ask>>(bytes) {
            Ok(Numbered { number, body }) => {
                let body = self.answer(body, descriptors).await.unwrap_or_else(Answer::Failed);
                Numbered { number, body }
            }
            // The parser's words may quote the frame, and a frame may hold secrets.
            Err(_) => Numbered { number: 0, body: Answer::Failed(malformed()) },
        }
    }

    async fn answer(&mut self, ask: Ask, descriptors: Vec<OwnedFd>) -> Result<Answer, Refused> {
        if let Ask::Hello { version } = ask {
            return self.hello(&version, descriptors);
        }
        if !descriptors.is_empty() && !matches!(ask, Ask::Serve { .. }) {
            return Err(miscounted(descriptors.len()));
        }
        if !self.greeted {
            return Err(refused("the message was not taken", "nobody has said hello", "say hello first"));
        }
        match ask {
            Ask::Hello { .. } => Ok(Answer::Hello { version: VERSION.to_owned() }),
            Ask::Open(open) => self.open(*open),
            Ask::Serve { run, counts } => self.serve(&run, counts, descriptors),
            Ask::Close { run } => {
                let report = self.gate.remove(&run).await.map_err(|failure| failed("closed", &run, &failure))?;
                Ok(Answer::Closed { report: Box::new(report) })
            }
            Ask::Metrics {} => Ok(Answer::Metrics { totals: self.gate.totals() }),
        }
    }

    /// With the head of the trail beside it, or nothing: then there is nothing that can be recorded.
    fn hello(&mut self, version: &str, mut descriptors: Vec<OwnedFd>) -> Result<Answer, Refused> {
        if descriptors.len() > 1 {
            return Err(miscounted(descriptors.len()));
        }
        self.greeted = version == VERSION;
        if self.greeted {
            if let (Some(trail), Some(head)) = (self.trail, descriptors.pop()) {
                trail.attach(File::from(head));
            }
            return Ok(Answer::Hello { version: VERSION.to_owned() });
        }
        let theirs = crate::refusal::shown(version);
        Err(refused(
            "the gate does not serve another version",
            &format!("the gate is version {VERSION}, the supervisor is version {theirs}"),
            "install one version of stockade, and end what still runs of the other",
        ))
    }

    fn open(&self, open: Open) -> Result<Answer, Refused> {
        let Open { run, rules, budget, secrets, extra_roots_pem } = open;
        if !is_run(&run) {
            return Err(refused(
                "the run was not opened",
                "its name is not 1 to 64 letters, digits, dots, hyphens and underscores",
                "give it a plain name",
            ));
        }
        let what = || format!("the run `{run}` was not opened");
        let secrets = secrets
            .into_iter()
            .map(|secret| Secret::new(secret.host, &secret.header, secret.placeholder, secret.value))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|bad| refused(&what(), &bad.to_string(), "correct the secret"))?;
        let extra_roots = extra_roots_pem.map_or_else(|| Some(Vec::new()), |pem| roots(&pem)).ok_or_else(|| {
            refused(&what(), "its extra roots are no certificates", "give certificates in PEM, at least one")
        })?;
        let new = NewRun { id: run.clone(), rules, budget, secrets, extra_roots };
        let authority_pem = self.gate.open(new).map_err(|failure| failed("opened", &run, &failure))?;
        Ok(Answer::Opened { authority_pem })
    }

    fn serve(&self, run: &str, counts: Counts, descriptors: Vec<OwnedFd>) -> Result<Answer, Refused> {
        let attached = descriptors.len();
        let sockets = counts.sort(descriptors).ok_or_else(|| miscounted(attached))?;
        self.gate.serve(run, sockets).map_err(|failure| failed("served", run, &failure))?;
        Ok(Answer::Serving {})
    }
}

fn roots(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let roots = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    (!roots.is_empty()).then_some(roots)
}

fn refused(what: &str, why: &str, next: &str) -> Refused {
    Refused { what: what.to_owned(), why: why.to_owned(), next: next.to_owned() }
}

fn failed(done: &str, run: &str, failure: &GateFailure) -> Refused {
    let run = crate::refusal::shown(run);
    refused(&format!("the run `{run}` was not {done}"), &failure.to_string(), failure.next())
}

fn too_large() -> Refused {
    refused(
        "the frame was not taken",
        &format!("it has more than {FRAME_BYTES_MAX} bytes, or more than {DESCRIPTORS_MAX} descriptors"),
        "ask for less at once",
    )
}

fn malformed() -> Refused {
    refused("the frame was not taken", "it is no message of this version", "send what the client sends")
}

fn miscounted(attached: usize) -> Refused {
    refused(
        "the frame was not taken",
        &format!("it says another number of descriptors than the {attached} that lie beside it"),
        "send as many descriptors as are said",
    )
}
