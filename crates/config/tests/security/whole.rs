//! The whole set of active objects.

use stockade_config::security::Object;
use stockade_config::security::whole::{Fact, Needs, check, realm_name};

use super::{named, read};

/// One object for each name and content; `x@2` is version 2 of `x`.
fn set(objects: &[(&str, &str)]) -> Vec<Object> {
    objects
        .iter()
        .map(|(called, inner)| {
            let (name, version) = called.split_once('@').unwrap_or((called, "1"));
            read(&named(name, version, inner))
        })
        .collect()
}

fn found(before: &[(&str, &str)], after: &[(&str, &str)], needs: &Needs) -> Vec<String> {
    let (before, after) = (set(before), set(after));
    let roots = before.iter().flat_map(|object| &object.roots);
    let types = roots.filter_map(|root| Some((realm_name(root)?.to_owned(), root.key().to_owned()))).collect();
    let found = check(&after.iter().collect::<Vec<_>>(), &Needs { types, ..needs.clone() });
    assert!(found.iter().all(|finding| !finding.fact.next().is_empty()));
    found.iter().map(ToString::to_string).collect()
}

const LOCAL: &str = "LocalAuthenticationRealm { name = people }";
const LDAP: &str = "LDAPAuthenticationRealm { name = people, servers = [{ host = a, principalRoot = \"dc=a\", userAttribute = uid, roleAttribute = cn, secureCommunicationProfileName = tls }] }";
const OIDC: &str = "OIDCAuthenticationRealm { name = sso, fallbackAuthenticationRealmName = people, identityProviders = [{ documentDiscoveryUrl = \"https://a/.well-known/openid-configuration\", clientId = c, identityAttributeName = sub }] }";
const CLIENT: &str = "SecureCommunicationClientProfile { name = tls }";
const SERVER: &str = "SecureCommunicationServerProfile { name = tls, certificateFile = \"/c\", keyFile = \"/k\" }";

#[test]
fn what_belongs_together_is_found_to_be_well() {
    let nothing: [String; 0] = [];
    let needs =
        Needs { realms: vec!["people".to_owned()], server_profiles: vec!["tls".to_owned()], ..Needs::default() };
    let all = [
        ("p", LOCAL),
        ("s", OIDC),
        ("c", CLIENT),
        ("w", SERVER),
        ("h", "TrustedHosts { hosts = [a] }"),
        ("h2", "TrustedHosts { hosts = [b] }"),
    ];
    assert_eq!(found(&[], &all, &needs), nothing);
    assert_eq!(found(&all, &all, &needs), nothing);
    assert_eq!(found(&[("p", LDAP), ("c", CLIENT)], &[("p@2", LDAP), ("c", CLIENT)], &Needs::default()), nothing);
    assert_eq!(found(&all, &[], &Needs::default()), nothing);
    // Another client of the same provider has other tokens.
    let other = OIDC.replace("sso", "ext").replace("clientId = c", "clientId = d");
    assert_eq!(found(&[], &[("p", LOCAL), ("s", OIDC), ("t", &other)], &Needs::default()), nothing);
}

