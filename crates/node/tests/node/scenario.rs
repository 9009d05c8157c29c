//! The story of a new administrator, told once from the installation to a trail that somebody has changed, by what he
//! types and nothing else. `docs/operate/security.md` tells the same.

mod displays;
mod ending;

use serde_json::{Value, json};
use stockade_testkit::Ran;
use stockade_testkit::oidc::{Provider, Visitor};
use stockade_testkit::slapd::{ROOT, SYSTEM, Slapd};

use crate::machine::{Host, Machine};
use crate::networks::{WIRES, possible};
use crate::providers::visit;
use crate::support::until;

const SOCKET: &str = "/run/stockade/node.sock";
const TRAIL: &str = "/var/lib/stockade/store/audit/audit.jsonl";
const EXAMPLE: &str = include_str!("../../../../examples/trusted-hosts.conf");
const DAY_MS: i64 = 86_400_000;

/// Two users; what is in capitals in these files is said when they are loaded.
const PEOPLE: &str = include_str!("scenario/people.conf");
const DIRECTORY: &str = include_str!("scenario/directory.conf");
const PROVIDER: &str = include_str!("scenario/sso.conf");
const LOCK_OUT: &str = include_str!("scenario/lock-out.conf");
/// The status of a command that a node does not let in.
const NOT_IN: i32 = 125;

/// The machine of the node, and two hosts: `host1` of the example, and one that no list knows.
struct Story {
    machine: Machine,
    known: Host,
    other: Host,
}

#[test]
fn a_new_administrator_secures_a_node_from_its_installation_to_a_trail_that_was_changed() {
    if !possible() {
        return;
    }
    // In the network of the story nothing can be fetched for it.
    let Some(provider) = Provider::start() else { return };
    drop(provider);
    let mut story = Story::begins();
    story.installs_a_node();
    story.looks_at_it_through_its_socket();
    story.trusts_the_hosts_of_the_specification();
    story.has_a_realm_with_two_users();
    story.asks_from_two_hosts();
    let (slapd, provider) = (Slapd::with(&ada()).unwrap(), Provider::start().unwrap());
    story.lets_the_node_reach_both(&slapd, &provider);
    story.has_users_of_a_directory(&slapd);
    story.has_users_of_a_provider(&provider);
    story.denies_and_allows_every_row_of_the_table();
    story.locks_and_unlocks();
    story.expires_a_password();
    story.displays_everything();
    story.is_locked_out_and_comes_back();
    story.finds_a_changed_trail();
}

/// She is in the directory, in a group that is called as the role `user`.
fn ada() -> String {
    format!(
        "dn: uid=ada,{ROOT}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\nuid: ada\ncn: ada\nsn: ada\n\
         userPassword: of ada\nmemberOf: cn=user,ou=groups,{ROOT}\n\n"
    )
}

impl Story {
    fn begins() -> Self {
        let machine = Machine::new(&["ann", "bob", "eve"]);
        let host = |number: usize| {
            let host = Host::new(machine.network.joined(number), format!("{}:8443", WIRES[number].0));
            for (name, secret) in [("ann.secret", "correct horse\n"), ("bob.secret", "battery staple\n")] {
                host.writes(name, secret);
            }
            host
        };
        let (known, other) = (host(0), host(1));
        Self { machine, known, other }
    }

    /// `stockade admin` on the machine, done.
    #[track_caller]
    fn admin(&self, words: &str) -> String {
        self.machine.types(&format!("stockade admin {words}")).expect(0).stdout
    }

    /// The same, refused with this status.
    #[track_caller]
    fn refused(&self, status: i32, words: &str) -> String {
        let refused = self.machine.types(&format!("stockade admin {words}")).expect(status);
        assert!(refused.stdout.is_empty() && refused.stderr.contains("\n  next: "), "{refused:?}");
        refused.stderr
    }

    #[track_caller]
    fn puts_in_force(&self, file: &str, name: &str, substitutions: &[(&str, &str)]) -> Ran {
        let said: Vec<_> = substitutions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.machine.writes("values", said.join("\n") + "\n");
        let loaded =
            self.admin(&format!("--columns=state load configuration --source={file} --substitutionfile=values"));
        assert_eq!(loaded, "[A.X] State = Inactive\n");
        let version = said.iter().find_map(|one| one.strip_prefix("VERSION=")).unwrap_or("1.0");
        let activate =
            format!("stockade admin activate configuration --type=security --name={name} --version={version}");
        self.machine.types(&activate).expect(0)
    }

