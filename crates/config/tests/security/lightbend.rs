//! What the specification of HOCON and the tests of its first implementation settle, as far as it can matter in a
//! file of ours. The cases are our own; `equiv01` and so on name the folder of theirs whose point a case makes.

use stockade_config::security::{Root, Secret, Substitutions, parse};
use stockade_config::{Refused, Wrong};

use super::{file, read};

/// Several ways of writing one object.
#[test]
fn equiv01_every_way_of_writing_means_the_same() {
    let json = r#"{ "name": "n", "version": "1", "type": "stockade.security", "configuration": {
        "LocalAuthenticationRealm": { "name": "people", "requirePassword": true, "initialPrincipals": [
            { "userName": "ann", "roles": ["user", "author"], "passwordExpirationDays": 42 },
            { "userName": "bob", "roles": [] } ] } } }"#;
    let object = read(json);
    for text in [
        // Comments of both kinds.
        "// one\n{ \"name\": \"n\", # two\n\"version\": \"1\", \"type\": \"stockade.security\" // three\n, \"configuration\": { \"LocalAuthenticationRealm\":\n# four\n{ \"name\": \"people\", \"requirePassword\": true, \"initialPrincipals\": [ // five\n{ \"userName\": \"ann\", \"roles\": [\"user\", \"author\"], \"passwordExpirationDays\": 42 }, { \"userName\": \"bob\", \"roles\": [] } ] } } } # six",
        // Equals signs, no commas, no braces at the root, no quotes, no colons before objects.
        "name = n\nversion = 1\ntype = stockade.security\nconfiguration {\nLocalAuthenticationRealm {\nname = people\nrequirePassword = true\ninitialPrincipals = [\n{ userName = ann\nroles = [\nuser\nauthor\n]\npasswordExpirationDays = 42 }\n{ userName = bob\nroles = [] }\n]\n}\n}",
        // One comma too many at the end of everything, and commas on lines of their own.
        "name = n, version = 1, type = stockade.security, configuration { LocalAuthenticationRealm { name = people\n,\nrequirePassword = true, initialPrincipals = [{ userName = ann, roles = [user, author,], passwordExpirationDays = 42, }, { userName = bob, roles = [], }, ], }, },",
        // Paths as keys, as in property files.
        "name=n\nversion=1\ntype=stockade.security\nconfiguration.LocalAuthenticationRealm.name=people\nconfiguration.LocalAuthenticationRealm.requirePassword=true\nconfiguration.LocalAuthenticationRealm.initialPrincipals=[{userName=ann,roles=[user,author],passwordExpirationDays=42},{userName=bob,roles=[]}]",
        // Objects that are given piece by piece.
        "name=n, version=1, type=stockade.security\nconfiguration { LocalAuthenticationRealm.name = people }\nconfiguration.LocalAuthenticationRealm.requirePassword = true\nconfiguration { LocalAuthenticationRealm.initialPrincipals = [{ userName = ann, roles = [user] [author], passwordExpirationDays = 42 }] [{ userName = bob, roles = [] }] }",
        // Substitutions, of texts, lists and numbers.
        "name=n, version=1, type=stockade.security\nconfiguration.LocalAuthenticationRealm { name = people, requirePassword = true, initialPrincipals = [{ userName = ann, roles = [user, author], passwordExpirationDays = 42 }] }\nconfiguration.LocalAuthenticationRealm.initialPrincipals = ${configuration.LocalAuthenticationRealm.initialPrincipals} [{ userName = bob, roles = [] }]",
        // `+=`.
        "name=n, version=1, type=stockade.security\nconfiguration.LocalAuthenticationRealm { name = people, requirePassword = true, initialPrincipals = [] }\nconfiguration.LocalAuthenticationRealm.initialPrincipals += { userName = ann, roles = [user, author], passwordExpirationDays = 42 }\nconfiguration.LocalAuthenticationRealm.initialPrincipals += { userName = bob, roles = [] }",
        // Escapes, also in keys, and a number with its digits.
        "\"na\\u006de\" : \"\\u006e\", version : \"1\", type : \"stockade.security\", configuration : { LocalAuthenticationRealm : { name : \"people\", requirePassword : true, initialPrincipals : [ { userName : \"ann\", roles : [ \"user\", \"author\" ], passwordExpirationDays : 42 }, { userName : \"bob\", roles : [] } ] } }",
    ] {
        assert_eq!(read(text), object, "{text}");
        // Lines of Windows, and blanks that are none of ASCII.
        assert_eq!(read(&text.replace('\n', "\r\n")), object, "{text}");
        assert_eq!(read(&text.replace("] [", "]\u{2003}[").replace(" = ", "\u{2003}=\u{a0}")), object, "{text}");
        assert_eq!(read(&format!("\u{feff}{text}")), object, "{text}");
    }
}

