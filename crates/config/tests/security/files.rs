//! What files say, and what is refused, with its place.

use stockade_config::security::{
    Admission, ClientProfile, HostForm, Kind, LdapServer, Note, OidcProvider, Privilege, Root, Rules, Secret,
    ServerProfile, Settings,
};

use super::{file, named, read, refused, refuses};

#[test]
fn the_example_of_the_specification_loads_unchanged() {
    let text = r#"
    name = "trusted-hosts"
    version = "1.0.0"
    type = "com.tibco.ep.dtm.configuration.security"
    configuration = {
      TrustedHosts = {
        hosts = [ "host1", "host2", "*.some.domain.org", "host4.tibco.com", "189.4.5.6",
                  "192.168.2.0/24", "2601:646:4102:9184:d56c:b9bc:f9ed:1ee4%en1" ]
      }
    }
"#;
    let object = read(text);
    assert_eq!(object.identity.kind, Kind::Security);
    assert_eq!((object.identity.name.as_str(), object.identity.version.as_str()), ("trusted-hosts", "1.0.0"));
    let [Root::TrustedHosts(hosts)] = object.roots.as_slice() else { panic!("{object:?}") };
    assert!(!hosts.exclusive && !hosts.resolve_once);
    let forms: Vec<HostForm> = hosts.hosts.iter().map(|entry| entry.form.clone()).collect();
    let address = |text: &str, zone: Option<&str>| HostForm::Address {
        address: text.parse().unwrap(),
        zone: zone.map(ToOwned::to_owned),
    };
    assert_eq!(
        forms,
        [
            HostForm::Name("host1".to_owned()),
            HostForm::Name("host2".to_owned()),
            HostForm::Below("some.domain.org".to_owned()),
            HostForm::Name("host4.tibco.com".to_owned()),
            address("189.4.5.6", None),
            HostForm::Block("192.168.2.0/24".parse().unwrap()),
            address("2601:646:4102:9184:d56c:b9bc:f9ed:1ee4", Some("en1")),
        ]
    );
    let [noted] = object.notes.as_slice() else { panic!("{:?}", object.notes) };
    assert!(matches!(&noted.note, Note::ZoneIgnored(entry) if entry.ends_with("%en1")));
    assert_eq!(noted.place.to_string(), "line 8, column 37");
}

#[test]
fn an_address_without_quotes_is_told_to_be_put_into_them() {
    for (inner, address) in [
        ("TrustedHosts { hosts = [ 189.4.5.6 ] }", "189.4.5.6"),
        ("TrustedHosts { hosts = [ a, 192.168.2.0/24 ] }", "192.168.2.0/24"),
        ("TrustedHosts { hosts = [ 10.0.0.1 10.0.0.2 ] }", "10.0.0.1"),
        ("TrustedHosts { hosts = [ 010.0.0.1 ] }", "010.0.0.1"),
        ("TrustedHosts { hosts = [ 300.0.0.1 ] }", "300.0.0.1"),
        ("TrustedHosts { hosts = [ ::1 ] }", "::1"),
        ("TrustedHosts { hosts = [ fe80::1%eth0 ] }", "fe80::1%eth0"),
        ("TrustedHosts { hosts = [ 2001:db8::/32 ] }", "2001:db8::/32"),
        ("LDAPAuthenticationRealm { servers = [{ host:10.0.0.1 }] }", "10.0.0.1"),
        ("LDAPAuthenticationRealm { servers = [{ host:fe80::1 }] }", "fe80::1"),
        ("TrustedHosts { hosts = [a] }\nx = 1.2.3.4", "1.2.3.4"),
    ] {
        let found = refused(&file(inner));
        assert!(
            found.to_string().ends_with(&format!("`{address}` is written like an address, and has no quotes")),
            "{found}"
        );
        assert_eq!(found.next(), format!("put it in quotes: \"{address}\""));
        assert!(found.place().is_some_and(|place| place.line >= 5));
    }
}

