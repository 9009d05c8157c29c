//! What both ways to log in share: questions to the token endpoint, and what its ID token says.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::Value;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::http::{Address, Answer, Sent};
use super::provider::{Known, Provider};
use super::refusal::{OidcRefusal, Trouble};
use super::token::{Claimed, Use};
use super::{Identified, Limits, wire};

/// What is asked for, as far as the provider has it: the claims that names are usually in.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];
/// Longest word of an error that is kept.
const ERROR_BYTES_MAX: usize = 128;

/// A yes with an ID token, or the word of a no.
pub(super) enum Said {
    Yes(Zeroizing<String>),
    No(String),
}

impl Known {
    /// What to ask for. `openid` always: it makes an ID token.
    pub(super) fn scope(&self) -> String {
        let has = |scope: &&&str| {
            self.scopes.as_ref().is_none_or(|all| **scope == "openid" || all.iter().any(|one| one == **scope))
        };
        SCOPES.iter().filter(has).copied().collect::<Vec<_>>().join(" ")
    }
}

impl Provider {
    /// Sends a form as the realm's client, which says who it is in the way that the provider takes.
    pub(super) async fn post(
        &self,
        known: &Known,
        address: &Address,
        fields: &[(&str, &str)],
    ) -> Result<Answer, OidcRefusal> {
        let _place = self.log_ins.try_acquire().map_err(|_| OidcRefusal::Busy)?;
        let sent = self.form(known, fields).map_err(|trouble| self.unavailable(trouble))?;
        self.http.ask(address, sent).await.map_err(|trouble| self.unavailable(trouble))
    }

    fn form(&self, known: &Known, fields: &[(&str, &str)]) -> Result<Sent, Trouble> {
        let client = self.expected.client_id.as_str();
        let takes = |method: &str| known.methods.as_ref().is_some_and(|all| all.iter().any(|one| one == method));
        let mut form = Serializer::new(String::new());
        form.extend_pairs(fields);
        let who = match &self.secret {
            // What a provider that names none takes.
            Some(secret) if known.methods.is_none() || takes("client_secret_basic") => Some(basic(client, secret)),
            Some(secret) if takes("client_secret_post") => {
                form.append_pair("client_id", client).append_pair("client_secret", secret);
                None
            }
            Some(_) => return Err(Trouble::Secret),
            None => {
                form.append_pair("client_id", client);
                None
            }
        };
        Ok(Sent::Form(Zeroizing::new(form.finish()), who))
    }

    /// Asks for an ID token.
    pub(super) async fn exchange(&self, known: &Known, fields: &[(&str, &str)]) -> Result<Said, OidcRefusal> {
        let address = known.token.as_ref().ok_or(OidcRefusal::Lacks("token endpoint"))?;
        let answer = self.post(known, address, fields).await?;
        read(&answer).map_err(|trouble| self.unavailable(trouble))
    }

    /// Who the ID token of a log-in is about. `nonce`: what was sent for it to be in there.
    pub(super) async fn answered(
        self: &Arc<Self>,
        token: &str,
        nonce: Option<&str>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Identified, OidcRefusal> {
        let claimed = Claimed::parse(token, Use::Answer, limits.token_bytes_max)?;
        let claims = self.verify(&claimed, &self.expected.client_id, now_ms).await?;
        if nonce.is_some() && claims.get("nonce").and_then(Value::as_str) != nonce {
            return Err(OidcRefusal::Nonce);
        }
        self.expected.identify(&claims, true, limits, now_ms)
    }
}

pub(super) fn read(answer: &Answer) -> Result<Said, Trouble> {
    let nonsense = |_| Trouble::Nonsense("answer to a log-in");
    if answer.is_yes {
        let tokens: wire::Tokens = serde_json::from_slice(&answer.body).map_err(nonsense)?;
        return Ok(Said::Yes(tokens.id_token));
    }
    Ok(Said::No(error(answer)?))
}

/// The word of a no.
pub(super) fn error(answer: &Answer) -> Result<String, Trouble> {
    let no: wire::No = serde_json::from_slice(&answer.body).map_err(|_| Trouble::Nonsense("answer to a log-in"))?;
    if no.error.len() > ERROR_BYTES_MAX {
        return Err(Trouble::Nonsense("answer to a log-in"));
    }
    Ok(no.error)
}

/// RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
fn basic(client: &str, secret: &str) -> Zeroizing<String> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = Zeroizing::new(format!("{}:{}", encoded(client), &*Zeroizing::new(encoded(secret))));
    Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(both.as_bytes()))))
}

/// 256 random bits, as text.
pub(super) fn random() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    // The kernel gives as few bytes at once, or none.
    let count = getrandom(bytes.as_mut_slice(), GetRandomFlags::empty()).ok()?;
    (count == 32).then(|| Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}
