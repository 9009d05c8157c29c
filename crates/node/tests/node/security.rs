//! Who may do what: what is in force decides, whoever changes it is on record, and nothing comes in between.

use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::{Value, json};
use stockade_testkit::{Folder, Ran, User, call, skipped};

use crate::http::Whole;
use crate::support::{AS_SERVICE, Node, command, until};
use crate::tables::memory_as;
use crate::tenancy::{as_user, connect_as};

/// Users that every Debian has.
pub(crate) const DAEMON: u32 = 1;
pub(crate) const BIN: u32 = 2;
pub(crate) const GAMES: u32 = 5;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A node of root's for a service user, and files of its administrator's.
pub(crate) struct Place {
    pub(crate) node: Node,
    pub(crate) files: Folder,
}

impl Place {
    pub(crate) fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("who may do what", "only root can ask as several users");
            return None;
        }
        let flags = [&AS_SERVICE[..], &["--service-name", "A.X", "--warm", "0"]].concat();
        Some(Self { node: Node::start(&flags), files: Folder::new() })
    }

    pub(crate) fn again(self) -> Self {
        let flags = [&AS_SERVICE[..], &["--service-name", "A.X", "--warm", "0"]].concat();
        Self { node: self.node.again(&flags), files: self.files }
    }

    /// `stockade admin` by root.
    pub(crate) fn admin(&self, words: &[&str]) -> Ran {
        admin(&self.node.socket(), words)
    }

    /// The rows of an answer.
    pub(crate) fn rows(&self, words: &[&str]) -> Vec<Value> {
        let words = [&["--format=json"], words].concat();
        let said: Value = serde_json::from_str(&self.admin(&words).expect(0).stdout).unwrap();
        said[0]["rows"].as_array().unwrap().clone()
    }

    /// Loads an object and puts it in force.
    pub(crate) fn force(&self, name: &str, roots: &str) -> Ran {
        drop(self.load(name, "1", roots).expect(0));
        self.admin(&["activate", "configuration", "--type=security", &format!("--name={name}")])
    }

    pub(crate) fn load(&self, name: &str, version: &str, roots: &str) -> Ran {
        let text = format!(
            "name = \"{name}\"\nversion = \"{version}\"\ntype = \"stockade.security\"\nconfiguration = {{\n{roots}\n}}\n"
        );
        self.files.write("object.conf", text);
        let source = format!("--source={}", self.files.path().join("object.conf").display());
        self.admin(&["load", "configuration", &source])
    }

    pub(crate) fn ask(&self, user: u32, method: &str, path: &str, body: &str) -> Whole {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &JSON };
        as_user(self.node.socket(), user, method, path, headers, body).unwrap()
    }

    /// A command as it is written, by a user.
    pub(crate) fn ask_bytes(&self, user: u32, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Whole {
        crate::http::send(connect_as(self.node.socket(), user).unwrap(), "POST", path, headers, body)
            .unwrap()
            .whole()
            .unwrap()
    }

    pub(crate) fn runs(&self, user: u32) -> u16 {
        self.ask(user, "POST", "/v1/runs", r#"{"code":"1"}"#).status
    }

    pub(crate) fn command(&self, user: u32, target: &str, name: &str, parameters: &Value) -> Whole {
        let body = json!({ "parameters": parameters }).to_string();
        self.ask(user, "POST", &format!("/v1/admin/commands/{target}/{name}"), &body)
    }
}

pub(crate) fn admin(socket: &Path, words: &[&str]) -> Ran {
    let socket = format!("--socket={}", socket.display());
    call(command().to_str().unwrap(), User::Caller).args(["admin", &socket]).args(words).run()
}

pub(crate) const REALM: &str = r#"LocalAuthenticationRealm = { name = "people", initialPrincipals = [
    { userName = "daemon", roles = [ "user" ] }
    { userName = "games", password = "hunter2", roles = [ "analyst" ] }
] }"#;
pub(crate) const ROLES: &str = r#"RoleToPrivilegeMappings = { privileges = {
    analyst = [ { privilege = "Run", resource = "off*" } ]
    helper = [ { privilege = "AdminRunCommand", resource = "user.*" }, { privilege = "AdminRunCommand", resource = "configuration.*" } ]
} }"#;

