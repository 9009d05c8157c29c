//! Tokens of OpenID providers, shown with each request: verified by the realm whose provider made them.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use stockade_identity::entry::{Credential, Proof};
use stockade_identity::oidc::{Identified, OidcRefusal};

use super::Security;
use super::claim::{Claim, Way};
use super::directories::{Authority, Held, Realm};
use super::force::{Name, is_name};

const METHOD: &str = "provider token";
/// Tokens, with where they were shown, that are remembered as on record; one that is forgotten is on record again.
const SEEN_MAX: usize = 16_384;

/// Which tokens are on record, from where.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashSet<Showing>>);

/// A token and where it was shown. Of the token only what it hashes to is kept.
pub(super) type Showing = ([u8; 32], IpAddr);

impl Seen {
    fn has(&self, showing: &Showing) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(showing)
    }

    pub(super) fn remember(&self, showing: Showing) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(showing);
    }
}

/// Whether a text is a token of somebody else's making. What it says is verified later.
pub(super) fn is_foreign(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Security {
    /// Asks each realm of providers whether the token is of it; the first whose issuer and audience it has decides.
    pub(super) async fn by_bearer(&self, text: &str, way: Way) -> Claim {
        let showing = (Sha256::digest(text.as_bytes()).into(), way.from);
        let now_ms = u64::try_from(way.now.wall_ms).unwrap_or_default();
        let mut refused = no(Name::default(), &OidcRefusal::Issuer(String::new()));
        for (name, realm) in self.in_force().directories.of_providers() {
            let Ok(Authority::Providers(providers)) = realm.authority() else { continue };
            match providers.verify_bearer(text, now_ms).await {
                Ok(found) => return self.shown_by(identified(name, realm, found, METHOD), showing),
                Err(OidcRefusal::Issuer(_)) => {}
                Err(refusal) => {
                    refused = no(Name { realm: name.to_owned(), user: String::new() }, &refusal);
                    // Another realm may have the same provider, for tokens that are made for somebody else.
                    if !matches!(refusal, OidcRefusal::Audience { .. }) {
                        return refused;
                    }
                }
            }
        }
        refused
    }

    fn shown_by(&self, claim: Claim, showing: Showing) -> Claim {
        Claim { is_on_record: self.seen.has(&showing), showing: Some(showing), ..claim }
    }
}

/// Somebody for whom a provider vouches, if he can be called so here.
pub(super) fn identified(realm: &str, of: &Arc<Realm>, found: Identified, method: &'static str) -> Claim {
    let name = Name { realm: realm.to_owned(), user: found.user };
    if !is_name(&name) {
        let user = stockade_core::text::shown(&name.user, 200);
        let detail = format!("the provider calls the user `{user}`, as no principal of this node is");
        let name = Name { user: String::new(), ..name };
        return Claim { detail, ..Claim::of(name, Credential::Token(Proof::Wrong), method) };
    }
    let held = Held { roles: found.roles, realm: Arc::clone(of) };
    Claim { held: Some(held), ..Claim::of(name, Credential::Token(Proof::Right), method) }
}

fn no(name: Name, refusal: &OidcRefusal) -> Claim {
    tracing::debug!(why = %refusal, "a provider's token is refused");
    Claim {
        detail: refusal.to_string(),
        // When its keys may be asked for again.
        wait_ms: 5_000,
        ..Claim::of(name, Credential::Token(refusal.proof()), METHOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_an_end() {
        let seen = Seen::default();
        let showing = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            (digest, IpAddr::from([192, 0, 2, 1]))
        };
        for number in 0..=SEEN_MAX {
            seen.remember(showing(number));
        }
        assert!(seen.has(&showing(SEEN_MAX)) && !seen.has(&showing(0)));
        assert!(!seen.has(&(showing(SEEN_MAX).0, IpAddr::from([192, 0, 2, 2]))), "elsewhere it is new");
    }
}
