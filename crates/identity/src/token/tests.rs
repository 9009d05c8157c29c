//! Tokens, good ones and others.

use proptest::prelude::*;

use super::*;

fn sessions() -> Sessions<&'static str> {
    Sessions::new("A.X", LIFETIME_MS)
}

#[test]
fn a_token_is_good_for_its_time_and_on_its_node_only() {
    let (here, elsewhere) = (sessions(), Sessions::<&str>::new("B.X", LIFETIME_MS));
    let (bearer, begun) = here.issue("ada", "roles", 1_000).unwrap();
    let text = bearer.dangerous_text();
    let session = here.check(&text, 1_000).unwrap();
    assert_eq!((session.principal.as_str(), session.value, session.id), ("ada", "roles", begun.id));
    assert!(here.check(&text, 1_000 + LIFETIME_MS - 1).is_ok());
    assert_eq!(here.check(&text, 1_000 + LIFETIME_MS).unwrap_err(), BadToken::Over);
    assert_eq!(elsewhere.check(&text, 1_000).unwrap_err(), BadToken::Unknown);
    // Also where the other node has the table of this one.
    assert_ne!(bearer.digest("A.X"), bearer.digest("B.X"));
    assert_eq!(bearer.digest("A.X"), Bearer::parse(&text, Kind::Session).unwrap().digest("A.X"));
}

#[test]
fn a_refresh_token_is_no_session_token_and_the_other_way_round() {
    let refresh = Bearer::fresh(Kind::Refresh).unwrap();
    let text = refresh.dangerous_text();
    assert_eq!(sessions().check(&text, 0).unwrap_err(), BadToken::Form);
    let forged = text.replace("refresh", "session");
    let session = Bearer::parse(&forged, Kind::Session).unwrap();
    assert_ne!(session.digest("A.X"), refresh.digest("A.X"));
    let kept = Digest::from_bytes(refresh.digest("A.X").to_bytes());
    assert_eq!(kept, Bearer::parse(&text, Kind::Refresh).unwrap().digest("A.X"));
}

#[test]
fn what_is_ended_is_not_known_any_more() {
    let sessions = sessions();
    let begin = |who| {
        let (bearer, session) = sessions.issue(who, "", 0).unwrap();
        (bearer.dangerous_text(), session.id)
    };
    let tokens = [begin("ada"), begin("ada"), begin("ada"), begin("bob"), begin("bob")];
    let known = || tokens.iter().map(|(text, _)| sessions.check(text, 1).is_ok()).collect::<Vec<_>>();
    let has = |place: usize, now_ms| sessions.has("ada", tokens[place].1, now_ms);
    assert!(has(0, 1) && !has(0, u64::MAX) && !has(3, 1));
    assert!(sessions.end(tokens[0].1) && !sessions.end(tokens[0].1));
    assert!(!has(0, 1) && has(1, 1));
    assert_eq!(known(), [false, true, true, true, true]);
    assert_eq!(sessions.end_all_of("ada"), 2);
    assert_eq!(known(), [false, false, false, true, true]);
    assert_eq!((sessions.end_all(), sessions.end_all()), (2, 0));
    assert_eq!(known(), [false; 5]);
}

#[test]
fn one_principal_loses_his_oldest_session_and_does_not_fill_the_table() {
    let sessions = sessions();
    let (other, _) = sessions.issue("bob", "", 0).unwrap();
    let tokens: Vec<_> = (0..200).map(|now_ms| sessions.issue("ada", "", now_ms).unwrap().0.dangerous_text()).collect();
    let good = tokens.iter().filter(|text| sessions.check(text, 200).is_ok()).count();
    assert_eq!(good, OF_ONE_MAX);
    assert!(sessions.check(&tokens[199], 200).is_ok() && sessions.check(&other.dangerous_text(), 200).is_ok());
}

#[test]
fn the_table_is_bounded_and_has_room_again_when_sessions_are_over() {
    let sessions = sessions();
    for number in 0..COUNT_MAX {
        sessions.issue(&format!("user{number}"), "", 0).unwrap();
    }
    assert_eq!(sessions.issue("ada", "", 0).unwrap_err(), NoToken::Full);
    assert!(sessions.issue("ada", "", LIFETIME_MS).is_ok());
    let table = sessions.table.read().unwrap();
    assert_eq!((table.sessions.len(), table.by_end.len(), table.by_principal.len()), (1, 1, 1));
}

