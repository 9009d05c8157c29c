//! Networks of a test's own, joined by wires and by nothing to that of the machine.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use stockade_testkit::skipped;

/// The addresses of a node at each of its wires, and who is at the other end.
pub(crate) const WIRES: [(&str, &str); 2] = [("10.88.1.1", "10.88.1.2"), ("10.88.2.1", "10.88.2.2")];

/// A network, and what else is apart with it, until its value ends.
#[derive(Debug)]
pub(crate) struct Network {
    holder: Child,
    entered: &'static [(&'static str, &'static str)],
}

impl Network {
    /// One with nobody in it.
    pub(crate) fn new() -> Self {
        Self::with(&["--net"], &[("net", "net")], "", &[])
    }

    /// One with mounts and processes of its own, after a script has done there what it does with these words. Whatever
    /// is in it ends with it.
    pub(crate) fn with_mounts(script: &str, words: &[&str]) -> Self {
        let apart = ["--net", "--mount", "--pid"];
        Self::with(&apart, &[("net", "net"), ("mount", "mnt"), ("pid", "pid_for_children")], script, words)
    }

    fn with(apart: &[&str], entered: &'static [(&'static str, &'static str)], script: &str, words: &[&str]) -> Self {
        // What is orphaned here is this shell's; `wait` takes what is left of it.
        let script = format!("set -eu\n{script}\necho apart\nexec 3<&0\ncat <&3 &\nwait $!\n");
        let mut unshare = Command::new("unshare");
        unshare.args(apart).args(["--kill-child", "--fork", "sh", "-c", &script, "sh"]).args(words);
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let network = Self { holder, entered };
        assert_eq!(said, "apart\n");
        network.wire("link set lo up\n");
        network
    }

    /// The words that enter it, before those of a command.
    pub(crate) fn entering(&self) -> Vec<String> {
        let id = self.holder.id();
        let flags = self.entered.iter().map(|(flag, file)| format!("--{flag}=/proc/{id}/ns/{file}"));
        ["nsenter".to_owned()].into_iter().chain(flags).chain(["--".to_owned()]).collect()
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let words = self.entering();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program);
        command
    }

    /// Moves the caller's thread here, with the files of the test: what it starts and binds from now on is here.
    pub(crate) fn enter(&self) {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// A host at the other end of a new wire.
    pub(crate) fn joined(&self, number: usize) -> Self {
        let host = Self::new();
        let ((ours, theirs), id) = (WIRES[number], host.holder.id());
        self.wire(&format!(
            "link add w{number} type veth peer name w netns {id}\naddr add {ours}/24 dev w{number}\nlink set w{number} up\n"
        ));
        host.wire(&format!("addr add {theirs}/24 dev w\nlink set w up\n"));
        host
    }

    /// Hands these lines to `ip`, in this network and among all processes: it names others.
    fn wire(&self, lines: &str) {
        let mut ip = Command::new("nsenter");
        ip.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).args(["ip", "-batch", "-"]);
        let mut ip = ip.stdin(Stdio::piped()).spawn().unwrap();
        ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(ip.wait().unwrap().success(), "ip refused one of:\n{lines}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// Whether networks can be made here; says why not.
pub(crate) fn possible() -> bool {
    let missing = ["/usr/bin/curl", "/usr/bin/nsenter"].into_iter().find(|path| !Path::new(path).exists());
    let why = match missing {
        _ if !rustix::process::geteuid().is_root() => "the tests are run by an ordinary user".to_owned(),
        Some(program) => format!("{program} is not there"),
        None => return true,
    };
    skipped("hosts at two wires", &why);
    false
}
