//! A refresh token that is shown again after it was used: who has the newer one is not known, so it ends.

use std::sync::Mutex;

use super::*;
use crate::security::tokens::Session;

fn text(tokens: &Tokens) -> (String, String) {
    let text = |bearer: &stockade_identity::token::Bearer| bearer.dangerous_text().to_string();
    (text(&tokens.session.0), text(&tokens.refresh.as_ref().unwrap().0))
}

impl World {
    /// A log-in that tokens come of: a session's, and what makes the next one.
    async fn log_in_for_long(&self, user: &str) -> (String, String) {
        let caller = self.password(user, ANN, now(0)).await.unwrap();
        text(&self.security.log_in(&caller, true, now(0)).unwrap())
    }

    async fn is_good(&self, session: &str, ms: u64) -> bool {
        self.token(session, HERE, now(ms)).await.is_ok()
    }
}

const LATER: u64 = 60_000;

#[tokio::test]
async fn a_refresh_token_that_is_shown_again_ends_what_came_of_its_log_in_and_nothing_else() {
    let world = World::new("acme").await;
    let (first_session, first) = world.log_in_for_long("ann").await;
    // Another log-in of hers, and one of somebody else.
    let (other_session, other) = world.log_in_for_long("ann").await;
    let old = world.log_in_for_long("old").await;
    let (second_session, second) = text(&world.refreshed(&first, now(1)).await.unwrap());
    let (third_session, third) = text(&world.refreshed(&second, now(2)).await.unwrap());
    for session in [&first_session, &second_session, &third_session, &other_session, &old.0] {
        assert!(world.is_good(session, LATER).await);
    }
    // It is on record also from where so much was refused that the rest of it is only counted.
    for _ in 0..20 {
        drop(world.security.authenticate(&at(HERE), (Shown::Nothing, Place::LogIn), now(LATER)).await);
    }
    let wrong = world.refreshed("stockade_refresh_x", now(LATER)).await.unwrap_err();
    let before = world.records().len();
    // The oldest one counts too.
    assert_eq!(world.refreshed(&first, now(LATER)).await.unwrap_err(), wrong, "a thief learns nothing");
    for session in [&first_session, &second_session, &third_session] {
        assert!(!world.is_good(session, LATER).await);
    }
    assert!(world.refreshed(&third, now(LATER)).await.is_err());
    let found = world.records();
    assert_eq!(found[before]["principal"], "ann@acme");
    assert_eq!(found[before]["decision"], "refused");
    assert_eq!(found[before]["method"], "refresh token");
    let reason = found[before]["reason"].as_str().unwrap();
    assert_eq!(reason, "the refresh token was used before; 4 tokens of the same log-in were ended");
    for session in [&other_session, &old.0] {
        assert!(world.is_good(session, LATER).await, "it came of another log-in");
    }
    assert!(world.refreshed(&other, now(LATER)).await.is_ok() && world.refreshed(&old.1, now(LATER)).await.is_ok());
    // Who does it again ends nothing more: she has logged in anew meanwhile.
    let anew = world.log_in_for_long("ann").await;
    for used in [&first, &second] {
        assert!(world.refreshed(used, now(2 * LATER)).await.is_err());
    }
    assert!(world.is_good(&anew.0, 2 * LATER).await && world.refreshed(&anew.1, now(2 * LATER)).await.is_ok());
}

#[tokio::test]
async fn who_logs_out_throws_out_whoever_has_his_refresh_token() {
    let world = World::new("acme").await;
    let (session, stolen) = world.log_in_for_long("ann").await;
    let other = world.log_in_for_long("ann").await;
    let (thiefs_session, thiefs_refresh) = text(&world.refreshed(&stolen, now(1)).await.unwrap());
    let before = world.records().len();
    world.log_out(&session, now(2)).await;
    assert!(!world.is_good(&session, 3).await && !world.is_good(&thiefs_session, 3).await);
    assert!(world.refreshed(&thiefs_refresh, now(3)).await.is_err());
    let found = &world.records()[before];
    assert_eq!((&found["principal"], &found["method"]), (&"ann@acme".into(), &"log-out".into()));
    let reason = found["reason"].as_str().unwrap();
    assert_eq!(reason, "its refresh token was used before; 3 tokens of the same log-in were ended");
    assert!(world.is_good(&other.0, 3).await, "it came of another log-in");
    // Who has the youngest one knows of the others.
    let (_, refresh) = text(&world.refreshed(&other.1, now(4)).await.unwrap());
    let (youngest, _) = text(&world.refreshed(&refresh, now(4)).await.unwrap());
    let before = world.records().len();
    world.log_out(&youngest, now(5)).await;
    assert!(!world.is_good(&other.0, 6).await);
    let after = world.records();
    assert!(after[before..].iter().all(|record| record["method"] != "log-out"), "{after:?}");
}

