//! The inside of a sandbox as a process: a network namespace of its own, whose sockets come out of it.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};
use stockade_egress::{Budget, Gate, NewRun, Sockets};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::world::rules;

/// A process inside.
pub(crate) struct Inside {
    child: Child,
    orders: BufReader<UnixStream>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts the process; `None` where no namespace can be made.
pub(crate) fn start(spec: &Value) -> Option<(Child, StdUnixStream)> {
    if !Command::new("unshare").args(["-Urn", "true"]).status().is_ok_and(|status| status.success()) {
        println!("SKIPPED: no network namespace can be made here");
        return None;
    }
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let mut command = Command::new("unshare");
    let code = include_str!("inside.py");
    command.args(["-Urn", "python3", "-c", code, &spec.to_string()]).stdin(OwnedFd::from(theirs));
    let child = command.stdout(Stdio::null()).spawn().ok()?;
    ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    Some((child, ours))
}

/// What one namespace passes out.
pub(crate) fn passed_out(control: &StdUnixStream) -> Sockets {
    let (mut bytes, mut space) = ([0; 64], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))]);
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = rustix::net::recvmsg(control, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags).unwrap();
    assert_ne!(received.bytes, 0, "the process inside has ended");
    let RecvAncillaryMessage::ScmRights(descriptors) = beside.drain().next().unwrap() else { panic!("no descriptors") };
    let mut rest = descriptors;
    let [proxies, transparent, watchers]: [usize; 3] =
        serde_json::from_str(std::str::from_utf8(&bytes).unwrap().trim_end()).unwrap();
    Sockets {
        proxies: rest.by_ref().take(proxies).collect(),
        resolver: rest.next(),
        transparent: rest.by_ref().take(transparent).collect(),
        watchers: rest.by_ref().take(watchers).collect(),
    }
}

impl Inside {
    /// A namespace with these ports, served by `gate` as the run `id`.
    pub(crate) fn add(gate: &Gate, id: &str, grants: &[impl AsRef<str>], ports: &[u16]) -> Option<Self> {
        Self::with(gate, id, grants, &json!({ "ports": ports }), Budget::default())
    }

    pub(crate) fn with(
        gate: &Gate,
        id: &str,
        grants: &[impl AsRef<str>],
        spec: &Value,
        budget: Budget,
    ) -> Option<Self> {
        let (child, control) = start(spec)?;
        let sockets = passed_out(&control);
        let run = NewRun { id: id.to_owned(), rules: rules(grants), budget, ..NewRun::default() };
        gate.add(run, sockets).unwrap();
        control.set_nonblocking(true).unwrap();
        Some(Self { child, orders: BufReader::new(UnixStream::from_std(control).unwrap()) })
    }

    /// Has something done and returns what came of it.
    pub(crate) async fn order(&mut self, order: Value) -> Value {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(60), self.orders.read_line(&mut line)).await;
        assert!(read.expect("the process inside keeps silent").unwrap() > 0, "the process inside has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// The made-up address of a granted name.
    pub(crate) async fn address(&mut self, name: &str) -> String {
        let answer = self.order(json!({ "do": "lookup", "name": name })).await;
        answer["address"].as_str().unwrap_or_else(|| panic!("{name}: {answer}")).to_owned()
    }

    /// Sends a word to an address and returns what comes back, or the name of the error.
    pub(crate) async fn exchange(&mut self, address: &str, port: u16) -> String {
        let answer = self.order(json!({ "do": "exchange", "to": [address, port] })).await;
        let said = answer.get("got").or(answer.get("error"));
        said.and_then(Value::as_str).unwrap().to_owned()
    }
}
