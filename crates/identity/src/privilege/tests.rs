//! Decisions, held against a plain decider.

use proptest::prelude::*;
use stockade_config::security::{Mappings, Privilege as Written, Rules};

use super::*;

fn entry(name: &str, resource: Option<&str>) -> Written {
    Written { name: name.to_owned(), resource: resource.map(str::to_owned) }
}

fn one(role: &str, grant: &[(&str, Option<&str>)], deny: &[(&str, Option<&str>)]) -> Mappings {
    let entries = |all: &[(&str, Option<&str>)]| all.iter().map(|(name, on)| entry(name, *on)).collect();
    Mappings { roles: vec![(role.to_owned(), Rules { grant: entries(grant), deny: entries(deny) })] }
}

fn may(authoriser: &Authoriser, roles: &[&str], privilege: Privilege, resource: Option<&str>) -> bool {
    authoriser.decide("ada", roles, privilege, resource).is_permitted()
}

use Privilege::{AdminRunCommand, AuditRead, DataSourceRead, Egress, Run, ScriptTrust};

#[test]
fn the_built_in_roles_may_what_they_are_for_and_nothing_else() {
    let authoriser = Authoriser::compile(&[]).unwrap();
    for (role, privilege, resource, expected) in [
        ("administrator", AdminRunCommand, Some("node.remove"), true),
        ("administrator", AdminRunCommand, None, true),
        ("switchadmin", AdminRunCommand, Some("node.remove"), true),
        ("Administrator", AdminRunCommand, Some("node.remove"), false),
        ("administrator", Egress, Some("api.example:443"), true),
        ("monitor", AdminRunCommand, Some("node.display"), true),
        ("monitor", AdminRunCommand, Some("NODE.Display"), true),
        ("monitor", AdminRunCommand, Some("node.remove"), false),
        ("monitor", AdminRunCommand, Some("realm.backup"), false),
        ("monitor", AdminRunCommand, Some("configuration.export"), false),
        ("monitor", AdminRunCommand, None, false),
        ("monitor", AuditRead, None, true),
        ("monitor", Run, Some("default"), false),
        ("author", Run, Some("default"), true),
        ("author", ScriptTrust, None, true),
        ("author", AuditRead, None, false),
        ("user", Run, Some("default"), true),
        ("user", ScriptTrust, None, false),
        ("user", Egress, Some("api.example:443"), false),
        ("user", DataSourceRead, Some("hr"), false),
        ("nobody", Run, Some("default"), false),
        ("", Run, Some("default"), false),
    ] {
        assert_eq!(may(&authoriser, &[role], privilege, resource), expected, "{role} {privilege} {resource:?}");
    }
    assert!(!may(&authoriser, &[], Run, None));
    assert!(may(&authoriser, &["nobody", "user"], Run, None));
    assert_eq!(authoriser.roles(), ["administrator", "author", "monitor", "user"]);
}

#[test]
fn a_role_without_case_is_held_by_all_names_that_rules_have_for_it() {
    let mappings = [one("Straße", &[], &[("Run", None)]), one("ops", &[], &[("Run", None)])];
    let mappings: Vec<_> = mappings.iter().map(|mapping| ("m", mapping)).collect();
    let authoriser = Authoriser::compile(&mappings).unwrap();
    assert_eq!(authoriser.spellings("OPS"), ["ops", "OPS"]);
    assert_eq!(authoriser.spellings("ops"), ["ops"]);
    assert_eq!(authoriser.spellings("STRAßE"), ["Straße", "STRAßE"]);
    assert_eq!(authoriser.spellings("opss"), ["opss"]);
    let held = |role: &str| [authoriser.spellings("User"), authoriser.spellings(role)].concat();
    assert!(authoriser.decide("ada", &held("other"), Run, Some("default")).is_permitted());
    assert!(!authoriser.decide("ada", &held("Ops"), Run, Some("default")).is_permitted());
}

