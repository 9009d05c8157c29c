//! What is in force: the active objects, compiled, and the principals of local realms.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use stockade_config::security::{
    self, Admission, LocalRealm, Mappings, Object, Root, Substitutions, TrustedHosts, whole,
};
use stockade_identity::entry::{Answer, Credential, Facts, Proof, Transport, decide};
use stockade_identity::hosts::{Hosts, Peer, Resolve};
use stockade_identity::local::Account;
use stockade_identity::privilege::Authoriser;
use stockade_store::{ObjectId, Principal, Store};

use super::Terms;
use super::directories::Directories;
use super::serving::Serving;
use crate::keeper::Keeper;
use crate::launcher::is_principal;
use crate::refusal::Refusal;

/// What the kernel's users are called, see [`crate::listen::principal`]: nobody else is called so.
const KERNELS: &str = "uid-";

/// Somebody of a realm, or who says he is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) realm: String,
    pub(super) user: String,
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.user.is_empty() && self.realm.is_empty() {
            return Ok(());
        }
        write!(out, "{}@{}", self.user, self.realm)
    }
}

/// A compiled configuration. It never changes: a new one takes its place.
#[derive(Debug)]
pub(crate) struct InForce {
    /// The active objects.
    pub(crate) objects: Vec<Object>,
    pub(crate) authoriser: Arc<Authoriser>,
    pub(crate) hosts: Arc<Hosts>,
    pub(super) directories: Directories,
    /// What is offered over TLS, where the node was started for a profile that is in force.
    pub(super) serving: Option<Arc<Serving>>,
    /// Principals by realm and user.
    people: HashMap<(String, String), Principal>,
    /// The realm that administrators over the network must be of; any where there is none.
    pub(super) administration: Option<String>,
}

impl InForce {
    /// Compiles active objects.
    ///
    /// # Errors
    /// What is wrong with them, in a line.
    pub(crate) fn compile(objects: Vec<Object>, people: Vec<Principal>, hosts: Arc<Hosts>) -> Result<Self, String> {
        let authoriser = Authoriser::compile(&mappings(&objects)).map_err(|bad| format!("{bad}; {}", bad.next()))?;
        let directories = Directories::default();
        let (authoriser, people) = (Arc::new(authoriser), by_name(people));
        Ok(Self { objects, authoriser, hosts, directories, serving: None, people, administration: None })
    }

    /// The same with other principals.
    pub(super) fn with_people(&self, people: Vec<Principal>) -> Self {
        Self {
            objects: self.objects.clone(),
            authoriser: Arc::clone(&self.authoriser),
            hosts: Arc::clone(&self.hosts),
            directories: self.directories.clone(),
            serving: self.serving.clone(),
            people: by_name(people),
            administration: self.administration.clone(),
        }
    }

    /// The same with other hosts.
    pub(super) fn trusting(self, hosts: Arc<Hosts>) -> Self {
        Self { hosts, ..self }
    }

    /// The same with the directories of its objects, and what is offered over TLS. What is the same as before stays.
    pub(super) fn connected(self, terms: &Terms, before: Option<&Self>) -> Self {
        let directories = Directories::of(&self.objects, terms, before.map(|before| &before.directories));
        let serving = Serving::of(&self.objects, terms, before.and_then(|before| before.serving.as_ref()));
        Self { directories, serving, ..self }
    }

    /// The same, administered over the network by those of one realm only.
    pub(super) fn administered_by(self, administration: Option<String>) -> Self {
        Self { administration, ..self }
    }

    /// The local realms.
    pub(crate) fn local_realms(&self) -> impl Iterator<Item = &LocalRealm> {
        self.roots().filter_map(|(_, root)| if let Root::Local(realm) = root { Some(realm) } else { None })
    }

    /// Whether it has the same realms as another one: else no session of that one holds.
    pub(super) fn has_realms_of(&self, other: &Self) -> bool {
        self.local_realms().eq(other.local_realms()) && self.directories.are(&other.directories)
    }

