//! Sessions: an engine that is kept between executions, for one principal.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_testkit::skipped;

use crate::support::{AS_SERVICE, Node, signal, until};
use crate::tenancy::as_user;
use crate::warm::{WARM, begun, followers};

const KILL: rustix::process::Signal = rustix::process::Signal::KILL;

/// An open session.
pub(crate) struct Session<'a> {
    pub(crate) node: &'a Node,
    pub(crate) id: String,
}

impl<'a> Session<'a> {
    #[track_caller]
    pub(crate) fn open(node: &'a Node, asked: &Value) -> Self {
        let opened = node.ask("POST", "/v1/sessions", &[], asked).whole().unwrap().expect(201);
        let id = opened.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(opened.headers["location"], format!("/v1/sessions/{id}"));
        Self { node, id }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.id)
    }

    /// Executes code to its end.
    #[track_caller]
    pub(crate) fn run(&self, code: &str) -> Value {
        self.run_with(&json!({ "code": code }))
    }

    #[track_caller]
    pub(crate) fn run_with(&self, asked: &Value) -> Value {
        self.node.ask("POST", &self.path("/executions"), &[], asked).whole().unwrap().expect(200).json()
    }

    /// Has code executed, and does not wait for it.
    #[track_caller]
    pub(crate) fn submit(&self, code: &str) -> String {
        let headers = [("prefer", "respond-async")];
        let answer = self.node.ask("POST", &self.path("/executions"), &headers, &json!({ "code": code }));
        answer.whole().unwrap().expect(202).json()["id"].as_str().unwrap().to_owned()
    }

    /// Has code executed, when it has said this.
    #[track_caller]
    pub(crate) fn submit_until(&self, code: &str, text: &str) -> String {
        let run = self.submit(code);
        self.node.until_says(&run, text);
        run
    }

    #[track_caller]
    pub(crate) fn show(&self) -> Value {
        self.node.get(&self.path("")).expect(200).json()
    }

    #[track_caller]
    pub(crate) fn until_over(&self) -> Value {
        until("the session is over", || self.show()["ended_ms"].is_i64());
        self.show()
    }

    #[track_caller]
    pub(crate) fn interrupt(&self) -> Value {
        self.node.send("POST", &self.path("/interrupt"), &[], b"").whole().unwrap().expect(200).json()
    }

    #[track_caller]
    pub(crate) fn close(&self) -> Value {
        self.node.send("DELETE", &self.path(""), &[], b"").whole().unwrap().expect(200).json()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> u16 {
        self.node.send("PUT", &self.path(&format!("/files/{name}")), &[], bytes).whole().unwrap().status
    }
}

/// How a node is started whose sessions these are.
type Start = fn(&[&str]) -> Node;

/// Each of these holds of engines that are started for a session, and of those that waited for one.
macro_rules! of_both {
    ($($name:ident),* $(,)?) => {
        mod cold {
            $(#[test] fn $name() { super::$name(super::Node::start) })*
        }
        mod warm {
            $(#[test] fn $name() {
                if crate::warm::can_be_warm() {
                    super::$name(super::start_warm)
                }
            })*
        }
    };
}

of_both![
    variables_stay_and_errors_are_pythons_own,
    outputs_are_collected_when_a_session_is_closed,
    a_session_that_is_closed_or_used_as_soon_as_it_is_open_is_closed_and_used,
    an_interrupt_takes_less_than_a_second_and_keeps_the_state,
    an_interrupt_reaches_its_execution_however_early_it_comes_and_none_after_it,
    an_execution_has_a_time_of_its_own,
    a_session_ends_when_it_was_idle_and_when_its_time_is_over,
    files_go_in_and_out_of_a_living_session,
    files_with_hostile_names_and_kinds_are_refused,
    what_an_earlier_execution_still_says_is_not_said_by_a_later_one,
    code_that_forges_answers_speaks_for_nobody_but_itself,
    a_flood_ends_its_session_and_no_other,
    nothing_of_a_session_is_seen_in_another,
    executions_wait_in_order_and_not_too_many,
    executions_stream_reconnect_and_are_not_repeated,
    a_restart_gives_another_engine_with_the_same_inputs,
    a_principal_sees_its_own_sessions_only,
    a_killed_engine_ends_its_session_and_says_so,
    a_killed_supervisor_loses_its_session_and_leaves_nothing,
    sessions_are_lost_with_the_launcher_and_with_the_node,
    a_node_that_drains_closes_its_sessions,
    what_is_executed_is_on_record_before_the_engine_hears_of_it,
];