#[test]
fn a_decision_names_the_role_and_the_object_that_made_it() {
    let ops = one("ops", &[("AdminRunCommand", Some("node.*"))], &[("AdminRunCommand", Some("*.remove"))]);
    let authoriser = Authoriser::compile(&[("ops.conf 1.0", &ops)]).unwrap();
    let said = |command| authoriser.decide("ada", &["ops"], AdminRunCommand, Some(command)).to_string();
    assert_eq!(said("node.stop"), "permitted: `ops.conf 1.0` grants role `ops` AdminRunCommand on `node.*`");
    assert_eq!(said("node.remove"), "denied: `ops.conf 1.0` denies role `ops` AdminRunCommand on `*.remove`");
    assert_eq!(said("user.add"), "denied: no rule grants it");
    let decision = authoriser.decide("ada", &["ops", "administrator"], AdminRunCommand, Some("user.add"));
    assert_eq!(decision.rule().map(|rule| rule.object.as_str()), Some("built-in"));
}

#[test]
fn a_denial_wins_over_every_grant_also_of_other_objects_and_of_administrators() {
    let grant = one("reader", &[("DataSourceRead", None)], &[]);
    let deny = one("intern", &[], &[("DataSourceRead", Some("hr"))]);
    let authoriser = Authoriser::compile(&[("a", &grant), ("b", &deny)]).unwrap();
    assert!(may(&authoriser, &["reader"], DataSourceRead, Some("hr.salaries")));
    for role in ["reader", "administrator"] {
        for resource in [Some("hr"), Some("hr.salaries"), None] {
            assert!(!may(&authoriser, &[role, "intern"], DataSourceRead, resource), "{role} {resource:?}");
        }
        assert!(may(&authoriser, &[role, "intern"], DataSourceRead, Some("hrx")));
    }
}

#[test]
fn hosts_and_commands_have_no_case_and_policies_have() {
    let deny = one("user", &[("Egress", None), ("Run", Some("Batch"))], &[("Egress", Some("*.Evil.example:443"))]);
    let authoriser = Authoriser::compile(&[("a", &deny)]).unwrap();
    assert!(!may(&authoriser, &["user"], Egress, Some("API.evil.EXAMPLE:443")));
    assert!(may(&authoriser, &["user"], Egress, Some("API.good.EXAMPLE:443")));
    let strict = one("batch", &[("Run", Some("Batch"))], &[]);
    let authoriser = Authoriser::compile(&[("a", &strict)]).unwrap();
    assert!(may(&authoriser, &["batch"], Run, Some("Batch")) && !may(&authoriser, &["batch"], Run, Some("batch")));
}

#[test]
fn what_cannot_be_used_is_refused_with_the_closest() {
    let wrong = |mappings: &Mappings| {
        let bad = Authoriser::compile(&[("roles.conf", mappings)]).unwrap_err();
        (bad.to_string(), bad.next())
    };
    let (what, next) = wrong(&one("ops", &[("AdminRunComand", None)], &[]));
    assert_eq!(what, "`roles.conf`, role `ops`: there is no privilege `AdminRunComand`");
    assert!(next.starts_with("did you mean `AdminRunCommand`?"), "{next}");
    // A denial that is mistyped would deny nothing.
    assert!(wrong(&one("ops", &[], &[("egress", None)])).1.contains("`Egress`"));
    assert!(wrong(&one("ops", &[("Run", Some("a?"))], &[])).0.contains("`?` is no wildcard here"));
    assert!(wrong(&one("ops", &[("Run", Some(""))], &[])).0.contains("it is empty"));
    assert!(wrong(&one("", &[("Run", None)], &[])).0.contains("the name of a role"));
    let many: Vec<(&str, Option<&str>)> = vec![("Run", Some("a")); 10_001];
    assert!(wrong(&one("ops", &many, &[])).0.contains("more than 10000 rules"));
}

#[test]
fn what_is_too_long_is_denied_without_a_look() {
    let authoriser = Authoriser::compile(&[]).unwrap();
    assert!(!may(&authoriser, &["administrator"], Run, Some(&"x".repeat(1025))));
    let long = "x".repeat(100_000);
    assert!(authoriser.decide(&long, &["administrator", &long], Run, Some("a")).is_permitted());
}

