//! What a stranger can do with names, passwords and tokens, and what is on record of it.

use std::net::Ipv4Addr;
use std::path::Path;

use stockade_audit::Records;
use stockade_config::security::Substitutions;
use stockade_core::audit::Phase;
use stockade_identity::local::{Costs, Password};
use stockade_store::Change;
use tempfile::TempDir;

mod bounds;
mod hosts;
mod lockout;
mod reuse;

use super::*;
use crate::admin::commands::find;
use crate::keeper::Keeper;
use crate::security::changes::Which;
use crate::security::trail::Recording;
use crate::security::{FOLDER, Terms, Tokens, Trail, Values};

const ANN: &str = "correct horse";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
const DAY_MS: i64 = 86_400_000;

struct World {
    security: Security,
    folder: TempDir,
}

fn text(realm: &str, version: &str) -> String {
    // As somebody hashed it long ago, with costs that are not today's.
    let old = Costs { memory_kib: 64, passes: 1, lanes: 1 }.hash(&Password::new(ANN.to_owned()).unwrap()).unwrap();
    format!(
        r#"name = people, version = "{version}", type = stockade.security
        configuration {{ LocalAuthenticationRealm {{ name = "{realm}", requirePassword = true, initialPrincipals = [
            {{ userName = "ann", password = "{ANN}", roles = ["administrator"], passwordExpirationDays = 30 }}
            {{ userName = "old", password = "{old}", roles = ["user"] }}
            {{ userName = "lou", password = "{ANN}", roles = ["user"], locked = true }}
            {{ userName = "uid-0", password = "{ANN}", roles = ["user"] }}
            {{ userName = "ann+lee", password = "{ANN}", roles = ["user"] }}
            {{ userName = "ann@acme", password = "{ANN}", roles = ["user"] }}
            {{ userName = "bare", roles = ["user"] }}
        ] }} }}"#
    )
}

impl World {
    async fn new(realm: &str) -> Self {
        Self::with(&text(realm, "1"), Terms::of_test()).await
    }

    /// One with this text in force, called `people`.
    async fn with(text: &str, terms: Terms) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let keeper = Keeper::open(folder.path().join("node.sqlite")).unwrap();
        let security = Security::open(keeper, Trail::in_folder(folder.path().to_owned()), terms).await.unwrap();
        let world = Self { security, folder };
        world.security.load(&world.root(), text, &Substitutions::none()).await.unwrap();
        world.security.activate(&world.root(), which(), None).await.unwrap();
        world
    }

    fn root(&self) -> Caller {
        self.security.caller(0, Principal("uid-0@local".to_owned()))
    }

    async fn password(&self, user: &str, password: &str, now: Now) -> Result<Caller, Refusal> {
        let shown = Shown::Password { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) };
        self.security.authenticate(&at(HERE), (shown, Place::LogIn), now).await
    }

    async fn token(&self, token: &str, from: IpAddr, now: Now) -> Result<Caller, Refusal> {
        let shown = Shown::Token(Zeroizing::new(token.to_owned()));
        self.security.authenticate(&at(from), (shown, Place::Elsewhere), now).await
    }

    /// A token of somebody who logs in now.
    async fn logged_in(&self, user: &str) -> String {
        let caller = self.password(user, ANN, now(0)).await.unwrap();
        self.security.log_in(&caller, false, now(0)).unwrap().session.0.dangerous_text().to_string()
    }

    /// Tokens of somebody who logs in with a refresh token.
    async fn refreshed(&self, refresh: &str, now: Now) -> Result<Tokens, Refusal> {
        let shown = Shown::Token(Zeroizing::new(refresh.to_owned()));
        let caller = self.security.authenticate(&at(HERE), (shown, Place::LogIn), now).await?;
        self.security.log_in(&caller, true, now)
    }

    /// Logs out with a token.
    async fn log_out(&self, token: &str, now: Now) {
        self.security.log_out(&self.token(token, HERE, now).await.unwrap(), now).await.unwrap();
    }

    async fn change(&self, user: &str, change: Change) {
        self.security.change_user(&self.root(), (None, user), change, None).await.unwrap();
    }

    /// Records of authentications.
    fn records(&self) -> Vec<serde_json::Value> {
        self.records_of("authentication")
    }

    fn records_of(&self, kind: &str) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        let mut records = Records::of(self.security.trail.place.clone()).unwrap();
        while let Some(entry) = records.next_entry().unwrap() {
            if entry.kind() == kind {
                found.push(entry.value().clone());
            }
        }
        found
    }
}

