//! Passwords, a few and ten thousand at once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

const CHEAP: Costs = Costs { memory_kib: 64, passes: 1, lanes: 1 };
const LIMITS: Limits = Limits { at_once: 2, waiting: 16, of_one_source: 4 };

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

fn from(last: u8) -> Source {
    Source::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

fn attempt(principal: &str, source: Source, now_ms: u64) -> Attempt<'_> {
    Attempt { principal, source, is_trusted: false, now_ms }
}

fn passwords(costs: Costs) -> (Passwords, Stored) {
    let stored = costs.hash(&password("right")).unwrap();
    (Passwords::new(costs, LIMITS).unwrap(), stored)
}

#[tokio::test]
async fn the_right_password_is_right_and_everything_else_is_wrong() {
    let (passwords, stored) = passwords(CHEAP);
    let checked = async |who, text, stored| passwords.check(&attempt(who, from(1), 0), password(text), stored).await;
    assert_eq!(checked("ada", "right", Some(&stored)).await, Checked::Right { stale: false });
    assert_eq!(checked("ada", "wrong", Some(&stored)).await, Checked::Wrong);
    assert_eq!(checked("nobody", "right", None).await, Checked::Wrong);
    // What nobody's hash was made of.
    assert_eq!(checked("nobody", "nobody", None).await, Checked::Wrong);
    let dear = Costs { passes: 2, ..CHEAP }.hash(&password("right")).unwrap();
    assert_eq!(checked("bob", "right", Some(&dear)).await, Checked::Right { stale: true });
    let made = passwords.hash(from(1), password("new")).await.unwrap();
    assert_eq!(checked("eve", "new", Some(&made)).await, Checked::Right { stale: false });
}

#[tokio::test]
async fn guesses_are_delayed_and_the_right_password_waits_too() {
    let (passwords, stored) = passwords(CHEAP);
    for _ in 0..3 {
        assert_eq!(
            passwords.check(&attempt("ada", from(1), 0), password("guess"), Some(&stored)).await,
            Checked::Wrong
        );
    }
    let early = passwords.check(&attempt("ada", from(1), 400), password("right"), Some(&stored)).await;
    assert_eq!(early, Checked::Early { wait_ms: 600 });
    let elsewhere = passwords.check(&attempt("ada", from(2), 400), password("right"), Some(&stored)).await;
    assert_eq!(elsewhere, Checked::Right { stale: false });
    let later = passwords.check(&attempt("ada", from(1), 1_000), password("right"), Some(&stored)).await;
    assert_eq!(later, Checked::Right { stale: false });
}

#[tokio::test]
async fn who_is_not_admitted_is_not_told_by_the_next_wait_that_he_guessed_right() {
    let (passwords, stored) = passwords(CHEAP);
    let check = async |who, text| passwords.check(&attempt(who, from(1), 0), password(text), Some(&stored)).await;
    for text in ["x", "y"] {
        assert_eq!(check("lou", text).await, Checked::Wrong);
    }
    assert_eq!(check("lou", "right").await, Checked::Right { stale: false });
    assert_eq!(check("lou", "right").await, Checked::Early { wait_ms: 1_000 });
    // Who is admitted begins anew.
    for _ in 0..8 {
        assert_eq!(check("ada", "right").await, Checked::Right { stale: false });
        passwords.went_well(&attempt("ada", from(1), 0));
    }
    // What nobody has looked at is no guess.
    for _ in 0..8 {
        assert_eq!(passwords.begin(&attempt("eve", from(1), 0)), Ok(()));
        passwords.was_no_guess(&attempt("eve", from(1), 0));
    }
}

