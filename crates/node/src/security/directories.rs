//! Realms whose principals are elsewhere, in a directory (LDAP) or with OpenID providers: made with what is in force.
//! A directory is asked at a log-in, a provider (`bearer.rs`) for the keys of tokens that requests show.
//!
//! Their principals have no row here. What is known of one is in his session, and ends with it, or as soon as
//! his realm is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use stockade_config::security::provider::{Plaintext, document_of};
use stockade_config::security::{
    Admission, ClientProfile, LdapRealm, LdapServer, Object, OidcProvider, OidcRealm, Root, Secret,
};
use stockade_identity::entry::{Credential, Proof};
use stockade_identity::ldap::{Directory, Given, Limits, Shown, Tls, certificates};
use stockade_identity::local::{Attempt, Password, Source};
use stockade_identity::oidc::{self, Providers};
use stockade_identity::privilege::Authoriser;
use zeroize::Zeroizing;

use super::claim::{Claim, Guess, Way};
use super::force::{Name, is_name};
use super::login::Place;
use super::outward::Outward;
use super::{Security, Terms};
use crate::places::{Place as Room, Places};
use crate::refusal::Refusal;
use crate::tls;

/// Log-ins of one directory under way or waiting, and of one address: a slow directory is no way to keep others out.
const LOG_INS: usize = 80;
const LOG_INS_EACH: usize = 8;
/// And beside them, of who is known: a flood of strangers from many addresses keeps only strangers out.
const LOG_INS_OF_KNOWN: usize = 16;
/// When to try again at a directory that does not answer.
const LATER_MS: u64 = 5_000;
const METHOD: &str = "directory password";
/// Where a provider is whose address has no port.
const HTTPS: u16 = 443;
const NO_PROFILE: &str =
    "it names no secureCommunicationProfileName, and the node knows no authorities of the machine's";

/// A realm that is in force.
#[derive(Debug)]
pub(super) struct Realm {
    text: Elsewhere,
    /// The profiles that it names.
    profiles: Vec<ClientProfile>,
    /// Or why it cannot be asked.
    authority: Result<Authority, String>,
    rooms: Rooms,
}

/// What a realm says whose principals are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Elsewhere {
    Directory(LdapRealm),
    Providers(OidcRealm),
}

/// Who vouches for its principals.
#[derive(Debug)]
pub(super) enum Authority {
    Directory(Directory),
    Providers(Providers),
}

/// Somebody of a directory who has logged in.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) roles: Vec<String>,
    pub(super) realm: Arc<Realm>,
}

impl Held {
    /// The roles as rules name them. The names of a directory's groups have no case, and an entry has them as whoever
    /// wrote it last: what a rule denies must not hang on that.
    pub(super) fn roles_of(&self, authoriser: &Authoriser) -> Vec<String> {
        match self.realm.text {
            Elsewhere::Directory(_) => self.roles.iter().flat_map(|role| authoriser.spellings(role)).collect(),
            Elsewhere::Providers(_) => self.roles.clone(),
        }
    }
}

/// The realms of elsewhere that are in force, by the names of their realms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directories(BTreeMap<String, Arc<Realm>>);

impl Directories {
    /// Those of these objects. One that was there before and is the same stays, with who is waiting at it.
    pub(super) fn of(objects: &[Object], terms: &Terms, before: Option<&Self>) -> Self {
        let roots = || objects.iter().flat_map(|object| &object.roots);
        let profiles: Vec<&ClientProfile> =
            roots().filter_map(|root| if let Root::Client(profile) = root { Some(profile) } else { None }).collect();
        let made = roots().filter_map(Elsewhere::of).map(|text| {
            let is_named = |profile: &&&ClientProfile| text.profiles().contains(&&profile.name);
            let profiles: Vec<ClientProfile> = profiles.iter().filter(is_named).map(|one| (*one).clone()).collect();
            let kept = before
                .and_then(|before| before.get(text.name()))
                .filter(|kept| kept.text == text && kept.profiles == profiles)
                .cloned();
            let name = text.name().to_owned();
            (name, kept.unwrap_or_else(|| Arc::new(Realm::new(text, profiles, terms))))
        });
        Self(made.collect())
    }