/// A node whose sessions get engines that waited for them.
fn start_warm(flags: &[&str]) -> Node {
    let node = Node::start(&[&AS_SERVICE, WARM.as_slice(), flags].concat());
    until("a session has a warm engine", || begun(&Session::open(&node, &plain()).close()) == "warm");
    until("the next one waits", || !followers(&node).is_empty());
    node
}

fn plain() -> Value {
    json!({})
}

#[track_caller]
pub(crate) fn said(run: &Value) -> &str {
    run["stdout"].as_str().unwrap_or_else(|| panic!("{run}"))
}

fn variables_stay_and_errors_are_pythons_own(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    assert_eq!(said(&session.run("x = 41\ndef f():\n    return 1 / 0")), "");
    assert_eq!(said(&session.run("print(x + 1, __name__)")), "42 __main__\n");
    let failed = session.run("y = 5\nf()");
    assert_eq!((&failed["outcome"]["cause"], &failed["outcome"]["status"]), (&json!("exited"), &json!(1)));
    let error = failed["stderr"].as_str().unwrap();
    assert!(
        error.starts_with("Traceback (most recent call last):\n  File \"<execution 3>\", line 2, in <module>\n"),
        "{error}"
    );
    assert!(error.contains("return 1 / 0") && error.ends_with("ZeroDivisionError: division by zero\n"), "{error}");
    assert_eq!(failed["outcome"]["report"]["exception"], "ZeroDivisionError");
    assert_eq!(said(&session.run("print(x, y)")), "41 5\n", "an error ends nothing");
    assert_eq!(session.run("import sys; sys.exit(7)")["outcome"]["status"], 7);
    let broken = session.run("def");
    assert!(broken["stderr"].as_str().unwrap().contains("SyntaxError"), "{broken}");
    assert_eq!(said(&session.run("print(x)")), "41\n", "neither does sys.exit");
    let shown = session.show();
    assert_eq!((&shown["state"], &shown["executing"], &shown["waiting"]), (&json!("open"), &Value::Null, &json!(0)));
    let listed = node.get(&session.path("/executions")).expect(200).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 7);
    assert_eq!(listed["runs"][0]["session"], json!(session.id));
    assert_eq!(node.get("/v1/runs").json()["runs"], json!([]), "what is executed in a session is no run");
    assert_eq!(node.get("/v1/sessions").json()["sessions"][0]["id"], json!(session.id));
}

fn outputs_are_collected_when_a_session_is_closed(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &json!({"inputs": [{"name": "in.txt", "content": "aGVsbG8="}]}));
    assert_eq!(said(&session.run("print(open('in.txt').read()); open('out.txt', 'w').write('made')")), "hello\n");
    let closed = session.close();
    assert_eq!((&closed["state"], &closed["outcome"]["reason"]), (&json!("ended"), &json!("closed")), "{closed}");
    assert_eq!(closed["outcome"]["cause"], "exited", "{closed}");
    assert_eq!(node.get(&format!("/v1/runs/{}/outputs/out.txt", session.id)).expect(200).text(), "made");
    let refused = node.ask("POST", &session.path("/executions"), &[], &json!({"code": "1"})).whole().unwrap();
    assert_eq!(refused.expect(409).json()["title"], "the session is over");
    assert_eq!(session.close()["state"], "ended", "closing again changes nothing");
}

fn a_session_that_is_closed_or_used_as_soon_as_it_is_open_is_closed_and_used(start: Start) {
    let node = start(&[]);
    for _ in 0..10 {
        let session = Session::open(&node, &plain());
        assert_eq!(session.put("a", b"x"), 204);
        session.close();
        let session = Session::open(&node, &plain());
        assert_ne!(session.close()["ended_ms"], Value::Null);
    }
    until("nothing of them runs", || supervisors(&node).is_empty());
}

