//! How what is in force changes: load, activate, deactivate, remove. The whole configuration that would result is
//! looked at first, then it is on record, then one transaction; only then does it count for requests.

use std::sync::Arc;

use stockade_config::security::{self, Object, Substitutions, whole};
use stockade_identity::hosts::Hosts;
use stockade_store::{Act, Beginning, ObjectId};

use super::beginnings::people_of;
use super::force::{self, Hosted, InForce, id_of};
use super::lockout;
pub(super) use super::objects::Which;
use super::objects::{active, choose, digest, parse};
use super::serving;
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// Most objects that are kept.
pub(super) const OBJECTS_MAX: usize = 1_000;

/// A change that is looked at: by whom, for how long if it is not to stay, and what would be in force.
struct Change<'a> {
    caller: &'a Caller,
    within_ms: Option<u32>,
    after: &'a [&'a Object],
    /// What is put in force.
    new: Option<&'a Object>,
}

/// What a change that can be made comes to.
struct Prospect {
    begins: Vec<Beginning>,
    hosts: Arc<Hosts>,
    notes: Vec<String>,
}

impl Security {
    /// Keeps the object of a text, inactive. Passwords in it are kept as what they hash to.
    pub(super) async fn load(&self, caller: &Caller, text: &str, variables: &Substitutions) -> Result<Object, Refusal> {
        let mut object = parse(text, variables)?;
        self.hash_passwords(caller, &mut object).await?;
        let text = security::export(&object, security::Secrets::Kept);
        // Hashes are longer than passwords: what is kept must be understood later.
        parse(&text, &Substitutions::none())?;
        let (id, digest) = (id_of(&object), digest(&text));
        let _changing = self.changing.lock().await;
        let kept = self.keeper.with(stockade_store::Store::objects).await?;
        // Before it is on record: what is refused is no transition.
        if kept.iter().any(|one| one.id == id) {
            return Err(is_there(&id));
        }
        if kept.len() >= OBJECTS_MAX {
            let next = "remove those that are not needed: stockade admin remove configuration";
            return Err(Refusal::new(
                Kind::TooMany,
                "the object is not kept",
                format!("there are {OBJECTS_MAX} already"),
                next,
            ));
        }
        self.record_transition(caller, ("none", "inactive"), &id, &digest).await?;
        let (who, known) = (caller.principal.0.clone(), id.clone());
        let act = move |store: &mut stockade_store::Store| {
            store.load(&id, &text, &digest, Act { principal: &who, now_ms: now_ms() })
        };
        if self.keeper.with(act).await? { Ok(object) } else { Err(is_there(&known)) }
    }

    /// Puts an object in force; with a time for that long only, unless somebody confirms it.
    pub(super) async fn activate(
        &self,
        caller: &Caller,
        which: Which<'_>,
        within_ms: Option<u32>,
    ) -> Result<Vec<String>, Refusal> {
        check_holds_everything(caller)?;
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let kept = self.kept().await?;
        let chosen = choose(&kept, which, |one| !one.active)?;
        let object = chosen.understood()?;
        let before = active(&kept)?;
        let after = with(&before, object);
        let change = Change { caller, within_ms, after: &after, new: Some(object) };
        let Prospect { begins, hosts, notes } = self.examined(&change).await?;
        self.record_transition(caller, ("inactive", "active"), &chosen.id, &chosen.digest()).await?;
        let (id, digest, who) = (chosen.id.clone(), chosen.digest(), caller.principal.0.clone());
        let trial = self.new_trial(caller, within_ms);
        let act = move |store: &mut stockade_store::Store| {
            store.activate(&id, &digest, &begins, trial.as_ref(), Act { principal: &who, now_ms: now_ms() })
        };
        self.keeper.with(act).await?;
        self.trial_begins.notify_one();
        self.take_up(hosts).await?;
        Ok(notes)
    }