#[tokio::test]
async fn a_refresh_token_is_used_up_only_when_there_is_another() {
    let world = World::new("acme").await;
    let (_, mut refresh) = world.log_in_for_long("ann").await;
    let caller = world.password("old", ANN, now(0)).await.unwrap();
    let name = caller.in_force.name("old");
    let family = world.security.new_family(now(0));
    let one = || Session { name: name.clone(), held: None, family, seen: Mutex::default() };
    let mut number = 0;
    while world.security.sessions.issue(&format!("n{number}"), one(), 1).is_ok() {
        number += 1;
    }
    let refused = world.refreshed(&refresh, now(1)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
    assert_eq!(world.security.sessions.end_all_of("n0"), 1);
    (_, refresh) = text(&world.refreshed(&refresh, now(2)).await.unwrap());
    // And one who has all the tokens he may have uses the oldest.
    let ann = world.password("ann", ANN, now(2)).await.unwrap();
    let mut others = Vec::new();
    for number in 1..64 {
        assert_eq!(world.security.sessions.end_all_of(&format!("n{number}")), 1);
        others.push(text(&world.security.log_in(&ann, true, now(2)).unwrap()).1);
    }
    assert!(world.refreshed(&refresh, now(3)).await.is_ok());
    for other in others {
        assert!(world.refreshed(&other, now(3)).await.is_ok());
    }
}

#[tokio::test]
async fn nobody_goes_on_without_his_password_for_ever() {
    const WEEK: u64 = 7 * 24 * 3_600_000;
    let world = World::new("acme").await;
    let (_, mut refresh) = world.log_in_for_long("ann").await;
    let mut ms = 0;
    while ms + 11 * 3_600_000 < WEEK {
        ms += 11 * 3_600_000;
        (_, refresh) = text(&world.refreshed(&refresh, now(ms)).await.unwrap());
    }
    let tokens = world.refreshed(&refresh, now(WEEK - 60_000)).await.unwrap();
    let (session, refresh) = text(&tokens);
    assert_eq!((tokens.session.1, tokens.refresh.unwrap().1), (60, 60));
    assert!(world.is_good(&session, WEEK - 1).await && !world.is_good(&session, WEEK).await);
    assert!(world.refreshed(&refresh, now(WEEK)).await.is_err());
}

#[tokio::test]
async fn nobody_without_a_used_token_throws_anybody_out() {
    let world = World::new("acme").await;
    let (_, first) = world.log_in_for_long("ann").await;
    let (session, second) = text(&world.refreshed(&first, now(1)).await.unwrap());
    let forged = stockade_identity::token::Bearer::fresh(stockade_identity::token::Kind::Refresh).unwrap();
    let other = |at: usize| {
        let mut text: Vec<char> = first.chars().collect();
        text[at] = if text[at] == 'A' { 'B' } else { 'A' };
        text.into_iter().collect::<String>()
    };
    for guess in [forged.dangerous_text().to_string(), other(20), other(first.len() - 2), first[..50].to_owned()] {
        assert!(world.refreshed(&guess, now(LATER)).await.is_err());
    }
    // Where no refresh token is taken, none is looked at.
    assert!(world.token(&first, HERE, now(LATER)).await.is_err());
    assert!(world.is_good(&session, LATER).await);
    let third = text(&world.refreshed(&second, now(LATER)).await.unwrap());
    // One that she gave back was not used, and one whose time is over is none.
    let (session, ended) = world.log_in_for_long("ann").await;
    world.log_out(&session, now(1)).await;
    let over = 12 * 3_600_000;
    for used in [&ended, &first] {
        assert!(world.refreshed(used, now(over)).await.is_err());
    }
    assert!(world.refreshed(&third.1, now(over)).await.is_ok());
}

#[tokio::test]
async fn two_programs_at_once_and_one_whose_answer_was_lost_throw_nobody_out() {
    let world = World::new("acme").await;
    let (_, first) = world.log_in_for_long("ann").await;
    let (session, second) = text(&world.refreshed(&first, now(LATER)).await.unwrap());
    for ms in [LATER, LATER + 1, LATER + 9_999] {
        assert!(world.refreshed(&first, now(ms)).await.is_err(), "it is of no use all the same");
    }
    assert!(world.is_good(&session, LATER + 9_999).await);
    assert!(world.refreshed(&first, now(LATER + 10_000)).await.is_err());
    assert!(!world.is_good(&session, LATER + 10_000).await);
    assert!(world.refreshed(&second, now(LATER + 10_000)).await.is_err());
}

#[tokio::test]
async fn a_log_in_makes_a_bounded_number_of_tokens_and_then_a_password_is_needed() {
    let world = World::new("acme").await;
    let (_, mut refresh) = world.log_in_for_long("ann").await;
    let refused = loop {
        match world.refreshed(&refresh, now(1)).await {
            Ok(tokens) => (_, refresh) = text(&tokens),
            Err(refused) => break refused,
        }
    };
    assert!(refused.kind == Kind::TooMany && refused.next.contains("log in again"), "{refused}");
    world.log_in_for_long("ann").await;
    // And those that were used are over some time.
    assert!(world.refreshed(&refresh, now(12 * 3_600_000)).await.is_ok());
}
