//! What an administrator does: levels and files of the log, properties, the doctor, the bundle for a report.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stockade_node::properties::{Becomes, PROPERTIES};
use stockade_testkit::{Folder, Ran, User, call};

use crate::support::{Node, command, open_folder, starting, until};

/// The command, as whoever runs the tests.
fn stockade(words: &[&str]) -> Ran {
    call(command().to_str().unwrap(), User::Caller).args(words).run()
}

/// A folder for logs below a node's, which it makes itself.
fn with_logs(flags: &[&str]) -> (Node, std::path::PathBuf, Folder) {
    let home = open_folder();
    let logs = home.path().join("logs");
    let mut all = vec!["--log-dir", logs.to_str().unwrap()];
    all.extend(flags);
    let node = Node::start(&all);
    (node, logs, home)
}

fn logged(logs: &Path) -> Vec<Value> {
    ["node.0.log", "node.1.log"]
        .iter()
        .flat_map(|name| {
            std::fs::read_to_string(logs.join(name))
                .unwrap_or_default()
                .lines()
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        })
        .map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn levels_are_changed_while_it_runs_by_its_own_user_and_root_alone() {
    let (node, logs, _home) = with_logs(&[]);
    let socket = node.socket();
    let level = |words: &[&str]| {
        let mut all = vec!["node", "log", "--socket", socket.to_str().unwrap()];
        all.extend(words);
        call(command().to_str().unwrap(), User::Ordinary).args(&all).run()
    };
    assert_eq!(level(&[]).expect(0).stdout, "info\n");
    node.get("/livez").expect(200);
    let answered = || logged(&logs).iter().filter(|line| line["message"] == "answered").count();
    until("an answer is logged", || answered() > 0);
    // For one target nothing, for the others as before.
    assert_eq!(level(&["info,stockade_node::api=off"]).expect(0).stdout, "info,stockade_node::api=off\n");
    let before = answered();
    node.get("/livez").expect(200);
    let run = node.run("print(1)")["id"].as_str().unwrap().to_owned();
    until("the run is logged", || logged(&logs).iter().any(|line| line["run"] == run.as_str()));
    assert_eq!(answered(), before);
    let refused = level(&["loud"]).expect(125);
    assert!(refused.stderr.contains("`loud` is no level"), "{}", refused.stderr);
    // Somebody else may neither change nor see it.
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--unix-socket"]).arg(&socket).args([
            "http://node/v1/admin/log",
            "--write-out",
            "%{http_code}",
        ]);
        let denied = curl.uid(61_300).gid(61_300).output().unwrap();
        let said = String::from_utf8_lossy(&denied.stdout).into_owned();
        assert!(said.contains("this is not for you") && said.ends_with("403"), "{said}");
    }
}

#[test]
fn two_files_take_turns_within_their_bound() {
    let (node, logs, _home) = with_logs(&["--log-mib", "1"]);
    let size = |name: &str| std::fs::metadata(logs.join(name)).map_or(0, |status| status.len());
    until("the second file is begun", || {
        for _ in 0..200 {
            node.get(&format!("/{}", "x".repeat(3_000))).expect(404);
        }
        size("node.1.log") > 0
    });
    assert!(size("node.0.log") <= 1 << 20 && size("node.1.log") <= 1 << 20);
    assert!(!logged(&logs).is_empty());
}

#[test]
fn every_line_about_a_run_names_it_and_no_line_holds_a_secret() {
    let (node, logs, _home) = with_logs(&["--log-level", "trace"]);
    let secret = "hunter22hunter22";
    let code = format!("password = '{secret}'\nprint(password)\nimport os; print(os.environ.get('TOKEN'))");
    let body = json!({"code": code, "inputs": [{"name": "secret.txt", "content": "aHVudGVyMjJodW50ZXIyMg=="}]});
    let headers = [("authorization", "Bearer hunter22hunter22"), ("cookie", "session=hunter22hunter22")];
    let run = node.post(&headers, &body).whole().unwrap().expect(200).json();
    node.send("GET", &format!("/v1/runs?token={secret}"), &headers, b"").whole().unwrap().expect(422);
    node.send("GET", &format!("/token={secret}"), &[], b"").whole().unwrap().expect(404);
    let id = run["id"].as_str().unwrap();
    until("its end is logged", || logged(&logs).iter().filter(|line| line["run"] == id).count() >= 2);
    until("the path is logged", || logged(&logs).iter().any(|line| line["path"] == "/token=[redacted]"));
    let text: String = ["node.0.log", "node.1.log"]
        .iter()
        .map(|name| std::fs::read_to_string(logs.join(name)).unwrap_or_default())
        .collect();
    assert!(!text.contains("hunter22") && !text.contains("aHVudGVyMjJodW50ZXIyMg"), "{text}");
    for line in logged(&logs).iter().filter(|line| line["target"].as_str().unwrap_or("").starts_with("stockade_node")) {
        let about_run = line["message"].as_str().unwrap_or("").contains("run");
        let named = ["run", "request", "socket"].iter().any(|key| !line[key].is_null());
        assert!(!about_run || named, "{line}");
    }
}

