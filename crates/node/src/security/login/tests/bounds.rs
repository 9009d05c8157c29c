//! What the node keeps is bounded; who would make it more is refused, and nothing has changed.

use stockade_store::{Act, NewPrincipal, Object, ObjectId, Principal as Person, Store};

use super::*;
use crate::security::changes::OBJECTS_MAX;
use crate::security::people::PEOPLE_MAX;

/// What counts, and what is kept of it.
pub(super) type State = (Vec<Object>, Vec<Person>, Arc<InForce>);

impl World {
    pub(super) async fn state(&self) -> State {
        let kept = |store: &mut Store| Ok((store.objects()?, store.principals()?));
        let (objects, people) = self.security.keeper.with(kept).await.unwrap();
        (objects, people, self.security.in_force())
    }

    #[track_caller]
    fn refused(&self, (before, after): (&State, &State), refused: &Refusal, what: &str) {
        assert_eq!(refused.what, what);
        assert!(refused.why.contains("1000 already") || refused.why.contains("100000"), "{refused}");
        assert!(refused.next.contains("remove"), "{refused}");
        assert_eq!((&before.0, &before.1), (&after.0, &after.1));
        assert!(Arc::ptr_eq(&before.2, &after.2), "what is in force is the same");
    }

    async fn load(&self, name: &str, inner: &str) -> Result<(), Refusal> {
        let text = format!("name = {name}, version = \"1\", type = stockade.security\nconfiguration {{ {inner} }}");
        self.security.load(&self.root(), &text, &Substitutions::none()).await.map(drop)
    }

    async fn add(&self, user: &str) -> Result<(), Refusal> {
        let new =
            NewPrincipal { user: user.to_owned(), password: None, roles: Vec::new(), locked: false, password_days: 0 };
        self.security.add_user(&self.root(), None, new, None).await
    }
}

#[tokio::test]
async fn there_are_so_many_objects_and_no_more() {
    let world = World::new("acme").await;
    let id = |number: usize| ObjectId {
        kind: "stockade.security".to_owned(),
        name: format!("n{number}"),
        version: "1".to_owned(),
    };
    let fill = move |store: &mut Store| {
        (2..OBJECTS_MAX).try_for_each(|number| {
            let text = format!(
                "name = n{number}, version = \"1\", type = stockade.security\nconfiguration {{ SecuritySettings {{}} }}"
            );
            store.load(&id(number), &text, "", Act { principal: "a test", now_ms: 0 }).map(drop)
        })
    };
    world.security.keeper.with(fill).await.unwrap();
    world.load("last", "SecuritySettings {}").await.unwrap();
    let before = world.state().await;
    assert_eq!(before.0.len(), OBJECTS_MAX);
    let refused = world.load("more", "SecuritySettings {}").await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooMany);
    world.refused((&before, &world.state().await), &refused, "the object is not kept");
    // As it is told.
    let last = Which { name: "last", ..which() };
    world.security.remove(&world.root(), last).await.unwrap();
    world.load("more", "SecuritySettings {}").await.unwrap();
}

#[tokio::test]
async fn there_are_so_many_people_and_no_more_whichever_way_they_come() {
    let world = World::new("acme").await;
    let (_, known, _) = world.state().await;
    let person = |number: usize| Person { realm: "gone".to_owned(), user: format!("n{number}"), ..known[0].clone() };
    let many: Vec<Person> = (known.len() + 1..PEOPLE_MAX).map(person).collect();
    world.security.keeper.with(move |store| store.replace_principals("gone", &many)).await.unwrap();
    world.add("last").await.unwrap();
    let begins = "LocalAuthenticationRealm { name = new, initialPrincipals = [{ userName = one }] }";
    world.load("new", begins).await.unwrap();
    world.load("empty", "LocalAuthenticationRealm { name = empty }").await.unwrap();
    let before = world.state().await;
    assert_eq!(before.1.len(), PEOPLE_MAX);

    let refused = world.add("more").await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooMany);
    world.refused((&before, &world.state().await), &refused, "nobody is added");

    let new = Which { name: "new", ..which() };
    let refused = world.security.activate(&world.root(), new, None).await.unwrap_err();
    assert_eq!(refused.kind, Kind::TooMany);
    world.refused((&before, &world.state().await), &refused, "the configuration stays as it is");

    let document = world.security.backup(&world.root(), None).unwrap();
    let mut more: serde_json::Value = serde_json::from_str(&document).unwrap();
    let people = more["principals"].as_array_mut().unwrap();
    let mut one = people[0].clone();
    one["userName"] = "more".into();
    people.push(one);
    let refused = world.security.restore(&world.root(), &more.to_string(), None).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    let after = world.state().await;
    assert!(refused.why.contains("more than 100000 users") && refused.next == "use a directory", "{refused}");
    assert_eq!(before.1, after.1);

    // Who is there can be changed, and what brings nobody is put in force.
    world.change("last", Change { locked: Some(true), ..Change::default() }).await;
    let empty = Which { name: "empty", ..which() };
    world.security.activate(&world.root(), empty, None).await.unwrap();
    world.security.remove_user(&world.root(), Some("acme"), "last").await.unwrap();
    world.security.activate(&world.root(), new, None).await.unwrap();
    assert_eq!(world.state().await.1.len(), PEOPLE_MAX);
}

#[tokio::test]
async fn what_a_stricter_version_does_not_understand_can_be_removed_and_is_in_nobodys_way() {
    let world = World::new("acme").await;
    let old = ObjectId { kind: "stockade.security".to_owned(), name: "old".to_owned(), version: "1".to_owned() };
    let load = move |store: &mut Store| store.load(&old, "nonsense", "", Act { principal: "a test", now_ms: 0 });
    world.security.keeper.with(load).await.unwrap();
    world.load("new", "SecuritySettings {}").await.unwrap();
    let which = |name| Which { kind: "security", name, version: None };
    world.security.activate(&world.root(), which("new"), None).await.unwrap();
    let shown = crate::security::show::objects(&world.security, None, Some("old")).await.unwrap();
    assert_eq!(shown.rows[0][3], "Unreadable");
    let refused = world.security.activate(&world.root(), which("old"), None).await.unwrap_err();
    assert!(refused.what.contains("`old` is not understood") && refused.next.contains("remove"), "{refused}");
    world.security.remove(&world.root(), which("old")).await.unwrap();
    world.security.deactivate(&world.root(), which("new"), None).await.unwrap();
}

#[tokio::test]
async fn denials_of_one_caller_are_a_few_records_and_a_number() {
    let world = World::new("acme").await;
    let of = |who: &str, now_ms| world.security.of_denials(who, "no", now_ms);
    assert_eq!((0..50).filter_map(|now_ms| of("bin", now_ms)).collect::<Vec<_>>(), vec!["no"; 10]);
    assert_eq!(of("games", 50).as_deref(), Some("no"), "another has his own");
    assert_eq!(of("bin", 60_000).as_deref(), Some("40 more of this caller are not on record; no"));
}