#[test]
fn a_fresh_node_has_administrators_and_users_and_a_realm_says_otherwise() {
    let Some(place) = Place::start() else { return };
    assert_eq!((place.runs(0), place.runs(BIN)), (200, 200));
    place.command(BIN, "node", "display", &json!({})).expect(403);
    place.ask(BIN, "GET", "/v1/admin/log", "").expect(403);
    place.ask(BIN, "GET", "/metrics", "").expect(403);

    drop(place.force("people", REALM).expect(0));
    drop(place.force("roles", ROLES).expect(0));
    assert_eq!((place.runs(0), place.runs(DAEMON), place.runs(GAMES), place.runs(BIN)), (200, 200, 200, 403));
    // What is granted, and nothing beside it.
    assert_eq!(place.ask(DAEMON, "POST", "/v1/sessions", "{}").status, 201);
    let refused = place.ask(GAMES, "POST", "/v1/sessions", "{}").expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("privilege Session"), "{refused}");
    // An environment takes a right of its own, by whatever name; that there is none is told to who has it.
    let named = r#"{"code":"1","environment":"approved/x"}"#;
    let refused = place.ask(GAMES, "POST", "/v1/runs", named).expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("EnvironmentUse on `approved/x`"), "{refused}");
    place.ask(GAMES, "GET", "/v1/environments/approved/x", "").expect(403);
    assert_ne!(place.ask(DAEMON, "POST", "/v1/runs", named).status, 403);
    // Nor is there memory for tables for who may not run code.
    let memory = |user| memory_as(&place.node, Some(user), 4096);
    assert!(memory(BIN).is_err_and(|problem| problem["status"] == 403));
    assert!(memory(GAMES).is_ok());
    // Nobody without a role sees even what is his own.
    for path in ["/v1/runs", "/v1/sessions", "/v1/environments", "/v1/policies"] {
        place.ask(BIN, "GET", path, "").expect(403);
        place.ask(GAMES, "GET", path, "").expect(200);
    }
    place.ask(BIN, "GET", "/livez", "").expect(200);
    // At once, and without the role.
    drop(place.admin(&["lock", "user", "--username=daemon"]).expect(0));
    assert_eq!(place.runs(DAEMON), 403);
    drop(place.admin(&["unlock", "user", "--username=daemon"]).expect(0));
    drop(place.admin(&["update", "user", "--username=daemon", "--roles=monitor"]).expect(0));
    assert_eq!(place.runs(DAEMON), 403);
    place.command(DAEMON, "configuration", "display", &json!({})).expect(200);
    place.command(DAEMON, "authorization", "explain", &json!({"privilege": "Run"})).expect(200);
    let decision = |words: &[&str]| {
        let row = place.rows(&[&["explain", "authorization", "--privilege=AuditRead"], words].concat())[0].clone();
        [row["Decision"].clone(), row["User State"].clone()]
    };
    assert_eq!(decision(&["--user=ada@corp", "--roles=monitor, none"]), ["permitted", ""]);
    let nobody = place.admin(&["explain", "authorization", "--privilege=Run", "--user=ada@corp"]).expect(1);
    assert!(nobody.stderr.contains("--roles="), "{nobody:?}");
    drop(place.admin(&["lock", "user", "--username=games"]).expect(0));
    assert_eq!(decision(&["--user=games"]), ["denied", "locked"]);
    drop(place.admin(&["unlock", "user", "--username=games"]).expect(0));
    assert_eq!(decision(&["--user=games"]), ["denied", "active"]);
    place.command(DAEMON, "configuration", "activate", &json!({"type": "security", "name": "people"})).expect(403);
    // And after another start.
    let place = place.again();
    assert_eq!((place.runs(0), place.runs(DAEMON), place.runs(GAMES), place.runs(BIN)), (200, 403, 200, 403));
    // Where a password is asked for, the kernel's word is none.
    let strict = REALM.replace("name = \"people\",", "name = \"people\", requirePassword = true,");
    drop(place.load("people", "2", &strict).expect(0));
    drop(place.admin(&["activate", "configuration", "--type=security", "--name=people"]).expect(0));
    assert_eq!((place.runs(0), place.runs(GAMES)), (200, 403));
    // Out of force, everybody is a user again.
    drop(place.admin(&["deactivate", "configuration", "--type=security", "--name=people"]).expect(0));
    assert_eq!(place.runs(BIN), 200);
}