    /// Every root object, with what it is in.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (&Object, &Root)> {
        self.objects.iter().flat_map(|object| object.roots.iter().map(move |root| (object, root)))
    }

    /// The roles of a user of this machine at the node's socket, at this moment in seconds since 1970; `None` while no
    /// local realm says who is who. A realm that asks for a password gives none to who has only the kernel's word.
    pub(crate) fn roles_at_socket(&self, user: &str, now_s: u64) -> Option<Vec<String>> {
        let mut roles = None;
        for realm in self.local_realms() {
            let roles = roles.get_or_insert_with(Vec::new);
            let found = self.people.get(&(realm.name.clone(), user.to_owned()));
            if let Some(found) = found.filter(|one| is_admitted(realm, one, now_s)) {
                roles.extend(found.roles.iter().cloned());
            }
        }
        roles
    }

    /// Who is meant by `user@realm`, or by `user` where one realm takes passwords, or realms of providers name one for
    /// what is not HTTP.
    pub(super) fn name(&self, text: &str) -> Name {
        if let Some((user, realm)) = text.rsplit_once('@') {
            return Name { realm: realm.to_owned(), user: user.to_owned() };
        }
        let local = self.local_realms().map(|realm| realm.name.as_str());
        let mut realms = local.chain(self.directories.of_passwords());
        let realm = match (realms.next(), realms.next()) {
            (Some(only), None) => only.to_owned(),
            _ => self.directories.fallback().unwrap_or_default().to_owned(),
        };
        Name { realm, user: text.to_owned() }
    }

    /// Whether a trusted host may stand for a password (`legacyHostTrust`): off unless an object says so.
    pub(super) fn has_legacy_host_trust(&self) -> bool {
        self.roots().any(|(_, root)| matches!(root, Root::Settings(settings) if settings.legacy_host_trust))
    }

    /// Whether a connection is from a trusted host: the only place that asks. Name servers are asked only where
    /// somebody's admission can depend on it, whoever that is; else strangers could make the node wait for nothing.
    pub(super) async fn trusts(&self, peer: &Peer, now_ms: u64) -> bool {
        let mut admissions = self.local_realms().map(|realm| realm.admission).chain(self.directories.admissions());
        if self.has_legacy_host_trust() || admissions.any(|admission| admission.require_trusted_host) {
            self.hosts.test(peer, now_ms).await.is_trusted
        } else {
            self.hosts.lists(peer)
        }
    }

    /// Somebody of a local realm that is in force, who can be a caller over the network: his name is none of the
    /// kernel's, and one that goes through the whole node. Nor has it an `@`, as directories may: nobody is added so.
    pub(super) fn person(&self, name: &Name) -> Option<&Principal> {
        self.local_realms().find(|realm| realm.name == name.realm)?;
        if is_name(name) && !name.user.contains('@') { self.anybody(name) } else { None }
    }

    /// Somebody of any realm there ever was.
    pub(super) fn anybody(&self, name: &Name) -> Option<&Principal> {
        self.people.get(&(name.realm.clone(), name.user.clone()))
    }

    /// All of them.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &Principal> {
        self.people.values()
    }

    /// The switches of a realm that is in force.
    pub(super) fn admission(&self, realm: &str) -> Option<Admission> {
        let local = self.local_realms().find(|known| known.name == realm).map(|realm| realm.admission);
        local.or_else(|| self.directories.admission(realm))
    }

    /// The realms, of all kinds.
    pub(super) fn realms(&self) -> impl Iterator<Item = &str> {
        self.roots().filter_map(|(_, root)| whole::realm_name(root))
    }

    /// Everybody of the local realms that are in force.
    pub(crate) fn people(&self) -> Vec<&Principal> {
        let is_in_force = |one: &&Principal| self.local_realms().any(|realm| realm.name == one.realm);
        let mut people: Vec<_> = self.people.values().filter(is_in_force).collect();
        people.sort_by(|one, other| (&one.realm, &one.user).cmp(&(&other.realm, &other.user)));
        people
    }
}

fn by_name(people: Vec<Principal>) -> HashMap<(String, String), Principal> {
    people.into_iter().map(|one| ((one.realm.clone(), one.user.clone()), one)).collect()
}

