//! A provider's keys: which of them a token's header means.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::refusal::{OidcRefusal, Trouble};
use super::wire;

/// How many keys a provider may publish, usable or not.
pub(super) const KEYS_MAX: usize = 64;
/// Longest name of a key.
const NAME_BYTES_MAX: usize = 512;

/// The keys that signatures can be checked with.
pub(super) struct Keys(Vec<Key>);

struct Key {
    name: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Keys {
    /// Reads them. More than there may be is a refusal; one that is of no use here is passed over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Trouble> {
        let set: wire::Keys = serde_json::from_slice(bytes).map_err(|_| Trouble::Nonsense("key set"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(Trouble::TooManyKeys { keys_max: KEYS_MAX });
        }
        let keys = set.keys.into_iter().filter_map(|value| usable(serde_json::from_value(value).ok()?));
        Ok(Self(keys.collect()))
    }

    /// The one key that is meant; `None` when there is none of this name.
    ///
    /// # Errors
    /// [`OidcRefusal::WhichKey`], when it could be several.
    pub(super) fn find(&self, name: Option<&str>, algorithm: Algorithm) -> Result<Option<&DecodingKey>, OidcRefusal> {
        let is_meant = |key: &&Key| {
            key.algorithms.contains(&algorithm) && name.is_none_or(|name| key.name.as_deref() == Some(name))
        };
        let mut meant = self.0.iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (_, Some(_)) => Err(OidcRefusal::WhichKey),
            (found, None) => Ok(found.map(|found| &found.key)),
        }
    }
}

/// A public key for signatures. A shared secret is none, wherever it comes from.
fn usable(key: Jwk) -> Option<Key> {
    let common = &key.common;
    let is_for_signatures = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let named =
        |algorithm: &Algorithm| common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(*algorithm));
    let algorithms: Vec<_> = fitting(&key.algorithm).iter().copied().filter(named).collect();
    let is_named = common.key_id.as_ref().is_none_or(|name| name.len() <= NAME_BYTES_MAX);
    if !is_for_signatures || !is_named || algorithms.is_empty() {
        return None;
    }
    Some(Key { algorithms, key: DecodingKey::from_jwk(&key).ok()?, name: key.common.key_id })
}

/// What a key of this kind can check.
#[expect(clippy::wildcard_enum_match_arm, reason = "keys of every other kind are of no use, those to come too")]
fn fitting(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => &[],
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|key| key.name.as_deref().unwrap_or("without a name"));
        out.debug_list().entries(names).finish()
    }
}
