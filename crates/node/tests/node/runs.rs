//! Runs through the node are runs of the command: the same output, report and files.

use serde_json::{Value, json};
use stockade_testkit::{Folder, User, call};

use crate::support::{Node, command};

const BOUNDARY: &str = "----a-boundary";

/// A form of parts: name, file name if it is a file, bytes.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        body.extend(format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    body
}

#[test]
fn a_run_is_byte_for_byte_the_run_of_the_command() {
    let code = "import sys, os\nprint('ä', sys.argv)\nprint('oops', file=sys.stderr)\nopen('a.bin', 'wb').write(bytes(range(256)))\nos.makedirs('b'); open('b/c.txt', 'w').write(open('in.csv').read() * 2)\ntry: open('/etc/shadow').read()\nexcept OSError as e: print(e)\nimport socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError as e: print(e)\nraise SystemExit(7)\n";
    let local = Folder::new();
    local.write("main.py", code);
    local.write("in.csv", "1,2\n");
    let ran = call(command().to_str().unwrap(), User::Ordinary)
        .within(local.path())
        .args(["run", "--json", "--in", "in.csv", "--out", "out", "main.py", "x", "--y"])
        .run()
        .expect(7);

    let node = Node::start(&[]);
    let request = json!({ "arguments": ["x", "--y"] }).to_string();
    let body = form(&[
        ("request", None, request.as_bytes()),
        ("script", Some("main.py"), code.as_bytes()),
        ("input", Some("in.csv"), b"1,2\n"),
    ]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let run = node.send("POST", "/v1/runs", &[("content-type", &kind)], &body).whole().unwrap().expect(200).json();
    assert_eq!(run["stdout"].as_str().unwrap(), ran.stdout);
    assert_eq!(run["stderr"].as_str().unwrap(), ran.stderr.lines().next().unwrap().to_owned() + "\n");
    assert_eq!((run["outcome"]["status"].as_i64(), &run["state"]), (Some(7), &json!("ended")));
    let (here, there) = (ran.report(), &run["outcome"]["report"]);
    for part in ["cause", "enforced", "denials", "tier", "environment", "hints", "scratch", "processes_left"] {
        assert_eq!(there[part], here[part], "{part}");
    }
    assert_eq!(there["outputs"]["files"], here["outputs"]["files"]);
    assert!(there["outputs"]["folder"].is_null());

    let id = run["id"].as_str().unwrap();
    let output = node.get(&format!("/v1/runs/{id}/outputs/a.bin")).expect(200);
    assert_eq!(output.body, (0..=255).collect::<Vec<u8>>());
    assert_eq!(output.headers["content-type"], "application/octet-stream");
    assert_eq!(node.get(&format!("/v1/runs/{id}/outputs/b/c.txt")).expect(200).text(), "1,2\n1,2\n");
    let archive = node.get(&format!("/v1/runs/{id}/outputs")).expect(200);
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive.body.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        assert_eq!(bytes, std::fs::read(local.path().join("out").join(&name)).unwrap(), "{name}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["a.bin", "b/c.txt"]);
}

#[test]
fn the_record_says_who_asked() {
    let node = Node::start(&[]);
    node.run("print(1)");
    let trail = std::fs::read_to_string(node.folder.join("state/audit.jsonl")).unwrap();
    let principals: Vec<String> = trail
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["record"] == "intent")
        .map(|record| record["principal"].as_str().unwrap().to_owned())
        .collect();
    let own = format!("uid-{}@local", rustix::process::geteuid().as_raw());
    assert_eq!(principals, ["readiness@node".to_owned(), own]);
}

#[test]
fn outputs_that_were_not_collected_are_not_given_out() {
    let node = Node::start(&[]);
    let run = node.run("import os\nopen('a', 'w').write('x')\nos.symlink('/etc/passwd', 'link')");
    let id = run["id"].as_str().unwrap();
    for path in ["link", "../in/main.py", "..%2Fin%2Fmain.py", "%2e%2e/in/main.py", "none", "a/b", "a%00"] {
        let answer = node.get(&format!("/v1/runs/{id}/outputs/{path}"));
        assert!(matches!(answer.status, 404 | 422), "{path}: {answer:?}");
    }
    node.get(&format!("/v1/runs/{id}/outputs/a")).expect(200);
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do_next() {
    let node = Node::start(&[]);
    for (request, what) in [
        (json!({}), "nothing to run"),
        (json!({"code": "1", "cod": "2"}), "the request cannot be understood"),
        (json!({"code": "1", "name": "../x.py"}), "`../x.py` cannot be the name of a file"),
        (json!({"code": "1", "name": "x.sh"}), "cannot tell what runs `x.sh`"),
        (json!({"code": "1", "with": ["./evil.whl"]}), "`./evil.whl` is no package of an index"),
        (json!({"code": "1", "with": ["--index-url=http://x"]}), "`--index-url=http://x` is no package of an index"),
        (json!({"code": "1", "limits": {"time": "10h"}}), "limit `time` is more than this node gives"),
        (json!({"code": "1", "limits": {"tme": "1s"}}), "there is no limit `tme`"),
        (json!({"code": "1", "inputs": [{"name": "a", "content": "%%%"}]}), "input `a` is not in base64"),
        (json!({"code": "1", "inputs": [{"name": "main.py", "content": ""}]}), "two files are called `main.py`"),
        (json!([1]), "the request cannot be understood"),
    ] {
        let answer = node.post(&[], &request).whole().unwrap().expect(422);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["title"], what, "{request}");
        for part in ["type", "detail", "next", "request_id"] {
            assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{part} of {problem}");
        }
        assert_eq!(problem["request_id"], answer.headers["x-request-id"]);
    }
    node.send("POST", "/v1/runs", &[("content-type", "text/plain")], b"x").whole().unwrap().expect(422);
    node.send("PUT", "/v1/runs", &[], b"").whole().unwrap().expect(405);
    node.get("/v1/nothing").expect(404);
    node.get("/v1/runs?limit=many").expect(422);
    assert_eq!(node.get("/v1/runs").expect(200).json()["runs"], json!([]), "nothing of it was accepted");
}

#[test]
fn a_refusal_of_the_command_is_told_in_its_words() {
    let node = Node::start(&[]);
    let answer = node.post(&[], &json!({"code": "1", "environment": "none-of-this-name"})).whole().unwrap();
    let outcome = &answer.expect(200).json()["outcome"];
    assert_eq!(outcome["cause"], "refused", "{outcome}");
    assert!(outcome["refusal"]["what"].as_str().unwrap().contains("none-of-this-name"), "{outcome}");
    assert!(outcome["refusal"]["next"].as_str().is_some_and(|next| !next.is_empty()), "{outcome}");
}

#[test]
fn limits_of_the_request_hold() {
    let node = Node::start(&[]);
    let request = json!({"code": "while True: pass", "limits": {"time": "300ms"}});
    let outcome = node.post(&[], &request).whole().unwrap().expect(200).json()["outcome"].clone();
    assert_eq!(outcome["report"]["cause"], json!({"kind": "limit", "limit": "time"}));
    assert_eq!(outcome["status"], 124);
}

#[test]
fn the_operators_policy_bounds_every_run() {
    let folder = Folder::new();
    let text = "name = \"small\"\nversion = \"1\"\ntype = \"stockade.policy\"\nconfiguration { StockadePolicy { name = \"small\", limits { wallTime = 60s } } }\n";
    let policy = folder.write("policy.conf", text);
    let node = Node::start(&["--policy", policy.to_str().unwrap()]);
    let run = |limits: Value| {
        let request = json!({"code": "print(1)", "limits": limits});
        node.post(&[], &request).whole().unwrap().expect(200).json()["outcome"].clone()
    };
    let outcome = run(json!({}));
    assert_eq!(outcome["cause"], "refused", "more than the policy permits is the node's usual: {outcome}");
    let outcome = run(json!({"time": "30s"}));
    assert_eq!(outcome["cause"], "exited", "{outcome}");
}

#[test]
fn every_run_is_listed_the_youngest_first_in_pages() {
    let node = Node::start(&[]);
    let ids: Vec<String> =
        (0..5).map(|number| node.run(&number.to_string())["id"].as_str().unwrap().to_owned()).collect();
    let first = node.get("/v1/runs?limit=3").expect(200).json();
    let second = node.get(&format!("/v1/runs?limit=3&before={}", first["before"])).expect(200).json();
    let listed: Vec<&str> = [&first, &second]
        .into_iter()
        .flat_map(|page| page["runs"].as_array().unwrap())
        .map(|run| run["id"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ids.iter().rev().map(String::as_str).collect::<Vec<_>>());
    assert!(second["before"].is_null());
}

#[test]
fn a_run_is_forgotten_with_all_it_left() {
    let node = Node::start(&[]);
    let run = node.run("open('a', 'w').write('x')");
    let id = run["id"].as_str().unwrap();
    assert_eq!(crate::support::run_files(&node.folder).len(), 1, "its output, and no input");
    node.send("DELETE", &format!("/v1/runs/{id}?forget=true"), &[], b"").whole().unwrap().expect(204);
    node.get(&format!("/v1/runs/{id}")).expect(404);
    assert_eq!(std::fs::read_dir(node.folder.join("runs")).unwrap().count(), 0);
}
