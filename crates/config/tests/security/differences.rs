//! The canonical text of an object, and what is different between two.

use proptest::prelude::*;
use stockade_config::security::{
    Admission, ClientProfile, InitialPrincipal, LdapRealm, LdapServer, LocalRealm, Mappings, Object, OidcProvider,
    OidcRealm, PRIVILEGES, Privilege, Root, Rules, Secret, Secrets, ServerProfile, Settings, Substitutions,
    TrustedHosts, diff, export, hosts, parse,
};

use super::{file, named, read, refused};

fn lines(before: &str, after: &str) -> Vec<String> {
    diff(&read(before), &read(after)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_difference_is_shown_key_by_key() {
    let before = named("n", "1", "TrustedHosts { hosts = [a, b] }\nSecuritySettings {}");
    let after =
        named("n", "2", "TrustedHosts { hosts = [c, a], exclusive = true }\nLocalAuthenticationRealm { name = p }");
    assert_eq!(
        lines(&before, &after),
        [
            "+ LocalAuthenticationRealm",
            "+ LocalAuthenticationRealm.name = \"p\"",
            "+ LocalAuthenticationRealm.requirePassword = false",
            "+ LocalAuthenticationRealm.requireTrustedHostMembership = false",
            "- SecuritySettings",
            "- SecuritySettings.legacyHostTrust = false",
            "~ TrustedHosts.exclusive: false -> true",
            "- TrustedHosts.hosts[b]",
            "+ TrustedHosts.hosts[c]",
            "~ version: \"1\" -> \"2\"",
        ]
    );
    let role = |inner: &str| file(&format!("RoleToPrivilegeMappings {{ roles {{ \"a b\" {{ {inner} }} }} }}"));
    assert_eq!(
        lines(&role("privileges = [{ privilege = Run }]"), &role("deny = [{ privilege = Run, resource = x }]")),
        [
            "+ RoleToPrivilegeMappings.roles.\"a b\".deny[\"Run on x\"]",
            "+ RoleToPrivilegeMappings.roles.\"a b\".deny[\"Run on x\"].privilege = \"Run\"",
            "+ RoleToPrivilegeMappings.roles.\"a b\".deny[\"Run on x\"].resource = \"x\"",
            "- RoleToPrivilegeMappings.roles.\"a b\".privileges[Run]",
            "- RoleToPrivilegeMappings.roles.\"a b\".privileges[Run].privilege = \"Run\"",
        ]
    );
}

#[test]
fn a_secret_is_compared_and_never_shown() {
    let hash = |end: &str| format!("$argon2id$v=19$m=1,t=1,p=1$YQ$hunter2{end}");
    let with = |password: &str| {
        file(&format!(
            "LocalAuthenticationRealm {{ name = p, initialPrincipals = [{{ userName = a, password = \"{password}\" }}] }}"
        ))
    };
    let encrypted = |letter: &str| format!("encrypted:v1:{}", letter.repeat(60));
    let path = "~ LocalAuthenticationRealm.initialPrincipals[a].password:";
    for (before, after, shown) in [
        ("hunter2", "hunter22", "(clear text, not shown) -> (clear text, not shown)"),
        ("hunter2", &hash("a"), "(clear text, not shown) -> (hash, not shown)"),
        (&hash("a"), &hash("b"), "(hash, not shown) -> (hash, not shown)"),
        (&encrypted("A"), &encrypted("B"), "(encrypted, not shown) -> (encrypted, not shown)"),
        ("file:/a", "env:B", "\"file:/a\" -> \"env:B\""),
    ] {
        assert_eq!(lines(&with(before), &with(after)), [format!("{path} {shown}")]);
        assert_eq!(lines(&with(before), &with(before)), [""; 0]);
    }
}

#[test]
fn a_text_without_its_secrets_cannot_be_loaded() {
    let text =
        file("LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, password = \"hunter2\" }] }");
    let object = read(&text);
    let shown = export(&object, Secrets::Hidden);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(refused(&shown).to_string().ends_with("`password` is null, where a text in quotes is expected"));
    assert!(export(&object, Secrets::Kept).contains("hunter2"));
    let without = export(&object, Secrets::Hashed);
    assert!(!without.contains("hunter2"), "{without}");
    assert!(refused(&without).to_string().ends_with("`password` is null, where a text in quotes is expected"));
    let encrypted = format!("encrypted:v1:{}", "A".repeat(60));
    for kept in ["$argon2id$v=19$m=1,t=1,p=1$YQ$YWJjZA", &encrypted, "file:/a"] {
        let object = read(&text.replace("hunter2", kept));
        assert_eq!(export(&object, Secrets::Hashed), export(&object, Secrets::Kept), "{kept}");
    }
}

#[test]
fn the_canonical_text_says_every_key() {
    let object = read(&named(
        "a",
        "1",
        "TrustedHosts { hosts = [a, \"10.0.0.0/7\"], acknowledgeWide = true }\nRoleToPrivilegeMappings { privileges { \"x y\" = [{ privilege = Run }] } }",
    ));
    let expected = r#"name = "a"
version = "1"
type = "stockade.security"
configuration = {
  TrustedHosts = {
    hosts = [
      "a"
      "10.0.0.0/7"
    ]
    exclusive = false
    resolve = "ttl"
    acknowledgeWide = true
  }
  RoleToPrivilegeMappings = {
    roles = {
      "x y" = {
        privileges = [
          {
            privilege = "Run"
          }
        ]
        deny = []
      }
    }
  }
}
"#;
    assert_eq!(export(&object, Secrets::Kept), expected);
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,12}"
}

fn role() -> impl Strategy<Value = String> {
    "[a-zé0-9][a-z ._+@/&()'-]{0,8}[A-Zß]"
}

fn path() -> impl Strategy<Value = String> {
    "/[a-z\"\\\\${}: é]{0,8}x"
}

/// What is told by a text of its own; never one of the other forms, never empty, no control characters.
fn clear() -> impl Strategy<Value = Secret> {
    let hard = prop::sample::select(vec![
        "${", "}", "\\", "\"", "${A}", "${:-$}{", "\\}", "$", "{", "é", "\u{2028}", "a", " ",
    ]);
    prop::collection::vec(hard, 1..8).prop_map(|pieces| Secret::Clear(pieces.concat()))
}

fn said() -> impl Strategy<Value = Secret> {
    prop_oneof![clear(), path().prop_map(Secret::File), "[A-Z_][A-Z0-9_]{0,8}".prop_map(Secret::Variable)]
}

fn compared() -> impl Strategy<Value = Secret> {
    let hash =
        "[A-Za-z0-9+/]{1,20}".prop_map(|salt| Secret::Hash(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$aGFzaA")));
    prop_oneof![said(), hash]
}

fn admission() -> impl Strategy<Value = Admission> {
    any::<(bool, bool)>()
        .prop_map(|(require_password, require_trusted_host)| Admission { require_password, require_trusted_host })
}

fn trusted_hosts() -> impl Strategy<Value = Root> {
    let entry =
        prop::sample::select(vec!["a", "b.c", "*.d", "10.1.2.3", "10.0.0.0/7", "::1%x", "fe80::/64", "2000::/3"]);
    (prop::collection::btree_set(entry, 0..6), any::<(bool, bool)>()).prop_map(
        |(entries, (exclusive, resolve_once))| {
            let entries = entries.into_iter().map(|text| hosts::parse(text, hosts::Wide::Acknowledged).unwrap());
            Root::TrustedHosts(TrustedHosts { hosts: entries.collect(), exclusive, resolve_once })
        },
    )
}

fn local() -> impl Strategy<Value = Root> {
    let roles = prop::collection::btree_set(role(), 0..4).prop_map(|roles| roles.into_iter().collect());
    let rest = (prop::option::of(compared()), roles, any::<bool>(), 0u32..400);
    let principals = prop::collection::btree_map(name(), rest, 0..4);
    (name(), admission(), principals).prop_map(|(name, admission, principals)| {
        let principal = |(user, (password, roles, locked, password_expiration_days))| InitialPrincipal {
            user,
            password,
            roles,
            locked,
            password_expiration_days,
        };
        Root::Local(LocalRealm { name, admission, initial: principals.into_iter().map(principal).collect() })
    })
}

fn ldap() -> impl Strategy<Value = Root> {
    let who = prop::option::of(("cn=[a-z\"\\\\ é]{0,8}x", said()));
    let server = ("[a-z]{1,8}", 1u16.., who, "dc=[a-z,=${}]{0,8}x", prop::option::of(name()), 1u64..60_000, 0u8..3);
    let server = server.prop_map(|(host, port, who, principal_root, profile, connect_timeout_ms, safety)| {
        let (system_principal, system_password) = who.unzip();
        LdapServer {
            host,
            port,
            system_principal,
            system_password,
            principal_root,
            user_attribute: "uid".to_owned(),
            role_attribute: "cn".to_owned(),
            profile: profile.filter(|_| safety > 0),
            allow_plaintext: safety == 0,
            start_tls: safety == 1,
            connect_timeout_ms,
        }
    });
    (name(), admission(), prop::collection::vec(server, 1..3))
        .prop_filter("each once", |(_, _, servers)| servers.first() != servers.get(1))
        .prop_map(|(name, admission, servers)| Root::Ldap(LdapRealm { name, admission, servers }))
}

fn oidc() -> impl Strategy<Value = Root> {
    let maybe = || prop::option::of("[a-z]{1,8}");
    let provider = (prop::option::of(said()), maybe(), maybe(), maybe());
    (name(), maybe(), prop::collection::btree_map("[a-z\"\\\\${}]{1,8}", provider, 1..3)).prop_map(
        |(name, fallback, providers)| {
            let provider = |(client_id, (client_secret, roles_attribute, audience, profile))| OidcProvider {
                discovery_url: "https://idp.acme.com/.well-known/openid-configuration".to_owned(),
                client_id,
                client_secret,
                identity_attribute: "sub".to_owned(),
                roles_attribute,
                audience,
                profile,
            };
            let fallback = fallback.filter(|fallback| *fallback != name);
            Root::Oidc(OidcRealm { name, fallback, providers: providers.into_iter().map(provider).collect() })
        },
    )
}

fn mappings() -> impl Strategy<Value = Root> {
    let privilege = (prop::sample::select(PRIVILEGES.to_vec()), prop::option::of("[a-z*.:\"\\\\${}]{1,8}"));
    let list = prop::collection::btree_set(privilege, 0..4).prop_map(|all| {
        all.into_iter().map(|(name, resource)| Privilege { name: name.to_owned(), resource }).collect::<Vec<_>>()
    });
    let rules = (list.clone(), list).prop_map(|(grant, deny)| Rules { grant, deny });
    prop::collection::btree_map(role(), rules, 0..4)
        .prop_map(|roles| Root::Mappings(Mappings { roles: roles.into_iter().collect() }))
}

fn profiles() -> impl Strategy<Value = (Root, Root)> {
    let pair = prop::option::of((path(), path()));
    (name(), path(), path(), prop::option::of(path()), any::<(bool, bool)>(), pair).prop_map(
        |(name, certificate_file, key_file, trust_file, (require_client, allow_tls12), pair)| {
            let (certificate, key) = pair.unzip();
            let client = ClientProfile {
                name: name.clone(),
                trust_file: trust_file.clone(),
                certificate_file: certificate,
                key_file: key,
                allow_tls12,
            };
            let require_client = require_client && trust_file.is_some();
            let server = ServerProfile { name, certificate_file, key_file, trust_file, require_client, allow_tls12 };
            (Root::Server(server), Root::Client(client))
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    let parts = (trusted_hosts(), local(), ldap(), oidc(), mappings(), profiles(), any::<bool>());
    (parts, any::<u8>(), "[a-z][a-z ]{0,4}[0-9]", "[0-9][0-9.+-]{0,6}").prop_map(|(parts, which, name, version)| {
        let (trusted, local, ldap, oidc, mappings, (server, client), legacy_host_trust) = parts;
        let settings = Root::Settings(Settings { legacy_host_trust });
        let roots = [trusted, local, ldap, oidc, mappings, server, client, settings];
        let chosen = roots.into_iter().enumerate().filter(|(number, _)| which & (1 << number) != 0);
        let mut object = read(&named(&name, &version, ""));
        object.roots = chosen.map(|(_, root)| root).collect();
        object
    })
}

proptest! {
    #[test]
    fn the_canonical_text_means_the_object(object in object(), name in "[A-Z]", value in "[a-z]{0,4}") {
        let text = export(&object, Secrets::Kept);
        // Whatever variables there are when it is loaded again.
        let mut with = Substitutions::none();
        with.add(&name, &value).unwrap();
        let again = parse(&text, &with);
        let again = match again {
            Ok(again) => again,
            Err(refused) => return Err(TestCaseError::fail(format!("{refused}\n{text}"))),
        };
        prop_assert_eq!(&again.identity, &object.identity);
        prop_assert_eq!(&again.roots, &object.roots);
        prop_assert_eq!(export(&again, Secrets::Kept), text);
        prop_assert_eq!(diff(&object, &again), vec![]);
    }

    #[test]
    fn no_secret_is_ever_shown(object in object(), other in object()) {
        let mut object = object;
        for root in &mut object.roots {
            if let Root::Local(realm) = root {
                for principal in &mut realm.initial {
                    principal.password = Some(Secret::Clear("hunter2".to_owned()));
                }
            }
        }
        let changes = diff(&object, &other).into_iter().chain(diff(&other, &object));
        let shown: String = changes.map(|change| format!("{change} {change:?}")).collect();
        prop_assert!(!shown.contains("hunter2"));
        prop_assert!(!export(&object, Secrets::Hidden).contains("hunter2"));
    }

    #[test]
    fn two_objects_differ_by_what_is_different(one in object(), other in object()) {
        let there = diff(&one, &other);
        let back = diff(&other, &one);
        prop_assert_eq!(there.is_empty(), one.identity == other.identity && one.roots == other.roots);
        prop_assert_eq!(there.len(), back.len());
        for (change, reverse) in there.iter().zip(&back) {
            prop_assert_eq!(&change.path, &reverse.path);
            prop_assert_eq!((&change.before, &change.after), (&reverse.after, &reverse.before));
        }
    }
}
