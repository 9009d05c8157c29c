//! One side of a world: its namespaces, its servers and what they heard.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use super::{Heard, certificates};

/// Processes are in a namespace of their own so that they end with their first; what they share by System V
/// means, too. The one that `unshare` itself stays in tells the others to others.
pub(super) const NAMESPACES: [&str; 6] = ["--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child"];

const SERVER: &str = include_str!("server.py");

/// Waits for its wire, then becomes the servers. `/etc` is changed for this side only.
const FIRST: &str = r#"
set -e
mount --bind hosts /etc/hosts
mount --bind resolv.conf /etc/resolv.conf
if [ -d certs ]; then mount --bind certs /etc/ssl/certs; fi
echo apart
read -r wired
exec python3 -c "$@"
"#;

/// Enters, goes back to the folder of the caller, and becomes the command. Ids stay as they are: every step
/// executes the next.
const ENTER: &str = r#"
here=$(pwd -P)
id=$1
shift
exec nsenter --net="/proc/$id/ns/net" --mount="/proc/$id/ns/mnt" -- sh -c 'cd "$0" && exec "$@"' "$here" "$@"
"#;

#[derive(Debug)]
pub(super) struct Side {
    first: Child,
    said: Mutex<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Side {
    pub(super) fn new(place: &str, folder: &Path, postgres: Option<&Path>) -> Self {
        let log = folder.join(format!("{place}.log"));
        std::fs::write(&log, "").unwrap();
        let mut command = Command::new("unshare");
        command.args(NAMESPACES).args(["sh", "-c", FIRST, "sh", SERVER]);
        command.arg(&log).arg(folder.join(certificates::CERTIFICATE)).arg(folder.join(certificates::KEY)).arg(place);
        if let Some(programs) = postgres {
            let data = folder.join("postgres");
            std::fs::create_dir(&data).unwrap();
            command.arg(programs).arg(data);
        }
        let mut first = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = Mutex::new(BufReader::new(first.stdout.take().unwrap()));
        let side = Self { first, said, log };
        expect(&mut side.said.lock().unwrap(), "apart");
        side
    }

    /// The process whose network and mounts are this side's.
    pub(super) fn id(&self) -> u32 {
        self.first.id()
    }

    /// Hands these lines to `ip`.
    pub(super) fn wire(&self, lines: &str) {
        let mut ip = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.id()))
            .args(["ip", "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "ip refused one of:\n{lines}");
    }

    pub(super) fn begin(&mut self) {
        self.tell("wired");
    }

    pub(super) fn wait_until_ready(&self) {
        expect(&mut self.said.lock().unwrap(), "ready");
    }

    /// A command that will be the words added to it, on this side.
    pub(super) fn enter(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh", &self.id().to_string()]);
        command
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        let mut said = self.said.lock().unwrap();
        self.tell("tell");
        expect(&mut said, "tell");
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines().map(heard).collect()
    }

    pub(super) fn forget(&self) {
        std::fs::write(&self.log, "").unwrap();
    }

    /// Who else is in this network.
    pub(super) fn strangers(&self) -> BTreeMap<u32, String> {
        let network = |id: &str| std::fs::read_link(format!("/proc/{id}/ns/net")).ok();
        let ours = network(&self.id().to_string());
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let here = ids.filter(|id| network(&id.to_string()) == ours && !self.is_own(*id));
        here.map(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            (id, String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
    }

    /// `unshare`, and what is in the processes' namespace that it made.
    fn is_own(&self, id: u32) -> bool {
        let inside = std::fs::read_link(format!("/proc/{}/ns/pid_for_children", self.id())).unwrap();
        id == self.id() || std::fs::read_link(format!("/proc/{id}/ns/pid")).is_ok_and(|of| of == inside)
    }

    fn tell(&self, word: &str) {
        writeln!(self.first.stdin.as_ref().unwrap(), "{word}").unwrap();
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        // Should the servers not have noticed, the kernel kills them with it.
        for _ in 0..500 {
            match self.first.try_wait() {
                Ok(None) => std::thread::sleep(std::time::Duration::from_millis(10)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        drop(self.first.kill());
        drop(self.first.wait());
    }
}

#[track_caller]
fn expect(said: &mut BufReader<ChildStdout>, word: &str) {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), word, "a side of the world broke");
}

fn heard(line: &str) -> Heard {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    Heard { service: text("service"), at: text("at"), what: text("what"), line }
}
