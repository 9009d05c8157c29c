//! Principals of a directory: a real one, one that is away, and one that never answers.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_testkit::Folder;
use stockade_testkit::ports::Silent;
use stockade_testkit::slapd::{ROOT, SYSTEM, Slapd};

use crate::support::{open_folder, until};
use crate::tls::{ANN, Answer, Served, basic, command_of};

const ADA: &str = "of ada itself";

/// Somebody whose password is [`ADA`], in a group.
fn person(name: &str, group: &str) -> String {
    format!(
        "dn: uid={name},{ROOT}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\nuid: {name}\ncn: {name}\n\
         sn: {name}\nuserPassword: {ADA}\nmemberOf: cn={group},ou=groups,{ROOT}\n\n"
    )
}

/// People and what they are in.
fn people() -> String {
    let known = [
        ("ada", "user"),
        ("zoe", "administrator"),
        ("uid-0", "administrator"),
        ("ann@acme", "user"),
        ("a@b@c", "administrator"),
        ("uid-1@acme", "administrator"),
    ];
    let known: String = known.iter().chain(&[("n e", "user")]).map(|(name, group)| person(name, group)).collect();
    // `wide` with a letter that the directory takes for `w`.
    known + &person("other", "user").replace("uid: other", "uid:: 772XaWRl").replace("dn: uid", "dn: cn")
}

/// A realm of a server that is asked like this.
fn realm(version: &str, port: u16, more: &str) -> String {
    let (system, _) = SYSTEM;
    format!(
        r#"name = corp, version = "{version}", type = stockade.security
        configuration {{ LDAPAuthenticationRealm {{ name = corp, servers = [ {{ host = "localhost", portNumber = {port},
            systemPrincipal = "{system}", principalRoot = "{ROOT}", userAttribute = uid, roleAttribute = memberOf,
            {more} }} ] }} }}"#
    )
}

/// What the directory's realm needs of the machine.
struct Files {
    _home: Folder,
    authority: String,
    secrets: String,
}

/// A folder of secrets, as the node's user has it, with the system's password.
fn secrets(home: &Folder) -> String {
    let file = home.write("secrets/system", format!("{}\n", SYSTEM.1));
    let secrets = home.path().join("secrets");
    for (path, mode) in [(&file, 0o600), (&secrets, 0o700)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(61_234), None).unwrap();
        }
    }
    secrets.to_str().unwrap().to_owned()
}

impl Files {
    fn of(slapd: &Slapd) -> Self {
        let home = open_folder();
        let authority = home.write("authority.pem", slapd.authority());
        let secrets = secrets(&home);
        Self { authority: authority.to_str().unwrap().to_owned(), secrets, _home: home }
    }

    fn profile(&self) -> String {
        format!(
            r#"name = profiles, version = "1", type = stockade.security
            configuration {{ SecureCommunicationClientProfile {{ name = directory, trustFile = "{}" }} }}"#,
            self.authority
        )
    }

    fn secured(&self) -> String {
        format!("systemPassword = \"file:{}/system\", secureCommunicationProfileName = directory", self.secrets)
    }
}

impl Served {
    fn log_in(&self, user: &str, password: &str) -> Answer {
        self.ask("POST", "/v1/login", &[("authorization", &basic(user, password))], "")
    }

    fn log_in_from(&self, address: Ipv4Addr, user: &str) -> Answer {
        self.ask_from(address, ("POST", "/v1/login"), &[("authorization", &basic(user, ADA))], "")
    }
}

fn told(answer: &Answer) -> [String; 3] {
    let problem = answer.json();
    ["title", "detail", "next"].map(|key| problem[key].as_str().unwrap().to_owned())
}

