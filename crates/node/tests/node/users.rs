//! Every run has a user of the host of its own, which is no one's: what that holds apart, and what it leaves.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use stockade_testkit::{Folder, User, call, cgroups_left, skipped};

use crate::support::{AS_SERVICE, NODE, Node, alive, mounts, signal, starting, until};

/// The node's own.
const SERVICE: u32 = 61_234;
/// Prints that it runs, and stays.
const STAYS: &str = "import time; print('begun', flush=True); time.sleep(1000)";

/// A process that stays until it is dropped.
struct Lingering(Child);

impl Lingering {
    fn of(user: u32) -> Self {
        Self(Command::new("/bin/sleep").arg("1000").uid(user).gid(user).spawn().unwrap())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Says why not, where only root can start such a node.
fn can_start() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped("a node with users of the host", "only root becomes another user");
    }
    is_root
}

fn start(flags: &[&str]) -> Node {
    Node::start(&AS_SERVICE.into_iter().chain(flags.iter().copied()).collect::<Vec<_>>())
}

fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ids(status: &str, name: &str) -> Vec<u32> {
    field(status, name).split(' ').filter_map(|id| id.parse().ok()).collect()
}

/// Everything below a process, with its status.
pub(crate) fn below(pid: u32) -> Vec<(u32, String)> {
    let all: Vec<(u32, u32, String)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let status = status(pid);
            Some((pid, field(&status, "PPid:").parse().ok()?, status))
        })
        .collect();
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, _, status) in all.iter().filter(|(_, above, _)| *above == parent) {
            parents.push(*pid);
            found.push((*pid, status.clone()));
        }
    }
    found
}

/// Processes of runs: those below the launcher that are not the node's user.
fn of_runs(node: &Node) -> Vec<(u32, String)> {
    let mut all = below(node.launcher());
    all.retain(|(_, status)| !ids(status, "Uid:").contains(&SERVICE));
    all
}

/// Processes of the machine with an id from `first` on.
fn with_ids(first: u32, count: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| {
            let status = status(*pid);
            ["Uid:", "Gid:"].iter().any(|name| ids(&status, name).iter().any(|id| (first..first + count).contains(id)))
        })
        .collect()
}

fn host_user(run: &Value) -> u32 {
    run["outcome"]["report"]["host_user"].as_u64().unwrap_or_else(|| panic!("{run}")).try_into().unwrap()
}

