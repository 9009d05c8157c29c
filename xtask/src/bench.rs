//! Stockade beside a plain spawn and beside its peers, in turn, in one run; prints ratios.
//!
//! These machines are shared and noisy: what counts is the ratio of medians taken side by side.

mod compare;
mod environments;
mod tables;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools::{self, Done, has, say};

/// One command that is timed.
struct Case {
    name: &'static str,
    words: Vec<String>,
}

/// Whose clock counts.
#[derive(Clone, Copy)]
enum Clock {
    /// From the start of the command to its end.
    Whole,
    /// What the code prints of itself, in seconds: without the start.
    Own,
}

/// What a group of cases shows: the first is the base of the ratios.
struct Group {
    title: &'static str,
    rounds: usize,
    clock: Clock,
    cases: Vec<Case>,
}

/// Makes a `stockade run` of flags and words.
type Walls<'a> = &'a dyn Fn(&[&str], &[&str]) -> Vec<String>;

/// Times runs, or what is named.
pub(crate) fn bench(what: Option<&str>, part: Option<&str>) -> Done {
    match what {
        None => runs(),
        Some("environments") => environments::bench(part),
        Some("tables") => tables::bench(),
        Some("access") => example("stockade-identity", "speed"),
        Some("audit") => example("stockade-audit", "appends"),
        Some(other) => Err(format!(
            "there is no benchmark `{other}`: leave it out, or say `access`, `audit`, `environments` or `tables`"
        )),
    }
}

/// Runs what a package times by itself.
fn example(package: &str, name: &str) -> Done {
    tools::run(&["cargo", "run", "--release", "--quiet", "--package", package, "--example", name])
}

fn runs() -> Done {
    tools::run(&["cargo", "build", "--release", "--package", "stockade"])?;
    let stockade = tools::built("release/stockade");
    let python = resolved_python()?;
    let work = std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id()));
    std::fs::create_dir_all(&work).map_err(|error| error.to_string())?;
    let groups = groups(&stockade, &python, &work);
    for group in groups {
        measure(&group)?;
    }
    memory(&stockade)?;
    say("\nthe egress gate, on loopback");
    example("stockade-egress", "tunnel")?;
    std::fs::remove_dir_all(&work).map_err(|error| error.to_string())
}

fn groups(stockade: &Path, python: &str, work: &Path) -> Vec<Group> {
    let walls = |flags: &[&str], words: &[&str]| {
        let mut all = vec![stockade.to_string_lossy().into_owned(), "run".to_owned(), "--quiet".to_owned()];
        all.extend(flags.iter().chain(words).map(|word| (*word).to_owned()));
        all
    };
    let plain = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut start = vec![
        Case { name: "plain spawn", words: plain(&["/bin/true"]) },
        Case { name: "stockade, no cgroup", words: walls(&["--cgroup", "off"], &["--", "/bin/true"]) },
        Case { name: "stockade, cgroup", words: walls(&[], &["--", "/bin/true"]) },
        Case {
            name: "stockade, cgroup, one network grant",
            words: walls(&["--net", "granted.invalid"], &["--", "/bin/true"]),
        },
        Case {
            name: "stockade plan (no sandbox)",
            words: plain(&[&stockade.to_string_lossy(), "plan", "--", "/bin/true"]),
        },
    ];
    if has("bwrap") {
        start.push(Case { name: "bwrap", words: bwrap(&[], &["/bin/true"]) });
        start.push(Case { name: "bwrap with our filter", words: bwrap_with_filter(stockade, work) });
    }
    if has("firejail") {
        start.push(Case {
            name: "firejail",
            words: plain(&["firejail", "--quiet", "--noprofile", "--net=none", "--private", "--seccomp", "/bin/true"]),
        });
    }
    if has("crun")
        && let Some(bundle) = crun_bundle(work)
    {
        start
            .push(Case { name: "crun, cgroup", words: plain(&["crun", "run", "--bundle", &bundle, "stockade-bench"]) });
    }
    vec![
        Group { title: "cold start of /bin/true", rounds: 100, clock: Clock::Whole, cases: start },
        Group {
            title: "cold start of python -c 'print(1)'",
            rounds: 40,
            clock: Clock::Whole,
            cases: vec![
                Case { name: "plain python", words: plain(&[python, "-c", "print(1)"]) },
                Case { name: "stockade, no cgroup", words: walls(&["--cgroup", "off"], &["-c", "print(1)"]) },
                Case { name: "stockade, cgroup", words: walls(&[], &["-c", "print(1)"]) },
            ],
        },
        pair(
            "compute",
            15,
            python,
            &walls,
            "import hashlib\nx = b''\nfor i in range(200000): x = hashlib.sha256(x).digest()",
        ),
        files(stockade, python, work, &walls),
        pair(
            "the cheapest system call",
            15,
            python,
            &walls,
            "import ctypes\ng = ctypes.CDLL(None).getppid\nfor i in range(500000): g()",
        ),
        pair(
            "import of a large library (json, decimal, asyncio)",
            10,
            python,
            &walls,
            "import json, decimal, asyncio, email, http.client, xml.dom.minidom",
        ),
        Group {
            title: "collecting 10,000 outputs",
            rounds: 5,
            clock: Clock::Whole,
            cases: vec![
                Case { name: "writing them", words: walls(&[], &["-c", WRITE_FILES]) },
                Case {
                    name: "writing and collecting",
                    words: walls(&["--overwrite", "--out", &work.join("out").to_string_lossy()], &["-c", WRITE_FILES]),
                },
            ],
        },
    ]
}

