//! A token as text: taken apart, bounded, and verified with one key. Nothing is believed before [`Claimed::verify`].

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use super::crypto::{self, ALLOWED};
use super::refusal::OidcRefusal;
use super::wire::Head;

/// Longest name of an issuer or a key that is looked at.
const NAME_BYTES_MAX: usize = 2_048;

/// Claims whose signature was verified.
pub(super) type Claims = Map<String, Value>;

/// What a token is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be let in: an access token, or an ID token.
    Bearer,
    /// The provider's answer to a log-in: an ID token.
    Answer,
}

impl Use {
    /// Whether a token of this type is made for it. Other tokens of the same provider, such as those that end sessions,
    /// are signed with the same keys.
    fn takes(self, kind: &str) -> bool {
        let kind = kind.to_ascii_lowercase();
        match kind.strip_prefix("application/").unwrap_or(&kind) {
            "jwt" => true,
            "at+jwt" => self == Self::Bearer,
            _ => false,
        }
    }
}

/// What a token says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed<'a> {
    text: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
}

impl<'a> Claimed<'a> {
    /// Takes it apart. Whatever cannot be good is refused here, before any key is looked at or asked for.
    pub(super) fn parse(text: &'a str, usage: Use, bytes_max: usize) -> Result<Self, OidcRefusal> {
        if text.len() > bytes_max {
            return Err(OidcRefusal::TooLong { bytes_max });
        }
        let mut parts = text.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OidcRefusal::Form("it has not three parts"));
        };
        let head: Head =
            serde_json::from_slice(&decoded(head)?).map_err(|_| OidcRefusal::Form("its header cannot be read"))?;
        let allowed = ALLOWED.iter().find(|(name, _)| *name == head.alg);
        let (_, algorithm) = *allowed.ok_or_else(|| OidcRefusal::Algorithm(head.alg.clone()))?;
        if head.crit.is_some() || head.b64.is_some() {
            return Err(OidcRefusal::Form("its header asks for what is not known here"));
        }
        if let Some(kind) = head.typ.filter(|kind| !usage.takes(kind)) {
            return Err(OidcRefusal::Type(kind));
        }
        decoded(signature)?;
        let claims: Claims =
            serde_json::from_slice(&decoded(claims)?).map_err(|_| OidcRefusal::Form("its claims cannot be read"))?;
        let issuer = claims.get("iss").and_then(Value::as_str).filter(|issuer| issuer.len() <= NAME_BYTES_MAX);
        Ok(Self {
            text,
            algorithm,
            key: head.kid.filter(|name| name.len() <= NAME_BYTES_MAX),
            issuer: issuer.ok_or_else(|| missing("iss"))?.to_owned(),
            audience: audience(&claims).ok_or_else(|| missing("aud"))?,
        })
    }

    /// Its claims, if this key signed them, and they are by this issuer and for this audience.
    ///
    /// Times are not looked at: the library would take the machine's clock.
    pub(super) fn verify(&self, key: &DecodingKey, issuer: &str, audience: &str) -> Result<Claims, OidcRefusal> {
        if !crypto::is_ready() {
            return Err(OidcRefusal::Signature);
        }
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        let verified = jsonwebtoken::decode::<Claims>(self.text, key, &validation);
        verified.map(|token| token.claims).map_err(|error| self.refusal(error.into_kind(), audience))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the library says is a refusal as well")]
    fn refusal(&self, error: ErrorKind, audience: &str) -> OidcRefusal {
        match error {
            ErrorKind::InvalidSignature => OidcRefusal::Signature,
            ErrorKind::InvalidIssuer => OidcRefusal::Issuer(self.issuer.clone()),
            ErrorKind::InvalidAudience => OidcRefusal::Audience { expected: audience.to_owned() },
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => OidcRefusal::Claim(claim),
            _ => OidcRefusal::Form("it cannot be read"),
        }
    }
}

pub(super) fn missing(claim: &str) -> OidcRefusal {
    OidcRefusal::Claim(claim.to_owned())
}

