//! Realms: who vouches for principals.

use std::collections::BTreeSet;

use stockade_core::name::Host;

use super::object::Note;
use super::provider::{self, Plaintext};
use super::read::{Notes, flag, number, once};
use super::secret::{self, Use};
use super::words::Word;
use super::{Admission, InitialPrincipal, LdapRealm, LdapServer, LocalRealm, OidcProvider, OidcRealm, Secret};
use crate::refused::{Refused, Wrong};
use crate::value::{Fields, Value};

const PASSWORD: &str = "requirePassword";
const TRUSTED: &str = "requireTrustedHostMembership";
const LOCAL_KEYS: &[&str] = &["name", PASSWORD, TRUSTED, "initialPrincipals"];
const PRINCIPAL_KEYS: &[&str] = &["userName", "password", "roles", "locked", "passwordExpirationDays"];
const LDAP_KEYS: &[&str] = &["name", PASSWORD, TRUSTED, "servers"];
const SERVER_KEYS: &[&str] = &[
    "host",
    "portNumber",
    "systemPrincipal",
    "systemPassword",
    "principalRoot",
    "userAttribute",
    "roleAttribute",
    "secureCommunicationProfileName",
    "connectTimeout",
    "allowPlaintext",
    "startTls",
];
const OIDC_KEYS: &[&str] = &["name", "fallbackAuthenticationRealmName", "identityProviders"];
const PROVIDER_KEYS: &[&str] = &[
    "documentDiscoveryUrl",
    "clientId",
    "clientSecret",
    "identityAttributeName",
    "rolesAttributeName",
    "audience",
    "secureCommunicationProfileName",
];
const DAYS_MAX: u64 = 36_500;
/// Each one that does not answer is waited for.
const SERVERS_MAX: usize = 16;
const TIMEOUT_MS: u64 = 5_000;
const TIMEOUT_MS_MAX: u64 = 60_000;
const LDAPS: u16 = 636;
const LDAP: u16 = 389;

pub(super) fn local(value: &Value<'_>, notes: &mut Notes) -> Result<LocalRealm, Refused> {
    let mut fields = value.object("`LocalAuthenticationRealm`", LOCAL_KEYS)?;
    let name = Word::Realm.read(&fields.need("name")?)?;
    let admission = admission(&mut fields)?;
    let mut users = BTreeSet::new();
    let mut initial = Vec::new();
    if let Some(list) = fields.take("initialPrincipals") {
        for item in list.list("a list of principals such as [{ userName = ann, roles = [user] }]")? {
            let principal = principal(&item, notes)?;
            once(&mut users, &principal.user, &item)?;
            initial.push(principal);
        }
    }
    Ok(LocalRealm { name, admission, initial })
}

fn admission(fields: &mut Fields<'_>) -> Result<Admission, Refused> {
    Ok(Admission { require_password: flag(fields, PASSWORD)?, require_trusted_host: flag(fields, TRUSTED)? })
}

fn principal(value: &Value<'_>, notes: &mut Notes) -> Result<InitialPrincipal, Refused> {
    let mut fields = value.object("a principal", PRINCIPAL_KEYS)?;
    let days = |value: Value<'_>| number(&value, 0, DAYS_MAX, "a number of days from 0 to 36500");
    let days = fields.take("passwordExpirationDays").map_or(Ok(0), days)?;
    Ok(InitialPrincipal {
        user: Word::User.read(&fields.need("userName")?)?,
        password: secret(&mut fields, "password", Use::Compared, notes)?,
        roles: fields.take("roles").map_or(Ok(Vec::new()), |value| roles(&value))?,
        locked: flag(&mut fields, "locked")?,
        password_expiration_days: u32::try_from(days).unwrap_or(u32::MAX),
    })
}

fn roles(value: &Value<'_>) -> Result<Vec<String>, Refused> {
    let mut found = BTreeSet::new();
    let mut roles = Vec::new();
    for item in value.list("a list of roles such as [\"user\"]")? {
        let role = Word::Role.read(&item)?;
        once(&mut found, &role, &item)?;
        roles.push(role);
    }
    Ok(roles)
}

