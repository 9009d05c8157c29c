//! Roles by groups.

use super::*;

#[tokio::test]
async fn groups_of_groups_are_roles_and_loops_end() {
    let entries = person("uid=ada", "ada", &member_of(&["a", "b"]))
        + &group("a", &["c"])
        + &group("b", &["c", "gone"])
        + &group("c", &["d", "c"])
        + &group("d", &["a", "CN"]);
    let Some(slapd) = Slapd::with(&entries) else { return };
    let found = of(&slapd).log_in("ada", password("of ada")).await.unwrap();
    assert_eq!(found.groups, ["CN", "a", "b", "c", "d", "gone"]);
}

#[tokio::test]
async fn plain_values_are_roles_and_what_no_role_can_be_called_is_none() {
    let teams = "team: data science\nteam: R&D\nteam: a*b\nteam: x=y\n";
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", teams)) else { return };
    let server = LdapServer { role_attribute: "team".to_owned(), ..ldaps(slapd.tls_port()) };
    let directory = directory(&slapd, vec![server]);
    assert_eq!(directory.find("ada").await.unwrap().groups, ["R&D", "data science", "y"]);
}

#[tokio::test]
async fn groups_are_followed_to_their_bound_and_not_a_step_cut_short() {
    let chain = |depth: usize| {
        let mut entries = person("uid=ada", "ada", &member_of(&["g1"]));
        for place in 1..depth {
            entries += &group(&format!("g{place}"), &[&format!("g{}", place + 1)]);
        }
        entries + &group(&format!("g{depth}"), &[])
    };
    let Some(slapd) = Slapd::with(&chain(8)) else { return };
    assert_eq!(of(&slapd).find("ada").await.unwrap().groups.len(), 8);
    let Some(slapd) = Slapd::with(&chain(9)) else { return };
    let refused = of(&slapd).log_in("ada", password("of ada")).await.unwrap_err();
    assert_eq!(refused, LdapRefusal::TooDeepGroups { depth_max: 8 });
}

#[tokio::test]
async fn who_is_in_more_groups_than_are_followed_stays_out() {
    let numbered = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("group-{number}")).collect();
        member_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let entries = person("uid=ada", "ada", &numbered(256))
        + &person("uid=bob", "bob", &numbered(257))
        + &person("uid=eve", "eve", &numbered(10_000));
    let Some(slapd) = Slapd::with(&entries) else { return };
    let directory = of(&slapd);
    assert_eq!(directory.log_in("ada", password("of ada")).await.unwrap().groups.len(), 256);
    for user in ["bob", "eve"] {
        let refused = directory.log_in(user, password(&format!("of {user}"))).await.unwrap_err();
        assert_eq!(refused, LdapRefusal::TooManyGroups { groups_max: 256 });
        // Who has not the password does not learn how many.
        let wrong = directory.log_in(user, password("wrong")).await.unwrap_err();
        assert_eq!(wrong, LdapRefusal::Wrong { code: 49 });
    }
}