/// One name or a list of them.
pub(super) fn audience(claims: &Claims) -> Option<Vec<String>> {
    match claims.get("aud")? {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all.iter().map(|one| one.as_str().map(ToOwned::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, OidcRefusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| OidcRefusal::Form("a part is not base64url"))?;
    if bytes.is_empty() { Err(OidcRefusal::Form("a part is empty")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(head: &str, claims: &str, signature: &[u8]) -> String {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}.{}", part(head.as_bytes()), part(claims.as_bytes()), part(signature))
    }

    fn parse(text: &str) -> Result<Claimed<'_>, OidcRefusal> {
        Claimed::parse(text, Use::Bearer, 1_000)
    }

    const CLAIMS: &str = r#"{"iss": "https://a", "aud": ["b", "c"]}"#;

    proptest! {
        #[test]
        fn no_text_ends_the_parser(text in r"(?s).{0,200}") {
            prop_assert!(parse(&text).is_err());
        }

        #[test]
        fn no_parts_of_any_bytes_do(head in any::<Vec<u8>>(), claims in any::<Vec<u8>>(), rest in any::<Vec<u8>>()) {
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let text = format!("{}.{}.{}", part(&head), part(&claims), part(&rest));
            prop_assert!(parse(&text).is_err());
        }

        #[test]
        fn no_values_where_others_belong_do(
            alg in r#"(null|1|"RS256"|"none"|\[\]|"HS256")"#,
            more in r#"(|, "kid": 1|, "typ": \{\}|, "crit": null|, "crit": \[\]|, "jwk": \[\[\[1\]\]\])"#,
            issuer in r#"(null|1|"a"|\["a"\]|\{"a": "a"\})"#,
            audience in r#"(null|1|"a"|\["a"\]|\["a", 1\]|\[\[\]\])"#,
        ) {
            let head = format!(r#"{{"alg": {alg}{more}}}"#);
            let claims = format!(r#"{{"iss": {issuer}, "aud": {audience}}}"#);
            let is_good = alg == r#""RS256""#
                && ["", r#", "crit": null"#, r#", "jwk": [[[1]]]"#].contains(&more.as_str())
                && issuer == r#""a""#
                && [r#""a""#, r#"["a"]"#].contains(&audience.as_str());
            prop_assert_eq!(parse(&token(&head, &claims, b"x")).is_ok(), is_good);
        }

        #[test]
        fn no_token_that_was_changed_is_verified(place in 0_usize..400, bit in 0_u8..8) {
            let (text, key) = signed();
            let mut bytes = text.clone().into_bytes();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            // What is no text never comes this far.
            if let Ok(changed) = String::from_utf8(bytes) && let Ok(claimed) = parse(&changed) {
                prop_assert!(claimed.verify(&key, "https://a", "b").is_err());
            }
        }
    }

    /// A good token, and the key for it.
    fn signed() -> (String, DecodingKey) {
        use ring::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let unsigned = token(r#"{"alg": "EdDSA"}"#, CLAIMS, b"");
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(unsigned.trim_end_matches('.').as_bytes()));
        (unsigned + &signature, DecodingKey::from_ed_der(pair.public_key().as_ref()))
    }

    #[test]
    fn a_good_token_is_taken_apart_and_verified() {
        let (text, key) = signed();
        let claimed = parse(&text).unwrap();
        assert_eq!((claimed.issuer.as_str(), claimed.audience.len()), ("https://a", 2));
        assert!(claimed.verify(&key, "https://a", "c").is_ok());
        assert_eq!(claimed.verify(&key, "https://a", "d"), Err(OidcRefusal::Audience { expected: "d".to_owned() }));
        let issuer = OidcRefusal::Issuer("https://a".to_owned());
        assert_eq!(claimed.verify(&key, "https://a/", "b"), Err(issuer));
    }

    #[test]
    fn algorithms_that_prove_nothing_are_refused_before_anything_else() {
        for name in ["none", "None", "HS256", "HS384", "HS512", "RS1", "", "ES384", "RS256 "] {
            let text = token(&format!(r#"{{"alg": "{name}"}}"#), "", b"");
            assert_eq!(parse(&text), Err(OidcRefusal::Algorithm(name.to_owned())));
        }
    }

    #[test]
    fn a_token_is_bounded_and_of_its_type() {
        let long = token(r#"{"alg": "RS256"}"#, CLAIMS, &[1; 1_000]);
        assert_eq!(parse(&long), Err(OidcRefusal::TooLong { bytes_max: 1_000 }));
        let is_taken = |kind: &str, usage| {
            let text = token(&format!(r#"{{"alg": "RS256", "typ": "{kind}"}}"#), CLAIMS, b"x");
            Claimed::parse(&text, usage, 1_000).is_ok()
        };
        for (kind, as_bearer, as_answer) in [
            ("JWT", true, true),
            ("jwt", true, true),
            ("at+jwt", true, false),
            ("application/at+JWT", true, false),
            ("logout+jwt", false, false),
            ("dpop+jwt", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_taken(kind, Use::Bearer), is_taken(kind, Use::Answer)), (as_bearer, as_answer), "{kind}");
        }
    }

    #[test]
    fn what_a_header_calls_critical_is_not_passed_over() {
        for more in [r#""crit": ["exp"]"#, r#""crit": ["b64"], "b64": false"#, r#""b64": false"#] {
            let text = token(&format!(r#"{{"alg": "RS256", {more}}}"#), CLAIMS, b"x");
            assert!(matches!(parse(&text), Err(OidcRefusal::Form(_))), "{more}");
        }
    }
}
