//! The supervisor's side: asks, and waits for each answer. Synchronous; it may live in a program without a runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use thiserror::Error;

use super::frame::{self, Beside, DESCRIPTORS_MAX, FRAME_BYTES_MAX, Frame};
use super::message::{Answer, Ask, Counts, Numbered, Open, Refused, VERSION};
use crate::event::Totals;
use crate::sockets::Sockets;
use crate::tally::RunReport;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a gate.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    number: u64,
    patience: Duration,
}

/// Why a gate did not do what it was asked for.
#[derive(Debug, Error)]
pub enum Failure {
    /// The message does not fit a frame: too many grants, or too large certificates.
    #[error("the message to the gate is larger than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    /// More descriptors than lie beside one frame.
    #[error("the run has more than {DESCRIPTORS_MAX} sockets for the gate")]
    Descriptors,
    /// The socket failed.
    #[error("the gate cannot be reached: {0}")]
    Socket(#[source] io::Error),
    /// The gate's end is closed: it has ended, or never began.
    #[error("the gate is gone")]
    Gone,
    /// No answer in time.
    #[error("the gate did not answer in {} s", .0.as_secs())]
    Slow(Duration),
    /// It is of another version.
    #[error("this is version {ours}, the gate is version {theirs}")]
    Version {
        /// This program's.
        ours: &'static str,
        /// The gate's.
        theirs: String,
    },
    /// Not an answer to what was asked.
    #[error("the gate's answer makes no sense")]
    Answer,
    /// It said no.
    #[error("{}: {}", .0.what, .0.why)]
    Refused(Refused),
}

impl Failure {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &str {
        match self {
            Self::TooLarge => "grant blocks and wildcards instead of many single hosts",
            Self::Descriptors => "grant fewer different ports",
            Self::Socket(_) | Self::Gone | Self::Slow(_) => "try again; if it stays, look at what the gate has printed",
            Self::Version { .. } => "install one version of stockade, and end what still runs of the other",
            Self::Answer => "report it: the two ends of one program do not understand each other",
            Self::Refused(refused) => &refused.next,
        }
    }
}

impl Client {
    /// Speaks over one end of [`super::pair`]. Begin with [`Client::hello`].
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        frame::make_room(&socket);
        Self { socket, number: 0, patience: PATIENCE }
    }

    /// Waits for each answer as long as this, instead of 10 seconds.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes sure that both sides are of one version, and hands over the head of the audit trail: open for reading and
    /// writing, by a description that nobody else has once the caller has closed his.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn hello(&mut self, head: BorrowedFd<'_>) -> Result<(), Failure> {
        let Answer::Hello { version } = self.ask(Ask::Hello { version: VERSION.to_owned() }, &[head])? else {
            return Err(Failure::Answer);
        };
        if version == VERSION { Ok(()) } else { Err(Failure::Version { ours: VERSION, theirs: version }) }
    }

    /// Makes everything of a run but serves nothing yet. Returns the certificate, as PEM, that its sandbox must trust
    /// if anything is inspected.
    ///
    /// # Errors
    /// [`Failure`]; if the gate refused, it has nothing of the run.
    pub fn open(&mut self, run: Open) -> Result<Option<String>, Failure> {
        let Answer::Opened { authority_pem } = self.ask(Ask::Open(Box::new(run)), &[])? else {
            return Err(Failure::Answer);
        };
        Ok(authority_pem)
    }

    /// Hands over what the sandbox has passed out; from now on the run is served. This side's descriptors are closed.
    ///
    /// # Errors
    /// [`Failure`]; if the gate refused, nothing of the run is served, but it is still open.
    pub fn serve(&mut self, run: &str, sockets: Sockets) -> Result<(), Failure> {
        let descriptors: Vec<BorrowedFd<'_>> = sockets.descriptors().collect();
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(Failure::Descriptors);
        }
        let ask = Ask::Serve { run: run.to_owned(), counts: Counts::of(&sockets) };
        let Answer::Serving {} = self.ask(ask, &descriptors)? else { return Err(Failure::Answer) };
        Ok(())
    }

    /// Cuts everything of a run and tells what it did.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn close(&mut self, run: &str) -> Result<RunReport, Failure> {
        let Answer::Closed { report } = self.ask(Ask::Close { run: run.to_owned() }, &[])? else {
            return Err(Failure::Answer);
        };
        Ok(*report)
    }

    /// Sums over all runs, past ones too.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn metrics(&mut self) -> Result<Totals, Failure> {
        let Answer::Metrics { totals } = self.ask(Ask::Metrics {}, &[])? else { return Err(Failure::Answer) };
        Ok(totals)
    }

    fn ask(&mut self, body: Ask, descriptors: &[BorrowedFd<'_>]) -> Result<Answer, Failure> {
        self.number += 1;
        let bytes = frame::encode(&Numbered { number: self.number, body }).ok_or(Failure::TooLarge)?;
        let until = Instant::now() + self.patience;
        self.waiting(PollFlags::OUT, until, |socket| frame::send(socket, &bytes, descriptors))?;
        loop {
            let frame = self.waiting(PollFlags::IN, until, |socket| frame::receive(socket, Beside::Nothing))?;
            let Frame::Whole(bytes, _) = frame else {
                return Err(if matches!(frame, Frame::End) { Failure::Gone } else { Failure::Answer });
            };
            let answer: Numbered<Answer> = serde_json::from_slice(&bytes).map_err(|_| Failure::Answer)?;
            // Answers to questions that nobody waits for any more are passed over, for as long as this one may take.
            if Instant::now() >= until {
                return Err(Failure::Slow(self.patience));
            }
            if answer.number == self.number {
                return if let Answer::Failed(refused) = answer.body {
                    Err(Failure::Refused(refused))
                } else {
                    Ok(answer.body)
                };
            }
        }
    }

    /// Does something with the socket as soon as it can be done.
    fn waiting<T>(
        &self,
        ready: PollFlags,
        until: Instant,
        mut act: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T, Failure> {
        loop {
            match act(self.socket.as_fd()) {
                Ok(done) => return Ok(done),
                Err(error) if frame::is_end(&error) => return Err(Failure::Gone),
                Err(error) if is_for_later(&error) => {}
                Err(error) => return Err(Failure::Socket(error)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Slow(self.patience));
            }
            let timeout = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut [PollFd::new(&self.socket, ready)], timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::Socket(error.into())),
            }
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
