//! How what is in force changes: load, activate, deactivate, remove. The whole configuration that would result is
//! looked at first, then it is on record, then one transaction; only then does it count for requests.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use stockade_config::security::{self, Object, Root, Secret, Substitutions, whole};
use stockade_identity::hosts::Hosts;
use stockade_identity::local::{BadHash, Password, Stored};
use stockade_identity::privilege::Privilege;
use stockade_store::{Act, Beginning, NewPrincipal, ObjectId};

use super::directories::Directories;
use super::force::{self, Hosted, InForce, id_of};
use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// Most objects that are kept.
const OBJECTS_MAX: usize = 1_000;

/// An object of the store, understood.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: ObjectId,
    pub(super) object: Object,
    pub(super) text: String,
    pub(super) active: bool,
    pub(super) loaded_ms: i64,
    pub(super) activated_ms: Option<i64>,
}

impl Kept {
    pub(super) fn digest(&self) -> String {
        digest(&self.text)
    }
}

/// What tells an object, as a caller says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
}

impl Security {
    /// Every object, understood.
    pub(super) async fn kept(&self) -> Result<Vec<Kept>, Refusal> {
        let objects = self.keeper.with(stockade_store::Store::objects).await?;
        let kept = objects.into_iter().map(|object| {
            let unreadable = |why| Refusal::failed("an object of the configuration cannot be read", why);
            Ok(Kept {
                object: force::read(&object.text).map_err(unreadable)?,
                id: object.id,
                text: object.text,
                active: object.active,
                loaded_ms: object.loaded_ms,
                activated_ms: object.activated_ms,
            })
        });
        kept.collect()
    }