    pub(super) fn get(&self, realm: &str) -> Option<&Arc<Realm>> {
        self.0.get(realm)
    }

    /// The names of those that take passwords.
    pub(super) fn of_passwords(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|realm| match &realm.text {
            Elsewhere::Directory(realm) => Some(realm.name.as_str()),
            Elsewhere::Providers(_) => None,
        })
    }

    /// The realm for what is not HTTP, where those of providers agree on one.
    pub(super) fn fallback(&self) -> Option<&str> {
        let named = self.0.values().filter_map(|realm| match &realm.text {
            Elsewhere::Providers(realm) => realm.fallback.as_deref(),
            Elsewhere::Directory(_) => None,
        });
        let named: BTreeSet<&str> = named.collect();
        if named.len() == 1 { named.first().copied() } else { None }
    }

    pub(super) fn admissions(&self) -> impl Iterator<Item = Admission> {
        self.0.values().map(|realm| realm.admission())
    }

    pub(super) fn admission(&self, realm: &str) -> Option<Admission> {
        self.get(realm).map(|realm| realm.admission())
    }

    /// Those whose principals show tokens of providers.
    pub(super) fn of_providers(&self) -> impl Iterator<Item = (&str, &Arc<Realm>)> {
        self.0
            .iter()
            .filter(|(_, realm)| matches!(realm.text, Elsewhere::Providers(_)))
            .map(|(name, realm)| (name.as_str(), realm))
    }

    /// Whether somebody is still of a realm that is in force.
    pub(super) fn have(&self, name: &Name, held: &Held) -> bool {
        self.get(&name.realm).is_some_and(|realm| Arc::ptr_eq(realm, &held.realm))
    }

    /// Whether they are the very same.
    pub(super) fn are(&self, others: &Self) -> bool {
        let pairs = self.0.iter().zip(&others.0);
        self.0.len() == others.0.len()
            && pairs.into_iter().all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(one.1, other.1))
    }

    /// One that cannot be asked, and why.
    pub(super) fn unusable(&self) -> Option<(&str, &str)> {
        self.0.iter().find_map(|(name, realm)| Some((name.as_str(), realm.authority.as_ref().err()?.as_str())))
    }
}

impl Realm {
    fn new(text: Elsewhere, profiles: Vec<ClientProfile>, terms: &Terms) -> Self {
        let authority = authority(&text, &profiles, terms);
        Self { text, profiles, authority, rooms: Rooms::new() }
    }

    fn admission(&self) -> Admission {
        match &self.text {
            Elsewhere::Directory(realm) => realm.admission,
            // A token is always shown, wherever it comes from.
            Elsewhere::Providers(_) => Admission { require_password: true, require_trusted_host: false },
        }
    }

    /// Who vouches for its principals.
    ///
    /// # Errors
    /// Why nobody can be asked.
    pub(super) const fn authority(&self) -> Result<&Authority, &String> {
        self.authority.as_ref()
    }
}

/// Places for log-ins at one directory.
#[derive(Debug)]
struct Rooms {
    strangers: Places<IpAddr>,
    known: Places<IpAddr>,
}

impl Rooms {
    fn new() -> Self {
        Self { strangers: Places::new(LOG_INS, LOG_INS_EACH), known: Places::new(LOG_INS_OF_KNOWN, LOG_INS_EACH) }
    }

    /// A place, if there is one.
    fn take(&self, from: IpAddr, is_known: bool) -> Option<Room<IpAddr>> {
        let own = if is_known { self.known.take(from) } else { None };
        own.or_else(|| self.strangers.take(from))
    }
}

impl Elsewhere {
    fn of(root: &Root) -> Option<Self> {
        match root {
            Root::Ldap(realm) => Some(Self::Directory(realm.clone())),
            Root::Oidc(realm) => Some(Self::Providers(realm.clone())),
            Root::TrustedHosts(_)
            | Root::Local(_)
            | Root::Mappings(_)
            | Root::Server(_)
            | Root::Client(_)
            | Root::Settings(_) => None,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Directory(realm) => &realm.name,
            Self::Providers(realm) => &realm.name,
        }
    }

