//! Realms as a whole, secrets that configuration names, and the way back into a node that nobody can administer.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use serde_json::json;
use stockade_testkit::{Folder, Ran, User, call, skipped};

use crate::security::{BIN, DAEMON, Place, REALM, ROLES};
use crate::support::{Node, command};
use crate::tls::{Served, basic, command_of};

/// Whom nodes of these tests are.
const SERVICE: u32 = 61_234;

/// `stockade admin` of the folder of a node.
fn at(folder: &Path, words: &[&str], input: &str) -> Ran {
    let folder = format!("--folder={}", folder.display());
    call(command().to_str().unwrap(), User::Caller).args(["admin", &folder]).args(words).input(input).run()
}

fn contains(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap_or_default().windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[test]
fn a_realm_is_backed_up_and_restored_whole_and_gives_nobody_more() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    let roles = ROLES.replace("\"user.*\"", "\"user.*\" }, { privilege = \"AdminRunCommand\", resource = \"realm.*\"");
    drop(place.force("roles", &roles).expect(0));
    let before = place.rows(&["display", "user"]);
    let saved = place.files.path().join("people.json");
    let file = format!("--file={}", saved.display());
    drop(place.admin(&["backup", "realm", "--realm=nothing", &file]).expect(1));
    assert!(!saved.exists(), "nothing is left of what was refused");
    assert_eq!(place.admin(&["backup", "realm", &file]).expect(0).stdout, "");
    assert_eq!(std::fs::metadata(&saved).unwrap().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&saved).unwrap();
    assert!(text.contains("$argon2id$") && text.contains("\"form\":\"stockade.realm/1\"") && !text.contains("hunter2"));
    assert!(place.admin(&["backup", "realm", &file]).expect(2).stderr.contains("not there yet"));
    // Everything changes, and comes back.
    drop(place.admin(&["remove", "user", "--username=games"]).expect(0));
    drop(place.admin(&["lock", "user", "--username=daemon"]).expect(0));
    drop(place.admin(&["add", "user", "--username=new", "--roles=user"]).expect(0));
    assert_eq!(place.runs(DAEMON), 403);
    let source = format!("--source={}", saved.display());
    let said = place.admin(&["--columns=users", "restore", "realm", &source]).expect(0).stdout;
    assert_eq!(said, "[A.X] Users = 2\n");
    assert_eq!(place.rows(&["display", "user"]), before);
    assert_eq!(place.runs(DAEMON), 200);
    // The hashes are for who may have all that theirs may.
    drop(place.admin(&["add", "user", "--username=man", "--roles=administrator"]).expect(0));
    drop(place.admin(&["update", "user", "--username=daemon", "--roles=helper"]).expect(0));
    let ask = |name: &str, parameters: serde_json::Value| place.command(DAEMON, "realm", name, &parameters);
    ask("backup", json!({})).expect(403);
    ask("restore", json!({"source": text})).expect(403);
    drop(place.admin(&["remove", "user", "--username=man"]).expect(0));
    drop(place.admin(&["remove", "user", "--username=games"]).expect(0));
    let own = ask("backup", json!({})).expect(200).json()["rows"][0][0].as_str().unwrap().to_owned();
    for (evil, status) in [
        (own.replace("\"helper\"", "\"administrator\""), 403),
        (own.replace("\"helper\"", "\"helper\",\"user\""), 403),
        // Without himself, or without what he needs.
        (own.replace("\"userName\":\"daemon\"", "\"userName\":\"other\""), 409),
        (own.replace("\"locked\":false", "\"locked\":true"), 409),
        (own.replace("[\"helper\"]", "[]"), 409),
        (own.replace("\"realm\":\"people\"", "\"realm\":\"others\""), 404),
        (own.replace("stockade.realm/1", "stockade.realm/2"), 422),
        (own[..own.len() - 2].to_owned(), 422),
    ] {
        assert_ne!(evil, own);
        let said = ask("restore", json!({"source": evil}));
        assert_eq!(said.status, status, "{evil}: {}", said.text());
    }
    ask("restore", json!({"source": own, "realm": "others"})).expect(409);
    ask("restore", json!({"source": own})).expect(200);
    let trail = place.node.folder.join("store/audit/audit.jsonl");
    assert!(contains(&trail, "backup") && !contains(&trail, "argon2id"), "no hash is on record");
}