#[test]
fn nobody_gives_away_or_takes_what_he_lacks() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.force("roles", ROLES).expect(0));
    drop(place.admin(&["add", "user", "--username=man", "--roles=administrator"]).expect(0));
    drop(place.admin(&["update", "user", "--username=daemon", "--roles=helper"]).expect(0));
    let ask = |target: &str, name: &str, parameters: Value| place.command(DAEMON, target, name, &parameters);
    ask("user", "add", json!({"username": "new", "roles": "helper"})).expect(200);
    ask("user", "add", json!({"username": "evil", "roles": "administrator"})).expect(403);
    ask("user", "update", json!({"username": "daemon", "roles": "helper,administrator"})).expect(403);
    // Nor by a name that would be read as another one.
    for name in ["helper\nadministrator", "helper\u{0}", " administrator", "administrator@x", ""] {
        ask("user", "add", json!({"username": name})).expect(422);
    }
    ask("user", "add", json!({"username": "evil", "roles": "helper\nadministrator"})).expect(422);
    ask("user", "lock", json!({"username": "man"})).expect(403);
    ask("user", "remove", json!({"username": "man"})).expect(403);
    ask("user", "update", json!({"username": "games", "roles": "helper"})).expect(403);
    // Nor by a configuration that would say so.
    let text = "name = \"more\"\nversion = \"1\"\ntype = \"stockade.security\"\nconfiguration = { RoleToPrivilegeMappings = { privileges = { helper = [ { privilege = \"AuditRead\" } ] } } }\n";
    ask("configuration", "load", json!({"source": text})).expect(200);
    let refused = ask("configuration", "activate", json!({"type": "security", "name": "more"})).expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("give himself every privilege"), "{refused}");
    ask("configuration", "deactivate", json!({"type": "security", "name": "roles"})).expect(403);
    let users = place.rows(&["display", "user"]);
    let roles: Vec<_> =
        users.iter().map(|row| (row["User Name"].as_str().unwrap(), row["Roles"].as_str().unwrap())).collect();
    assert_eq!(roles, [("daemon", "helper"), ("games", "analyst"), ("man", "administrator"), ("new", "helper")]);
}