#[test]
fn equiv02_a_path_in_quotes_is_one_key() {
    let flat = |role: &str| file(&format!("RoleToPrivilegeMappings.privileges.{role} = [{{ privilege = Run }}]"));
    for (written, role) in
        [("a", "a"), ("\"a.b\"", "a.b"), ("\"a b\"", "a b"), ("a b", "a b"), ("\"-\"", "-"), ("3", "3")]
    {
        let object = read(&flat(written));
        let [Root::Mappings(mappings)] = object.roots.as_slice() else { panic!() };
        assert_eq!(mappings.roles[0].0, role, "{written}");
    }
}

#[test]
fn equiv03_no_form_of_include_reads_anything() {
    for include in [
        "include \"a\"",
        "include file(\"/etc/passwd\")",
        "include url(\"http://a/\")",
        "include classpath(\"a\")",
        "include required(file(\"a\"))",
        "include\n\"a\"",
    ] {
        for text in [include.to_owned(), file(include), file(&format!("TrustedHosts {{ {include} }}"))] {
            let wrong = parse(&text, &Substitutions::none()).unwrap_err();
            assert!(matches!(wrong.wrong(), Wrong::Include | Wrong::Syntax(_)), "{text}: {wrong}");
        }
    }
    // As a word it is nothing special.
    assert!(matches!(read(&file("TrustedHosts { hosts = [include] }")).roots.as_slice(), [Root::TrustedHosts(_)]));
}

#[test]
fn equiv04_an_optional_substitution_of_nothing_is_nothing() {
    let hosts = |inner: &str| read(&file(&format!("TrustedHosts {{ hosts = {inner} }}"))).roots;
    assert_eq!(hosts("[a, ${?nothing}, b]"), hosts("[a, b]"));
    assert_eq!(hosts("[a] ${?nothing}"), hosts("[a]"));
    assert_eq!(hosts("[a${?nothing}b]"), hosts("[ab]"));
    assert_eq!(hosts("[a], exclusive = ${?HOME}"), hosts("[a]"));
}