#[test]
fn both_spellings_of_the_type_are_one() {
    let ours = read(&file("TrustedHosts { hosts = [a] }"));
    let theirs =
        file("TrustedHosts { hosts = [a] }").replace("stockade.security", "com.tibco.ep.dtm.configuration.security");
    assert_eq!(read(&theirs), ours);
    for node in ["stockade.node", "com.tibco.ep.dtm.configuration.node"] {
        let text = file("NodeDeploy {}").replace("stockade.security", node);
        assert_eq!(refused(&text).to_string(), "line 3, column 1: files of type `stockade.node` cannot be read yet");
    }
    let text = file("").replace("stockade.security", "stockade.secrity");
    assert!(refused(&text).next().starts_with("did you mean `stockade.security`?"));
}

#[test]
fn a_realm_says_what_the_specification_says() {
    let object = read(&file(
        r#"LocalAuthenticationRealm = {
            name = "people"
            requireTrustedHostMembership = true
            initialPrincipals = [
                { userName = ann, password = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", roles = [administrator, user] }
                { userName = "bob@acme.com", password = "secret", locked = true, passwordExpirationDays = 30 }
                { userName = carl, password = "file:/etc/stockade/carl" }
                { userName = dora, password = "env:DORA" }
                { userName = eve }
            ]
        }"#,
    ));
    let [Root::Local(realm)] = object.roots.as_slice() else { panic!() };
    assert_eq!(realm.admission, Admission { require_password: false, require_trusted_host: true });
    let passwords: Vec<Option<Secret>> = realm.initial.iter().map(|one| one.password.clone()).collect();
    assert!(matches!(
        passwords.as_slice(),
        [Some(Secret::Hash(_)), Some(Secret::Clear(_)), Some(Secret::File(_)), Some(Secret::Variable(_)), None]
    ));
    assert_eq!(realm.initial[0].roles, ["administrator", "user"]);
    assert_eq!((realm.initial[1].locked, realm.initial[1].password_expiration_days), (true, 30));
    assert_eq!(object.notes.len(), 1);
    assert_eq!(object.notes[0].to_string(), "line 10, column 46: `password` is in clear text");
    assert!(!format!("{object:?}").contains("secret\""));
}

#[test]
fn a_realm_of_a_directory_needs_encryption_where_nothing_else_is_said() {
    let server = |inner: &str| {
        let text = format!(
            "LDAPAuthenticationRealm {{ name = d, servers = [{{ host = \"LDAP.acme.com\", principalRoot = \"ou=people,dc=acme\"\n\
             userAttribute = uid, roleAttribute = cn\n{inner} }}] }}"
        );
        let object = read(&file(&text));
        let [Root::Ldap(realm)] = object.roots.as_slice() else { panic!() };
        let [server] = realm.servers.as_slice() else { panic!() };
        (server.clone(), object.notes)
    };
    let usual = LdapServer {
        host: "ldap.acme.com".to_owned(),
        port: 636,
        system_principal: None,
        system_password: None,
        principal_root: "ou=people,dc=acme".to_owned(),
        user_attribute: "uid".to_owned(),
        role_attribute: "cn".to_owned(),
        profile: None,
        allow_plaintext: false,
        start_tls: false,
        connect_timeout_ms: 5_000,
    };
    assert_eq!(server(""), (usual.clone(), Vec::new()));
    assert_eq!(server("startTls = true").0, LdapServer { start_tls: true, port: 389, ..usual.clone() });
    let (plain, notes) = server("allowPlaintext = true");
    assert_eq!(plain, LdapServer { allow_plaintext: true, port: 389, ..usual.clone() });
    assert!(matches!(notes.as_slice(), [noted] if matches!(&noted.note, Note::PlaintextLdap(_))));
    for (written, timeout) in [("2s", 2_000), ("250ms", 250), ("250", 250), ("60 s", 60_000)] {
        let expected = LdapServer { connect_timeout_ms: timeout, ..usual.clone() };
        assert_eq!(server(&format!("connectTimeout = {written}")).0, expected);
    }
    let full = "portNumber = 1636, secureCommunicationProfileName = tls, systemPrincipal = \"cn=reader\", systemPassword = \"env:LDAP\"";
    let expected = LdapServer {
        port: 1636,
        profile: Some("tls".to_owned()),
        system_principal: Some("cn=reader".to_owned()),
        system_password: Some(Secret::Variable("LDAP".to_owned())),
        ..usual
    };
    assert_eq!(server(full), (expected, Vec::new()));
}