/// Whether somebody can be called so at this node.
pub(super) fn is_name(name: &Name) -> bool {
    !name.user.to_ascii_lowercase().starts_with(KERNELS) && is_principal(&name.to_string())
}

/// Whether a principal is locked, and how old its password may be; who has none has none that is too old.
pub(super) fn account(principal: &Principal) -> Account {
    Account {
        is_locked: principal.locked,
        password_set_s: u64::try_from(principal.password_ms / 1_000).unwrap_or_default(),
        password_days: if principal.password.is_some() { principal.password_days } else { 0 },
    }
}

/// Whether a principal is admitted by the kernel's word for who is connected to the node's socket.
fn is_admitted(realm: &LocalRealm, principal: &Principal, now_s: u64) -> bool {
    let account = account(principal);
    let facts = Facts {
        transport: Transport::Local,
        is_source_trusted: false,
        is_user_named: false,
        is_known: true,
        is_locked: account.is_locked,
        is_expired: account.is_expired(now_s),
        has_legacy_host_trust: false,
        admission: realm.admission,
        credential: Credential::Peer(Proof::Right),
    };
    matches!(decide(&facts), Answer::Admit(_))
}

/// What roles may do, each object by its name.
fn mappings(objects: &[Object]) -> Vec<(&str, &Mappings)> {
    objects
        .iter()
        .flat_map(|object| of_object(object).map(|mappings| (object.identity.name.as_str(), mappings)))
        .collect()
}

fn of_object(object: &Object) -> impl Iterator<Item = &Mappings> {
    object.roots.iter().filter_map(|root| if let Root::Mappings(mappings) = root { Some(mappings) } else { None })
}

/// The identity of an object as the store has it.
pub(crate) fn id_of(object: &Object) -> ObjectId {
    let identity = &object.identity;
    ObjectId { kind: identity.kind.name().to_owned(), name: identity.name.clone(), version: identity.version.clone() }
}

/// Reads a text that was kept: its variables were filled before.
pub(crate) fn read(text: &str) -> Result<Object, String> {
    security::parse(text, &Substitutions::none()).map_err(|bad| bad.to_string())
}

/// The trusted hosts of objects, each with its name.
pub(crate) fn hosts<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<(&'a str, &'a TrustedHosts)> {
    let of = |object: &'a Object| {
        object.roots.iter().filter_map(move |root| {
            if let Root::TrustedHosts(hosts) = root { Some((object.identity.name.as_str(), hosts)) } else { None }
        })
    };
    objects.flat_map(of).collect()
}

/// Where the trusted hosts come from.
pub(crate) enum Hosted<'a> {
    /// They are known.
    Known(Arc<Hosts>),
    /// They were in force in a former process.
    Resume(&'a Arc<dyn Resolve>),
}

/// What the store holds, compiled.
///
/// # Errors
/// [`Refusal`] when it cannot be read: a node with half of its configuration must not serve.
pub(crate) async fn of_store(
    keeper: &Keeper,
    hosted: Hosted<'_>,
    (terms, before): (&Terms, Option<&InForce>),
) -> Result<InForce, Refusal> {
    let all = |store: &mut Store| Ok((store.objects()?, store.principals()?, store.administration_realm()?));
    let (objects, people, administration) = keeper.with(all).await?;
    let active = objects.iter().filter(|object| object.active);
    let unreadable = |why| Refusal::failed("the node's security configuration cannot be read", why);
    let objects: Vec<Object> = active.map(|object| read(&object.text)).collect::<Result<_, _>>().map_err(unreadable)?;
    let trusted = match hosted {
        Hosted::Known(known) => known,
        Hosted::Resume(resolver) => {
            let (resumed, failed) = Hosts::resume(&hosts(objects.iter()), Arc::clone(resolver), 0).await;
            if let Some(failed) = failed {
                tracing::warn!(error = %failed, "not trusted until they resolve");
            }
            Arc::new(resumed)
        }
    };
    let compiled = InForce::compile(objects, people, trusted).map_err(unreadable)?;
    Ok(compiled.connected(terms, before).administered_by(administration))
}

#[cfg(test)]
mod tests {
    use stockade_config::security::Admission;

    use super::*;

