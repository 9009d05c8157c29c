//! Log-ins whose answers are of somebody else, too late, or not what was asked for.

use serde_json::{Value, json};
use stockade_identity::oidc::{Answered, Begun, Polled};

use super::fake::{Fake, NOW_MS, Says};
use super::*;

const REDIRECT: &str = "https://node.test/back";

fn of(fake: &Fake) -> Providers {
    in_clear(vec![client(&fake.document(), "stockade", None)], limits())
}

async fn begun(providers: &Providers) -> Begun {
    providers.begin_code(None, REDIRECT, NOW_MS).await.unwrap()
}

fn answered(begun: &Begun) -> Answered<'_> {
    Answered { state: &begun.state, code: Some("a code"), error: None, issuer: None }
}

fn sent(begun: &Begun, name: &str) -> String {
    let url = url::Url::parse(&begun.url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

fn says_token(fake: &Fake, claims: &Value) {
    let mut all = json!({"aud": "stockade"});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    fake.says("/token", Says::Json(json!({"id_token": fake.token(&all), "access_token": "x", "token_type": "Bearer"})));
}

#[tokio::test]
async fn an_id_token_of_another_log_in_is_refused() {
    let fake = Fake::new();
    let providers = of(&fake);
    let (first, second) = (begun(&providers).await, begun(&providers).await);
    says_token(&fake, &json!({"nonce": sent(&first, "nonce")}));
    assert_eq!(providers.finish_code(answered(&first), NOW_MS).await.unwrap().user, "ada");
    // The same token again, for the second.
    assert_eq!(providers.finish_code(answered(&second), NOW_MS).await, Err(OidcRefusal::Nonce));
    let third = begun(&providers).await;
    says_token(&fake, &json!({}));
    assert_eq!(providers.finish_code(answered(&third), NOW_MS).await, Err(OidcRefusal::Nonce));
}

#[tokio::test]
async fn an_id_token_is_for_this_client_and_of_its_provider() {
    let fake = Fake::new();
    let providers = of(&fake);
    for (claims, why) in [
        (json!({"aud": "other"}), OidcRefusal::Audience { expected: "stockade".to_owned() }),
        (json!({"azp": "other"}), OidcRefusal::Party("other".to_owned())),
        (json!({"iss": "https://idp.test"}), OidcRefusal::Issuer("https://idp.test".to_owned())),
    ] {
        let begun = begun(&providers).await;
        let mut all = json!({"nonce": sent(&begun, "nonce")});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        says_token(&fake, &all);
        assert_eq!(providers.finish_code(answered(&begun), NOW_MS).await, Err(why));
    }
}

#[tokio::test]
async fn a_state_is_used_once_in_time_and_only_here() {
    let fake = Fake::new();
    let providers = of(&fake);
    let finish = async |begun: &Begun, now_ms: u64| providers.finish_code(answered(begun), now_ms).await;
    let used = begun(&providers).await;
    fake.says("/token", Says::No("invalid_grant"));
    assert_eq!(finish(&used, NOW_MS).await, Err(OidcRefusal::Denied("invalid_grant".to_owned())));
    assert_eq!(finish(&used, NOW_MS).await, Err(OidcRefusal::NotBegun));
    let late = begun(&providers).await;
    assert_eq!(finish(&late, NOW_MS + 600_000).await, Err(OidcRefusal::TooLate));
    let elsewhere = begun(&of(&fake)).await;
    assert_eq!(finish(&elsewhere, NOW_MS).await, Err(OidcRefusal::NotBegun));
    let long = Begun { url: String::new(), state: "x".repeat(1 << 20) };
    assert_eq!(finish(&long, NOW_MS).await, Err(OidcRefusal::NotBegun));
    assert_eq!(fake.asked("/token"), 1);
}

#[tokio::test]
async fn an_answer_says_no_or_comes_from_another_provider() {
    let fake = Fake::new();
    let providers = of(&fake);
    let no = begun(&providers).await;
    let answered = |state, error, issuer| Answered { state, code: Some("a code"), error, issuer };
    let denied = providers.finish_code(answered(&no.state, Some("access_denied"), None), NOW_MS).await;
    assert_eq!(denied, Err(OidcRefusal::Denied("access_denied".to_owned())));
    let other = begun(&providers).await;
    let mixed = providers.finish_code(answered(&other.state, None, Some("https://idp.test")), NOW_MS).await;
    assert_eq!(mixed, Err(OidcRefusal::Issuer("https://idp.test".to_owned())));
    fake.has(&json!({"authorization_response_iss_parameter_supported": true}));
    let providers = of(&fake);
    let silent = begun(&providers).await;
    let mixed = providers.finish_code(answered(&silent.state, None, None), NOW_MS).await;
    assert_eq!(mixed, Err(OidcRefusal::Issuer(String::new())));
    assert_eq!(fake.asked("/token"), 0);
}

#[tokio::test]
async fn log_ins_under_way_are_bounded_and_make_room_when_they_are_late() {
    let fake = Fake::new();
    let few = Limits { under_way_max: 2, ..limits() };
    let providers = in_clear(vec![client(&fake.document(), "stockade", None)], few);
    begun(&providers).await;
    begun(&providers).await;
    assert_eq!(providers.begin_code(None, REDIRECT, NOW_MS).await.unwrap_err(), OidcRefusal::Busy);
    assert!(providers.begin_code(None, REDIRECT, NOW_MS + 600_000).await.is_ok());
}

#[tokio::test]
async fn what_is_sent_has_a_challenge_and_not_its_verifier() {
    let fake = Fake::new();
    let secret = "a&b c:%";
    let providers = in_clear(vec![client(&fake.document(), "stock ade", Some(secret))], limits());
    let begun = begun(&providers).await;
    assert_eq!((sent(&begun, "code_challenge_method"), sent(&begun, "response_type")), ("S256".into(), "code".into()));
    fake.says("/token", Says::No("invalid_grant"));
    assert!(providers.finish_code(answered(&begun), NOW_MS).await.is_err());
    let heard = fake.heard("/token");
    let form = heard.rsplit_once("\r\n\r\n").unwrap().1;
    let field = |name: &str| url::form_urlencoded::parse(form.as_bytes()).find(|(key, _)| key == name).map(|(_, v)| v);
    let verifier = field("code_verifier").unwrap().into_owned();
    let challenge = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    use base64::Engine as _;
    assert_eq!(base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(challenge), sent(&begun, "code_challenge"));
    assert!(!begun.url.contains(&verifier) && field("client_secret").is_none());
    let who = base64::prelude::BASE64_STANDARD.encode("stock+ade:a%26b+c%3A%25");
    assert!(heard.contains(&format!("authorization: Basic {who}")), "{heard}");
}

#[tokio::test]
async fn a_secret_goes_only_in_a_way_that_the_provider_takes() {
    let fake = Fake::new();
    fake.has(&json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}));
    let secret = || in_clear(vec![client(&fake.document(), "stockade", Some("s"))], limits());
    fake.says("/device", Says::No("invalid_client"));
    assert!(secret().begin_device(None, NOW_MS).await.is_err());
    assert!(fake.heard("/device").contains("client_secret=s"));
    fake.has(&json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}));
    assert_eq!(trouble(secret().begin_device(None, NOW_MS).await), Trouble::Secret);
    assert_eq!(fake.asked("/device"), 1);
}

