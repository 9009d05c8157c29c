//! Server profiles: whose certificates are believed, and as whom.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::json;
use stockade_testkit::{Call, Folder, User, call, ports};

use crate::support::{Node, command, open_folder, until};
use crate::tls::{ANN, Answer, basic, command_of};

/// Who runs the node and the commands.
const ORDINARY: u32 = 61_234;
const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const PEOPLE: &str = r#"name = people, version = "1", type = stockade.security
configuration { LocalAuthenticationRealm { name = "acme", initialPrincipals = [
    { userName = "ann", password = "correct horse", roles = ["administrator"] }
    { userName = "bob", password = "battery staple", roles = ["user"] }
    { userName = "worker-1.acme.example", roles = ["user"] }
    { userName = "lou", roles = ["administrator"], locked = true }
] } }"#;
const STRICT: &str = r#"name = strict, version = "1", type = stockade.security
configuration { LocalAuthenticationRealm { name = "strict", requirePassword = true, initialPrincipals = [
    { userName = "ann", password = "correct horse", roles = ["administrator"] }
] } }"#;

/// Somebody who signs certificates.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

/// A certificate and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    fn sign(&self, common: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Pair { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Of somebody who is called so, in the usual place.
    fn named(&self, name: SanType) -> Pair {
        self.sign("somebody", |params| params.subject_alt_names = vec![name])
    }

    fn of(&self, mail: &str) -> Pair {
        self.named(SanType::Rfc822Name(mail.try_into().unwrap()))
    }
}

/// A node that was started for a profile, and those who sign.
struct World {
    node: Node,
    at: SocketAddr,
    home: Folder,
    servers: Authority,
    clients: Authority,
    strangers: Authority,
}