#[test]
fn a_realm_of_providers_is_read() {
    let object = read(&file(
        r#"OIDCAuthenticationRealm {
            name = sso, fallbackAuthenticationRealmName = people
            identityProviders = [
                { documentDiscoveryUrl = "https://idp.acme.com/.well-known/openid-configuration", clientId = stockade
                  clientSecret = "file:/run/secrets/oidc", identityAttributeName = email, rolesAttributeName = "https://acme.com/roles"
                  audience = "api://stockade", secureCommunicationProfileName = tls }
                { documentDiscoveryUrl = "https://127.0.0.1:8080/.well-known/openid-configuration", clientId = stockade, identityAttributeName = sub }
            ]
        }"#,
    ));
    let [Root::Oidc(realm)] = object.roots.as_slice() else { panic!() };
    assert_eq!(realm.fallback.as_deref(), Some("people"));
    let first = OidcProvider {
        discovery_url: "https://idp.acme.com/.well-known/openid-configuration".to_owned(),
        client_id: "stockade".to_owned(),
        client_secret: Some(Secret::File("/run/secrets/oidc".to_owned())),
        identity_attribute: "email".to_owned(),
        roles_attribute: Some("https://acme.com/roles".to_owned()),
        audience: Some("api://stockade".to_owned()),
        profile: Some("tls".to_owned()),
    };
    assert_eq!(realm.providers.first(), Some(&first));
    assert!(object.notes.is_empty(), "{:?}", object.notes);
}

#[test]
fn both_shapes_of_mappings_say_the_same() {
    let nested = r#"RoleToPrivilegeMappings { roles {
        user { privileges = [{ privilege = Run, resource = "reports*" }, { privilege = Session }], deny = [{ privilege = Egress }] }
        "Domain Users" { privileges = [{ privilege = AdminRunCommand, resource = "node.display" }] }
    } }"#;
    let flat = r#"RoleToPrivilegeMappings {
        privileges {
            user = [{ resource = "reports*", privilege = "Run" }, { privilege = Session }]
            "Domain Users" = [{ privilege = AdminRunCommand, resource = "node.display" }]
        }
        deny { user = [{ privilege = Egress }] }
    }"#;
    let object = read(&file(nested));
    let flat = read(&file(flat));
    assert_eq!(flat.roots, object.roots);
    // What decides nothing is told, once for each privilege.
    for notes in [&object.notes, &flat.notes] {
        assert!(matches!(notes.as_slice(), [noted] if noted.note == Note::Unasked("Egress")), "{notes:?}");
    }
    let many = r#"RoleToPrivilegeMappings { privileges {
        a = [{ privilege = ScriptTrust }, { privilege = Run }], b = [{ privilege = ScriptTrust }, { privilege = DataSourceRead, resource = hr }]
    } }"#;
    let notes: Vec<_> = read(&file(many)).notes.into_iter().map(|noted| noted.note).collect();
    assert_eq!(notes, [Note::Unasked("ScriptTrust"), Note::Unasked("DataSourceRead")]);
    let [Root::Mappings(mappings)] = object.roots.as_slice() else { panic!() };
    let privilege = |name: &str, resource: Option<&str>| Privilege {
        name: name.to_owned(),
        resource: resource.map(ToOwned::to_owned),
    };
    let rules = Rules {
        grant: vec![privilege("Run", Some("reports*")), privilege("Session", None)],
        deny: vec![privilege("Egress", None)],
    };
    assert_eq!(mappings.roles.first(), Some(&("user".to_owned(), rules)));
    assert_eq!(mappings.roles.get(1).map(|(role, _)| role.as_str()), Some("Domain Users"));
}

