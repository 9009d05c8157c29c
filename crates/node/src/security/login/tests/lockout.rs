//! Nobody locks himself out: what would keep its maker from coming in again, or from changing it back, is refused and
//! changes nothing; on trial it is done.

use std::sync::atomic::AtomicBool;

use stockade_identity::certificate::Named;

use super::*;
use crate::security::force::Name;

/// The number of ann at the socket, who does not own the node.
const ANN_HERE: u32 = 1_001;

/// How she came.
#[derive(Clone, Copy, Debug)]
enum Came {
    Password,
    Token,
    Certificate,
    Host,
    Socket,
    /// As one of a directory.
    Directory,
}

/// What she does.
#[derive(Clone, Copy, Debug)]
enum Does<'a> {
    Activate(&'a str),
    Deactivate(&'a str),
}

fn object(name: &str, version: &str, inner: &str) -> String {
    format!("name = {name}, version = \"{version}\", type = stockade.security\nconfiguration {{ {inner} }}")
}

fn realm(name: &str, switches: &str) -> String {
    format!(
        r#"LocalAuthenticationRealm {{ name = {name}, {switches}, initialPrincipals = [
            {{ userName = ann, password = "{ANN}", roles = [administrator] }} ] }}"#
    )
}

fn directory(more: &str) -> String {
    format!(
        r#"LDAPAuthenticationRealm {{ name = corp, servers = [ {{ host = localhost, portNumber = 9, {more}
            systemPrincipal = "cn=x", systemPassword = x, principalRoot = "dc=acme", userAttribute = uid,
            roleAttribute = memberOf, allowPlaintext = true }} ] }}"#
    )
}

fn named<'a>(text: &'a str) -> Which<'a> {
    let name = text.split("name = ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let version = text.split('"').nth(1);
    Which { kind: "security", name, version }
}

impl World {
    /// One with these objects in force.
    async fn of(objects: &[String]) -> Self {
        let mut terms = Terms::of_test();
        terms.accounts.insert(ANN_HERE, "ann".to_owned());
        terms.outward.ports.insert(9);
        let world = Self::with(&objects[0], terms).await;
        for text in &objects[1..] {
            world.does(&world.root(), Does::Activate(text), None).await.unwrap();
        }
        world
    }

    async fn does(&self, caller: &Caller, does: Does<'_>, within_ms: Option<u32>) -> Result<Vec<String>, Refusal> {
        match does {
            Does::Activate(text) => {
                drop(self.security.load(&self.root(), text, &Substitutions::none()).await);
                self.security.activate(caller, named(text), within_ms).await
            }
            Does::Deactivate(name) => {
                let which = Which { kind: "security", name, version: None };
                self.security.deactivate(caller, which, within_ms).await
            }
        }
    }

    async fn came(&self, came: Came) -> Caller {
        let shown = match came {
            Came::Password => Shown::Password { user: "ann@acme".to_owned(), password: Zeroizing::new(ANN.to_owned()) },
            Came::Token => Shown::Token(Zeroizing::new(self.logged_in("ann@acme").await)),
            Came::Certificate => {
                let named = Named { name: "ann@acme".to_owned(), good_until_s: u64::MAX };
                Shown::Certificate(Arc::new(Client { named: Ok(named), is_on_record: AtomicBool::new(false) }))
            }
            Came::Host => Shown::Host { user: "ann@acme".to_owned() },
            Came::Socket => return self.security.caller(ANN_HERE, Principal("uid-1001@local".to_owned())),
            Came::Directory => return self.of_directory().await,
        };
        self.security.authenticate(&at(HERE), (shown, Place::Elsewhere), now(0)).await.unwrap()
    }

