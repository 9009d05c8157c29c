//! A build jail made with bubblewrap, for tests only: it keeps the contract of `Jail`, with the
//! listener of the gate made inside and passed out, as the launcher does it.

use std::io::{BufRead, BufReader, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use stockade_egress::event::What;
use stockade_egress::{Event, Gate, NewRun, Rules, Sink, Sockets, SystemResolver};
use stockade_environments::{Denied, Ended, Interpreter, Jail, JailFailure, JailOutcome, JailStep, Progress};

/// Runs a step on scratch in memory, and hands out what it left.
const SHIM: &str = "
import os, shutil, socket, subprocess, sys
if os.path.exists('/gate.sock'):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('127.0.0.1', 3128))
    listener.listen(64)
    out = socket.socket(socket.AF_UNIX)
    out.connect('/gate.sock')
    socket.send_fds(out, [b'x'], [listener.fileno()])
    listener.close(); out.close()
code = subprocess.call(sys.argv[1:])
shutil.copytree('/job', '/out', symlinks=True, dirs_exist_ok=True)
sys.exit(code)
";

/// An interpreter of this machine.
pub(crate) struct Python {
    pub interpreter: Interpreter,
    prefix: PathBuf,
}

impl Python {
    pub(crate) fn of_this_machine() -> Self {
        let script = "import sys,platform,os
v='%d.%d'%sys.version_info[:2]
print(sys.base_prefix);print(platform.python_version());print('cp'+v.replace('.',''));print('linux_'+platform.machine());print(v)
print((os.confstr('CS_GNU_LIBC_VERSION') or '') if 'CS_GNU_LIBC_VERSION' in os.confstr_names else '')";
        let output = Command::new("python3").args(["-I", "-c", script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let prefix = PathBuf::from(lines[0]);
        // Shown at its own path: an interpreter with a shared library finds it by that path.
        let inside = prefix.display();
        let interpreter = Interpreter {
            inside_executable: format!("{inside}/bin/python{}", lines[4]),
            version: lines[1].into(),
            abi: lines[2].into(),
            platform: lines[3].into(),
            glibc: glibc(lines.get(5).copied().unwrap_or_default()),
        };
        Self { interpreter, prefix }
    }

    /// The walls, without a program.
    pub(crate) fn walls(&self) -> Command {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]);
        command.args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]);
        command.args(["--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        if self.prefix != Path::new("/usr") {
            command.arg("--ro-bind").arg(&self.prefix).arg(&self.prefix);
        }
        command
    }
}

pub(crate) fn bwrap_is_here() -> bool {
    let works = Command::new("bwrap").args(["--unshare-all", "--ro-bind", "/", "/", "true"]).status();
    works.is_ok_and(|status| status.success())
}

/// Keeps the names of the steps it ran.
pub(crate) struct BubblewrapJail<'a> {
    pub python: &'a Python,
    pub steps: Vec<String>,
}

impl Jail for BubblewrapJail<'_> {
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure> {
        self.steps.push(step.name.to_owned());
        let scratch = tempfile::tempdir().unwrap();
        let job = scratch.path().join("job");
        std::fs::create_dir(&job).unwrap();
        let mut command = self.python.walls();
        // One limit for each, where the launcher has one for both.
        let bytes = step.scratch_bytes_max.to_string();
        command.args(["--size", &bytes, "--tmpfs", "/job", "--size", &bytes, "--tmpfs", "/tmp", "--chdir", "/job"]);
        command.arg("--bind").arg(&job).arg("/out");
        for shown in &step.shown {
            command.arg("--ro-bind").arg(&shown.outside).arg(&shown.inside);
        }
        for (name, value) in &step.vars {
            command.args(["--setenv", name, value]);
        }
        let socket = scratch.path().join("gate.sock");
        let listener = (!step.hosts.is_empty()).then(|| UnixListener::bind(&socket).unwrap());
        if listener.is_some() {
            command.arg("--bind").arg(&socket).arg("/gate.sock");
        }
        command.args([&self.python.interpreter.inside_executable, "-I", "-c", SHIM]);
        command.args(&step.argv).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let rules = Rules::new(step.hosts.iter().map(|host| host.parse().unwrap()).collect());
        let started = std::time::Instant::now();
        let outcome = run(command, listener, rules, step.on_line);
        let ran = started.elapsed();
        collect(&job, &step.outputs)?;
        let collected = started.elapsed().saturating_sub(ran);
        println!("step {}: ran {ran:?}, collected {collected:?}", step.name);
        Ok(outcome)
    }
}

