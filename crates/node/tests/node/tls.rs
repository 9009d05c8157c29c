//! The node over TCP with TLS: who gets in, as whom, and what strangers cannot do.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::support::{Node, until};

pub(crate) const ANN: &str = "correct horse";
const REALM: &str = r#"name = people, version = "1", type = stockade.security
configuration { LocalAuthenticationRealm { name = "acme", requirePassword = true, initialPrincipals = [
    { userName = "ann", password = "correct horse", roles = ["administrator"] }
    { userName = "bob", password = "battery staple", roles = ["user"] }
    { userName = "lou", password = "correct horse", roles = ["administrator"], locked = true }
] } }
"#;

/// A node that listens, with people.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) at: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// One that came whole; none where its head did not.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs = lines.filter_map(|line| line.split_once(": "));
        let headers = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Self { status, headers, body: body.to_owned() })
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Served {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(flags);
        Self::of(Node::start(&all), REALM)
    }

    /// A node with such people, which listens.
    pub(crate) fn of(node: Node, realm: &str) -> Self {
        let shown = command_of(&node, "node/display", &json!({}));
        let cell = |name: &str| {
            let column = shown["columns"].as_array().unwrap().iter().position(|column| column == name).unwrap();
            shown["rows"][0][column].as_str().unwrap().to_owned()
        };
        let at = cell("Addresses").parse().unwrap();
        assert_eq!(cell("Certificate SHA-256").len(), 64);
        let served = Self { node, at };
        served.put_in_force("people", realm);
        served
    }

    /// Loads an object of this name and activates it.
    pub(crate) fn put_in_force(&self, name: &str, text: &str) {
        command_of(&self.node, "configuration/load", &json!({ "source": text }));
        let version = text.split("version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let which = json!({ "type": "security", "name": name, "version": version });
        command_of(&self.node, "configuration/activate", &which);
    }

    /// The same node, started again with these flags.
    pub(crate) fn again(self, flags: &[&str]) -> Self {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(flags);
        let mut node = self.node;
        node.end();
        let node = node.again(&all);
        let shown = command_of(&node, "node/display", &json!({}));
        let column = shown["columns"].as_array().unwrap().iter().position(|column| column == "Addresses").unwrap();
        let at = shown["rows"][0][column].as_str().unwrap().parse().unwrap();
        Self { node, at }
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let pem = std::fs::read(self.node.folder.join("tls/certificate.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    pub(crate) fn tls(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::from(self.at.ip());
        let config = Arc::new(self.client(&[&rustls::version::TLS13]));
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
    }

    /// A request over a connection of its own, as it is written.
    fn raw(&self, stream: TcpStream, text: &str) -> std::io::Result<Answer> {
        let mut tls = self.tls(stream);
        tls.write_all(text.as_bytes())?;
        let mut bytes = Vec::new();
        // Whoever closes without saying so closes, too.
        drop(tls.read_to_end(&mut bytes));
        Answer::read(&bytes).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask_from(Ipv4Addr::LOCALHOST, (method, path), headers, body)
    }

    /// A request from this address of the machine.
    #[track_caller]
    pub(crate) fn ask_from(
        &self,
        address: Ipv4Addr,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let has_host = headers.iter().any(|(name, _)| *name == "host");
        let host = if has_host { String::new() } else { format!("host: {}\r\n", self.at) };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let json = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}{json}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.raw(self.from(address), &text).unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str, authorization: &str) -> Answer {
        self.ask("GET", path, &[("authorization", authorization)], "")
    }

    /// A connection from this address of the machine.
    pub(crate) fn from(&self, address: Ipv4Addr) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType};
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrV4::new(address, 0)).unwrap();
        rustix::net::connect(&socket, &self.at).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Whom a token is of that is shown from where nobody has shown anything yet, as the trail has it after it is
    /// refused: nobody's, where the session is ended; its principal's, where only he is refused.
    #[track_caller]
    pub(crate) fn refused_as(&self, address: Ipv4Addr, authorization: &str) -> String {
        self.ask_from(address, ("GET", "/v1/me"), &[("authorization", authorization)], "").expect(401);
        let trail = std::fs::read_to_string(self.node.folder.join("store/audit/audit.jsonl")).unwrap();
        let last = trail.lines().rfind(|line| line.contains(r#""record":"authentication""#)).unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        assert_eq!((&last["source"], &last["decision"]), (&json!(address), &json!("refused")), "{last}");
        last["principal"].as_str().unwrap().to_owned()
    }

    pub(crate) fn token(&self, user: &str, password: &str) -> String {
        let answer = self.ask("POST", "/v1/login", &[("authorization", &basic(user, password))], "").expect(200).json();
        format!("Bearer {}", answer["token"].as_str().unwrap())
    }
}

pub(crate) fn command_of(node: &Node, command: &str, parameters: &Value) -> Value {
    let path = format!("/v1/admin/commands/{command}");
    node.ask("POST", &path, &[], &json!({ "parameters": parameters })).whole().unwrap().expect(200).json()
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn a_principal_logs_in_with_a_password_and_goes_on_with_a_token() {
    let served = Served::start(&[]);
    let me = served.get("/v1/me", &basic("ann", ANN)).expect(200).json();
    assert_eq!(me["principal"], "ann@acme");
    let token = served.token("bob@acme", "battery staple");
    assert_eq!(served.get("/v1/me", &token).expect(200).json()["principal"], "bob@acme");
    // Roles are the realm's: a user runs code, and looks after nothing.
    let run = json!({ "code": "print(6 * 7)" }).to_string();
    let ran = served.ask("POST", "/v1/runs", &[("authorization", &token)], &run).expect(200).json();
    assert_eq!(ran["stdout"], "42\n", "{ran}");
    let id = ran["id"].as_str().unwrap();
    served.get(&format!("/v1/runs/{id}"), &basic("ann", ANN)).expect(404);
    served.node.get(&format!("/v1/runs/{id}")).expect(404);
    let path = "/v1/admin/commands/node/display";
    served.ask("POST", path, &[("authorization", &token)], "{}").expect(403);
    served.ask("POST", path, &[("authorization", &basic("ann", ANN))], "{}").expect(200);
    served.ask("POST", "/v1/login", &[("authorization", &token)], "").expect(403);
    served.ask("POST", "/v1/logout", &[("authorization", &token)], "").expect(204);
    served.get("/v1/me", &token).expect(401);
    // At the local socket there is no password to give a token for.
    served.node.send("POST", "/v1/login", &[], b"").whole().unwrap().expect(403);
}

#[test]
fn strangers_are_told_one_thing_and_wait_when_they_guess() {
    let served = Served::start(&[]);
    served.ask("GET", "/livez", &[], "").expect(200);
    for path in ["/v1/me", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/nothing"] {
        served.ask("GET", path, &[], "").expect(401);
    }
    let told = |user: &str, password: &str| {
        let answer = served.get("/v1/me", &basic(user, password)).expect(401);
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"stockade\"");
        let problem = answer.json();
        ["title", "detail", "next"].map(|key| problem[key].as_str().unwrap().to_owned())
    };
    let wrong = told("ann", "wrong");
    for (user, password) in [("nobody", ANN), ("lou", ANN), ("lou", "wrong"), ("ann@other", ANN), ("uid-0", ANN)] {
        assert_eq!(told(user, password), wrong, "{user}");
    }
    until("guesses have to wait", || {
        let answer = served.get("/v1/me", &basic("bob", "wrong"));
        answer.status == 429 && answer.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds >= 1)
    });
    served.get("/v1/me", &basic("ann", ANN)).expect(200);
}