    /// Somebody for whom a directory has vouched.
    async fn of_directory(&self) -> Caller {
        let in_force = self.security.in_force();
        let name = Name { realm: "corp".to_owned(), user: "zoe".to_owned() };
        let realm = Arc::clone(in_force.directories.get("corp").unwrap());
        let held = Held { roles: vec!["administrator".to_owned()], realm };
        let claim = Claim { held: Some(held), ..Claim::of(name, Credential::Password(Proof::Right), "a test") };
        let way = Way { from: HERE, place: Place::LogIn, is_trusted: false, now: now(0) };
        self.security.admit(&at(HERE), claim, way, &in_force).await.unwrap()
    }
}

/// Every one is refused for this reason, changes nothing, and is done on trial.
async fn refused(before: &[String], came: Came, does: Does<'_>, why: &str) {
    let world = World::of(before).await;
    let caller = world.came(came).await;
    if let Does::Activate(text) = does {
        world.security.load(&world.root(), text, &Substitutions::none()).await.unwrap();
    }
    let state = world.state().await;
    let refused = world.does(&caller, does, None).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict, "{does:?}: {refused}");
    assert!(refused.why.contains(why) && refused.next.contains("--confirm-within"), "{does:?}: {refused}");
    let after = world.state().await;
    assert!((&state.0, &state.1) == (&after.0, &after.1) && Arc::ptr_eq(&state.2, &after.2), "{does:?}");
    world.does(&caller, does, Some(60_000)).await.unwrap();
    assert!(world.security.trial_note().await.unwrap().is_some());
}

async fn stays(before: &[String], came: Came, does: Does<'_>) {
    let world = World::of(before).await;
    let caller = world.came(came).await;
    world.does(&caller, does, None).await.unwrap();
}

#[tokio::test]
async fn a_way_in_is_not_taken_from_oneself() {
    let open = object("people", "1", &realm("acme", "requirePassword = false"));
    let v2 = |inner: &str| object("people", "2", inner);
    let (unknown, untrusted, password) = ("does not know the principal", "trusted hosts only", "wants a password");
    let one = std::slice::from_ref(&open);
    for came in [Came::Password, Came::Token] {
        refused(one, came, Does::Deactivate("people"), unknown).await;
        refused(one, came, Does::Activate(&v2(&realm("other", "requirePassword = false"))), unknown).await;
        let trusted = v2(&realm("acme", "requireTrustedHostMembership = true"));
        refused(one, came, Does::Activate(&trusted), untrusted).await;
        stays(one, came, Does::Activate(&v2(&realm("acme", "requirePassword = true")))).await;
    }
    let always = v2(&realm("acme", "requirePassword = true"));
    refused(one, Came::Certificate, Does::Activate(&always), password).await;
    refused(one, Came::Socket, Does::Activate(&always), "`configuration.load` would be denied").await;
    refused(one, Came::Socket, Does::Deactivate("people"), "`configuration.load` would be denied").await;
    // Who begins with a realm is of it; who owns the node does not need one.
    stays(one, Came::Socket, Does::Activate(&v2(&realm("other", "requireTrustedHostMembership = true")))).await;
    let world = World::of(one).await;
    world.does(&world.root(), Does::Deactivate("people"), None).await.unwrap();
}

#[tokio::test]
async fn a_host_that_one_comes_from_stays_trusted() {
    let people = object("people", "1", &realm("acme", "requireTrustedHostMembership = true"));
    let hosts = |version, host: IpAddr| object("hosts", version, &format!("TrustedHosts {{ hosts = [\"{host}\"] }}"));
    let before = [people, hosts("1", HERE)];
    let untrusted = "trusted hosts only";
    refused(&before, Came::Password, Does::Activate(&hosts("2", THERE)), untrusted).await;
    refused(&before, Came::Certificate, Does::Deactivate("hosts"), untrusted).await;
    stays(&before, Came::Socket, Does::Deactivate("hosts")).await;
    let both = object("hosts", "2", &format!("TrustedHosts {{ hosts = [\"{HERE}\", \"{THERE}\"] }}"));
    stays(&before, Came::Password, Does::Activate(&both)).await;
    // Whose host stands for a password keeps what makes it so.
    let open = object("people", "1", &realm("acme", "requirePassword = false"));
    let legacy = object("legacy", "1", "SecuritySettings { legacyHostTrust = true }");
    let before = [open, hosts("1", HERE), legacy];
    refused(&before, Came::Host, Does::Deactivate("legacy"), "no credential").await;
    refused(&before, Came::Host, Does::Deactivate("hosts"), "no credential").await;
}

