//! Keys that are kept: for how long, and who makes the node ask again.

use std::pin::pin;
use std::sync::Barrier;

use serde_json::json;

use super::fake::{Fake, NOW_MS, NOW_S, Says};
use super::*;

const DOCUMENT: &str = "/.well-known/openid-configuration";

/// A good token for a day, by the key of this seed.
fn token(fake: &Fake, seed: u8) -> String {
    fake.token_of(seed, &json!({"exp": NOW_S + 24 * 3_600}))
}

#[tokio::test]
async fn many_at_once_make_one_question() {
    let fake = Fake::new();
    let providers = Arc::new(in_clear(vec![entry(&fake.document())], limits()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (providers, token) = (Arc::clone(&providers), token(&fake, 1));
        tasks.spawn(async move { providers.verify_bearer(&token, NOW_MS).await });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!((fake.asked(DOCUMENT), fake.asked("/jwks")), (1, 1));
}

#[tokio::test]
async fn a_thousand_keys_that_do_not_exist_make_one_question_in_a_while() {
    let fake = Fake::new();
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS).await.is_ok());
    for number in 0..1_000 {
        let head = json!({"alg": "EdDSA", "kid": format!("made up {number}")});
        let made_up = fake::signed(7, &head, &json!({"iss": fake.issuer(), "aud": "node"}));
        let refused = providers.verify_bearer(&made_up, NOW_MS + 29_999).await;
        assert!(matches!(refused, Err(OidcRefusal::NoKey(_))), "{refused:?}");
    }
    assert_eq!(fake.asked("/jwks"), 1);
    assert!(providers.verify_bearer(&token(&fake, 3), NOW_MS + 30_000).await.is_err());
    assert!(providers.verify_bearer(&token(&fake, 3), NOW_MS + 30_000).await.is_err());
    assert_eq!(fake.asked("/jwks"), 2);
    // A clock that was set back stops nothing for good.
    assert!(providers.verify_bearer(&token(&fake, 3), NOW_MS - 5_000).await.is_err());
    assert_eq!(fake.asked("/jwks"), 3);
}

#[tokio::test]
async fn a_stranger_who_hangs_up_leaves_the_others_with_an_answer() {
    let fake = Fake::new();
    let both = Arc::new(Barrier::new(2));
    fake.says_document(Says::Held(Arc::clone(&both), fake.its_document()));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    {
        let mut begins = pin!(providers.begin_device(None, NOW_MS));
        while fake.asked(DOCUMENT) == 0 {
            tokio::select! {
                biased;
                _ = &mut begins => panic!("there was no answer yet"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    both.wait();
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS + 1).await.is_ok());
    assert_eq!(fake.asked(DOCUMENT), 1);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_not_asked_by_everybody() {
    let fake = Fake::new();
    fake.says_document(Says::No("busy"));
    let providers = in_clear(vec![entry(&fake.document())], limits());
    for _ in 0..50 {
        assert_eq!(trouble(providers.verify_bearer(&token(&fake, 1), NOW_MS).await), Trouble::Status(400));
    }
    assert_eq!(fake.asked(DOCUMENT), 1);
    fake.has(&json!({}));
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS + 30_000).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_new_is_found_and_one_that_was_taken_back_is_forgotten() {
    let fake = Fake::new();
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS).await.is_ok());
    fake.has_keys(&[2]);
    // Nobody has asked.
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS + 599_999).await.is_ok());
    assert_eq!(fake.asked("/jwks"), 1);
    let gone = providers.verify_bearer(&token(&fake, 1), NOW_MS + 600_000).await;
    assert_eq!(gone, Err(OidcRefusal::NoKey("key 1".to_owned())));
    assert!(providers.verify_bearer(&token(&fake, 2), NOW_MS + 600_000).await.is_ok());
    assert_eq!(fake.asked("/jwks"), 2);
}

#[tokio::test]
async fn keys_outlive_a_provider_that_is_down_for_a_while_and_no_longer() {
    let fake = Fake::new();
    let providers = in_clear(vec![entry(&fake.document())], limits());
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS).await.is_ok());
    fake.says("/jwks", Says::No("down"));
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS + 3_599_999).await.is_ok());
    let over = providers.verify_bearer(&token(&fake, 1), NOW_MS + 3_600_000 + 30_000).await;
    assert_eq!(trouble(over), Trouble::Status(400));
}

#[tokio::test]
async fn who_waits_for_keys_is_bounded_and_who_has_a_known_key_waits_for_nobody() {
    let fake = Fake::new();
    let few = Limits { waiting: 2, ..limits() };
    let providers = Arc::new(in_clear(vec![entry(&fake.document())], few));
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS).await.is_ok());
    fake.says("/jwks", Says::Nothing);
    let later_ms = NOW_MS + 30_000;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (providers, token) = (Arc::clone(&providers), token(&fake, 2));
        tasks.spawn(async move { providers.verify_bearer(&token, later_ms).await });
    }
    // Both wait when the question is on its way and the other has had its turn.
    while fake.asked("/jwks") < 2 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    assert_eq!(providers.verify_bearer(&token(&fake, 3), later_ms).await, Err(OidcRefusal::Busy));
    assert!(providers.verify_bearer(&token(&fake, 1), later_ms).await.is_ok());
    assert!(providers.verify_bearer(&token(&fake, 1), NOW_MS + 600_000).await.is_ok(), "its renewal is under way");
    tasks.abort_all();
}
