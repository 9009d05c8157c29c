//! Tokens of a real provider.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;
use stockade_identity::entry::{Outside, Proof};
use stockade_identity::oidc::{Given, OidcRefusal, Providers, Trouble};
use stockade_testkit::oidc::Provider;

use super::fake::{Fake, part};
use super::*;

#[tokio::test]
async fn a_token_of_each_algorithm_says_who_it_is() {
    let Some(provider) = Provider::start() else { return };
    let providers = of(&provider);
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let identified =
            providers.verify_bearer(&provider.access_token(algorithm, "node", 60), now_ms()).await.unwrap();
        assert_eq!((identified.user.as_str(), identified.issuer), ("ada", provider.issuer()), "{algorithm}");
        assert_eq!(identified.roles, ["analysts", "data scientists"]);
        assert!(identified.expires_ms.abs_diff(now_ms()) <= 62_000);
    }
}

#[tokio::test]
async fn a_token_is_of_its_time_and_for_this_audience() {
    let Some(provider) = Provider::start() else { return };
    let providers = of(&provider);
    let token = provider.access_token("ES256", "node", 60);
    let later = providers.verify_bearer(&token, now_ms() + 125_000).await;
    assert!(matches!(later, Err(OidcRefusal::Over { .. })), "{later:?}");
    let earlier = providers.verify_bearer(&token, now_ms() - 65_000).await;
    assert!(matches!(earlier, Err(OidcRefusal::Early { .. })), "{earlier:?}");
    let other = providers.verify_bearer(&provider.access_token("ES256", "mail", 60), now_ms()).await;
    assert_eq!(other, Err(OidcRefusal::Audience { expected: "node".to_owned() }));
}

#[tokio::test]
async fn another_provider_is_not_believed_whatever_it_says_of_itself() {
    let (Some(provider), Some(other)) = (Provider::start(), Provider::start()) else { return };
    let providers = of(&provider);
    let token = other.access_token("ES256", "node", 60);
    assert_eq!(providers.verify_bearer(&token, now_ms()).await, Err(OidcRefusal::Issuer(other.issuer())));
    // With the key's name of one and the claims of the other.
    let ours = provider.access_token("ES256", "node", 60);
    let (head, rest) = ours.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    let mixed = format!("{head}.{claims}.{signature}");
    assert_eq!(providers.verify_bearer(&mixed, now_ms()).await, Err(OidcRefusal::Signature));
}

#[tokio::test]
async fn several_providers_of_a_realm_are_told_apart_by_the_issuer() {
    let (Some(provider), Some(other)) = (Provider::start(), Provider::start()) else { return };
    let both = [provider.authority(), other.authority()].concat();
    let providers = believing(&both, vec![entry(&provider.document()), entry(&other.document())], limits());
    for provider in [&provider, &other] {
        let token = provider.access_token("RS256", "node", 60);
        assert_eq!(providers.verify_bearer(&token, now_ms()).await.unwrap().issuer, provider.issuer());
    }
}

#[tokio::test]
async fn keys_that_were_changed_are_found_and_old_tokens_are_of_no_use() {
    let Some(mut provider) = Provider::start() else { return };
    let providers = of(&provider);
    let old = provider.access_token("RS256", "node", 600);
    let now_ms = now_ms();
    assert!(providers.verify_bearer(&old, now_ms).await.is_ok());
    provider.restart();
    let new = provider.access_token("RS256", "node", 600);
    // Asked a moment ago.
    assert!(matches!(providers.verify_bearer(&new, now_ms).await, Err(OidcRefusal::NoKey(_))));
    let later_ms = now_ms + limits().again_ms;
    assert!(providers.verify_bearer(&new, later_ms).await.is_ok());
    assert!(matches!(providers.verify_bearer(&old, later_ms).await, Err(OidcRefusal::NoKey(_))));
}

