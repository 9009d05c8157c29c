//! Log-ins by a directory, against a real one and against those that lie.

mod fake;
mod groups;
mod log_in;
mod referrals;
mod servers;
mod tls;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use stockade_config::security::{Admission, LdapRealm, LdapServer, Secret};
use stockade_identity::hosts::{Answer, Found, Resolve, Unresolved};
use stockade_identity::ldap::{Directory, Given, LdapRefusal, Limits, Shown, Tls, Trouble, certificates};
use stockade_identity::local::Password;
use stockade_testkit::slapd::{ROOT, SYSTEM, Slapd};

/// Knows this machine only.
#[derive(Debug)]
struct Here;

impl Resolve for Here {
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr> {
        let found = match name {
            "localhost" => Ok(Found::whole(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 0)),
            _ => Err(Unresolved::NoSuchName),
        };
        Box::pin(std::future::ready(found))
    }

    fn names(&self, _: IpAddr) -> Answer<'_, String> {
        Box::pin(std::future::ready(Err(Unresolved::NoSuchName)))
    }
}

/// A no comes at once, so that tests do not wait for it.
fn limits() -> Limits {
    Limits { refusal: Duration::ZERO, ..Limits::default() }
}

/// ldaps at this port.
fn ldaps(port: u16) -> LdapServer {
    LdapServer {
        host: "localhost".to_owned(),
        port,
        system_principal: Some(SYSTEM.0.to_owned()),
        system_password: Some(Secret::Clear(SYSTEM.1.to_owned())),
        principal_root: ROOT.to_owned(),
        user_attribute: "uid".to_owned(),
        role_attribute: "memberOf".to_owned(),
        profile: None,
        allow_plaintext: false,
        start_tls: false,
        connect_timeout_ms: 10_000,
    }
}

/// Without encryption, and soon out of patience.
fn plaintext(port: u16) -> LdapServer {
    LdapServer { allow_plaintext: true, connect_timeout_ms: 500, ..ldaps(port) }
}

/// A directory that believes this authority.
fn believing(authority: &[u8], shown: Option<Shown>, servers: Vec<LdapServer>, limits: Limits) -> Directory {
    let admission = Admission::default();
    let realm = LdapRealm { name: "acme".to_owned(), admission, servers };
    let tls = Tls::new(&certificates(authority).unwrap(), shown, false).unwrap();
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| Some(tls.clone()), secret: &|_| None, resolver: &resolver };
    Directory::new(&realm, given, limits).unwrap()
}

fn directory(slapd: &Slapd, servers: Vec<LdapServer>) -> Directory {
    believing(&slapd.authority(), None, servers, limits())
}

/// Of this server alone, by ldaps.
fn of(slapd: &Slapd) -> Directory {
    directory(slapd, vec![ldaps(slapd.tls_port())])
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

/// The one trouble there was.
#[track_caller]
fn trouble<T: std::fmt::Debug>(result: Result<T, LdapRefusal>) -> Trouble {
    match result {
        Err(LdapRefusal::Unavailable(failed)) if failed.len() == 1 => failed[0].trouble.clone(),
        other => panic!("{other:?}"),
    }
}

/// A person whose password is `of NAME`, with more lines.
fn person(entry: &str, uid: &str, more: &str) -> String {
    let uid64 = BASE64_STANDARD.encode(uid);
    let password = BASE64_STANDARD.encode(format!("of {uid}"));
    let mut text = format!("dn: {entry},{ROOT}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\n");
    write!(text, "cn: x\nsn: x\nuid:: {uid64}\nuserPassword:: {password}\n{more}\n").unwrap();
    text
}

/// A group, and the groups that it is in.
fn group(name: &str, of: &[&str]) -> String {
    let mut text = format!("dn: cn={name},{ROOT}\nobjectClass: organizationalRole\nobjectClass: extensibleObject\n");
    writeln!(text, "cn: {name}\n{}", member_of(of)).unwrap();
    text
}

fn member_of(groups: &[&str]) -> String {
    groups.iter().map(|name| format!("memberOf: cn={name},{ROOT}\n")).collect()
}