#[test]
fn a_trail_that_is_gone_with_all_its_files_is_not_begun_anew_without_a_word() {
    let (mut node, logs, home) = with_logs(&[]);
    let told = || logged(&logs).iter().filter(|line| line["level"] == "ERROR").count();
    let text = "name = x, version = \"1\", type = stockade.security\nconfiguration { SecuritySettings {} }";
    crate::tls::command_of(&node, "configuration/load", &json!({ "source": text }));
    let flags = ["--log-dir", logs.to_str().unwrap()];
    node.end();
    let mut node = node.again(&flags);
    assert_eq!(told(), 0, "{:?}", logged(&logs));
    node.end();
    std::fs::rename(node.folder.join("store/audit"), home.path().join("aside")).unwrap();
    let node = node.again(&flags);
    let said = logged(&logs);
    let lost =
        |line: &&Value| line["message"].as_str().is_some_and(|said| said.contains("the audit trail begins anew"));
    assert_eq!(said.iter().filter(lost).count(), 1, "{said:?}");
    assert_eq!(told(), 1);
    // As nothing was done before, a fresh node has nothing to say.
    drop(node);
    let (_node, logs, _home) = with_logs(&[]);
    assert_eq!(logged(&logs).iter().filter(|line| line["level"] == "ERROR").count(), 0);
}

#[test]
fn the_table_of_properties_is_that_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/custom-properties.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect())
        .collect();
    let shown: Vec<(String, String, String)> = rows
        .iter()
        .map(|row| (row[0].trim_end_matches('`').to_owned(), row[1].to_owned(), row[2].replace('`', "")))
        .collect();
    let known: Vec<(String, String, String)> = PROPERTIES
        .iter()
        .map(|property| {
            let becomes = match property.becomes {
                Becomes::Flags(names) => names.join(" "),
                Becomes::Itself => "itself".to_owned(),
                Becomes::Refused => "refused".to_owned(),
            };
            (property.name.to_owned(), property.usual.to_owned(), becomes)
        })
        .collect();
    assert_eq!(shown, known);
}

#[test]
fn a_file_of_properties_bounds_what_the_node_gives() {
    let home = open_folder();
    let file = home.write("custom.properties", "ram.limit: 200\nengine.execution.timeout: 3\nengine.session.max: 1\nspring.servlet.multipart.max-file-size: 1MB\n");
    let node = Node::start(&["--properties", file.to_str().unwrap()]);
    let ask = |limits: Value| node.post(&[], &json!({"code": "print(1)", "limits": limits})).whole().unwrap();
    ask(json!({"memory": "200MiB", "time": "3s"})).expect(200);
    assert!(
        ask(json!({"memory": "201MiB"})).expect(422).text().contains("limit `memory` is more than this node gives")
    );
    assert!(ask(json!({"time": "4s"})).expect(422).text().contains("limit `time`"));
    let killed = node.run("import time; time.sleep(20)");
    assert_eq!(killed["outcome"]["report"]["cause"]["limit"], "time", "{killed}");
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"script\"; filename=\"a.py\"\r\n\r\n{}\r\n--x--\r\n",
        "#".repeat(2 << 20)
    );
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let large = node.send("POST", "/v1/runs", &kind, form.as_bytes()).whole().unwrap().expect(413);
    assert!(large.text().contains("the most is 1 MiB"), "{}", large.text());
    node.ask("POST", "/v1/sessions", &[], &json!({})).whole().unwrap().expect(201);
    node.ask("POST", "/v1/sessions", &[], &json!({})).whole().unwrap().expect(429);
}

#[test]
fn a_property_that_cannot_be_had_stops_the_start() {
    let home = open_folder();
    for (line, said) in [
        ("use.engine.containers: FALSE", "isolation is never off"),
        ("packagePath: /opt", "env build"),
        ("engine.sesion.max: 1", "did you mean `engine.session.max`"),
    ] {
        let file = home.write("custom.properties", line);
        let folder = home.path().join("node");
        let refused = starting(&folder, &["--properties", file.to_str().unwrap()]).run().expect(125);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        assert!(!folder.exists(), "nothing was made");
    }
}