    fn installs_a_node(&mut self) {
        let flags = "--service-name A.X --listen 10.88.1.1:8443 --listen 10.88.2.1:8443";
        let said = self.machine.types(&format!("stockade node install -- {flags}")).expect(0).stdout;
        assert!(said.contains("next: systemctl daemon-reload"), "{said}");
        let told = said.lines().find_map(|line| line.strip_prefix("its certificate has the SHA-256 ")).unwrap();
        for host in [&self.known, &self.other] {
            host.writes("pin", told);
        }
        self.machine.starts();
        let status = self.machine.types("stockade node status").expect(0).stdout;
        assert!(status.contains("\nyou are uid-0@local "), "{status}");
    }

    fn looks_at_it_through_its_socket(&self) {
        let node = self.admin("display node");
        assert!(node.contains("[A.X] State = running\n") && node.contains("Legacy Host Trust = false"), "{node}");
        let hosts = self.admin("display security --type=hosts");
        assert!(hosts.contains("[A.X] Network Address = 10.88.1.1\n"), "{hosts}");
        assert!(hosts.lines().filter(|line| line.contains("Source")).all(|line| line == "[A.X] Source = default"));
        // Whoever the socket lets in runs code, and looks after nothing.
        assert_eq!(self.runs_as("eve").expect(0).stdout, "42\n");
        let denied = self.machine.types_as("eve", "stockade admin display node").expect(4).stderr;
        assert!(denied.contains("needs the privilege AdminRunCommand on `node.display`"), "{denied}");
        // Who has a folder for a node of his own means that one.
        let own = "mkdir -p .local/state/stockade-node && HOME=/srv stockade admin display node";
        assert!(self.machine.types(own).expect(5).stderr.contains("`/srv/.local/state/stockade-node/node.sock`"));
        // Over the network there is nobody yet.
        drop(self.known.log_in("ann@acme", "ann.secret").expect(NOT_IN));
    }

    fn runs_as(&self, user: &str) -> Ran {
        self.machine.types_as(user, &format!("stockade run --node unix:{SOCKET} --quiet -c 'print(6 * 7)'"))
    }

    fn trusts_the_hosts_of_the_specification(&self) {
        self.machine.writes("trusted-hosts.conf", EXAMPLE);
        let loaded = self.machine.types("stockade admin load configuration --source=trusted-hosts.conf").expect(0);
        assert!(loaded.stdout.contains("[A.X] State = Inactive\n"), "{loaded:?}");
        assert!(loaded.stderr.contains("the zone of `2601:646:4102:9184:d56c:b9bc:f9ed:1ee4%en1` is ignored"));
        // As long as a name leads nowhere, nothing of it is in force, and each is told.
        let activate = "activate configuration --type=security --name=trusted-hosts";
        self.machine.names.leads("host2", "198.51.100.2");
        let refused = self.refused(1, activate);
        assert!(refused.contains("`host1` of") && refused.contains("`host4.tibco.com` of"), "{refused}");
        assert!(!refused.contains("`host2` of"), "{refused}");
        assert_eq!(self.trusted("189.4.5.6"), ("false".to_owned(), String::new()));
        self.machine.names.leads("host1", WIRES[0].1);
        self.machine.names.leads("host4.tibco.com", "198.51.100.4");
        let activated = self.machine.types(&format!("stockade admin {activate}")).expect(0);
        assert!(activated.stdout.contains("[A.X] State = Active\n"), "{activated:?}");
        // The place in a file is told when it is loaded; what is kept is another text.
        assert!(activated.stderr.starts_with("[A.X] note: `trusted-hosts`: the zone of"), "{activated:?}");
        // Below a name: who says so of himself is not believed, unless the name says it of him.
        for (address, name) in [("198.51.100.7", "a.some.domain.org"), ("198.51.100.8", "b.some.domain.org")] {
            self.machine.names.claims(address, name);
        }
        self.machine.names.leads("a.some.domain.org", "198.51.100.7");
        self.machine.names.leads("b.some.domain.org", "198.51.100.9");
        for (address, entry) in [
            (WIRES[0].1, "host1"),
            ("198.51.100.2", "host2"),
            ("198.51.100.7", "*.some.domain.org"),
            ("198.51.100.4", "host4.tibco.com"),
            ("189.4.5.6", "189.4.5.6"),
            ("192.168.2.77", "192.168.2.0/24"),
            ("2601:646:4102:9184:d56c:b9bc:f9ed:1ee4", "2601:646:4102:9184:d56c:b9bc:f9ed:1ee4%en1"),
        ] {
            assert_eq!(self.trusted(address), ("true".to_owned(), entry.to_owned()), "{address}");
        }
        for address in [WIRES[1].1, "198.51.100.8", "192.168.3.1", "127.0.0.1"] {
            assert_eq!(self.trusted(address).0, "false", "{address}");
        }
    }