fn secret(
    fields: &mut Fields<'_>,
    key: &'static str,
    usage: Use,
    notes: &mut Notes,
) -> Result<Option<Secret>, Refused> {
    let Some(value) = fields.take(key) else { return Ok(None) };
    let secret = secret::read(&value, usage)?;
    if matches!(secret, Secret::Clear(_)) {
        notes.add(&value, Note::ClearText(key));
    }
    Ok(Some(secret))
}

pub(super) fn ldap(value: &Value<'_>, notes: &mut Notes) -> Result<LdapRealm, Refused> {
    let mut fields = value.object("`LDAPAuthenticationRealm`", LDAP_KEYS)?;
    let name = Word::Realm.read(&fields.need("name")?)?;
    let admission = admission(&mut fields)?;
    let mut servers: Vec<LdapServer> = Vec::new();
    for item in some(&fields.need("servers")?, "a list of servers such as [{ host = \"ldap.acme.com\", … }]")? {
        let server = server(&item, notes)?;
        if servers.contains(&server) {
            return Err(item.refuse(Wrong::Repeated(server.host)));
        }
        servers.push(server);
    }
    Ok(LdapRealm { name, admission, servers })
}

/// The items of a list that must have some, and not too many.
fn some<'a>(list: &Value<'a>, expected: &'static str) -> Result<Vec<Value<'a>>, Refused> {
    let items = list.list(expected)?;
    if (1..=SERVERS_MAX).contains(&items.len()) {
        return Ok(items);
    }
    Err(list.refuse(Wrong::Against { why: "the list is empty, or longer than 16", next: "name 1 to 16" }))
}

fn server(value: &Value<'_>, notes: &mut Notes) -> Result<LdapServer, Refused> {
    let mut fields = value.object("a server", SERVER_KEYS)?;
    let host = host(&fields.need("host")?)?;
    let profile = fields.take("secureCommunicationProfileName").map(|value| Word::Realm.read(&value)).transpose()?;
    let plain = fields.take("allowPlaintext");
    let allow_plaintext = plain.as_ref().map_or(Ok(false), Value::flag)?;
    let start_tls = flag(&mut fields, "startTls")?;
    if let Some(plain) = plain.filter(|_| allow_plaintext) {
        if start_tls || profile.is_some() {
            return Err(plain.refuse(Wrong::Against {
                why: "`allowPlaintext` stands beside what asks for encryption",
                next: "leave out `allowPlaintext`, or `startTls` and the profile",
            }));
        }
        notes.add(&plain, Note::PlaintextLdap(host.clone()));
    }
    let usual_port = if allow_plaintext || start_tls { LDAP } else { LDAPS };
    let (system_principal, system_password) = system(&mut fields, value, notes)?;
    Ok(LdapServer {
        host,
        port: fields.take("portNumber").map_or(Ok(usual_port), |value| port(&value))?,
        system_principal,
        system_password,
        principal_root: Word::Entry.read(&fields.need("principalRoot")?)?,
        user_attribute: Word::Attribute.read(&fields.need("userAttribute")?)?,
        role_attribute: Word::Attribute.read(&fields.need("roleAttribute")?)?,
        profile,
        allow_plaintext,
        start_tls,
        connect_timeout_ms: fields.take("connectTimeout").map_or(Ok(TIMEOUT_MS), |value| timeout(&value))?,
    })
}

/// Who looks for users. With a name and no password many directories would take it for anonymous, and say yes.
fn system(
    fields: &mut Fields<'_>,
    server: &Value<'_>,
    notes: &mut Notes,
) -> Result<(Option<String>, Option<Secret>), Refused> {
    let principal = fields.take("systemPrincipal").map(|value| Word::Entry.read(&value)).transpose()?;
    let password = secret(fields, "systemPassword", Use::Said, notes)?;
    if principal.is_some() != password.is_some() {
        return Err(server.refuse(Wrong::Against {
            why: "one of `systemPrincipal` and `systemPassword` is there without the other",
            next: "give both, or neither to look for users anonymously",
        }));
    }
    Ok((principal, password))
}