fn device(other: &Value) -> Says {
    let mut said = json!({
        "device_code": "d", "user_code": "ABCD", "verification_uri": "https://idp.test/device", "expires_in": 600
    });
    said.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    Says::Json(said)
}

#[tokio::test]
async fn a_device_asks_as_seldom_as_it_is_told_and_ends_in_time() {
    let fake = Fake::new();
    let providers = of(&fake);
    fake.says("/device", device(&json!({"interval": 2, "expires_in": 100})));
    let mut log_in = providers.begin_device(None, NOW_MS).await.unwrap();
    let mut at_ms = NOW_MS;
    for (says, wait_ms, trouble) in [
        (Says::No("authorization_pending"), 2_000, None),
        (Says::No("slow_down"), 7_000, None),
        (Says::No("authorization_pending"), 7_000, None),
        (Says::Raw(fake::whole("500 Oh", "")), 14_000, Some(Trouble::Status(500))),
        (Says::Raw(fake::whole("429 Slowly", "<html>")), 28_000, Some(Trouble::Nonsense("answer to a log-in"))),
    ] {
        fake.says("/token", says);
        at_ms = log_in.next_ms().max(at_ms);
        let polled = providers.poll_device(&mut log_in, at_ms).await;
        assert_eq!(polled, Ok(Polled::Pending { next_ms: at_ms + wait_ms, trouble }));
    }
    let count = fake.asked("/token");
    assert!(matches!(providers.poll_device(&mut log_in, at_ms + 1).await, Ok(Polled::Pending { .. })));
    assert_eq!(fake.asked("/token"), count, "nobody is asked before the time");
    assert_eq!(providers.poll_device(&mut log_in, NOW_MS + 100_000).await, Err(OidcRefusal::TooLate));
}