fn at(address: IpAddr) -> Peer {
    Peer::at(address, None)
}

fn which() -> Which<'static> {
    Which { kind: "security", name: "people", version: None }
}

/// So long after the beginning, by both clocks.
fn now(ms: u64) -> Now {
    Now { ms, wall_ms: now_ms() + i64::try_from(ms).unwrap() }
}

#[tokio::test]
async fn the_right_password_is_somebody_and_nothing_else_can_be_told_apart() {
    let world = World::new("acme").await;
    let ann = world.password("ann", ANN, now(0)).await.unwrap();
    assert_eq!((ann.principal.0.as_str(), ann.roles.as_slice()), ("ann@acme", ["administrator".to_owned()].as_slice()));
    assert!(world.password("ann@acme", ANN, now(0)).await.is_ok());
    let refused = world.password("ann", "wrong", now(0)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unauthenticated);
    for (user, password) in [
        ("nobody", ANN),
        ("ann@other", ANN),
        ("ann", ""),
        ("lou", ANN),
        ("lou", "wrong"),
        ("bare", "x"),
        ("", ANN),
        ("ann@acme@acme", ANN),
    ] {
        assert_eq!(world.password(user, password, now(0)).await.unwrap_err(), refused, "{user}");
    }
}

#[tokio::test]
async fn no_name_is_one_of_the_kernels_and_all_can_go_through_the_node() {
    let world = World::new("local").await;
    assert_eq!(world.password("ann", ANN, now(0)).await.unwrap().principal.0, "ann@local");
    for user in ["uid-0", "uid-0@local", "ann+lee"] {
        assert!(world.password(user, ANN, now(0)).await.is_err(), "{user}");
    }
}

#[tokio::test]
async fn guessing_gets_slower_and_the_others_are_not_kept_waiting() {
    let world = World::new("acme").await;
    for _ in 0..3 {
        assert_eq!(world.password("ann", "wrong", now(0)).await.unwrap_err().kind, Kind::Unauthenticated);
    }
    let early = world.password("ann", ANN, now(0)).await.unwrap_err();
    assert!(
        early.kind == Kind::TooMany && early.retry_s.is_some_and(|seconds| (1..=2).contains(&seconds)),
        "{early:?}"
    );
    let nobody = async |at| world.password("nobody", "wrong", now(at)).await.unwrap_err();
    for _ in 0..3 {
        nobody(0).await;
    }
    assert_eq!(nobody(0).await, early, "who is not there waits as long");
    let shown = Shown::Password { user: "ann".to_owned(), password: Zeroizing::new(ANN.to_owned()) };
    assert!(world.security.authenticate(&at(THERE), (shown, Place::Elsewhere), now(0)).await.is_ok(), "from elsewhere");
    assert!(world.password("ann", ANN, now(60_000)).await.is_ok());
}

#[tokio::test]
async fn a_token_is_good_for_its_time_and_is_no_way_to_another() {
    let world = World::new("acme").await;
    let token = world.logged_in("ann").await;
    let caller = world.token(&token, HERE, now(899_999)).await.unwrap();
    assert_eq!(caller.principal.0, "ann@acme");
    assert_eq!(world.security.log_in(&caller, false, now(0)).unwrap_err().kind, Kind::Denied);
    let over = world.token(&token, HERE, now(900_000)).await.unwrap_err();
    assert_eq!(over.kind, Kind::Unauthenticated);
    for other in ["", "x", "stockade_session_", &format!("{token}x"), &token.to_uppercase()] {
        assert_eq!(world.token(other, HERE, now(0)).await.unwrap_err(), over, "{other}");
    }
    let nothing = world.security.authenticate(&at(HERE), (Shown::Nothing, Place::Elsewhere), now(0)).await.unwrap_err();
    assert!(nothing.kind == Kind::Unauthenticated && nothing.next.contains("log in"), "{nothing}");
    world.log_out(&token, now(0)).await;
    assert!(world.token(&token, HERE, now(0)).await.is_err());
}

