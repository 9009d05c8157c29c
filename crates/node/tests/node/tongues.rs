//! Sessions of R and SQL: what those of Python promise, in other words. What is no word of the engine's (order,
//! principals, records, loss) is tested in `sessions.rs`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_testkit::skipped;

use crate::sessions::{Session, engine, said};
use crate::support::{AS_SERVICE, Node, signal, until};
use crate::tables::{self, BY_MODE, OF_CONTENT, TRIES};

/// A language, and how things are said in it.
struct Tongue {
    name: &'static str,
    /// Keeps 41.
    keep: &'static str,
    /// Shows one more.
    show: &'static str,
    /// Says `begun`, and then waits or computes for ever.
    endless: &'static [&'static str],
    /// Fails in its second line.
    fail: &'static str,
}

const R: Tongue = Tongue {
    name: "r",
    keep: "x <- 41",
    show: "x + 1",
    endless: &[
        "cat('begun\\n'); Sys.sleep(1000)",
        "cat('begun\\n')\nwhile (TRUE) {}",
        "print('begun'); repeat sum(1:10)",
    ],
    fail: "x\nstop('bad')",
};
const SQL: Tongue = Tongue {
    name: "sql",
    keep: "CREATE TABLE kept AS SELECT 41 AS x",
    show: "SELECT x + 1 FROM kept",
    endless: &[
        "SELECT 'begun';\nSELECT count(*) FROM range(1000000000000) a, range(100) b WHERE a.range + b.range = 3",
    ],
    fail: "SELECT 1;\nSELECT nothing FROM absent",
};

/// Those that can be spoken here.
fn tongues() -> Vec<Tongue> {
    if is_r_here() { vec![R, SQL] } else { vec![SQL] }
}

fn is_r_here() -> bool {
    let is_here = std::path::Path::new("/usr/bin/Rscript").is_file();
    if !is_here {
        skipped("sessions of R", "there is no R on this machine");
    }
    is_here
}

fn open<'a>(node: &'a Node, tongue: &Tongue) -> Session<'a> {
    let session = Session::open(node, &json!({"language": tongue.name}));
    assert_eq!(session.show()["language"], tongue.name);
    // The environment of SQL is built first.
    let run = session.run(tongue.keep);
    assert_eq!(run["outcome"]["status"], 0, "{run}");
    session
}

#[track_caller]
fn shows(session: &Session<'_>, tongue: &Tongue) {
    let run = session.run(tongue.show);
    assert!(said(&run).contains("42"), "{run}");
}

#[test]
fn what_is_kept_stays_when_code_fails_and_errors_name_their_place() {
    let node = Node::start(&[]);
    for tongue in tongues() {
        let session = open(&node, &tongue);
        let failed = session.run(tongue.fail);
        assert_eq!((&failed["outcome"]["cause"], &failed["outcome"]["status"]), (&json!("exited"), &json!(1)));
        assert_eq!(failed["outcome"]["report"]["goes_on"], true, "{failed}");
        assert!(failed["outcome"]["report"]["exception"].is_string(), "{failed}");
        assert_ne!(said(&failed), "", "what came before the error was shown");
        shows(&session, &tongue);
        assert_eq!(session.run("(((")["outcome"]["status"], 1);
        shows(&session, &tongue);
        assert_eq!(session.run("")["outcome"]["status"], 0);
        let other = open(&node, &tongue);
        assert_eq!(other.close()["outcome"]["reason"], "closed");
        shows(&session, &tongue);
    }
}