#[tokio::test]
async fn what_anybody_can_make_is_refused_before_a_key_is_asked_for() {
    let Some(mut provider) = Provider::start() else { return };
    let providers = of(&provider);
    let good = provider.access_token("RS256", "node", 60);
    let keys = provider.keys();
    let key = &keys["keys"][0];
    assert_eq!(key["kty"], "RSA");
    let (_, rest) = good.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    provider.stop();

    let none = format!("{}.{claims}.", part(&json!({"alg": "none", "kid": key["kid"]})));
    assert_eq!(providers.verify_bearer(&none, now_ms()).await, Err(OidcRefusal::Algorithm("none".to_owned())));
    // The public key taken for a shared secret: the modulus, its text, and the whole key.
    let modulus = key["n"].as_str().unwrap();
    let secrets =
        [BASE64_URL_SAFE_NO_PAD.decode(modulus).unwrap(), modulus.as_bytes().to_vec(), key.to_string().into_bytes()];
    for secret in secrets {
        let text = format!("{}.{claims}", part(&json!({"alg": "HS256", "kid": key["kid"]})));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text.as_bytes());
        let token = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        let refused = providers.verify_bearer(&token, now_ms()).await.unwrap_err();
        assert_eq!(refused, OidcRefusal::Algorithm("HS256".to_owned()));
        assert_eq!((refused.proof(), refused.outside()), (Proof::Wrong, Outside::No));
    }
    // It is not there to be asked: a good token is for another time.
    let later = providers.verify_bearer(&good, now_ms()).await.unwrap_err();
    assert_eq!((later.proof(), later.outside()), (Proof::NotNow, Outside::Wait));
}

#[tokio::test]
async fn a_provider_without_a_good_certificate_is_not_asked() {
    let (Some(provider), Some(other)) = (Provider::start(), Provider::start()) else { return };
    let token = provider.access_token("ES256", "node", 60);
    let providers = believing(&other.authority(), vec![entry(&provider.document())], limits());
    assert!(matches!(trouble(providers.verify_bearer(&token, now_ms()).await), Trouble::Tls(_)));
    // The right authority, and another name than the certificate has.
    let document = provider.document().replace("localhost", "127.0.0.1");
    let providers = believing(&provider.authority(), vec![client(&document, "stockade-cli", None)], limits());
    assert!(matches!(trouble(providers.begin_device(None, now_ms()).await), Trouble::Tls(_)));
}

#[test]
fn without_encryption_no_provider_is_asked_unless_a_test_wants_it() {
    let fake = Fake::new();
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| None, secret: &|_| None, resolver: &resolver };
    let made = |document: &str| Providers::new(&realm(vec![entry(document)]), given, limits()).map(drop);
    assert!(made(&fake.document()).unwrap_err().to_string().contains("begins with https"));
    assert!(made("https://idp.test/.well-known/openid-configuration").unwrap_err().to_string().contains("no TLS"));
    assert!(made("https://idp.test/x").unwrap_err().to_string().contains("does not end with"));
    let elsewhere = realm(vec![entry("http://192.0.2.1/.well-known/openid-configuration")]);
    assert!(Providers::dangerous_with_plaintext_on_loopback(&elsewhere, given, limits()).is_err());
}

#[test]
fn the_profile_that_a_provider_names_is_the_one_whose_authorities_count() {
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let asked = std::cell::RefCell::new(Vec::new());
    let tls = |name: Option<&str>| {
        asked.borrow_mut().push(name.map(ToOwned::to_owned));
        None
    };
    let given = Given { tls: &tls, secret: &|_| None, resolver: &resolver };
    let document = "https://idp.test/.well-known/openid-configuration";
    let named = OidcProvider { profile: Some("our authority".to_owned()), ..entry(document) };
    for provider in [named, entry(document)] {
        assert!(Providers::new(&realm(vec![provider]), given, limits()).is_err());
    }
    assert_eq!(*asked.borrow(), [Some("our authority".to_owned()), None]);
}

#[test]
fn a_secret_that_cannot_be_said_is_none() {
    let resolver: Arc<dyn Resolve> = Arc::new(Here);
    let given = Given { tls: &|_| None, secret: &|_| None, resolver: &resolver };
    let fake = Fake::new();
    for secret in [Secret::Hash("$argon2id$".to_owned()), Secret::File("/x".to_owned()), Secret::Clear(String::new())] {
        let provider = OidcProvider { client_secret: Some(secret), ..entry(&fake.document()) };
        let made = Providers::dangerous_with_plaintext_on_loopback(&realm(vec![provider]), given, limits());
        assert!(made.unwrap_err().to_string().contains("secret"));
    }
}
