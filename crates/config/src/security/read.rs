//! From the text of a file to its [`Object`].

use super::export::{Secrets, export};
use super::object::{Identity, Kind, Note, Noted, Object};
use super::substitutions::Substitutions;
use super::words::Word;
use super::{HostEntry, Root, Settings, TrustedHosts, hosts, mappings, profiles, realms, unquoted};
use crate::document::Document;
use crate::refused::{Refused, Wrong};
use crate::value::{Fields, Value};

/// Most bytes of a file: room for ten thousand hosts.
pub const BYTES_MAX: usize = 256 << 10;
const FILE_KEYS: &[&str] = &["name", "version", "type", "configuration"];

pub(super) const TRUSTED_HOSTS: &str = "TrustedHosts";
pub(super) const LOCAL: &str = "LocalAuthenticationRealm";
pub(super) const LDAP: &str = "LDAPAuthenticationRealm";
pub(super) const OIDC: &str = "OIDCAuthenticationRealm";
pub(super) const MAPPINGS: &str = "RoleToPrivilegeMappings";
pub(super) const SERVER: &str = "SecureCommunicationServerProfile";
pub(super) const CLIENT: &str = "SecureCommunicationClientProfile";
pub(super) const SETTINGS: &str = "SecuritySettings";
const ROOTS: &[&str] = &[TRUSTED_HOSTS, LOCAL, LDAP, OIDC, MAPPINGS, SERVER, CLIENT, SETTINGS];

/// What is notable, gathered while it is read.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Noted>);

impl Notes {
    pub(super) fn add(&mut self, value: &Value<'_>, note: Note) {
        self.0.push(Noted { place: value.place(), note });
    }

    /// The same of what is said once, where it is first met.
    pub(super) fn add_once(&mut self, value: &Value<'_>, note: Note) {
        if !self.0.iter().any(|noted| noted.note == note) {
            self.add(value, note);
        }
    }
}

/// Parses the text of a file of the security type.
///
/// # Errors
/// [`Refused`], with the place.
pub fn parse(text: &str, substitutions: &Substitutions) -> Result<Object, Refused> {
    if text.len() > BYTES_MAX {
        return Err(Refused::new(None, Wrong::TooLarge(BYTES_MAX)));
    }
    unquoted::check(text)?;
    let mut document = Document::parse_within(text, BYTES_MAX)?;
    document.fill(substitutions)?;
    let mut file = Fields::of_document(&document, FILE_KEYS)?;
    let identity = identity(&mut file)?;
    let configuration = file.need("configuration")?.object("`configuration`", ROOTS)?;
    let mut notes = Notes::default();
    let mut roots = Vec::new();
    for (key, value) in configuration.rest() {
        roots.extend(root(key, &value, &mut notes)?);
    }
    let object = Object { identity, roots, notes: notes.0 };
    // Who keeps the canonical text must be able to read it again.
    if export(&object, Secrets::Kept).len() > BYTES_MAX {
        return Err(Refused::new(None, Wrong::LargeWritten(BYTES_MAX)));
    }
    Ok(object)
}

fn identity(file: &mut Fields<'_>) -> Result<Identity, Refused> {
    let value = file.need("type")?;
    let written = value.text("a text such as \"stockade.security\"")?;
    let Some(kind) = Kind::parse(written) else {
        let known = Kind::ALL.into_iter().flat_map(|kind| [kind.name(), kind.compatible_name()]).collect();
        return Err(value.refuse(Wrong::Word { what: "type", word: written.to_owned(), known }));
    };
    if kind == Kind::Node {
        return Err(value.refuse(Wrong::LaterType(Kind::Node.name())));
    }
    let version = file.need("version")?;
    // A version is a text, and `1.0` one without quotes.
    let version = Word::Identity.check(version.amount("a text such as \"1.0\"")?, &version)?;
    Ok(Identity { kind, name: Word::Identity.read(&file.need("name")?)?, version })
}