    /// The profiles that it names.
    fn profiles(&self) -> Vec<&String> {
        match self {
            Self::Directory(realm) => realm.servers.iter().filter_map(|server| server.profile.as_ref()).collect(),
            Self::Providers(realm) => realm.providers.iter().filter_map(|one| one.profile.as_ref()).collect(),
        }
    }
}

/// Who vouches, with all that the realm names.
fn authority(text: &Elsewhere, profiles: &[ClientProfile], terms: &Terms) -> Result<Authority, String> {
    let outward = &terms.outward;
    let mut by_name = BTreeMap::new();
    for profile in profiles {
        let of = |why| format!("the client profile `{}` cannot be used: {why}", profile.name);
        by_name.insert(profile.name.as_str(), made(profile, outward).map_err(of)?);
    }
    let secret = |secret: &Secret| terms.secrets.open(secret).ok();
    let given = Given { tls: &|name| by_name.get(name?).cloned(), secret: &secret, resolver: terms.resolver() };
    match text {
        Elsewhere::Directory(realm) => {
            realm.servers.iter().try_for_each(|server| {
                check(server, terms).map_err(|why| format!("the server `{}:{}`: {why}", server.host, server.port))
            })?;
            // As many wait as have places.
            let limits = Limits { waiting: LOG_INS + LOG_INS_OF_KNOWN, ..Limits::default() };
            let made = Directory::new(realm, given, limits).map_err(|bad| format!("{bad}; {}", bad.next()))?;
            Ok(Authority::Directory(made))
        }
        Elsewhere::Providers(realm) => {
            realm.providers.iter().try_for_each(|provider| {
                check_provider(provider, terms)
                    .map_err(|why| format!("the provider `{}`: {why}", provider.discovery_url))
            })?;
            let made = Providers::new(realm, given, oidc::Limits::default());
            Ok(Authority::Providers(made.map_err(|bad| format!("{bad}; {}", bad.next()))?))
        }
    }
}

/// Whether a provider can be reached and spoken to.
fn check_provider(provider: &OidcProvider, terms: &Terms) -> Result<(), String> {
    can_open(provider.client_secret.as_ref(), terms)?;
    let (address, _) = document_of(&provider.discovery_url, Plaintext::Refused).map_err(|bad| bad.to_string())?;
    may_connect(address.port_or_known_default().unwrap_or(HTTPS), terms)?;
    if provider.profile.is_none() {
        return Err(NO_PROFILE.to_owned());
    }
    Ok(())
}

fn may_connect(port: u16, terms: &Terms) -> Result<(), String> {
    if terms.outward.ports.contains(&port) {
        return Ok(());
    }
    Err(format!("the node may not connect to port {port}: start it with --connect-port {port}"))
}

fn can_open(secret: Option<&Secret>, terms: &Terms) -> Result<(), String> {
    let secret = secret.map(|secret| terms.secrets.open(secret));
    let unopened = |refusal: Refusal| format!("{}: {}; {}", refusal.what, refusal.why, refusal.next);
    secret.transpose().map(drop).map_err(unopened)
}

/// Whether a server can be reached and spoken to.
fn check(server: &LdapServer, terms: &Terms) -> Result<(), String> {
    may_connect(server.port, terms)?;
    if server.profile.is_none() && (server.start_tls || !server.allow_plaintext) {
        return Err(NO_PROFILE.to_owned());
    }
    can_open(server.system_password.as_ref(), terms)
}

fn made(profile: &ClientProfile, outward: &Outward) -> Result<Tls, String> {
    let shown = match (&profile.certificate_file, &profile.key_file) {
        (Some(certificate), Some(key)) => {
            let key = outward.secret_file(key)?;
            let shown = Shown::new(outward.file(certificate)?.as_bytes(), key.as_bytes());
            Some(shown.map_err(|bad| format!("{bad}; {}", bad.next()))?)
        }
        _ => None,
    };
    let trust = profile.trust_file.as_deref().ok_or("it has no `trustFile`, and the node knows no authorities")?;
    let anchors = certificates(outward.file(trust)?.as_bytes()).map_err(|bad| format!("{bad}; {}", bad.next()))?;
    Tls::new(&anchors, shown, profile.allow_tls12).map_err(|bad| format!("{bad}; {}", bad.next()))
}

