//! Root objects as plain trees of keys and values, from which the canonical text and differences are made.
//!
//! One place says which keys there are when something is written; `read.rs` and its like say it for reading, and
//! a test holds the two against each other.

use super::read::{CLIENT, LDAP, LOCAL, MAPPINGS, OIDC, SERVER, SETTINGS, TRUSTED_HOSTS};
use super::{
    Admission, ClientProfile, InitialPrincipal, LdapRealm, LdapServer, LocalRealm, Mappings, OidcProvider, OidcRealm,
    Privilege, Root, Rules, Secret, ServerProfile, TrustedHosts,
};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Text(String),
    Number(u64),
    Flag(bool),
    Secret(Secret),
    /// Texts, each once; their order means nothing.
    Texts(Vec<String>),
    /// Objects in a list, each with what tells it from the others.
    Items(Vec<(String, Self)>),
    Fields(Vec<(String, Self)>),
}

/// Fields, as they are put together.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Tree)>);

impl Fields {
    fn with(mut self, key: &str, value: Tree) -> Self {
        self.0.push((key.to_owned(), value));
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        self.with(key, Tree::Text(text.to_owned()))
    }

    fn maybe(self, key: &str, text: Option<&String>) -> Self {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    fn flag(self, key: &str, flag: bool) -> Self {
        self.with(key, Tree::Flag(flag))
    }

    fn secret(self, key: &str, secret: Option<&Secret>) -> Self {
        match secret {
            Some(secret) => self.with(key, Tree::Secret(secret.clone())),
            None => self,
        }
    }

    fn admission(self, admission: Admission) -> Self {
        self.flag("requirePassword", admission.require_password)
            .flag("requireTrustedHostMembership", admission.require_trusted_host)
    }

    fn tree(self) -> Tree {
        Tree::Fields(self.0)
    }
}

impl Root {
    /// What it is called in a file.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::TrustedHosts(_) => TRUSTED_HOSTS,
            Self::Local(_) => LOCAL,
            Self::Ldap(_) => LDAP,
            Self::Oidc(_) => OIDC,
            Self::Mappings(_) => MAPPINGS,
            Self::Server(_) => SERVER,
            Self::Client(_) => CLIENT,
            Self::Settings(_) => SETTINGS,
        }
    }

    pub(super) fn tree(&self) -> Tree {
        match self {
            Self::TrustedHosts(hosts) => trusted_hosts(hosts),
            Self::Local(realm) => local(realm),
            Self::Ldap(realm) => ldap(realm),
            Self::Oidc(realm) => oidc(realm),
            Self::Mappings(mappings) => roles(mappings),
            Self::Server(profile) => server_profile(profile),
            Self::Client(profile) => client_profile(profile),
            Self::Settings(settings) => Fields::default().flag("legacyHostTrust", settings.legacy_host_trust).tree(),
        }
    }
}

fn trusted_hosts(hosts: &TrustedHosts) -> Tree {
    let written = hosts.hosts.iter().map(|entry| entry.written.clone()).collect();
    let fields = Fields::default()
        .with("hosts", Tree::Texts(written))
        .flag("exclusive", hosts.exclusive)
        .text("resolve", if hosts.resolve_once { "activation" } else { "ttl" });
    let is_wide = hosts.hosts.iter().any(super::HostEntry::is_wide);
    if is_wide { fields.flag("acknowledgeWide", true) } else { fields }.tree()
}

fn local(realm: &LocalRealm) -> Tree {
    let items = realm.initial.iter().map(|one| (one.user.clone(), principal(one))).collect();
    let fields = Fields::default().text("name", &realm.name).admission(realm.admission);
    fields.with("initialPrincipals", Tree::Items(items)).tree()
}

