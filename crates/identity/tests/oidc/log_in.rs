//! Log-ins with a real provider, to their end.

use stockade_identity::oidc::{Answered, DeviceLogIn, Polled};
use stockade_testkit::oidc::{CODE_CLIENT, DEVICE_CLIENT, REDIRECT, Visitor};

use super::*;

fn by_device(provider: &Provider) -> Providers {
    believing(&provider.authority(), vec![client(&provider.document(), DEVICE_CLIENT, None)], limits())
}

fn by_browser(provider: &Provider) -> Providers {
    let entry = client(&provider.document(), CODE_CLIENT.0, Some(CODE_CLIENT.1));
    believing(&provider.authority(), vec![entry], limits())
}

#[test]
fn whoever_waits_may_do_so_on_any_thread() {
    fn is_send(_: impl Send) {}
    fn each(providers: &Providers, log_in: &mut DeviceLogIn, answered: Answered<'_>) {
        is_send(providers.verify_bearer("", 0));
        is_send(providers.begin_device(None, 0));
        is_send(providers.poll_device(log_in, 0));
        is_send(providers.begin_code(None, "", 0));
        is_send(providers.finish_code(answered, 0));
    }
    let _: fn(&Providers, &mut DeviceLogIn, Answered<'_>) = each;
}

#[tokio::test]
async fn a_device_logs_in_when_its_user_says_yes() {
    let Some(provider) = Provider::start() else { return };
    let providers = by_device(&provider);
    let now_ms = now_ms();
    let mut log_in = providers.begin_device(None, now_ms).await.unwrap();
    assert!(log_in.verification_uri().starts_with(&provider.issuer()));
    assert!(!log_in.user_code().is_empty() && log_in.end_ms() > now_ms);
    // Too early: nobody is asked.
    let next_ms = log_in.next_ms();
    assert_eq!(next_ms, now_ms + 5_000);
    let early = providers.poll_device(&mut log_in, next_ms - 1).await;
    assert_eq!(early, Ok(Polled::Pending { next_ms, trouble: None }));
    let pending = providers.poll_device(&mut log_in, next_ms).await;
    assert_eq!(pending, Ok(Polled::Pending { next_ms: next_ms + 5_000, trouble: None }));

    let address = log_in.verification_uri_complete().unwrap().to_owned();
    let page = provider.browse(&address, Visitor::Agrees("grace"));
    assert!(page.contains("Sign-in Success"), "{page}");
    let next_ms = log_in.next_ms();
    let Polled::Done(identified) = providers.poll_device(&mut log_in, next_ms).await.unwrap() else { panic!() };
    assert_eq!(identified.user, "grace");
    assert_eq!(identified.roles, ["analysts", "data scientists"]);
    assert_eq!(identified.issuer, provider.issuer());
    // Once.
    assert_eq!(providers.poll_device(&mut log_in, next_ms + 60_000).await, Err(OidcRefusal::NotBegun));
}

#[tokio::test]
async fn a_device_does_not_log_in_when_its_user_says_no() {
    let Some(provider) = Provider::start() else { return };
    let providers = by_device(&provider);
    let mut log_in = providers.begin_device(None, now_ms()).await.unwrap();
    let address = log_in.verification_uri_complete().unwrap().to_owned();
    let page = provider.browse(&address, Visitor::Refuses);
    assert!(page.contains("interrupted"), "{page}");
    let next_ms = log_in.next_ms();
    let denied = providers.poll_device(&mut log_in, next_ms).await;
    assert_eq!(denied, Err(OidcRefusal::Denied("access_denied".to_owned())));
    assert_eq!(providers.poll_device(&mut log_in, next_ms + 60_000).await, Err(OidcRefusal::NotBegun));
}

#[tokio::test]
async fn a_client_that_may_not_is_told_so() {
    let Some(provider) = Provider::start() else { return };
    let providers = by_browser(&provider);
    let denied = providers.begin_device(None, now_ms()).await.unwrap_err();
    assert!(matches!(denied, OidcRefusal::Denied(_)), "{denied:?}");
}

/// What a browser brings back.
fn brought(address: &str) -> Vec<(String, String)> {
    assert!(address.starts_with(REDIRECT), "{address}");
    url::Url::parse(address).unwrap().query_pairs().into_owned().collect()
}

fn value<'a>(brought: &'a [(String, String)], name: &str) -> Option<&'a str> {
    brought.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_browser_logs_in_once() {
    let Some(provider) = Provider::start() else { return };
    let providers = by_browser(&provider);
    let begun = providers.begin_code(None, REDIRECT, now_ms()).await.unwrap();
    let brought = brought(&provider.browse(&begun.url, Visitor::Agrees("grace")));
    assert_eq!(value(&brought, "state"), Some(begun.state.as_str()));
    let answered =
        Answered { state: &begun.state, code: value(&brought, "code"), error: None, issuer: value(&brought, "iss") };
    let identified = providers.finish_code(answered, now_ms()).await.unwrap();
    assert_eq!(identified.user, "grace");
    assert_eq!(identified.roles, ["analysts", "data scientists"]);
    assert_eq!(providers.finish_code(answered, now_ms()).await, Err(OidcRefusal::NotBegun));
}

#[tokio::test]
async fn a_code_is_of_no_use_to_another_log_in() {
    let Some(provider) = Provider::start() else { return };
    let providers = by_browser(&provider);
    let mine = providers.begin_code(None, REDIRECT, now_ms()).await.unwrap();
    let other = providers.begin_code(None, REDIRECT, now_ms()).await.unwrap();
    let brought = brought(&provider.browse(&other.url, Visitor::Agrees("mallory")));
    // Its challenge is of the other's verifier.
    let answered =
        Answered { state: &mine.state, code: value(&brought, "code"), error: None, issuer: value(&brought, "iss") };
    let denied = providers.finish_code(answered, now_ms()).await;
    assert_eq!(denied, Err(OidcRefusal::Denied("invalid_grant".to_owned())));
}