impl Security {
    /// Asks a directory for a log-in. Nothing else asks it, so that nobody's requests are as many questions.
    pub(super) async fn by_directory(
        &self,
        realm: &Arc<Realm>,
        name: Name,
        clear: Zeroizing<String>,
        way: Way,
    ) -> Claim {
        let free = |proof, detail: &str| Claim {
            is_free: true,
            detail: detail.to_owned(),
            wait_ms: LATER_MS,
            ..Claim::of(name.clone(), Credential::Password(proof), METHOD)
        };
        if way.place == Place::Elsewhere {
            return Claim {
                credential: Credential::None,
                is_named: true,
                next: Some("get a token first: POST /v1/login takes the password, and nothing else does"),
                ..free(Proof::NotNow, "a directory's password is taken by /v1/login only")
            };
        }
        if realm.admission().require_trusted_host && !way.is_trusted {
            // The decision refuses it anyway, and the directory would count it.
            return Claim { detail: String::new(), ..free(Proof::NotNow, "") };
        }
        if !is_name(&name) {
            return free(Proof::Wrong, "no principal of this node can be called so");
        }
        let directory = match realm.authority() {
            Ok(Authority::Directory(directory)) => directory,
            Ok(Authority::Providers(_)) => {
                return Claim {
                    next: Some("send a token of the realm's provider: Authorization: Bearer"),
                    ..free(Proof::Wrong, "the realm takes tokens of its providers, and no passwords")
                };
            }
            Err(why) => return free(Proof::NotNow, why),
        };
        let Ok(password) = Password::new(clear) else {
            return free(Proof::Wrong, "the password is empty or too long");
        };
        // The directory does not tell spellings apart, and nobody shall have more guesses by them.
        let principal = name.to_string().to_ascii_lowercase();
        let source = Source::Address(way.from);
        let attempt = Attempt { principal: &principal, source, is_trusted: way.is_trusted, now_ms: way.now.ms };
        let Some(_place) = realm.rooms.take(tls::counted(way.from), self.passwords.is_known(&attempt)) else {
            return free(Proof::NotNow, "too many log-ins are under way");
        };
        if let Err(wait_ms) = self.passwords.begin(&attempt) {
            return Claim { wait_ms, ..free(Proof::NotNow, "") };
        }
        let answer = directory.log_in(&name.user, password).await;
        let looked_at = |proof, detail: String| Claim { detail, is_free: proof == Proof::NotNow, ..free(proof, "") };
        let found = match answer {
            Ok(found) => found,
            Err(refusal) => {
                tracing::warn!(principal = %name, why = %refusal, next = refusal.next(), "a directory refused a log-in");
                if refusal.proof() == Proof::NotNow {
                    self.passwords.was_no_guess(&attempt);
                }
                return looked_at(refusal.proof(), refusal.to_string());
            }
        };
        let known = Name { user: found.user, ..name.clone() };
        if !is_name(&known) {
            let detail = format!(
                "the directory calls the user `{}`, as no principal of this node is",
                stockade_core::text::shown(&known.user, 200)
            );
            return looked_at(Proof::Wrong, detail);
        }
        let held = Held { roles: found.groups, realm: Arc::clone(realm) };
        let guess = Some(Guess { principal, stale: None });
        Claim { held: Some(held), guess, ..Claim::of(known, Credential::Password(Proof::Right), METHOD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_from_anywhere_keep_only_strangers_out() {
        let rooms = Rooms::new();
        let from = |number: u8| IpAddr::from([192, 0, 2, number]);
        let held: Vec<_> = (0..).map_while(|number: usize| rooms.take(from((number / 8) as u8), false)).collect();
        assert_eq!(held.len(), LOG_INS);
        assert!(rooms.take(from(99), false).is_none());
        let known: Vec<_> = (0..20).filter_map(|_| rooms.take(from(99), true)).collect();
        assert_eq!(known.len(), LOG_INS_EACH, "each has no more than his part");
        drop(held);
        assert!(rooms.take(from(99), true).is_some(), "there is room elsewhere again");
    }
}
