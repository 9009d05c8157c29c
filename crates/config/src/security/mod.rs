//! What a file of the security type says, as values: nothing here reads a file, a name or an address of the network.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

mod diff;
mod export;
pub mod hosts;
mod mappings;
mod object;
mod profiles;
pub mod provider;
mod read;
mod realms;
mod secret;
pub mod substitutions;
mod tree;
mod unquoted;
pub mod whole;
mod words;

pub use diff::{Change, diff};
pub use export::{Secrets, export};
pub use mappings::PRIVILEGES;
pub use object::{Identity, Kind, Note, Noted, Object};
pub use read::{BYTES_MAX, parse};
pub use substitutions::Substitutions;
pub use words::is_role;

/// What is in `configuration { … }` of a security file, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Where connections may come from.
    TrustedHosts(TrustedHosts),
    /// Principals that the node keeps itself.
    Local(LocalRealm),
    /// Principals of a directory.
    Ldap(LdapRealm),
    /// Principals of OpenID providers.
    Oidc(OidcRealm),
    /// What roles may do.
    Mappings(Mappings),
    /// TLS of what the node serves.
    Server(ServerProfile),
    /// TLS of what the node connects to.
    Client(ClientProfile),
    /// What holds for the whole node.
    Settings(Settings),
}

/// What holds for the whole node; the default is the strict one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether a host that is trusted may stand for a password over TCP (`legacyHostTrust`).
    pub legacy_host_trust: bool,
}

/// `TrustedHosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedHosts {
    /// The entries, as they are written, each once.
    pub hosts: Vec<HostEntry>,
    /// Whether no other object of this kind may be active beside it.
    pub exclusive: bool,
    /// Whether names keep the addresses that they had at the activation (`resolve = "activation"`).
    pub resolve_once: bool,
}

/// One entry of `hosts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostEntry {
    /// As it is written.
    pub written: String,
    /// What it means.
    pub form: HostForm,
}

/// The forms of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostForm {
    /// An address. IPv4-mapped addresses of IPv6 are folded to IPv4.
    Address {
        /// The address.
        address: IpAddr,
        /// The zone of RFC 4007, which counts on link-local addresses only.
        zone: Option<String>,
    },
    /// A block of addresses, no bit of a host set.
    Block(IpNet),
    /// A name with or without dots, in lower case, no dot at its end.
    Name(String),
    /// `*.acme.com`: what follows the star and its dot, in lower case.
    Below(String),
}

/// `LocalAuthenticationRealm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRealm {
    /// The name of the realm.
    pub name: String,
    /// What it asks of callers.
    pub admission: Admission,
    /// Who is there at the first activation.
    pub initial: Vec<InitialPrincipal>,
}

/// The two switches of a realm that the table of the specification is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// `requirePassword`.
    pub require_password: bool,
    /// `requireTrustedHostMembership`.
    pub require_trusted_host: bool,
}

/// One of `initialPrincipals`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialPrincipal {
    /// `userName`.
    pub user: String,
    /// Absent where the kernel's word is the only credential.
    pub password: Option<Secret>,
    /// The roles it holds, each once.
    pub roles: Vec<String>,
    /// Whether it cannot log in until it is unlocked.
    pub locked: bool,
    /// Days after which the password is of no use any more; 0 is never.
    pub password_expiration_days: u32,
}

/// A secret as a file names it. What is clear never shows in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The text itself: accepted for compatibility, and warned about.
    Clear(String),
    /// An Argon2id PHC string.
    Hash(String),
    /// `encrypted:TEXT`, opened when it is activated: the text, which the node's own key is needed for.
    Encrypted(String),
    /// `file:PATH`, read when it is activated.
    File(String),
    /// `env:NAME`, read when it is activated.
    Variable(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(_) => out.write_str("Clear(…)"),
            Self::Hash(_) => out.write_str("Hash(…)"),
            Self::Encrypted(_) => out.write_str("Encrypted(…)"),
            Self::File(path) => write!(out, "File({path:?})"),
            Self::Variable(name) => write!(out, "Variable({name:?})"),
        }
    }
}