#[tokio::test]
async fn who_is_of_a_directory_keeps_it_as_it_is() {
    let corp = |version, more: &str| object("corp", version, &directory(more));
    let people = object("people", "1", &realm("acme", "requirePassword = false"));
    let before = [people.clone(), corp("1", "")];
    refused(&before, Came::Directory, Does::Deactivate("corp"), "does not know the principal").await;
    let slower = corp("2", "connectTimeout = 3s,");
    refused(&before, Came::Directory, Does::Activate(&slower), "your realm would be another one").await;
    stays(&before, Came::Directory, Does::Activate(&corp("2", ""))).await;
    stays(&before, Came::Directory, Does::Deactivate("people")).await;
    stays(&before, Came::Password, Does::Deactivate("corp")).await;
}

#[tokio::test]
async fn a_realm_keeps_its_type_that_was_in_force_before_types_were_noted() {
    let people = object("people", "1", &realm("acme", "requirePassword = false"));
    let world = World::of(&[people, object("corp", "1", &directory(""))]).await;
    world.does(&world.root(), Does::Deactivate("corp"), None).await.unwrap();
    let World { security, folder } = world;
    let (terms, trail) = (security.terms.clone(), security.trail.clone());
    drop(security);
    let file = folder.path().join("node.sqlite");
    let before = rusqlite::Connection::open(&file).unwrap();
    before.execute("DELETE FROM realms WHERE type <> 'LocalAuthenticationRealm'", []).unwrap();
    let security = Security::open(Keeper::open(file).unwrap(), trail, terms).await.unwrap();
    let world = World { security, folder };
    let local = object("local", "1", &realm("corp", "requirePassword = false"));
    let refused = world.does(&world.root(), Does::Activate(&local), None).await.unwrap_err();
    assert!(refused.why.contains("was a LDAPAuthenticationRealm"), "{refused}");
}