#[test]
fn a_user_of_a_directory_logs_in_and_is_who_the_directory_says() {
    let Some(slapd) = Slapd::with(&people()) else { return };
    let (files, port) = (Files::of(&slapd), slapd.tls_port().to_string());
    let logs = open_folder();
    let logged = logs.path().join("logs");
    let flags = ["--connect-port", &port, "--security-file", &files.authority, "--secrets", &files.secrets];
    let noted = ["--log-level", "trace", "--log-dir", logged.to_str().unwrap()];
    let served = Served::start(&[&flags[..], &noted].concat());
    served.put_in_force("profiles", &files.profile());
    served.put_in_force("corp", &realm("1", slapd.tls_port(), &files.secured()));
    // A token, and then that; the password is for no other request.
    let elsewhere = served.get("/v1/me", &basic("ada@corp", ADA)).expect(401);
    assert!(elsewhere.json()["next"].as_str().unwrap().contains("/v1/login"), "{elsewhere:?}");
    let token = served.token("ADA@corp", ADA);
    let me = |token: &str| served.get("/v1/me", token);
    assert_eq!(me(&token).expect(200).json()["principal"], "ada@corp");
    let ran = served.ask("POST", "/v1/runs", &[("authorization", &token)], r#"{ "code": "print(6 * 7)" }"#);
    assert_eq!(ran.expect(200).json()["stdout"], "42\n");
    // Groups are roles.
    let display =
        |token: &str| served.ask("POST", "/v1/admin/commands/node/display", &[("authorization", token)], "{}");
    display(&token).expect(403);
    let zoe = served.token("zoe@corp", ADA);
    display(&zoe).expect(200);
    // She does not take her own realm away.
    let corp = r#"{ "parameters": { "type": "security", "name": "corp" } }"#;
    let path = "/v1/admin/commands/configuration/deactivate";
    let kept = served.ask("POST", path, &[("authorization", &zoe)], corp).expect(409).json();
    assert!(kept["detail"].as_str().unwrap().contains("you would not be admitted"), "{kept}");
    display(&zoe).expect(200);
    // A name of e-mail is written with its realm, and is nobody else's: neither what he does nor what he may.
    let mail = served.token("Ann@acme@corp", ADA);
    assert_eq!(me(&mail).expect(200).json()["principal"], "ann@acme@corp");
    let ran = served.ask("POST", "/v1/runs", &[("authorization", &mail)], r#"{ "code": "print(6 * 7)" }"#);
    let ran = ran.expect(200).json();
    assert_eq!(ran["stdout"], "42\n");
    let run = format!("/v1/runs/{}", ran["id"].as_str().unwrap());
    served.get(&run, &mail).expect(200);
    served.get(&run, &basic("ann@acme", ANN)).expect(404);
    display(&mail).expect(403);
    // Who is not there, who guesses, and who is called as others are: one answer.
    let wrong = told(&served.log_in("ada@corp", "wrong").expect(401));
    for (user, password) in [
        ("nobody@corp", ADA),
        ("uid-0@corp", ADA),
        ("a@b@c@corp", ADA),
        ("uid-1@acme@corp", ADA),
        ("ann@acme", ADA),
        ("n e@corp", ADA),
        ("wide@corp", ADA),
        ("*@corp", ADA),
        ("ada", ADA),
        ("ada@other", ADA),
        ("ada@acme", ADA),
        ("ann@corp", ANN),
        ("zoe@corp", ""),
    ] {
        assert_eq!(told(&served.log_in(user, password).expect(401)), wrong, "{user}");
    }
    // Guesses wait, in any spelling; those elsewhere and local people do not.
    let spellings = ["ADA@corp", "Ada@corp", "aDa@corp", "adA@corp", "aDA@corp", "AdA@corp"];
    let status = spellings.map(|user| served.log_in(user, "wrong").status);
    assert!(status.contains(&429), "{status:?}");
    served.log_in_from(Ipv4Addr::new(127, 0, 0, 2), "ada@corp").expect(200);
    served.get("/v1/me", &basic("ann@acme", ANN)).expect(200);
    // Another realm ends what was given by the former.
    me(&token).expect(200);
    let again = realm("2", slapd.tls_port(), &format!("{}, connectTimeout = 2s", files.secured()));
    served.put_in_force("corp", &again);
    let elsewhere = |last| Ipv4Addr::new(127, 0, 0, last);
    assert_eq!(served.refused_as(elsewhere(3), &token), "");
    // So does its end; those of others go on.
    let (token, local) = (served.token("zoe@corp", ADA), served.token("ann@acme", ANN));
    me(&token).expect(200);
    command_of(&served.node, "configuration/deactivate", &json!({ "type": "security", "name": "corp" }));
    assert_eq!(served.refused_as(elsewhere(4), &token), "");
    me(&local).expect(401);
    // A system's password in clear is not shown; and none is in what the node writes.
    let plain = format!("systemPassword = \"{}\", secureCommunicationProfileName = directory", SYSTEM.1);
    served.put_in_force("corp", &realm("3", slapd.tls_port(), &plain));
    let token = served.token("zoe@corp", ADA);
    let which = json!({ "type": "security", "name": "corp" });
    let shown = command_of(&served.node, "configuration/export", &which).to_string();
    assert!(shown.contains("systemPassword") && !shown.contains(SYSTEM.1), "{shown}");
    let text = |folder: &std::path::Path| {
        let files = std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()).collect::<String>()
    };
    let trail = text(&served.node.folder.join("store/audit"));
    assert!(trail.contains("ada@corp") && trail.contains("the directory does not know the user"), "{trail}");
    assert!(trail.contains("as no principal of this node is"), "{trail}");
    let said = text(&logged);
    for secret in [SYSTEM.1, ADA, token.trim_start_matches("Bearer ")] {
        assert!(!trail.contains(secret) && !said.contains(secret), "{secret} is written");
    }
    // A directory that is away is no reason to try another way, and no reason for others to wait.
    drop(slapd);
    let away = served.log_in("zoe@corp", ADA).expect(429);
    assert!(away.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{away:?}");
    served.get("/v1/me", &token).expect(200);
    served.get("/v1/me", &basic("ann@acme", ANN)).expect(200);
    // Started without what the realm needs, it serves those who do not need it.
    let served = served.again(&[]);
    served.log_in("zoe@corp", ADA).expect(429);
    served.get("/v1/me", &basic("ann@acme", ANN)).expect(200);
}

#[test]
fn a_directory_that_never_answers_keeps_nobody_else_waiting() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let served = Served::start(&["--connect-port", &port.to_string()]);
    let slow = "systemPassword = x, allowPlaintext = true, connectTimeout = 60s";
    served.put_in_force("corp", &realm("1", port, slow));
    let other = Ipv4Addr::new(127, 0, 0, 2);
    std::thread::scope(|scope| {
        let began = Instant::now();
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let served = &served;
                scope.spawn(move || {
                    let status = served.log_in(&format!("user{number}@corp"), ADA).status;
                    (status, began.elapsed())
                })
            })
            .collect();
        silent.set_nonblocking(true).unwrap();
        let mut held = Vec::new();
        until("the directory is asked", || {
            held.extend(silent.accept().ok());
            held.len() == 8
        });
        // The others are not kept waiting for it.
        until("so many of one address wait and no more", || {
            waiting.iter().filter(|one| one.is_finished()).count() == 12
        });
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        // Local people get in meanwhile, from there too.
        let asked = Instant::now();
        served.get("/v1/me", &basic("ann@acme", ANN)).expect(200);
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        let elsewhere = scope.spawn(|| served.log_in_from(other, "ada@corp").status);
        until("another address has its own", || {
            held.extend(silent.accept().ok());
            held.len() == 9
        });
        drop(held);
        drop(silent);
        let (status, ended): (Vec<_>, Vec<_>) = waiting.into_iter().map(|one| one.join().unwrap()).unzip();
        assert!(status.iter().all(|status| *status == 429), "{status:?}");
        assert!(ended.iter().all(|ended| *ended < Duration::from_secs(40)), "{ended:?}");
        assert_eq!(elsewhere.join().unwrap(), 429);
    });
}