#[tokio::test]
async fn a_device_is_over_with_the_first_answer() {
    let fake = Fake::new();
    let providers = of(&fake);
    for (word, why) in [
        ("access_denied", OidcRefusal::Denied("access_denied".to_owned())),
        ("expired_token", OidcRefusal::TooLate),
        ("invalid_grant", OidcRefusal::Denied("invalid_grant".to_owned())),
    ] {
        fake.says("/device", device(&json!({})));
        fake.says("/token", Says::No(word));
        let mut log_in = providers.begin_device(None, NOW_MS).await.unwrap();
        assert_eq!(providers.poll_device(&mut log_in, NOW_MS + 5_000).await, Err(why));
        says_token(&fake, &json!({}));
        assert_eq!(providers.poll_device(&mut log_in, NOW_MS + 15_000).await, Err(OidcRefusal::NotBegun));
    }
    let mut log_in = providers.begin_device(None, NOW_MS).await.unwrap();
    assert_eq!(of(&fake).poll_device(&mut log_in, NOW_MS + 5_000).await, Err(OidcRefusal::NotBegun));
}

#[tokio::test]
async fn a_yes_that_cannot_be_looked_at_now_is_looked_at_later() {
    let fake = Fake::new();
    let providers = of(&fake);
    fake.says("/device", device(&json!({})));
    let mut log_in = providers.begin_device(None, NOW_MS).await.unwrap();
    let token = fake.token_of(2, &json!({"aud": "stockade"}));
    fake.says("/token", Says::Json(json!({"id_token": token, "access_token": "x", "token_type": "Bearer"})));
    // It has another key than it had, and does not say which.
    fake.says_document(Says::Raw(fake::whole("500 Oh", "")));
    for at_ms in [NOW_MS + 30_000, NOW_MS + 40_000] {
        let polled = providers.poll_device(&mut log_in, at_ms).await;
        assert!(matches!(polled, Ok(Polled::Pending { trouble: Some(Trouble::Status(500)), .. })), "{polled:?}");
        // The code is of no use a second time.
        fake.says("/token", Says::No("invalid_grant"));
    }
    fake.has(&json!({}));
    fake.has_keys(&[2]);
    let Polled::Done(found) = providers.poll_device(&mut log_in, NOW_MS + 60_000).await.unwrap() else { panic!() };
    assert_eq!((found.user.as_str(), fake.asked("/token")), ("ada", 1));
    assert_eq!(providers.poll_device(&mut log_in, NOW_MS + 120_000).await, Err(OidcRefusal::NotBegun));
}

#[tokio::test]
async fn questions_of_log_ins_are_bounded() {
    let fake = Fake::new();
    let few = Limits { log_ins_at_once: 1, ..limits() };
    let providers = Arc::new(in_clear(vec![client(&fake.document(), "stockade", None)], few));
    fake.says("/device", device(&json!({})));
    let mut log_in = providers.begin_device(None, NOW_MS).await.unwrap();
    fake.says("/device", Says::Nothing);
    let (task, count) = (Arc::clone(&providers), fake.asked("/device"));
    let waits = tokio::spawn(async move { task.begin_device(None, NOW_MS).await.map(drop) });
    while fake.asked("/device") == count {
        tokio::task::yield_now().await;
    }
    assert_eq!(providers.begin_device(None, NOW_MS).await.unwrap_err(), OidcRefusal::Busy);
    let begun = begun(&providers).await;
    assert_eq!(providers.finish_code(answered(&begun), NOW_MS).await, Err(OidcRefusal::Busy));
    // One that is under way goes on later.
    let polled = providers.poll_device(&mut log_in, NOW_MS + 5_000).await;
    assert_eq!(polled, Ok(Polled::Pending { next_ms: NOW_MS + 10_000, trouble: None }));
    waits.abort();
}

#[tokio::test]
async fn what_a_user_is_shown_is_bounded_and_harmless() {
    let fake = Fake::new();
    let providers = of(&fake);
    for bad in [
        json!({"user_code": "A\u{1b}[2J"}),
        json!({"user_code": ""}),
        json!({"user_code": "A".repeat(65)}),
        json!({"verification_uri": "http://idp.test/device"}),
        json!({"verification_uri": "javascript:alert(1)"}),
        json!({"verification_uri_complete": "http://idp.test/device"}),
        json!({"device_code": "d".repeat(5_000)}),
        json!({"expires_in": "soon"}),
    ] {
        fake.says("/device", device(&bad));
        assert_eq!(
            trouble(providers.begin_device(None, NOW_MS).await),
            Trouble::Nonsense("answer to a log-in"),
            "{bad}"
        );
    }
    fake.says("/device", device(&json!({"interval": 0, "expires_in": u64::MAX})));
    let log_in = providers.begin_device(None, NOW_MS).await.unwrap();
    assert_eq!((log_in.next_ms(), log_in.end_ms()), (NOW_MS + 1_000, NOW_MS + 1_800_000));
    fake.has(&json!({"device_authorization_endpoint": null}));
    assert_eq!(of(&fake).begin_device(None, NOW_MS).await.unwrap_err(), OidcRefusal::Lacks("log-in by device"));
}
