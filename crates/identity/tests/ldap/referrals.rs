//! Directories that are elsewhere.

use super::fake::Listener;
use super::*;

/// `ou=elsewhere` is at `port`, and `ou=circle` where one came from.
fn referring(port: u16) -> String {
    let referral = |name: &str, to: &str| {
        format!("dn: ou={name},{ROOT}\nobjectClass: referral\nobjectClass: extensibleObject\nou: {name}\nref: {to}\n\n")
    };
    let elsewhere = format!("ldap://127.0.0.1:{port}/ou=elsewhere,{ROOT}");
    referral("elsewhere", &elsewhere) + &referral("circle", &format!("ldap:///ou=circle,{ROOT}"))
}

#[tokio::test]
async fn no_referral_is_followed_so_a_circle_of_them_ends_at_once() {
    let other = Listener::silent();
    let group = format!("memberOf: cn=admins,ou=elsewhere,{ROOT}\n");
    let entries = referring(other.port()) + &person("uid=ada", "ada", "") + &person("uid=bob", "bob", &group);
    let Some(slapd) = Slapd::with(&entries) else { return };
    let referred = |what: &str| LdapRefusal::Referred { what: what.to_owned() };
    let all = of(&slapd);
    // Who is here is found beside it.
    assert_eq!(all.log_in("ada", password("of ada")).await.unwrap().user, "ada");
    assert_eq!(all.log_in("eve", password("of eve")).await.unwrap_err(), referred("the user"));
    assert_eq!(all.log_in("bob", password("of bob")).await.unwrap_err(), referred("a group of the user"));
    for root in ["ou=elsewhere", "ou=circle"] {
        let server = LdapServer { principal_root: format!("{root},{ROOT}"), ..ldaps(slapd.tls_port()) };
        let next = plaintext(other.port());
        let refused = directory(&slapd, vec![server, next]).log_in("ada", password("of ada")).await.unwrap_err();
        assert_eq!(refused, referred("the user"));
        assert!(refused.why().contains("not followed"));
    }
    assert_eq!(other.connections(), 0);
}