#[test]
fn r_is_shown_as_r_shows_it() {
    if !is_r_here() {
        return;
    }
    let node = Node::start(&[]);
    let session = open(&node, &R);
    for (code, output, error) in [
        ("x; invisible(5); y <- 6; 'a'", "[1] 41\n[1] \"a\"\n", ""),
        ("f <- function(n) stop('is ', n)\ng <- function() f(3)", "", ""),
        ("g()", "", "Error in f(3) : is 3\nCalls: g -> f\n"),
        ("stop('top')", "", "Error: top\n"),
        ("absent", "", "Error: object 'absent' not found\n"),
        (
            "warning('w'); as.integer('a')",
            "[1] NA\n",
            "Warning message:\nw \nWarning message:\nNAs introduced by coercion \n",
        ),
        ("h <- function() warning('in h'); h(); stop('then')", "", "Warning message:\nIn h() : in h\nError: then\n"),
        ("1 +\n  ) 2", "", "Error: <execution 9>:2:3: unexpected ')'\n1: 1 +\n2:   )\n     ^\n"),
        ("message('m'); write('e', stderr()); print(1)", "[1] 1\n", "m\ne\n"),
        (
            "tryCatch(stop('a'), error = function(e) cat('caught\\n')); try(log(-1))",
            "caught\n[1] NaN\n",
            "Warning message:\nIn log(-1) : NaNs produced\n",
        ),
        ("ls()", "[1] \"f\" \"g\" \"h\" \"x\" \"y\"\n", ""),
        ("system('echo from a child')", "from a child\n", ""),
        ("invokeRestart('abort')", "", ""),
        ("options(digits = 3); pi", "[1] 3.14\n", ""),
        ("pi", "[1] 3.14\n", ""),
        ("Ünïcode <- 'ä'; nchar(Ünïcode)", "[1] 1\n", ""),
    ] {
        let run = session.run(code);
        assert_eq!((said(&run), run["stderr"].as_str().unwrap()), (output, error), "{code}");
    }
    let drawn = session.run("plot(1:3); plot(3:1)");
    assert_eq!(drawn["outcome"]["report"]["figures"], json!(["figure-1.png", "figure-2.png"]), "{drawn}");
    assert!(node.get(&session.path("/files/figure-2.png")).expect(200).body.starts_with(b"\x89PNG"));
    assert_eq!(session.run("plot(1)")["outcome"]["report"]["figures"], json!(["figure-3.png"]));
    // Its own end is the session's.
    let ended = session.run("cat('bye\\n'); writeLines('kept', 'out.txt'); quit(status = 3)");
    assert_eq!((said(&ended), &ended["outcome"]["report"]["goes_on"]), ("bye\n", &json!(false)), "{ended}");
    let over = session.until_over();
    assert_eq!(over["outcome"]["report"]["cause"], json!({"kind": "exited", "status": 3}), "{over}");
    assert_eq!(node.get(&format!("/v1/runs/{}/outputs/out.txt", session.id)).expect(200).text(), "kept\n");
}

#[test]
fn sql_keeps_one_connection_and_sees_files_as_they_are_now() {
    let node = Node::start(&[]);
    // "city,n\nBern,3\n"
    let inputs = json!([{"name": "sales.csv", "content": "Y2l0eSxuCkJlcm4sMwo="}]);
    let session = Session::open(&node, &json!({"language": "sql", "inputs": inputs}));
    let asks = |query: &str, part: &str| {
        let run = session.run(query);
        assert!(format!("{}{}", said(&run), run["stderr"]).contains(part), "{query}: {run}");
    };
    asks(
        "CREATE TEMP TABLE t AS SELECT 5 AS five; CREATE VIEW v AS SELECT five * 2 AS ten FROM t; SET VARIABLE w = 'kept'",
        "",
    );
    asks("SELECT ten, getvariable('w') FROM v", "kept");
    asks("SELECT * FROM sales", "Bern");
    assert_eq!(node.get(&session.path("/files/result.csv")).expect(200).text(), "city,n\nBern,3\n");
    asks("SELECT 'next' AS result", "next");
    assert_eq!(node.get(&session.path("/files/result.csv")).expect(200).text(), "result\nnext\n", "ours is replaced");
    assert_eq!(session.put("sales.csv", b"town,sum\nGenf,4\n"), 204);
    asks("SELECT * FROM sales", "Genf");
    assert_eq!(session.put("more.csv", b"a\n1\n"), 204);
    asks("SHOW TABLES", "more");
    asks("SELECT 1;\nSELECT * FROM absent", "error: `<execution 7>` line 2: Catalog Error");
    asks("BEGIN; CREATE TABLE gone AS SELECT 1 AS a; SELECT nothing", "Error");
    asks("SELECT 1", "ROLLBACK");
    asks("ROLLBACK", "");
    asks("SELECT * FROM gone", "does not exist");
    // A file of the code's own is not replaced.
    assert_eq!(session.put("result.csv", b"mine\n"), 204);
    asks("SELECT 2", "`result.csv` exists and is kept");
    assert_eq!(node.get(&session.path("/files/result.csv")).expect(200).text(), "mine\n");
    // Nothing is fetched from anywhere.
    asks("INSTALL httpfs", "Error");
    assert_eq!(session.close()["outcome"]["reason"], "closed");
}