    /// Whether it is trusted, and by which entry.
    fn trusted(&self, address: &str) -> (String, String) {
        let row = &self.rows(&format!("test trusted --address={address}"))[0];
        (text(&row["Trusted"]), text(&row["Entry"]))
    }

    fn rows(&self, words: &str) -> Vec<Value> {
        let said: Value = serde_json::from_str(&self.admin(&format!("--format=json {words}"))).unwrap();
        said[0]["rows"].as_array().unwrap().clone()
    }

    fn has_a_realm_with_two_users(&self) {
        self.machine.writes("people.conf", PEOPLE);
        for (name, secret) in [("ann", "correct horse"), ("bob", "battery staple")] {
            let hash = "stockade admin hash secret --password-file";
            let line = format!("umask 077 && echo '{secret}' > {name}.secret && {hash}={name}.secret > {name}.hash");
            drop(self.machine.types(&line).expect(0));
        }
        let activated = self.puts_people_in_force(1, &[]);
        assert!(!activated.stderr.contains("clear"), "{}", activated.stderr);
        let users = self.admin("--columns='User Name,Roles,Locked,Password Expires' display user");
        let [ann, bob] = [("ann", "administrator"), ("bob", "analyst")].map(|(name, role)| {
            format!(
                "[A.X] User Name = {name}\n[A.X] Roles = {role}\n[A.X] Locked = false\n[A.X] Password Expires = never\n"
            )
        });
        assert_eq!(users, format!("{ann}\n{bob}"));
        // Each has what his role says, at the socket by his name on the machine, and whom no role is given has nothing.
        drop(self.machine.types_as("ann", "stockade admin display node").expect(0));
        assert_eq!(self.runs_as("bob").expect(0).stdout, "42\n");
        for line in ["stockade admin display node", "stockade admin lock user --username=ann"] {
            drop(self.machine.types_as("bob", line).expect(4));
        }
        let denied = self.runs_as("eve").expect(125).stderr;
        assert!(denied.contains("needs the privilege Run"), "{denied}");
        let explained = self.admin("explain authorization --user=bob --privilege=AuditRead");
        assert!(explained.contains("[A.X] Decision = denied\n[A.X] Rule = no rule grants it\n"), "{explained}");
    }

    /// A version of the realm.
    #[track_caller]
    fn puts_people_in_force(&self, version: u32, more: &[(&str, &str)]) -> Ran {
        let hash = |user: &str| self.machine.types(&format!("cat {user}.hash")).expect(0).stdout.trim().to_owned();
        let (version, ann, bob) = (version.to_string(), hash("ann"), hash("bob"));
        let own = [("VERSION", version.as_str()), ("ANN", &ann), ("BOB", &bob)];
        self.puts_in_force("people.conf", "people", &[&own[..], more].concat())
    }

    fn asks_from_two_hosts(&self) {
        // The node that shows another certificate is told nothing.
        let other = "stockade login --username ann --fingerprint $(printf '%064d' 1) --password-file ann.secret $NODE";
        let refused = self.other.types(other).expect(NOT_IN).stderr;
        assert!(refused.contains("is not verified, so it was told nothing"), "{refused}");
        for host in [&self.known, &self.other] {
            let said = host.log_in("ann@acme", "ann.secret").expect(0).stdout;
            assert!(said.contains("as ann@acme"), "{said}");
            drop(host.admin("display node").expect(0));
            drop(host.types("stockade logout $NODE").expect(0));
            drop(host.admin("display node").expect(3));
            drop(host.log_in("bob@acme", "bob.secret").expect(0));
            drop(host.admin("display node").expect(4));
            drop(host.types("stockade logout $NODE").expect(0));
            drop(host.log_in("bob@acme", "ann.secret").expect(NOT_IN));
        }
    }

