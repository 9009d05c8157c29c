//! One provider: its document and its keys, kept for a while, and asked for again in measured steps.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::DecodingKey;
use stockade_config::security::provider::{BadProviderUrl, Plaintext};
use stockade_config::security::{OidcProvider, Secret};
use stockade_core::text;
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use zeroize::Zeroizing;

use super::claims::Expected;
use super::http::{Address, Http, Sent};
use super::keys::Keys;
use super::refusal::{OidcRefusal, Trouble};
use super::token::{Claimed, Claims};
use super::{Given, Limits, crypto, wire};

/// A provider that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the provider `{}` cannot be used: {why}", text::shown(.provider, 300))]
pub struct BadProvider {
    provider: String,
    why: Bad,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Bad {
    #[error("{0}")]
    Address(BadProviderUrl),
    #[error("there is no TLS for it")]
    NoTls,
    #[error("its client's secret is a hash, cannot be read, or is empty")]
    NoSecret,
    #[error("other cryptography is in this process already")]
    Cryptography,
}

impl BadProvider {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match &self.why {
            Bad::Address(why) => why.next(),
            Bad::NoTls => "activate the client profile it names, or one whose authority the machine trusts",
            Bad::NoSecret => "write `clientSecret` as file:PATH or env:NAME, and let the node read it",
            Bad::Cryptography => "report it: this is a fault of the program",
        }
    }
}

/// A provider as it is asked.
pub(super) struct Provider {
    document: Address,
    /// The issuer, without a `/` at its end.
    issuer: String,
    pub(super) expected: Expected,
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) http: Http,
    plaintext: Plaintext,
    limits: Limits,
    known: RwLock<Option<Arc<Known>>>,
    /// One asks at a time; so many wait for it.
    asking: Arc<Mutex<Option<Asked>>>,
    queue: Semaphore,
    /// Questions of log-ins: whoever begins one makes us ask.
    pub(super) log_ins: Semaphore,
}

/// What the provider said of itself.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) issuer: String,
    pub(super) authorization: Option<Address>,
    pub(super) token: Option<Address>,
    pub(super) device: Option<Address>,
    /// How a client shows its secret; `None` where it is not said.
    pub(super) methods: Option<Vec<String>>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) says_issuer: bool,
    keys: Keys,
    at_ms: u64,
}

/// The last time that it was asked, and what was wrong.
struct Asked {
    at_ms: u64,
    trouble: Option<Trouble>,
}

/// Why there is nothing new.
enum Old {
    /// It was asked a short time ago.
    Recent(Option<Trouble>),
    /// Now.
    Failed(Trouble),
    Busy,
}

impl Provider {
    pub(super) fn new(
        provider: &OidcProvider,
        given: Given<'_>,
        limits: Limits,
        plaintext: Plaintext,
    ) -> Result<Self, BadProvider> {
        let bad = |why| BadProvider { provider: provider.discovery_url.clone(), why };
        let (document, issuer) =
            Address::of_document(&provider.discovery_url, plaintext).map_err(|why| bad(Bad::Address(why)))?;
        let tls = (given.tls)(provider.profile.as_deref());
        if tls.is_none() && document.url().scheme() == "https" {
            return Err(bad(Bad::NoTls));
        }
        if !crypto::is_ready() {
            return Err(bad(Bad::Cryptography));
        }
        let secret =
            provider.client_secret.as_ref().map(|secret| said(secret, given).ok_or_else(|| bad(Bad::NoSecret)));
        Ok(Self {
            document,
            issuer: issuer.to_owned(),
            expected: Expected {
                client_id: provider.client_id.clone(),
                audience: provider.expected_audience().to_owned(),
                identity_attribute: provider.identity_attribute.clone(),
                roles_attribute: provider.roles_attribute.clone(),
            },
            secret: secret.transpose()?,
            http: Http {
                tls,
                resolver: Arc::clone(given.resolver),
                answer: limits.answer,
                bytes_max: limits.document_bytes_max,
            },
            plaintext,
            limits,
            known: RwLock::new(None),
            asking: Arc::default(),
            queue: Semaphore::new(limits.waiting.clamp(1, 65_536)),
            log_ins: Semaphore::new(limits.log_ins_at_once.clamp(1, 1_024)),
        })
    }

    /// As it is named where somebody chooses among several.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether a token with this issuer can be its own: with or without a `/` at the end, as its document has it.
    pub(super) fn is_issuer(&self, name: &str) -> bool {
        name.strip_suffix('/').unwrap_or(name) == self.issuer
    }

    /// The claims of a token, if it is this provider's and for this audience.
    pub(super) async fn verify(
        self: &Arc<Self>,
        claimed: &Claimed<'_>,
        audience: &str,
        now_ms: u64,
    ) -> Result<Claims, OidcRefusal> {
        let (known, key) = self.key(claimed, now_ms).await?;
        claimed.verify(&key, &known.issuer, audience)
    }