#[test]
fn an_interrupt_ends_what_is_executed_and_nothing_else() {
    let node = Node::start(&[]);
    for tongue in tongues() {
        let session = open(&node, &tongue);
        assert_eq!(session.interrupt()["interrupted"], Value::Null, "nothing is executed");
        for code in tongue.endless {
            let run = session.submit_until(code, "begun");
            let began = Instant::now();
            assert_eq!(session.interrupt()["interrupted"], json!(run));
            let run = node.until_state(&run, "ended");
            assert!(began.elapsed() < Duration::from_secs(2), "{code}: {:?}", began.elapsed());
            assert_eq!((&run["outcome"]["status"], &run["outcome"]["cancelled"]), (&json!(130), &json!(true)), "{run}");
            shows(&session, &tongue);
        }
        for _ in 0..15 {
            let run = session.submit(tongue.endless.last().unwrap());
            until("it is executed", || session.interrupt()["interrupted"] == json!(run));
            assert_eq!(node.until_state(&run, "ended")["outcome"]["status"], 130);
            // One that comes at its end, or as late as can be.
            let short = session.submit(tongue.show);
            session.interrupt();
            node.until_state(&short, "ended");
            let next = session.run(tongue.show);
            assert!(said(&next).contains("42") && next["outcome"]["status"] == 0, "{next}");
        }
    }
}

#[test]
fn an_execution_whose_time_is_over_is_interrupted_or_ends_its_session() {
    let node = Node::start(&[]);
    for tongue in tongues() {
        let session = open(&node, &tongue);
        let late = session.run_with(&json!({"code": tongue.endless.last().unwrap(), "time": "500ms"}));
        assert_eq!((&late["outcome"]["cause"], &late["outcome"]["status"]), (&json!("limit"), &json!(124)), "{late}");
        assert_eq!(late["outcome"]["report"]["goes_on"], true);
        shows(&session, &tongue);
        session.close();
    }
    if is_r_here() {
        let session = open(&node, &R);
        let late = session.run_with(&json!({"code": "suspendInterrupts(while (TRUE) {})", "time": "500ms"}));
        assert_eq!(
            (&late["outcome"]["cause"], &late["outcome"]["report"]["goes_on"]),
            (&json!("limit"), &json!(false)),
            "{late}"
        );
        assert_eq!(session.until_over()["outcome"]["report"]["cause"]["limit"], "time");
    }
}

#[test]
fn files_go_in_and_out_and_lead_nowhere_else() {
    if !is_r_here() {
        return;
    }
    let node = Node::start(&[]);
    let session = open(&node, &R);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    assert_eq!(session.put("data.bin", &bytes), 204);
    assert_eq!(said(&session.run("file.size('data.bin')")), "[1] 3e+06\n");
    session.run("writeBin(rev(readBin('data.bin', 'raw', 3e6)), 'copy.bin')");
    assert!(node.get(&session.path("/files/copy.bin")).expect(200).body.iter().eq(bytes.iter().rev()));
    assert_eq!(session.put("data.bin", b"less"), 204);
    assert_eq!(said(&session.run("readLines('data.bin', warn = FALSE)")), "[1] \"less\"\n", "a file is replaced");
    for name in ["..", ".hidden", "a%2Fb", "..%2Fx", "a%0Ab"] {
        assert!(matches!(session.put(name, b"x"), 404 | 405 | 422), "{name}");
    }
    session.run(
        "file.symlink('/etc/passwd', 'link'); dir.create('folder'); system('mkfifo fifo'); file.symlink('away', 'to')",
    );
    for (name, status) in [("none", 404), ("link", 409), ("folder", 409), ("fifo", 409)] {
        let refused = node.get(&session.path(&format!("/files/{name}"))).expect(status).json();
        assert_eq!(refused["title"], "the file cannot be had", "{name}");
    }
    assert_eq!(session.put("to", b"here"), 204);
    assert_eq!(said(&session.run("Sys.readlink('to') == '' && !file.exists('away')")), "[1] TRUE\n");
    assert_eq!(session.put("folder", b"x"), 409);
    // Also when the code has gone elsewhere.
    session.run("setwd('folder')");
    assert_eq!(session.put("after", b"x"), 204);
    assert_eq!(
        said(&session.run("file.exists('../after'); list.files('..', all.files = TRUE, pattern = 'partial')")),
        "[1] TRUE\ncharacter(0)\n"
    );
}