#[test]
fn who_would_lock_himself_out_is_refused_and_nothing_has_changed() {
    let Some(place) = Place::start() else { return };
    let deny = r#"RoleToPrivilegeMappings = { roles = { administrator = { deny = [ { privilege = "AdminRunCommand", resource = "configuration.activate" } ] } } }"#;
    let refused = place.force("lock-out", deny).expect(1);
    assert!(refused.stderr.contains("could not administer the node any more"), "{}", refused.stderr);
    let state = |place: &Place| place.rows(&["display", "configuration", "--name=lock-out"])[0]["State"].clone();
    assert_eq!(state(&place), "Inactive");
    drop(place.force("roles", ROLES).expect(0));
    // Another version takes the place of the first in one step; what cannot be, does not.
    drop(
        place
            .load("roles", "2", r#"RoleToPrivilegeMappings = { privileges = { analyst = [ { privilege = "Fly" } ] } }"#)
            .expect(1),
    );
    drop(
        place
            .load(
                "roles",
                "2",
                r#"RoleToPrivilegeMappings = { privileges = { analyst = [ { privilege = "Session" } ] } }"#,
            )
            .expect(0),
    );
    let diff = place.rows(&["diff", "configuration", "--type=security", "--name=roles", "--version=2"]);
    assert!(diff.iter().any(|row| row["Key"].as_str().unwrap().contains("analyst")), "{diff:?}");
    drop(place.admin(&["activate", "configuration", "--type=security", "--name=roles"]).expect(0));
    let states = place.rows(&["display", "configuration", "--name=roles"]);
    let states: Vec<_> = states.iter().map(|row| row["State"].as_str().unwrap()).collect();
    assert_eq!(states, ["Inactive", "Active"]);
    let missing = place.admin(&["activate", "configuration", "--type=security", "--name=nothing"]).expect(1);
    assert!(missing.stderr.contains("no such object"), "{}", missing.stderr);
    drop(place.admin(&["remove", "configuration", "--type=security", "--name=roles", "--version=2"]).expect(1));
    drop(place.admin(&["remove", "configuration", "--type=security", "--name=roles", "--version=1"]).expect(0));
    // The same identity never means something else.
    drop(place.load("roles", "2", ROLES).expect(1));
}

#[test]
fn hosts_are_trusted_by_address_and_names_that_do_not_resolve_change_nothing() {
    let Some(place) = Place::start() else { return };
    drop(
        place
            .force(
                "hosts",
                r#"TrustedHosts = { hosts = [ "189.4.5.6", "192.168.2.0/24", "localhost", "::ffff:10.1.2.3" ] }"#,
            )
            .expect(0),
    );
    let test = |address: &str| {
        let row = place.rows(&["test", "trusted", &format!("--address={address}")])[0].clone();
        (row["Trusted"] == "true", row["Entry"].as_str().unwrap().to_owned())
    };
    assert_eq!(test("192.168.2.77"), (true, "192.168.2.0/24".to_owned()));
    assert_eq!(test("::ffff:189.4.5.6"), (true, "189.4.5.6".to_owned()));
    assert!(test("10.1.2.3").0);
    assert_eq!(test("127.0.0.1"), (true, "localhost".to_owned()));
    assert_eq!(test("192.168.3.1"), (false, String::new()));
    assert!(place.admin(&["test", "trusted", "--address=myhost"]).expect(1).stderr.contains("is no address"));
    let listed = place.admin(&["display", "security", "--type=hosts"]).expect(0).stdout;
    assert!(
        listed.contains("[A.X] Network Address = 127.0.0.1\n[A.X] Host Name = localhost\n[A.X] Source = default\n"),
        "{listed}"
    );
    assert!(
        listed.contains("[A.X] Network Address = 192.168.2.0/24\n[A.X] Host Name = \n[A.X] Source = hosts\n"),
        "{listed}"
    );
    // The example of the specification can be loaded; its names resolve nowhere, so it is not activated.
    let example = r#"TrustedHosts = { hosts = [ "host1", "host2", "*.some.domain.org", "host4.tibco.com", "189.4.5.6",
                  "192.168.2.0/24", "2601:646:4102:9184:d56c:b9bc:f9ed:1ee4%en1" ] }"#;
    drop(place.load("hosts", "2", example).expect(0));
    let refused =
        place.admin(&["activate", "configuration", "--type=security", "--name=hosts", "--version=2"]).expect(1);
    for name in ["host1", "host2", "host4.tibco.com"] {
        assert!(refused.stderr.contains(name), "{}", refused.stderr);
    }
    assert!(test("192.168.2.77").0);
    // A stray value, an address without quotes: the place and what to do are told.
    let refused = place.load("hosts", "3", "TrustedHosts = { hosts = [ 10.0.0.1 ] }").expect(1);
    assert!(refused.stderr.contains("line 5") && refused.stderr.contains("quotes"), "{}", refused.stderr);
}

