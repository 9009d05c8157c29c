//! Principals of OpenID providers: a real one, and tokens that are not its.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;

use serde_json::json;
use stockade_testkit::oidc::{DEVICE_CLIENT, Provider, Visitor};

use crate::support::{command, open_folder};
use crate::tls::{Answer, Served, command_of};

/// A node that believes a provider, and what it was started with.
struct Believing {
    served: Served,
    client: &'static str,
    _home: stockade_testkit::Folder,
}

impl Believing {
    fn start(provider: &Provider) -> Self {
        Self::of_client(provider, "stockade")
    }

    fn of_client(provider: &Provider, client: &'static str) -> Self {
        let home = open_folder();
        let authority = home.write("authority.pem", provider.authority());
        let authority = authority.to_str().unwrap();
        let port = provider.issuer().rsplit_once(':').unwrap().1.to_owned();
        let served = Served::start(&["--connect-port", &port, "--security-file", authority]);
        served.put_in_force(
            "profiles",
            &format!(
                r#"name = profiles, version = "1", type = stockade.security
                configuration {{ SecureCommunicationClientProfile {{ name = provider, trustFile = "{authority}" }} }}"#
            ),
        );
        let believing = Self { served, client, _home: home };
        believing.realm("1", provider, if client == "stockade" { "node" } else { client });
        believing.served.put_in_force(
            "analysts",
            r#"name = analysts, version = "1", type = stockade.security
            configuration { RoleToPrivilegeMappings { roles { analysts { privileges = [ { privilege = Run } ] } } } }"#,
        );
        believing
    }

    /// Puts a version of the realm in force, for tokens of this audience.
    fn realm(&self, version: &str, provider: &Provider, audience: &str) {
        let text = format!(
            r#"name = sso, version = "{version}", type = stockade.security
            configuration {{ OIDCAuthenticationRealm {{ name = sso, identityProviders = [ {{
                documentDiscoveryUrl = "{}", clientId = "{}", identityAttributeName = preferred_username,
                rolesAttributeName = groups, audience = {audience}, secureCommunicationProfileName = provider }} ] }} }}"#,
            provider.document(),
            self.client
        );
        self.served.put_in_force("sso", &text);
    }

    fn me(&self, token: &str) -> Answer {
        self.served.get("/v1/me", &format!("Bearer {token}"))
    }

