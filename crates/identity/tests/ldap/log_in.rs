//! Users and their passwords.

use std::time::Instant;

use stockade_config::security::{LdapServer, Secret};
use stockade_identity::entry::{Outside, Proof};
use stockade_identity::ldap::{Found, LdapRefusal, Limits, Trouble};
use stockade_identity::local::BadPassword;

use super::fake::Listener;
use super::*;

#[tokio::test]
async fn who_has_the_password_gets_in_as_whom_the_directory_knows() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", &member_of(&["Analysts"]))) else { return };
    let ada = Found { user: "ada".to_owned(), dn: format!("uid=ada,{ROOT}"), groups: vec!["Analysts".to_owned()] };
    let directory = of(&slapd);
    assert_eq!(directory.log_in("ada", password("of ada")).await.unwrap(), ada);
    // Another spelling is no other principal.
    assert_eq!(directory.log_in(" ADA ", password("of ada")).await.unwrap(), ada);
    assert_eq!(directory.find("Ada").await.unwrap(), ada);
}

#[tokio::test]
async fn a_wrong_password_and_a_user_who_is_not_there_are_the_same_no_outside() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    let next = Listener::silent();
    let directory = directory(&slapd, vec![ldaps(slapd.tls_port()), plaintext(next.port())]);
    let wrong = directory.log_in("ada", password("of bob")).await.unwrap_err();
    assert_eq!(wrong, LdapRefusal::Wrong { code: 49 });
    let unknown = directory.log_in("bob", password("of bob")).await.unwrap_err();
    assert_eq!(unknown, LdapRefusal::Unknown);
    for refusal in [wrong, unknown] {
        assert_eq!((refusal.proof(), refusal.outside()), (Proof::Wrong, Outside::No));
        assert!(!refusal.why().is_empty() && !refusal.next().is_empty());
    }
    // Each was an answer.
    assert_eq!(next.connections(), 0);
}

#[tokio::test]
async fn a_password_that_directories_take_for_a_yes_is_not_said_to_any() {
    assert_eq!(Password::new(String::new()).unwrap_err(), BadPassword::Empty);
    let Some(slapd) = Slapd::with("") else { return };
    let listener = Listener::silent();
    let directory = directory(&slapd, vec![plaintext(listener.port())]);
    for text in ["\0", "of ada\0"] {
        assert_eq!(directory.log_in("ada", password(text)).await.unwrap_err(), LdapRefusal::BadPassword);
    }
    assert_eq!(listener.connections(), 0);
}

#[tokio::test]
async fn names_made_of_what_filters_are_made_of_are_names() {
    const WEIRD: &str = "we*ird(1)\\x";
    const UNICODE: &str = "größe 🦀";
    let entries = person("uid=ada", "ada", "") + &person("cn=weird", WEIRD, "") + &person("cn=unicode", UNICODE, "");
    let Some(slapd) = Slapd::with(&entries) else { return };
    let directory = of(&slapd);
    for name in [WEIRD, UNICODE] {
        assert_eq!(directory.log_in(name, password(&format!("of {name}"))).await.unwrap().user, name);
    }
    let long = "a".repeat(257);
    for name in [
        "*",
        "a*",
        "ad?",
        "ada)(uid=*",
        "*)(|(uid=*",
        "ada)(",
        "\\61da",
        "\\",
        "(",
        "ada\0",
        "\0",
        "",
        "ada\0)(uid=*",
        "ada,dc=acme",
        "adä",
        &long,
    ] {
        assert_eq!(directory.log_in(name, password("of ada")).await.unwrap_err(), LdapRefusal::Unknown, "{name:?}");
        assert_eq!(directory.find(name).await.unwrap_err(), LdapRefusal::Unknown, "{name:?}");
    }
}

#[tokio::test]
async fn one_name_is_one_entry_or_none() {
    let entries = person("cn=one", "ada", "") + &person("cn=two", "ada", "");
    let three = entries.clone() + &person("cn=three", "ada", "");
    for entries in [entries, three] {
        let Some(slapd) = Slapd::with(&entries) else { return };
        assert_eq!(of(&slapd).log_in("ada", password("of ada")).await.unwrap_err(), LdapRefusal::Several);
        assert_eq!(of(&slapd).find("ada").await.unwrap_err(), LdapRefusal::Several);
    }
}

#[tokio::test]
async fn an_entry_of_several_names_is_the_principal_of_the_one_that_was_said() {
    let entries = person("cn=one", "ada", "uid: lovelace\n") + &person("cn=two", "bob\u{202e}", "");
    let Some(slapd) = Slapd::with(&entries) else { return };
    assert_eq!(of(&slapd).log_in("Lovelace", password("of ada")).await.unwrap().user, "lovelace");
    let entry = format!("cn=two,{ROOT}");
    let name = "bob\u{202e}";
    let refused = of(&slapd).log_in(name, password(&format!("of {name}"))).await.unwrap_err();
    assert_eq!(refused, LdapRefusal::Nameless { entry });
}

#[tokio::test]
async fn an_entry_that_the_directory_locked_stays_out() {
    let locked = person("uid=ada", "ada", "pwdAccountLockedTime: 000001010000Z\n");
    let Some(slapd) = Slapd::with(&(locked + &person("uid=bob", "bob", ""))) else { return };
    let directory = of(&slapd);
    let refused = async |user: &str, text: &str| directory.log_in(user, password(text)).await.unwrap_err();
    assert_eq!(refused("ada", "of ada").await, LdapRefusal::Wrong { code: 49 });
    assert_eq!(directory.log_in("bob", password("of bob")).await.unwrap().user, "bob");
    for _ in 0..5 {
        refused("bob", "wrong").await;
    }
    // The directory counts as well.
    assert_eq!(refused("bob", "of bob").await, LdapRefusal::Wrong { code: 49 });
}

#[tokio::test]
async fn a_no_takes_the_same_time_whoever_is_there() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    let limits = Limits { refusal: Duration::from_millis(900), ..limits() };
    let directory = believing(&slapd.authority(), None, vec![ldaps(slapd.tls_port())], limits);
    for user in ["ada", "bob", "", "*"] {
        let begun = Instant::now();
        directory.log_in(user, password("wrong")).await.unwrap_err();
        assert!(begun.elapsed() >= limits.refusal, "{user}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_system_principal_that_is_refused_is_no_answer() {
    let Some(slapd) = Slapd::with(&person("uid=ada", "ada", "")) else { return };
    let right = ldaps(slapd.tls_port());
    let wrong = LdapServer { system_password: Some(Secret::Clear("wrong".to_owned())), ..right.clone() };
    let alone = directory(&slapd, vec![wrong.clone()]);
    assert_eq!(trouble(alone.log_in("ada", password("of ada")).await), Trouble::SystemPrincipal(49));
    assert!(directory(&slapd, vec![wrong, right.clone()]).log_in("ada", password("of ada")).await.is_ok());
    // Nobody may look for users without a name here.
    let anonymous = LdapServer { system_principal: None, system_password: None, ..right.clone() };
    assert_eq!(trouble(directory(&slapd, vec![anonymous]).find("ada").await), Trouble::Search(32));
    let nowhere = LdapServer { principal_root: format!("ou=nowhere,{ROOT}"), ..right };
    assert_eq!(trouble(directory(&slapd, vec![nowhere]).find("ada").await), Trouble::Search(32));
}