#[test]
fn several_root_objects_of_one_file_are_read_in_their_order() {
    let object = read(&file(
        r#"
        SecureCommunicationServerProfile { name = web, certificateFile = "/etc/s/cert.pem", keyFile = "/etc/s/key.pem"
            trustFile = "/etc/s/ca.pem", requireClientAuthentication = true, minimumVersion = 1.2 }
        SecureCommunicationClientProfile { name = web }
        SecuritySettings { legacyHostTrust = true }
        TrustedHosts { hosts = [a], exclusive = true, resolve = activation }
        LocalAuthenticationRealm { name = people }"#,
    ));
    let server = ServerProfile {
        name: "web".to_owned(),
        certificate_file: "/etc/s/cert.pem".to_owned(),
        key_file: "/etc/s/key.pem".to_owned(),
        trust_file: Some("/etc/s/ca.pem".to_owned()),
        require_client: true,
        allow_tls12: true,
    };
    let client = ClientProfile {
        name: "web".to_owned(),
        trust_file: None,
        certificate_file: None,
        key_file: None,
        allow_tls12: false,
    };
    let keys: Vec<&str> = object.roots.iter().map(Root::key).collect();
    assert_eq!(
        keys,
        [
            "SecureCommunicationServerProfile",
            "SecureCommunicationClientProfile",
            "SecuritySettings",
            "TrustedHosts",
            "LocalAuthenticationRealm"
        ]
    );
    assert_eq!(object.roots.first(), Some(&Root::Server(server)));
    assert_eq!(object.roots.get(1), Some(&Root::Client(client)));
    assert_eq!(object.roots.get(2), Some(&Root::Settings(Settings { legacy_host_trust: true })));
    assert!(matches!(object.roots.get(3), Some(Root::TrustedHosts(hosts)) if hosts.exclusive && hosts.resolve_once));
    assert!(matches!(object.notes.as_slice(), [noted] if noted.note == Note::LegacyHostTrust));
    assert_eq!(read(&file("")).roots, []);
}