#[test]
fn the_doctor_of_a_node_gives_points_and_what_to_do() {
    let ran = stockade(&["doctor", "--node", "--json", "--user", "nobody-of-this-name", "--folder", "/nowhere"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(document["score"].as_u64().unwrap() < 100 && document["passed"] == false, "{document}");
    for finding in document["findings"].as_array().unwrap() {
        assert_eq!(finding["state"] == "good", finding["next"].is_null(), "{finding}");
    }
    assert_eq!(document["findings"][0]["check"], "account");
    let page = stockade(&["doctor", "--node"]).stdout;
    assert!(page.contains("\nscore: ") && page.contains("next: "), "{page}");
    let refused = stockade(&["doctor", "--folder", "/x"]).expect(125);
    assert!(refused.stderr.contains("--node"), "{}", refused.stderr);
}

/// Files of a tar, by their names.
fn unpacked(archive: &Path) -> std::collections::BTreeMap<String, String> {
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (entry.path().unwrap().strip_prefix("support-bundle").unwrap().to_string_lossy().into_owned(), text)
    });
    entries.collect()
}

#[test]
fn the_bundle_has_what_helps_and_no_secret_wherever_one_lay() {
    let home = open_folder();
    let logs = home.path().join("logs");
    let secret = "hunter22hunter22";
    let policy = home.write("policy.conf", format!("# password = {secret}\npolicy {{ }}\n"));
    let properties =
        home.write("custom.properties", format!("# index https://user:{secret}@example.com/\nengine.prune: 20\n"));
    let flags = ["--log-dir", logs.to_str().unwrap(), "--properties", properties.to_str().unwrap()];
    let node = Node::start(&flags);
    let run = node.run(&format!("print('{secret}')"))["id"].as_str().unwrap().to_owned();
    // What others wrote there: a node itself would not.
    let mut log = std::fs::OpenOptions::new().append(true).open(logs.join("node.0.log")).unwrap();
    std::io::Write::write_all(&mut log, format!("{{\"message\":\"db_password: {secret}\"}}\nauthorization: Bearer {secret}\n-----BEGIN PRIVATE KEY-----\n{secret}\n").as_bytes()).unwrap();
    let note = node.folder.join("settings.json");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&note).unwrap()).unwrap();
    settings["api_token"] = json!(secret);
    settings["policies"] = json!([policy]);
    std::fs::write(&note, settings.to_string()).unwrap();
    let units = home.path().join("units");
    std::fs::create_dir_all(units.join("stockade-node.service.d")).unwrap();
    std::fs::write(
        units.join("stockade-node.service"),
        format!("[Service]\nEnvironment=DB_PASSWORD={secret}\nDelegate=yes\n"),
    )
    .unwrap();
    std::fs::write(units.join("stockade-node.service.d/a.conf"), format!("Environment=\"GITHUB_TOKEN={secret}\"\n"))
        .unwrap();
    let out = home.path().join("bundle.tar");
    let bundle = || {
        call(command().to_str().unwrap(), User::Caller)
            .env("API_TOKEN", secret)
            .args(["admin", "support-bundle", "--out"])
            .arg(&out)
            .arg("--folder")
            .arg(&node.folder)
            .arg("--units")
            .arg(&units)
            .run()
    };
    assert!(bundle().expect(0).stdout.contains("read it before you send it"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let raw = String::from_utf8_lossy(&std::fs::read(&out).unwrap()).into_owned();
    assert!(!raw.contains("hunter22"), "{raw}");
    let files = unpacked(&out);
    for (name, part) in [
        ("version.txt", "stockade-node "),
        ("doctor.json", "\"layers\""),
        ("doctor-node.json", "\"score\""),
        ("settings.json", "\"session_idle\":20"),
        ("metrics.txt", "stockade_runs_accepted_total 1"),
        ("readyz.txt", "ready"),
        ("log/node.0.log", &run),
        ("custom.properties", "[redacted]@example.com"),
        ("policy/0.conf", "policy {"),
        ("unit/stockade-node.service", "Delegate=yes"),
        ("unit/stockade-node.service.d/a.conf", "[redacted]"),
        ("missing.txt", "stockade-node.socket"),
    ] {
        assert!(files.get(name).is_some_and(|text| text.contains(part)), "{name}: {:?}", files.get(name));
    }
    // A node that was taken over has root read nothing for it, and wait for nothing.
    let closed = home.write("closed", "nobody else shall read this");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o600)).unwrap();
    let pipe = home.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    settings["policies"] = json!([pipe, closed]);
    settings["properties"] = json!(closed);
    std::fs::write(&note, settings.to_string()).unwrap();
    std::fs::remove_file(&out).unwrap();
    drop(bundle().expect(0));
    let files = unpacked(&out);
    assert!(files["missing.txt"].contains("policy/0.conf"), "{}", files["missing.txt"]);
    if rustix::process::geteuid().is_root() {
        assert!(files["missing.txt"].contains("closed: permission denied"), "{}", files["missing.txt"]);
        assert!(!files.values().any(|text| text.contains("nobody else shall read this")));
    }
    // It is written over nothing, and through no link.
    std::fs::remove_file(&out).unwrap();
    let elsewhere = home.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &out).unwrap();
    drop(bundle().expect(125));
    assert!(!elsewhere.exists());
    let refused = bundle().expect(125);
    assert!(refused.stderr.contains("name a file that is not there yet"), "{}", refused.stderr);
}
