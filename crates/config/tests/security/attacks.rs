//! Texts that are made to stop a parser, or to take its time.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use stockade_config::security::{BYTES_MAX, Root, Secrets, Substitutions, export, parse};

use super::{file, read, refused};

/// Pieces of entries of trusted hosts.
pub(super) fn entries() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "*",
            "*.",
            ".",
            "..",
            "/",
            "/8",
            "/24",
            "/0",
            "/32",
            "/128",
            "/99999",
            ":",
            "::",
            "::1",
            "fe80::",
            "::ffff:",
            "%",
            "%eth0",
            "10",
            "0",
            "010",
            "0x7f",
            "255",
            "256",
            "10.0.0.",
            "192.168.2.0",
            "a",
            "host",
            ".acme.com",
            "xn--",
            "-",
            "_",
            " ",
            "\0",
            "[",
            "]",
            "é",
            "ß",
            "\u{3002}",
            "\u{ff0e}",
            "\u{200d}",
            "\u{202e}",
            "１",
        ])
        .prop_map(ToOwned::to_owned),
        any::<char>().prop_map(String::from),
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        "[0-9a-f:]{2,20}",
        "[a-z0-9-]{1,70}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "=",
            "+=",
            "\n",
            " ",
            ".",
            "\"",
            "\"\"\"",
            "${",
            "${?",
            "a",
            "b",
            "${a}",
            "\"${a}\"",
            "\"${a:-b}\"",
            "\"${a:-\"",
            "\"${:-$}{\"",
            "\"${",
            "}\"",
            ":-",
            "\\",
            "\\}",
            "\\u12",
            "1",
            "1.2.3.4",
            "::1",
            "10.0.0.0/8",
            "\"1.2.3.4\"",
            "null",
            "true",
            "//",
            "#",
            "include ",
            "{}",
            "[]",
            "é",
            "\u{feff}",
            "\u{2028}",
            "\u{0}",
            "name",
            "version",
            "type",
            "configuration",
            "TrustedHosts",
            "hosts",
            "exclusive",
            "LocalAuthenticationRealm",
            "initialPrincipals",
            "userName",
            "password",
            "roles",
            "LDAPAuthenticationRealm",
            "servers",
            "host",
            "portNumber",
            "OIDCAuthenticationRealm",
            "identityProviders",
            "documentDiscoveryUrl",
            "\"https://a/.well-known/openid-configuration\"",
            "RoleToPrivilegeMappings",
            "privileges",
            "deny",
            "privilege",
            "resource",
            "SecureCommunicationServerProfile",
            "certificateFile",
            "SecuritySettings",
            "legacyHostTrust",
            " = ",
            " { ",
        ])
        .prop_map(ToOwned::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A file of well-formed pieces in the wrong places: it gets past the guards, and to the readers.
fn shaped() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "TrustedHosts",
        "LocalAuthenticationRealm",
        "LDAPAuthenticationRealm",
        "OIDCAuthenticationRealm",
        "RoleToPrivilegeMappings",
        "SecureCommunicationServerProfile",
        "SecureCommunicationClientProfile",
        "SecuritySettings",
        "hosts",
        "exclusive",
        "resolve",
        "name",
        "initialPrincipals",
        "userName",
        "password",
        "roles",
        "privileges",
        "deny",
        "privilege",
        "resource",
        "servers",
        "host",
        "portNumber",
        "systemPrincipal",
        "systemPassword",
        "connectTimeout",
        "allowPlaintext",
        "identityProviders",
        "clientId",
        "minimumVersion",
        "legacyHostTrust",
        "user",
    ]);
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "1",
        "-1",
        "1e999",
        "\"\"",
        "\"a\"",
        "a b",
        "\"file:/a\"",
        "\"env:A\"",
        "\"encrypted:v1:A\"",
        "\"$argon2id$\"",
        "\"${A}\"",
        "\"${B:-1}\"",
        "\"10.0.0.0/8\"",
        "\"*\"",
        "\"https://a/.well-known/openid-configuration\"",
        "Run",
        "[]",
        "{}",
        "${?x}",
    ])
    .prop_map(ToOwned::to_owned);
    let value = leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map(key.clone(), inner, 0..5).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", fields.join("\n"))
            }),
        ]
    });
    value.prop_map(|value| value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(&value).to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    #[test]
    fn no_text_stops_the_parser(text in pieces(), shaped in shaped()) {
        let mut with = Substitutions::none();
        with.add("a", "${a}").unwrap();
        with.add("A", "\"}").unwrap();
        for text in [&text, &file(&text), &file(&shaped)] {
            if let Err(refused) = parse(text, &with) {
                prop_assert!(!refused.next().is_empty() && !refused.to_string().contains('\n'));
            }
        }
        drop(Substitutions::parse_file(&text));
    }

    #[test]
    fn no_string_stops_the_filling(text in "[${}a:\\\\-]{0,40}", value in "[${}a:\\\\-]{0,10}") {
        let mut with = Substitutions::none();
        with.add("a", &value).unwrap();
        // What has no variable stays as it is; what has one is filled once.
        let has_one = text.contains("${");
        match with.fill(&text) {
            Ok(None) => prop_assert!(!has_one),
            Ok(Some(filled)) => prop_assert!(has_one && filled.len() <= text.len() * (value.len() + 1)),
            Err(bad) => prop_assert!(!bad.next().is_empty()),
        }
        prop_assert_eq!(with.fill("${a}"), Ok(Some(value)));
    }
}

