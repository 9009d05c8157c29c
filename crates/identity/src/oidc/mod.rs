//! Principals of OpenID providers.
//!
//! How to use it: one [`Providers`] for each realm, made when it is activated. For each request with a token of a
//! provider [`Providers::verify_bearer`]. For the command line [`Providers::begin_device`], then
//! [`Providers::poll_device`] when its time has come; for the console [`Providers::begin_code`] and
//! [`Providers::finish_code`]. What is refused goes into [`crate::entry`] as [`OidcRefusal::proof`] and to the log with
//! its text; the caller is told [`OidcRefusal::outside`]. Anybody can begin log-ins, and each makes questions to the
//! provider: how many are at once is bounded here, how many come from one source is the caller's to count and delay.
//!
//! A token is bounded, taken apart and held against an allow-list of algorithms before anything is asked or computed.
//! The provider is chosen by the token's issuer among those of the realm. Its document and its keys come over TLS, are
//! bounded, and are kept; a key that is not known makes one question in a while, whoever sends such tokens, and however
//! many. Times are the caller's, by the clock that shows the date. Signatures are checked by `jsonwebtoken` with ring.
//! It must never believe a token's own words about keys, follow a redirect, or take a list that was cut short for whole.

mod claims;
mod code;
mod crypto;
mod device;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod keys;
mod provider;
mod refusal;
mod token;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stockade_config::security::OidcRealm;
use stockade_config::security::provider::Plaintext;

pub use crate::ldap::{Given, Tls};
pub use code::{Answered, Begun};
pub use device::{DeviceLogIn, Polled};
pub use provider::BadProvider;
pub use refusal::{OidcRefusal, Trouble};

use code::UnderWay;
use provider::Provider;
use token::{Claimed, Use};

/// The providers of a realm.
pub struct Providers {
    providers: Vec<Arc<Provider>>,
    limits: Limits,
    under_way: UnderWay,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a token.
    pub token_bytes_max: usize,
    /// Bytes of a document, of a set of keys, and of each other answer.
    pub document_bytes_max: usize,
    /// For one question to a provider, with its answer.
    pub answer: Duration,
    /// A provider is not asked for its keys again before this.
    pub again_ms: u64,
    /// After this they are asked for again, and used on while there is no answer.
    pub renew_ms: u64,
    /// After this they are not used.
    pub age_ms_max: u64,
    /// How many wait for a provider's keys.
    pub waiting: usize,
    /// Questions of log-ins to one provider at once.
    pub log_ins_at_once: usize,
    /// By how much clocks may differ.
    pub skew_ms: u64,
    /// How long a token may be good.
    pub lifetime_ms_max: u64,
    /// How many roles, in all.
    pub roles_max: usize,
    /// Log-ins of browsers under way, and how long each may take.
    pub under_way_max: usize,
    /// For one of them.
    pub under_way_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token_bytes_max: 16 * 1024,
            document_bytes_max: 512 * 1024,
            answer: Duration::from_secs(5),
            again_ms: 30_000,
            renew_ms: 10 * 60_000,
            age_ms_max: 60 * 60_000,
            waiting: 64,
            log_ins_at_once: 16,
            skew_ms: 60_000,
            lifetime_ms_max: 24 * 60 * 60_000,
            roles_max: 256,
            under_way_max: 1_024,
            under_way_ms: 10 * 60_000,
        }
    }
}

/// Somebody for whom a provider vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The principal's name.
    pub user: String,
    /// His roles, each once and sorted.
    pub roles: Vec<String>,
    /// Until when the provider vouches, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Which provider that is.
    pub issuer: String,
}

impl Providers {
    /// Prepares; nothing is asked.
    ///
    /// # Errors
    /// [`BadProvider`], when one has no https, no TLS or no secret, or when its address is none of an issuer.
    pub fn new(realm: &OidcRealm, given: Given<'_>, limits: Limits) -> Result<Self, BadProvider> {
        Self::with(realm, given, limits, Plaintext::Refused)
    }

    /// The same, and on loopback without encryption too: whoever gets a provider's port there can be anybody. For tests.
    ///
    /// # Errors
    /// [`BadProvider`].
    pub fn dangerous_with_plaintext_on_loopback(
        realm: &OidcRealm,
        given: Given<'_>,
        limits: Limits,
    ) -> Result<Self, BadProvider> {
        Self::with(realm, given, limits, Plaintext::OnLoopback)
    }

    fn with(realm: &OidcRealm, given: Given<'_>, limits: Limits, plaintext: Plaintext) -> Result<Self, BadProvider> {
        let provider = |provider| Provider::new(provider, given, limits, plaintext).map(Arc::new);
        let providers = realm.providers.iter().map(provider).collect::<Result<_, _>>()?;
        Ok(Self { providers, limits, under_way: UnderWay::new(limits) })
    }

    /// Issuers by which one of several providers is chosen for a log-in, in the realm's order.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(|provider| provider.issuer())
    }

    /// Who shows this token, the text behind `Bearer`.
    ///
    /// # Errors
    /// [`OidcRefusal`].
    pub async fn verify_bearer(&self, token: &str, now_ms: u64) -> Result<Identified, OidcRefusal> {
        let claimed = Claimed::parse(token, Use::Bearer, self.limits.token_bytes_max)?;
        let of_issuer = || self.providers.iter().filter(|provider| provider.is_issuer(&claimed.issuer));
        // One issuer may be there for several clients; the audience is verified with the signature.
        let is_for = |provider: &&Arc<Provider>| claimed.audience.iter().any(|one| *one == provider.expected.audience);
        let provider = of_issuer().find(is_for).or_else(|| of_issuer().next());
        let provider = provider.ok_or_else(|| OidcRefusal::Issuer(claimed.issuer.clone()))?;
        let audience = &provider.expected.audience;
        let claims = provider.verify(&claimed, audience, now_ms).await?;
        let is_for_client = *audience == provider.expected.client_id;
        provider.expected.identify(&claims, is_for_client, &self.limits, now_ms)
    }

    /// The one that is meant, or the first.
    fn provider(&self, issuer: Option<&str>) -> Result<&Arc<Provider>, OidcRefusal> {
        let is_meant = |provider: &&Arc<Provider>| issuer.is_none_or(|issuer| provider.is_issuer(issuer));
        self.providers.iter().find(is_meant).ok_or_else(|| OidcRefusal::Issuer(issuer.unwrap_or_default().to_owned()))
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Providers")
            .field("providers", &self.providers)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
