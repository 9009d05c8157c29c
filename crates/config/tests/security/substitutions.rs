//! Variables in quoted strings, and where their values come from.

use stockade_config::security::substitutions::{BadVariable, FILE_BYTES_MAX};
use stockade_config::security::{Root, Secret, Substitutions, parse};

use super::{file, refused};

fn given(pairs: &[(&str, &str)]) -> Substitutions {
    let mut all = Substitutions::none();
    for (name, value) in pairs {
        all.add(name, value).unwrap();
    }
    all
}

/// The hosts of a file.
fn hosts(list: &str, with: &Substitutions) -> Result<Vec<String>, String> {
    let object = parse(&file(&format!("TrustedHosts {{ hosts = {list} }}")), with).map_err(|bad| bad.to_string())?;
    let Some(Root::TrustedHosts(hosts)) = object.roots.into_iter().next() else { panic!() };
    Ok(hosts.hosts.into_iter().map(|entry| entry.written).collect())
}

#[test]
fn a_variable_is_filled_in_quoted_strings_only() {
    let with = given(&[("HOST", "db"), ("A.b-C_1", "x"), ("$", "dollar")]);
    for (list, expected) in [
        (r#"["${HOST}"]"#, "db"),
        (r#"["a-${HOST}.${A.b-C_1}.com"]"#, "a-db.x.com"),
        (r#"["${HOST:-other}"]"#, "db"),
        (r#"["${NONE:-other}"]"#, "other"),
        (r#"["a${NONE:-}b"]"#, "ab"),
        (r#"["${NONE:-a:-b}"]"#, ""),
        (r#"["${$}"]"#, "dollar"),
        (r#"["""${HOST}"""]"#, "db"),
        (r#"["${HOST}"${?no}".acme.com"]"#, "db.acme.com"),
    ] {
        let found = hosts(list, &with);
        if expected.is_empty() {
            assert!(found.is_err_and(|why| why.contains("`a:-b` is no trusted host")), "{list}");
        } else {
            assert_eq!(found, Ok(vec![expected.to_owned()]), "{list}");
        }
    }
    // Outside of quotes it is HOCON's own, and that sees no variables.
    let why = hosts("[${HOST}]", &with).unwrap_err();
    assert!(why.contains("(`HOST`)"), "{why}");
}

#[test]
fn what_is_put_in_stays_text() {
    for value in ["a\"], x = [\"b", "a, b", "${OTHER}", "${OTHER:-x}", "include \"/etc/passwd\"", "a // b", "\\u0041"] {
        let with = given(&[("V", value), ("OTHER", "never")]);
        let text =
            file("LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, password = \"${V}\" }] }");
        let object = parse(&text, &with).unwrap();
        let Some(Root::Local(realm)) = object.roots.first() else { panic!() };
        assert_eq!(realm.initial[0].password, Some(Secret::Clear(value.to_owned())));
    }
    // A hash, a file or a variable may be what is put in.
    let with = given(&[("V", "env:HOME")]);
    let text =
        file("LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, password = \"${V}\" }] }");
    let object = parse(&text, &with).unwrap();
    let Some(Root::Local(realm)) = object.roots.first() else { panic!() };
    assert_eq!(realm.initial[0].password, Some(Secret::Variable("HOME".to_owned())));
}

#[test]
fn numbers_and_flags_may_be_variables() {
    let text = file(
        r#"LDAPAuthenticationRealm { name = d, requirePassword = "${PW:-true}", servers = [{
            host = "${LDAP_HOST}", portNumber = "${PORT:-1636}", principalRoot = "dc=${DC}", userAttribute = uid, roleAttribute = cn }] }"#,
    );
    let object = parse(&text, &given(&[("LDAP_HOST", "ldap"), ("DC", "acme")])).unwrap();
    let Some(Root::Ldap(realm)) = object.roots.first() else { panic!() };
    assert!(realm.admission.require_password);
    assert_eq!((realm.servers[0].port, realm.servers[0].principal_root.as_str()), (1636, "dc=acme"));
    let found = parse(&text, &given(&[("LDAP_HOST", "ldap"), ("DC", "acme"), ("PW", "yes")])).unwrap_err();
    assert!(found.to_string().contains("true or false is expected"), "{found}");
}

#[test]
fn what_cannot_be_filled_is_refused_at_its_place() {
    for (inner, why) in [
        (
            "TrustedHosts { hosts = [a,\n  \"${NONE}\"] }",
            "line 6, column 3: there is no variable `NONE`, and no default for it",
        ),
        ("TrustedHosts { hosts = [\"${HOST\"] }", "line 5, column 25: `${` in a quoted string has no `}`"),
        ("TrustedHosts { hosts = [\"${}\"] }", "line 5, column 25: `` is no name of a variable"),
        ("TrustedHosts { hosts = [\"${a b}\"] }", "line 5, column 25: `a b` is no name of a variable"),
        ("TrustedHosts { hosts = [\"${a:-${b}}\"] }", "line 5, column 25: the default of `a` has a variable in it"),
        ("TrustedHosts { hosts = [\"${a${b}}\"] }", "line 5, column 25: `a${b` is no name of a variable"),
        ("TrustedHosts { \"${a:-hosts}\" = [] }", "line 5, column 16: a key cannot have a variable in it"),
        ("\"${a:-TrustedHosts}\" { hosts = [] }", "line 5, column 1: a key cannot have a variable in it"),
    ] {
        let found = refused(&file(inner));
        assert_eq!(found.to_string(), why, "{inner}");
        assert!(!found.next().is_empty());
    }
    let found = refused(&file("x = \"${NONE}\""));
    assert!(found.next().contains("--substitutions") && found.next().contains("${NONE:-default}"));
}

#[test]
fn variables_cannot_make_a_file_grow_without_bound() {
    let with = given(&[("V", &"x".repeat(4_096))]);
    let list = vec!["\"${V}\""; 1_000].join(",");
    let found = parse(&file(&format!("x = [{list}]")), &with).unwrap_err();
    assert!(found.to_string().ends_with("its variables make it too large"), "{found}");
}

#[test]
fn a_dollar_and_a_brace_can_be_said() {
    let text = file(
        "LocalAuthenticationRealm { name = p, initialPrincipals = [{ userName = a, password = \"a${:-$}{b}\" }] }",
    );
    let object = parse(&text, &Substitutions::none()).unwrap();
    let Some(Root::Local(realm)) = object.roots.first() else { panic!() };
    assert_eq!(realm.initial[0].password, Some(Secret::Clear("a${b}".to_owned())));
    let with = given(&[]);
    assert_eq!(with.fill("${X:-member={1\\}}!"), Ok(Some("member={1}!".to_owned())));
    assert_eq!(with.fill("no $ variable }"), Ok(None));
}

#[test]
fn a_file_of_substitutions_is_read_line_by_line() {
    let text = "\u{feff}# a comment\n! another\n\n HOST = db.acme.com\r\nEMPTY=\nURL=http://a/?b=c#d\nP=a\\\\b{c\\}d}\n\tQ =\tx y \n";
    let all = Substitutions::parse_file(text).unwrap();
    let expected =
        given(&[("HOST", "db.acme.com"), ("EMPTY", ""), ("URL", "http://a/?b=c#d"), ("P", "a\\b{c}d}"), ("Q", "x y ")]);
    assert_eq!(all, expected);
    for (text, why) in [
        ("a=1\nnothing", "line 2, column 1: it is not NAME=value"),
        ("a:1", "line 1, column 1: it is not NAME=value"),
        ("a=1\n\na=2", "line 3, column 1: the variable `a` is given twice"),
        ("a b=1", "line 1, column 1: `a b` is no name of a variable"),
        ("=1", "line 1, column 1: `` is no name of a variable"),
        ("a=b\\nc", "line 1, column 1: the value of `a` has a backslash before something else than `\\` or `}`"),
        ("a=b\\", "line 1, column 1: the value of `a` has a backslash before something else than `\\` or `}`"),
        ("a=b\u{7}", "line 1, column 1: the value of `a` is longer than 4096 bytes or has control characters"),
    ] {
        let found = Substitutions::parse_file(text).unwrap_err();
        assert_eq!(found.to_string(), why);
        assert!(!found.next().is_empty());
    }
    assert!(Substitutions::parse_file(&"#\n".repeat(FILE_BYTES_MAX)).is_err());
    let many: String = (0..1_001).map(|number| format!("v{number}=1\n")).collect();
    assert!(Substitutions::parse_file(&many).unwrap_err().to_string().contains("more than 1000"));
}

#[test]
fn the_command_line_comes_before_the_file_and_values_are_not_shown() {
    let mut line = Substitutions::none();
    line.add_pair("A=line=x").unwrap();
    assert_eq!(line.add_pair("A=again"), Err(BadVariable::Twice("A".to_owned())));
    assert_eq!(line.add_pair("B"), Err(BadVariable::NoPair));
    let file = Substitutions::parse_file("A=file\nB=hunter2").unwrap();
    let both = line.before(file);
    assert_eq!(both, given(&[("A", "line=x"), ("B", "hunter2")]));
    assert_eq!(format!("{both:?}"), r#"{"A", "B"}"#);
}