fn an_interrupt_takes_less_than_a_second_and_keeps_the_state(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    session.run("x = 1");
    assert_eq!(session.interrupt()["interrupted"], Value::Null, "nothing is executed");
    for code in
        ["import time; print('begun', flush=True); time.sleep(1000)", "print('begun', flush=True)\nwhile True: pass"]
    {
        let run = session.submit_until(code, "begun");
        let began = Instant::now();
        assert_eq!(session.interrupt()["interrupted"], json!(run));
        let run = node.until_state(&run, "ended");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!((&run["outcome"]["status"], &run["outcome"]["cancelled"]), (&json!(130), &json!(true)), "{run}");
        assert!(run["stderr"].as_str().unwrap().ends_with("KeyboardInterrupt\n"), "{run}");
    }
    // Cancelling an execution is the same.
    let run = session.submit_until("print('begun', flush=True)\nwhile True: pass", "begun");
    let ended = node.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").whole().unwrap().expect(200).json();
    assert_eq!(ended["outcome"]["status"], 130);
    assert_eq!(said(&session.run("print(x)")), "1\n");
}

fn an_interrupt_reaches_its_execution_however_early_it_comes_and_none_after_it(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    for _ in 0..30 {
        let run = session.submit("while True: pass");
        until("it is executed", || session.interrupt()["interrupted"] == json!(run));
        assert_eq!(node.until_state(&run, "ended")["outcome"]["status"], 130);
        // One that comes at its end, or as late as can be.
        let short = session.submit("pass");
        session.interrupt();
        node.until_state(&short, "ended");
        let next = session.run("print('whole')");
        assert_eq!((said(&next), &next["outcome"]["status"]), ("whole\n", &json!(0)), "{next}");
    }
}

fn an_execution_has_a_time_of_its_own(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    session.run("x = 1");
    let late = session.run_with(&json!({"code": "while True: pass", "time": "300ms"}));
    assert_eq!((&late["outcome"]["cause"], &late["outcome"]["status"]), (&json!("limit"), &json!(124)), "{late}");
    assert_eq!(late["outcome"]["report"]["goes_on"], true);
    assert_eq!(said(&session.run("print(x)")), "1\n", "it was interrupted");
    // Code that takes no interrupt ends with its session.
    let code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    let late = session.run_with(&json!({"code": code, "time": "300ms"}));
    assert_eq!(
        (&late["outcome"]["cause"], &late["outcome"]["report"]["goes_on"]),
        (&json!("limit"), &json!(false)),
        "{late}"
    );
    assert_eq!(late["outcome"]["refusal"]["what"], "the session ended while this was executed");
    assert_eq!(session.until_over()["outcome"]["report"]["cause"]["limit"], "time");
}

fn a_session_ends_when_it_was_idle_and_when_its_time_is_over(start: Start) {
    let node = start(&["--session-maxtime", "100"]);
    let idle = Session::open(&node, &json!({"idle": "1s"}));
    idle.run("x = 1");
    assert!(idle.show()["idle_ends_ms"].is_i64(), "the client is told");
    let over = idle.until_over();
    assert_eq!((&over["outcome"]["reason"], &over["outcome"]["cause"]), (&json!("idle"), &json!("exited")), "{over}");
    let short = Session::open(&node, &json!({"limits": {"time": "2s"}}));
    assert!(short.show()["ends_ms"].as_i64().unwrap() - short.show()["opened_ms"].as_i64().unwrap() == 2_000);
    let run = short.run("print('begun', flush=True)\nwhile True: pass");
    assert_eq!(
        (&run["outcome"]["cause"], &run["outcome"]["report"]["goes_on"]),
        (&json!("limit"), &json!(false)),
        "{run}"
    );
    assert_eq!(short.until_over()["outcome"]["report"]["cause"], json!({"kind": "limit", "limit": "time"}));
    for (asked, why) in [
        (json!({"limits": {"time": "101s"}}), "is more than this node gives"),
        (json!({"idle": "11m"}), "is more than this node gives"),
        (json!({"idle": "soon"}), "is no value of `idle`"),
        (json!({"language": "julia"}), "there are no sessions of `julia`"),
        (json!({"language": "R"}), "there are no sessions of `R`"),
        (json!({"language": "r", "with": ["six"]}), "`with` does nothing for R"),
        (json!({"code": "1"}), "cannot be understood"),
    ] {
        let refused = node.ask("POST", "/v1/sessions", &[], &asked).whole().unwrap().expect(422).json();
        assert!(refused["title"].as_str().unwrap().contains(why), "{refused}");
    }
}

