//! A node that benchmarks ask over HTTP, and where its programs lie.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A program beside the benchmark.
pub(crate) fn program(name: &str) -> PathBuf {
    // target/TRIPLE/PROFILE/examples/warm
    std::env::current_exe().unwrap().parent().unwrap().with_file_name(name)
}

/// A node of its own, until it is dropped.
pub(crate) struct Node {
    process: Child,
    socket: PathBuf,
    _home: tempfile::TempDir,
}

impl Node {
    /// Started by root its runs have users of their own, as a service's have.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let users: &[&str] = if rustix::process::geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
            &["--run-as", "61234", "--socket-mode", "666"]
        } else {
            &["--shared-user", "--socket-mode", "600"]
        };
        let socket = home.path().join("node.sock");
        let process = Command::new(program("stockade-node"))
            .arg("start")
            .args(users)
            .args(flags)
            .arg("--folder")
            .arg(home.path().join("node"))
            .arg("--socket")
            .arg(&socket)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, socket, _home: home }
    }

    /// As soon as it serves.
    pub(crate) fn connect(&self) -> BufReader<UnixStream> {
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => break BufReader::new(stream),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A request over a connection that stays, and the body of its answer.
pub(crate) fn post(stream: &mut BufReader<UnixStream>, path: &str, body: &str) -> String {
    ask(stream, ("POST", path), body)
}

/// The same with any method.
pub(crate) fn ask(stream: &mut BufReader<UnixStream>, (method, path): (&str, &str), body: &str) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}