    #[tokio::test]
    async fn a_name_of_e_mail_is_a_name_and_none_is_read_as_another() {
        let name = |user: &str, realm: &str| Name { user: user.to_owned(), realm: realm.to_owned() };
        for user in ["ada", "ada@acme.com", "a.b-c_d@acme", "ada@local"] {
            assert!(is_name(&name(user, "corp")), "{user}");
        }
        for user in [
            "",
            "@",
            "ada@",
            "@acme",
            "a@b@c",
            "ada@acme com",
            "ada+x@acme.com",
            "ada@@acme",
            "uid-0",
            "UID-0@local",
            "uid-0@acme.com",
            "äda@acme.com",
            "ada@acme.com\n",
        ] {
            assert!(!is_name(&name(user, "corp")), "{user}");
        }
        assert!(!is_name(&name("ada", "")) && !is_name(&name("ada@acme.com", "")));
        assert!(!is_name(&name(&"a".repeat(196), "corp")));
        let (hosts, _) = Hosts::resume(&[], Arc::clone(Terms::of_test().resolver()), 0).await;
        let in_force = InForce::compile(Vec::new(), Vec::new(), Arc::new(hosts)).unwrap();
        let read = in_force.name("ada@acme.com@corp");
        assert_eq!((read, in_force.name("ada@acme.com")), (name("ada@acme.com", "corp"), name("ada", "acme.com")));
    }

    #[tokio::test]
    async fn a_name_without_a_realm_is_of_the_one_for_passwords_or_of_the_fallback() {
        let local = |name: &str| format!("LocalAuthenticationRealm {{ name = {name}, initialPrincipals = [] }}");
        let provider = |name: &str, fallback: &str| {
            format!(
                "OIDCAuthenticationRealm {{ name = {name}, fallbackAuthenticationRealmName = {fallback}, \
                 identityProviders = [{{ documentDiscoveryUrl = \"https://a/.well-known/openid-configuration\", \
                 clientId = {name}, identityAttributeName = sub }}] }}"
            )
        };
        let of = async |roots: &[String]| {
            let object = |(number, root): (usize, &String)| {
                let text =
                    format!("name = o{number}, version = 1, type = stockade.security, configuration {{ {root} }}");
                stockade_config::security::parse(&text, &stockade_config::security::Substitutions::none()).unwrap()
            };
            let objects = roots.iter().enumerate().map(object).collect();
            let terms = Terms::of_test();
            let (hosts, _) = Hosts::resume(&[], Arc::clone(terms.resolver()), 0).await;
            let in_force = InForce::compile(objects, Vec::new(), Arc::new(hosts)).unwrap().connected(&terms, None);
            in_force.name("ada").realm
        };
        assert_eq!(of(&[local("a"), provider("sso", "a")]).await, "a");
        assert_eq!(of(&[local("a"), local("b"), provider("sso", "b")]).await, "b");
        assert_eq!(of(&[local("a"), local("b"), provider("sso", "b"), provider("ext", "a")]).await, "");
        assert_eq!(of(&[local("a"), local("b")]).await, "");
    }

    #[test]
    fn the_kernels_word_admits_who_is_neither_locked_nor_expired_where_no_password_is_asked_for() {
        let realm = |require_password| LocalRealm {
            name: "people".to_owned(),
            admission: Admission { require_password, require_trusted_host: true },
            initial: Vec::new(),
        };
        let ann = Principal {
            realm: "people".to_owned(),
            user: "ann".to_owned(),
            password: Some("hash".to_owned()),
            roles: Vec::new(),
            locked: false,
            password_days: 30,
            password_ms: 0,
        };
        let day = 86_400;
        assert!(is_admitted(&realm(false), &ann, 29 * day));
        assert!(!is_admitted(&realm(true), &ann, 29 * day));
        assert!(!is_admitted(&realm(false), &ann, 30 * day), "its password is too old");
        assert!(!is_admitted(&realm(false), &Principal { locked: true, ..ann.clone() }, 0));
        // Who has no password has none that is too old.
        assert!(is_admitted(&realm(false), &Principal { password: None, ..ann }, 30 * day));
    }
}
