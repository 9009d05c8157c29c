//! Rights that are looked at beside those of a path: of packages and environments, while a body comes, and of who is
//! denied over and over.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::http::{Whole, answer};
use crate::looks::as_service;
use crate::security::{BIN, DAEMON, GAMES, Place};
use crate::support::{Node, PATIENCE};
use crate::tenancy::connect_as;
use crate::tls::{ANN, Served, basic};

const PEOPLE: &str = r#"LocalAuthenticationRealm = { name = "people", initialPrincipals = [
    { userName = "daemon", roles = [ "user" ] }
    { userName = "games", roles = [ "author" ] }
    { userName = "bin", roles = [ "picky" ] }
] }"#;
/// A script that names its package itself.
const NAMES_SIX: &str = "# /// script\n# dependencies = ['six==1.16.0']\n# ///\nimport six; print(six.__version__)\n";

/// What the role `picky` may do with environments, beside running code and keeping sessions.
fn picky(grant: &str, deny: &str) -> String {
    let usual = r#"{ privilege = "Run" }, { privilege = "Session" }"#;
    format!(
        "RoleToPrivilegeMappings = {{ roles = {{ picky = {{ privileges = [ {usual} {grant} ], deny = [ {deny} ] }} }} }}"
    )
}

fn uses(name: &str) -> String {
    format!("{{ privilege = \"EnvironmentUse\", resource = \"{name}\" }}")
}

impl Place {
    /// The records of the node's trail, as lines.
    fn records(&self) -> Vec<String> {
        let trail = std::fs::read_to_string(self.node.folder.join("store/audit/audit.jsonl")).unwrap();
        trail.lines().filter(|line| !line.contains("\"record\":\"checkpoint\"")).map(str::to_owned).collect()
    }

    /// Puts another version of an object in force.
    fn change(&self, name: &str, version: &str, roots: &str) {
        drop(self.load(name, version, roots).expect(0));
        let words = ["activate", "configuration", "--type=security", &format!("--name={name}")];
        drop(self.admin(&[&words[..], &[&format!("--version={version}")]].concat()).expect(0));
    }

    fn posts(&self, user: u32, path: &str, body: &Value) -> Whole {
        self.ask(user, "POST", path, &body.to_string())
    }

    /// Everywhere that a run or a session is asked for, or asked about, with this beside what is needed.
    fn everywhere(&self, user: u32, more: &Value) -> Vec<(&'static str, Whole)> {
        let code = json!({"code": "print(1)"});
        let function = json!({"function": {"name": "f", "script": "x = 1", "inputs": [], "outputs": []}});
        let asked = [
            ("/v1/runs", code.clone()),
            ("/v1/policies/check", code),
            ("/v1/data-functions", function),
            ("/v1/sessions", json!({})),
        ];
        let whole = |(path, mut body): (&'static str, Value)| {
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (path, self.posts(user, path, &body))
        };
        asked.into_iter().map(whole).collect()
    }
}

#[test]
fn a_denial_is_on_record_in_little_whatever_its_caller_says() {
    let Some(place) = Place::start() else { return };
    for mib in [3, 5] {
        let name = "x".repeat(mib << 20);
        let mut parameters = json!({"username": "y".repeat(100_000)});
        parameters[&name] = json!("z");
        place.command(BIN, "user", "lock", &parameters).expect(403);
        let last = place.records().pop().unwrap();
        assert!(last.len() < 4_096, "{}", last.len());
        assert!(last.contains("\"unknown_parameters\":1") && last.contains("\"phase\":\"denied\""), "{last}");
    }
    drop(place.admin(&["verify", "audit"]).expect(0));
}

#[test]
fn who_is_denied_over_and_over_leaves_a_few_records_and_others_have_theirs() {
    let Some(place) = Place::start() else { return };
    for _ in 0..40 {
        place.command(BIN, "user", "lock", &json!({"username": "games"})).expect(403);
        place.ask(BIN, "GET", "/metrics", "").expect(403);
    }
    place.ask(GAMES, "GET", "/metrics", "").expect(403);
    let of = |user: u32| place.records().iter().filter(|line| line.contains(&format!("uid-{user}@local"))).count();
    // Twice as many where a minute ends meanwhile.
    assert!((10..=20).contains(&of(BIN)), "{}", of(BIN));
    assert_eq!(of(GAMES), 1);
    let last = place.records().pop().unwrap();
    assert!(last.contains("\"source\":\"local\"") && last.contains("\"privilege\":\"MetricsRead\""), "{last}");
}