    /// Puts an object out of force; with a time for that long only, unless somebody confirms it.
    pub(super) async fn deactivate(
        &self,
        caller: &Caller,
        which: Which<'_>,
        within_ms: Option<u32>,
    ) -> Result<Vec<String>, Refusal> {
        check_holds_everything(caller)?;
        let _changing = self.changing.lock().await;
        self.check_no_trial().await?;
        let kept = self.kept().await?;
        let chosen = choose(&kept, which, |one| one.active)?;
        if !chosen.active {
            return Err(Refusal::new(
                Kind::Conflict,
                "the object is not in force",
                "so it cannot be put out of it",
                "see stockade admin display configuration",
            ));
        }
        let (before, object) = (active(&kept)?, chosen.understood()?);
        let after: Vec<&Object> = before.iter().filter(|one| one.identity != object.identity).copied().collect();
        let change = Change { caller, within_ms, after: &after, new: None };
        let Prospect { hosts, notes, .. } = self.examined(&change).await?;
        let (id, digest) = (chosen.id.clone(), chosen.digest());
        self.record_transition(caller, ("active", "inactive"), &id, &digest).await?;
        let (who, trial) = (caller.principal.0.clone(), self.new_trial(caller, within_ms));
        let act = move |store: &mut stockade_store::Store| {
            store.deactivate(&id, &digest, trial.as_ref(), Act { principal: &who, now_ms: now_ms() })
        };
        self.keeper.with(act).await?;
        self.trial_begins.notify_one();
        self.take_up(hosts).await?;
        Ok(notes)
    }

    /// Forgets an object that is not in force.
    pub(super) async fn remove(&self, caller: &Caller, which: Which<'_>) -> Result<ObjectId, Refusal> {
        let _changing = self.changing.lock().await;
        // It may be what a trial gives back.
        self.check_no_trial().await?;
        let kept = self.kept().await?;
        let chosen = choose(&kept, which, |one| !one.active)?;
        if chosen.active {
            return Err(Refusal::new(
                Kind::Conflict,
                "the object is in force",
                "only others are removed",
                "deactivate it first",
            ));
        }
        let (id, digest, who) = (chosen.id.clone(), chosen.digest(), caller.principal.0.clone());
        self.record_transition(caller, ("inactive", "none"), &id, &digest).await?;
        let removed = id.clone();
        let act = move |store: &mut stockade_store::Store| {
            store.remove(&id, &digest, Act { principal: &who, now_ms: now_ms() })
        };
        self.keeper.with(act).await?;
        Ok(removed)
    }

    /// What would come of activating a text: all that an activation looks at. Nothing is kept.
    pub(super) async fn validate(&self, caller: &Caller, object: &Object) -> Result<Vec<String>, Refusal> {
        let kept = self.kept().await?;
        let before = active(&kept)?;
        let after = with(&before, object);
        let change = Change { caller, within_ms: None, after: &after, new: Some(object) };
        Ok(self.examined(&change).await?.notes)
    }

    /// Looks at everything that can refuse a change, and says what is notable. One that is on trial may lock its caller
    /// out: it does not stay unless somebody can still administer the node.
    async fn examined(&self, change: &Change<'_>) -> Result<Prospect, Refusal> {
        let Change { caller, after, .. } = change;
        let mut notes = self.check_whole(after).await?;
        let begins = match change.new {
            Some(object) => self.beginnings(caller, object).await?,
            None => Vec::new(),
        };
        let new = self.compiled(after)?;
        if let Some(object) = change.new {
            self.check_secrets(object)?;
        }
        let hosts = self.resolved(after).await?;
        notes.extend(serving::unserved(&new.objects, &self.terms));
        if change.within_ms.is_none() {
            let mut people = self.keeper.with(stockade_store::Store::principals).await?;
            people.extend(people_of(&begins));
            let new = new.with_people(people).trusting(Arc::clone(&hosts));
            let kept = self.check_stays(caller, &new, lockout::CONFIGURATION).await;
            kept.map_err(|lost| stays(lost, lost.next()))?;
        }
        Ok(Prospect { begins, hosts, notes })
    }

