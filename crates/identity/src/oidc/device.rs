//! Logging in with a command line and a browser somewhere else (RFC 8628): a small machine of states. Nothing in here
//! waits: when to ask again is told, and asking before that asks nobody.

use std::fmt;
use std::sync::Arc;

use stockade_core::text;
use zeroize::Zeroizing;

use super::exchange::{self, Said};
use super::provider::Provider;
use super::refusal::{OidcRefusal, Trouble};
use super::{Identified, Providers, wire};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How often is asked where the provider does not say, and by how much seldomer when it says so (3.5).
const INTERVAL_MS: u64 = 5_000;
const SLOWER_MS: u64 = 5_000;
const INTERVAL_MS_MAX: u64 = 60_000;
/// However long the provider gives.
const LASTS_MS_MAX: u64 = 30 * 60_000;
const CODE_CHARS_MAX: usize = 64;
const DEVICE_CODE_BYTES_MAX: usize = 4_096;

/// A log-in under way. Show the user the address and the code.
pub struct DeviceLogIn {
    provider: Arc<Provider>,
    device_code: Zeroizing<String>,
    user_code: String,
    address: String,
    complete_address: Option<String>,
    interval_ms: u64,
    next_ms: u64,
    end_ms: u64,
    is_over: bool,
    /// The provider's yes, which it gives once, where it could not be looked at.
    token: Option<Zeroizing<String>>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The user has not answered yet.
    Pending {
        /// When to ask again.
        next_ms: u64,
        /// The provider did not answer this time.
        trouble: Option<Trouble>,
    },
    /// He said yes.
    Done(Identified),
}

impl DeviceLogIn {
    /// What the user types.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// Where he types it.
    #[must_use]
    pub fn verification_uri(&self) -> &str {
        &self.address
    }

    /// The same with the code in it, for a link.
    #[must_use]
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.complete_address.as_deref()
    }

    /// When to ask next.
    #[must_use]
    pub const fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// How long to wait between questions.
    #[must_use]
    pub const fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// When it is too late.
    #[must_use]
    pub const fn end_ms(&self) -> u64 {
        self.end_ms
    }

    fn is_time(&self, now_ms: u64) -> Result<bool, OidcRefusal> {
        if self.is_over {
            return Err(OidcRefusal::NotBegun);
        }
        if now_ms >= self.end_ms {
            return Err(OidcRefusal::TooLate);
        }
        Ok(now_ms >= self.next_ms)
    }

    /// A provider that cannot be asked now is asked later: that is no answer.
    fn unless_not_now(&mut self, polled: Result<Polled, OidcRefusal>, now_ms: u64) -> Result<Polled, OidcRefusal> {
        match polled {
            Err(OidcRefusal::Unavailable { trouble, .. }) => {
                Ok(self.pending(now_ms, self.interval_ms * 2, Some(trouble)))
            }
            Err(OidcRefusal::Busy) => Ok(self.pending(now_ms, self.interval_ms, None)),
            answered => answered,
        }
    }

    fn pending(&mut self, now_ms: u64, interval_ms: u64, trouble: Option<Trouble>) -> Polled {
        self.interval_ms = interval_ms.min(INTERVAL_MS_MAX);
        self.next_ms = now_ms.saturating_add(self.interval_ms);
        Polled::Pending { next_ms: self.next_ms, trouble }
    }
}

impl Providers {
    /// Begins a log-in with the provider of this issuer, or with the first.
    ///
    /// # Errors
    /// [`OidcRefusal`].
    pub async fn begin_device(&self, issuer: Option<&str>, now_ms: u64) -> Result<DeviceLogIn, OidcRefusal> {
        let provider = self.provider(issuer)?;
        let known = provider.known(now_ms).await?;
        let address = known.device.as_ref().ok_or(OidcRefusal::Lacks("log-in by device"))?;
        let scope = known.scope();
        let answer = provider.post(&known, address, &[("scope", &scope)]).await?;
        let unavailable = |trouble| provider.unavailable(trouble);
        if !answer.is_yes {
            return Err(OidcRefusal::Denied(exchange::error(&answer).map_err(unavailable)?));
        }
        let said = serde_json::from_slice(&answer.body).ok();
        let begun = said.and_then(|said| begun(provider, said, now_ms));
        begun.ok_or_else(|| unavailable(Trouble::Nonsense("answer to a log-in")))
    }