    /// The key that a token names, which may be one that the provider has since a short time.
    async fn key(
        self: &Arc<Self>,
        claimed: &Claimed<'_>,
        now_ms: u64,
    ) -> Result<(Arc<Known>, DecodingKey), OidcRefusal> {
        let find = |known: &Arc<Known>| {
            let found = known.keys.find(claimed.key.as_deref(), claimed.algorithm)?;
            Ok::<_, OidcRefusal>(found.map(|key| (Arc::clone(known), key.clone())))
        };
        let kept = self.kept(now_ms);
        let old = kept.as_ref().map(find).transpose()?.flatten();
        if let Some((known, key)) = old {
            if known.at_ms.abs_diff(now_ms) < self.limits.renew_ms {
                return Ok((known, key));
            }
            // Nobody waits for others who ask already, nor is refused when there is no answer: the key is good still.
            let renewed = match Arc::clone(&self.asking).try_lock_owned() {
                Ok(asked) => self.ask(asked, now_ms).await.ok(),
                Err(_) => None,
            };
            return match renewed {
                Some(renewed) => find(&renewed)?.ok_or_else(|| no_key(claimed)),
                None => Ok((known, key)),
            };
        }
        match self.renew(kept.as_ref(), now_ms).await {
            Ok(known) => find(&known)?.ok_or_else(|| no_key(claimed)),
            Err(Old::Recent(None)) if kept.is_some() => Err(no_key(claimed)),
            Err(old) => Err(self.refusal(old)),
        }
    }

    /// What the provider says of itself, not older than it may be.
    pub(super) async fn known(self: &Arc<Self>, now_ms: u64) -> Result<Arc<Known>, OidcRefusal> {
        match self.kept(now_ms) {
            Some(known) => Ok(known),
            None => self.renew(None, now_ms).await.map_err(|old| self.refusal(old)),
        }
    }

    fn kept(&self, now_ms: u64) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|known| known.at_ms.abs_diff(now_ms) < self.limits.age_ms_max)
    }

    /// Asks, unless somebody else just did: then what he got is good for this one too.
    async fn renew(self: &Arc<Self>, seen: Option<&Arc<Known>>, now_ms: u64) -> Result<Arc<Known>, Old> {
        let _waiting = self.queue.try_acquire().map_err(|_| Old::Busy)?;
        let asked = Arc::clone(&self.asking).lock_owned().await;
        match self.kept(now_ms) {
            Some(known) if seen.is_none_or(|seen| !Arc::ptr_eq(seen, &known)) => Ok(known),
            _ => self.ask(asked, now_ms).await,
        }
    }

    /// Asks, if that is not too early: to its end, also when whoever wanted it gives up waiting. Else a stranger who
    /// hangs up would leave the others without an answer until it may be asked for again.
    async fn ask(self: &Arc<Self>, mut asked: OwnedMutexGuard<Option<Asked>>, now_ms: u64) -> Result<Arc<Known>, Old> {
        if let Some(last) = asked.as_ref().filter(|last| last.at_ms.abs_diff(now_ms) < self.limits.again_ms) {
            return Err(Old::Recent(last.trouble.clone()));
        }
        let provider = Arc::clone(self);
        let reading = tokio::spawn(async move {
            // Should it not come to its end, it was tried all the same.
            let trouble = Some(Trouble::Slow("the question before"));
            *asked = Some(Asked { at_ms: now_ms, trouble });
            let read = provider.read(now_ms).await.map(Arc::new);
            if let Ok(known) = &read {
                *provider.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(known));
            }
            *asked = Some(Asked { at_ms: now_ms, trouble: read.as_ref().err().cloned() });
            read
        });
        match reading.await {
            Ok(read) => read.map_err(Old::Failed),
            Err(_) => Err(Old::Recent(None)),
        }
    }

    /// The document, then the keys that it names.
    async fn read(&self, now_ms: u64) -> Result<Known, Trouble> {
        let answer = self.http.ask(&self.document, Sent::Nothing).await?;
        let document: wire::Document =
            serde_json::from_slice(&answer.body).map_err(|_| Trouble::Nonsense("discovery document"))?;
        // To the letter, but for the `/`: the address would vouch for one issuer and the document for another.
        if !self.is_issuer(&document.issuer) {
            return Err(Trouble::Issuer(document.issuer));
        }
        let address = |text: &str, name| self.address(text).ok_or(Trouble::Address(name));
        let maybe = |text: &Option<String>, name| text.as_deref().map(|text| address(text, name)).transpose();
        let keys = address(&document.jwks_uri, "jwks_uri")?;
        let authorization = maybe(&document.authorization_endpoint, "authorization_endpoint")?;
        let token = maybe(&document.token_endpoint, "token_endpoint")?;
        let device = maybe(&document.device_authorization_endpoint, "device_authorization_endpoint")?;
        let keys = self.http.ask(&keys, Sent::Nothing).await?;
        Ok(Known {
            issuer: document.issuer,
            authorization,
            token,
            device,
            methods: document.token_endpoint_auth_methods_supported,
            scopes: document.scopes_supported,
            says_issuer: document.authorization_response_iss_parameter_supported,
            keys: Keys::parse(&keys.body)?,
            at_ms: now_ms,
        })
    }

    /// An address that the provider names: by the same rule as that of its document.
    pub(super) fn address(&self, text: &str) -> Option<Address> {
        Address::parse(text, self.plaintext)
    }

    fn refusal(&self, old: Old) -> OidcRefusal {
        match old {
            Old::Busy => OidcRefusal::Busy,
            Old::Failed(trouble) => self.unavailable(trouble),
            Old::Recent(trouble) => self.unavailable(trouble.unwrap_or(Trouble::Slow("the question before"))),
        }
    }

    pub(super) fn unavailable(&self, trouble: Trouble) -> OidcRefusal {
        OidcRefusal::Unavailable { provider: self.issuer.clone(), trouble }
    }
}

fn no_key(claimed: &Claimed<'_>) -> OidcRefusal {
    OidcRefusal::NoKey(claimed.key.clone().unwrap_or_default())
}

/// A secret that can be said: no hash can.
fn said(secret: &Secret, given: Given<'_>) -> Option<Zeroizing<String>> {
    crate::ldap::said(secret, given).filter(|secret| !secret.is_empty())
}

impl fmt::Debug for Provider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Provider")
            .field("issuer", &self.issuer)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
