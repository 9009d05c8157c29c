//! Log-ins by OpenID providers, against a real one and against those that lie.

mod bearer;
mod fake;
mod keys;
mod lies;
mod log_in;
mod replay;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stockade_config::security::{OidcProvider, OidcRealm, Secret};
use stockade_identity::hosts::{Answer, Found, Resolve, Unresolved};
use stockade_identity::ldap::certificates;
use stockade_identity::oidc::{Given, Limits, OidcRefusal, Providers, Tls, Trouble};
use stockade_testkit::oidc::Provider;

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

/// Patient with a machine that has much to do.
fn limits() -> Limits {
    Limits { answer: Duration::from_secs(20), ..Limits::default() }
}

/// A provider of a realm, whose tokens are for `node`.
fn entry(document: &str) -> OidcProvider {
    OidcProvider {
        discovery_url: document.to_owned(),
        client_id: "stockade".to_owned(),
        client_secret: None,
        identity_attribute: "preferred_username".to_owned(),
        roles_attribute: Some("groups".to_owned()),
        audience: Some("node".to_owned()),
        profile: None,
    }
}

/// The same with another client, for log-ins.
fn client(document: &str, client_id: &str, secret: Option<&str>) -> OidcProvider {
    OidcProvider {
        client_id: client_id.to_owned(),
        client_secret: secret.map(|secret| Secret::Clear(secret.to_owned())),
        audience: None,
        ..entry(document)
    }
}

fn realm(providers: Vec<OidcProvider>) -> OidcRealm {
    OidcRealm { name: "acme".to_owned(), fallback: None, providers }
}

/// A realm that believes this authority.
fn believing(authority: &[u8], providers: Vec<OidcProvider>, limits: Limits) -> Providers {
    let tls = Tls::new(&certificates(authority).unwrap(), None, false).unwrap();
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| Some(tls.clone()), secret: &|_| None, resolver: &resolver };
    Providers::new(&realm(providers), given, limits).unwrap()
}

/// A realm of this provider alone.
fn of(provider: &Provider) -> Providers {
    believing(&provider.authority(), vec![entry(&provider.document())], limits())
}

/// A realm of providers without TLS on this machine.
fn in_clear(providers: Vec<OidcProvider>, limits: Limits) -> Providers {
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| None, secret: &|_| None, resolver: &resolver };
    Providers::dangerous_with_plaintext_on_loopback(&realm(providers), given, limits).unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What was wrong with the provider.
#[track_caller]
fn trouble<T: std::fmt::Debug>(result: Result<T, OidcRefusal>) -> Trouble {
    match result {
        Err(OidcRefusal::Unavailable { trouble, .. }) => trouble,
        other => panic!("{other:?}"),
    }
}