#[tokio::test]
async fn a_trial_is_confirmed_in_time_by_who_was_admitted_under_it() {
    let mut world = World::of(&[object("people", "1", &realm("acme", "requirePassword = false"))]).await;
    let (before, all) = (world.root(), Does::Deactivate("people"));
    world.does(&before, all, Some(60_000)).await.unwrap();
    let refused = world.security.confirm(&before).await.unwrap_err();
    assert!(refused.why.contains("has changed while you asked"), "{refused}");
    // Of another start of the machine nobody knows how long it was.
    let boot = std::mem::replace(&mut world.security.terms.boot, "another".to_owned());
    let refused = world.security.confirm(&world.root()).await.unwrap_err();
    assert_eq!((refused.kind, refused.what.as_str()), (Kind::Conflict, "it is too late to confirm"));
    assert!(world.security.trial_note().await.unwrap().is_some(), "it is given back, not kept");
    world.security.terms.boot = boot;
    world.security.confirm(&world.root()).await.unwrap();
    assert_eq!(world.security.trial_note().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_validated_is_looked_at_as_it_would_be_when_it_is_put_in_force() {
    let world = World::of(&[object("people", "1", &realm("acme", "requirePassword = false"))]).await;
    let validate = async |inner: &str| {
        let object = crate::security::objects::parse(&object("new", "1", inner), &Substitutions::none()).unwrap();
        world.security.validate(&world.root(), &object).await
    };
    // Nobody can be asked for names.
    let refused = validate(r#"TrustedHosts { hosts = ["a.acme.com"] }"#).await.unwrap_err();
    assert!(refused.why.contains("`a.acme.com` of `new`"), "{refused}");
    let bad =
        r#"LocalAuthenticationRealm { name = new, initialPrincipals = [ { userName = a, password = "file:/x" } ] }"#;
    let refused = validate(bad).await.unwrap_err();
    assert!(refused.next.contains("--secrets"), "{refused}");
    validate(&bad.replace("file:/x", "correct horse")).await.unwrap();
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_kept() {
    let world = World::of(&[object("people", "1", &realm("acme", "requirePassword = false"))]).await;
    let users = |count: usize| {
        let secret = |number| if number < 8 { "password = short, " } else { "" };
        let user = |number| format!("{{ userName = u{number}, {}roles = [ user ] }}", secret(number));
        let users = (0..count).map(user).collect::<Vec<_>>().join("\n");
        object("many", "1", &format!("LocalAuthenticationRealm {{ name = many, initialPrincipals = [ {users} ] }}"))
    };
    let fits = |count: &usize| crate::security::objects::parse(&users(*count), &Substitutions::none()).is_ok();
    // As many as fit with clear passwords.
    let most = (1..10_000).collect::<Vec<_>>().partition_point(fits);
    assert!(most > 500, "{most}");
    let before = world.state().await;
    let refused = world.security.load(&world.root(), &users(most), &Substitutions::none()).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid, "{refused}");
    assert_eq!(world.state().await.0, before.0);
    let trail = std::fs::read_to_string(world.folder.path().join(FOLDER).join("audit.jsonl")).unwrap();
    assert!(!trail.contains("many"), "it is no transition");
    world.security.load(&world.root(), &users(most - 10), &Substitutions::none()).await.unwrap();
}

#[tokio::test]
async fn nobody_takes_himself_away_or_what_he_needs() {
    let world = World::of(&[object("people", "1", &realm("acme", "requirePassword = false"))]).await;
    for came in [Came::Password, Came::Certificate, Came::Socket] {
        let caller = world.came(came).await;
        let before = world.state().await;
        let refused = |refused: Refusal| {
            assert_eq!(refused.kind, Kind::Conflict, "{came:?}: {refused}");
            assert!(refused.why.contains("could not administer the node any more"), "{came:?}: {refused}");
        };
        for bad in [
            Change { locked: Some(true), ..Change::default() },
            Change { roles: Some(vec!["monitor".to_owned()]), ..Change::default() },
        ] {
            refused(world.security.change_user(&caller, (None, "ann"), bad, None).await.unwrap_err());
        }
        refused(world.security.remove_user(&caller, None, "ann").await.unwrap_err());
        let document = world.security.backup(&caller, None).unwrap().replace("\"ann\"", "\"eve\"");
        refused(world.security.restore(&caller, &document, None).await.unwrap_err());
        let after = world.state().await;
        assert!((&before.0, &before.1) == (&after.0, &after.1) && Arc::ptr_eq(&before.2, &after.2), "{came:?}");
    }
    // Nor the password, who came by it; a certificate is as good without.
    let mut document: serde_json::Value =
        serde_json::from_str(&world.security.backup(&world.root(), None).unwrap()).unwrap();
    document["principals"][0].as_object_mut().unwrap().remove("password");
    let document = document.to_string();
    let by_password = world.came(Came::Password).await;
    let refused = world.security.restore(&by_password, &document, None).await.unwrap_err();
    assert!(refused.why.contains("the credential is wrong"), "{refused}");
    // What leaves him what he needs goes on, as does what another one does.
    let longer = Change { password_days: Some(30), ..Change::default() };
    world.security.change_user(&by_password, (None, "ann"), longer, None).await.unwrap();
    world.security.restore(&world.came(Came::Certificate).await, &document, None).await.unwrap();
    world.change("ann", Change { locked: Some(true), ..Change::default() }).await;
}