    fn lets_the_node_reach_both(&mut self, slapd: &Slapd, provider: &Provider) {
        self.machine.writes("directory.pem", slapd.authority());
        self.machine.writes("provider.pem", provider.authority());
        let (_, system) = SYSTEM;
        for line in [
            "install -d /etc/stockade && install -m 644 directory.pem provider.pem /etc/stockade",
            "install -d -o stockade -g stockade -m 700 /etc/stockade/secrets",
            &format!(
                "umask 077 && echo \"{system}\" > system && install -o stockade -m 600 system /etc/stockade/secrets"
            ),
        ] {
            drop(self.machine.types(line).expect(0));
        }
        let flags = format!(
            "--service-name A.X --listen 10.88.1.1:8443 --listen 10.88.2.1:8443 --connect-port {} --connect-port {} \
             --security-file /etc/stockade/directory.pem --security-file /etc/stockade/provider.pem \
             --secrets /etc/stockade/secrets",
            slapd.tls_port(),
            port_of(provider)
        );
        drop(self.machine.types(&format!("stockade node install -- {flags}")).expect(0));
        self.machine.stops();
        self.machine.starts();
        // Everything is as it was.
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
    }

    fn has_users_of_a_directory(&self, slapd: &Slapd) {
        self.machine.writes("directory.conf", DIRECTORY);
        let (system, _) = SYSTEM;
        let port = slapd.tls_port().to_string();
        drop(self.puts_in_force("directory.conf", "directory", &[("PORT", &port), ("SYSTEM", system), ("ROOT", ROOT)]));
        self.known.writes("ada.secret", "of ada\n");
        let said = self.known.log_in("ada@corp", "ada.secret").expect(0).stdout;
        assert!(said.contains("as ada@corp"), "{said}");
        drop(self.known.admin("display node").expect(4));
        drop(self.known.log_in("ada@corp", "bob.secret").expect(NOT_IN));
        drop(self.known.log_in("bob@corp", "bob.secret").expect(NOT_IN));
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
    }

    fn has_users_of_a_provider(&self, provider: &Provider) {
        self.machine.writes("sso.conf", PROVIDER);
        drop(self.puts_in_force("sso.conf", "sso", &[("DOCUMENT", &provider.document())]));
        for (audience, status) in [("node", "200"), ("mail", "401")] {
            let token = format!("authorization: Bearer {}\n", provider.access_token("ES256", audience, 600));
            self.other.writes("token", token);
            assert_eq!(self.other.curl("--header @token", "/v1/me"), status, "{audience}");
        }
        self.other.writes("token", format!("authorization: Bearer {}\n", provider.access_token("ES256", "node", 600)));
        assert_eq!(self.other.curl("--header @token --json '{\"code\": \"print(6 * 7)\"}'", "/v1/runs"), "200");
        assert_eq!(self.other.curl("--header @token --json '{}'", "/v1/sessions"), "403");
        drop(self.other.log_in("ada@sso", "ann.secret").expect(NOT_IN));
        // A person goes with a browser, while the command line waits.
        let log_in = "stockade login --device --fingerprint $(cat pin) $NODE > told 2> said &";
        drop(self.known.types(log_in).expect(0));
        until("it says where to go", || self.known.reads("said").ends_with('\n'));
        visit(provider, &self.known.reads("said"), Visitor::Agrees("grace"));
        until("she is logged in", || self.known.reads("told").ends_with('\n'));
        let told = self.known.reads("told");
        assert!(told.contains(" as grace@sso, for "), "{told}");
        drop(self.known.admin("display node").expect(4));
    }

    fn denies_and_allows_every_row_of_the_table(&self) {
        let mut version = 1;
        for (trusted, password) in [(false, false), (false, true), (true, false), (true, true)] {
            for legacy in [false, true] {
                version += 1;
                let [trusted_word, password_word, legacy_word] = [trusted, password, legacy].map(|one| one.to_string());
                let words = [("TRUSTED", &trusted_word), ("PASSWORD", &password_word), ("LEGACY", &legacy_word)];
                drop(self.puts_people_in_force(version, &words.map(|(name, value)| (name, value.as_str()))));
                let shown = self.admin("--columns='legacy host trust' display node");
                assert_eq!(shown, format!("[A.X] Legacy Host Trust = {legacy}\n"));
                for (host, is_known) in [(&self.known, true), (&self.other, false)] {
                    let row = format!("hosts {trusted}, password {password}, legacy {legacy}, known {is_known}");
                    let check = |who: &str, is_in: bool| {
                        assert_eq!(host.curl(who, "/v1/me"), if is_in { "200" } else { "401" }, "{row}: {who}");
                    };
                    check("", false);
                    check("--user bob@acme:wrong", false);
                    check("--user \"bob@acme:$(cat bob.secret)\"", is_known || !trusted);
                    check("--header 'stockade-user: bob@acme'", legacy && !password && is_known);
                    check("--header 'stockade-user: bob@acme' --user \"bob@acme:$(cat bob.secret)\"", false);
                    check(
                        &format!("--header 'x-forwarded-for: {}' --header 'stockade-user: bob@acme'", WIRES[0].1),
                        legacy && !password && is_known,
                    );
                    let log_in = host.log_in("ann@acme", "ann.secret");
                    assert_eq!(log_in.status, if is_known || !trusted { 0 } else { NOT_IN }, "{row}: {log_in:?}");
                }
                // A user of the machine shows no password.
                assert_eq!(self.runs_as("bob").status, if password { 125 } else { 0 });
            }
        }
        drop(self.puts_people_in_force(version + 1, &[]));
    }