#[test]
fn what_is_not_understood_names_its_place_and_what_was_meant() {
    for (inner, why, next) in [
        (
            "TrustedHost { hosts = [] }",
            "line 5, column 1: there is no key `TrustedHost` in `configuration`",
            "did you mean `TrustedHosts`?",
        ),
        (
            "TrustedHosts { hosts = [a]\n  exlusive = true }",
            "line 6, column 3: there is no key `exlusive` in `TrustedHosts`",
            "did you mean `exclusive`?",
        ),
        (
            "LocalAuthenticationRealm { name = p\ninitialPrincipals = [{ username = a }] }",
            "line 6, column 24: there is no key `username` in a principal",
            "did you mean `userName`?",
        ),
        (
            "RoleToPrivilegeMappings { privileges { user = [\n{ privilege = Runn }] } }",
            "line 6, column 3: there is no privilege `Runn`",
            "did you mean `Run`?",
        ),
        (
            "TrustedHosts { hosts = \"a\" }",
            "line 5, column 16: `hosts` is a text, where a list of hosts",
            "write a list",
        ),
        (
            "TrustedHosts { hosts = [a,\n 7] }",
            "line 6, column 2: `hosts` is a number, where a name, or an address in quotes is expected",
            "write a name",
        ),
        (
            "SecuritySettings { legacyHostTrust = \"true\" }",
            "line 5, column 20: `legacyHostTrust` is a text, where true or false is expected",
            "write true or false",
        ),
        (
            "OIDCAuthenticationRealm { name = o, identityProviders = [{\n documentDiscoveryUrl = \"http://127.0.0.1:8080/.well-known/openid-configuration\" }] }",
            "line 6, column 2: `http://127.0.0.1:8080/.well-known/openid-configuration` is no address of a provider: the URL begins with https://, on this machine too",
            "write `documentDiscoveryUrl` as https://…, and give the provider a certificate",
        ),
        ("LocalAuthenticationRealm { }", "line 5, column 1: `LocalAuthenticationRealm` has no key `name`", "add `name"),
    ] {
        let found = refused(&file(inner));
        assert!(found.to_string().starts_with(why), "{inner}\n{found}");
        assert!(found.next().starts_with(next), "{inner}\n{}", found.next());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let principal =
        |inner: &str| format!("LocalAuthenticationRealm {{ name = p, initialPrincipals = [{{ {inner} }}] }}");
    let server = |inner: &str| {
        format!(
            "LDAPAuthenticationRealm {{ name = d, servers = [{{ principalRoot = \"dc=a\", userAttribute = uid, roleAttribute = cn, {inner} }}] }}"
        )
    };
    let provider = |url: &str| {
        format!(
            "OIDCAuthenticationRealm {{ name = o, identityProviders = [{{ documentDiscoveryUrl = \"{url}\", clientId = c, identityAttributeName = sub }}] }}"
        )
    };
    for (inner, why) in [
        (principal("userName = \"a b\""), "`a b` is no name of a user"),
        (principal("userName = \"\""), "`` is no name of a user"),
        (principal("userName = ann, password = \"\""), "the secret is empty"),
        (principal("userName = ann, password = 12345"), "`password` is a number"),
        (principal("userName = ann, password = null"), "`password` is null"),
        (principal("userName = ann, password = \"file:secret\""), "names no absolute path"),
        (principal("userName = ann, password = \"file:/a/../b\""), "names no absolute path"),
        (principal("userName = ann, password = \"env:1A\""), "names no variable"),
        (principal("userName = ann, password = \"encrypted:v1:short\""), "nothing that this version can open"),
        (
            principal(&format!("userName = ann, password = \"encrypted:v2:{}\"", "A".repeat(60))),
            "nothing that this version can open",
        ),
        (principal("userName = ann, password = \"$argon2id$short\""), "is none"),
        (principal("userName = ann, password = \"a\\nb\""), "control characters"),
        (principal("userName = ann, password = x locked : true"), "`:` stands in a value"),
        (principal("userName = ann, roles = [user, user]"), "`user` is in the list twice"),
        (principal("userName = ann, roles = [\"a,b\"]"), "`a,b` is no name of a role"),
        (principal("userName = ann, roles = [\" a\"]"), "is no name of a role"),
        (principal("userName = ann, passwordExpirationDays = -1"), "`-1`: this is not a number of days"),
        (principal("userName = ann, passwordExpirationDays = 1e2"), "`1e2`: this is not a number of days"),
        (principal("userName = ann }, { userName = ann"), "`ann` is in the list twice"),
        ("LocalAuthenticationRealm { name = \"a@b\" }".to_owned(), "`a@b` is no name of a realm"),
        (server("host = \"a..b\""), "`a..b`: the host is not a valid name"),
        (server("host = a, portNumber = 0"), "`0`: this is not a port"),
        (server("host = a, allowPlaintext = true, startTls = true"), "beside what asks for encryption"),
        (server("host = a, allowPlaintext = true, secureCommunicationProfileName = p"), "beside what asks for encryption"),
        (server("host = a, systemPrincipal = \"cn=a\""), "without the other"),
        (server("host = a, systemPassword = \"x\""), "without the other"),
        (
            server("host = a, systemPrincipal = \"cn=a\", systemPassword = \"$argon2id$v=19$m=1,t=1,p=1$YQ$YQ\""),
            "is a hash, where the secret itself is needed",
        ),
        (server("host = a, connectTimeout = 61s"), "`61s`: this is not a time"),
        (server("host = a, connectTimeout = 0"), "`0`: this is not a time"),
        (server("host = a, connectTimeout = \"99999999999999999999s\""), "this is not a time"),
        (server("host = a, userAttribute = \"uid)(x=*\"").replace("userAttribute = uid, ", ""), "is no name of an attribute"),
        ("LDAPAuthenticationRealm { name = d, servers = [] }".to_owned(), "the list is empty"),
        (provider("ftp://idp.acme.com/x"), "begins with https://"),
        (provider("https://user@idp.acme.com/x"), "no user"),
        (provider("https://idp.acme.com/x#y"), "fragment"),
        (provider("/x"), "relative URL"),
        (provider("https://a/.well-known/openid-configuration?x=y"), "query"),
        (provider("https://idp.acme.com/x"), "does not end with /.well-known"),
        (provider("https://a/.well-known/openid-configuration").replace("name = o,", "name = o, fallbackAuthenticationRealmName = o,"), "its own fallback"),
        (
            "RoleToPrivilegeMappings { privileges { a = [] }, roles { a {} } }".to_owned(),
            "`a` is in the list twice",
        ),
        (
            "RoleToPrivilegeMappings { privileges { a = [{ privilege = Run }, { privilege = Run }] } }".to_owned(),
            "`Run` is in the list twice",
        ),
        (
            "RoleToPrivilegeMappings { roles { a { privileges = [{ privilege = Run, resource = \"a b\" }] } } }".to_owned(),
            "`a b` is no resource",
        ),
        (
            "RoleToPrivilegeMappings { roles { a.b { privileges = [] } } }".to_owned(),
            "there is no key `b` in a role",
        ),
        (
            "SecureCommunicationServerProfile { name = w, certificateFile = \"c.pem\", keyFile = \"/k\" }".to_owned(),
            "`c.pem` is no path of a file",
        ),
        (
            "SecureCommunicationServerProfile { name = w, certificateFile = \"/c\", keyFile = \"/k\", requireClientAuthentication = true }".to_owned(),
            "nobody is named who vouches for them",
        ),
        (
            "SecureCommunicationServerProfile { name = w, certificateFile = \"/c\", keyFile = \"/k\", minimumVersion = 1.1 }".to_owned(),
            "there is no version of TLS `1.1`",
        ),
        ("SecureCommunicationClientProfile { name = w, keyFile = \"/k\" }".to_owned(), "without the other"),
        (
            "LocalAuthenticationRealm { name = a }\nLocalAuthenticationRealm { name = b }".to_owned(),
            "`configuration.LocalAuthenticationRealm` is given twice, first in line 5, column 1",
        ),
        ("include \"x\"".to_owned(), "other files are not included"),
    ] {
        refuses(&inner, why);
    }
}

#[test]
fn an_identity_is_short_and_plain() {
    for (name, version) in [("a", "1"), ("my file", "1.0.0-rc1+x"), ("node24privmaps", "4"), (&"x".repeat(128), "v")] {
        let identity = read(&named(name, version, "")).identity;
        assert_eq!((identity.name.as_str(), identity.version.as_str()), (name, version));
    }
    assert_eq!(read(&file("").replace("\"1.0\"", "1.0")).identity.version, "1.0");
    for name in ["", " a", "a ", "-a", "a/b", "a\\nb", "é", &"x".repeat(129), "a\\u202eb"] {
        for text in [named(name, "1", ""), named("n", name, "")] {
            assert!(refused(&text).to_string().contains("is no name or version of a file"), "{text}");
        }
    }
}

#[test]
fn a_refusal_never_shows_a_secret() {
    let principal = |inner: &str| {
        file(&format!(
            "LocalAuthenticationRealm {{ name = p, initialPrincipals = [{{ userName = a, password = {inner} }}] }}"
        ))
    };
    for password in [
        "\"hunter2\\u0007\"",
        "\"$argon2id$hunter2\"",
        "\"file:hunter2\"",
        "\"env:hunter-2\"",
        "\"encrypted:hunter2\"",
        "\"encrypted:v1:hunter2\"",
        "\"hunter2${\"",
        "[\"hunter2\"]",
        "{ hunter = \"hunter2\" }",
        "\"hunter2\", password = \"hunter2\"",
    ] {
        let found = refused(&principal(password));
        let said = format!("{found} {} {found:?}", found.next());
        assert!(!said.contains("hunter2"), "{said}");
    }
    let object = read(&principal("\"hunter2\""));
    assert!(!format!("{object:?}").contains("hunter2"));
}
