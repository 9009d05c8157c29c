//! A container of the machine's own Python by podman, to compare with: there is no registry to have an image from.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Few: where nobody reaps what podman leaves to itself, each waits twenty seconds for it, after its output.
const ROUNDS: usize = 3;
/// What differs between machines: without cgroups where the runtime can do that, else with the other runtime.
const FLAGS: [&[&str]; 2] = [&["--runtime", "crun"], &["--runtime", "runc"]];

/// From the start of `podman run` to its output, microseconds; says so where there is none.
pub(crate) fn run(code: &str) -> Option<Vec<Duration>> {
    let program = std::env::var_os("STOCKADE_BENCH_PODMAN").unwrap_or_else(|| "podman".into());
    if Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("podman is not here: name it with STOCKADE_BENCH_PODMAN, or `apt install podman`");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    make_root(&root);
    let start = |flags: &[&str]| {
        let mut command = Command::new(&program);
        for folder in ["root", "runroot", "tmpdir"] {
            command.arg(format!("--{folder}")).arg(home.path().join(format!("of-podman-{folder}")));
        }
        command
            .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(flags);
        command.args(["run", "--rm", "--network=none", "--log-driver=none", "--read-only"]);
        if flags.contains(&"crun") {
            command.arg("--cgroups=disabled");
        }
        command.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--volume=/usr:/usr:ro", "--rootfs"]);
        command.arg(&root).args(["/usr/bin/python3", "-c", code]);
        let began = Instant::now();
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let time = began.elapsed();
        process.wait().unwrap();
        (line == "1\n").then_some(time)
    };
    let Some(flags) = FLAGS.into_iter().find(|flags| start(flags).is_some()) else {
        println!("podman is here, and runs nothing on this machine");
        return None;
    };
    Some((0..ROUNDS).filter_map(|_| start(flags)).collect())
}

/// Links to what is mounted, and folders to mount upon.
fn make_root(root: &Path) {
    for folder in ["usr", "etc", "tmp", "proc", "sys", "dev", "run"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(link), root.join(link)).unwrap();
    }
}
