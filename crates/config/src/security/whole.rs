//! The whole set of active objects, looked at before it becomes so.
//!
//! Pure: the caller says what would be active, what the node itself refers to, and of which types its realms ever
//! were, and gets every finding at once. Whether the caller could still administer the node is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stockade_core::text;
use thiserror::Error;

use super::object::{Identity, Object};
use super::{OidcRealm, Root};

/// Roles that a node knows without any mapping, and what the existing product calls the first.
pub const BUILT_IN_ROLES: [&str; 5] = ["administrator", "switchadmin", "monitor", "author", "user"];

/// What the node itself refers to, which must stay active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Realms, such as the one that authenticates administrators.
    pub realms: Vec<String>,
    /// Profiles of what it serves.
    pub server_profiles: Vec<String>,
    /// The type of every realm that was ever active, by its name.
    pub types: BTreeMap<String, String>,
}

/// Something that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object that it concerns; the node itself where there is none.
    pub object: Option<Identity>,
    /// What.
    pub fact: Fact,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(identity) => write!(out, "{identity}: {}", self.fact),
            None => write!(out, "the node: {}", self.fact),
        }
    }
}

/// What may be found.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fact {
    /// Another version of the same is active.
    #[error("version `{}` of it would be active too", text::shown(.0, 100))]
    TwoVersions(String),
    /// Two realms of a name.
    #[error("the realm `{realm}` is in {other} too")]
    RealmTwice {
        /// Its name.
        realm: String,
        /// Where it is as well.
        other: Identity,
    },
    /// A realm that was of another type.
    #[error("the realm `{realm}` was a {}, and a realm keeps its type: what its people own would be others'", text::shown(.before, 100))]
    RealmType {
        /// Its name.
        realm: String,
        /// What it was.
        before: String,
    },
    /// Nobody for what is not HTTP.
    #[error("the realm `{realm}` falls back to `{fallback}`, which is not active")]
    FallbackMissing {
        /// The realm.
        realm: String,
        /// The one that is missing.
        fallback: String,
    },
    /// A fallback that is of no use.
    #[error("the realm `{realm}` falls back to `{fallback}`, which is for HTTP only itself")]
    FallbackUseless {
        /// The realm.
        realm: String,
        /// The other one.
        fallback: String,
    },
    /// Two realms of the same tokens.
    #[error("tokens for `{}` of its provider are those of the realm `{other}` already", text::shown(audience, 100))]
    TokensTwice {
        /// What the tokens are made for.
        audience: String,
        /// Whose they are.
        other: String,
    },
    /// Two profiles of a kind and name.
    #[error("the profile `{profile}` is in {other} too")]
    ProfileTwice {
        /// Its name.
        profile: String,
        /// Where it is as well.
        other: Identity,
    },
    /// A profile that a realm names.
    #[error("the realm `{realm}` names the client profile `{profile}`, which is not active")]
    ProfileMissing {
        /// The realm.
        realm: String,
        /// The one that is missing.
        profile: String,
    },
    /// Hosts that want to be alone.
    #[error("its trusted hosts are exclusive, and {0} has some too")]
    NotExclusive(Identity),
    /// What holds for the whole node, twice.
    #[error("what holds for the whole node is said in {0} too")]
    SettingsTwice(Identity),
    /// A realm that the node needs.
    #[error("it needs the realm `{}`, which would not be active", text::shown(.0, 100))]
    NodeRealmMissing(String),
    /// A profile that the node needs.
    #[error("it needs the server profile `{}`, which would not be active", text::shown(.0, 100))]
    NodeProfileMissing(String),
    /// A role that allows nothing.
    #[error("the role `{}` of an initial principal has no mapping, and allows nothing", text::shown(.0, 100))]
    RoleUnmapped(String),
}

impl Fact {
    /// Whether the transition is refused; else it is only worth knowing.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        !matches!(self, Self::RoleUnmapped(_))
    }

    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::TwoVersions(_) => "deactivate one of them",
            Self::RealmTwice { .. } | Self::ProfileTwice { .. } => "give one of them another name",
            Self::TokensTwice { .. } => "give one of them another `audience` or `clientId`",
            Self::RealmType { .. } => "give the new realm another name",
            Self::FallbackMissing { .. } => "activate the fallback first",
            Self::FallbackUseless { .. } => "fall back to a local realm or one of a directory",
            Self::ProfileMissing { .. } => "activate the profile first",
            Self::NotExclusive(_) => "leave `exclusive` out, or deactivate the other object",
            Self::SettingsTwice(_) => "say it in one object",
            Self::NodeRealmMissing(_) | Self::NodeProfileMissing(_) => {
                "let the node refer to another one first, or keep this one active"
            }
            Self::RoleUnmapped(_) => "map the role in RoleToPrivilegeMappings, or correct its name",
        }
    }
}