#[test]
fn packages_that_one_names_oneself_take_the_right_to_have_them_built() {
    let Some(place) = Place::start() else { return };
    let six = json!({"with": ["six==1.16.0"]});
    let check = |user: u32, body: &Value| place.posts(user, "/v1/policies/check", body).expect(200).json();
    // While nobody said otherwise, whoever the socket lets in may.
    assert_eq!(check(BIN, &json!({"code": "1", "with": ["six==1.16.0"]}))["decision"], "unknown");
    drop(place.force("people", PEOPLE).expect(0));
    for (path, refused) in place.everywhere(DAEMON, &six) {
        let refused = refused.expect(403).json();
        assert!(refused["detail"].as_str().unwrap().contains("the privilege EnvironmentBuild"), "{path}: {refused}");
    }
    let denied = place.records();
    let denied = denied.iter().filter(|line| line.contains("\"privilege\":\"EnvironmentBuild\"")).count();
    assert_eq!(denied, 4);
    // The same where the code names them, also when another had them built.
    let names = json!({"code": NAMES_SIX});
    let built = place.posts(GAMES, "/v1/runs", &names).expect(200).json();
    assert_eq!(built["stdout"], "1.16.0\n", "{built}");
    let ran = place.posts(DAEMON, "/v1/runs", &names).expect(200).json();
    assert_eq!(ran["outcome"]["refusal"]["what"], "the packages of the code are not for you", "{ran}");
    let said = check(DAEMON, &names);
    assert_eq!(said["decision"], "refused");
    assert_eq!(said["what"], ran["outcome"]["refusal"]["what"]);
    assert_eq!(check(GAMES, &names)["decision"], "permitted");
    // What an engine needs by itself is nobody's choice.
    assert_eq!(check(DAEMON, &json!({"code": "SELECT 1", "name": "a.sql"}))["decision"], "unknown");
    assert_eq!(place.runs(DAEMON), 200);
}