#[test]
fn what_a_role_is_denied_does_not_hang_on_how_an_entry_writes_its_group() {
    let both = person("eve", "user").replace("\n\n", &format!("\nmemberOf: CN=CONTRACTORS,ou=groups,{ROOT}\n\n"));
    let Some(slapd) = Slapd::with(&(both + &person("ada", "User"))) else { return };
    let (files, port) = (Files::of(&slapd), slapd.tls_port().to_string());
    let served =
        Served::start(&["--connect-port", &port, "--security-file", &files.authority, "--secrets", &files.secrets]);
    served.put_in_force("profiles", &files.profile());
    served.put_in_force("corp", &realm("1", slapd.tls_port(), &files.secured()));
    served.put_in_force(
        "contractors",
        r#"name = contractors, version = "1", type = stockade.security
        configuration { RoleToPrivilegeMappings { roles { contractors { deny = [ { privilege = Run } ] } } } }"#,
    );
    let run = |user: &str| {
        let token = served.token(user, ADA);
        served.ask("POST", "/v1/runs", &[("authorization", &token)], r#"{ "code": "print(6 * 7)" }"#).status
    };
    assert_eq!((run("ada@corp"), run("eve@corp")), (200, 403));
}

#[test]
fn a_directory_that_is_away_counts_no_guesses() {
    let Some(slapd) = Slapd::with(&people()) else { return };
    let (files, silent) = (Files::of(&slapd), Silent::new());
    let ports = [slapd.tls_port(), silent.address().port()].map(|port| port.to_string());
    let [there, away] = &ports;
    let flags = ["--connect-port", there, "--connect-port", away];
    let more = ["--security-file", &files.authority, "--secrets", &files.secrets];
    let served = Served::start(&[&flags[..], &more].concat());
    served.put_in_force("profiles", &files.profile());
    served.put_in_force("corp", &realm("1", silent.address().port(), "systemPassword = x, allowPlaintext = true"));
    for _ in 0..10 {
        served.log_in("ada@corp", ADA).expect(429);
    }
    served.put_in_force("corp", &realm("2", slapd.tls_port(), &files.secured()));
    served.log_in("ada@corp", ADA).expect(200);
}

#[test]
fn a_directory_is_not_asked_for_a_host_that_its_realm_does_not_admit() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let served = Served::start(&["--connect-port", &port.to_string()]);
    let hosts = r#"name = hosts, version = "1", type = stockade.security
        configuration {
            TrustedHosts { hosts = ["127.0.0.2"] }
            SecuritySettings { legacyHostTrust = true }
        }"#;
    served.put_in_force("hosts", hosts);
    let text = realm("1", port, "systemPassword = x, allowPlaintext = true, connectTimeout = 1s");
    let text = text.replace("name = corp, servers", "name = corp, requireTrustedHostMembership = true, servers");
    served.put_in_force("corp", &text);
    served.log_in("ada@corp", ADA).expect(401);
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_err(), "it was asked");
    // Nor for who shows no password, whatever his host is.
    let named = [("stockade-user", "ada@corp")];
    served.ask_from(Ipv4Addr::new(127, 0, 0, 2), ("GET", "/v1/me"), &named, "").expect(401);
    assert!(silent.accept().is_err(), "it was asked");
    served.log_in_from(Ipv4Addr::new(127, 0, 0, 2), "ada@corp").expect(429);
    assert!(silent.accept().is_ok());
}

