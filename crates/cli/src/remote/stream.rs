//! What a run says, followed to its end over as many connections as it takes.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use stockade_core::text;
use stockade_launch::Neutraliser;
use ureq::Body;
use ureq::http::Response;

use super::http::Node;
use super::{Ended, interrupts, nonsense};
use crate::problem::Problem;

/// Longest event: a report of a run with as many outputs as may be.
const EVENT_BYTES_MAX: u64 = 16 << 20;
/// Connections in a row that bring nothing.
const FRUITLESS_MAX: u32 = 3;

/// Something that happened in a run.
#[derive(Debug, Deserialize)]
struct Event {
    seq: i64,
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    base64: Option<String>,
    data: Option<Value>,
    run: Option<String>,
}

/// Passes on what the run says, until it has ended; tells its name, and how it ended.
pub(super) fn follow(node: &Node, answer: Response<Body>, raw: bool) -> Result<(String, Ended), Problem> {
    let mut following = Following { node, run: None, seen: 0, streams: Streams::new(raw), ended: None };
    let mut fruitless = 0;
    let mut answer = Ok(answer);
    loop {
        let before = following.seen;
        let broken = match answer {
            Ok(body) => following.read(body)?,
            Err(problem) if following.run.is_none() => return Err(problem),
            Err(problem) => Some(problem),
        };
        if let (Some(ended), Some(run)) = (following.ended.take(), following.run.clone()) {
            following.streams.finish();
            return Ok((run, ended));
        }
        fruitless = if following.seen > before { 0 } else { fruitless + 1 };
        let Some(run) = following.run.as_deref().filter(|_| fruitless < FRUITLESS_MAX) else {
            return Err(following.lost(broken));
        };
        answer = node.get(&format!("/v1/runs/{run}/events?from={}", following.seen + 1));
    }
}

struct Following<'a> {
    node: &'a Node,
    run: Option<String>,
    seen: i64,
    streams: Streams,
    ended: Option<Ended>,
}

impl Following<'_> {
    /// Reads one answer to its end; tells why it broke off, if it did.
    fn read(&mut self, answer: Response<Body>) -> Result<Option<Problem>, Problem> {
        let mut lines = BufReader::new(answer.into_body().into_reader());
        let mut line = Vec::new();
        while self.ended.is_none() {
            line.clear();
            match lines.by_ref().take(EVENT_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => break,
                // Half a line is none; it comes again.
                Ok(_) if line.last() != Some(&b'\n') => break,
                Ok(1) => {}
                Ok(_) => self.take(serde_json::from_slice(&line).map_err(nonsense)?)?,
                Err(error) => return Ok(Some(self.node.unreachable(&error))),
            }
        }
        Ok(None)
    }

    fn take(&mut self, event: Event) -> Result<(), Problem> {
        if event.seq <= self.seen {
            return Ok(());
        }
        self.seen = event.seq;
        if let Some(run) = event.run.filter(|_| self.run.is_none()) {
            if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(nonsense("a run has another name"));
            }
            interrupts::cancel(self.node, &run)?;
            self.run = Some(run);
        }
        let said = |text: Option<String>, base64: Option<String>| match (text, base64) {
            (Some(text), _) => Ok(text.into_bytes()),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(nonsense),
            (None, None) => Ok(Vec::new()),
        };
        match event.kind.as_str() {
            "stdout" => self.streams.out.write(&said(event.text, event.base64)?, &mut std::io::stdout().lock()),
            "stderr" => self.streams.error.write(&said(event.text, event.base64)?, &mut std::io::stderr().lock()),
            "result" => {
                let ended = event.data.ok_or_else(|| nonsense("a run ended without an outcome"))?;
                self.ended = Some(serde_json::from_value(ended).map_err(nonsense)?);
            }
            // The report has them all.
            _ => {}
        }
        Ok(())
    }

    fn lost(&self, broken: Option<Problem>) -> Problem {
        let why = broken.map_or_else(|| "it breaks connections off".to_owned(), |problem| problem.what().to_owned());
        let next = match &self.run {
            Some(run) => format!("the run goes on if the node does: ask for /v1/runs/{} later", text::shown(run, 40)),
            None => "send it again".to_owned(),
        };
        Problem::new("the node cannot be followed any more", why, next)
    }
}

/// Where the run's streams go.
struct Streams {
    out: Stream,
    error: Stream,
}

impl Streams {
    fn new(raw: bool) -> Self {
        let stream = |is_terminal: bool| Stream { filter: (is_terminal && !raw).then(Neutraliser::default) };
        Self { out: stream(std::io::stdout().is_terminal()), error: stream(std::io::stderr().is_terminal()) }
    }

    /// Colours that the code left on would stay.
    fn finish(&mut self) {
        for (stream, to) in
            [(&self.out, &mut std::io::stdout() as &mut dyn Write), (&self.error, &mut std::io::stderr())]
        {
            if stream.filter.as_ref().is_some_and(Neutraliser::left_colours) {
                drop(to.write_all(b"\x1b[0m"));
            }
        }
    }
}

struct Stream {
    filter: Option<Neutraliser>,
}

impl Stream {
    /// A reader that went away is no error: the run goes on, as it does here.
    fn write(&mut self, bytes: &[u8], to: &mut impl Write) {
        let shown = self.filter.as_mut().map(|filter| filter.pass(bytes));
        drop(to.write_all(shown.as_deref().unwrap_or(bytes)).and_then(|()| to.flush()));
    }
}
