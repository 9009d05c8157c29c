//! What is tried with texts of anybody, by `fuzz/`.

use jsonwebtoken::Algorithm;

use super::token::{Claimed, Use};

/// What somebody could show as a token.
///
/// # Panics
/// When one that nobody could verify is taken for one that somebody could.
pub fn token(text: &str) {
    for usage in [Use::Bearer, Use::Answer] {
        if let Ok(claimed) = Claimed::parse(text, usage, 16 << 10) {
            let secret = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
            assert!(!secret.contains(&claimed.algorithm), "its key is everybody's");
            assert!(!claimed.issuer.is_empty(), "it is of nobody");
        }
    }
}