fn principal(principal: &InitialPrincipal) -> Tree {
    Fields::default()
        .text("userName", &principal.user)
        .secret("password", principal.password.as_ref())
        .with("roles", Tree::Texts(principal.roles.clone()))
        .flag("locked", principal.locked)
        .with("passwordExpirationDays", Tree::Number(principal.password_expiration_days.into()))
        .tree()
}

fn ldap(realm: &LdapRealm) -> Tree {
    let fields = Fields::default().text("name", &realm.name).admission(realm.admission);
    fields.with("servers", numbered(realm.servers.iter().map(ldap_server))).tree()
}

/// Objects whose order means something are told apart by it.
fn numbered(items: impl Iterator<Item = Tree>) -> Tree {
    Tree::Items(items.enumerate().map(|(number, item)| (number.to_string(), item)).collect())
}

fn ldap_server(server: &LdapServer) -> Tree {
    Fields::default()
        .text("host", &server.host)
        .with("portNumber", Tree::Number(server.port.into()))
        .maybe("systemPrincipal", server.system_principal.as_ref())
        .secret("systemPassword", server.system_password.as_ref())
        .text("principalRoot", &server.principal_root)
        .text("userAttribute", &server.user_attribute)
        .text("roleAttribute", &server.role_attribute)
        .maybe("secureCommunicationProfileName", server.profile.as_ref())
        .with("connectTimeout", Tree::Number(server.connect_timeout_ms))
        .flag("allowPlaintext", server.allow_plaintext)
        .flag("startTls", server.start_tls)
        .tree()
}

fn oidc(realm: &OidcRealm) -> Tree {
    Fields::default()
        .text("name", &realm.name)
        .maybe("fallbackAuthenticationRealmName", realm.fallback.as_ref())
        .with("identityProviders", numbered(realm.providers.iter().map(provider)))
        .tree()
}

fn provider(provider: &OidcProvider) -> Tree {
    Fields::default()
        .text("documentDiscoveryUrl", &provider.discovery_url)
        .text("clientId", &provider.client_id)
        .secret("clientSecret", provider.client_secret.as_ref())
        .text("identityAttributeName", &provider.identity_attribute)
        .maybe("rolesAttributeName", provider.roles_attribute.as_ref())
        .maybe("audience", provider.audience.as_ref())
        .maybe("secureCommunicationProfileName", provider.profile.as_ref())
        .tree()
}

fn roles(mappings: &Mappings) -> Tree {
    let roles = mappings.roles.iter().map(|(role, rules)| (role.clone(), rules_tree(rules))).collect();
    Fields::default().with("roles", Tree::Fields(roles)).tree()
}

fn rules_tree(rules: &Rules) -> Tree {
    let list = |all: &[Privilege]| Tree::Items(all.iter().map(|one| (one.to_string(), privilege(one))).collect());
    Fields::default().with("privileges", list(&rules.grant)).with("deny", list(&rules.deny)).tree()
}

fn privilege(privilege: &Privilege) -> Tree {
    Fields::default().text("privilege", &privilege.name).maybe("resource", privilege.resource.as_ref()).tree()
}

const fn minimum_version(allow_tls12: bool) -> &'static str {
    if allow_tls12 { "1.2" } else { "1.3" }
}

fn server_profile(profile: &ServerProfile) -> Tree {
    Fields::default()
        .text("name", &profile.name)
        .text("certificateFile", &profile.certificate_file)
        .text("keyFile", &profile.key_file)
        .maybe("trustFile", profile.trust_file.as_ref())
        .flag("requireClientAuthentication", profile.require_client)
        .text("minimumVersion", minimum_version(profile.allow_tls12))
        .tree()
}

fn client_profile(profile: &ClientProfile) -> Tree {
    Fields::default()
        .text("name", &profile.name)
        .maybe("trustFile", profile.trust_file.as_ref())
        .maybe("certificateFile", profile.certificate_file.as_ref())
        .maybe("keyFile", profile.key_file.as_ref())
        .text("minimumVersion", minimum_version(profile.allow_tls12))
        .tree()
}