#[test]
fn a_realm_whose_directory_could_not_be_asked_is_not_put_in_force() {
    let home = open_folder();
    let file = home.write("open", "x\n");
    let file = file.to_str().unwrap();
    let served = Served::start(&["--connect-port", "9", "--security-file", file]);
    let activate = |version: &str, port: u16, more: &str| {
        command_of(&served.node, "configuration/load", &json!({ "source": realm(version, port, more) }));
        let which = json!({ "parameters": { "type": "security", "name": "corp", "version": version } });
        let path = "/v1/admin/commands/configuration/activate";
        served.node.ask("POST", path, &[], &which).whole().unwrap().expect(409).json()["detail"].to_string()
    };
    let profile = format!(
        r#"name = profiles, version = "1", type = stockade.security
        configuration {{ SecureCommunicationClientProfile {{ name = open, trustFile = "{file}", certificateFile = "{file}",
            keyFile = "{file}" }} }}"#
    );
    served.put_in_force("profiles", &profile);
    for (version, (port, more, part)) in [
        (10, "allowPlaintext = true, systemPassword = x", "--connect-port 10"),
        (9, "systemPassword = x", "secureCommunicationProfileName"),
        (9, "allowPlaintext = true, systemPassword = \"file:/etc/none\"", "--secrets"),
        (9, "secureCommunicationProfileName = open, systemPassword = x", "others on the machine can read"),
        (9, "allowPlaintext = true, systemPassword = \"env:X\"", "STOCKADE_SECRET_"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = activate(&version.to_string(), port, more);
        assert!(said.contains(part), "{said}");
    }
    // A local realm's people are not a directory's.
    let named = realm("9", 9, "allowPlaintext = true, systemPassword = x")
        .replace("name = corp, servers", "name = acme, servers");
    command_of(&served.node, "configuration/deactivate", &json!({ "type": "security", "name": "people" }));
    command_of(&served.node, "configuration/load", &json!({ "source": named }));
    let which = json!({ "parameters": { "type": "security", "name": "corp", "version": "9" } });
    let path = "/v1/admin/commands/configuration/activate";
    let said = served.node.ask("POST", path, &[], &which).whole().unwrap().expect(409).json();
    assert!(said["detail"].as_str().unwrap().contains("was a LocalAuthenticationRealm"), "{said}");
}

#[test]
fn a_realm_keeps_its_type_also_when_it_was_out_of_force_meanwhile() {
    let served = Served::start(&["--connect-port", "9"]);
    served.put_in_force("corp", &realm("1", 9, "systemPassword = x, allowPlaintext = true"));
    command_of(&served.node, "configuration/deactivate", &json!({ "type": "security", "name": "corp" }));
    let providers = r#"OIDCAuthenticationRealm { name = corp, identityProviders = [ { clientId = c,
        documentDiscoveryUrl = "https://localhost:9/x/.well-known/openid-configuration", identityAttributeName = sub } ] }"#;
    for (name, inner) in [("sso", providers), ("local", "LocalAuthenticationRealm { name = corp }")] {
        let text = format!("name = {name}, version = \"1\", type = stockade.security\nconfiguration {{ {inner} }}");
        command_of(&served.node, "configuration/load", &json!({ "source": text }));
        let which = json!({ "parameters": { "type": "security", "name": name } });
        let path = "/v1/admin/commands/configuration/activate";
        let said = served.node.ask("POST", path, &[], &which).whole().unwrap().expect(409).json();
        assert!(said["detail"].as_str().unwrap().contains("was a LDAPAuthenticationRealm"), "{name}: {said}");
    }
    command_of(&served.node, "configuration/activate", &json!({ "type": "security", "name": "corp" }));
}