    /// Keeps the object of a text, inactive. Passwords in it are kept as what they hash to.
    pub(super) async fn load(&self, caller: &Caller, text: &str, variables: &Substitutions) -> Result<Object, Refusal> {
        let mut object = parse(text, variables)?;
        self.hash_passwords(caller, &mut object).await?;
        let text = security::export(&object, security::Secrets::Kept);
        let (id, digest) = (id_of(&object), digest(&text));
        let _changing = self.changing.lock().await;
        let count = self.keeper.with(|store| Ok(store.objects()?.len())).await?;
        if count >= OBJECTS_MAX {
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
        if self.keeper.with(act).await? {
            return Ok(object);
        }
        Err(Refusal::new(
            Kind::Conflict,
            format!("there is a version `{}` of `{}` already", known.version, known.name),
            "an object never changes",
            "give it another version, or remove that one first",
        ))
    }

    /// Puts an object in force.
    pub(super) async fn activate(&self, caller: &Caller, which: Which<'_>) -> Result<Vec<String>, Refusal> {
        check_holds_everything(caller)?;
        let _changing = self.changing.lock().await;
        let kept = self.kept().await?;
        let chosen = choose(&kept, which, |one| !one.active)?;
        let after = kept.iter().filter(|one| one.active && !one.object.identity.is_version_of(&chosen.object.identity));
        let after: Vec<&Object> = after.map(|one| &one.object).chain([&chosen.object]).collect();
        let begins = self.beginnings(&chosen.object).await?;
        let notes = self.check_whole(caller, &kept, &after)?;
        let hosts = self.resolved(&after).await?;
        self.record_transition(caller, ("inactive", "active"), &chosen.id, &chosen.digest()).await?;
        let (id, digest, who) = (chosen.id.clone(), chosen.digest(), caller.principal.0.clone());
        let act = move |store: &mut stockade_store::Store| {
            store.activate(&id, &digest, &begins, Act { principal: &who, now_ms: now_ms() })
        };
        self.keeper.with(act).await?;
        self.take_up(hosts).await?;
        Ok(notes)
    }

    /// Puts an object out of force.
    pub(super) async fn deactivate(&self, caller: &Caller, which: Which<'_>) -> Result<Vec<String>, Refusal> {
        check_holds_everything(caller)?;
        let _changing = self.changing.lock().await;
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
        let after: Vec<&Object> =
            kept.iter().filter(|one| one.active && one.id != chosen.id).map(|one| &one.object).collect();
        let notes = self.check_whole(caller, &kept, &after)?;
        let hosts = self.resolved(&after).await?;
        let (id, digest) = (chosen.id.clone(), chosen.digest());
        self.record_transition(caller, ("active", "inactive"), &id, &digest).await?;
        let who = caller.principal.0.clone();
        let act = move |store: &mut stockade_store::Store| {
            store.deactivate(&id, &digest, Act { principal: &who, now_ms: now_ms() })
        };
        self.keeper.with(act).await?;
        self.take_up(hosts).await?;
        Ok(notes)
    }

    /// Forgets an object that is not in force.
    pub(super) async fn remove(&self, caller: &Caller, which: Which<'_>) -> Result<ObjectId, Refusal> {
        let _changing = self.changing.lock().await;
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

    /// What would come of activating a text; nothing is kept.
    pub(super) async fn validate(&self, caller: &Caller, object: &Object) -> Result<Vec<String>, Refusal> {
        let kept = self.kept().await?;
        let after = kept.iter().filter(|one| one.active && !one.object.identity.is_version_of(&object.identity));
        let after: Vec<&Object> = after.map(|one| &one.object).chain([object]).collect();
        self.check_whole(caller, &kept, &after)
    }

    /// Looks at the whole configuration that would be in force, and says what is notable.
    fn check_whole(&self, caller: &Caller, kept: &[Kept], after: &[&Object]) -> Result<Vec<String>, Refusal> {
        let before: Vec<&Object> = kept.iter().filter(|one| one.active).map(|one| &one.object).collect();
        let found = whole::check(&before, after, &whole::Needs::default());
        let refused =
            |what: String, next: &str| Refusal::new(Kind::Conflict, "the configuration stays as it is", what, next);
        if let Some(bad) = found.iter().find(|finding| finding.fact.refuses()) {
            return Err(refused(bad.to_string(), bad.fact.next()));
        }
        let objects: Vec<Object> = after.iter().map(|object| (*object).clone()).collect();
        let directories = Directories::of(&objects, &self.terms, &self.in_force().directories);
        if let Some((realm, why)) = directories.unusable() {
            let what = format!("the realm `{realm}` could not ask its directory: {why}");
            return Err(refused(what, "see stockade node start --help, or correct it under another version"));
        }
        let new = InForce::compile(objects, Vec::new(), self.hosts(), directories)
            .map_err(|why| refused(why, "correct it, under another version"))?;
        check_can_administer(caller, &new)?;
        let of_files = after.iter().flat_map(|object| object.notes.iter().map(ToString::to_string));
        Ok(found.iter().map(ToString::to_string).chain(of_files).collect())
    }

    /// Whom the realms of an object begin with, those that were in force before left out.
    async fn beginnings(&self, object: &Object) -> Result<Vec<Beginning>, Refusal> {
        let mut begins = Vec::new();
        for root in &object.roots {
            if let Root::Ldap(realm) = root {
                self.check_is_new(&realm.name).await?;
            }
            let Root::Local(realm) = root else { continue };
            let name = realm.name.clone();
            if self.keeper.with(move |store| store.has_realm(&name)).await? {
                continue;
            }
            let principals = realm.initial.iter().map(|initial| {
                Ok(NewPrincipal {
                    user: initial.user.clone(),
                    password: initial.password.as_ref().map(|secret| hash_of(&initial.user, secret)).transpose()?,
                    roles: initial.roles.clone(),
                    locked: initial.locked,
                    password_days: initial.password_expiration_days,
                })
            });
            begins
                .push(Beginning { realm: realm.name.clone(), principals: principals.collect::<Result<_, Refusal>>()? });
        }
        Ok(begins)
    }

    /// A directory's people must not have what belongs to those of a local realm that was called the same.
    async fn check_is_new(&self, realm: &str) -> Result<(), Refusal> {
        let name = realm.to_owned();
        if !self.keeper.with(move |store| store.has_realm(&name)).await? {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::Conflict,
            "the configuration stays as it is",
            format!("`{realm}` was a local realm, and its people's runs would be those of a directory's"),
            "give the new realm another name",
        ))
    }

    /// Puts what passwords hash to in the place of passwords.
    async fn hash_passwords(&self, caller: &Caller, object: &mut Object) -> Result<(), Refusal> {
        for root in &mut object.roots {
            let Root::Local(realm) = root else { continue };
            for initial in &mut realm.initial {
                let Some(Secret::Clear(clear)) = &initial.password else { continue };
                let hash = self.hash(caller, clear.clone()).await?;
                initial.password = Some(Secret::Hash(hash));
            }
        }
        Ok(())
    }

    /// What a password hashes to, as it is kept.
    pub(super) async fn hash(&self, caller: &Caller, clear: String) -> Result<String, Refusal> {
        let password = Password::new(clear)
            .map_err(|bad| Refusal::invalid("the password cannot be used", bad.to_string(), bad.next()))?;
        let stored = self.passwords.hash(caller.source, password).await;
        stored.map(|stored| stored.to_string()).map_err(|bad| {
            let kind = if bad == BadHash::Resources { Kind::Unavailable } else { Kind::Failed };
            Refusal::new(kind, "the password cannot be kept", bad.to_string(), bad.next())
        })
    }

    /// The trusted hosts of what would be in force, their names resolved. What was found stays for names that are in
    /// force already where nothing of hosts changes.
    async fn resolved(&self, after: &[&Object]) -> Result<Arc<Hosts>, Refusal> {
        let (before, after) = (self.in_force(), force::hosts(after.iter().copied()));
        if force::hosts(before.objects.iter()) == after {
            return Ok(self.hosts());
        }
        let activated = Hosts::activate(&after, Arc::clone(self.terms.resolver()), self.now_ms()).await;
        activated.map(Arc::new).map_err(|bad| {
            Refusal::new(Kind::Conflict, "the configuration stays as it is", bad.to_string(), bad.next())
        })
    }

    /// Reads what is in force anew. What is in force already stays when that fails; the store holds the new one.
    pub(super) async fn take_up(&self, hosts: Arc<Hosts>) -> Result<(), Refusal> {
        let before = self.in_force();
        let means = (&self.terms, &before.directories);
        let new = force::of_store(&self.keeper, Hosted::Known(hosts), means).await?;
        self.put_in_force(new);
        Ok(())
    }
}

/// Who changes what is in force can give himself everything, so he must have it.
fn check_holds_everything(caller: &Caller) -> Result<(), Refusal> {
    caller.in_force.authoriser.holds_all_of(&caller.roles, &[super::ADMINISTRATOR]).map_err(|lack| {
        Refusal::new(
            Kind::Denied,
            "this is not for you",
            format!("who changes what is in force can give himself every privilege, so it needs all of them: {lack}"),
            lack.next(),
        )
    })
}

/// Whoever changes what is in force can change it back.
fn check_can_administer(caller: &Caller, new: &InForce) -> Result<(), Refusal> {
    let lost = ["configuration.load", "configuration.activate", "configuration.deactivate"].iter().find(|command| {
        let privilege = Privilege::AdminRunCommand;
        !new.authoriser.decide(&caller.principal.0, &caller.roles, privilege, Some(command)).is_permitted()
    });
    match lost {
        Some(command) => Err(Refusal::new(
            Kind::Conflict,
            "the configuration stays as it is",
            format!("you could not administer the node any more: `{command}` would be denied to you"),
            "leave your own role what it needs",
        )),
        None => Ok(()),
    }
}

/// Parses a text as it was given.
pub(super) fn parse(text: &str, variables: &Substitutions) -> Result<Object, Refusal> {
    security::parse(text, variables)
        .map_err(|bad| Refusal::invalid("the object cannot be understood", bad.to_string(), bad.next()))
}

fn hash_of(user: &str, secret: &Secret) -> Result<String, Refusal> {
    let user = stockade_core::text::shown(user, 100);
    match secret {
        Secret::Hash(hash) => Stored::parse(hash).map(|stored| stored.to_string()).map_err(|bad| {
            Refusal::invalid(format!("the password of `{user}` cannot be used"), bad.to_string(), bad.next())
        }),
        Secret::Clear(_) | Secret::File(_) | Secret::Variable(_) => Err(Refusal::invalid(
            format!("the password of `{user}` cannot be used"),
            "the node's process, which strangers speak to, opens no files and has no secrets in its environment",
            "write what it hashes to: stockade admin hash secret --password-stdin",
        )),
    }
}

pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The object that is meant; where no version is named the only one, or the only one for which `likely` says yes.
pub(super) fn choose<'a>(
    kept: &'a [Kept],
    which: Which<'_>,
    likely: impl Fn(&Kept) -> bool,
) -> Result<&'a Kept, Refusal> {
    let kind = kind(which.kind)?;
    let named: Vec<&Kept> = kept.iter().filter(|one| one.id.kind == kind && one.id.name == which.name).collect();
    let found = match which.version {
        Some(version) => named.iter().find(|one| one.id.version == version).copied(),
        None => match named.as_slice() {
            [only] => Some(*only),
            several => {
                let likely: Vec<&&Kept> = several.iter().filter(|one| likely(one)).collect();
                match likely.as_slice() {
                    [only] => Some(**only),
                    [] => None,
                    _ => {
                        let versions: Vec<_> = several.iter().map(|one| one.id.version.as_str()).collect();
                        let why = format!("there are the versions {}", versions.join(", "));
                        return Err(Refusal::invalid("which version is meant?", why, "name one with --version"));
                    }
                }
            }
        },
    };
    found.ok_or_else(|| {
        let name = stockade_core::text::shown(which.name, 100);
        Refusal::new(
            Kind::Missing,
            format!("there is no such object `{name}`"),
            "none of this type, name and version is loaded, or none in that state",
            "see stockade admin display configuration",
        )
    })
}

/// A type by one of its names, or without what is before its last dot.
pub(super) fn kind(word: &str) -> Result<&'static str, Refusal> {
    let known = security::Kind::ALL.into_iter();
    let found = security::Kind::parse(word)
        .or_else(|| known.clone().find(|kind| kind.name().rsplit_once('.').is_some_and(|(_, last)| last == word)));
    found.map(security::Kind::name).ok_or_else(|| {
        let names: Vec<_> = known.map(security::Kind::name).collect();
        let shown = stockade_core::text::shown(word, 100);
        Refusal::invalid(
            format!("there is no type `{shown}`"),
            "no object has it",
            stockade_core::near::next(word, &names),
        )
    })
}
