//! HTTP to a node, over its Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use stockade_core::text;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time::Duration as Patience,
};
use ureq::{Agent, Body, config::Config};

use crate::problem::{Problem, plain};

/// Longest document of a node's that is read: an outcome with its report.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// A node that is spoken to.
#[derive(Debug)]
pub(super) struct Node {
    agent: Agent,
    socket: PathBuf,
}

impl Node {
    /// The node at `unix:PATH`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Problem`] when the address has another form.
    pub(super) fn at(address: &str) -> Result<Self, Problem> {
        let path = address.strip_prefix("unix:").filter(|path| !path.is_empty()).ok_or_else(|| {
            Problem::new(
                format!("`{}` is no address of a node", text::shown(address, 200)),
                "nodes are reached over their Unix sockets",
                "--node unix:PATH, with the path that `stockade node start --socket` was given",
            )
        })?;
        let socket = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        let config = Config::builder().http_status_as_error(false).max_idle_connections(0).build();
        let agent = Agent::with_parts(config, ToSocket(socket.clone()), NoResolver);
        Ok(Self { agent, socket })
    }

    /// The same, for another thread.
    pub(super) fn again(&self) -> Self {
        Self { agent: self.agent.clone(), socket: self.socket.clone() }
    }

    /// Asks for a run, and comes back as soon as it begins to tell of it.
    pub(super) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Response<Body>, Problem> {
        let request = self.agent.post(url(path)).header("content-type", content_type);
        let answer = request.header("accept", "application/x-ndjson").send(body);
        self.accepted(answer)
    }

    pub(super) fn get(&self, path: &str) -> Result<Response<Body>, Problem> {
        self.accepted(self.agent.get(url(path)).call())
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Problem> {
        self.accepted(self.agent.delete(url(path)).call()).map(drop)
    }

    fn accepted(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Problem> {
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer)) }
    }

    /// That the node cannot be spoken to.
    pub(super) fn unreachable(&self, error: &impl std::fmt::Display) -> Problem {
        let said = error.to_string();
        let why = plain(said.strip_prefix("io: ").unwrap_or(&said));
        Problem::new(
            format!("no node answers at `{}`", text::shown(&self.socket.to_string_lossy(), 200)),
            why,
            "start one with `stockade node start`, or name the socket of one that runs",
        )
    }
}

/// The host is named, and means nothing: the socket says who answers.
fn url(path: &str) -> String {
    format!("http://node{path}")
}

/// What a node says when it refuses (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    title: String,
    detail: String,
    next: String,
}

fn refused(mut answer: Response<Body>) -> Problem {
    let status = answer.status();
    let said: Refusal = document(answer.body_mut()).unwrap_or_default();
    let or = |said: &str, other: &str| if said.is_empty() { other.to_owned() } else { text::shown(said, 600) };
    Problem::new(
        or(&said.title, &format!("the node answers {status}")),
        or(&said.detail, "it does not say why"),
        or(&said.next, "look at its log"),
    )
}

/// The one document that an answer holds.
pub(super) fn document<T: serde::de::DeserializeOwned>(body: &mut Body) -> std::io::Result<T> {
    let mut text = Vec::new();
    body.as_reader().take(DOCUMENT_BYTES_MAX).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(Into::into)
}

/// A name that stands for itself in a path (RFC 3986, 2.3), everything else as its bytes.
pub(super) fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Connects to the one socket, whatever is asked for.
#[derive(Debug)]
struct ToSocket(PathBuf);

impl Connector for ToSocket {
    type Out = Stream;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Stream>, ureq::Error> {
        Ok(Some(Stream::to(&self.0, details.config)?))
    }
}

#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // It is not looked at, and must not be empty.
        let mut addresses = self.empty();
        addresses.push(([0, 0, 0, 0], 0).into());
        Ok(addresses)
    }
}

/// A connection, with the buffers that the library wants.
struct Stream {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stream")
    }
}

impl Stream {
    fn to(socket: &Path, config: &Config) -> std::io::Result<Self> {
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Self { stream: UnixStream::connect(socket)?, buffers })
    }
}

/// How long is waited; none is for ever.
fn patience(timeout: NextTimeout) -> Option<Duration> {
    match timeout.after {
        Patience::Exact(time) => Some(time.max(Duration::from_millis(1))),
        Patience::NotHappening => None,
    }
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(patience(timeout))?;
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        match self.stream.write_all(output) {
            // A node that refuses need not read the rest: what it says is there to be read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_read_timeout(patience(timeout))?;
        let read = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_sockets_are_taken() {
        assert_eq!(Node::at("unix:///run/node.sock").unwrap().socket, Path::new("/run/node.sock"));
        assert_eq!(Node::at("unix:node.sock").unwrap().socket, Path::new("node.sock"));
        for address in ["", "unix:", "http://host:1", "/run/node.sock"] {
            assert!(Node::at(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("a b/ü?.txt"), "a%20b%2F%C3%BC%3F.txt");
    }

    #[test]
    fn a_refusal_is_told_that_comes_before_the_node_has_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let refusing = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            let body = r#"{"title":"this is not for you"}"#;
            let head = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length";
            stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        });
        // More than any socket holds, so it is still being written then.
        let node = Node::at(&format!("unix:{}", path.display())).unwrap();
        let refused = node.post("/v1/runs", "text/plain", &vec![b'x'; 32 << 20]).unwrap_err();
        refusing.join().unwrap();
        assert!(refused.to_string().contains("this is not for you"), "{refused}");
    }
}
