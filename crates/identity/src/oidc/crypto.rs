//! The cryptography of ring, which TLS has too, for the library that reads tokens.
//!
//! Nothing is computed here: which of ring's verifications an algorithm's name means, and nothing else.

use std::sync::OnceLock;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as verification;

/// What may be in a token's header: signatures that only the provider can make.
pub(super) const ALLOWED: [(&str, Algorithm); 4] = [
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];

/// Tokens are read here, and never made; nor are keys taken apart by the library.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Whether the library verifies by ring: it panics where it has nothing, and must not have something else.
pub(super) fn is_ready() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| RING.install_default().is_ok())
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let is_taken = ALLOWED.iter().any(|(_, allowed)| allowed == algorithm);
    if !is_taken || key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.clone() }))
}

impl Verifier<Vec<u8>> for Ring {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here verifies nothing")]
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa = |parameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                verification::RsaPublicKeyComponents { n, e }.verify(parameters, message, signed)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(ring::error::Unspecified),
        };
        let plain = |algorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => {
                verification::UnparsedPublicKey::new(algorithm, key).verify(message, signed)
            }
            DecodingKeyKind::RsaModulusExponent { .. } => Err(ring::error::Unspecified),
        };
        let verified = match self.algorithm {
            Algorithm::RS256 => rsa(&verification::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::PS256 => rsa(&verification::RSA_PSS_2048_8192_SHA256),
            Algorithm::ES256 => plain(&verification::ECDSA_P256_SHA256_FIXED),
            Algorithm::EdDSA => plain(&verification::ED25519),
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