/// Code that prints this, of a user of the host.
fn as_host_user(user: u32, code: &str, words: &[String]) -> String {
    let output = Command::new("/usr/bin/python3")
        .args(["-c", code])
        .args(words)
        .uid(user)
        .gid(user)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_runs_at_once_have_users_of_the_host_that_nobody_has() {
    if !can_start() {
        return;
    }
    let node = start(&["--runs", "2", "--runs-each", "2"]);
    let runs = [node.submit(STAYS), node.submit(STAYS)];
    runs.iter().for_each(|run| node.until_says(run, "begun"));
    let found = of_runs(&node);
    let users: BTreeSet<u32> = found.iter().flat_map(|(_, status)| ids(status, "Uid:")).collect();
    let groups: BTreeSet<u32> = found.iter().flat_map(|(_, status)| ids(status, "Gid:")).collect();
    assert_eq!((users.len(), &users), (2, &groups), "{found:?}");
    let passwords = std::fs::read_to_string("/etc/passwd").unwrap();
    for user in &users {
        assert!(!passwords.lines().any(|line| line.split(':').nth(2) == Some(&user.to_string())), "{user}");
    }
    for (_, status) in &found {
        assert_eq!(field(status, "Groups:"), "");
    }
    // The report says which it was.
    runs.iter().for_each(|run| drop(node.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").whole().unwrap()));
    let told: BTreeSet<u32> = runs.iter().map(|run| host_user(&node.until_state(run, "ended"))).collect();
    assert_eq!(told, users);
}

#[test]
fn neither_the_node_nor_its_launcher_is_root_or_can_be_it_again() {
    if !can_start() {
        return;
    }
    let node = start(&[]);
    let own = [SERVICE; 4];
    for (what, pid) in [("node", node.process.id()), ("launcher", node.launcher())] {
        let status = status(pid);
        assert_eq!((ids(&status, "Uid:"), ids(&status, "Gid:")), (own.to_vec(), own.to_vec()), "{what}");
        assert_eq!((field(&status, "Groups:").as_str(), field(&status, "NoNewPrivs:").as_str()), ("", "1"), "{what}");
    }
    let of_node = status(node.process.id());
    assert_eq!((field(&of_node, "CapPrm:"), field(&of_node, "CapEff:")), ("0".repeat(16), "0".repeat(16)));
    // Others of its user read nothing of it.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", node.launcher())).unwrap().uid(), 0);
    // What the launcher may become: its user, and ids that are no one's.
    for map in ["uid_map", "gid_map"] {
        let map = std::fs::read_to_string(format!("/proc/{}/{map}", node.launcher())).unwrap();
        let lines: Vec<Vec<u32>> =
            map.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
        assert_eq!(lines[0], [0, SERVICE, 1]);
        assert_eq!((lines.len(), lines[1][0], lines[1][2]), (2, lines[1][1], 65_536), "{map}");
    }
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_ne!(namespace(node.launcher()), namespace(node.process.id()));
    assert_eq!(namespace(node.process.id()), namespace(std::process::id()));
}

/// The groups of whoever starts the node do not stay with it.
#[test]
fn supplementary_groups_are_given_up() {
    if !can_start() {
        return;
    }
    let folder = Folder::new();
    let (mut process, _state) = call("setpriv", User::Caller)
        .args(["--groups", "4,24,27", "--", NODE, "start", "--run-as", "61234", "--folder"])
        .arg(folder.path().join("node"))
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .start();
    until("it serves", || std::os::unix::net::UnixStream::connect(folder.path().join("node/node.sock")).is_ok());
    let own = process.id();
    for (pid, status) in below(own).into_iter().chain([(own, status(own))]) {
        assert_eq!(field(&status, "Groups:"), "", "{pid}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    until("nothing is left", || alive(&folder.path().join("node")).is_empty());
}

/// Tries everything that one user may do to the processes of the same user, and says what worked.
const ATTACKS: &str = r"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for pid in map(int, sys.argv[1].split(',')):
    def attempt(name, act):
        try:
            act()
            print(pid, name)
        except OSError:
            pass
    def trace():
        if libc.ptrace(16, pid, 0, 0) != 0: raise OSError(ctypes.get_errno())
    attempt('signal', lambda: os.kill(pid, 0))
    attempt('trace', trace)
    for name in ('environ', 'mem', 'maps', 'auxv', 'stack'):
        attempt(name, lambda: open(f'/proc/{pid}/{name}', 'rb').read(1))
    for name in ('fd', 'root', 'cwd', 'map_files'):
        attempt(name, lambda: os.listdir(f'/proc/{pid}/{name}'))
    attempt('descriptor', lambda: os.readlink(f'/proc/{pid}/fd/0'))
    attempt('exe', lambda: os.readlink(f'/proc/{pid}/exe'))
    attempt('namespace', lambda: os.open(f'/proc/{pid}/ns/user', os.O_RDONLY))
    attempt('priority', lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
for path in sys.argv[2:]:
    try:
        print(path, os.listdir(path))
    except OSError:
        pass
";

/// Should an engine climb out of all its namespaces, it is a user of the host that may do nothing to anybody: not to
/// another run, not to what supervises it, not to the node's files.
#[test]
fn the_user_of_a_run_may_do_nothing_to_another_run_or_the_node() {
    if !can_start() {
        return;
    }
    let node = start(&["--runs", "2", "--runs-each", "2"]);
    let victim = node.submit(STAYS);
    node.until_says(&victim, "begun");
    let processes: Vec<u32> =
        below(node.launcher()).into_iter().map(|(pid, _)| pid).chain([node.launcher(), node.process.id()]).collect();
    let victims = of_runs(&node);
    assert!(processes.len() >= 5 && !victims.is_empty(), "{processes:?} {victims:?}");
    let other = host_user(&node.run("print(1)"));
    assert!(victims.iter().all(|(_, status)| !ids(status, "Uid:").contains(&other)), "{victims:?}");
    let list = processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let folder = node.folder.to_string_lossy().into_owned();
    let words = [list, folder.clone(), format!("{folder}/runs"), format!("{folder}/runs/{victim}/in")];
    assert_eq!(as_host_user(other, ATTACKS, &words), "");
    // The attacks are such that a user of the same number would not have failed at all of them.
    let own = ids(&victims[0].1, "Uid:")[0];
    assert!(as_host_user(own, ATTACKS, &words[..1]).contains("signal"));
}

/// The namespace of the launcher belongs to root: who takes over the node, or is its user in another way, is no user
/// of a run and reaches no run, though it may signal what has its own user.
#[test]
fn a_user_of_a_run_that_came_out_of_its_walls_is_nobody_to_the_node() {
    if !can_start() {
        return;
    }
    const FIRST: u32 = 1_900_500_000;
    let node = start(&["--uid-range", &format!("{FIRST}:1000")]);
    let socket = node.socket();
    let ask = |user: u32| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "60", "--unix-socket"]).arg(&socket).arg("http://node/livez");
        String::from_utf8(curl.uid(user).gid(user).output().unwrap().stdout).unwrap()
    };
    assert_eq!(ask(FIRST - 1), "alive\n", "anybody else may ask");
    for user in [FIRST, FIRST + 999] {
        assert_eq!(ask(user), "");
    }
}

#[test]
fn the_nodes_own_user_has_no_right_over_the_users_of_runs() {
    if !can_start() {
        return;
    }
    let node = start(&[]);
    let run = node.submit(STAYS);
    node.until_says(&run, "begun");
    let processes: Vec<u32> = below(node.launcher()).into_iter().map(|(pid, _)| pid).chain([node.launcher()]).collect();
    let list = processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let worked = as_host_user(SERVICE, ATTACKS, &[list]);
    let of_runs: Vec<String> = of_runs(&node).iter().map(|(pid, _)| format!("{pid} ")).collect();
    assert!(of_runs.len() >= 2, "{of_runs:?}");
    for line in worked.lines() {
        // What has no file of its own belongs, in `/proc`, to root of where its program was started, which is this
        // user: the numbers of descriptors are seen, and not what they are.
        let is_seen = line.ends_with(" fd");
        assert!(is_seen || line.ends_with(" signal") || line.ends_with(" priority"), "{worked}");
        assert!(is_seen || !of_runs.iter().any(|pid| line.starts_with(pid)), "{worked}");
    }
    assert!(worked.contains(&format!("{} signal", node.launcher())), "{worked}");
}

/// Within its walls a run sees nothing of the other, though both have the same environment and inputs of one name.
#[test]
fn a_run_finds_nothing_of_another_within_its_walls() {
    if !can_start() {
        return;
    }
    let node = start(&["--runs", "2", "--runs-each", "2"]);
    let secret = "import os, time\nopen('/tmp/secret', 'w').write('x'); os.environ['SECRET'] = 'x'\nprint('begun', flush=True)\ntime.sleep(1000)";
    let victim = node.submit(secret);
    node.until_says(&victim, "begun");
    let look = "
import os
print(sorted(name for name in os.listdir('/proc') if name.isdigit()), os.path.exists('/tmp/secret'), os.listdir('.'))
for pid in range(1, 70000):
    if pid not in (1, os.getpid()):
        try:
            os.kill(pid, 0)
            print('reached', pid)
        except OSError:
            pass
";
    let run = node.run(look);
    let said = run["stdout"].as_str().unwrap();
    assert!(!said.contains("reached") && said.contains("False"), "{run}");
    assert!(!said.contains("secret"), "{run}");
}

#[test]
fn a_node_without_users_for_its_engines_does_not_start() {
    let folder = Folder::new();
    let refused = call(NODE, User::Ordinary)
        .args(["start", "--folder"])
        .arg(folder.path().join("node"))
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .run();
    if refused.status != 125 {
        skipped("a user without ids", "who runs the tests has some");
        return;
    }
    for part in [
        "error: engines cannot have users of their own\n  why:  /etc/subuid and /etc/subgid give no range of ids to ",
        "--run-as USER",
        "usermod --add-subuids",
        "--shared-user",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(!folder.path().join("node").exists(), "nothing was made");
}

#[test]
fn a_range_that_others_have_a_part_of_is_refused() {
    if !can_start() {
        return;
    }
    let folder = Folder::new();
    let refuse = |range: &str| {
        let flags: Vec<&str> = AS_SERVICE.into_iter().chain(["--uid-range", range]).collect();
        starting(&folder.path().join("node"), &flags).run().expect(125).stderr
    };
    // What `stockade run` of root uses.
    let refused = refuse("1879048192:65536");
    assert!(refused.contains("error: engines cannot have the host's ids 1879048192 to 1879113727"), "{refused}");
    assert!(refused.contains("why:  runs that root starts have some of these ids"), "{refused}");
    // Nobody's.
    assert!(refuse("60000:10000").contains("invalid value"), "{}", refuse("60000:10000"));
    assert!(refuse("1900300000:3").contains("runs at once need"));
    assert!(!folder.path().join("node").exists(), "nothing was made");
    // Another node's.
    let node = start(&["--uid-range", "1900300000:1000"]);
    assert!(refuse("1900300500:1000").contains("another node has it"));
    node.get("/livez").expect(200);
}

#[test]
fn nodes_that_name_no_range_have_different_ones() {
    if !can_start() {
        return;
    }
    let (one, other) = (start(&[]), start(&[]));
    let first = |node: &Node| {
        let map = std::fs::read_to_string(format!("/proc/{}/uid_map", node.launcher())).unwrap();
        map.lines().nth(1).unwrap().to_owned()
    };
    assert_ne!(first(&one), first(&other));
}

#[test]
fn a_user_is_nobodys_again_only_when_no_process_of_it_is_left() {
    if !can_start() {
        return;
    }
    const FIRST: u32 = 1_900_400_000;
    let lives = Lingering::of(FIRST + 5);
    let node = start(&["--runs", "1", "--sessions", "1", "--uid-range", &format!("{FIRST}:8")]);
    let users = |node: &Node| (0..8).map(|_| host_user(&node.run("print(1)"))).collect::<BTreeSet<u32>>();
    // Each run has two ids, its own and its gate's.
    assert_eq!(users(&node), BTreeSet::from([FIRST, FIRST + 2, FIRST + 6]));
    drop(lives);
    assert!(users(&node).contains(&(FIRST + 4)));
    // When all are taken there is no run, rather than one that has a user with somebody else.
    let all: Vec<Lingering> = (0..4).map(|pair| Lingering::of(FIRST + 2 * pair)).collect();
    let refused = (0..5).map(|_| node.run("print(1)")).find(|run| run["outcome"]["cause"] == "refused").unwrap();
    assert_eq!(refused["outcome"]["refusal"]["what"], "there is no user for the run", "{refused}");
    drop(all);
    assert_eq!(node.run("print(1)")["stdout"], "1\n");
}

#[test]
fn bombs_are_bounded_by_the_cgroup_that_root_made_for_the_node() {
    if !can_start() {
        return;
    }
    let node = start(&[]);
    let run = |code: &str, limits: &Value| {
        node.post(&[], &json!({"code": code, "limits": limits})).whole().unwrap().expect(200).json()
    };
    let memory = run(
        "held = bytearray(1 << 29)\nfor at in range(0, len(held), 4096): held[at] = 1\nprint('held')",
        &json!({"memory": "128M"}),
    );
    let report = &memory["outcome"]["report"];
    let enforced = report["enforced"].as_array().unwrap();
    if !enforced.contains(&json!("cgroup")) {
        skipped("cgroups of a node", "this machine gives none");
        return;
    }
    assert_eq!((&report["cause"]["kind"], &memory["stdout"]), (&json!("limit"), &json!("")), "{memory}");
    let forks = "
import os, time
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            time.sleep(1000)
        made += 1
except OSError as error:
    print(made, error.errno)
";
    let forks = run(forks, &json!({"processes": "20", "time": "20s"}));
    assert!(forks["outcome"]["report"]["enforced"].as_array().unwrap().contains(&json!("cgroup")));
    let said = forks["stdout"].as_str().unwrap();
    let made: u32 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(made <= 20 && said.ends_with(" 11\n"), "{forks}");
    // Who is beside them goes on.
    assert_eq!(node.run("print(1)")["stdout"], "1\n");
}

/// Whichever is killed: no process with an id of the range, no mount, no cgroup of a run.
#[test]
fn nothing_of_a_user_is_left_whichever_process_is_killed() {
    if !can_start() {
        return;
    }
    type Victim = fn(&Node) -> u32;
    let victims: [(&str, Victim); 3] = [
        ("the node", |node| node.process.id()),
        ("the launcher", Node::launcher),
        ("a supervisor", |node| node.supervisors()[0]),
    ];
    for (number, (what, victim)) in (0..).zip(victims) {
        let first = 1_901_000_000 + number * 0x1_0000;
        let before = mounts();
        let mut node = start(&["--uid-range", &format!("{first}:1000")]);
        let run = node.submit(STAYS);
        node.until_says(&run, "begun");
        assert!(with_ids(first, 1000).len() >= 2, "{what}");
        let own = std::fs::read_to_string(node.folder.join("state/audit.jsonl")).unwrap();
        let names: Vec<String> = own
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|record| Some(format!("stockade-{}-", record["run"].as_str()?)))
            .collect();
        signal(victim(&node), Signal::KILL);
        until(&format!("{what}: no process is left"), || with_ids(first, 1000).is_empty());
        if what != "a supervisor" {
            node.process.wait().unwrap();
            // A new one takes what the former left.
            node = node.again(&[&AS_SERVICE[..], &["--uid-range", &format!("{first}:1000")]].concat());
        }
        // What a killed supervisor left, the next run takes away.
        assert_eq!(node.run("print(1)")["stdout"], "1\n");
        until(&format!("{what}: no cgroup of a run is left"), || {
            !cgroups_left().iter().any(|group| names.iter().any(|name| group.contains(name)))
        });
        drop(node);
        assert_eq!(mounts(), before, "{what}");
    }
}

/// What root made for a node that is gone, the next one takes away.
#[test]
fn the_cgroup_of_a_former_node_is_taken_away() {
    if !can_start() {
        return;
    }
    let groups = |pid: u32| -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                    if name.starts_with("stockade.node-") && name.contains(&format!("-{pid}-")) {
                        found.push(entry.path().to_string_lossy().into_owned());
                    }
                }
            }
        }
        found
    };
    let mut node = start(&[]);
    let own = node.process.id();
    if groups(own).is_empty() {
        skipped("cgroups of a node", "this machine gives none");
        return;
    }
    node.kill();
    let _next = node.again(&AS_SERVICE);
    assert_eq!(groups(own), Vec::<String>::new());
}

