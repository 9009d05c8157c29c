//! The commands of `docs/operate/node.md`, in order, as an ordinary user: what is shown is what they print.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use stockade_testkit::Folder;

use crate::support::{alive, command, signal, until};

const PAGE: &str = "../../docs/operate/node.md";
const ORDINARY: u32 = 61_234;

/// Whether a line is what a page shows, where `...` stands for any text.
fn fits(line: &str, shown: &str) -> bool {
    let Some((first, others)) = shown.split_once("...") else { return line == shown };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = others.split("...").collect();
    let last = parts.pop().unwrap();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Ends the page's node, should the page not come so far: without its launcher it does.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        for id in alive(&self.0.join("node")) {
            signal(id, rustix::process::Signal::KILL);
        }
    }
}

#[test]
fn the_page_shows_what_its_commands_do() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let folder = Folder::new();
    let programs = command().parent().unwrap().to_owned();
    let home = folder.path().to_owned();
    let run = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&home).stdin(Stdio::null()).env_clear();
        shell.env("HOME", &home).env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()));
        if rustix::process::geteuid().is_root() {
            shell.uid(ORDINARY).gid(ORDINARY);
        }
        shell.output().unwrap()
    };
    let _ended = Ended(&home);
    let mut lines = page.lines().peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line != "```console" {
            continue;
        }
        while let Some(command) = lines.next_if(|line| *line != "```") {
            let command = command.strip_prefix("$ ").unwrap_or_else(|| panic!("no command: {command}"));
            let output = run(command);
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let mut said = said.lines();
            while let Some(shown) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
                let line = said.next().unwrap_or_default();
                assert!(fits(line, shown), "{command}\n{line}\nis not\n{shown}");
            }
            assert_eq!(said.next(), None, "{command} prints more");
            assert!(output.status.success(), "{command}: {output:?}");
            if command.contains(" & echo $! >") {
                until("the node serves", || home.join("node.sock").exists());
            }
            count += 1;
        }
    }
    assert!(count >= 5, "{count} commands");
    until("the page ends its node", || alive(&home.join("node")).is_empty());
}