#[test]
fn ten_thousand_hosts_are_read_in_little_time() {
    let hosts: String =
        (0..10_000).map(|n| format!("\"10.{}.{}.{}/32\",\n", n / 65_536, n / 256 % 256, n % 256)).collect();
    let text = file(&format!("TrustedHosts {{ hosts = [\n{hosts}] }}"));
    assert!(text.len() < BYTES_MAX);
    let begun = Instant::now();
    let object = read(&text);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(matches!(object.roots.as_slice(), [Root::TrustedHosts(hosts)] if hosts.hosts.len() == 10_000));
}

#[test]
fn what_a_text_may_cost_is_bounded() {
    assert!(refused(&"#".repeat(BYTES_MAX + 1)).to_string().contains("it is larger than 256 KiB"));
    let whole = |piece: &str| piece.repeat(BYTES_MAX.div_ceil(piece.len()) - 1);
    for piece in [
        "a",
        "[",
        "]",
        "a = 1\n",
        "a.b.c.d.e.f.g = 1\n",
        "a += 1\n",
        "\"",
        "\"\"\"",
        "1:",
        "::",
        "1.2.3.",
        "a:",
        "\"${\"",
        "\"${a:-\\\\}\"\n",
        "x {",
        "x = [{},{}]\n",
        "${a}",
        "${",
        "\\",
        "é\u{2028}",
        " ",
        "\n",
        "# x\n",
    ] {
        let begun = Instant::now();
        let with = Substitutions::none();
        drop(parse(&whole(piece), &with));
        drop(parse(&file(&whole(piece).chars().take(BYTES_MAX / 2).collect::<String>()), &with));
        drop(Substitutions::parse_file(&whole(piece)));
        drop(with.fill(&whole(piece)));
        assert!(begun.elapsed() < Duration::from_secs(60), "{piece}: {:?}", begun.elapsed());
    }
}

/// The canonical text is what a node keeps and reads when it starts.
#[test]
fn what_is_read_can_be_read_again_when_it_is_written_out() {
    let roles = |count: usize| {
        let roles: String = (0..count).map(|n| format!("r{n}=[]\n")).collect();
        file(&format!("RoleToPrivilegeMappings {{ privileges {{\n{roles}}} }}"))
    };
    for count in [10, 1_000] {
        let begun = Instant::now();
        let text = export(&read(&roles(count)), Secrets::Kept);
        assert!(text.len() <= BYTES_MAX && parse(&text, &Substitutions::none()).is_ok());
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
    let many = roles(15_000);
    assert!(many.len() < BYTES_MAX);
    assert_eq!(refused(&many).to_string(), "with every key written out it is larger than 256 KiB");
}