#[test]
fn equiv05_three_quotes_hold_everything() {
    let password = |written: &str| {
        let text = format!(
            "LocalAuthenticationRealm {{ name = p, initialPrincipals = [{{ userName = a, password = {written} }}] }}"
        );
        let object = read(&file(&text));
        let [Root::Local(realm)] = object.roots.as_slice() else { panic!() };
        match realm.initial[0].password.clone() {
            Some(Secret::Clear(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    for (written, text) in [
        (r#""""hello""""#, "hello"),
        (r#""""hello\nworld""""#, "hello\\nworld"),
        (r#"""" "hello" """"#, " \"hello\" "),
        (r#"""""hello"""""#, "\"hello\""),
        (r#""""hello"""""""#, "hello\"\"\""),
        (r#""""""""""#, "\"\""),
        (r#""""a""b""""#, "a\"\"b"),
        (r#""""a"""b"#, "ab"),
        (r#""a" "b""#, "a b"),
        ("a  b", "a  b"),
        ("null a 42 true 3.14 b", "null a 42 true 3.14 b"),
        (r#""a\"b\\c\/d\u0041""#, "a\"b\\c/dA"),
        ("\"#comment\"", "#comment"),
        (r#""//comment""#, "//comment"),
        ("a/b/c", "a/b/c"),
        ("10x", "10x"),
        ("truex", "truex"),
    ] {
        assert_eq!(password(written), text, "{written}");
    }
}

/// Whether the text is HOCON, and something else is wrong with it.
fn is_hocon(text: &str) -> bool {
    let wrong = parse(text, &Substitutions::none());
    let wrong = wrong.as_ref().map_err(Refused::wrong);
    !matches!(
        wrong,
        Err(Wrong::Syntax(_)
            | Wrong::Substitution(_)
            | Wrong::Unbalanced(_)
            | Wrong::SecondSeparator(_)
            | Wrong::Include
            | Wrong::Twice { .. }
            | Wrong::TooDeep)
    )
}

#[test]
fn what_is_hocon_is_read_and_what_is_not_is_refused() {
    for text in [
        "",
        " ",
        "\n",
        "# a",
        "# a\n// b",
        "{}",
        "{ } # a",
        "x : 1",
        "x = 1",
        "x { y : 1 }",
        "x y { z : 1 }",
        "x = a\ny = b",
        "x : a, y : b,",
        "x = [1,]",
        "x = [1\n,\n]",
        "x = [[[[[]]]]]",
        "x.y = a",
        "x.\"y z\".w = a",
        "x.y\n : a",
        "x \n = \n a",
        "true = a",
        "/a/b = 1",
        "x = ${?y}",
        "x = a ${?y} b",
        "y = 1, x = ${y}",
        "y = 1, x = ${ y }",
        "\"\" { \"\" { \"\" = 1 } }, x = ${\"\".\"\".\"\"}",
        "\"a.b\" = 1, x = ${\"a.b\"}",
        "a { b = 1 }, x = ${a.b}${a.b}",
        "x = ${y}, y = ${z}, z = 1",
        "x = { a = 1 } { b = 2 }",
        "x = [1] [2]",
        "x #c\n = 1",
        "x = //c\n 1",
        "x = [1 #c\n, 2]",
        "foo include = 1",
        "x = include",
        "x = .33",
        "x = -0.5e+3",
        "x = 1 milli",
    ] {
        assert!(is_hocon(text), "{text:?}: {:?}", parse(text, &Substitutions::none()));
    }
    for text in [
        "{",
        "}",
        "x = {",
        "x = [",
        "x = ]",
        "x = [}",
        "x = {]",
        "x = [1,,2]",
        "x = [,1]",
        "x = [1,2,,]",
        "{ , }",
        "{ ,, }",
        "{ , x = 1 }",
        "x = 1,,",
        "{ x = 1 ,, }",
        "{ 1,2 }",
        "{ x : }",
        "x = ",
        ": 1",
        "= 1",
        "x = 1 }",
        "x = 1 [",
        "{ x }",
        "x",
        "{ x = 1, true }",
        "{ x \n y : 1 }",
        "x = [ 1, \\",
        "x = [:\"a\"]",
        "x = \"a",
        "x = \"a\nb\"",
        "x = \"\"\"a\"\"",
        "{}x",
        "{}true",
        "x = [${]",
        "x = [$]",
        "x = ${}",
        "x = ${?}",
        "x = ${ ?y}",
        "x = ${x}",
        "x = ${y}, y = ${x}",
        "x = ${nothing}",
        "x = ${${y}}",
        "y = [1], x = a${y}b",
        "y { z = 1 }, x = a${y}b",
        "x = {} []",
        "x = [] a",
        "x = ${y..z}",
        "x = ${.y}",
        "x = ${y.}",
        ".x = 1",
        "x. = 1",
        "x..y = 1",
        "x = [=]",
        "x = +",
        "x = `",
        "x = ^",
        "x = ?",
        "x = !",
        "x = @",
        "x = *",
        "x = &",
        "x = \\",
        "x = \"\\x\"",
        "x = \"\\u12\"",
        "x = \"\\u12g4\"",
        "include x",
        "include \"a\" = 1",
        "a : y b : z",
        "\"a\" = \"y\" \"b\" = \"z\"",
        "a = y b = z",
        "a : y\nb : c d : e",
        "a = { b = c d : e }",
        "a = [{ b = c d : e }]",
        "a {} : b",
        "a = b\n : c",
        // What others let pass: a later value in the place of an earlier one.
        "a = 1, a = 2",
        "a { b = 1 }, a = 2",
        "a = 1, a { b = 1 }",
        "a { b = 1 }, a = null, a { c = 2 }",
        "a { b = 1 }, a { b = 2 }",
        "a.b = 1, a { b = 2 }",
    ] {
        assert!(!is_hocon(text), "{text:?}: {:?}", parse(text, &Substitutions::none()));
    }
}

#[test]
fn an_error_names_its_line() {
    for (text, line) in [
        ("}", 1),
        ("\n}", 2),
        ("\n\n}\n", 3),
        ("a = 1\n\nb = [\n", 3),
        ("a = 1\nb = \"x\n", 2),
        ("\n\na = ${x}", 3),
        ("a = 1\n\n\na = 2", 4),
    ] {
        let refused = parse(text, &Substitutions::none()).unwrap_err();
        assert_eq!(refused.place().map(|place| place.line), Some(line), "{text:?} {refused}");
    }
}

/// The parser of others takes a colon in a list as text, where the first HOCON refuses it: no reader takes such a text.
#[test]
fn a_colon_in_a_list_is_refused_by_who_reads_it() {
    let roles =
        "LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, roles = [\"a\" : \"b\"] }] }";
    super::refuses(roles, "`a : b` is no name of a role");
    super::refuses("TrustedHosts { hosts = [\"a\" : \"b\"] }", "`a : b` is no trusted host");
}