#[test]
fn only_those_of_the_administration_realm_administer_over_the_network() {
    let served = Served::start(&["--service-name", "A.X"]);
    let other = r#"name = other, version = "1", type = stockade.security
        configuration { LocalAuthenticationRealm { name = "other", requirePassword = true, initialPrincipals = [
            { userName = "eve", password = "correct horse", roles = ["administrator"] } ] } }"#;
    command_of(&served.node, "configuration/load", &json!({"source": other}));
    command_of(&served.node, "configuration/activate", &json!({"type": "security", "name": "other"}));
    let (ann, eve) = (basic("ann@acme", "correct horse"), basic("eve@other", "correct horse"));
    let ask = |who: &str, command: &str, parameters: serde_json::Value| {
        let body = json!({"parameters": parameters}).to_string();
        served.ask("POST", &format!("/v1/admin/commands/{command}"), &[("authorization", who)], &body).status
    };
    let display = |who: &str| ask(who, "node/display", json!({}));
    assert_eq!((display(&ann), display(&eve)), (200, 200));
    assert_eq!(ask(&ann, "realm/setadmin", json!({"realm": "other"})), 409, "she is of another realm");
    assert_eq!(ask(&ann, "realm/setadmin", json!({"realm": "nothing"})), 404);
    assert_eq!(ask(&ann, "realm/setadmin", json!({})), 422);
    command_of(&served.node, "realm/setadmin", &json!({"realm": "other"}));
    assert_eq!((display(&ann), display(&eve)), (403, 200));
    // Also by another way than the commands, and not what is no administration.
    let get = |who: &str, path: &str| served.ask("GET", path, &[("authorization", who)], "").status;
    assert_eq!((get(&ann, "/v1/admin/log"), get(&eve, "/v1/admin/log"), get(&ann, "/v1/runs")), (403, 200, 200));
    assert_eq!(command_of(&served.node, "realm/getadmin", &json!({}))["rows"][0][0], "other");
    // What the node refers to stays.
    assert_eq!(ask(&eve, "configuration/deactivate", json!({"type": "security", "name": "other"})), 409);
    assert_eq!(ask(&eve, "realm/setadmin", json!({"any": "true"})), 200);
    assert_eq!(display(&ann), 200);
}

