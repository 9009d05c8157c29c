//! The four rows of the table for real: a node with two wires, and a host at each, of which one is trusted.

use serde_json::{Value, json};

use crate::networks::{Network, WIRES, possible};
use crate::support::{AS_SERVICE, Node, command};

const ANN: &str = "correct horse";
/// Where the node listens at each host's wire, and everywhere.
const PORTS: [u16; 2] = [8443, 8444];
const LISTEN: [&str; 6] = ["--listen", "10.88.1.1:8443", "--listen", "10.88.2.1:8443", "--listen", "[::]:8444"];

/// A node and two hosts.
struct Places {
    node: Node,
    hosts: Vec<Network>,
    _home: Network,
}

impl Places {
    fn new() -> Option<Self> {
        if !possible() {
            return None;
        }
        let home = Network::new();
        let hosts: Vec<Network> = (0..WIRES.len()).map(|number| home.joined(number)).collect();
        let folder = stockade_testkit::Folder::new();
        let place = folder.path().join("node");
        let flags = [&AS_SERVICE[..], &LISTEN].concat();
        let node = Node::by(&home.entering(), &place, &flags).keeping(folder);
        Some(Self { node, hosts, _home: home })
    }

    /// Puts a realm and the trusted host in force.
    fn put_in_force(&self, version: usize, (password, trusted, legacy): (bool, bool, bool)) {
        let (_, known) = WIRES[0];
        let people: Vec<String> = (1..=8)
            .flat_map(|row| PORTS.map(|port| user(row, port)))
            .map(|user| format!(r#"{{ userName = {user}, password = "{ANN}", roles = [user] }}"#))
            .collect();
        let people = people.join(",\n");
        let source = format!(
            r#"name = people, version = "{version}", type = stockade.security
            configuration {{
                LocalAuthenticationRealm {{ name = acme, requirePassword = {password},
                    requireTrustedHostMembership = {trusted},
                    initialPrincipals = [ {{ userName = root, roles = [administrator] }}, {people} ] }}
                TrustedHosts {{ hosts = ["{known}"] }}
                SecuritySettings {{ legacyHostTrust = {legacy} }}
            }}"#
        );
        self.command("configuration/load", &json!({ "source": source }));
        let version = version.to_string();
        self.command("configuration/activate", &json!({ "type": "security", "name": "people", "version": version }));
    }

    fn command(&self, command: &str, parameters: &Value) -> Value {
        let path = format!("/v1/admin/commands/{command}");
        self.node.ask("POST", &path, &[], &json!({ "parameters": parameters })).whole().unwrap().expect(200).json()
    }

    /// How `stockade admin` ends at this host, as root who never logged in.
    fn administer(&self, host: usize) -> i32 {
        let (ours, _) = WIRES[host];
        let authority = self.node.folder.join("tls/certificate.pem");
        let mut command = self.hosts[host].command(self::command().to_str().unwrap());
        command.arg("admin").arg(format!("--hostname={ours}:8443")).arg(format!("--cafile={}", authority.display()));
        let state = stockade_testkit::Folder::new();
        command.args(["display", "node"]).env("STOCKADE_STATE_DIR", state.path());
        stockade_testkit::Ran::from(command.output().unwrap()).status
    }

    /// The status of an answer to this host.
    fn ask(&self, host: usize, port: u16, words: &[&str]) -> String {
        let (ours, _) = WIRES[host];
        let mut curl = self.hosts[host].command("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]).args(words);
        if port == 8443 {
            curl.arg("--cacert").arg(self.node.folder.join("tls/certificate.pem"));
        } else {
            // The certificate has no address of `[::]`; who asks is what is looked at.
            curl.arg("--insecure");
        }
        let ran = curl.arg(format!("https://{ours}:{port}/v1/me")).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }
}

/// Somebody for each row and port: who is not admitted from somewhere waits there, with the right password too.
fn user(row: usize, port: u16) -> String {
    format!("ann-{row}-{port}")
}

#[test]
fn every_row_of_the_table_holds_between_two_hosts_of_which_one_is_trusted() {
    let Some(places) = Places::new() else { return };
    let mut version = 0;
    for (password, trusted) in [(false, false), (false, true), (true, false), (true, true)] {
        for legacy in [false, true] {
            version += 1;
            places.put_in_force(version, (password, trusted, legacy));
            for host in [0, 1] {
                let row = format!("requirePassword {password}, hosts {trusted}, legacy {legacy}, host {host}");
                let is_known = host == 0;
                let status = |is_in: bool| if is_in { "200" } else { "401" };
                for port in PORTS {
                    let ann = user(version, port);
                    let check = |words: &[&str], is_in: bool| {
                        assert_eq!(places.ask(host, port, words), status(is_in), "{row}: {words:?} at {port}");
                    };
                    let (wrong, right, named) =
                        (format!("{ann}:wrong"), format!("{ann}:{ANN}"), format!("stockade-user: {ann}"));
                    check(&["--user", &wrong], false);
                    check(&["--user", &right], is_known || !trusted);
                    check(&[], false);
                    let is_believed = legacy && !password && is_known;
                    check(&["--header", &named], is_believed);
                    check(&["--header", "stockade-user: eve"], false);
                    check(&["--header", "stockade-user: uid-0"], false);
                    // A credential beside it is not overlooked, neither a right one nor a wrong one.
                    check(&["--header", &named, "--user", &right], false);
                }
                let is_believed = legacy && !password && is_known;
                assert_eq!(places.administer(host), if is_believed { 0 } else { 3 }, "{row}");
            }
            // What a client says of where it is makes it no other host.
            for said in ["x-forwarded-for: 10.88.1.2", "forwarded: for=10.88.1.2", "x-real-ip: 10.88.1.2"] {
                let named = format!("stockade-user: {}", user(version, 8443));
                let words = ["--header", said, "--header", &named];
                assert_eq!(places.ask(1, 8443, &words), "401", "{said}");
            }
        }
    }
    let known = places.command("trusted/test", &json!({ "address": "10.88.1.2" }));
    assert_eq!(known["rows"][0][1], "true", "{known}");
    let other = places.command("trusted/test", &json!({ "address": "10.88.2.2" }));
    assert_eq!(other["rows"][0][1], "false", "{other}");
}