#[test]
fn a_token_that_was_used_is_known_again_until_it_would_have_ended_and_is_good_for_nothing() {
    let refreshes = Sessions::of(Kind::Refresh, "A.X", 1_000);
    let issue = |family| {
        let (bearer, session) = refreshes.issue("ada", family, 0).unwrap();
        (bearer.dangerous_text(), session.id)
    };
    let ((used, id), (fresh, _), (ended, other)) = (issue(7), issue(7), issue(8));
    assert!(refreshes.reused(&used, 0).is_none(), "it is good still");
    assert_eq!([refreshes.spend(id, 7, 5), refreshes.spend(id, 7, 6)], [Ok(true), Ok(false)]);
    assert!(refreshes.end(other));
    assert_eq!(refreshes.check(&used, 6).unwrap_err(), BadToken::Unknown);
    assert_eq!(refreshes.reused(&used, 999), Some(Reused { family: 7, used_ms: 5 }));
    // Neither what is good, nor what was ended, nor what was made up.
    let forged = Bearer::fresh(Kind::Refresh).unwrap().dangerous_text();
    for text in [&*fresh, &*ended, &*forged, &used.replace("refresh", "session"), &used[..used.len() - 1], ""] {
        assert_eq!(refreshes.reused(text, 6), None);
    }
    assert_eq!(refreshes.reused(&used, 1_000), None);
    assert_eq!(refreshes.table.read().unwrap().spent.counts(), [0; 3]);
    let of_family = refreshes.end_where(|family| *family == 7);
    assert_eq!(of_family.len(), 1);
    assert_eq!(refreshes.check(&fresh, 6).unwrap_err(), BadToken::Unknown);
}

#[test]
fn what_was_used_is_bounded_and_nobody_makes_the_node_forget_what_another_has() {
    let refreshes = Sessions::of(Kind::Refresh, "A.X", 1_000);
    let use_one = |family, now_ms| {
        let (bearer, session) = refreshes.issue("ada", family, now_ms).unwrap();
        (bearer.dangerous_text(), refreshes.spend(session.id, family, now_ms))
    };
    let (first, _) = use_one(0, 0);
    for number in 1..spent::OF_FAMILY_MAX {
        assert_eq!(use_one(0, 0).1, Ok(true), "{number}");
    }
    let (last, refused) = use_one(0, 0);
    assert_eq!(refused, Err(NoToken::Used));
    assert!(refreshes.check(&last, 0).is_ok(), "what is not used is good still");
    assert!(refreshes.reused(&first, 999).is_some());
    for number in spent::OF_FAMILY_MAX..spent::COUNT_MAX {
        let family = u64::try_from(number / spent::OF_FAMILY_MAX).unwrap();
        assert_eq!(use_one(family, 0).1, Ok(true));
    }
    assert_eq!(use_one(u64::MAX, 0).1, Err(NoToken::Full));
    assert!(refreshes.reused(&first, 999).is_some());
    assert_eq!(use_one(0, 1_000).1, Ok(true));
    assert_eq!(refreshes.table.read().unwrap().spent.counts(), [1; 3]);
}

#[test]
fn all_of_a_token_counts_and_not_only_what_it_is_found_by() {
    let sessions = sessions();
    let (bearer, _) = sessions.issue("ada", "", 0).unwrap();
    for (rest, _) in sessions.table.write().unwrap().sessions.values_mut() {
        rest[15] ^= 1;
    }
    assert_eq!(sessions.check(&bearer.dangerous_text(), 0).unwrap_err(), BadToken::Unknown);
}

#[test]
fn a_token_does_not_show_by_accident() {
    let (bearer, session) = sessions().issue("ada", "", 0).unwrap();
    let text = bearer.dangerous_text();
    for shown in [format!("{bearer:?}"), format!("{session:?}"), format!("{:?}", bearer.digest("A.X"))] {
        assert!(!shown.contains(&text[17..25]), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token_but_those_that_were_made(
        text in prop_oneof!["\\PC{0,80}", "stockade_session_[A-Za-z0-9_=+/-]{40,46}", any::<String>()],
        at in any::<prop::sample::Index>(),
        put in any::<char>(),
    ) {
        let sessions = sessions();
        let (bearer, _) = sessions.issue("ada", "", 0).unwrap();
        prop_assert!(sessions.check(&text, 0).is_err());
        // Whatever is read has one text.
        if let Ok(read) = Bearer::parse(&text, Kind::Session) {
            prop_assert_eq!(&*read.dangerous_text(), &text);
        }
        // One changed character, one more, one less.
        let good = bearer.dangerous_text();
        let place = at.index(good.len());
        let mut changed: Vec<char> = good.chars().collect();
        changed[place] = put;
        let changed: String = changed.into_iter().collect();
        prop_assert!(changed == *good || sessions.check(&changed, 0).is_err());
        let (longer, shifted) = (format!("{}{put}", *good), format!("{put}{}", *good));
        prop_assert!(sessions.check(&longer, 0).is_err() && sessions.check(&shifted, 0).is_err());
        prop_assert!(sessions.check(&good[..place], 0).is_err());
        prop_assert!(sessions.check(&good, 0).is_ok());
    }
}