#[test]
fn an_environment_is_denied_by_each_of_its_names_whichever_it_is_asked_for_by() {
    let Some(place) = Place::start() else { return };
    for name in ["ours", "secret/ours"] {
        drop(as_service(&place.node, &["env", "build", name, "--with", "six==1.17.0"]).run().expect(0));
    }
    drop(place.force("people", PEOPLE).expect(0));
    drop(place.force("roles", &picky("", "")).expect(0));
    let listed = place.ask(0, "GET", "/v1/environments", "").expect(200).json();
    assert_eq!(listed["environments"][0]["names"], json!(["ours", "secret/ours"]));
    let digest = listed["environments"][0]["digest"].as_str().unwrap();
    let is_denied = |reference: &str| {
        let answers = place.everywhere(BIN, &json!({ "environment": reference }));
        let shown = place.ask(BIN, "GET", &format!("/v1/environments/{reference}"), "");
        let statuses: Vec<u16> = answers.iter().map(|(_, answer)| answer.status).chain([shown.status]).collect();
        let denied = statuses.iter().filter(|status| **status == 403).count();
        assert!([0, statuses.len()].contains(&denied), "{reference}: {statuses:?}");
        for (path, answer) in
            answers.into_iter().filter(|(path, answer)| *path == "/v1/sessions" && answer.status == 201)
        {
            place.ask(BIN, "DELETE", &format!("{path}/{}", answer.json()["id"].as_str().unwrap()), "").expect(200);
        }
        denied > 0
    };
    let names = || {
        let listed = place.ask(BIN, "GET", "/v1/environments", "").expect(200).json();
        let all = listed["environments"].as_array().unwrap().iter().flat_map(|one| one["names"].as_array().unwrap());
        all.map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ["ours", "secret/ours", digest, &digest[..12]];
    // Nothing is granted.
    assert!(all.iter().all(|reference| is_denied(reference)) && names().is_empty());
    // One name is, and the other one is not told.
    place.change("roles", "2", &picky(&format!(", {}", uses("ours")), ""));
    assert_eq!(all.map(is_denied), [false, true, true, true]);
    assert_eq!(names(), ["ours"]);
    let shown = place.ask(BIN, "GET", "/v1/environments/ours", "").expect(200).json();
    assert_eq!(shown["names"], json!(["ours"]));
    // All is, but for one name, or the digest.
    for (version, denied) in [("3", "secret/*"), ("4", digest)] {
        place.change("roles", version, &picky(&format!(", {}", uses("*")), &uses(denied)));
        assert!(all.iter().all(|reference| is_denied(reference)), "{denied}");
        assert!(names().is_empty());
    }
    place.change("roles", "5", &picky(&format!(", {}", uses("*")), &uses("other")));
    assert_eq!(all.map(is_denied), [false; 4]);
    assert_eq!(names(), ["ours", "secret/ours"]);
    // Fewer digits are none of it.
    let ran = place.posts(BIN, "/v1/runs", &json!({"code": "1", "environment": &digest[..11]})).expect(200).json();
    assert_eq!(ran["outcome"]["cause"], "refused", "{ran}");
}

#[test]
fn a_restart_takes_what_opening_takes() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", PEOPLE).expect(0));
    drop(place.force("roles", &picky("", "")).expect(0));
    let open = |user: u32, body: &Value| {
        let opened = place.posts(user, "/v1/sessions", body).expect(201).json();
        format!("/v1/sessions/{}", opened["id"].as_str().unwrap())
    };
    let restart = |user: u32, path: &str| place.ask(user, "POST", &format!("{path}/restart"), "");
    let is_open = |user: u32, path: &str| place.ask(user, "GET", path, "").expect(200).json()["state"] == "open";
    // The right to run code.
    let plain = open(BIN, &json!({}));
    place.change("roles", "2", &picky("", r#"{ privilege = "Run" }"#));
    let refused = restart(BIN, &plain).expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("privilege Run"), "{refused}");
    assert!(is_open(BIN, &plain), "the one that is there stays");
    place.change("roles", "3", &picky("", ""));
    restart(BIN, &plain).expect(201);
    // And that to have its packages built.
    let with = open(GAMES, &json!({"with": ["six==1.16.0"]}));
    drop(place.admin(&["update", "user", "--username=games", "--roles=user"]).expect(0));
    let refused = restart(GAMES, &with).expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("privilege EnvironmentBuild"), "{refused}");
    assert!(is_open(GAMES, &with));
}

/// Sends a request but for a half of its body, for which the node waits then; that half.
fn begin(stream: &mut (impl Read + Write), host: &str, head: &str, body: &Value) -> Vec<u8> {
    let mut body = body.to_string().into_bytes();
    let text = format!(
        "{head}\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
    // It is said when somebody reads the body: whoever asks has been looked at.
    let said = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, said, "{}", String::from_utf8_lossy(&heard));
    let rest = body.split_off(body.len() / 2);
    stream.write_all(&body).unwrap();
    stream.flush().unwrap();
    rest
}

