//! What policy files say, and what is refused, with its place.
#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use stockade_config::{BYTES_MAX, parse_policy};
use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::Limit;
use stockade_core::policy::{Parts, Policy, Reach, Trust};
use stockade_core::request::Language;
use stockade_core::trust::Sensitive;

/// A file around what stands in its policy.
fn file(inner: &str) -> String {
    format!(
        "name = \"a file\"\nversion = \"1.0\"\ntype = \"stockade.policy\"\nconfiguration {{ StockadePolicy {{\n{inner}\n}} }}\n"
    )
}

fn parts() -> Parts {
    Parts {
        name: "team".to_owned(),
        version: Some("1.0".to_owned()),
        languages: Language::ALL.to_vec(),
        reach: Reach::Nothing,
        limits: Vec::new(),
        require: Layers::NONE,
        trust: Trust::default(),
    }
}

fn grants(texts: &[&str]) -> Reach {
    Reach::AtMost(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[track_caller]
fn means(inner: &str, parts: Parts) {
    let found = parse_policy(&file(&format!("name = team\n{inner}")));
    let found = found.unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(Ok(found), Policy::from_parts(parts));
}

/// What is said of a text, its lines counted from the first one inside of the policy.
#[track_caller]
fn said(text: &str) -> (String, String) {
    let refused = parse_policy(text).unwrap_err();
    let next = refused.next();
    assert!(!next.is_empty());
    (refused.to_string(), next)
}

#[track_caller]
fn refuses(inner: &str, why: &str) {
    assert_eq!(said(&file(inner)).0, why, "{inner}");
}

#[test]
fn what_can_be_said_is_understood() {
    means(
        r#"
        languages = ["python", "sql"]
        limits = { memory = "1GiB", wallTime = 600s, cpus = 2, pids = 512, cpuTime = 1.5h, fileSize = 64 MiB }
        egress = [
            "*.example.com:8443", "deny:evil.example.com",
            { host = "api.example.com", port = 443, methods = ["GET"], paths = ["/v1"] },
            { host = 10.1.0.0/16, ports = [5432, 5433], protocol = tcp }
            { host = "db.example.com", protocol = "postgres" }
            { host = "a.example.com", deny = true }
        ]
        require = ["namespaces", "cgroup"]
        "#,
        Parts {
            languages: vec![Language::Python, Language::Sql],
            limits: vec![
                (Limit::Time, 600_000),
                (Limit::CpuTime, 5_400_000),
                (Limit::Memory, 1 << 30),
                (Limit::Processes, 512),
                (Limit::FileSize, 64 << 20),
                (Limit::Cpus, 200),
            ],
            reach: grants(&[
                "*.example.com:8443",
                "deny:evil.example.com",
                "GET https://api.example.com/v1",
                "tcp://10.1.0.0/16:5432,5433",
                "postgres://db.example.com",
                "deny:a.example.com",
            ]),
            require: Layers::parse("namespaces").unwrap().with(Layer::Cgroup),
            ..parts()
        },
    );
    means("", parts());
    means("egress = []", parts());
    means("egress = named", Parts { reach: Reach::Named, ..parts() });
}

#[test]
fn hocon_is_read_as_hocon() {
    let memory = |bytes: u64| Parts { limits: vec![(Limit::Memory, bytes)], ..parts() };
    let one_and_two = || Parts { reach: grants(&["one.example", "two.example"]), ..parts() };
    means("limits.memory = 1GiB // a comment\n# another }", memory(1 << 30));
    means("limits { memory : \"\"\"1GiB\"\"\" }", memory(1 << 30));
    means(
        "\"limits\".\"memory\" = ${configuration.StockadePolicy.size}GiB\n"
            .trim_end()
            .replace("${configuration.StockadePolicy.size}", "1")
            .as_str(),
        memory(1 << 30),
    );
    means("egress = [one.example]\negress += two.example", one_and_two());
    means("egress = [one.example]\negress = ${configuration.StockadePolicy.egress} [two.example]", one_and_two());
    means("egress = [one.example] [two.example]", one_and_two());
    means("egress = [\none.example\ntwo.example,\n]", one_and_two());
    means(
        "limits { memory = 1GiB }\nlimits { cpus = 1 }\nlimits.pids = 7",
        Parts { limits: vec![(Limit::Memory, 1 << 30), (Limit::Processes, 7), (Limit::Cpus, 100)], ..parts() },
    );
    let braced = format!("{{{}}}", file("name = team"));
    assert_eq!(parse_policy(&braced), Ok(Policy::from_parts(parts()).unwrap()));
    let json = r#"{"name": "a", "version": "1.0", "type": "stockade.policy", "configuration": {"StockadePolicy": {"name": "team"}}}"#;
    assert_eq!(parse_policy(json), Ok(Policy::from_parts(parts()).unwrap()));
    let dotted = "name = a, version = 1.0, type = stockade.policy\nconfiguration.StockadePolicy.name = team";
    assert_eq!(parse_policy(dotted), Ok(Policy::from_parts(parts()).unwrap()));
}

#[test]
fn what_is_not_understood_names_its_place_and_what_was_meant() {
    for (inner, why, next) in [
        (
            "name = team\n  egres = []",
            "line 6, column 3: there is no key `egres` in `StockadePolicy`",
            "did you mean `egress`? There are name, languages, limits, egress, require, environments, trust, dataSources, engineSharing",
        ),
        (
            "name = team\nlimits { memroy = 1GiB }",
            "line 6, column 10: there is no key `memroy` in `limits`",
            "did you mean `memory`? There are wallTime, cpuTime, memory, pids, openFiles, scratch, scratchFiles, fileSize, output, outputFiles, outputDepth, streams, cpus",
        ),
        (
            "name = team\nlanguages = [python,\n  pyton]",
            "line 7, column 3: there is no language `pyton`",
            "did you mean `python`? There are python, r, sql, program",
        ),
        (
            "name = team\negress = [{ host = a.example, methdos = [GET] }]",
            "line 6, column 31: there is no key `methdos` in a grant",
            "did you mean `methods`? There are host, port, ports, protocol, methods, paths, inspect, deny, requiresTrust",
        ),
        (
            "name = team\nlimits.memory = [1]",
            "line 6, column 1: `memory` is a list, where an amount such as 600s, 4GiB or 512 is expected",
            "write an amount such as 600s, 4GiB or 512",
        ),
        (
            "name = team\nlimits.memory = 4 parsecs",
            "line 6, column 1: `4 parsecs`: memory takes a size such as 512MiB or 2GiB",
            "write another value",
        ),
        ("languages = [python]", "line 4, column 17: `StockadePolicy` has no key `name`", "add `name = …`"),
        (
            "name = offline",
            "line 4, column 17: `offline` is the name of a policy that ships with Stockade",
            "give it a name of its own",
        ),
    ] {
        assert_eq!(said(&file(inner)), (why.to_owned(), next.to_owned()), "{inner}");
    }
    for (inner, why) in [
        ("name = 7", "line 5, column 1: `name` is a number, where a text is expected"),
        ("name = null", "line 5, column 1: `name` is null, where a text is expected"),
        (
            "name = team\nlanguages = python",
            "line 6, column 1: `languages` is a text, where a list of languages such as [\"python\", \"sql\"] is expected",
        ),
        ("name = team\nlanguages = []", "line 4, column 17: it permits no language"),
        ("name = team\nlanguages = [r, r]", "line 6, column 17: `r` is in the list twice"),
        ("name = team\nrequire = [castle]", "line 6, column 12: there is no layer `castle`"),
        ("name = team\negress = everything", "line 6, column 1: there is no egress `everything`"),
        ("name = team\negress = [deny:a.example]", "line 4, column 17: it denies what it never granted"),
        (
            "name = team\negress = [a.example, 7]",
            "line 6, column 22: `egress` is a number, where a grant such as \"api.example.com:443\", or an object with `host` is expected",
        ),
        (
            "name = team\negress = [\"a..example\"]",
            "line 6, column 11: `a..example` is no network grant: the host is not a valid name",
        ),
        ("name = team\negress = [{ port = 443 }]", "line 6, column 13: a grant has no key `host`"),
        (
            "name = team\negress = [{ host = a.example, port = 0 }]",
            "line 6, column 31: `0`: this is not a port from 1 to 65535",
        ),
        (
            "name = team\negress = [{ host = a.example, methods = [] }]",
            "line 6, column 31: the list is empty, which reads as nothing and would mean everything",
        ),
        (
            "name = team\negress = [{ host = a.example, inspect = \"true\" }]",
            "line 6, column 31: `inspect` is a text, where true or false is expected",
        ),
        (
            "name = team\nlimits.pids = 99999999",
            "line 4, column 17: limit `processes` of 99999999 is more than any run may have (1048576)",
        ),
        ("name = team\nlimits.pids = 0", "line 6, column 1: `0`: processes takes a whole number above zero"),
        ("name = \"a b\"", "line 4, column 17: a policy's name has letters, digits, `-`, `_` and `.`, at most 64"),
    ] {
        refuses(inner, why);
    }
}

#[test]
fn what_is_kept_for_trusted_libraries_is_understood() {
    let kept = |required_for: &[Sensitive], grants: &[&str]| Trust {
        required_for: required_for.to_vec(),
        grants: grants.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let all = [Sensitive::DataSources, Sensitive::Secrets, Sensitive::Egress, Sensitive::WritableShares];
    means(
        "trust { requiredFor = [dataSources, secrets, egress, writableShares] }",
        Parts { trust: kept(&all, &[]), ..parts() },
    );
    // Saying that nothing is kept must be written.
    means("trust.requiredFor = []", Parts { trust: kept(&[], &[]), ..parts() });
    means(
        "egress = [a.example, { host = b.example, requiresTrust = true }, { host = c.example, requiresTrust = false }]",
        Parts {
            reach: grants(&["a.example", "b.example", "c.example"]),
            trust: kept(&Sensitive::USUAL, &["b.example"]),
            ..parts()
        },
    );
    for (inner, why) in [
        ("trust = {}", "line 6, column 1: `trust` has no key `requiredFor`"),
        ("trust = [secrets]", "line 6, column 1: `trust` is a list, where an object in braces is expected"),
        ("trust.requiredFor = [egres]", "line 6, column 22: there is no kind `egres`"),
        ("trust.requiredFor = [secrets, secrets]", "line 6, column 31: `secrets` is in the list twice"),
        (
            "egress = [a.example, { host = b.a.example, deny = true, requiresTrust = true }]",
            "line 6, column 57: a denial holds for every run, whatever its libraries",
        ),
        (
            "egress = [{ host = b.example, requiresTrust = 1 }]",
            "line 6, column 31: `requiresTrust` is a number, where true or false is expected",
        ),
    ] {
        refuses(&format!("name = team\n{inner}"), why);
    }
}

#[test]
fn keys_of_what_is_not_there_yet_are_never_passed_over() {
    for (key, value) in
        [("environments", "{ allow = [\"approved/*\"] }"), ("dataSources", "[]"), ("engineSharing", "session")]
    {
        refuses(&format!("name = team\n{key} = {value}"), &format!("line 6, column 1: `{key}` is not supported yet"));
    }
}

#[test]
fn a_file_is_of_its_type_and_has_one_policy() {
    for (text, why) in [
        ("", "line 1, column 1: the file has no key `type`"),
        ("[1]", "`1`"),
        ("type = stockade.security", "line 1, column 1: there is no type `stockade.security`"),
        ("type = stockade.policy, name = a, version = 1", "line 1, column 46: the file has no key `configuration`"),
        (
            "type = stockade.policy, name = a, version = 1, configuration {}",
            "line 1, column 48: `configuration` has no key `StockadePolicy`",
        ),
        ("\"a\\nb\\\\\\\"\" = 1", "line 1, column 1: there is no key `a\\nb\\\"` in the file"),
        ("\"type.x\" = 1", "line 1, column 1: there is no key `type.x` in the file"),
        ("\"\" = 1", "line 1, column 1: there is no key `` in the file"),
        ("type = stockade.policy, nmae = a", "line 1, column 25: there is no key `nmae` in the file"),
    ] {
        let found = said(text).0;
        assert!(found == why || text == "[1]", "{text}: {found}");
    }
    let two = file("name = team").replace("} }", "}\nStockadePolicy { name = other, egress = [a.example] } }");
    assert_eq!(
        said(&two).0,
        "line 7, column 1: `configuration.StockadePolicy` is given twice, first in line 4, column 17"
    );
}

#[test]
fn nothing_is_replaced_or_dropped_unseen() {
    for (inner, why) in [
        (
            "name = team\negress = []\negress = [a.example]",
            "line 7, column 1: `configuration.StockadePolicy.egress` is given twice, first in line 6, column 1",
        ),
        (
            "name = team\nlimits { memory = 1GiB }\nlimits.memory = 9GiB",
            "line 7, column 1: `configuration.StockadePolicy.limits.memory` is given twice, first in line 6, column 10",
        ),
        (
            "name = team\nlimits { memory = 1GiB }\nlimits = 1",
            "line 7, column 1: `configuration.StockadePolicy.limits` is given twice, first in line 6, column 1",
        ),
        (
            "name = team\nlimits = { memory = 1GiB } { memory = 2GiB }",
            "line 6, column 30: `configuration.StockadePolicy.limits.memory` is given twice, first in line 6, column 12",
        ),
        ("name = team } }\n} configuration { StockadePolicy { egress = []", "line 6, column 1: `}` has no other half"),
        ("name = team } } }\n{ { { egress = []", "line 5, column 17: `}` has no other half"),
        ("name = team, languages = [python }", "line 5, column 34: `}` has no other half"),
        ("name = team, limits {", "line 4, column 15: `{` has no other half"),
        ("name = team, egress = \"\"\"", "line 5, column 23: unterminated triple-quoted string"),
    ] {
        refuses(inner, why);
    }
}

#[test]
fn nothing_but_the_text_is_read() {
    for include in [
        "include \"other.conf\"",
        "include file(\"/etc/passwd\")",
        "include required(\"other.conf\")",
        "limits { include \"x\" }",
    ] {
        let (why, _) = said(&file(&format!("name = team\n{include}")));
        assert!(why.ends_with("other files are not included"), "{why}");
    }
    let (why, next) = said(&file("name = ${HOME}"));
    assert!(why.starts_with("line 5, column 8: ") && why.ends_with("(`HOME`)"), "{why}");
    assert_eq!(next, "name a key of this file; variables are not seen");
    let (why, _) = said(&file("name = ${?HOME}"));
    assert_eq!(why, "line 4, column 17: `StockadePolicy` has no key `name`");
}

/// Texts that are small and would not stay so, or deep.
#[test]
fn what_a_text_may_cost_is_bounded() {
    let doubling: String = (1..40).map(|n| format!("a{n} = ${{a{}}}${{a{}}}\n", n - 1, n - 1)).collect();
    let nesting: String = (1..40).map(|n| format!("a{n} = [${{a{}}},${{a{}}}]\n", n - 1, n - 1)).collect();
    let appending = "a += ${a}\n".repeat(40);
    for (text, why) in [
        ("a = \"".to_owned() + &"x".repeat(BYTES_MAX) + "\"", "it is larger than 64 KiB"),
        ("a0 = x\n".to_owned() + &doubling, "its substitutions could make it too large"),
        ("a0 = x\n".to_owned() + &nesting, "its substitutions could make it too large"),
        ("a = [x]\n".to_owned() + &appending, "its substitutions could make it too large"),
        ("a = ".to_owned() + &"[".repeat(33) + &"]".repeat(33), "it is nested deeper than 32 levels"),
        ("a = ".to_owned() + &"{a = ".repeat(33) + "1" + &"}".repeat(33), "it is nested deeper than 32 levels"),
        ("a.".repeat(20_000) + "a = 1", "it is nested deeper than 32 levels"),
        ("\"\".".repeat(20_000) + "a = 1", "it is nested deeper than 32 levels"),
        ("b = ${".to_owned() + &"a.".repeat(20_000) + "a}", "it is nested deeper than 32 levels"),
    ] {
        let (found, _) = said(&text);
        assert!(found.ends_with(why), "{found}");
    }
    assert!(said(&"[".repeat(BYTES_MAX)).0.contains("has no other half"));
    for (text, times) in [
        ("a.b.c.d.e.f.g = 1\n".to_owned(), 3_000),
        ("a += [1,1,1,1]\n".to_owned(), 64),
        ("a += [1,1,1,1]\n".to_owned(), 4_000),
        ("a { b = 1 }\n".to_owned(), 1),
        ("x".to_owned(), 60_000),
        ("a b ".to_owned(), 15_000),
        ("\\".to_owned(), 60_000),
        ("é\u{2028}".to_owned(), 10_000),
    ] {
        let begun = Instant::now();
        drop(parse_policy(&text.repeat(times)));
        assert!(begun.elapsed() < Duration::from_secs(20), "{text} {times} times: {:?}", begun.elapsed());
    }
}

/// The worst that the guards let through.
#[test]
fn the_largest_growth_that_is_permitted_is_harmless() {
    let doubling: String = (1..=6).map(|n| format!("a{n} = [${{a{}}},${{a{}}}]\n", n - 1, n - 1)).collect();
    let appending = "a += ${a}\n".repeat(11);
    let chain: String = (1..=7)
        .map(|n| format!("a{n} = {{{}${{a{}}}{}}}\n", "x = {".repeat(28) + "x = ", n - 1, "}".repeat(28)))
        .collect();
    for text in [
        format!("a0 = \"{}\"\n{doubling}", "x".repeat(60_000)),
        format!("a = [{}]\n{appending}", "1,".repeat(30)),
        format!("a0 = x\n{chain}"),
    ] {
        let begun = Instant::now();
        let (why, _) = said(&text);
        assert!(why.contains("the file"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
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
            "}",
            "a",
            "b",
            "a.b",
            "${a}",
            "${?a}",
            "${a.b}",
            "${b}",
            "${a[]}",
            "a = ",
            "a += ",
            "a { ",
            "\\u12",
            "\\",
            "1",
            "-1",
            "1e999",
            "0.1",
            "007",
            "-",
            "+",
            "$",
            "?",
            "//",
            "#",
            "include ",
            "include \"x\"",
            "null",
            "true",
            "null ",
            "{}",
            "[]",
            "é",
            "\u{feff}",
            "\u{2028}",
            "\u{0}",
            "\"a\"",
            "name",
            "configuration",
            "StockadePolicy",
            "egress",
        ])
        .prop_map(ToOwned::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn no_text_stops_the_parser(text in pieces()) {
        drop(parse_policy(&text));
        drop(parse_policy(&file(&text)));
        drop(parse_policy(&file(&format!("name = team\negress = [{text}]"))));
    }
}

/// More with `PROPTEST_CASES`.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_000)
}
