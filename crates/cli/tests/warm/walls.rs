//! An engine is held as a run is.

use std::process::Command;

use stockade_core::layer::{Layer, Layers};
use stockade_core::request::CgroupMode;

use crate::scene::{PRELUDE, Scene, made_environment, said, text};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

pub fn an_engine_has_every_layer_of_a_run() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let output = Command::new(STOCKADE).args(["run", "--json", "--cgroup", "off", "--", "/bin/true"]).output().unwrap();
    let report = String::from_utf8(output.stderr).unwrap();
    let engine = scene.engine().unwrap();
    for layer in Layer::ALL {
        // It is bounded by a cgroup, or by nobody yet.
        let is_of_run = layer != Layer::Watchdog && report.contains(&format!("\"{}\"", layer.name()));
        assert_eq!(engine.enforced().has(layer), is_of_run, "{layer}: {report}");
    }
    assert!(
        Layers::of(&[Layer::Landlock, Layer::LockedMounts, Layer::Seccomp]).missing_from(engine.enforced()).is_empty()
    );
}

pub fn the_memory_of_an_engine_is_bounded_by_its_cgroup() {
    let mut scene = Scene::start(None, &[], CgroupMode::Auto);
    let engine = scene.engine().unwrap();
    if !engine.enforced().has(Layer::Cgroup) {
        println!("SKIPPED: memory: this machine gives no cgroup");
        return;
    }
    drop(engine);
    let answer = scene.run("held = bytearray(1 << 30)\nfor at in range(0, 1 << 30, 4096): held[at] = 1\nprint('held')");
    assert_eq!((text(&answer.output), answer.ended), ("", stockade_engines::warm::Ended::Silent));
    // The neighbour is not in it.
    assert_eq!(text(&scene.run("print(1)").output), "1\n");
}

/// The attacks of the escape corpus that need nothing made for them.
const CORPUS: [&str; 4] = [
    include_str!("../escape/kernel_surface.rs"),
    include_str!("../escape/credentials.rs"),
    include_str!("../escape/information.rs"),
    include_str!("../escape/processes.rs"),
];

/// What differs by what it is: addresses, users and mounts have other numbers; an engine has the variables of its
/// template; and nobody is told of its refusals, so that no flood of them changes the answer.
const MAY_DIFFER: [&str; 7] = [
    "last",
    "environ",
    "names",
    "/proc/self/maps",
    "/proc/self/mountinfo",
    "/proc/self/mounts",
    "/proc/thread-self/mountinfo",
];

fn attacks() -> Vec<&'static str> {
    let mut found = Vec::new();
    for file in CORPUS {
        let mut rest = file;
        while let Some(start) = rest.find("r#\"") {
            let (before, after) = rest.split_at(start);
            let after = &after[3..];
            let end = after.find("\"#").unwrap();
            let code = &after[..end];
            let is_made = before.trim_end().ends_with("format!(");
            if !is_made && ["attempt(", "say(", "tries(", "opens("].iter().any(|word| code.contains(word)) {
                found.push(code);
            }
            rest = &after[end..];
        }
    }
    found
}

pub fn attacks_end_in_an_engine_as_in_a_run() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let attacks = attacks();
    assert!(attacks.len() >= 20, "{}", attacks.len());
    let mut tried = 0;
    let mut differences = Vec::new();
    for code in attacks {
        let run = Command::new(STOCKADE)
            .args(["run", "-q", "--cgroup", "off", "-c", &format!("{PRELUDE}\n{code}")])
            .output()
            .unwrap();
        let of_run = crate::scene::lines(text(&run.stdout));
        let answer = scene.attack(code);
        let of_engine = said(&answer);
        for (what, how) in &of_run {
            tried += 1;
            // The code's process has another id in an engine.
            let by_id = || what.strip_suffix(" 2").and_then(|what| of_engine.get(&format!("{what} 101")));
            let of_engine = of_engine.get(what).or_else(by_id);
            if of_engine != Some(how) && !MAY_DIFFER.contains(&what.as_str()) {
                let shown = |how: &str| how.chars().take(100).collect::<String>();
                let of_engine = of_engine.map(|how| shown(how));
                differences.push(format!("{what}: in a run {}, in an engine {of_engine:?}", shown(how)));
            }
        }
        assert!(of_engine.len() >= of_run.len(), "{code}\n{}", text(&answer.error));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(tried > 150, "{tried}");
}