/// Looks at what would be active.
#[must_use]
pub fn check(after: &[&Object], needs: &Needs) -> Vec<Finding> {
    let set = Set::of(after);
    let mut found = Findings::default();
    check_versions(after, &mut found);
    check_alone(after, &mut found);
    check_names(after, &mut found);
    check_tokens(after, &mut found);
    check_types(after, &needs.types, &mut found);
    for (object, root) in roots(after) {
        match root {
            Root::Ldap(realm) => {
                let named = realm.servers.iter().filter_map(|server| server.profile.as_deref());
                check_profiles(object, &realm.name, named, &set, &mut found);
            }
            Root::Oidc(realm) => {
                let named = realm.providers.iter().filter_map(|provider| provider.profile.as_deref());
                check_profiles(object, &realm.name, named, &set, &mut found);
                check_fallback(object, realm, &set, &mut found);
            }
            Root::Local(realm) => {
                let roles: BTreeSet<&String> = realm.initial.iter().flat_map(|principal| &principal.roles).collect();
                for role in roles.into_iter().filter(|role| !set.is_mapped(role)) {
                    found.add(object, Fact::RoleUnmapped(role.clone()));
                }
            }
            Root::TrustedHosts(_) | Root::Mappings(_) | Root::Server(_) | Root::Client(_) | Root::Settings(_) => {}
        }
    }
    check_needs(needs, &set, &mut found);
    found.0
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, object: &Object, fact: Fact) {
        self.0.push(Finding { object: Some(object.identity.clone()), fact });
    }

    fn add_of_node(&mut self, fact: Fact) {
        self.0.push(Finding { object: None, fact });
    }
}

/// Names that others refer to.
#[derive(Debug, Default)]
struct Set<'a> {
    realms: BTreeMap<&'a str, &'static str>,
    server_profiles: BTreeSet<&'a str>,
    client_profiles: BTreeSet<&'a str>,
    roles: BTreeSet<&'a str>,
}

impl<'a> Set<'a> {
    fn of(objects: &[&'a Object]) -> Self {
        let mut set = Self::default();
        for (_, root) in roots(objects) {
            if let Some(name) = realm_name(root) {
                set.realms.insert(name, root.key());
            }
            match root {
                Root::Server(profile) => drop(set.server_profiles.insert(&profile.name)),
                Root::Client(profile) => drop(set.client_profiles.insert(&profile.name)),
                Root::Mappings(mappings) => set.roles.extend(mappings.roles.iter().map(|(role, _)| role.as_str())),
                Root::TrustedHosts(_) | Root::Local(_) | Root::Ldap(_) | Root::Oidc(_) | Root::Settings(_) => {}
            }
        }
        set
    }

    fn is_mapped(&self, role: &str) -> bool {
        self.roles.contains(role) || BUILT_IN_ROLES.contains(&role)
    }
}

fn roots<'a>(objects: &[&'a Object]) -> impl Iterator<Item = (&'a Object, &'a Root)> {
    objects.iter().flat_map(|object| object.roots.iter().map(move |root| (*object, root)))
}

/// The name of a realm; none of what is no realm.
#[must_use]
pub fn realm_name(root: &Root) -> Option<&str> {
    match root {
        Root::Local(realm) => Some(&realm.name),
        Root::Ldap(realm) => Some(&realm.name),
        Root::Oidc(realm) => Some(&realm.name),
        Root::TrustedHosts(_) | Root::Mappings(_) | Root::Server(_) | Root::Client(_) | Root::Settings(_) => None,
    }
}

fn check_versions(after: &[&Object], found: &mut Findings) {
    let mut first: BTreeMap<_, &Object> = BTreeMap::new();
    for object in after {
        let key = (object.identity.kind, &object.identity.name);
        match first.get(&key) {
            Some(other) => found.add(object, Fact::TwoVersions(other.identity.version.clone())),
            None => drop(first.insert(key, object)),
        }
    }
}