#[test]
fn what_does_not_belong_together_is_found() {
    let n = |name: &str, version: &str| format!("stockade.security `{name}` version `{version}`");
    for (before, after, expected) in [
        (
            vec![],
            vec![("a", "TrustedHosts { hosts = [] }"), ("a@2", "")],
            vec![format!("{}: version `1` of it would be active too", n("a", "2"))],
        ),
        (
            vec![],
            vec![("a", LOCAL), ("b", LOCAL)],
            vec![format!("{}: the realm `people` is in {} too", n("b", "1"), n("a", "1"))],
        ),
        (
            vec![("a", LOCAL)],
            vec![("a@2", LDAP), ("c", CLIENT)],
            vec![format!(
                "{}: the realm `people` was a LocalAuthenticationRealm, and a realm keeps its type: what its people own would be others'",
                n("a", "2")
            )],
        ),
        (
            vec![],
            vec![
                ("p", LOCAL),
                ("s", OIDC),
                ("t", &OIDC.replace("sso", "ext").replace("clientId = c", "audience = c, clientId = d")),
            ],
            vec![format!("{}: tokens for `c` of its provider are those of the realm `sso` already", n("t", "1"))],
        ),
        (
            vec![],
            vec![("s", OIDC)],
            vec![format!("{}: the realm `sso` falls back to `people`, which is not active", n("s", "1"))],
        ),
        (
            vec![],
            vec![
                ("s", OIDC),
                (
                    "t",
                    &OIDC
                        .replace("people", "none")
                        .replace("sso", "people")
                        .replace("clientId = c", "clientId = d")
                        .replace("fallbackAuthenticationRealmName = none,", ""),
                ),
            ],
            vec![format!("{}: the realm `sso` falls back to `people`, which is for HTTP only itself", n("s", "1"))],
        ),
        (
            vec![],
            vec![("l", LDAP), ("w", SERVER)],
            vec![format!("{}: the realm `people` names the client profile `tls`, which is not active", n("l", "1"))],
        ),
        (
            vec![],
            vec![
                ("p", LOCAL),
                ("s", &OIDC.replace("clientId", "secureCommunicationProfileName = tls, clientId")),
                ("w", SERVER),
            ],
            vec![format!("{}: the realm `sso` names the client profile `tls`, which is not active", n("s", "1"))],
        ),
        (
            vec![],
            vec![("c", CLIENT), ("d", CLIENT), ("w", SERVER)],
            vec![format!("{}: the profile `tls` is in {} too", n("d", "1"), n("c", "1"))],
        ),
        (
            vec![],
            vec![("a", "TrustedHosts { hosts = [a], exclusive = true }"), ("b", "TrustedHosts { hosts = [b] }")],
            vec![format!("{}: its trusted hosts are exclusive, and {} has some too", n("a", "1"), n("b", "1"))],
        ),
        (
            vec![],
            vec![("a", "SecuritySettings {}"), ("b", "SecuritySettings { legacyHostTrust = true }")],
            vec![format!("{}: what holds for the whole node is said in {} too", n("b", "1"), n("a", "1"))],
        ),
    ] {
        assert_eq!(found(&before, &after, &Needs::default()), expected);
    }
}

#[test]
fn what_the_node_needs_cannot_go() {
    let needs =
        Needs { realms: vec!["people".to_owned()], server_profiles: vec!["tls".to_owned()], ..Needs::default() };
    assert_eq!(
        found(&[("p", LOCAL), ("w", SERVER)], &[("c", CLIENT)], &needs),
        [
            "the node: it needs the realm `people`, which would not be active",
            "the node: it needs the server profile `tls`, which would not be active",
        ]
    );
}

#[test]
fn a_role_without_mapping_is_noted_and_refuses_nothing() {
    let realm = "LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, roles = [administrator, reader, writer] }, { userName = b, roles = [reader] }] }";
    let mapped = "RoleToPrivilegeMappings { privileges { writer = [{ privilege = Run }] } }";
    let objects = set(&[("p", realm), ("m", mapped)]);
    let findings = check(&objects.iter().collect::<Vec<_>>(), &Needs::default());
    let facts: Vec<&Fact> = findings.iter().map(|finding| &finding.fact).collect();
    assert_eq!(facts, [&Fact::RoleUnmapped("reader".to_owned())]);
    assert!(findings.iter().all(|finding| !finding.fact.refuses()));
}

#[test]
fn all_findings_are_told_at_once() {
    let everything =
        [("a", LDAP), ("a@2", LOCAL), ("s", OIDC), ("x", "SecuritySettings {}"), ("y", "SecuritySettings {}")];
    let all = found(
        &[("s", &LOCAL.replace("people", "sso"))],
        &everything,
        &Needs { realms: vec!["none".to_owned()], ..Needs::default() },
    );
    assert_eq!(all.len(), 6, "{all:#?}");
}