pub fn a_template_is_walled_in_before_it_imports() {
    let held = format!(
        "
def tell():
{}
import io, contextlib
told = io.StringIO()
with contextlib.redirect_stdout(told): tell()
TOLD = told.getvalue()
",
        format!("{PRELUDE}\n{TEMPLATE_TRIES}").lines().map(|line| format!("    {line}\n")).collect::<String>()
    );
    let folder = made_environment(&[("held", &held)]);
    let mut scene = Scene::start(Some(folder.path()), &["held"], CgroupMode::Off);
    let answer = scene.run("import held; print(held.TOLD)");
    let said = said(&answer);
    assert_eq!(text(&answer.error), "");
    for (what, how) in &said {
        let permitted: &[&str] = match what.as_str() {
            "user" | "group" => &["1000"],
            "capabilities" => &["[0, 0]"],
            "unshare user" => &["done 0"],
            "proc" => &["done []", "ENOENT"],
            "listen" => &["done"],
            "connect" => &["ECONNREFUSED", "ENETUNREACH"],
            "shadow" | "root" => &["ENOENT"],
            "open usr" => &["EROFS", "EACCES"],
            _ => &["EPERM"],
        };
        assert!(permitted.contains(&how.as_str()), "{what}: {how}");
    }
    assert!(said.len() > 30, "{said:?}");
}

const TEMPLATE_TRIES: &str = r#"
say("user", os.getuid()); say("group", os.getgid())
NAMES = {"time": 0x80, "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000, "net": 0x40000000, "user and mount": 0x10020000}
for name, flag in NAMES.items():
    attempt(f"unshare {name}", lambda: call("unshare", flag))
    if name != "time": attempt(f"clone {name}", lambda: call("clone", flag | 17, 0, 0, 0, 0))
attempt("clone user", lambda: call("clone", 0x10000000 | 17, 0, 0, 0, 0))
attempt("setns pidfd", lambda: call("setns", call("pidfd_open", 1, 0), 0x10000000))
tries(
    ("mount", b"none", b"/tmp", b"tmpfs", 0, b""), ("umount2", b"/tmp", 2), ("pivot_root", b"/tmp", b"/tmp"), ("chroot", b"/tmp"),
    ("open_tree", -100, b"/", 1), ("move_mount", -100, b"/tmp", -100, b"/usr", 0), ("fsopen", b"tmpfs", 0),
    ("ptrace", 16, 1, 0, 0), ("process_vm_readv", 1, b"", 0, b"", 0, 0), ("process_vm_writev", 1, b"", 0, b"", 0, 0),
    ("bpf", 0, b"", 0), ("keyctl", 0, -3, 0), ("add_key", b"user", b"a", b"b", 1, -3), ("userfaultfd", 0), ("kcmp", 1, 1, 0, 0, 0),
    ("pidfd_getfd", 0, 0, 0), ("perf_event_open", b"\0" * 128, 0, -1, -1, 0), ("sethostname", b"a", 1), ("open_by_handle_at", -100, b"", 0),
)
attempt("proc", lambda: os.listdir("/proc"))
attempt("shadow", lambda: open("/etc/shadow")); attempt("root", lambda: os.listdir("/root"))
attempt("open usr", lambda: open("/usr/x", "w"))
def connect(address):
    with socket.socket() as one: one.settimeout(2); one.connect(address)
attempt("connect", lambda: connect(("127.0.0.1", 22))); attempt("connect", lambda: connect(("192.0.2.1", 80)))
"#;