#[test]
fn what_is_done_is_on_record_without_secrets_and_a_change_of_the_record_is_found() {
    let Some(mut place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    place.files.write("password", "correct horse\n");
    let password = format!("--password-file={}", place.files.path().join("password").display());
    drop(place.admin(&["change", "password", "--username=games", &password]).expect(0));
    place.command(BIN, "user", "lock", &json!({"username": "games"})).expect(403);
    assert_eq!(place.runs(BIN), 403);
    let records = place.rows(&["display", "audit"]);
    let what = |part: &str| records.iter().any(|row| row["What"].as_str().unwrap().contains(part));
    assert!(what("password change intent") && what("password change done"), "{records:?}");
    assert!(what("stockade.security people 1 active"), "{records:?}");
    assert!(
        records.iter().any(|row| row["Principal"] == "uid-2@local" && row["What"].as_str().unwrap().contains("denied")),
        "{records:?}"
    );
    assert!(
        records.iter().any(|row| row["Record"] == "authorisation" && row["Principal"] == "uid-2@local"),
        "{records:?}"
    );
    drop(place.admin(&["verify", "audit"]).expect(0));
    let trail = place.node.folder.join("store/audit/audit.jsonl");
    let text = std::fs::read_to_string(&trail).unwrap();
    let state = std::fs::read(place.node.folder.join("store/node.sqlite")).unwrap();
    for secret in ["hunter2", "correct horse"] {
        assert!(!text.contains(secret));
        assert!(!state.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} is kept");
    }
    assert!(
        !place
            .admin(&["export", "configuration", "--type=security", "--name=people"])
            .expect(0)
            .stdout
            .contains("hunter2")
    );
    // Somebody who can write the file.
    assert_eq!(place.node.end(), 0);
    std::fs::write(&trail, text.replacen("uid-2@local", "uid-3@local", 1)).unwrap();
    let place = place.again();
    let refused = place.admin(&["verify", "audit"]).expect(1);
    assert!(refused.stderr.contains("it was changed"), "{}", refused.stderr);
}

#[test]
fn a_change_that_cannot_be_put_on_record_is_not_made() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.load("roles", "1", ROLES).expect(0));
    // Nothing can be written there any more.
    let trail = place.node.folder.join("store/audit");
    let aside = place.node.folder.join("store/aside");
    std::fs::rename(&trail, &aside).unwrap();
    for words in [
        &["activate", "configuration", "--type=security", "--name=roles"][..],
        &["deactivate", "configuration", "--type=security", "--name=people"],
        &["add", "user", "--username=new"],
        &["lock", "user", "--username=games"],
        &["display", "user"],
    ] {
        let refused = place.admin(words).expect(1);
        assert!(refused.stderr.contains("nothing was done"), "{words:?}: {}", refused.stderr);
    }
    place.ask(BIN, "POST", "/v1/runs", r#"{"code":"1"}"#).expect(500);
    place.ask(0, "PUT", "/v1/admin/log", r#"{"levels":"off"}"#).expect(500);
    assert_eq!(place.ask(0, "GET", "/v1/admin/log", "").expect(200).json()["levels"], "info");
    std::fs::rename(&aside, &trail).unwrap();
    assert_eq!(place.rows(&["display", "configuration"]).iter().filter(|row| row["State"] == "Active").count(), 1);
    let users = place.rows(&["display", "user"]);
    assert!(users.len() == 2 && users.iter().all(|row| row["Locked"] == "false"), "{users:?}");
    drop(place.admin(&["verify", "audit"]).expect(0));
}

#[test]
fn a_node_that_is_killed_in_a_change_has_the_old_or_the_new_one() {
    let Some(mut place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.load("roles", "1", ROLES).expect(0));
    drop(
        place
            .load(
                "roles",
                "2",
                r#"RoleToPrivilegeMappings = { privileges = { analyst = [ { privilege = "Session" } ] } }"#,
            )
            .expect(0),
    );
    for round in 0_u64..12 {
        let version = 1 + round % 2;
        let socket = place.node.socket();
        let changing = std::thread::spawn(move || {
            let version = format!("--version={version}");
            admin(&socket, &["activate", "configuration", "--type=security", "--name=roles", &version])
        });
        // Wherever it is then: it is the many rounds that meet every step.
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        place.node.kill();
        let said = changing.join().unwrap();
        place = place.again();
        let active: Vec<_> = place
            .rows(&["display", "configuration", "--name=roles"])
            .into_iter()
            .filter(|row| row["State"] == "Active")
            .collect();
        assert!(active.len() <= 1, "{active:?}");
        if said.status == 0 {
            assert_eq!(active[0]["Version"], version.to_string(), "what was answered for is in force");
        }
        // What counts is what is said to be in force.
        let session = place.rows(&["explain", "authorization", "--user=games", "--privilege=Session"]);
        let expected = if active.first().is_some_and(|row| row["Version"] == "2") { "permitted" } else { "denied" };
        assert_eq!(session[0]["Decision"], expected);
        drop(place.admin(&["verify", "audit"]).expect(0));
    }
}

#[test]
fn answers_are_printed_as_text_json_and_csv_and_say_by_their_status_how_it_went() {
    let Some(place) = Place::start() else { return };
    let text = place.admin(&["--servicename=A.X", "display", "node"]).expect(0).stdout;
    assert!(text.starts_with("[A.X] Service Name = A.X\n[A.X] State = running\n"), "{text}");
    let csv = place.admin(&["--format=csv", "--columns=service name,state", "display", "node"]).expect(0).stdout;
    assert_eq!(csv, "Service,Service Name,State\r\nA.X,A.X,running\r\n");
    drop(place.admin(&["--servicename=X", "disp", "no"]).expect(0));
    let other = place.admin(&["--servicename=B.X", "display", "node"]).expect(5);
    assert!(other.stderr.contains("it is `A.X`"), "{}", other.stderr);
    let add = ["--servicename=B.X", "add", "user", "--username=meant", "--roles=user"];
    drop(place.admin(&add).expect(5));
    let users = place.admin(&["display", "user"]).expect(0).stdout;
    assert!(!users.contains("meant"), "another node was meant: {users}");
    // What is done is shown, whatever columns it has.
    let wrong = place.admin(&["--columns=sate", "display", "node"]).expect(0);
    assert!(wrong.stdout.contains("State = running") && wrong.stderr.contains("`sate`"), "{wrong:?}");
    drop(place.admin(&["display"]).expect(2));
    let gone = format!("--socket={}", place.files.path().join("gone.sock").display());
    // One node answers and one does not; each is named.
    let partly = place.admin(&[&gone, "display", "node"]).expect(6);
    assert!(partly.stdout.contains("[A.X] State") && partly.stderr.contains("gone.sock"), "{}", partly.stderr);
    drop(place.admin(&["--ignoreerrors", &gone, "display", "node"]).expect(0));
    let denied = std::process::Command::new(command())
        .args(["admin", &format!("--socket={}", place.node.socket().display()), "display", "node"])
        .uid(BIN)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert_eq!(denied.status.code(), Some(4), "{said}");
    assert!(said.contains("needs the privilege AdminRunCommand on `node.display`"), "{said}");
    let help = place.admin(&["help", "trusted"]).expect(0).stdout;
    assert!(help.contains("stockade admin test trusted"), "{help}");
    let commands: Value =
        serde_json::from_str(&place.admin(&["help", "targets", "--format=json"]).expect(0).stdout).unwrap();
    // Each of them is one that the node knows.
    for command in commands.as_array().unwrap().iter().filter(|command| {
        let (target, name) = (command["target"].as_str().unwrap(), command["command"].as_str().unwrap());
        !["authentication", "secret"].contains(&target) && !["drain", "stop"].contains(&name)
    }) {
        let path = format!(
            "/v1/admin/commands/{}/{}",
            command["target"].as_str().unwrap(),
            command["command"].as_str().unwrap()
        );
        let said = as_user(place.node.socket(), 0, "POST", &path, &JSON, "{}").unwrap();
        assert!(!said.text().contains("no such command") && said.status < 500, "{path}: {}", said.text());
    }
    let hashed = place.files.write("secret", "correct horse\n");
    let hash = place.admin(&["hash", "secret", &format!("--password-file={}", hashed.display())]).expect(0).stdout;
    assert!(hash.starts_with("$argon2id$v=19$") && !hash.contains("correct"), "{hash}");
    until("the node is as it was", || place.runs(0) == 200);
}