#[test]
fn secrets_are_encrypted_files_or_variables_and_opened_when_they_are_put_in_force() {
    if !rustix::process::geteuid().is_root() {
        skipped("secrets of a node", "only root can make the folder of another user");
        return;
    }
    let home = Folder::new();
    let (folder, secrets) = (home.path().join("node"), home.path().join("secrets"));
    for (path, mode) in [(&folder, 0o700), (&secrets, 0o700)] {
        std::fs::create_dir(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    let file = |name: &str, text: &str, mode: u32| {
        let path = secrets.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(SERVICE), Some(SERVICE)).unwrap();
        format!("file:{}", path.display())
    };
    let bob = file("bob", "the file's\n", 0o600);
    let open = file("open", "x\n", 0o644);
    // The key: made once, for the node alone.
    let encrypt = |name: &str, input: &str| {
        let name = format!("--servicename={name}");
        at(&folder, &[&name, "encrypt", "secret", "--secret-stdin"], input)
    };
    assert!(encrypt("A.X", "x\n").expect(1).stderr.contains("admin create secret"));
    drop(at(&folder, &["create", "secret"], "").expect(0));
    assert!(at(&folder, &["create", "secret"], "").expect(1).stderr.contains("the node has a key"));
    let key = std::fs::metadata(folder.join("secret.key")).unwrap();
    assert_eq!((key.uid(), key.mode() & 0o777, key.len()), (SERVICE, 0o600, 32));
    // No name is guessed: what was encrypted for another one could not be opened.
    for note in [None, Some("{\"service_na")] {
        if let Some(note) = note {
            std::fs::write(folder.join("settings.json"), note).unwrap();
        }
        let unnamed = at(&folder, &["encrypt", "secret", "--secret-stdin"], "x\n").expect(1);
        assert!(unnamed.stderr.contains("--servicename"), "{}", unnamed.stderr);
    }
    let encrypted = |name: &str| encrypt(name, "the key's\n").expect(0).stdout.trim().to_owned();
    let (ann, other) = (encrypted("A.X"), encrypted("B.X"));
    assert!(ann.starts_with("encrypted:v1:"), "{ann}");

    let realm = |version: &str, name: &str, ann: &str| {
        format!(
            r#"name = {name}, version = "{version}", type = stockade.security
            configuration {{ LocalAuthenticationRealm {{ name = "{name}", requirePassword = true, initialPrincipals = [
                {{ userName = "ann", password = "{ann}", roles = ["administrator"] }}
                {{ userName = "bob", password = "{bob}", roles = ["user"] }}
                {{ userName = "eve", password = "env:STOCKADE_SECRET_EVE", roles = ["user"] }} ] }} }}"#
        )
    };
    let words = ["/usr/bin/env", "STOCKADE_SECRET_EVE=the variable's"].map(str::to_owned);
    let shown = secrets.display().to_string();
    let flags = ["--listen", "127.0.0.1:0", "--service-name", "A.X", "--secrets", &shown];
    let served = Served::of(Node::by(&words, &folder, &flags), &realm("1", "people", &ann));
    for (user, password) in [("ann", "the key's"), ("bob", "the file's"), ("eve", "the variable's")] {
        assert!(served.token(user, password).starts_with("Bearer "), "{user}");
    }
    // What cannot be opened is not put in force, and nothing of it is told.
    for (number, bad) in
        [&other, &open, "file:/etc/hostname", "env:PATH", "env:STOCKADE_SECRET_NONE"].iter().enumerate()
    {
        let name = format!("bad{number}");
        command_of(&served.node, "configuration/load", &json!({"source": realm("1", &name, bad)}));
        let body = json!({"parameters": {"type": "security", "name": name}});
        let said = served.node.ask("POST", "/v1/admin/commands/configuration/activate", &[], &body).whole().unwrap();
        let refused = said.expect(409).json();
        assert_eq!(refused["title"], "a secret cannot be opened", "{bad}");
        assert!(!refused["next"].as_str().unwrap().is_empty());
    }
    // Neither is what is to be said to another server.
    let provider = format!(
        r#"name = oidc, version = "1", type = stockade.security
        configuration {{ OIDCAuthenticationRealm {{ name = "oidc", identityProviders = [ {{
            documentDiscoveryUrl = "https://id.example/.well-known/openid-configuration", clientId = "node"
            clientSecret = "{other}", identityAttributeName = "sub", rolesAttributeName = "roles" }} ] }} }}"#
    );
    command_of(&served.node, "configuration/load", &json!({"source": provider}));
    let body = json!({"parameters": {"type": "security", "name": "oidc"}});
    let said = served.node.ask("POST", "/v1/admin/commands/configuration/activate", &[], &body).whole().unwrap();
    let said = said.expect(409).json();
    assert!(said["detail"].as_str().unwrap().contains("a secret cannot be opened"), "{said}");
    // Nothing that was clear is kept, given out or on record.
    let exported = command_of(&served.node, "configuration/export", &json!({"type": "security", "name": "people"}));
    assert!(exported.to_string().contains("encrypted:v1:"));
    for clear in ["the key's", "the file's", "the variable's"] {
        assert!(!exported.to_string().contains(clear));
        for path in ["store/node.sqlite", "store/node.sqlite-wal", "store/audit/audit.jsonl", "settings.json"] {
            assert!(!contains(&folder.join(path), clear), "{clear} in {path}");
        }
        let environ = format!("/proc/{}/environ", served.node.launcher());
        assert!(!contains(Path::new(&environ), clear), "the launcher has it");
    }
}

#[test]
fn who_owns_the_folder_of_a_node_that_is_down_finds_the_way_back() {
    let Some(mut place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.force("roles", ROLES).expect(0));
    drop(place.admin(&["setadmin", "realm", "--realm=people"]).expect(0));
    let deny =
        r#"RoleToPrivilegeMappings = { roles = { administrator = { deny = [ { privilege = "AdminRunCommand" } ] } } }"#;
    drop(place.load("lock-out", "1", deny).expect(0));
    let force = ["activate", "configuration", "--type=security", "--name=lock-out", "--force", "--confirm-within=1h"];
    drop(place.admin(&force).expect(0));
    drop(place.admin(&["display", "node"]).expect(4));
    let folder = place.node.folder.clone();
    // Not beside the node.
    let refused = at(&folder, &["reset", "authentication"], "").expect(1);
    assert!(refused.stderr.contains("another node uses this folder") && refused.stderr.contains("stop the node first"));
    place.node.kill();
    // Nor by anybody.
    use std::os::unix::process::CommandExt;
    let shown = format!("--folder={}", folder.display());
    let mut stranger = std::process::Command::new(command());
    let denied = stranger.args(["admin", &shown, "reset", "authentication"]).uid(BIN).output().unwrap();
    assert_eq!(denied.status.code(), Some(4), "{denied:?}");
    let listed = at(&folder, &["--format=json", "display", "authentication"], "").expect(0).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed[0]["service"].as_str(), listed[0]["rows"].as_array().map(Vec::len)), (Some("A.X"), Some(2)));
    assert_eq!(listed[0]["rows"][1]["User Name"], "games");
    // One realm cannot be reset while the other half is on trial.
    let refused = at(&folder, &["reset", "authentication", "--realm=people"], "").expect(1);
    assert!(refused.stderr.contains("on trial"), "{}", refused.stderr);
    let reset = at(&folder, &["reset", "authentication"], "").expect(0);
    assert!(reset.stdout.contains("[A.X] Name = people") && reset.stderr.contains("note: nothing was removed"));
    for path in ["lock", "store/node.sqlite", "store/audit/audit.jsonl"] {
        assert_eq!(std::fs::metadata(folder.join(path)).unwrap().uid(), SERVICE, "{path} is still the node's");
    }
    let mut place = place.again();
    assert_eq!((place.runs(0), place.runs(BIN)), (200, 200), "as at a fresh node");
    let objects = place.rows(&["display", "configuration"]);
    assert!(objects.len() == 3 && objects.iter().all(|row| row["State"] == "Inactive"), "{objects:?}");
    assert_eq!(place.rows(&["getadmin", "realm"])[0]["Administration Realm"], "any");
    let records = place.rows(&["display", "audit"]);
    let said = |part: &str| records.iter().any(|row| row["What"].as_str().unwrap().contains(part));
    assert!(said("authentication reset intent") && said("authentication reset done"), "{records:?}");
    assert!(said("lock-out 1 inactive") && said("authentication display done"), "{records:?}");
    drop(place.admin(&["verify", "audit"]).expect(0));
    // One realm alone, and what nobody can put on record is not done.
    for name in ["people", "roles"] {
        drop(place.admin(&["activate", "configuration", "--type=security", &format!("--name={name}")]).expect(0));
    }
    assert_eq!(place.rows(&["display", "user"]).len(), 2, "users were kept");
    assert_eq!(place.node.end(), 0);
    let (trail, aside) = (folder.join("store/audit"), folder.join("store/aside"));
    std::fs::rename(&trail, &aside).unwrap();
    assert!(at(&folder, &["reset", "authentication"], "").expect(1).stderr.contains("nothing was done"));
    std::fs::rename(&aside, &trail).unwrap();
    drop(at(&folder, &["reset", "authentication", "--realm=nothing"], "").expect(1));
    drop(at(&folder, &["reset", "authentication", "--realm=people"], "").expect(0));
    let place = place.again();
    let states = place.rows(&["display", "configuration"]);
    let active: Vec<_> = states.iter().filter(|row| row["State"] == "Active").map(|row| row["Name"].clone()).collect();
    assert_eq!(active, ["roles"]);
}