#[test]
fn r_maps_a_table_while_it_is_open_and_can_change_nothing_in_it() {
    if !is_r_here() {
        return;
    }
    let users: &[&[&str]] = if rustix::process::geteuid().is_root() { &[&[], &AS_SERVICE] } else { &[&[]] };
    for flags in users {
        let node = Node::start(flags);
        let session = open(&node, &R);
        let (token, memory) = tables::table_as(&node, None, &[7; 1 << 20]);
        tables::put(&node, &session.id, "t.arrow", &token).expect(204);
        let read = "bytes <- readBin('t.arrow', 'raw', 2e6); c(length(bytes), unique(as.integer(bytes)), file.size('t.arrow'), x)";
        assert_eq!(said(&session.run(read)), "[1] 1048576       7 1048576      41\n");
        let inode = rustix::fs::fstat(&memory).unwrap().st_ino;
        let seen = session.run("system('stat --dereference --format=%i t.arrow')");
        assert_eq!(said(&seen), format!("{inode}\n"), "the memory itself");
        let write = "for (how in c('wb', 'ab', 'r+b')) try(writeBin(raw(9), file('t.arrow', how)), silent = TRUE)";
        assert_eq!(session.run(write)["outcome"]["status"], 0);
        // A child has its descriptors.
        assert_eq!(session.put("tries.py", [TRIES, BY_MODE, OF_CONTENT].concat().as_bytes()), 204);
        let tried = session.run("system('python3 tries.py')");
        assert_eq!(said(&tried), "protect -1\nplaces 100 0\n", "{tried}");
        let mut left = vec![0; (1 << 20) + 1];
        assert_eq!(rustix::io::pread(&memory, &mut left, 0).unwrap(), 1 << 20);
        assert!(left.iter().take(1 << 20).all(|byte| *byte == 7));
        // One of its name takes its place, and what is there at the end is no output.
        tables::put(&node, &session.id, "t.arrow", &tables::table(&node, b"less")).expect(204);
        assert_eq!(said(&session.run("readLines('t.arrow', warn = FALSE)")), "[1] \"less\"\n");
        let outputs = &session.close()["outcome"]["report"]["outputs"];
        assert!(!outputs.to_string().contains("t.arrow"), "{outputs}");
    }
}

#[test]
fn sql_reads_a_table_by_its_path_and_by_its_name_and_can_change_nothing_in_it() {
    let node = Node::start(&[]);
    let session = Session::open(&node, &json!({"language": "sql", "with": ["pyarrow"]}));
    let asks = |query: &str, part: &str| {
        let run = session.run(query);
        assert!(format!("{}{}", said(&run), run["stderr"]).contains(part), "{query}: {run}");
    };
    let (token, memory) = tables::table_as(&node, None, b"city,sum\nBern,3\n");
    tables::put(&node, &session.id, "t.csv", &token).expect(204);
    asks("SELECT sum * 14 FROM t", "42");
    asks("SELECT content = 'city,sum\nBern,3\n'::BLOB AS same FROM read_blob('t.csv')", "true");
    for to in (3..30).map(|number| format!("/proc/self/fd/{number}")).chain(["t.csv".to_owned()]) {
        session.run(&format!("COPY (SELECT 5 AS city, 6 AS sum) TO '{to}' (FORMAT csv, USE_TMP_FILE false)"));
    }
    let mut left = [0; 100];
    let count = rustix::io::pread(&memory, &mut left, 0).unwrap();
    assert_eq!(left.get(..count).unwrap(), b"city,sum\nBern,3\n");
    // An Arrow file is the table of its name, and another one takes its place.
    for last in [3, 5] {
        let code = format!(
            "import pyarrow, pyarrow.ipc\ntable = pyarrow.table({{'n': [1, {last}]}})\nwith pyarrow.ipc.new_file('f', table.schema) as f:\n  f.write_table(table)"
        );
        let made = node.post(&[], &json!({"code": code, "with": ["pyarrow"]})).whole().unwrap().expect(200).json();
        let path = format!("/v1/runs/{}/outputs/f", made["id"].as_str().unwrap());
        let token = tables::table(&node, &node.get(&path).expect(200).body);
        tables::put(&node, &session.id, "numbers.arrow", &token).expect(204);
        asks("SELECT max(n) * 100 AS most FROM numbers", &format!("{}", last * 100));
    }
    assert_eq!(session.close()["outcome"]["reason"], "closed");
}

#[test]
fn what_an_earlier_piece_of_r_still_says_is_not_said_by_a_later_one() {
    if !is_r_here() {
        return;
    }
    let node = Node::start(&[]);
    let session = open(&node, &R);
    let code = "system(\"(trap '' PIPE; sleep 0.2; while echo child 2> /dev/null; do :; done; touch told) &\"); cat('parent\\n')";
    assert_eq!(said(&session.run(code)), "parent\n");
    let later = session.run("while (!file.exists('told')) Sys.sleep(0.01); cat('later\\n')");
    assert_eq!(said(&later), "later\n", "the child's reader is gone, which the child is told");
    // A child that comes back out of the code is none of ours.
    let twin = "p <- parallel:::mcfork(); if (inherits(p, 'masterProcess')) cat('twin\\n') else { parallel:::selectChildren(p, -1); NULL }";
    let twin = session.run(twin);
    assert!(said(&twin).contains("twin\n") && twin["outcome"]["status"] == 0, "{twin}");
    assert_eq!(said(&session.run("x")), "[1] 41\n");
}