    fn locks_and_unlocks(&self) {
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
        drop(self.known.admin("display node").expect(0));
        assert_eq!(self.admin("--columns=locked lock user --username=ann"), "[A.X] Locked = true\n");
        // What she had is over, and she is told what a stranger is told.
        drop(self.known.admin("display node").expect(3));
        let locked = self.known.log_in("ann@acme", "ann.secret").expect(NOT_IN).stderr;
        let stranger = self.known.log_in("nobody@acme", "ann.secret").expect(NOT_IN).stderr;
        assert_eq!(locked, stranger);
        drop(self.machine.types_as("ann", "stockade admin display node").expect(4));
        assert_eq!(self.admin("--columns=locked unlock user --username=ann"), "[A.X] Locked = false\n");
        drop(self.known.log_in("ann@acme", "ann.secret").expect(0));
        drop(self.known.admin("display node").expect(0));
    }

    /// A backup says when each password was set. One of 31 days ago is made of that of today.
    fn expires_a_password(&self) {
        let days = "--columns='password expiration days' update user --username=bob --password-expiration-days=30";
        assert_eq!(self.admin(days), "[A.X] Password Expiration Days = 30\n");
        // While his host was not trusted his right passwords were attempts that failed, too: he waits there.
        until("he may try again", || self.other.log_in("bob@acme", "bob.secret").status == 0);
        assert_eq!(self.admin("backup realm --realm=acme --file=realm.json"), "");
        let mut realm: Value = serde_json::from_str(&self.machine.types("cat realm.json").expect(0).stdout).unwrap();
        let bob = realm["principals"].as_array_mut().unwrap().iter_mut().find(|one| one["userName"] == "bob").unwrap();
        bob["passwordSetMs"] = json!(bob["passwordSetMs"].as_i64().unwrap() - 31 * DAY_MS);
        self.machine.writes("realm-of-then.json", realm.to_string());
        assert_eq!(self.admin("--columns=users restore realm --source=realm-of-then.json"), "[A.X] Users = 2\n");
        let refused = self.other.log_in("bob@acme", "bob.secret").expect(NOT_IN).stderr;
        assert!(refused.contains("the password is expired") && refused.contains("have an administrator"), "{refused}");
        // Who does not know it is told nothing of it.
        assert!(!self.other.log_in("bob@acme", "ann.secret").expect(NOT_IN).stderr.contains("expired"));
        let denied = self.runs_as("bob").expect(125).stderr;
        assert!(denied.contains("you hold no role") && denied.contains("your password is expired"), "{denied}");
        let now = self.machine.types("date --utc +%FT%TZ").expect(0).stdout;
        let shown = self.rows("display user --username=bob")[0]["Password Expires"].clone();
        assert!(text(&shown).as_str() < now.trim(), "{shown} {now}");
        drop(self.machine.types("umask 077 && echo 'paper clip' > bob.secret").expect(0));
        self.admin("change password --username=bob --password-file=bob.secret");
        self.other.writes("bob.secret", "paper clip\n");
        drop(self.other.log_in("bob@acme", "bob.secret").expect(0));
        assert_eq!(self.runs_as("bob").expect(0).stdout, "42\n");
    }
}

impl Host {
    fn log_in(&self, user: &str, secret: &str) -> Ran {
        self.types(&format!("stockade login --username {user} --fingerprint $(cat pin) --password-file {secret} $NODE"))
    }

    /// `stockade admin` by whoever is logged in.
    fn admin(&self, words: &str) -> Ran {
        self.types(&format!("stockade admin --hostname=$NODE {words}"))
    }

    /// The status of an answer over HTTP; the certificate is known by its pin elsewhere.
    fn curl(&self, words: &str, path: &str) -> String {
        let line = format!(
            "curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' {words} https://$NODE{path}"
        );
        self.types(&line).expect(0).stdout
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn port_of(provider: &Provider) -> String {
    provider.issuer().rsplit_once(':').unwrap().1.to_owned()
}