impl World {
    /// Nothing is in force.
    fn new() -> Self {
        let home = open_folder();
        let [servers, clients, strangers] = ["servers", "clients", "strangers"].map(Authority::new);
        let shown = servers.sign("node", |params| {
            params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        for (name, text) in [
            ("node.pem", &shown.certificate),
            ("node.key", &shown.key),
            ("open.key", &shown.key),
            ("clients.pem", &clients.pem),
            ("strangers.pem", &strangers.pem),
            ("servers.pem", &servers.pem),
        ] {
            home.write(name, text);
        }
        close(&home.path().join("node.key"));
        let at = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let node = Node::start(&Self::flags(&home, at).iter().map(String::as_str).collect::<Vec<_>>());
        Self { node, at, home, servers, clients, strangers }
    }

    fn flags(home: &Folder, at: SocketAddr) -> Vec<String> {
        let mut flags = vec!["--listen".to_owned(), at.to_string(), "--tls-profile".to_owned(), "web".to_owned()];
        for name in ["node.pem", "node.key", "open.key", "clients.pem", "strangers.pem"] {
            flags.extend(["--security-file".to_owned(), home.path().join(name).display().to_string()]);
        }
        flags
    }

    fn file(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn profile(&self, version: &str, trust: &str, more: &str) -> String {
        format!(
            r#"name = web, version = "{version}", type = stockade.security
            configuration {{ SecureCommunicationServerProfile {{ name = web, certificateFile = "{}", keyFile = "{}",
                trustFile = "{}" {more} }} }}"#,
            self.file("node.pem"),
            self.file("node.key"),
            self.file(trust)
        )
    }

    /// With people and such a profile.
    fn serving(more: &str) -> Self {
        let world = Self::new();
        let profile = world.profile("1", "clients.pem", more);
        world.put_in_force("people", "1", PEOPLE);
        world.put_in_force("strict", "1", STRICT);
        world.put_in_force("web", "1", &profile);
        world
    }

    fn put_in_force(&self, name: &str, version: &str, text: &str) {
        command_of(&self.node, "configuration/load", &json!({ "source": text }));
        let which = json!({ "type": "security", "name": name, "version": version });
        command_of(&self.node, "configuration/activate", &which);
    }

    /// What a command of administration is refused with at the socket.
    fn refused(&self, command: &str, parameters: &serde_json::Value) -> String {
        let path = format!("/v1/admin/commands/{command}");
        let answer = self.node.ask("POST", &path, &[], &json!({ "parameters": parameters })).whole().unwrap();
        assert!((400..500).contains(&answer.status), "{answer:?}");
        String::from_utf8(answer.body).unwrap()
    }

    /// A connection of somebody who shows this certificate.
    fn connect(
        &self,
        own: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.servers.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let name = ServerName::from(self.at.ip());
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }

    /// A request over a connection of its own; nothing where the hand-shake came to nothing.
    fn ask(&self, own: Option<&Pair>, (method, path): (&str, &str), headers: &[(&str, &str)]) -> Option<Answer> {
        let mut tls = self.connect(own, TLS13);
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}connection: close\r\n\r\n", self.at);
        tls.write_all(text.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        drop(tls.read_to_end(&mut bytes));
        Answer::read(&bytes)
    }

    /// Who the node takes him for, or the status that refuses him; nothing where the hand-shake came to nothing.
    fn me(&self, own: &Pair) -> Option<Result<String, u16>> {
        let answer = self.ask(Some(own), ("GET", "/v1/me"), &[])?;
        Some(if answer.status == 200 {
            Ok(answer.json()["principal"].as_str().unwrap().to_owned())
        } else {
            Err(answer.status)
        })
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let trail = std::fs::read_to_string(self.node.folder.join("store/audit/audit.jsonl")).unwrap();
        let lines = trail.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["record"] == "authentication").collect()
    }

    /// `stockade` of an administrator elsewhere, with his certificate.
    fn admin(&self, words: &[&str]) -> Call {
        let call = call(command().to_str().unwrap(), User::Ordinary).within(self.home.path());
        call.env("STOCKADE_STATE_DIR", self.file("state")).args(words)
    }

    fn write(&self, name: &str, pair: &Pair) -> [String; 2] {
        let [certificate, key] = [format!("{name}.pem"), format!("{name}.key")];
        self.home.write(&certificate, &pair.certificate);
        self.home.write(&key, &pair.key);
        close(&self.home.path().join(&key));
        [format!("--client-certificate={}", self.file(&certificate)), format!("--client-key={}", self.file(&key))]
    }
}

/// Makes a file the ordinary user's own, and nobody else's.
fn close(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
}

#[test]
fn a_certificate_is_its_owner_wherever_its_realm_wants_no_password() {
    let world = World::serving("");
    let clients = &world.clients;
    let ann = clients.of("ann@acme");
    assert_eq!(world.me(&ann), Some(Ok("ann@acme".to_owned())));
    let worker = clients.named(SanType::DnsName("worker-1.acme.example@acme".try_into().unwrap()));
    assert_eq!(world.me(&worker), Some(Ok("worker-1.acme.example@acme".to_owned())));
    assert_eq!(world.me(&clients.sign("bob@acme", |_| ())), Some(Ok("bob@acme".to_owned())), "by its subject");
    // What his roles are is the realm's word.
    let metrics = |mail| world.ask(Some(&clients.of(mail)), ("GET", "/metrics"), &[]).unwrap().status;
    assert_eq!((metrics("ann@acme"), metrics("bob@acme")), (200, 403));
    let several = clients.sign("ann@acme", |params| {
        let names = ["ann@acme", "bob@acme"];
        params.subject_alt_names = names.map(|name| SanType::Rfc822Name(name.try_into().unwrap())).to_vec();
    });
    let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
    for (nobody, why) in [
        (clients.of("eve@acme"), "nobody knows her"),
        (clients.of("lou@acme"), "he is locked"),
        (clients.of("ann@strict"), "her realm wants a password"),
        (clients.of("ann@other"), "there is no such realm"),
        (clients.of("ann"), "of which realm?"),
        (clients.of("uid-0@acme"), "a name of the kernel's users"),
        (several, "several names"),
        (clients.sign("ann@acme", |params| params.subject_alt_names = vec![address]), "no name of a user"),
    ] {
        assert_eq!(world.me(&nobody), Some(Err(401)), "{why}");
    }
    let found = world.records();
    let of = |principal: &str| found.iter().filter(|one| one["principal"] == principal).collect::<Vec<_>>();
    assert!(of("ann@acme").iter().all(|one| one["method"] == "certificate" && one["decision"] == "permitted"));
    assert_eq!((of("ann@acme").len(), of("lou@acme")[0]["reason"].as_str()), (2, Some("the principal is locked")));
    assert!(found.iter().any(|one| one["reason"] == "the certificate has several names of users"), "{found:?}");
}

#[test]
fn nobody_comes_in_with_a_certificate_that_is_not_for_that() {
    let world = World::serving("");
    let name = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::Rfc822Name("ann@acme".try_into().unwrap())];
    };
    let of_server = world.clients.sign("ann", |params| {
        name(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let old = world.clients.sign("ann", |params| {
        name(params);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let early = world.clients.sign("ann", |params| {
        name(params);
        params.not_before = date_time_ymd(2090, 1, 1);
    });
    let ann = world.clients.of("ann@acme");
    let stolen = Pair { certificate: ann.certificate.clone(), key: world.clients.of("bob@acme").key };
    for (pair, why) in [
        (world.strangers.of("ann@acme"), "of an authority that is not believed"),
        (world.servers.of("ann@acme"), "of the one that vouches for the node"),
        (of_server, "for servers"),
        (old, "its time is over"),
        (early, "its time has not come"),
    ] {
        assert_eq!(world.me(&pair), None, "{why}");
    }
    until("they are on record", || world.records().len() == 5);
    let refused = world.records();
    let of = |reason: &str| {
        let is = |one: &&serde_json::Value| one["reason"].as_str().unwrap().contains(reason);
        refused.iter().filter(|one| one["method"] == "certificate" && one["decision"] == "refused").filter(is).count()
    };
    assert_eq!((of("UnknownIssuer"), of("certificate expired"), of("not valid yet")), (2, 1, 1), "{refused:?}");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.me(&stolen))).is_err(), "not its key");
    assert_eq!(world.me(&ann), Some(Ok("ann@acme".to_owned())));
    assert_eq!(world.ask(None, ("GET", "/v1/me"), &[]).unwrap().status, 401, "without one nobody is somebody");
}

#[test]
fn what_a_request_shows_comes_before_the_certificate_and_nothing_falls_back_on_it() {
    let world = World::serving("");
    let ann = world.clients.of("ann@acme");
    let ask = |headers: &[(&str, &str)]| world.ask(Some(&ann), ("GET", "/v1/me"), headers).unwrap();
    let bob = basic("bob@acme", "battery staple");
    assert_eq!(ask(&[("authorization", &bob)]).expect(200).json()["principal"], "bob@acme");
    let strict = basic("ann@strict", ANN);
    assert_eq!(ask(&[("authorization", &strict)]).expect(200).json()["principal"], "ann@strict");
    for (header, value) in [
        ("authorization", basic("bob@acme", "wrong").as_str()),
        ("authorization", "Bearer stockade_session_x"),
        ("authorization", "Digest x"),
        ("stockade-user", "bob@acme"),
    ] {
        ask(&[(header, value)]).expect(401);
    }
    // Browsers show certificates without being asked.
    ask(&[("origin", "https://evil.example")]).expect(403);
    ask(&[("sec-fetch-site", "cross-site")]).expect(403);
    // It is no way to a token, which would outlive it.
    let post = [("content-length", "0")];
    world.ask(Some(&ann), ("POST", "/v1/login"), &post).unwrap().expect(403);
}

#[test]
fn where_certificates_are_required_nobody_is_spoken_with_who_has_none() {
    let world = World::serving(", requireClientAuthentication = true");
    assert!(world.ask(None, ("GET", "/livez"), &[]).is_none());
    until("it is on record", || world.records().iter().any(|one| one["reason"] == "peer sent no certificates"));
    assert!(world.ask(Some(&world.strangers.of("ann@acme")), ("GET", "/livez"), &[]).is_none());
    let ann = world.clients.of("ann@acme");
    assert_eq!(world.me(&ann), Some(Ok("ann@acme".to_owned())));
    let [certificate, key] = world.write("ann", &ann);
    let (host, authority) = (format!("--hostname={}", world.at), format!("--cafile={}", world.file("servers.pem")));
    let words = |more: &[&str]| {
        let all = [&["admin", &host, &authority, "--columns=state"], more, &["display", "node"]].concat();
        world.admin(&all).run()
    };
    let shown = words(&[&certificate, &key]).expect(0);
    assert!(shown.stdout.contains("State = running"), "{shown:?}");
    let refused = words(&["--username=ann@acme", "--password-file", &secret(&world)]).expect(5);
    assert!(refused.stderr.contains("it wants a certificate of yours\n  next: show one"), "{refused:?}");
    let refused = words(&[&certificate]).expect(2);
    assert!(refused.stderr.contains("a certificate and its key"), "{refused:?}");
    // Of a machine, and of somebody: the password says who, also for the commands that follow.
    let [machine, its_key] = world.write("machine", &world.clients.of("worker-1.acme.example@acme"));
    drop(words(&[&machine, &its_key]).expect(4));
    drop(words(&[&machine, &its_key, "--username=ann@strict", "--password-file", &secret(&world)]).expect(0));
    let at = world.at.to_string();
    let login = ["login", "--username=ann@strict", "--password-file", &secret(&world), &authority, &machine, &its_key];
    drop(world.admin(&[&login[..], &[&at]].concat()).run().expect(0));
    drop(world.admin(&["admin", &host, "display", "node"]).run().expect(0));
    drop(world.admin(&["logout", &at]).run().expect(0));
    std::fs::set_permissions(world.home.path().join("ann.key"), std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(words(&[&certificate, &key]).expect(2).stderr.contains("others can read it"));
}

/// A file with the password of ann.
fn secret(world: &World) -> String {
    let path = world.home.write("ann.secret", format!("{ANN}\n"));
    close(&path);
    path.display().to_string()
}

#[test]
fn a_profile_is_offered_from_its_activation_on_and_not_taken_away() {
    let mut world = World::new();
    let is_served = |world: &World| world.ask(None, ("GET", "/livez"), &[]).is_some();
    assert!(!is_served(&world), "nothing is offered before");
    let shown = command_of(&world.node, "node/display", &json!({}));
    assert!(shown["rows"][0].as_array().unwrap().contains(&json!("none")), "{shown}");
    // Only of files that were read at the start; the authority of the servers was not.
    let unread = world.profile("0", "servers.pem", "");
    command_of(&world.node, "configuration/load", &json!({ "source": unread }));
    let which = |version: &str| json!({ "type": "security", "name": "web", "version": version });
    let why = world.refused("configuration/activate", &which("0"));
    assert!(why.contains("was not read") && why.contains("--security-file"), "{why}");
    let open = world.profile("open", "clients.pem", "").replace("node.key", "open.key");
    command_of(&world.node, "configuration/load", &json!({ "source": open }));
    let why = world.refused("configuration/activate", &which("open"));
    assert!(why.contains("others on the machine can read"), "{why}");
    world.put_in_force("people", "1", PEOPLE);
    world.put_in_force("web", "1", &world.profile("1", "clients.pem", ""));
    assert!(is_served(&world));
    let why = world.refused("configuration/deactivate", &which("1"));
    assert!(why.contains("it needs the server profile `web`"), "{why}");
    // It is offered at the next start, too, or nothing is.
    let flags = World::flags(&world.home, world.at);
    let again = |world: World, flags: &[&str]| {
        let World { mut node, at, home, servers, clients, strangers } = world;
        node.end();
        World { node: node.again(flags), at, home, servers, clients, strangers }
    };
    world = again(world, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.me(&world.clients.of("ann@acme")), Some(Ok("ann@acme".to_owned())));
    world = again(world, &["--listen", &flags[1], "--tls-profile", "web"]);
    assert!(!is_served(&world), "its files were not read");
    command_of(&world.node, "node/display", &json!({}));
    // Without the flag it is no profile of the node's, which says so.
    world = again(world, &["--listen", &flags[1]]);
    command_of(&world.node, "configuration/deactivate", &which("1"));
    let told = command_of(&world.node, "configuration/activate", &which("1"));
    assert!(told.to_string().contains("the server profile `web` is not offered"), "{told}");
}

#[test]
fn another_profile_holds_for_connections_that_are_there() {
    let world = World::serving("");
    let (ann, other) = (world.clients.of("ann@acme"), world.strangers.of("ann@acme"));
    let head = format!("GET /v1/me HTTP/1.1\r\nhost: {}\r\n\r\n", world.at);
    let mut kept = world.connect(Some(&ann), TLS13);
    let mut ask = || {
        kept.write_all(head.as_bytes()).ok()?;
        let mut bytes = [0; 4_096];
        let count = kept.read(&mut bytes).ok()?;
        Answer::read(&bytes[..count])
    };
    for _ in 0..2 {
        assert_eq!(ask().unwrap().json()["principal"], "ann@acme");
    }
    let records = world.records();
    assert_eq!(records.iter().filter(|one| one["principal"] == "ann@acme").count(), 1, "once a connection");
    // Over TLS it is put on trial only: whoever changes it may not come in again.
    let second = world.profile("2", "strangers.pem", "");
    command_of(&world.node, "configuration/load", &json!({ "source": second }));
    let [certificate, key] = world.write("ann", &ann);
    let (host, authority) = (format!("--hostname={}", world.at), format!("--cafile={}", world.file("servers.pem")));
    let words = |files: &[String; 2], more: &[&str]| {
        let first = ["admin", &host, &authority, &files[0], &files[1]];
        world.admin(&[&first[..], more].concat()).run()
    };
    let (mine, others) = ([certificate, key], world.write("other", &other));
    let activate = ["activate", "configuration", "--type=security", "--name=web", "--version=2"];
    let refused = words(&mine, &activate).expect(1);
    assert!(refused.stderr.contains("--confirm-within"), "{refused:?}");
    drop(words(&mine, &[&activate[..], &["--force", "--confirm-within=10s"]].concat()).expect(0));
    assert_eq!(world.me(&other), Some(Ok("ann@acme".to_owned())));
    assert_eq!(world.me(&ann), None, "her authority is believed no more");
    assert!(ask().is_none_or(|answer| answer.status == 503), "nor on the connection that she has");
    until("the trial is over", || world.me(&ann) == Some(Ok("ann@acme".to_owned())));
    assert_eq!(world.me(&other), None);
    drop(words(&mine, &[&activate[..], &["--force", "--confirm-within=60s"]].concat()).expect(0));
    drop(words(&others, &["confirm", "configuration"]).expect(0));
    assert_eq!(world.me(&other), Some(Ok("ann@acme".to_owned())));
}

#[test]
fn who_is_locked_loses_his_way_in_on_the_connection_that_he_has() {
    let world = World::serving("");
    let mut kept = world.connect(Some(&world.clients.of("bob@acme")), TLS13);
    let head = format!("GET /v1/me HTTP/1.1\r\nhost: {}\r\n\r\n", world.at);
    let mut status = || {
        kept.write_all(head.as_bytes()).unwrap();
        let mut bytes = [0; 4_096];
        let count = kept.read(&mut bytes).unwrap();
        Answer::read(&bytes[..count]).unwrap().status
    };
    assert_eq!(status(), 200);
    command_of(&world.node, "user/lock", &json!({ "username": "bob", "realm": "acme" }));
    assert_eq!(status(), 401);
}

#[test]
fn an_older_version_is_spoken_where_the_profile_says_so() {
    let spoken = |world: &World| {
        let mut tls = world.connect(Some(&world.clients.of("ann@acme")), TLS12);
        let head = format!("GET /v1/me HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", world.at);
        tls.write_all(head.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        drop(tls.read_to_end(&mut bytes));
        Answer::read(&bytes).map(|answer| answer.status)
    };
    assert_eq!(spoken(&World::serving(r#", minimumVersion = "1.2""#)), Some(200));
    assert_eq!(spoken(&World::serving("")), None);
}