/// Medians of many, side by side: the machine is shared, so one of either may take long.
#[tokio::test]
async fn who_does_not_exist_costs_as_much_as_who_does() {
    let costs = Costs { memory_kib: 2 * 1024, passes: 2, lanes: 1 };
    let (passwords, stored) = passwords(costs);
    let (mut there, mut not_there) = (Vec::new(), Vec::new());
    for round in 0..41_u8 {
        let mut both = [(&mut there, Some(&stored)), (&mut not_there, None)];
        if round % 2 == 0 {
            both.reverse();
        }
        for (times, stored) in both {
            let begun = Instant::now();
            let checked =
                passwords.check(&attempt(&format!("u{round}"), from(round), 0), password("guess"), stored).await;
            times.push(begun.elapsed());
            assert_eq!(checked, Checked::Wrong);
        }
    }
    there.sort_unstable();
    not_there.sort_unstable();
    let (there, not_there) = (there[20].as_secs_f64(), not_there[20].as_secs_f64());
    println!("median of a known user {:.3} ms, of an unknown one {:.3} ms", there * 1e3, not_there * 1e3);
    // Without a hash it would be a hundredth.
    assert!((0.5..2.0).contains(&(there / not_there)), "{there} {not_there}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_failures_at_once_leave_it_responsive_and_the_administrator_gets_in() {
    let (passwords, stored) = passwords(Costs { memory_kib: 1024, passes: 2, lanes: 1 });
    let (passwords, stored) = (Arc::new(passwords), Arc::new(stored));
    assert_eq!(
        passwords.check(&attempt("root", from(1), 0), password("right"), Some(&stored)).await,
        Checked::Right { stale: false }
    );
    passwords.went_well(&attempt("root", from(1), 0));
    let done = Arc::new(AtomicUsize::new(0));
    let attack = |number: u32| {
        let (passwords, stored, done) = (Arc::clone(&passwords), Arc::clone(&stored), Arc::clone(&done));
        async move {
            // A network of attackers, half of them at the administrator.
            let source = Source::Address(IpAddr::V4((0x0a00_0000 + number % 500).into()));
            let who = if number.is_multiple_of(2) { "root".to_owned() } else { format!("user{number}") };
            let stored = number.is_multiple_of(2).then_some(&*stored);
            let checked = passwords.check(&attempt(&who, source, 0), password("guess"), stored).await;
            assert!(!matches!(checked, Checked::Right { .. }));
            done.fetch_add(1, Ordering::Relaxed);
            checked
        }
    };
    let attacks: Vec<_> = (0..10_000).map(|number| tokio::spawn(attack(number))).collect();
    let begun = Instant::now();
    let admitted = passwords.check(&attempt("root", from(1), 0), password("right"), Some(&stored)).await;
    let (took, before) = (begun.elapsed(), done.load(Ordering::Relaxed));
    assert_eq!(admitted, Checked::Right { stale: false });
    let mut refused = 0;
    for attack in attacks {
        refused += u32::from(matches!(attack.await.unwrap(), Checked::Busy | Checked::Early { .. }));
    }
    println!(
        "the administrator waited {took:?} ({before} attacks were over), all took {:?}, {refused} refused without a hash, at most {} hashes at once",
        begun.elapsed(),
        passwords.peak()
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(passwords.peak() <= LIMITS.at_once + 1);
    // Who finds no place is told at once: the queue is short, and 500 sources have 2000 places of their own.
    assert!(refused > 9_000, "{refused}");
}

#[tokio::test]
async fn one_source_does_not_fill_the_queue_and_who_hangs_up_frees_no_memory_early() {
    let (passwords, stored) = passwords(Costs { memory_kib: 8 * 1024, passes: 2, lanes: 1 });
    let (passwords, stored) = (Arc::new(passwords), Arc::new(stored));
    let start = |number: u32, source| {
        let (passwords, stored) = (Arc::clone(&passwords), Arc::clone(&stored));
        tokio::spawn(async move {
            passwords.check(&attempt(&format!("u{number}"), source, 0), password("guess"), Some(&stored)).await
        })
    };
    let calls: Vec<_> = (0..10).map(|number| start(number, from(1))).collect();
    tokio::task::yield_now().await;
    // The source has its four; another one still finds a place.
    let other = start(77, from(2));
    let mut busy = 0;
    for (place, call) in calls.into_iter().enumerate() {
        if place < 4 {
            // Hung up: those that hash go on to their end, the others leave the queue.
            call.abort();
        } else {
            busy += u32::from(matches!(call.await, Ok(Checked::Busy)));
        }
    }
    assert_eq!(busy, 6);
    assert_eq!(other.await.unwrap(), Checked::Wrong);
    assert!(passwords.peak() <= LIMITS.at_once);
}
