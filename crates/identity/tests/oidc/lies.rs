//! Providers that lie, say too much, or say nothing.

use std::time::Instant;

use serde_json::json;

use super::fake::{Fake, NOW_MS, Says, part, public, signed, whole};
use super::*;

/// Out of patience soon.
fn soon() -> Limits {
    Limits { answer: Duration::from_millis(500), ..Limits::default() }
}

async fn asked(fake: &Fake) -> Trouble {
    let providers = in_clear(vec![entry(&fake.document())], soon());
    let token = fake.token(&json!({}));
    let asked = providers.verify_bearer(&token, NOW_MS);
    trouble(tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it ends by itself"))
}

#[tokio::test]
async fn one_that_does_not_lie_is_believed() {
    let fake = Fake::new();
    let providers = in_clear(vec![entry(&fake.document())], limits());
    let identified = providers.verify_bearer(&fake.token(&json!({})), NOW_MS).await.unwrap();
    assert_eq!((identified.user.as_str(), identified.expires_ms), ("ada", NOW_MS + 300_000));
}

#[tokio::test]
async fn a_document_of_another_issuer_is_refused() {
    let fake = Fake::new();
    for issuer in ["https://idp.test", "", "http://127.0.0.1"] {
        fake.has(&json!({ "issuer": issuer }));
        assert_eq!(asked(&fake).await, Trouble::Issuer(issuer.to_owned()));
    }
    assert_eq!(fake.asked("/jwks"), 0, "no key of it is of use");
}

#[tokio::test]
async fn tokens_have_the_issuer_to_the_letter() {
    let fake = Fake::new();
    let with = format!("{}/", fake.issuer());
    let providers = in_clear(vec![entry(&fake.document())], limits());
    let token = fake.token(&json!({ "iss": with }));
    assert_eq!(providers.verify_bearer(&token, NOW_MS).await, Err(OidcRefusal::Issuer(with.clone())));
    fake.has(&json!({ "issuer": with }));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert!(providers.verify_bearer(&token, NOW_MS).await.is_ok());
    assert!(providers.verify_bearer(&fake.token(&json!({})), NOW_MS).await.is_err());
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let fake = Fake::new();
    fake.has(&json!({"more": "x".repeat(600_000)}));
    assert_eq!(asked(&fake).await, Trouble::TooLong { bytes_max: 512 * 1024 });
    let begun = Instant::now();
    for says in [Says::Nothing, Says::Endless] {
        fake.says_document(says.clone());
        assert_eq!(asked(&fake).await, Trouble::Slow("answer"));
        fake.has(&json!({}));
        fake.says("/jwks", says);
        assert_eq!(asked(&fake).await, Trouble::Slow("answer"));
        fake.has_keys(&[1]);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn headers_are_bounded_too() {
    let fake = Fake::new();
    let body = fake.its_document().to_string();
    for headers in ["a: b\r\n".repeat(101), format!("a: {}\r\n", "b".repeat(300_000))] {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
        fake.says_document(Says::Raw((head + &body).into_bytes()));
        assert!(matches!(asked(&fake).await, Trouble::Http(_)));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (fake, other) = (Fake::new(), Fake::new());
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let head = format!("HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.document());
        fake.says_document(Says::Raw(head.into_bytes()));
        assert!(matches!(asked(&fake).await, Trouble::Redirect(_)), "{status}");
    }
    assert_eq!(other.asked("/.well-known/openid-configuration"), 0);
}

#[tokio::test]
async fn what_is_no_json_or_has_something_else_in_it_is_refused() {
    let fake = Fake::new();
    for body in ["<html>", "", "[]", "{}", r#"{"issuer": 1}"#, r#"{"issuer": "a", "issuer": "b"}"#, &"[".repeat(9_999)]
    {
        fake.says_document(Says::Raw(whole("200 OK", body)));
        assert_eq!(asked(&fake).await, Trouble::Nonsense("discovery document"), "{body}");
    }
    fake.says_document(Says::Raw(whole("503 Service Unavailable", "{}")));
    assert_eq!(asked(&fake).await, Trouble::Status(503));
    fake.says_document(Says::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()));
    assert!(matches!(asked(&fake).await, Trouble::Http(_)));
    fake.has(&json!({}));
    fake.says("/jwks", Says::Json(json!([public(1)])));
    assert_eq!(asked(&fake).await, Trouble::Nonsense("key set"));
}

#[tokio::test]
async fn ten_thousand_keys_are_too_many() {
    let fake = Fake::new();
    let mut keys = vec![json!({"kty": "oct", "k": "AA"}); 10_000];
    keys.push(public(1));
    fake.says("/jwks", Says::Json(json!({ "keys": keys })));
    assert_eq!(asked(&fake).await, Trouble::TooManyKeys { keys_max: 64 });
}

#[tokio::test]
async fn addresses_of_other_schemes_are_not_asked() {
    let fake = Fake::new();
    for address in [
        "ftp://127.0.0.1/jwks",
        "file:///etc/passwd",
        "http://192.0.2.1/jwks",
        "http://idp.test/jwks",
        "/jwks",
        "",
        "https://user@127.0.0.1/jwks",
        "data:application/json,{}",
        "https://127.0.0.1/jwks#x",
    ] {
        fake.has(&json!({ "jwks_uri": address }));
        assert_eq!(asked(&fake).await, Trouble::Address("jwks_uri"), "{address}");
    }
    fake.has(&json!({"token_endpoint": "http://192.0.2.1/token"}));
    assert_eq!(asked(&fake).await, Trouble::Address("token_endpoint"));
}

#[tokio::test]
async fn a_shared_secret_among_the_keys_is_no_key() {
    let fake = Fake::new();
    let secret = json!({"kty": "oct", "k": public(1)["x"], "kid": "key 1"});
    let others = [
        secret.clone(),
        json!({"kty": "oct", "k": "", "kid": "key 1", "alg": "EdDSA"}),
        json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "key 1"}),
        json!("no key"),
        json!({"kty": "OKP", "crv": "X25519", "x": public(1)["x"], "kid": "key 1"}),
    ];
    fake.says("/jwks", Says::Json(json!({ "keys": others })));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    let refused = providers.verify_bearer(&fake.token(&json!({})), NOW_MS).await;
    assert_eq!(refused, Err(OidcRefusal::NoKey("key 1".to_owned())));
    // One that is of use is not lost among them.
    fake.says("/jwks", Says::Json(json!({ "keys": [secret, public(1)] })));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert!(providers.verify_bearer(&fake.token(&json!({})), NOW_MS).await.is_ok());
}

#[tokio::test]
async fn a_key_is_used_for_what_it_is_meant_for() {
    let fake = Fake::new();
    for (member, value, is_taken) in [
        ("use", json!("enc"), false),
        ("use", json!("sig"), true),
        ("key_ops", json!(["sign"]), false),
        ("key_ops", json!(["verify"]), true),
        ("alg", json!("ES256"), false),
        ("alg", json!("ECDH-ES"), false),
    ] {
        let mut key = public(1);
        key.as_object_mut().unwrap().insert(member.to_owned(), value.clone());
        fake.says("/jwks", Says::Json(json!({ "keys": [key] })));
        let providers = in_clear(vec![entry(&fake.document())], limits());
        let result = providers.verify_bearer(&fake.token(&json!({})), NOW_MS).await;
        assert_eq!(result.is_ok(), is_taken, "{member} {value}: {result:?}");
    }
}

#[tokio::test]
async fn a_key_is_named_or_the_only_one() {
    let fake = Fake::new();
    let claims = json!({
        "iss": fake.issuer(), "aud": "node", "iat": NOW_MS / 1_000, "exp": NOW_MS / 1_000 + 60, "preferred_username": "ada"
    });
    let nameless = signed(1, &json!({"alg": "EdDSA"}), &claims);
    let asked = async |keys: serde_json::Value, token: &str| {
        fake.says("/jwks", Says::Json(json!({ "keys": keys })));
        in_clear(vec![entry(&fake.document())], limits()).verify_bearer(token, NOW_MS).await.map(drop)
    };
    assert_eq!(asked(json!([public(1)]), &nameless).await, Ok(()));
    assert_eq!(asked(json!([public(1), public(2)]), &nameless).await, Err(OidcRefusal::WhichKey));
    let named = fake.token(&json!({}));
    let mut same = public(2);
    same["kid"] = json!("key 1");
    assert_eq!(asked(json!([public(1), same]), &named).await, Err(OidcRefusal::WhichKey));
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_looked_at() {
    let fake = Fake::new();
    let claims = json!({
        "iss": fake.issuer(), "aud": "node", "iat": NOW_MS / 1_000, "exp": NOW_MS / 1_000 + 60, "preferred_username": "ada"
    });
    let own = public(9);
    let head = json!({
        "alg": "EdDSA", "kid": "key 1", "jwk": own, "jku": format!("{}/own", fake.issuer()), "x5u": "http://127.0.0.1/"
    });
    fake.says("/own", Says::Json(json!({ "keys": [own] })));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert_eq!(providers.verify_bearer(&signed(9, &head, &claims), NOW_MS).await, Err(OidcRefusal::Signature));
    assert_eq!(fake.asked("/own"), 0);
}

#[tokio::test]
async fn a_token_that_is_no_good_asks_nobody() {
    let fake = Fake::new();
    let providers = in_clear(vec![entry(&fake.document())], limits());
    let good = fake.token(&json!({}));
    let long = fake.token(&json!({"more": "x".repeat(20_000)}));
    for bad in [
        "",
        "a.b",
        "a.b.c.d",
        &good.replace('.', "!"),
        &long,
        &format!("{good}.x"),
        &format!("{good}="),
        &format!("{}.{}.", part(&json!({"alg": "EdDSA"})), part(&json!({"iss": fake.issuer(), "aud": "node"}))),
        &fake.token(&json!({"iss": "https://idp.test"})),
        &fake.token(&json!({"iss": ["x"]})),
        &fake.token(&json!({"aud": 1})),
    ] {
        assert!(providers.verify_bearer(bad, NOW_MS).await.is_err(), "{bad}");
    }
    assert_eq!(fake.asked("/.well-known/openid-configuration"), 0);
}