    /// Looks at the objects that would be in force together, and says what is notable.
    async fn check_whole(&self, after: &[&Object]) -> Result<Vec<String>, Refusal> {
        let in_force = self.in_force();
        let types = self.keeper.with(stockade_store::Store::realm_types).await?;
        let realms = in_force.administration.iter().cloned().collect();
        // Before it is in force for the first time nothing is offered.
        let server_profiles = self.terms.profile.iter().filter(|_| in_force.serving.is_some()).cloned().collect();
        let found = whole::check(after, &whole::Needs { realms, server_profiles, types });
        if let Some(bad) = found.iter().find(|finding| finding.fact.refuses()) {
            return Err(stays(bad, bad.fact.next()));
        }
        // Without their places: those of a text that nobody has written, the one that is kept.
        let of_files = after.iter().flat_map(|object| {
            let name = stockade_core::text::shown(&object.identity.name, 100);
            object.notes.iter().map(move |noted| format!("`{name}`: {}", noted.note))
        });
        Ok(found.iter().map(ToString::to_string).chain(of_files).collect())
    }

    /// What would be in force, nobody in it yet, by the hosts of before.
    fn compiled(&self, after: &[&Object]) -> Result<InForce, Refusal> {
        let in_force = self.in_force();
        let objects: Vec<Object> = after.iter().map(|object| (*object).clone()).collect();
        let new = InForce::compile(objects, Vec::new(), self.hosts())
            .map_err(|why| stays(why, "correct it, under another version"))?
            .connected(&self.terms, Some(&in_force))
            .administered_by(in_force.administration.clone());
        if let Some((realm, why)) = new.directories.unusable() {
            let what = format!("the realm `{realm}` could not ask who vouches for its users: {why}");
            return Err(stays(what, "see stockade node start --help, or correct it under another version"));
        }
        if let Some(Err(why)) = new.serving.as_ref().map(|serving| &serving.offer) {
            let next = "see --security-file of stockade node start --help, or correct it under another version";
            return Err(stays(why, next));
        }
        Ok(new)
    }

    /// The trusted hosts of what would be in force, their names resolved. What was found stays for names that are in
    /// force already where nothing of hosts changes.
    async fn resolved(&self, after: &[&Object]) -> Result<Arc<Hosts>, Refusal> {
        let (before, after) = (self.in_force(), force::hosts(after.iter().copied()));
        if force::hosts(before.objects.iter()) == after {
            return Ok(self.hosts());
        }
        let activated = Hosts::activate(&after, Arc::clone(self.terms.resolver()), self.now_ms()).await;
        activated.map(Arc::new).map_err(|bad| stays(&bad, bad.next()))
    }

    /// Reads what is in force anew. What is in force already stays when that fails; the store holds the new one.
    pub(super) async fn take_up(&self, hosts: Arc<Hosts>) -> Result<(), Refusal> {
        let before = self.in_force();
        let means = (&self.terms, Some(before.as_ref()));
        let new = force::of_store(&self.keeper, Hosted::Known(hosts), means).await?;
        self.put_in_force(new);
        Ok(())
    }
}

/// What would be in force with an object, which takes the place of another version of itself.
fn with<'a>(before: &[&'a Object], object: &'a Object) -> Vec<&'a Object> {
    let others = before.iter().filter(|one| !one.identity.is_version_of(&object.identity));
    others.copied().chain([object]).collect()
}

fn is_there(id: &ObjectId) -> Refusal {
    let shown = |text| stockade_core::text::shown(text, 100);
    Refusal::new(
        Kind::Conflict,
        format!("there is a version `{}` of `{}` already", shown(&id.version), shown(&id.name)),
        "an object never changes",
        "give it another version, or remove that one first",
    )
}

/// Who changes what is in force can give himself everything, so he must have it.
pub(super) fn check_holds_everything(caller: &Caller) -> Result<(), Refusal> {
    caller.in_force.authoriser.holds_all_of(&caller.roles, &[super::ADMINISTRATOR]).map_err(|lack| {
        Refusal::new(
            Kind::Denied,
            "this is not for you",
            format!("who changes what is in force can give himself every privilege, so it needs all of them: {lack}"),
            lack.next(),
        )
    })
}

/// A change of configuration that is refused as it stands.
pub(super) fn stays(why: impl std::fmt::Display, next: &str) -> Refusal {
    Refusal::new(Kind::Conflict, "the configuration stays as it is", why.to_string(), next)
}