fn files_go_in_and_out_of_a_living_session(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    assert_eq!(session.put("data.bin", &bytes), 204);
    assert_eq!(said(&session.run("import os; print(os.stat('data.bin').st_size)")), "3000000\n");
    session.run("open('copy.bin', 'wb').write(open('data.bin', 'rb').read()[::-1])");
    let copy = node.get(&session.path("/files/copy.bin")).expect(200);
    assert_eq!(copy.headers["content-length"], "3000000");
    assert!(copy.body.iter().eq(bytes.iter().rev()));
    assert_eq!(session.put("data.bin", b"less"), 204);
    assert_eq!(said(&session.run("print(open('data.bin').read())")), "less\n", "a file is replaced");
}

fn files_with_hostile_names_and_kinds_are_refused(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    for name in ["..", ".hidden", "-rf", "a%2Fb", "%2Fetc%2Fpasswd", "..%2F..%2Fx", "a%0Ab", "a%00", "a%5Cb", "a=b"] {
        assert!(matches!(session.put(name, b"x"), 404 | 405 | 422), "{name}");
        let got = node.get(&session.path(&format!("/files/{name}"))).status;
        assert!(matches!(got, 404 | 405 | 422), "{name}: {got}");
    }
    session.run(
        "import os\nos.symlink('/etc/passwd', 'link'); os.mkdir('folder'); os.mkfifo('fifo'); os.symlink('away', 'to')",
    );
    for (name, status) in [("none", 404), ("link", 409), ("folder", 409), ("fifo", 409)] {
        let refused = node.get(&session.path(&format!("/files/{name}"))).expect(status).json();
        assert_eq!(refused["title"], "the file cannot be had", "{name}");
    }
    // A link is replaced, not followed.
    assert_eq!(session.put("to", b"here"), 204);
    assert_eq!(said(&session.run("print(os.path.islink('to'), os.path.exists('away'))")), "False False\n");
    assert_eq!(session.put("folder", b"x"), 409);
}

fn what_an_earlier_execution_still_says_is_not_said_by_a_later_one(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let code = "import os, time
if os.fork() == 0:
    time.sleep(0.2)
    try:
        while True: os.write(1, b'child\\n')
    except BrokenPipeError:
        open('told', 'w').close()
        os._exit(0)
print('parent')";
    assert_eq!(said(&session.run(code)), "parent\n");
    let later = session.run("import time\nwhile not os.path.exists('told'): time.sleep(0.01)\nprint('later')");
    assert_eq!(said(&later), "later\n", "the child's reader is gone, which the child is told");
    // A child that comes back out of the code is none of ours.
    assert_eq!(said(&session.run("pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: print('twin')")), "twin\n");
    assert_eq!(said(&session.run("print('one')")), "one\n");
    // Threads are the engine's own: what they say between executions is nobody's.
    session.run("import threading\ndef late():\n  time.sleep(0.2); print('late'); open('said', 'w').close()\nthreading.Thread(target=late).start()");
    until("the thread has spoken", || node.get(&session.path("/files/said")).status == 200);
    assert_eq!(said(&session.run("print('two')")), "two\n");
}

fn code_that_forges_answers_speaks_for_nobody_but_itself(start: Start) {
    let node = start(&[]);
    let forging = "import os, struct
def forge(frame):
    for fd in range(3, 64):
        try: os.write(fd, frame)
        except OSError: pass
";
    for (last, note) in [
        // An answer to nothing, to what may come next, and no answer.
        ("forge(struct.pack('<BBBBBBBBQ', 2, 0, 0, 0, 0, 0, 0, 0, 7))", "the engine said what is no answer"),
        ("forge(b'\\0' * 16)", "the engine said what is no answer"),
        ("forge(b'x' * 4000)", "the engine said what is no answer"),
        (
            "for fd in range(3, 64):\n  try: os.close(fd)\n  except OSError: pass\nwhile True: pass",
            "the engine closed the socket of its session",
        ),
        ("for fd in range(3, 64):\n  try: os.close(fd)\n  except OSError: pass", ""),
    ] {
        let session = Session::open(&node, &plain());
        session.run(forging);
        let run = session.run(last);
        assert_eq!(run["outcome"]["report"]["goes_on"], false, "{last}: {run}");
        let over = session.until_over();
        let notes = over["outcome"]["report"]["notes"].to_string();
        assert!(notes.contains(note), "{last}: {notes}");
    }
    // Claims are noise, bounded, and lines of a report that only say figures.
    let session = Session::open(&node, &plain());
    session.run(forging);
    let noisy = session.run("for _ in range(20000): forge(b'{\"kind\":\"figure\",\"name\":\"x\"}\\n')\nprint('done')");
    assert_eq!(said(&noisy), "done\n");
    assert!(noisy["outcome"]["report"]["figures"].as_array().unwrap().len() <= 100);
    assert_eq!(said(&session.run("print('on')")), "on\n");
}