#[test]
fn a_lock_ends_a_token_at_once() {
    let served = Served::start(&[]);
    let token = served.token("ann", ANN);
    served.get("/v1/me", &token).expect(200);
    command_of(&served.node, "user/lock", &json!({ "username": "ann" }));
    served.get("/v1/me", &token).expect(401);
    command_of(&served.node, "user/unlock", &json!({ "username": "ann" }));
    served.get("/v1/me", &token).expect(401);
    served.get("/v1/me", &basic("ann", ANN)).expect(200);
}

#[test]
fn nobody_over_the_network_takes_away_his_own_way_in() {
    let served = Served::start(&[]);
    let command = |command: &str, more: Value| {
        let mut parameters = json!({ "type": "security", "name": "people" });
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({ "parameters": parameters }).to_string();
        let path = format!("/v1/admin/commands/configuration/{command}");
        served.ask("POST", &path, &[("authorization", &basic("ann@acme", ANN))], &body)
    };
    let other = |version: &str, switches: &str| {
        let text = REALM.replace("version = \"1\"", &format!("version = \"{version}\""));
        let text = text.replace("requirePassword = true", switches);
        command_of(&served.node, "configuration/load", &json!({ "source": text }));
    };
    other("2", "requireTrustedHostMembership = true");
    other("3", "requirePassword = false");
    for refused in [command("deactivate", json!({})), command("activate", json!({ "version": "2" }))] {
        let refused = refused.expect(409).json();
        assert!(refused["detail"].as_str().unwrap().contains("you would not be admitted"), "{refused}");
        assert!(refused["next"].as_str().unwrap().contains("--confirm-within"), "{refused}");
    }
    served.get("/v1/me", &basic("ann@acme", ANN)).expect(200);
    command("activate", json!({ "version": "3" })).expect(200);
    command("deactivate", json!({ "force": "true", "confirm-within": "1h" })).expect(200);
    served.get("/v1/me", &basic("ann@acme", ANN)).expect(401);
}