    /// Asks whether the user has answered. Whatever it says but [`Polled::Pending`] ends the log-in.
    ///
    /// # Errors
    /// [`OidcRefusal`], also when the log-in was begun with another realm.
    pub async fn poll_device(&self, log_in: &mut DeviceLogIn, now_ms: u64) -> Result<Polled, OidcRefusal> {
        if !self.providers.iter().any(|provider| Arc::ptr_eq(provider, &log_in.provider)) {
            return Err(OidcRefusal::NotBegun);
        }
        if !log_in.is_time(now_ms)? {
            return Ok(Polled::Pending { next_ms: log_in.next_ms, trouble: None });
        }
        let polled = self.ask_device(log_in, now_ms).await;
        log_in.is_over = !matches!(polled, Ok(Polled::Pending { .. }));
        polled
    }

    async fn ask_device(&self, log_in: &mut DeviceLogIn, now_ms: u64) -> Result<Polled, OidcRefusal> {
        let provider = Arc::clone(&log_in.provider);
        let interval_ms = log_in.interval_ms;
        // Asked meanwhile by somebody else, and when whoever waits here gives up.
        log_in.next_ms = now_ms.saturating_add(interval_ms);
        match self.answer(&provider, log_in, now_ms).await {
            Ok(Said::Yes(token)) => {
                let answered = provider.answered(&token, None, &self.limits, now_ms).await;
                log_in.token = Some(token);
                log_in.unless_not_now(answered.map(Polled::Done), now_ms)
            }
            Ok(Said::No(word)) => match word.as_str() {
                "authorization_pending" => Ok(log_in.pending(now_ms, interval_ms, None)),
                "slow_down" => Ok(log_in.pending(now_ms, interval_ms + SLOWER_MS, None)),
                "expired_token" => Err(OidcRefusal::TooLate),
                _ => Err(OidcRefusal::Denied(word)),
            },
            Err(refusal) => log_in.unless_not_now(Err(refusal), now_ms),
        }
    }

    /// What the provider says, or has said.
    async fn answer(
        &self,
        provider: &Arc<Provider>,
        log_in: &mut DeviceLogIn,
        now_ms: u64,
    ) -> Result<Said, OidcRefusal> {
        if let Some(token) = log_in.token.take() {
            return Ok(Said::Yes(token));
        }
        let known = provider.known(now_ms).await?;
        let fields = [("grant_type", GRANT), ("device_code", log_in.device_code.as_str())];
        provider.exchange(&known, &fields).await
    }
}

/// What the provider says, if a user can be shown it.
fn begun(provider: &Arc<Provider>, said: wire::Device, now_ms: u64) -> Option<DeviceLogIn> {
    let is_shown = !said.user_code.contains(text::is_harmful) && !said.user_code.trim().is_empty();
    let is_short = said.user_code.chars().count() <= CODE_CHARS_MAX && said.device_code.len() <= DEVICE_CODE_BYTES_MAX;
    let complete_address = match said.verification_uri_complete {
        Some(address) => Some(provider.address(&address)?.url().to_string()),
        None => None,
    };
    let interval_ms = said.interval.map_or(INTERVAL_MS, |interval| interval.max(1).saturating_mul(1_000));
    let lasts_ms = said.expires_in.saturating_mul(1_000).min(LASTS_MS_MAX);
    let interval_ms = interval_ms.min(INTERVAL_MS_MAX);
    (is_shown && is_short).then_some(DeviceLogIn {
        provider: Arc::clone(provider),
        device_code: said.device_code,
        user_code: said.user_code,
        address: provider.address(&said.verification_uri)?.url().to_string(),
        complete_address,
        interval_ms,
        next_ms: now_ms.saturating_add(interval_ms),
        end_ms: now_ms.saturating_add(lasts_ms),
        is_over: false,
        token: None,
    })
}

impl fmt::Debug for DeviceLogIn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DeviceLogIn")
            .field("address", &self.address)
            .field("next_ms", &self.next_ms)
            .field("end_ms", &self.end_ms)
            .finish_non_exhaustive()
    }
}