fn a_flood_ends_its_session_and_no_other(start: Start) {
    let node = start(&[]);
    let other = Session::open(&node, &plain());
    other.run("x = 1");
    let flooding = Session::open(&node, &json!({"limits": {"streams": "1m"}}));
    for _ in 0..3 {
        flooding.run("print('x' * 500_000)");
    }
    let flood = flooding.run("while True: print('x' * 100_000)");
    assert_eq!(
        (&flood["outcome"]["cause"], &flood["outcome"]["report"]["cause"]["limit"]),
        (&json!("limit"), &json!("streams")),
        "{flood}"
    );
    assert!(said(&flood).len() <= 1 << 20);
    flooding.until_over();
    assert_eq!(said(&other.run("print(x)")), "1\n");
}

fn nothing_of_a_session_is_seen_in_another(start: Start) {
    let node = start(&[]);
    let one = Session::open(&node, &plain());
    let code = "import os, sys
open('secret', 'w').write('s'); open('/tmp/secret', 'w').write('s'); os.environ['SECRET'] = 's'; sys.secret = 's'; secret = 's'
from multiprocessing import shared_memory
import subprocess; subprocess.Popen(['sleep', '1000'])";
    assert_eq!(one.run(code)["outcome"]["status"], 0);
    let two = Session::open(&node, &plain());
    let look = "import os, sys
print(os.path.exists('secret'), os.path.exists('/tmp/secret'), 'SECRET' in os.environ, hasattr(sys, 'secret'), 'secret' in globals(), os.listdir('/dev/shm'))
print([p for p in os.listdir('/proc') if p.isdigit() and b'sleep' in open(f'/proc/{p}/cmdline', 'rb').read()])";
    assert_eq!(said(&two.run(look)), "False False False False False []\n[]\n");
}

fn executions_wait_in_order_and_not_too_many(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let first = session.submit_until("import time; print('begun', flush=True); time.sleep(1000)", "begun");
    let waiting: Vec<String> =
        (0..15).map(|number| session.submit(&format!("print({number})\nx = {number}"))).collect();
    assert_eq!((&session.show()["executing"], &session.show()["waiting"]), (&json!(first), &json!(15)));
    let refused = node.ask("POST", &session.path("/executions"), &[], &json!({"code": "1"})).whole().unwrap();
    assert_eq!(refused.expect(429).json()["title"], "the session has enough to do");
    // One that waits is cancelled without a word to the engine.
    let gone = node.send("DELETE", &format!("/v1/runs/{}", waiting[3]), &[], b"").whole().unwrap().expect(200).json();
    assert_eq!((&gone["outcome"]["cause"], &gone["started_ms"]), (&json!("cancelled"), &Value::Null), "{gone}");
    session.interrupt();
    let starts: Vec<i64> = waiting
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != 3)
        .map(|(_, run)| node.until_state(run, "ended")["started_ms"].as_i64().unwrap())
        .collect();
    assert!(starts.is_sorted(), "{starts:?}");
    assert_eq!(said(&session.run("print(x)")), "14\n");
}