fn root(key: &str, value: &Value<'_>, notes: &mut Notes) -> Result<Option<Root>, Refused> {
    Ok(Some(match key {
        TRUSTED_HOSTS => Root::TrustedHosts(trusted_hosts(value, notes)?),
        LOCAL => Root::Local(realms::local(value, notes)?),
        LDAP => Root::Ldap(realms::ldap(value, notes)?),
        OIDC => Root::Oidc(realms::oidc(value, notes)?),
        MAPPINGS => Root::Mappings(mappings::read(value, notes)?),
        SERVER => Root::Server(profiles::server(value)?),
        CLIENT => Root::Client(profiles::client(value)?),
        SETTINGS => Root::Settings(settings(value, notes)?),
        _ => return Ok(None),
    }))
}

fn settings(value: &Value<'_>, notes: &mut Notes) -> Result<Settings, Refused> {
    let mut fields = value.object("`SecuritySettings`", &["legacyHostTrust"])?;
    let Some(legacy) = fields.take("legacyHostTrust") else { return Ok(Settings::default()) };
    let legacy_host_trust = legacy.flag()?;
    if legacy_host_trust {
        notes.add(&legacy, Note::LegacyHostTrust);
    }
    Ok(Settings { legacy_host_trust })
}

fn trusted_hosts(value: &Value<'_>, notes: &mut Notes) -> Result<TrustedHosts, Refused> {
    let mut fields = value.object("`TrustedHosts`", &["hosts", "exclusive", "resolve", "acknowledgeWide"])?;
    let wide = if flag(&mut fields, "acknowledgeWide")? { hosts::Wide::Acknowledged } else { hosts::Wide::Refused };
    Ok(TrustedHosts {
        hosts: entries(&fields.need("hosts")?, wide, notes)?,
        exclusive: flag(&mut fields, "exclusive")?,
        resolve_once: fields.take("resolve").map_or(Ok(false), |value| resolve_once(&value))?,
    })
}

fn entries(list: &Value<'_>, wide: hosts::Wide, notes: &mut Notes) -> Result<Vec<HostEntry>, Refused> {
    let mut found = Vec::new();
    let mut forms = std::collections::BTreeSet::new();
    for item in list.list("a list of hosts such as [\"host1\", \"192.168.2.0/24\"]")? {
        let written = item.text("a name, or an address in quotes")?;
        let entry =
            hosts::parse(written, wide).map_err(|why| item.refuse(Wrong::Host { entry: written.to_owned(), why }))?;
        if !forms.insert(entry.form.clone()) {
            return Err(item.refuse(Wrong::Repeated(entry.written)));
        }
        if entry.ignores_zone() {
            notes.add(&item, Note::ZoneIgnored(entry.written.clone()));
        }
        if entry.is_wide() {
            notes.add(&item, Note::WideBlock(entry.written.clone()));
        }
        found.push(entry);
    }
    Ok(found)
}

fn resolve_once(value: &Value<'_>) -> Result<bool, Refused> {
    match value.text("\"activation\" or \"ttl\"")? {
        "activation" => Ok(true),
        "ttl" => Ok(false),
        word => Err(value.refuse(Wrong::Word {
            what: "time to resolve",
            word: word.to_owned(),
            known: vec!["activation", "ttl"],
        })),
    }
}

/// A flag that is false where it is not given.
pub(super) fn flag(fields: &mut Fields<'_>, key: &str) -> Result<bool, Refused> {
    fields.take(key).map_or(Ok(false), |value| value.flag())
}

/// Refuses what was found before, and remembers it.
pub(super) fn once(found: &mut std::collections::BTreeSet<String>, word: &str, at: &Value<'_>) -> Result<(), Refused> {
    if found.insert(word.to_owned()) { Ok(()) } else { Err(at.refuse(Wrong::Repeated(word.to_owned()))) }
}

/// A whole number within bounds.
pub(super) fn number(value: &Value<'_>, least: u64, most: u64, expected: &'static str) -> Result<u64, Refused> {
    let text = value.amount(expected)?;
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_plain && (least..=most).contains(number));
    number.ok_or_else(|| value.refuse(Wrong::Amount { value: text.to_owned(), why: format!("this is not {expected}") }))
}