#[tokio::test]
async fn a_refresh_token_makes_one_session_and_is_no_way_to_anything_else() {
    let world = World::new("acme").await;
    let text = |tokens: &Tokens| tokens.refresh.as_ref().unwrap().0.dangerous_text().to_string();
    let caller = world.password("ann", ANN, now(0)).await.unwrap();
    let tokens = world.security.log_in(&caller, true, now(0)).unwrap();
    let first = text(&tokens);
    assert_eq!(tokens.refresh.as_ref().unwrap().1, 12 * 3_600);
    assert!(world.security.log_in(&caller, false, now(0)).unwrap().refresh.is_none(), "who does not ask gets none");
    // It is for a log-in alone, and for one.
    let refused = world.token(&first, HERE, now(1)).await.unwrap_err();
    assert!(refused.kind == Kind::Unauthenticated && refused.next.contains("/v1/login"), "{refused}");
    let second = world.refreshed(&first, now(1)).await.unwrap();
    assert!(world.refreshed(&first, now(1)).await.is_err());
    let session = second.session.0.dangerous_text().to_string();
    assert!(world.token(&session, HERE, now(1)).await.is_ok());
    // Two that use it at the same time are one.
    let shown = || Shown::Token(Zeroizing::new(text(&second)));
    let both = [
        world.security.authenticate(&at(HERE), (shown(), Place::LogIn), now(2)).await.unwrap(),
        world.security.authenticate(&at(HERE), (shown(), Place::LogIn), now(2)).await.unwrap(),
    ];
    let [third, none] = both.map(|caller| world.security.log_in(&caller, true, now(2)));
    let third = third.unwrap();
    assert!(none.is_err());
    // The end of a session is the end of what it came with, and a lock is of all.
    let session = third.session.0.dangerous_text().to_string();
    world.log_out(&session, now(3)).await;
    assert!(world.refreshed(&text(&third), now(3)).await.is_err());
    let caller = world.password("ann", ANN, now(3)).await.unwrap();
    let last = text(&world.security.log_in(&caller, true, now(3)).unwrap());
    world.change("ann", Change { locked: Some(true), ..Change::default() }).await;
    world.change("ann", Change { locked: Some(false), ..Change::default() }).await;
    assert!(world.refreshed(&last, now(4)).await.is_err());
    let caller = world.password("ann", ANN, now(4)).await.unwrap();
    let old = text(&world.security.log_in(&caller, true, now(4)).unwrap());
    assert!(world.refreshed(&old, now(4 + 12 * 3_600_000)).await.is_err(), "its time is over");
}

#[tokio::test]
async fn nobody_goes_on_with_a_refresh_token_when_his_password_is_too_old() {
    let world = World::new("acme").await;
    let caller = world.password("ann", ANN, now(0)).await.unwrap();
    let refresh = world.security.log_in(&caller, true, now(0)).unwrap().refresh.unwrap().0.dangerous_text().to_string();
    let later = Now { wall_ms: now(1).wall_ms + 31 * DAY_MS, ..now(1) };
    assert!(world.refreshed(&refresh, later).await.is_err());
}

#[tokio::test]
async fn whoever_is_changed_loses_his_tokens_at_once_and_nobody_else_does() {
    let world = World::new("acme").await;
    let other = world.logged_in("old").await;
    let changes = [
        Change { locked: Some(true), ..Change::default() },
        Change { locked: Some(false), roles: Some(vec!["monitor".to_owned()]), ..Change::default() },
        Change { roles: Some(vec!["administrator".to_owned()]), ..Change::default() },
    ];
    for change in changes {
        if change.locked == Some(false) {
            // Out of the lock: he has none.
            world.change("ann", change).await;
            continue;
        }
        let token = world.logged_in("ann").await;
        world.change("ann", change).await;
        assert!(world.token(&token, HERE, now(1)).await.is_err());
        if world.password("ann", ANN, now(0)).await.is_err() {
            // Unlocking gives back the way in, not the token.
            world.change("ann", Change { locked: Some(false), ..Change::default() }).await;
            assert!(world.token(&token, HERE, now(1)).await.is_err());
        }
    }
    let token = world.logged_in("ann").await;
    let new = Some("another one".to_owned());
    world.security.change_user(&world.root(), (None, "ann"), Change::default(), new).await.unwrap();
    assert!(world.token(&token, HERE, now(1)).await.is_err());
    assert!(world.token(&other, HERE, now(1)).await.is_ok(), "nobody has changed him");
    world.security.remove_user(&world.root(), None, "old").await.unwrap();
    assert!(world.token(&other, HERE, now(1)).await.is_err());
}

#[tokio::test]
async fn another_version_of_a_realm_ends_all_sessions() {
    let world = World::new("acme").await;
    let (mine, others) = (world.logged_in("ann").await, world.logged_in("old").await);
    let stricter = text("acme", "2").replace("requirePassword = true", "requireTrustedHostMembership = true");
    world.security.load(&world.root(), &stricter, &Substitutions::none()).await.unwrap();
    world.security.activate(&world.root(), Which { version: Some("2"), ..which() }, None).await.unwrap();
    for token in [mine, others] {
        assert!(world.token(&token, HERE, now(1)).await.is_err());
    }
    let refused = world.password("ann", ANN, now(1)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unauthenticated, "no host is trusted");
    let reason = world.records().last().unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("trusted hosts only"), "{reason}");
}