const WRITE_FILES: &str = "import os\nfor i in range(10000):\n with open(f'f{i}', 'w') as f: f.write('x' * 1000)";

/// The same Python code inside and outside.
fn pair(title: &'static str, rounds: usize, python: &str, walls: Walls<'_>, code: &str) -> Group {
    let code = &format!("import time\n_began = time.perf_counter()\n{code}\nprint(time.perf_counter() - _began)");
    Group {
        title,
        rounds,
        clock: Clock::Own,
        cases: vec![
            Case { name: "plain python", words: vec![python.to_owned(), "-c".to_owned(), code.to_owned()] },
            Case { name: "stockade, no cgroup", words: walls(&["--cgroup", "off"], &["-c", code]) },
        ],
    }
}

/// Opening files, and what of its cost is the kernel's: the same loop under a Landlock ruleset of one
/// rule, and under our filter, without any sandbox of ours.
fn files(stockade: &Path, python: &str, work: &Path, walls: Walls<'_>) -> Group {
    const LOOP: &str =
        "import os\nfor i in range(40000):\n f = os.open('/etc/hosts', os.O_RDONLY); os.read(f, 16); os.close(f)";
    let filter = filter_file(stockade, work);
    let mut group = pair("open/read/close loop", 15, python, walls, LOOP);
    for (name, wall) in [("one Landlock rule alone", "landlock"), ("our filter alone", "filter")] {
        let code = format!("{ONE_WALL}\nbegan = time.perf_counter()\n{LOOP}\nprint(time.perf_counter() - began)");
        let words = [python, "-c", &code, wall, &filter].map(ToOwned::to_owned);
        group.cases.push(Case { name, words: words.into() });
    }
    group
}

/// Puts one wall around this process: landlock(7), seccomp(2). The numbers are the same on both architectures
/// but for seccomp's.
const ONE_WALL: &str = r#"
import ctypes, os, platform, struct, sys, time
kernel, (wall, path) = ctypes.CDLL(None, use_errno=True), sys.argv[1:]
def call(*words):
    answer = kernel.syscall(*words)
    if answer < 0: sys.exit(f"{wall}: {os.strerror(ctypes.get_errno())}")
    return answer
kernel.prctl(38, 1, 0, 0, 0)
if wall == "landlock":
    READ = 1 << 2 | 1 << 3
    rules = call(444, struct.pack("Q", (1 << 15) - 1), ctypes.c_size_t(8), 0)
    call(445, rules, 1, struct.pack("=Qi", READ, os.open("/etc", os.O_PATH)), 0)
    call(446, rules, 0)