/// `LDAPAuthenticationRealm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapRealm {
    /// The name of the realm.
    pub name: String,
    /// What it asks of callers.
    pub admission: Admission,
    /// Asked in this order, from the first, until one answers.
    pub servers: Vec<LdapServer>,
}

/// One of `servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// `host`.
    pub host: String,
    /// `portNumber`.
    pub port: u16,
    /// `systemPrincipal`: who looks for users; anonymous where it is absent.
    pub system_principal: Option<String>,
    /// `systemPassword`.
    pub system_password: Option<Secret>,
    /// `principalRoot`: below which entry users are looked for.
    pub principal_root: String,
    /// `userAttribute`.
    pub user_attribute: String,
    /// `roleAttribute`.
    pub role_attribute: String,
    /// `secureCommunicationProfileName`: the client profile for TLS.
    pub profile: Option<String>,
    /// `allowPlaintext`: neither ldaps nor StartTLS.
    pub allow_plaintext: bool,
    /// `startTls`: plain at first, then TLS, before anything is sent.
    pub start_tls: bool,
    /// `connectTimeout`, in milliseconds.
    pub connect_timeout_ms: u64,
}

/// `OIDCAuthenticationRealm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcRealm {
    /// The name of the realm.
    pub name: String,
    /// `fallbackAuthenticationRealmName`: for what is not HTTP.
    pub fallback: Option<String>,
    /// The providers.
    pub providers: Vec<OidcProvider>,
}

/// One of `identityProviders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcProvider {
    /// `documentDiscoveryUrl`, to the letter; [`provider::document_of`] says what is one.
    pub discovery_url: String,
    /// `clientId`.
    pub client_id: String,
    /// `clientSecret`.
    pub client_secret: Option<Secret>,
    /// `identityAttributeName`: the claim that is the user's name.
    pub identity_attribute: String,
    /// `rolesAttributeName`: the claim that lists roles.
    pub roles_attribute: Option<String>,
    /// `audience`: what tokens must be made for; the client's id where it is absent.
    pub audience: Option<String>,
    /// `secureCommunicationProfileName`: the client profile for TLS.
    pub profile: Option<String>,
}

impl OidcProvider {
    /// What tokens must be made for.
    #[must_use]
    pub fn expected_audience(&self) -> &str {
        self.audience.as_deref().unwrap_or(&self.client_id)
    }
}

/// `RoleToPrivilegeMappings`, either shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Roles and what they may do, in the order of the text, each role once.
    pub roles: Vec<(String, Rules)>,
}

/// What one role may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What it may do.
    pub grant: Vec<Privilege>,
    /// What it may not do, whatever another role grants.
    pub deny: Vec<Privilege>,
}

/// One thing that a role may do, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// One of those the node knows, such as `Run`.
    pub name: String,
    /// On what, globs allowed; every resource of its kind where it is absent.
    pub resource: Option<String>,
}

/// `SecureCommunicationServerProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProfile {
    /// The name of the profile.
    pub name: String,
    /// File of the chain, PEM, the node's own certificate first.
    pub certificate_file: String,
    /// File of the key, PEM.
    pub key_file: String,
    /// File of those whose certificates are believed, PEM; for certificates of clients.
    pub trust_file: Option<String>,
    /// `requireClientAuthentication`.
    pub require_client: bool,
    /// Whether TLS 1.2 is spoken too (`minimumVersion = "1.2"`).
    pub allow_tls12: bool,
}

/// `SecureCommunicationClientProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientProfile {
    /// The name of the profile.
    pub name: String,
    /// File of those whose certificates are believed, PEM; the machine's where it is absent.
    pub trust_file: Option<String>,
    /// File of the chain that is shown, PEM.
    pub certificate_file: Option<String>,
    /// File of its key, PEM.
    pub key_file: Option<String>,
    /// Whether TLS 1.2 is spoken too.
    pub allow_tls12: bool,
}