#[tokio::test]
async fn a_log_in_that_a_change_overtakes_gives_no_token() {
    let world = World::new("acme").await;
    let before = world.password("ann", ANN, now(0)).await.unwrap();
    let new = Some("another one".to_owned());
    world.security.change_user(&world.root(), (None, "ann"), Change::default(), new).await.unwrap();
    assert_eq!(world.security.log_in(&before, false, now(0)).unwrap_err().kind, Kind::Unauthenticated);
    // Also where it is about the realm.
    let before = world.password("old", ANN, now(0)).await.unwrap();
    let stricter = text("acme", "2").replace("requirePassword = true", "requireTrustedHostMembership = true");
    world.security.load(&world.root(), &stricter, &Substitutions::none()).await.unwrap();
    world.security.activate(&world.root(), Which { version: Some("2"), ..which() }, None).await.unwrap();
    assert_eq!(world.security.log_in(&before, false, now(0)).unwrap_err().kind, Kind::Unauthenticated);
}

#[tokio::test]
async fn an_old_password_is_refused_and_its_owner_is_told() {
    let world = World::new("acme").await;
    let later = |days: i64| Now { ms: 0, wall_ms: now_ms() + days * DAY_MS };
    assert!(world.password("ann", ANN, later(29)).await.is_ok());
    let refused = world.password("ann", ANN, later(31)).await.unwrap_err();
    assert!(refused.kind == Kind::Unauthenticated && refused.why.contains("expired"), "{refused}");
    let wrong = world.password("ann", "wrong", later(31)).await.unwrap_err();
    assert!(!wrong.why.contains("expired"), "{wrong}");
}

#[tokio::test]
async fn a_password_is_kept_anew_with_the_costs_of_today_and_is_no_younger_for_it() {
    let world = World::new("acme").await;
    let kept = || {
        let in_force = world.security.in_force();
        let person = in_force.person(&in_force.name("old")).unwrap();
        (person.password.clone().unwrap(), person.password_ms)
    };
    let (cheap, age) = kept();
    assert!(cheap.contains("m=64,"), "{cheap}");
    let token = world.logged_in("ann").await;
    assert!(world.password("old", ANN, now(0)).await.is_ok());
    let (dear, same) = kept();
    assert!(dear.contains("m=19456,"), "{dear}");
    assert_eq!(age, same);
    assert!(world.password("old", ANN, now(0)).await.is_ok());
    assert!(world.token(&token, HERE, now(0)).await.is_ok());
}

#[tokio::test]
async fn every_answer_is_on_record_and_no_password_or_token_is() {
    let world = World::new("acme").await;
    let token = world.logged_in("ann").await;
    for from in [HERE, THERE, THERE] {
        world.token(&token, from, now(1)).await.unwrap();
    }
    drop(world.password("nobody", "hunter22", now(0)).await);
    drop(world.password("lou", ANN, now(0)).await);
    for _ in 0..100 {
        drop(world.security.authenticate(&at(HERE), (Shown::Nothing, Place::Elsewhere), now(0)).await);
    }
    drop(world.security.authenticate(&at(HERE), (Shown::Nothing, Place::Elsewhere), now(60_000)).await);
    let found = world.records();
    let text = |record: &serde_json::Value| {
        ["principal", "realm", "source", "method", "decision", "reason"]
            .map(|key| record[key].as_str().unwrap().to_owned())
    };
    let found: Vec<_> = found.iter().map(|record| text(record).join(" ")).collect();
    assert_eq!(found[0], "ann@acme acme 192.0.2.7 password permitted ");
    assert_eq!(found[1], "ann@acme acme 192.0.2.8 token permitted session 1, first seen from here");
    assert_eq!(found[2], "nobody@acme acme 192.0.2.7 password refused the realm does not know the principal");
    assert_eq!(found[3], "lou@acme acme 192.0.2.7 password refused the principal is locked");
    assert_eq!(found.len(), 4 + 10 + 1, "{found:?}");
    assert!(found[14].contains("refused 90 more of this address are not on record; "), "{}", found[14]);
    let mut all = String::new();
    for entry in std::fs::read_dir(world.folder.path().join(FOLDER)).unwrap().flatten() {
        all += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap());
    }
    assert!(all.contains("lou@acme"));
    for secret in [ANN, "hunter22", &token] {
        assert!(!all.contains(secret));
    }
}