fn executions_stream_reconnect_and_are_not_repeated(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let asked = json!({"code": "n = globals().get('n', 0) + 1; print(n)"});
    let key = [("idempotency-key", "one"), ("accept", "application/x-ndjson")];
    let events: Vec<Value> = node.ask("POST", &session.path("/executions"), &key, &asked).events().collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["accepted", "started", "stdout", "result"]);
    let run = events[0]["run"].as_str().unwrap();
    let again: Vec<Value> = node.ask("POST", &session.path("/executions"), &key, &asked).events().collect();
    assert_eq!(again[0]["run"], json!(run), "the same execution");
    let rest: Vec<Value> = node.send("GET", &format!("/v1/runs/{run}/events?from=3"), &[], b"").events().collect();
    assert_eq!((rest.len(), &rest[0]["text"]), (2, &json!("1\n")));
    assert_eq!(said(&session.run("print(n)")), "1\n");
    let conflict = node.ask("POST", &session.path("/executions"), &key[..1], &json!({"code": "2"})).whole().unwrap();
    conflict.expect(409);
}

fn a_restart_gives_another_engine_with_the_same_inputs(start: Start) {
    let node = start(&["--sessions-each", "1"]);
    let session = Session::open(&node, &json!({"inputs": [{"name": "in.txt", "content": "aGVsbG8="}]}));
    session.run("x = 1; import time");
    session.submit_until("print('begun', flush=True); time.sleep(1000)", "begun");
    let answer = node.send("POST", &session.path("/restart"), &[], b"").whole().unwrap().expect(201).json();
    let other = Session { node: &node, id: answer["id"].as_str().unwrap().to_owned() };
    assert_ne!(other.id, session.id);
    assert_eq!(session.show()["outcome"]["reason"], "restarted");
    assert_eq!(said(&other.run("print('x' in globals(), open('in.txt').read())")), "False hello\n");
    let refused = node.ask("POST", "/v1/sessions", &[], &plain()).whole().unwrap().expect(429).json();
    assert_eq!(refused["title"], "there are too many sessions");
    assert!(refused["next"].as_str().unwrap().contains("close a session"));
    other.close();
    Session::open(&node, &plain());
}

fn a_principal_sees_its_own_sessions_only(start: Start) {
    if !rustix::process::geteuid().is_root() {
        skipped("sessions of two users", "only root can ask as several users");
        return;
    }
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let run = session.run("x = 1")["id"].as_str().unwrap().to_owned();
    let json = [("content-type", "application/json")];
    let other =
        |method: &str, path: &str, body: &str| as_user(node.socket(), 61_240, method, path, &json, body).unwrap();
    for (method, rest, body) in [
        ("GET", "", ""),
        ("DELETE", "", ""),
        ("POST", "/executions", r#"{"code":"print(x)"}"#),
        ("GET", "/executions", ""),
        ("POST", "/interrupt", ""),
        ("POST", "/restart", ""),
        ("PUT", "/files/a", "x"),
        ("GET", "/files/a", ""),
    ] {
        let refused = other(method, &session.path(rest), body).expect(404).json();
        assert_eq!(refused["title"], "there is no such session", "{method} {rest}");
    }
    other("GET", &format!("/v1/runs/{run}"), "").expect(404);
    assert_eq!(other("GET", "/v1/sessions", "").expect(200).json()["sessions"], json!([]));
    assert_eq!(said(&session.run("print(x)")), "1\n");
}

/// Those that follow a session, however it began.
fn supervisors(node: &Node) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        !of("cmdline").contains("--pool=") || of("comm").trim() == "engine-runs"
    };
    node.supervisors().into_iter().filter(is_one).collect()
}

/// Code that says when it has begun, and goes on.
const SLEEPS: &str = "import time; print('begun', flush=True); time.sleep(1000)";

/// By this code an engine calls itself so that it is found.
const CALLED: &str = "import ctypes; ctypes.CDLL(None).prctl(15, b'the-engine')\n";