fn host(value: &Value<'_>) -> Result<String, Refused> {
    let text = value.text("a name, or an address in quotes")?;
    match Host::parse(text) {
        Ok(Host::Name(name)) => Ok(name.as_str().to_owned()),
        Ok(Host::Address(address)) => Ok(address.to_string()),
        Err(bad) => Err(value.refuse(Wrong::Amount { value: text.to_owned(), why: bad.to_string() })),
    }
}

fn port(value: &Value<'_>) -> Result<u16, Refused> {
    let number = number(value, 1, u16::MAX.into(), "a port from 1 to 65535")?;
    Ok(u16::try_from(number).unwrap_or(u16::MAX))
}

/// `5s`, `500ms`, or a number of milliseconds, as HOCON has it.
fn timeout(value: &Value<'_>) -> Result<u64, Refused> {
    let text = value.amount("a time such as 5s or 500ms")?;
    let (digits, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1_000),
        (None, None) => (text, 1),
    };
    let digits = digits.trim_end();
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let span = digits.parse::<u64>().ok().filter(|_| is_plain).and_then(|amount| amount.checked_mul(unit));
    span.filter(|span| (1..=TIMEOUT_MS_MAX).contains(span)).ok_or_else(|| {
        let why = "this is not a time such as 5s or 500ms, of at most a minute".to_owned();
        value.refuse(Wrong::Amount { value: text.to_owned(), why })
    })
}

pub(super) fn oidc(value: &Value<'_>, notes: &mut Notes) -> Result<OidcRealm, Refused> {
    let mut fields = value.object("`OIDCAuthenticationRealm`", OIDC_KEYS)?;
    let named = fields.need("name")?;
    let name = Word::Realm.read(&named)?;
    let fallback = fields.take("fallbackAuthenticationRealmName").map(|value| Word::Realm.read(&value)).transpose()?;
    if fallback.as_ref() == Some(&name) {
        let why = "the realm is its own fallback";
        return Err(named.refuse(Wrong::Against { why, next: "name a local realm or one of a directory" }));
    }
    let mut providers = Vec::new();
    let mut found = BTreeSet::new();
    for item in some(&fields.need("identityProviders")?, "a list of providers")? {
        let provider = one_of(&item, notes)?;
        once(&mut found, &format!("{} {}", provider.discovery_url, provider.client_id), &item)?;
        providers.push(provider);
    }
    Ok(OidcRealm { name, fallback, providers })
}

fn one_of(value: &Value<'_>, notes: &mut Notes) -> Result<OidcProvider, Refused> {
    let mut fields = value.object("a provider", PROVIDER_KEYS)?;
    Ok(OidcProvider {
        discovery_url: discovery_url(&fields.need("documentDiscoveryUrl")?)?,
        client_id: Word::Client.read(&fields.need("clientId")?)?,
        client_secret: secret(&mut fields, "clientSecret", Use::Said, notes)?,
        identity_attribute: Word::Claim.read(&fields.need("identityAttributeName")?)?,
        roles_attribute: fields.take("rolesAttributeName").map(|value| Word::Claim.read(&value)).transpose()?,
        audience: fields.take("audience").map(|value| Word::Client.read(&value)).transpose()?,
        profile: fields.take("secureCommunicationProfileName").map(|value| Word::Realm.read(&value)).transpose()?,
    })
}

/// Kept as it is written: a provider is its URL to the letter.
fn discovery_url(value: &Value<'_>) -> Result<String, Refused> {
    let text = value.text("a text in quotes")?;
    match provider::document_of(text, Plaintext::Refused) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(value.refuse(Wrong::Provider { url: text.to_owned(), why })),
    }
}