#[tokio::test]
async fn no_attempt_that_cost_nothing_fills_the_trail_whoever_it_is_about() {
    let world = World::new("acme").await;
    let (long, too_long) = ("\u{1}".repeat(10 << 10), "x".repeat(1_025));
    let rounds = [
        ("ann", ""),
        ("nobody", ""),
        ("lou", &*too_long),
        ("nobody", "wrong"),
        ("lou", "wrong"),
        ("ann", "wrong"),
        (&*long, ""),
    ];
    for (round, (user, password)) in (1..).zip(rounds) {
        let from = at(IpAddr::from([192, 0, 2, round]));
        let guess = async |password: &str, now| {
            let shown = Shown::Password { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) };
            world.security.authenticate(&from, (shown, Place::LogIn), now).await.unwrap_err()
        };
        let before = world.records().len();
        // Those that are looked at are on record, each.
        let looked_at = if password == "wrong" { 3 } else { 0 };
        for _ in 0..200 + looked_at {
            guess(password, now(0)).await;
        }
        guess("", now(60_000)).await;
        let found = world.records().split_off(before);
        assert_eq!(found.len(), looked_at + 10 + 1, "{}", found[looked_at]);
        let last = found.last().unwrap().to_string();
        assert!(last.contains("190 more of this address are not on record") && last.len() < 4_096, "{last}");
    }
}

#[tokio::test]
async fn a_network_is_one_address_however_many_it_takes() {
    let world = World::new("acme").await;
    for host in 0..1_000_u128 {
        let address = IpAddr::V6((0x2001_0db8_0001_0001_u128 << 64 | host).into());
        drop(world.security.authenticate(&at(address), (Shown::Nothing, Place::Elsewhere), now(0)).await);
    }
    assert_eq!(world.records().len(), 10);
}

#[tokio::test]
async fn who_is_locked_is_not_told_by_the_next_wait_that_he_guessed_right() {
    let world = World::new("acme").await;
    for (user, right) in [("lou", ANN), ("ann", "wrong too")] {
        for password in ["x", "y", right] {
            assert_eq!(world.password(user, password, now(0)).await.unwrap_err().kind, Kind::Unauthenticated);
        }
        assert_eq!(world.password(user, "z", now(0)).await.unwrap_err().kind, Kind::TooMany, "{user}");
    }
    // Nor by what is kept of him.
    world.change("old", Change { locked: Some(true), ..Change::default() }).await;
    let kept = || world.security.in_force().everybody().find(|one| one.user == "old").unwrap().password.clone();
    let before = kept();
    assert!(world.password("old", ANN, now(0)).await.is_err());
    assert_eq!(before, kept());
}

#[tokio::test]
async fn nobody_is_admitted_whom_the_trail_cannot_take() {
    let world = World::new("acme").await;
    let token = world.logged_in("ann").await;
    let trail = world.folder.path().join(FOLDER);
    break_trail(&trail);
    let refused = world.password("ann", ANN, now(0)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Failed, "{refused}");
    assert_eq!(world.token(&token, THERE, now(0)).await.unwrap_err().kind, Kind::Failed);
    assert_eq!(world.token(&token, THERE, now(0)).await.unwrap_err().kind, Kind::Failed, "nor the second time");
}

#[tokio::test]
async fn what_was_done_is_not_told_as_undone_when_its_outcome_cannot_be_put_on_record() {
    let world = World::new("acme").await;
    let (values, command) = (Values::new(), find("user", "lock").unwrap());
    let recording = Recording::new(command, &values);
    let caller = world.root();
    world.security.record_command(&caller, &recording, (Phase::Intent, "")).await.unwrap();
    world.change("ann", Change { locked: Some(true), ..Change::default() }).await;
    break_trail(&world.folder.path().join(FOLDER));
    let told = world.security.record_outcome(&caller, &recording, Ok(())).await.unwrap_err();
    assert_eq!((told.kind, told.what.as_str()), (Kind::Failed, "it was done, and its outcome is not on record"));
    // What failed is told as it failed.
    let failed = Refusal::new(Kind::Conflict, "nothing was changed", "so", "so");
    let told = world.security.record_outcome::<()>(&caller, &recording, Err(failed.clone())).await.unwrap_err();
    assert_eq!(told, failed);
    // Before it is done, nothing is.
    let told = world.security.record_command(&caller, &recording, (Phase::Intent, "")).await.unwrap_err();
    assert_eq!(told.what, "nothing was done");
}

/// A file where its folder was.
fn break_trail(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::write(folder, "").unwrap();
}