#[test]
fn a_realm_whose_secret_can_no_more_be_opened_is_not_put_in_force_again() {
    let home = open_folder();
    let secrets = secrets(&home);
    let served = Served::start(&["--connect-port", "9", "--secrets", &secrets]);
    let more = format!("systemPassword = \"file:{secrets}/system\", allowPlaintext = true");
    served.put_in_force("corp", &realm("1", 9, &more));
    let (secret, aside) = (format!("{secrets}/system"), format!("{secrets}/aside"));
    std::fs::rename(&secret, &aside).unwrap();
    // The same realm under another version: what is in force would stay, and not come back after a start.
    let again = realm("2", 9, &more);
    command_of(&served.node, "configuration/load", &json!({ "source": again }));
    let which = json!({ "type": "security", "name": "corp", "version": "2" });
    for (command, given) in [("activate", &which), ("validate", &json!({ "source": again }))] {
        let path = format!("/v1/admin/commands/configuration/{command}");
        let asked = json!({ "parameters": given });
        let told = served.node.ask("POST", &path, &[], &asked).whole().unwrap().expect(409).json();
        assert_eq!(told["title"], "a secret cannot be opened", "{command}: {told}");
        assert!(told["detail"].as_str().unwrap().starts_with(&secret), "{command}: {told}");
        assert!(told["next"].as_str().unwrap().contains("--secrets"), "{command}: {told}");
    }
    let states = command_of(&served.node, "configuration/display", &json!({ "name": "corp" }))["rows"].clone();
    assert_eq!((&states[0][3], &states[1][3]), (&json!("Active"), &json!("Inactive")), "{states}");
    std::fs::rename(&aside, &secret).unwrap();
    command_of(&served.node, "configuration/activate", &which);
}
