//! Forks without any walls, to compare warm engines with.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The same imports without walls, which forks on orders.
pub(crate) struct Bare {
    child: Child,
    orders: ChildStdin,
    output: ChildStdout,
}

const BARE: &str = r#"
import ctypes, gc, importlib, os, sys
unshare = ctypes.CDLL(None).unshare
for name in sys.argv[1:]: importlib.import_module(name)
gc.collect(); gc.freeze()
sys.stdout.write("ready\n"); sys.stdout.flush()
os.set_blocking(0, True)
live = 0
while True:
    order = os.read(0, 1)
    if not order: break
    pid = os.fork()
    if pid == 0:
        # Of users, mounts, queues, the host's name, the network (sched.h): nothing is done with them.
        if order == b"n" and unshare(0x10000000 | 0x20000 | 0x8000000 | 0x4000000 | 0x40000000):
            os.write(1, b"!\n")
            os._exit(1)
        exec(compile("print(1)", "<string>", "exec"), {})
        sys.stdout.flush()
        os._exit(0)
    live += 1
    while live >= 4 or (live and os.waitpid(-1, os.WNOHANG)[0]):
        if live >= 4: os.waitpid(-1, 0)
        live -= 1
"#;

impl Bare {
    pub(crate) fn start(environment: Option<&Path>, modules: &[&str]) -> Self {
        let program = environment.map_or_else(|| PathBuf::from("python3"), |path| path.join("bin/python3"));
        let mut child = Command::new(program)
            .args(["-I", "-c", BARE])
            .args(modules)
            .env("OPENBLAS_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        output.read_exact(&mut [0; 6]).unwrap();
        Self { child, orders, output }
    }

    pub(crate) fn run(&mut self) {
        self.orders.write_all(b"x").unwrap();
        self.output.read_exact(&mut [0; 2]).unwrap();
    }

    pub(crate) fn run_many(&mut self, count: usize) {
        self.run_many_with(count, b'x');
    }

    /// Each with namespaces of its own, and no other wall: what the kernel takes for the least of a sandbox.
    #[allow(dead_code, reason = "one of two programs does this")]
    pub(crate) fn run_many_with_namespaces(&mut self, count: usize) {
        self.run_many_with(count, b'n');
    }

    fn run_many_with(&mut self, count: usize, order: u8) {
        // As many are in flight as of ours.
        self.orders.write_all(&[order; 3]).unwrap();
        for done in 0..count {
            if done + 3 < count {
                self.orders.write_all(&[order]).unwrap();
            }
            let mut answer = [0; 2];
            self.output.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"1\n");
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