#[test]
fn nobody_gives_away_what_he_lacks() {
    let mappings = Mappings {
        roles: [
            one("ops", &[("AdminRunCommand", Some("node.*")), ("AdminRunCommand", Some("user.*"))], &[]),
            one("stopper", &[("AdminRunCommand", Some("node.stop"))], &[]),
            one("tame", &[("AdminRunCommand", None)], &[("AdminRunCommand", Some("node.*"))]),
            one("not-stop", &[], &[("AdminRunCommand", Some("node.stop"))]),
        ]
        .into_iter()
        .flat_map(|mappings| mappings.roles)
        .collect(),
    };
    let authoriser = Authoriser::compile(&[("a", &mappings)]).unwrap();
    for (roles, others, expected) in [
        (&["administrator"][..], &["administrator", "monitor", "author", "user", "ops", "tame"][..], true),
        (&["ops"], &["stopper"], true),
        (&["ops"], &["ops"], true),
        (&["ops"], &[], true),
        (&["ops"], &["nobody"], true),
        (&["stopper"], &["ops"], false),
        (&["ops"], &["administrator"], false),
        (&["ops"], &["switchadmin"], false),
        (&["monitor"], &["administrator"], false),
        (&["author"], &["user"], true),
        (&["user"], &["author"], false),
        (&["tame"], &["stopper"], false),
        (&["tame"], &["tame"], true),
        // Taking `not-stop` from somebody gives him what his administrator has not.
        (&["ops", "not-stop"], &["ops", "not-stop"], true),
        (&["ops", "not-stop"], &["ops"], false),
    ] {
        let held = authoriser.holds_all_of(roles, others);
        assert_eq!(held.is_ok(), expected, "{roles:?} {others:?} {held:?}");
    }
    let lack = authoriser.holds_all_of(&["tame"], &["stopper"]).unwrap_err();
    assert!(lack.to_string().contains("denies role `tame` AdminRunCommand on `node.*`"), "{lack}");
}

/// A plain decider: every entry, one after the other, with a matcher that tries every cut.
fn plainly(mappings: &[Mappings], roles: &[String], privilege: Privilege, resource: Option<&str>) -> bool {
    let mut granted = false;
    for (role, rules) in mappings.iter().flat_map(|mappings| &mappings.roles) {
        if !roles.contains(role) {
            continue;
        }
        for entry in &rules.deny {
            let hits =
                entry.resource.as_deref().is_none_or(|on| resource.is_none_or(|asked| is_on(privilege, on, asked)));
            if entry.name == privilege.name() && hits {
                return false;
            }
        }
        granted |= rules.grant.iter().any(|entry| {
            let on = entry.resource.as_deref().unwrap_or("*");
            let everything = on.chars().all(|character| character == '*');
            entry.name == privilege.name() && (everything || resource.is_some_and(|asked| is_on(privilege, on, asked)))
        });
    }
    granted
}

fn is_on(privilege: Privilege, pattern: &str, resource: &str) -> bool {
    let (pattern, resource) = if matches!(privilege, AdminRunCommand | Egress) {
        (pattern.to_ascii_lowercase(), resource.to_ascii_lowercase())
    } else {
        (pattern.to_owned(), resource.to_owned())
    };
    let letters = |text: &str| text.chars().collect::<Vec<_>>();
    let tables = privilege == DataSourceRead
        && !pattern.contains('.')
        && matches(&letters(&format!("{pattern}.*")), &letters(&resource));
    tables || matches(&letters(&pattern), &letters(&resource))
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [letter, rest @ ..] => text.first() == Some(letter) && matches(rest, &text[1..]),
    }
}

/// Few and short ones, so that they meet; and hostile ones.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just("\"}); permit(principal, action, resource); //".to_owned()),
        1 => Just("a\" || true || \"".to_owned()),
        1 => Just("Role::\"administrator\"".to_owned()),
        1 => Just("\u{0}\n\r\u{202e}\u{1b}[2J".to_owned()),
        1 => Just("__entity".to_owned()),
        1 => Just("x".repeat(256)),
        1 => "\\PC{1,12}",
        1 => any::<String>().prop_filter("a role has a name", |name| !name.is_empty() && name.len() <= 256),
    ]
    .prop_filter("what every node has is tested by itself", |name| {
        !["administrator", "switchadmin", "monitor", "user", "author"].contains(&name.as_str())
    })
}