fn run(mut command: Command, socket: Option<UnixListener>, rules: Rules, on_line: &mut dyn FnMut(&str)) -> JailOutcome {
    let refused = Arc::new(Refused::default());
    let mut child = command.spawn().unwrap();
    let ended = std::thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        if let Some(socket) = socket {
            let refused = Arc::clone(&refused);
            scope.spawn(move || serve(receive(&socket), rules, refused, stopped));
        }
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            on_line(&line.unwrap());
        }
        let status = child.wait().unwrap();
        drop(stop);
        status.code().map_or_else(|| Ended::Signalled(status.signal().unwrap()), Ended::Exited)
    });
    let denied = refused.0.lock().unwrap().clone();
    JailOutcome { ended, denied }
}

/// What the gate refused.
#[derive(Debug, Default)]
struct Refused(Mutex<Vec<String>>);

impl Sink for Refused {
    fn take(&self, event: &Event) -> std::io::Result<()> {
        if let What::Refused { asked, why, .. } = &event.what {
            self.0.lock().unwrap().push(format!("network to {asked} ({why})"));
        }
        Ok(())
    }
}

/// Serves the listener until the step is over.
fn serve(listener: OwnedFd, rules: Rules, sink: Arc<Refused>, stopped: tokio::sync::oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let gate = Gate::new(Arc::new(SystemResolver::new().unwrap()), sink);
        let run = NewRun { id: "jail".to_owned(), rules, ..NewRun::default() };
        gate.add(run, Sockets::proxies(vec![listener])).unwrap();
        // Its end is the sender's drop.
        drop(stopped.await);
        gate.remove("jail").await.unwrap();
    });
}

/// The listening socket that the shim made inside.
fn receive(socket: &UnixListener) -> OwnedFd {
    let (peer, _) = socket.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(&peer, &mut [IoSliceMut::new(&mut [0; 1])], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let received = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    received.unwrap()
}

/// Regular files and folders only, as the launcher's collector.
fn collect(from: &Path, to: &Path) -> Result<(), JailFailure> {
    for item in std::fs::read_dir(from).unwrap().flatten() {
        let (path, place) = (item.path(), to.join(item.file_name()));
        let kind = item.file_type().unwrap();
        if kind.is_dir() {
            std::fs::create_dir(&place).unwrap();
            collect(&path, &place)?;
        } else if kind.is_file() {
            std::fs::copy(&path, &place).unwrap();
        } else {
            let what = format!("{} is no regular file", path.display());
            return Err(JailFailure { what, why: "refused".into(), next: "-".into() });
        }
    }
    Ok(())
}

/// Remembers what a person would have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub steps: Vec<(std::time::Duration, String)>,
    pub bytes: Option<(u64, u64)>,
    pub denied: Vec<Denied>,
    started: Option<std::time::Instant>,
}

impl Progress for Seen {
    fn step(&mut self, what: &str) {
        let started = *self.started.get_or_insert_with(std::time::Instant::now);
        self.steps.push((started.elapsed(), what.to_owned()));
    }

    fn bytes(&mut self, done: u64, total: u64) {
        self.bytes = Some((done, total));
    }

    fn denied(&mut self, denied: &Denied) {
        self.denied.push(denied.clone());
    }
}

/// `glibc 2.36`
fn glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
