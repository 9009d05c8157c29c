//! What files of the security type say, and what is refused, with its place.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use stockade_config::Refused;
use stockade_config::security::{Admission, HostForm, Kind, Note, Object, Root, Secret, Substitutions, parse};

/// A file around what stands in its configuration, which begins in line 4, column 17.
fn file(inner: &str) -> String {
    format!("name = n\nversion = \"1.0\"\ntype = \"stockade.security\"\nconfiguration = {{\n{inner}\n}}\n")
}

#[track_caller]
fn read(text: &str) -> Object {
    parse(text, &Substitutions::none()).unwrap_or_else(|refused| panic!("{refused}\n{text}"))
}

fn refused(text: &str) -> Refused {
    parse(text, &Substitutions::none()).unwrap_err()
}

#[track_caller]
fn refuses(inner: &str, why: &str) {
    let found = refused(&file(inner));
    assert!(found.to_string().contains(why), "{inner}\n{found}");
    assert!(found.place().is_some() && !found.next().is_empty(), "{inner}");
}

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