/// An ordinary user with ids of `/etc/subuid` has the same, by newuidmap and newgidmap.
#[test]
fn an_ordinary_user_with_ids_of_its_own_gives_them_to_its_runs() {
    if !can_start() {
        return;
    }
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        skipped("newuidmap", "it is not installed");
        return;
    }
    let folder = Folder::new();
    let ids = folder.write("ids", "stockade-test:1902000000:65536\n");
    let passwords = std::fs::read_to_string("/etc/passwd").unwrap() + "stockade-test:x:61234:61234::/:/bin/false\n";
    let passwords = folder.write("passwd", passwords);
    let place = folder.path().join("node");
    // In mounts of its own, so that nobody else's files change.
    let script = format!(
        "mount --make-rprivate / && mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid && \
         mount --bind {passwords} /etc/passwd && \
         exec setpriv --reuid 61234 --regid 61234 --clear-groups {NODE} start --folder {place} --socket-mode 600",
        ids = ids.display(),
        passwords = passwords.display(),
        place = place.display()
    );
    let (mut process, _state) = call("unshare", User::Caller)
        .args(["--mount", "sh", "-c", &script])
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .start();
    let socket = place.join("node.sock");
    until("it serves", || {
        assert!(process.try_wait().unwrap().is_none(), "it ended");
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let json = [("content-type", "application/json")];
    let body = br#"{"code":"print(1)"}"#;
    let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let run = crate::http::send(stream, "POST", "/v1/runs", &json, body).unwrap().whole().unwrap().expect(200).json();
    assert_eq!(run["stdout"], "1\n", "{run}");
    assert!((1_902_000_000..1_902_065_536).contains(&host_user(&run)), "{run}");
    signal(process.id(), Signal::KILL);
    process.wait().unwrap();
    until("nothing is left", || alive(&place).is_empty());
}

/// Where runs have the node's own user, the kernel reports code that came out of its walls as the one who administers
/// the node. It is in the user namespace of its run still, and whatever it makes there.
#[test]
fn who_has_the_nodes_user_in_another_user_namespace_is_not_heard() {
    let node = Node::start(&[]);
    let socket = node.socket();
    let ask = |within: &[&str]| {
        let url = ["curl", "--silent", "--max-time", "60", "http://node/v1/me", "--unix-socket"];
        let words = [within, &url].concat();
        call(words[0], User::Ordinary).args(&words[1..]).arg(&socket).run()
    };
    let me = ask(&[]).expect(0).stdout;
    assert!(me.contains("uid-"), "{me}");
    let apart = ["unshare", "--user", "--map-current-user"];
    for within in [apart.to_vec(), [apart, apart].concat(), vec!["unshare", "--user", "--map-root-user"]] {
        let refused = ask(&within);
        assert!(refused.status != 0 && refused.stdout.is_empty(), "{refused:?}");
    }
    // One that goes away, before the node looks, and leaves its connection to somebody else is not seen any more.
    let passed = r#"
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
if os.fork() == 0:
    connection.connect(sys.argv[1])
    os._exit(0)
os.wait()
print("gone", flush=True)
sys.stdin.readline()
connection.settimeout(60)
try:
    connection.sendall(b"GET /v1/me HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
    print(connection.recv(1000))
except OSError as error:
    print(b"")
"#;
    signal(node.process.id(), Signal::STOP);
    let (mut child, _state) = call("python3", User::Ordinary).args(["-c", passed]).arg(&socket).start();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    signal(node.process.id(), Signal::CONT);
    assert_eq!(line, "gone\n");
    drop(child.stdin.take());
    said.read_to_string(&mut line).unwrap();
    assert!(child.wait().unwrap().success() && !line.contains("uid-"), "{line}");
    assert!(ask(&[]).expect(0).stdout.contains("uid-"), "the others are heard");
}