else:
    program = open(path, "rb").read()
    held = ctypes.create_string_buffer(program, len(program))
    pair = struct.pack("H6xQ", len(program) // 8, ctypes.addressof(held))
    call(277 if platform.machine() == "aarch64" else 317, 1, 0, pair)
"#;

/// The walls of bubblewrap nearest to ours.
fn bwrap(more: &[&str], words: &[&str]) -> Vec<String> {
    let flags = "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp";
    flags
        .split(' ')
        .chain(more.iter().copied())
        .chain(["--"])
        .chain(words.iter().copied())
        .map(ToOwned::to_owned)
        .collect()
}

/// The same with our own system-call filter, which it takes by descriptor: a shell opens it.
fn bwrap_with_filter(stockade: &Path, work: &Path) -> Vec<String> {
    let words = bwrap(&["--seccomp", "9"], &["/bin/true"]).join(" ");
    ["/bin/sh".to_owned(), "-c".to_owned(), format!("exec {words} 9<{}", filter_file(stockade, work))].into()
}

/// Our filter as the kernel takes it, in a file.
fn filter_file(stockade: &Path, work: &Path) -> String {
    let file = work.join("filter.bpf");
    let filter = Command::new(stockade).arg("internal-filter").output().map(|output| output.stdout).unwrap_or_default();
    // An empty file makes whoever loads it fail, and the row say so.
    std::fs::write(&file, filter).ok();
    file.to_string_lossy().into_owned()
}

/// A bundle for crun with the machine's /usr; `None` when crun makes no specification.
fn crun_bundle(work: &Path) -> Option<String> {
    let bundle = work.join("bundle");
    let root = bundle.join("rootfs");
    std::fs::create_dir_all(root.join("usr")).ok()?;
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(target, root.join(link)).ok()?;
    }
    let made = Command::new("crun").arg("spec").current_dir(&bundle).status().ok()?;
    let file = bundle.join("config.json");
    let text = std::fs::read_to_string(&file).ok()?;
    let text = text.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"/bin/true\"").replacen(
        "\"mounts\": [",
        "\"mounts\": [ { \"destination\": \"/usr\", \"type\": \"bind\", \"source\": \"/usr\", \"options\": [\"rbind\", \"ro\"] },",
        1,
    );
    std::fs::write(file, text).ok()?;
    made.success().then(|| bundle.to_string_lossy().into_owned())
}

fn resolved_python() -> Result<String, String> {
    let answer = Command::new("python3")
        .args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"])
        .output()
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

/// Runs the cases in turn and prints the median of each, and its ratio and difference to the first.
fn measure(group: &Group) -> Done {
    let mut times: Vec<Vec<Duration>> = group.cases.iter().map(|_| Vec::new()).collect();
    let mut broken = vec![false; group.cases.len()];
    for round in 0..=group.rounds {
        for ((case, times), broken) in group.cases.iter().zip(&mut times).zip(&mut broken) {
            let time = time(&case.words, group.clock)?;
            // The first round warms caches up.
            match time {
                Some(time) if round > 0 => times.push(time),
                Some(_) => {}
                None => *broken = true,
            }
        }
    }
    say(&format!("\n{} ({} rounds in turn)", group.title, group.rounds));
    say(&format!("  {:<28} {:>12} {:>10} {:>12} {:>10}", "", "median", "ratio", "least", "ratio"));
    let base = times.first().map_or((Duration::ZERO, Duration::ZERO), |times| (median(times), least(times)));
    for ((case, times), broken) in group.cases.iter().zip(&times).zip(broken) {
        if broken {
            say(&format!("  {:<28} does not run here", case.name));
            continue;
        }
        let (middle, least) = (median(times).as_secs_f64(), least(times).as_secs_f64());
        let ratio = middle / base.0.as_secs_f64().max(1e-9);
        let least_ratio = least / base.1.as_secs_f64().max(1e-9);
        say(&format!(
            "  {:<28} {:>9.2} ms {ratio:>8.2} × {:>9.2} ms {least_ratio:>8.2} ×",
            case.name,
            middle * 1e3,
            least * 1e3
        ));
    }
    Ok(())
}

/// `None` when the command failed.
fn time(words: &[String], clock: Clock) -> Result<Option<Duration>, String> {
    let (program, arguments) = words.split_first().ok_or("nothing to time")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let before = Instant::now();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let took = before.elapsed();
    let own = || String::from_utf8_lossy(&output.stdout).trim().parse().ok().map(Duration::from_secs_f64);
    let took = match clock {
        Clock::Whole => Some(took),
        Clock::Own => own(),
    };
    Ok(took.filter(|_| output.status.success()))
}

/// The round that was disturbed least.
fn least(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Peak memory of the supervisor itself while code runs.
fn memory(stockade: &PathBuf) -> Done {
    let mut child = Command::new(stockade)
        .args(["run", "--quiet", "--", "sleep", "0.5"])
        .spawn()
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_millis(400);
    let mut peak = String::new();
    while Instant::now() < deadline {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            line.trim().clone_into(&mut peak);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait().map_err(|error| error.to_string())?;
    say(&format!("\npeak memory of the stockade process: {peak}"));
    Ok(())
}