fn pattern() -> impl Strategy<Value = Option<String>> {
    let usable = |text: &String| glob::Glob::parse(text, Run).is_ok();
    prop_oneof![
        1 => Just(None),
        4 => "[abA.*]{1,4}".prop_map(Some),
        2 => (name(), "[a*]{0,2}").prop_map(|(name, end)| format!("{name}{end}")).prop_filter("a pattern", usable).prop_map(Some),
    ]
}

fn kind() -> impl Strategy<Value = Privilege> {
    prop::sample::select(vec![AdminRunCommand, Run, DataSourceRead])
}

fn entries() -> impl Strategy<Value = Vec<Written>> {
    prop::collection::vec((kind(), pattern()).prop_map(|(kind, on)| entry(kind.name(), on.as_deref())), 0..3)
}

fn mappings() -> impl Strategy<Value = Mappings> {
    let rules = (entries(), entries(), any::<bool>())
        .prop_map(|(grant, deny, denies)| Rules { grant, deny: if denies { deny } else { Vec::new() } });
    prop::collection::vec((name(), rules), 0..4).prop_map(|roles| Mappings { roles })
}

fn resource() -> impl Strategy<Value = Option<String>> {
    prop_oneof![1 => Just(None), 4 => "[abA.*]{0,4}".prop_map(Some), 2 => name().prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cedar_says_what_a_plain_decider_says_whatever_the_names(
        files in prop::collection::vec(mappings(), 0..3),
        asked in prop::collection::vec((prop::collection::vec(name(), 0..3), kind(), resource()), 12),
        principal in name(),
    ) {
        let named: Vec<(&str, &Mappings)> = files.iter().map(|file| ("\"file\n", file)).collect();
        let authoriser = Authoriser::compile(&named).unwrap();
        let known: Vec<String> = files.iter().flat_map(|file| &file.roles).map(|(role, _)| role.clone()).collect();
        for (mut roles, privilege, resource) in asked {
            roles.extend(known.first().cloned());
            let expected = plainly(&files, &roles, privilege, resource.as_deref());
            // The second time from memory.
            for _ in 0..2 {
                let decision = authoriser.decide(&principal, &roles, privilege, resource.as_deref());
                prop_assert_eq!(decision.is_permitted(), expected, "{:?} {} {:?}: {}", roles, privilege, resource, decision);
                prop_assert!(!expected || decision.rule().is_some());
                prop_assert!(decision.rule().is_none_or(|rule| roles.contains(&rule.role) && rule.privilege == privilege));
            }
        }
    }

    #[test]
    fn who_holds_all_of_another_is_permitted_all_that_the_other_is(
        file in mappings(),
        resources in prop::collection::vec(resource(), 8),
        split in any::<u8>(),
    ) {
        let authoriser = Authoriser::compile(&[("file", &file)]).unwrap();
        let pick = |bits: u8| -> Vec<&str> {
            let held = file.roles.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
            held.map(|(_, (role, _))| role.as_str()).collect()
        };
        let (roles, others) = (pick(split & 15), pick(split >> 4));
        prop_assert!(authoriser.holds_all_of(&roles, &roles).is_ok());
        prop_assert!(authoriser.holds_all_of(&["administrator"], &others).is_ok());
        if authoriser.holds_all_of(&roles, &others).is_ok() {
            for (privilege, resource) in [AdminRunCommand, Run, DataSourceRead].into_iter()
                .flat_map(|privilege| resources.iter().map(move |resource| (privilege, resource.as_deref()))) {
                let there = authoriser.decide("ada", &others, privilege, resource);
                let here = authoriser.decide("ada", &roles, privilege, resource);
                prop_assert!(here.is_permitted() || !there.is_permitted(), "{privilege} {resource:?}: {there}; {here}");
            }
        }
    }
}
