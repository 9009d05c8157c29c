//! The same where the launcher is root of a user namespace and of nothing else, as the node's is.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Pid;
use stockade_launch::cgroup::{self, Delegated};
use stockade_launch::users::{self, Map};

use crate::scene;

/// The word by which this program starts itself in a namespace.
pub const WITHIN: &str = "--within-namespace";
/// Who is root of it.
const USER: u32 = 61_234;

/// Runs a test in a process that is root of a namespace of these users, in a cgroup that was delegated to it.
pub fn outside(name: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([WITHIN, name])
        .env(scene::FIRST_ID, scene::first_id().to_string())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    let process = Pid::from_child(&child);
    let map = Map { root: USER, first: scene::first_id(), count: scene::IDS };
    users::write_maps(process, map, map).unwrap();
    let delegated = Delegated::make(&cgroup::find(), USER, USER);
    match &delegated {
        Ok(delegated) => delegated.attach(process).unwrap(),
        Err(failure) => println!("SKIPPED: groups of a namespace's root: {failure}"),
    }
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    print!("{rest}");
    assert!(child.wait().unwrap().success(), "{name}");
    delegated.into_iter().for_each(Delegated::remove);
}

/// The inner side: from here on nobody but root of the namespace.
pub fn inside(name: &str) {
    users::separate().unwrap();
    println!();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    users::become_root().unwrap();
    // By name, for the way here was hidden from others of its user.
    let failed = Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).exec();
    panic!("{failed}");
}