/// Realms share their names among all of them, profiles among those of their kind.
fn check_names(after: &[&Object], found: &mut Findings) {
    let mut realms: BTreeMap<&str, &Object> = BTreeMap::new();
    let mut profiles: BTreeMap<(&str, &str), &Object> = BTreeMap::new();
    for (object, root) in roots(after) {
        if let Some(realm) = realm_name(root)
            && let Some(other) = realms.insert(realm, object)
        {
            found.add(object, Fact::RealmTwice { realm: realm.to_owned(), other: other.identity.clone() });
        }
        let profile = match root {
            Root::Server(profile) => &profile.name,
            Root::Client(profile) => &profile.name,
            Root::TrustedHosts(_)
            | Root::Local(_)
            | Root::Ldap(_)
            | Root::Oidc(_)
            | Root::Mappings(_)
            | Root::Settings(_) => continue,
        };
        if let Some(other) = profiles.insert((root.key(), profile), object) {
            found.add(object, Fact::ProfileTwice { profile: profile.clone(), other: other.identity.clone() });
        }
    }
}

/// A token is somebody of one realm, however realms are called.
fn check_tokens(after: &[&Object], found: &mut Findings) {
    let mut realms: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (object, root) in roots(after) {
        let Root::Oidc(realm) = root else { continue };
        for provider in &realm.providers {
            let audience = provider.expected_audience();
            match realms.insert((&provider.discovery_url, audience), &realm.name) {
                Some(other) if other != realm.name => {
                    found.add(object, Fact::TokensTwice { audience: audience.to_owned(), other: other.to_owned() });
                }
                _ => {}
            }
        }
    }
}

/// Not only of those that are active now: who takes one out and puts one of another type in its place is refused too.
fn check_types(after: &[&Object], types: &BTreeMap<String, String>, found: &mut Findings) {
    for (object, root) in roots(after) {
        let was = realm_name(root).and_then(|name| types.get_key_value(name));
        if let Some((realm, before)) = was.filter(|(_, before)| *before != root.key()) {
            found.add(object, Fact::RealmType { realm: realm.clone(), before: before.clone() });
        }
    }
}

fn check_alone(after: &[&Object], found: &mut Findings) {
    let mut settings: Option<&Object> = None;
    for (number, object) in after.iter().enumerate() {
        for root in &object.roots {
            match root {
                Root::Settings(_) => match settings {
                    Some(other) => found.add(object, Fact::SettingsTwice(other.identity.clone())),
                    None => settings = Some(object),
                },
                Root::TrustedHosts(hosts) if hosts.exclusive => {
                    let others = after.iter().enumerate().filter(|(other, _)| *other != number);
                    let mut others = others.filter(|(_, other)| has_hosts(other));
                    if let Some((_, other)) = others.next() {
                        found.add(object, Fact::NotExclusive(other.identity.clone()));
                    }
                }
                Root::TrustedHosts(_)
                | Root::Local(_)
                | Root::Ldap(_)
                | Root::Oidc(_)
                | Root::Mappings(_)
                | Root::Server(_)
                | Root::Client(_) => {}
            }
        }
    }
}

fn has_hosts(object: &Object) -> bool {
    object.roots.iter().any(|root| matches!(root, Root::TrustedHosts(_)))
}

fn check_profiles<'a>(
    object: &Object,
    realm: &str,
    named: impl Iterator<Item = &'a str>,
    set: &Set<'_>,
    found: &mut Findings,
) {
    let named: BTreeSet<&str> = named.collect();
    for profile in named.into_iter().filter(|profile| !set.client_profiles.contains(profile)) {
        found.add(object, Fact::ProfileMissing { realm: realm.to_owned(), profile: profile.to_owned() });
    }
}

fn check_fallback(object: &Object, realm: &OidcRealm, set: &Set<'_>, found: &mut Findings) {
    let Some(fallback) = realm.fallback.clone() else { return };
    let realm = realm.name.clone();
    match set.realms.get(fallback.as_str()) {
        None => found.add(object, Fact::FallbackMissing { realm, fallback }),
        Some(kind) if *kind == super::read::OIDC => found.add(object, Fact::FallbackUseless { realm, fallback }),
        Some(_) => {}
    }
}

fn check_needs(needs: &Needs, set: &Set<'_>, found: &mut Findings) {
    for realm in needs.realms.iter().filter(|realm| !set.realms.contains_key(realm.as_str())) {
        found.add_of_node(Fact::NodeRealmMissing(realm.clone()));
    }
    for profile in needs.server_profiles.iter().filter(|profile| !set.server_profiles.contains(profile.as_str())) {
        found.add_of_node(Fact::NodeProfileMissing(profile.clone()));
    }
}