/// The process that calls itself so, below a supervisor of the node.
pub(crate) fn engine(node: &Node) -> u32 {
    let mut found = None;
    until("the engine runs", || {
        let mut below = node.supervisors();
        while let Some(id) = below.pop() {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            if name.trim() == "the-engine" || line.contains("session.R") {
                found = Some(id);
                return true;
            }
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            below.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        false
    });
    found.unwrap()
}

fn a_killed_engine_ends_its_session_and_says_so(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let run = session.submit_until(&format!("{CALLED}{SLEEPS}"), "begun");
    let waiting = session.submit("print(1)");
    signal(engine(&node), KILL);
    let run = node.until_state(&run, "ended");
    assert_eq!(
        (&run["outcome"]["cause"], &run["outcome"]["report"]["goes_on"]),
        (&json!("signalled"), &json!(false)),
        "{run}"
    );
    assert_eq!(run["outcome"]["refusal"]["what"], "the session ended while this was executed");
    assert_eq!(session.until_over()["outcome"]["report"]["cause"], json!({"kind": "signalled", "signal": 9}));
    let waiting = node.until_state(&waiting, "ended");
    assert_eq!(waiting["outcome"]["cause"], "refused", "{waiting}");
}

fn a_killed_supervisor_loses_its_session_and_leaves_nothing(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    let run = session.submit_until(&format!("{CALLED}{SLEEPS}"), "begun");
    let engine = engine(&node);
    signal(supervisors(&node)[0], KILL);
    let run = node.until_state(&run, "ended");
    assert_eq!((&run["outcome"]["cause"], &run["stdout"]), (&json!("lost"), &json!("begun\n")), "{run}");
    assert_eq!(session.until_over()["outcome"]["cause"], "lost");
    until("nothing of it is alive", || !std::path::Path::new(&format!("/proc/{engine}")).exists());
    // The node goes on.
    assert_eq!(said(&Session::open(&node, &plain()).run("print(1)")), "1\n");
}

fn sessions_are_lost_with_the_launcher_and_with_the_node(start: Start) {
    for kill_node in [false, true] {
        let mut node = start(&[]);
        let session = Session::open(&node, &plain());
        let id = session.id.clone();
        let run = session.submit_until(&format!("{CALLED}{SLEEPS}"), "begun");
        let waiting = session.submit("print(1)");
        let engine = engine(&node);
        if kill_node {
            node.kill();
        } else {
            signal(node.launcher(), KILL);
            node.process.wait().unwrap();
        }
        until("nothing of it is alive", || !std::path::Path::new(&format!("/proc/{engine}")).exists());
        let node = node.again(&[]);
        for lost in [&run, &waiting] {
            assert_eq!(node.show(lost)["state"], "lost", "kill_node {kill_node}");
        }
        let session = Session { node: &node, id };
        assert_eq!((&session.show()["state"], &session.show()["executing"]), (&json!("lost"), &Value::Null));
        assert!(said(&node.show(&run)).contains("begun"));
        let refused = node.ask("POST", &session.path("/executions"), &[], &json!({"code": "1"})).whole().unwrap();
        assert_eq!(refused.expect(409).json()["title"], "the session is over");
    }
}

fn a_node_that_drains_closes_its_sessions(start: Start) {
    let mut node = start(&[]);
    let session = Session::open(&node, &plain());
    session.run("open('kept', 'w').write('x')");
    let id = session.id.clone();
    assert_eq!(node.end(), 0);
    let node = node.again(&[]);
    let session = Session { node: &node, id };
    let shown = session.show();
    assert_eq!((&shown["state"], &shown["outcome"]["reason"]), (&json!("ended"), &json!("drained")), "{shown}");
    assert_eq!(node.get(&format!("/v1/runs/{}/outputs/kept", session.id)).expect(200).text(), "x");
}

fn what_is_executed_is_on_record_before_the_engine_hears_of_it(start: Start) {
    let node = start(&[]);
    let session = Session::open(&node, &plain());
    session.run("print(1)");
    session.put("a.txt", b"x");
    let trail = std::fs::read_to_string(node.folder.join("state/audit.jsonl")).unwrap();
    let acts: Vec<Value> = trail
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["record"] == "act")
        .collect();
    let digest: String = "print(1)".to_owned();
    let digest = sha2_of(digest.as_bytes());
    assert_eq!((&acts[0]["what"], &acts[0]["digest"]), (&json!("execute"), &json!(digest)));
    assert!(acts[0]["principal"].as_str().unwrap().ends_with("@local"));
    assert_eq!((&acts[1]["what"], &acts[1]["file"]), (&json!("put"), &json!("a.txt")));
    // Without a record nothing is executed.
    let trail = node.folder.join("state/audit.jsonl");
    std::fs::remove_file(&trail).unwrap();
    std::fs::create_dir(&trail).unwrap();
    let refused = session.run("print(2)");
    assert_eq!((said(&refused), &refused["outcome"]["cause"]), ("", &json!("refused")), "{refused}");
    std::fs::remove_dir(&trail).unwrap();
    assert_eq!(said(&session.run("print(3)")), "3\n");
}

fn sha2_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
