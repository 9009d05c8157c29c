//! Logging in with the browser that asks (authorization code with PKCE): each log-in has a state, a nonce and a verifier
//! of its own, which are used once.
//!
//! The state has to be held against the browser by the caller (a cookie): it tells that the log-in began here, not that it
//! began in the same browser.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::exchange::{self, Said};
use super::provider::Provider;
use super::refusal::{OidcRefusal, Trouble};
use super::{Identified, Limits, Providers};

/// Longest code or state that is looked at.
const WORD_BYTES_MAX: usize = 4_096;

/// A log-in that has begun: where to send the browser.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where.
    pub url: String,
    /// What comes back; the caller ties it to the browser.
    pub state: String,
}

/// What the browser brings back.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// `state`.
    pub state: &'a str,
    /// `code`, when it is a yes.
    pub code: Option<&'a str>,
    /// `error`, when it is a no.
    pub error: Option<&'a str>,
    /// `iss`: who answers.
    pub issuer: Option<&'a str>,
}

/// Log-ins under way. Their states are digests, as what is looked up with a stranger's text.
pub(super) struct UnderWay {
    count_max: usize,
    lasts_ms: u64,
    table: Mutex<HashMap<[u8; 32], One>>,
}

struct One {
    provider: Arc<Provider>,
    verifier: Zeroizing<String>,
    nonce: Zeroizing<String>,
    redirect: String,
    begun_ms: u64,
}

impl UnderWay {
    pub(super) fn new(limits: Limits) -> Self {
        Self { count_max: limits.under_way_max, lasts_ms: limits.under_way_ms, table: Mutex::default() }
    }

    /// Those that took too long make room; no other one does.
    fn add(&self, state: &str, one: One) -> Result<(), OidcRefusal> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, other| other.begun_ms.abs_diff(one.begun_ms) < self.lasts_ms);
        if table.len() >= self.count_max {
            return Err(OidcRefusal::Busy);
        }
        table.insert(digest(state), one);
        Ok(())
    }

    /// Takes it out, so that nobody takes it again.
    fn take(&self, state: &str, now_ms: u64) -> Result<One, OidcRefusal> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let one = table.remove(&digest(state)).ok_or(OidcRefusal::NotBegun)?;
        if one.begun_ms.abs_diff(now_ms) < self.lasts_ms { Ok(one) } else { Err(OidcRefusal::TooLate) }
    }
}

impl Providers {
    /// Begins a log-in with the provider of this issuer, or with the first. `redirect` is where the browser comes back
    /// to, as it is registered with the provider.
    ///
    /// # Errors
    /// [`OidcRefusal`].
    pub async fn begin_code(&self, issuer: Option<&str>, redirect: &str, now_ms: u64) -> Result<Begun, OidcRefusal> {
        let provider = self.provider(issuer)?;
        let known = provider.known(now_ms).await?;
        let address = known.authorization.as_ref().ok_or(OidcRefusal::Lacks("log-in by browser"))?;
        let random = || exchange::random().ok_or_else(|| provider.unavailable(Trouble::Randomness));
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let mut url = address.url().clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.expected.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &known.scope())
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(digest(&verifier)))
            .append_pair("code_challenge_method", "S256");
        let redirect = redirect.to_owned();
        let one = One { provider: Arc::clone(provider), verifier, nonce, redirect, begun_ms: now_ms };
        self.under_way.add(&state, one)?;
        Ok(Begun { url: url.to_string(), state: state.to_string() })
    }

    /// Ends a log-in with what the browser brought back.
    ///
    /// # Errors
    /// [`OidcRefusal`]; the log-in is over in any case.
    pub async fn finish_code(&self, answered: Answered<'_>, now_ms: u64) -> Result<Identified, OidcRefusal> {
        if answered.state.len() > WORD_BYTES_MAX {
            return Err(OidcRefusal::NotBegun);
        }
        let one = self.under_way.take(answered.state, now_ms)?;
        let known = one.provider.known(now_ms).await?;
        // Another provider's answer, sent here to have its code shown to this one (RFC 9207).
        let is_other = answered.issuer.is_some_and(|issuer| issuer != known.issuer);
        if is_other || (answered.issuer.is_none() && known.says_issuer) {
            return Err(OidcRefusal::Issuer(answered.issuer.unwrap_or_default().to_owned()));
        }
        let code = match (answered.code, answered.error) {
            (Some(code), None) if code.len() <= WORD_BYTES_MAX => code,
            (_, error) => return Err(OidcRefusal::Denied(error.unwrap_or("no code").to_owned())),
        };
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", one.redirect.as_str()),
            ("code_verifier", one.verifier.as_str()),
        ];
        match one.provider.exchange(&known, &fields).await? {
            Said::Yes(token) => one.provider.answered(&token, Some(&one.nonce), &self.limits, now_ms).await,
            Said::No(word) => Err(OidcRefusal::Denied(word)),
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl fmt::Debug for Begun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl fmt::Debug for Answered<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answered").finish_non_exhaustive()
    }
}