    /// How many authentications are on record.
    fn records(&self) -> usize {
        let trail = self.served.node.folder.join("store/audit/audit.jsonl");
        std::fs::read_to_string(trail).unwrap().matches(r#""record":"authentication""#).count()
    }
}

#[test]
fn two_realms_of_one_provider_are_told_apart_by_whom_a_token_is_made_for() {
    let Some(provider) = Provider::start() else { return };
    let node = Believing::start(&provider);
    // The first one that is asked is the one whose token it is not.
    let text = format!(
        r#"name = another, version = "1", type = stockade.security
        configuration {{ OIDCAuthenticationRealm {{ name = another, identityProviders = [ {{
            documentDiscoveryUrl = "{}", clientId = "another", identityAttributeName = preferred_username,
            rolesAttributeName = groups, secureCommunicationProfileName = provider }} ] }} }}"#,
        provider.document()
    );
    node.served.put_in_force("another", &text);
    let me = |audience: &str| node.me(&provider.access_token("ES256", audience, 300));
    assert_eq!(me("node").expect(200).json()["principal"], "ada@sso");
    assert_eq!(me("another").expect(200).json()["principal"], "ada@another");
    me("third").expect(401);
    // A name without a realm is of the one that takes passwords.
    node.served.get("/v1/me", &crate::tls::basic("ann", crate::tls::ANN)).expect(200);
}

#[test]
fn a_token_of_a_provider_is_somebody_with_the_roles_that_it_says() {
    let Some(provider) = Provider::start() else { return };
    let node = Believing::start(&provider);
    let token = provider.access_token("ES256", "node", 300);
    assert_eq!(node.me(&token).expect(200).json()["principal"], "ada@sso");
    let bearer = format!("Bearer {token}");
    let run = node.served.ask("POST", "/v1/runs", &[("authorization", &bearer)], r#"{ "code": "print(6 * 7)" }"#);
    assert_eq!(run.expect(200).json()["stdout"], "42\n");
    let denied = node.served.ask("POST", "/v1/sessions", &[("authorization", &bearer)], "{}");
    denied.expect(403);
    // What is shown again from the same place is on record once.
    let before = node.records();
    node.me(&token).expect(200);
    assert_eq!(node.records(), before);

    let refused = node.me("a.b.c").expect(401).json();
    let (head, rest) = token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0";
    for other in [
        format!("{none}.{claims}."),
        format!("{head}.{claims}.{}", signature.chars().rev().collect::<String>()),
        provider.access_token("ES256", "mail", 300),
        "..".to_owned(),
    ] {
        assert_eq!(node.me(&other).expect(401).json()["detail"], refused["detail"], "{other}");
    }
    let password = node.served.get("/v1/me", &crate::tls::basic("ada@sso", "x")).expect(401);
    assert!(password.json()["principal"].is_null(), "{password:?}");
    // Who logs in gets a token for a password, not for a token.
    node.served.ask("POST", "/v1/login", &[("authorization", &bearer)], "").expect(403);

    // Another audience is another realm.
    node.realm("2", &provider, "other");
    node.me(&token).expect(401);
}

#[test]
fn a_provider_that_is_away_lets_nobody_in_and_the_others_are_served() {
    let Some(mut provider) = Provider::start() else { return };
    let node = Believing::start(&provider);
    let begin = || node.served.ask("POST", "/v1/login/device", &[], "").status;
    let token = provider.access_token("ES256", "node", 300);
    provider.stop();
    let answer = node.me(&token);
    assert!(answer.status == 429 && answer.headers.contains_key("retry-after"), "{answer:?}");
    node.served.get("/v1/me", &crate::tls::basic("ann@acme", crate::tls::ANN)).expect(200);
    // Nobody has it asked without end.
    let statuses: Vec<u16> = (0..10).map(|_| begin()).collect();
    assert_eq!(statuses, [[503; 8].as_slice(), &[429; 2]].concat());
}

/// Goes with a browser where a command line says.
pub(crate) fn visit(provider: &Provider, said: &str, visitor: Visitor<'_>) {
    let address = said.strip_prefix("open ").and_then(|rest| rest.split(' ').next()).unwrap();
    let code = said.split("the code ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    drop(provider.browse(&format!("{address}?user_code={code}"), visitor));
}

#[test]
fn a_command_line_logs_in_with_a_browser_elsewhere() {
    let Some(provider) = Provider::start() else { return };
    let node = Believing::of_client(&provider, DEVICE_CLIENT);
    let (state, at) = (open_folder(), node.served.at.to_string());
    let authority = format!("--cafile={}", node.served.node.folder.join("tls/certificate.pem").display());
    let log_in = || {
        let mut command = std::process::Command::new(command());
        command.args(["login", "--device", &authority, &at]).env("STOCKADE_STATE_DIR", state.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
        (child, said)
    };
    let (child, said) = log_in();
    visit(&provider, &said, Visitor::Agrees("grace"));
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(told, format!("logged in at {at} as grace@sso, for 15 min\n"), "{said}");
    let kept = std::fs::read_to_string(state.path().join(format!("logins/{at}.json"))).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let token = kept["token"].as_str().unwrap();
    assert!(token.starts_with("stockade_session_"), "a token of this node, not the provider's");
    assert_eq!(node.me(token).expect(200).json()["principal"], "grace@sso");

    command_of(&node.served.node, "configuration/deactivate", &json!({ "type": "security", "name": "sso" }));
    let ended = node.served.refused_as(Ipv4Addr::new(127, 0, 0, 3), &format!("Bearer {token}"));
    assert_eq!(ended, "", "the session is ended with its realm");
    command_of(&node.served.node, "configuration/activate", &json!({ "type": "security", "name": "sso" }));

    let (child, said) = log_in();
    visit(&provider, &said, Visitor::Refuses);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(125));

    // Whoever else knows the log-in's name, or guesses, gets nothing of it.
    let begin = || node.served.ask("POST", "/v1/login/device?realm=sso", &[], "");
    let id = begin().expect(200).json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/login/device/{id}");
    node.served.ask_from(Ipv4Addr::new(127, 0, 0, 2), ("POST", &path), &[], "").expect(401);
    node.served.ask("POST", "/v1/login/device/0123456789abcdef0123456789abcdef", &[], "").expect(401);
    node.served.ask("POST", &path, &[], "").expect(202);
    node.served.ask("POST", "/v1/login/device?realm=acme", &[], "").expect(404);
    node.served.ask("POST", "/v1/login/device?wat=1", &[], "").expect(422);
    // Nobody begins without end.
    let statuses: Vec<u16> = (0..12).map(|_| begin().status).collect();
    assert!(statuses.contains(&200) && statuses.last() == Some(&429), "{statuses:?}");
}

#[test]
fn a_provider_that_could_not_be_believed_is_refused_when_its_file_is_read() {
    let served = Served::start(&[]);
    for (url, why) in [
        ("http://127.0.0.1:9/.well-known/openid-configuration", "begins with https://"),
        ("https://login.acme.com/realm", "does not end with"),
    ] {
        let text = format!(
            "name = sso, version = \"1\", type = stockade.security\nconfiguration {{ OIDCAuthenticationRealm {{ name = sso, \
             identityProviders = [\n {{ documentDiscoveryUrl = \"{url}\", clientId = c, identityAttributeName = sub }}\n] }} }}"
        );
        for command in ["validate", "load"] {
            let path = format!("/v1/admin/commands/configuration/{command}");
            let asked = json!({ "parameters": { "source": text } });
            let told = served.node.ask("POST", &path, &[], &asked).whole().unwrap().expect(422).json();
            let detail = told["detail"].as_str().unwrap();
            assert!(detail.starts_with("line 3, column 4: ") && detail.contains(why), "{told}");
            assert!(told["next"].as_str().unwrap().contains("`documentDiscoveryUrl` as "), "{told}");
        }
    }
    // Nothing was kept of it.
    let kept = command_of(&served.node, "configuration/display", &json!({ "name": "sso" }));
    assert_eq!(kept["rows"], json!([]));
}