#[test]
fn code_of_other_languages_that_forges_answers_speaks_for_nobody_but_itself() {
    let node = Node::start(&[]);
    if is_r_here() {
        let forging = "ours <- function(name) getNativeSymbolInfo(name, getLoadedDLLs()[['libstockade_r']])$address
forge <- function(bytes) .C(ours('stockade_say'), as.raw(bytes), length(bytes))";
        for (last, note) in [
            // An answer to nothing, to what may come next, and no answer; two answers; another socket.
            ("forge(c(2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0)); NULL", "the engine said what is no answer"),
            ("forge(raw(16)); NULL", "the engine said what is no answer"),
            ("forge(rep(120, 4000)); NULL", "the engine said what is no answer"),
            (".C(ours('stockade_answer'), 0L); Sys.sleep(1)", ""),
            (".C(ours('stockade_begin'), 0L, 0L); 1", ""),
        ] {
            let session = open(&node, &R);
            session.run(forging);
            session.run(last);
            let next = session.node.ask("POST", &session.path("/executions"), &[], &json!({"code": "x"}));
            let next = next.whole().unwrap();
            if next.status == 200 {
                assert_ne!(next.json()["outcome"]["cause"], "exited", "{last}");
            }
            let over = session.until_over();
            assert!(over["outcome"]["report"]["notes"].to_string().contains(note), "{last}: {over}");
        }
        // Claims are noise, bounded, and lines of a report that only say figures.
        let session = open(&node, &R);
        session.run(forging);
        let claim =
            r#"line <- charToRaw('{"kind":"figure","name":"x"}\n'); for (i in 1:20000) forge(line); cat('done\n')"#;
        let noisy = session.run(claim);
        assert_eq!(said(&noisy), "done\n");
        assert!(noisy["outcome"]["report"]["figures"].as_array().unwrap().len() <= 100);
        shows(&session, &R);
        // An answer that never ends, and output that does not.
        let flooding = Session::open(&node, &json!({"language": "r", "limits": {"streams": "1m"}}));
        let flood = flooding.run("repeat cat(strrep('x', 1e5))");
        assert_eq!(flood["outcome"]["report"]["cause"]["limit"], "streams", "{flood}");
        flooding.until_over();
        shows(&session, &R);
    }
    let session = open(&node, &SQL);
    for number in 3..16 {
        let claim = format!("COPY (SELECT 'x' AS a) TO '/proc/self/fd/{number}' (FORMAT csv, HEADER false)");
        let run = session.run(&claim);
        assert_eq!(run["outcome"]["report"]["goes_on"], true, "{run}");
        assert_eq!(run["outcome"]["report"]["figures"], json!([]), "{run}");
    }
    shows(&session, &SQL);
    let flooding = Session::open(&node, &json!({"language": "sql", "limits": {"streams": "1m"}}));
    let flood = flooding.run("COPY (SELECT repeat('x', 1000) FROM range(100000)) TO '/dev/stdout'");
    assert_eq!(flood["outcome"]["report"]["cause"]["limit"], "streams", "{flood}");
    shows(&session, &SQL);
}

#[test]
fn a_restart_begins_anew_and_a_killed_engine_says_so() {
    if !is_r_here() {
        return;
    }
    let node = Node::start(&[]);
    let session = open(&node, &R);
    let answer = node.send("POST", &session.path("/restart"), &[], b"").whole().unwrap().expect(201).json();
    assert_eq!(answer["language"], "r");
    let other = Session { node: &node, id: answer["id"].as_str().unwrap().to_owned() };
    assert_eq!(said(&other.run("exists('x')")), "[1] FALSE\n");
    let run = other.submit_until(R.endless[0], "begun");
    signal(engine(&node), rustix::process::Signal::KILL);
    let run = node.until_state(&run, "ended");
    assert_eq!((&run["outcome"]["cause"], said(&run)), (&json!("signalled"), "begun\n"), "{run}");
    assert_eq!(other.until_over()["outcome"]["report"]["cause"], json!({"kind": "signalled", "signal": 9}));
    // Its events are there for whoever comes back.
    let id = run["id"].as_str().unwrap();
    let events: Vec<Value> = node.send("GET", &format!("/v1/runs/{id}/events?from=2"), &[], b"").events().collect();
    assert_eq!(events.last().unwrap()["type"], "result");
}