#[test]
fn what_comes_after_rights_were_taken_away_is_not_done() {
    let Some(place) = Place::start() else { return };
    let people = PEOPLE.replace(r#""user" ]"#, r#""administrator" ]"#);
    drop(place.force("people", &people).expect(0));
    let begin = |head: &str, body: &Value| {
        let mut stream = connect_as(place.node.socket(), DAEMON).unwrap();
        let rest = begin(&mut stream, "node", head, body);
        (stream, rest)
    };
    let asked = || {
        let add = json!({"parameters": {"username": "new", "roles": "administrator"}});
        [
            begin("POST /v1/admin/commands/user/add HTTP/1.1", &add),
            begin("PUT /v1/admin/log HTTP/1.1", &json!({"levels": "off"})),
            begin("POST /v1/runs HTTP/1.1", &json!({"code": "print(1)"})),
            begin("POST /v1/sessions HTTP/1.1", &json!({})),
        ]
    };
    let statuses = |asked: [(std::os::unix::net::UnixStream, Vec<u8>); 4]| {
        asked.map(|(mut stream, rest)| {
            stream.write_all(&rest).unwrap();
            answer(stream).unwrap().whole().unwrap().status
        })
    };
    let waiting = asked();
    drop(place.admin(&["lock", "user", "--username=daemon"]).expect(0));
    assert_eq!(statuses(waiting), [409; 4]);
    assert_eq!(place.rows(&["display", "user", "--username=new"]), Vec::<Value>::new());
    assert_eq!(place.ask(0, "GET", "/v1/admin/log", "").expect(200).json()["levels"], "info");
    for what in ["run", "session"] {
        assert_eq!(place.rows(&["display", what]), Vec::<Value>::new());
    }
    drop(place.admin(&["unlock", "user", "--username=daemon"]).expect(0));
    // What is changed of others meanwhile is nothing to him.
    let waiting = asked();
    drop(place.admin(&["lock", "user", "--username=games"]).expect(0));
    assert_eq!(statuses(waiting), [200, 200, 200, 201]);
    // What he may do is.
    let waiting = asked();
    drop(place.force("roles", &picky("", "")).expect(0));
    assert_eq!(statuses(waiting), [409; 4]);
}

#[test]
fn what_comes_after_a_session_has_ended_is_not_done() {
    let served = Served::start(&[]);
    let token = served.token("ann", ANN);
    let (host, head) = (served.at.to_string(), format!("POST /v1/runs HTTP/1.1\r\nauthorization: {token}"));
    let mut tls = served.tls(served.from(std::net::Ipv4Addr::LOCALHOST));
    let rest = begin(&mut tls, &host, &head, &json!({"code": "print(1)"}));
    served.ask("POST", "/v1/logout", &[("authorization", &token)], "").expect(204);
    tls.write_all(&rest).unwrap();
    let mut said = Vec::new();
    // Whoever closes without saying so closes, too.
    drop(tls.read_to_end(&mut said));
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.starts_with("HTTP/1.1 409 "), "{said}");
    let runs = served.get("/v1/runs", &basic("ann", ANN)).expect(200).json();
    assert_eq!(runs["runs"], json!([]));
}

#[test]
fn how_much_is_logged_is_changed_on_record() {
    let Some(place) = Place::start() else { return };
    let log = |user: u32, levels: &str| place.ask(user, "PUT", "/v1/admin/log", &json!({"levels": levels}).to_string());
    log(0, "info,stockade_node::queue=debug").expect(200);
    log(0, "loud").expect(422);
    log(BIN, "off").expect(403);
    let what: Vec<String> = place
        .rows(&["display", "audit"])
        .iter()
        .map(|row| row["What"].as_str().unwrap().to_owned())
        .filter(|what| what.contains("log"))
        .collect();
    let (done, refused) = what.split_at(2);
    assert_eq!(done, ["log change intent", "log change done"]);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[1].starts_with("log change failed") && refused[2].contains("AdminRunCommand log.change refused"));
    assert!(place.records().iter().any(|line| line.contains("\"levels\":\"info,stockade_node::queue=debug\"")));
}

#[test]
fn the_trail_is_shown_to_who_may_read_it() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", &PEOPLE.replace("[ \"user\" ]", "[ \"monitor\" ]")).expect(0));
    let shown = || ["display", "export", "verify"].map(|name| place.command(DAEMON, "audit", name, &json!({})).status);
    assert_eq!(shown(), [200; 3]);
    let deny = r#"RoleToPrivilegeMappings = { roles = { monitor = { deny = [ { privilege = "AuditRead" } ] } } }"#;
    drop(place.force("no-audit", deny).expect(0));
    assert_eq!(shown(), [403; 3]);
    place.command(DAEMON, "node", "display", &json!({})).expect(200);
    // A rule that nothing asks is told when it is loaded.
    let deny = r#"RoleToPrivilegeMappings = { roles = { monitor = { deny = [ { privilege = "Egress" } ] } } }"#;
    let loaded = place.load("no-network", "1", deny).expect(0).stderr;
    assert!(loaded.contains("no node asks for the privilege Egress yet"), "{loaded}");
}

#[test]
fn what_the_store_cannot_tell_is_no_session_that_there_is_not() {
    let node = Node::start(&[]);
    let path = "/v1/sessions/0123456789abcdef";
    assert_eq!(node.get(path).expect(404).json()["title"], "there is no such session");
    let store = rusqlite::Connection::open(node.folder.join("store/node.sqlite")).unwrap();
    store.busy_timeout(PATIENCE).unwrap();
    store.execute_batch("ALTER TABLE runs RENAME TO away").unwrap();
    node.get(path).expect(500);
    store.execute_batch("ALTER TABLE away RENAME TO runs").unwrap();
    node.get(path).expect(404);
}