#[test]
fn pages_of_others_get_nothing_through_a_browser() {
    let served = Served::start(&[]);
    let ann = basic("ann", ANN);
    let (own, port) = (served.at.to_string(), served.at.port());
    let ask = |headers: &[(&str, &str)]| {
        let mut all = vec![("authorization", ann.as_str())];
        all.extend(headers);
        served.ask("GET", "/v1/me", &all, "").status
    };
    let local = format!("localhost:{port}");
    for host in [own.as_str(), "127.0.0.1", &local, "LOCALHOST"] {
        assert_eq!(ask(&[("host", host)]), 200, "{host}");
    }
    for host in ["evil.example", "evil.example:8443", "127.0.0.1.evil.example", "192.0.2.1", ""] {
        assert_eq!(ask(&[("host", host)]), 403, "{host}");
    }
    // Two of them are for two readers to choose from.
    assert_ne!(ask(&[("host", &own), ("host", "evil.example")]), 200);
    let origin = format!("https://{own}");
    assert_eq!(ask(&[("origin", &origin)]), 200);
    for origin in ["https://evil.example", "null", &format!("http://{own}"), "https://127.0.0.1", "https://localhost:1"]
    {
        assert_eq!(ask(&[("origin", origin)]), 403, "{origin}");
    }
    assert_eq!(ask(&[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(ask(&[("sec-fetch-site", "same-origin")]), 200);
    // What needs nobody is not for pages either.
    served.ask("GET", "/livez", &[("origin", "https://evil.example")], "").expect(403);
    // A cookie is nobody.
    served.ask("GET", "/v1/me", &[("cookie", "session=1")], "").expect(401);
}

#[test]
fn nothing_older_or_open_is_spoken() {
    let served = Served::start(&[]);
    let config = Arc::new(served.client(&[&rustls::version::TLS12]));
    let connection = ClientConnection::new(config, ServerName::from(served.at.ip())).unwrap();
    let mut old = StreamOwned::new(connection, served.from(Ipv4Addr::LOCALHOST));
    let refused = old.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    let mut open = served.from(Ipv4Addr::LOCALHOST);
    open.write_all(format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", served.at).as_bytes()).unwrap();
    let mut said = Vec::new();
    drop(open.read_to_end(&mut said));
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    served.ask("GET", "/livez", &[], "").expect(200);
}

#[test]
fn neither_the_log_nor_the_trail_holds_a_password_or_a_token() {
    let home = crate::support::open_folder();
    let logs = home.path().join("logs");
    let served = Served::start(&["--log-level", "trace", "--log-dir", logs.to_str().unwrap()]);
    let token = served.token("ann", ANN);
    served.get("/v1/me", &token).expect(200);
    served.get("/v1/me", &basic("bob", "hunter22hunter22")).expect(401);
    // Nor by what somebody else could go on with a log-in.
    served.ask("POST", "/v1/login/device/0123secretname", &[], "");
    let trail = served.node.folder.join("store/audit");
    let text = |folder: &std::path::Path| {
        let files = std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file());
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()).collect::<String>()
    };
    until("it is logged", || text(&logs).contains("logged in") && text(&logs).contains("/v1/login/device/{id}"));
    let (said, recorded) = (text(&logs), text(&trail));
    assert!(recorded.contains(r#""record":"authentication""#) && recorded.contains("bob@acme"), "{recorded}");
    let bearer = token.trim_start_matches("Bearer ");
    let encoded = STANDARD.encode("ann:correct horse");
    for secret in [ANN, "hunter22hunter22", "battery staple", bearer, &encoded, "$argon2id", "0123secretname"] {
        assert!(!said.contains(secret), "the log has {secret}");
        assert!(!recorded.contains(secret), "the trail has {secret}");
    }
}

#[test]
fn idle_connections_of_one_address_leave_room_for_others() {
    let served = Served::start(&["--connections", "64"]);
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    if limit.maximum.is_some_and(|most| most < 6_000) {
        eprintln!("skipped: this process may have {:?} descriptors only", limit.maximum);
        return;
    }
    let idle: Vec<TcpStream> = (0..5_000).map(|_| served.from(Ipv4Addr::LOCALHOST)).collect();
    let head = format!("GET /livez HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", served.at);
    let other = Ipv4Addr::new(127, 0, 0, 2);
    for _ in 0..20 {
        assert_eq!(served.raw(served.from(other), &head).unwrap().status, 200);
    }
    // A quarter of all were taken, the others closed at once.
    let is_open = |stream: &&TcpStream| {
        let mut stream: &TcpStream = stream;
        stream.set_nonblocking(true).unwrap();
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = idle.iter().filter(is_open).count();
    assert!(open <= 16, "{open}");
    drop(idle);
    until("the address is served again", || {
        served.raw(served.from(Ipv4Addr::LOCALHOST), &head).is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_slow_hand_shake_is_cut_off() {
    let served = Served::start(&[]);
    let began = Instant::now();
    let mut slow = served.from(Ipv4Addr::LOCALHOST);
    // The beginning of a hand-shake that never goes on.
    slow.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest));
    let took = began.elapsed();
    assert!((9..40).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn what_cannot_be_served_stops_the_start() {
    let home = crate::support::open_folder();
    let file = home.write("no.pem", "no certificate");
    let file = file.to_str().unwrap();
    for (flags, said) in [
        (&["--listen", "127.0.0.1:0", "--tls-certificate", file, "--tls-key", file][..], "the certificate"),
        (&["--listen", "192.0.2.1:8443"], "cannot listen at 192.0.2.1:8443"),
        (&["--listen", "8443"], "--listen"),
        (&["--tls-certificate", file, "--tls-key", file], "--listen"),
        (&["--listen", "127.0.0.1:0", "--tls-certificate", file], "--tls-key"),
    ] {
        let folder = home.path().join("node");
        let ran = crate::support::starting(&folder, flags).run();
        assert!(ran.status != 0 && ran.stderr.contains(said), "{flags:?}: {ran:?}");
    }
}
