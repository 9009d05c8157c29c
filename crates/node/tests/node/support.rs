//! One node of a test's own, and what the machine looks like when it is gone.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_testkit::{Call, Folder, User, call, processes_with};

use crate::http::{self, Answer, Whole};

pub(crate) const NODE: &str = env!("CARGO_BIN_EXE_stockade-node");
/// How long something may take that takes a moment, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node, or what is left of one.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) folder: PathBuf,
    pub(crate) process: Child,
    home: Option<Folder>,
    /// The state of the call that started it, which holds nothing.
    _state: Folder,
}

/// The command, beside the node.
pub(crate) fn command() -> PathBuf {
    let command = Path::new(NODE).with_file_name("stockade");
    assert!(command.is_file(), "`cargo build -p stockade` makes the command that the node needs");
    command
}

/// What a node is told whose engines have users of their own: root starts it, and it becomes this user.
pub(crate) const AS_SERVICE: [&str; 2] = ["--run-as", "61234"];
/// And what one is told that an ordinary user starts, who has no ids to give.
const SHARED: &str = "--shared-user";

/// What templates load, built by `cargo xtask warm-library` beside the tests.
pub(crate) fn warm_library() -> PathBuf {
    if let Some(named) = std::env::var_os("STOCKADE_WARM_LIBRARY") {
        return named.into();
    }
    // target/TRIPLE/PROFILE/stockade-node
    let target = Path::new(NODE).ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap();
    let triple = target.file_name().unwrap();
    target.parent().unwrap().join("library").join(triple).join("release/libstockade_warm.so")
}

/// `stockade-node start` in a folder; everybody may connect. By root with [`AS_SERVICE`], else by an ordinary user.
pub(crate) fn starting(folder: &Path, flags: &[&str]) -> Call {
    starting_by(&[], folder, flags)
}

/// The same by another program, which becomes it.
fn starting_by(words: &[String], folder: &Path, flags: &[&str]) -> Call {
    command();
    let is_service = flags.contains(&"--run-as");
    let is_warm = flags.windows(2).any(|flag| flag[0] == "--warm" && flag[1] != "0");
    let user = if is_service { User::Caller } else { User::Ordinary };
    let started = match words {
        [] => call(NODE, user),
        [program, words @ ..] => call(program, user).args(words).arg(NODE),
    };
    let started = started
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .arg("start")
        .args((!is_service).then_some(SHARED))
        .args(if flags.contains(&"--socket-mode") { [].as_slice() } else { &["--socket-mode", "666"] })
        .arg("--folder")
        .arg(folder)
        .arg("--socket")
        .arg(socket_of(folder))
        .args(flags)
        .env("STOCKADE_LOG", "info");
    if is_warm { started.env("STOCKADE_WARM_LIBRARY", warm_library()) } else { started }
}

impl Node {
    /// A node in a fresh folder.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let home = Folder::new();
        let folder = home.path().join("node");
        let mut node = Self::within(&folder, flags);
        node.home = Some(home);
        node
    }

    /// A node in this folder, when it serves.
    pub(crate) fn within(folder: &Path, flags: &[&str]) -> Self {
        Self::by(&[], folder, flags)
    }

    /// The same by another program, which becomes it.
    pub(crate) fn by(words: &[String], folder: &Path, flags: &[&str]) -> Self {
        let mut node = Self::launch(starting_by(words, folder, flags), folder);
        node.until_ready();
        node
    }

    /// The same, with the folder that it lies in, until its end.
    pub(crate) fn keeping(self, home: Folder) -> Self {
        let mut node = self;
        node.home = Some(home);
        node
    }

    fn launch(call: Call, folder: &Path) -> Self {
        let (mut process, state) = call.start();
        // Its log is read, so that it never waits for us; it is shown when a test fails.
        let log = process.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(log)).map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        Self { folder: folder.to_owned(), process, home: None, _state: state }
    }

    fn until_ready(&mut self) {
        until("the node serves", || {
            assert!(self.process.try_wait().unwrap().is_none(), "the node ended");
            // It listens before it can run anything, and answers after that.
            UnixStream::connect(self.socket())
                .and_then(|stream| http::send(stream, "GET", "/livez", &[], b""))
                .is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Starts it again in the same folder, after its end.
    pub(crate) fn again(mut self, flags: &[&str]) -> Self {
        let home = self.home.take();
        let folder = self.folder.clone();
        drop(self);
        let mut node = Self::within(&folder, flags);
        node.home = home;
        node
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_of(&self.folder)
    }

    pub(crate) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    /// A request, as the user who runs the tests.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::send(self.connect(), method, path, headers, body).unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Whole {
        self.send("GET", path, &[], b"").whole().unwrap()
    }

    #[track_caller]
    pub(crate) fn post(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.ask("POST", "/v1/runs", headers, body)
    }

    /// A request of JSON.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send(method, path, &all, body.to_string().as_bytes())
    }

    /// Runs code to its end.
    #[track_caller]
    pub(crate) fn run(&self, code: &str) -> Value {
        self.post(&[], &json!({ "code": code })).whole().unwrap().expect(200).json()
    }

    /// Has code accepted, and does not wait for it.
    #[track_caller]
    pub(crate) fn submit(&self, code: &str) -> String {
        let answer = self.post(&[("prefer", "respond-async")], &json!({ "code": code }));
        answer.whole().unwrap().expect(202).json()["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn show(&self, run: &str) -> Value {
        self.get(&format!("/v1/runs/{run}")).expect(200).json()
    }

    #[track_caller]
    pub(crate) fn until_state(&self, run: &str, state: &str) -> Value {
        until(&format!("the run is {state}"), || self.show(run)["state"] == state);
        self.show(run)
    }

    /// Waits until code that says so has begun.
    pub(crate) fn until_says(&self, run: &str, text: &str) {
        let path = format!("/v1/runs/{run}/events");
        let mut events = self.send("GET", &path, &[], b"").events();
        assert!(events.any(|event| event["text"].as_str().is_some_and(|said| said.contains(text))));
    }

    /// The launcher of this node.
    pub(crate) fn launcher(&self) -> u32 {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn supervisors(&self) -> Vec<u32> {
        let id = self.launcher();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    /// Asks it to end, and tells its status.
    pub(crate) fn end(&mut self) -> i32 {
        signal(self.process.id(), rustix::process::Signal::TERM);
        self.process.wait().unwrap().code().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        let folder = self.folder.clone();
        if !std::thread::panicking() {
            until("nothing of the node is alive", || alive(&folder).is_empty());
        }
    }
}

/// Beside the folder, where others may enter.
fn socket_of(folder: &Path) -> PathBuf {
    folder.with_file_name("node.sock")
}

/// Processes of the node in this folder, its supervisors and their sandboxes.
pub(crate) fn alive(folder: &Path) -> Vec<u32> {
    let of_node = processes_with(&folder.to_string_lossy());
    let lock = folder.join("lock");
    let holders = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let descriptors = std::fs::read_dir(entry.path().join("fd")).ok()?;
        descriptors.flatten().any(|one| std::fs::read_link(one.path()).is_ok_and(|to| to == lock)).then_some(id)
    });
    of_node.into_iter().chain(holders).collect()
}

/// Mounts of this machine.
pub(crate) fn mounts() -> std::collections::BTreeSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(ToOwned::to_owned).collect()
}

/// Files below the folder of runs, by their paths.
pub(crate) fn run_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("runs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

pub(crate) fn signal(id: u32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, signal).ok();
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A fresh folder that the node's user may write, and root may look into.
pub(crate) fn open_folder() -> Folder {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}
