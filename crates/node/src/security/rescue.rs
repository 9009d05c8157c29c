//! The way back into a node that nobody can administer any more: for the owner of its folder, while the node is down.
//!
//! The lock of the folder, held, is the proof that it is; what is done goes into the node's own trail before.

use std::collections::BTreeMap;
use std::path::Path;

use stockade_audit::{Place, Writer};
use stockade_config::security::{Object, Root, whole};
use stockade_core::audit::{Command, Parameter, Phase, Record, Transition};
use stockade_store::{Act, ObjectId, Store};

use super::trail::{FOLDER, outcome, time_ms, unrecorded};
use super::{force, objects};
use crate::admin::table::Table;
use crate::lock::Lock;
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;
use crate::wire::RunId;

/// From where it is done.
const OFFLINE: &str = "offline";

/// Shows what decides who may log in, or puts it out of force.
pub(crate) fn recover(folder: &Path, who: u32, command: &str, realm: Option<&str>) -> Result<Table, Refusal> {
    let store = folder.join(crate::start::STORE);
    let file = store.join("node.sqlite");
    if !file.is_file() {
        return Err(Refusal::new(
            Kind::Missing,
            "there is no node to look after",
            "no node was ever started in this folder",
            "name the folder of one: stockade admin --folder=DIR …",
        ));
    }
    let _lock = Lock::take(folder).map_err(|refusal| {
        let next = "stop the node first; while it is there, ask it: stockade admin".to_owned();
        if refusal.kind == Kind::Conflict { Refusal { next, ..refusal } } else { refusal }
    })?;
    let store = Store::open(&file).map_err(|error| Refusal::new(Kind::Failed, error.to_string(), "", error.next()))?;
    let rescue = Rescue {
        store,
        trail: trail(folder)?,
        principal: format!("uid-{who}@local"),
        id: RunId::random().map_or_else(|_| "unknown".to_owned(), String::from),
        command: if command == "reset" { "reset" } else { "display" },
        realm,
    };
    rescue.done()
}

/// The trail of the node; where it is gone no new one is begun.
fn trail(folder: &Path) -> Result<Writer, Refusal> {
    let place = folder.join(crate::start::STORE).join(FOLDER);
    if place.is_dir() {
        return Ok(Writer::new(Place::new(place)));
    }
    Err(Refusal::new(
        Kind::Failed,
        "nothing was done",
        "it cannot be put on record: the folder of the audit trail is gone",
        format!("bring {} back, or start the node once", stockade_core::text::shown(&place.to_string_lossy(), 300)),
    ))
}

struct Rescue<'a> {
    store: Store,
    trail: Writer,
    principal: String,
    id: String,
    command: &'static str,
    realm: Option<&'a str>,
}

/// An active object, as it is kept and as far as it is understood.
struct Active {
    id: ObjectId,
    digest: String,
    /// None where this version cannot read it, which must not stand in the way.
    object: Option<Object>,
}

impl Rescue<'_> {
    fn done(mut self) -> Result<Table, Refusal> {
        self.record(Phase::Intent, "")?;
        let done = if self.command == "reset" { self.reset() } else { self.display() };
        self.told(done)
    }

    /// What became of it, on record. By now it is done or not, whatever comes of the record.
    fn told<T>(&self, done: Result<T, Refusal>) -> Result<T, Refusal> {
        let (phase, reason) = outcome(&done);
        let recorded = self.record(phase, reason);
        done.and_then(|done| recorded.map(|()| done).map_err(unrecorded))
    }

    fn active(&mut self) -> Result<Vec<Active>, Refusal> {
        let active = self.store.objects()?.into_iter().filter(|one| one.active);
        Ok(active
            .map(|one| Active { digest: objects::digest(&one.text), object: force::read(&one.text).ok(), id: one.id })
            .collect())
    }

    /// Every realm in force, with its users where the node keeps them.
    fn display(&mut self) -> Result<Table, Refusal> {
        let mut table = Table::new(&["Realm", "Type", "Object", "User Name", "Roles", "Locked", "Has Password"]);
        let people = self.store.principals()?;
        for one in self.active()? {
            let roots = one.object.iter().flat_map(|object| &object.roots);
            for (realm, kind) in
                roots.filter_map(realm_of).filter(|(name, _)| self.realm.is_none_or(|only| only == *name))
            {
                let about = [realm, kind, &one.id.name].map(str::to_owned);
                let users: Vec<_> = people.iter().filter(|user| kind == "local" && user.realm == realm).collect();
                for user in &users {
                    let [realm, kind, object] = about.clone();
                    let (locked, password) = (user.locked.to_string(), user.password.is_some().to_string());
                    table.push([realm, kind, object, user.user.clone(), user.roles.join(","), locked, password]);
                }
                if users.is_empty() {
                    let [realm, kind, object] = about;
                    table.push([realm, kind, object, String::new(), String::new(), String::new(), String::new()]);
                }
            }
        }
        if let Some(realm) = self.store.administration_realm()? {
            table.notes.push(format!("over the network, administrators are of the realm `{realm}`"));
        }
        if let Some(trial) = self.store.trial()? {
            table.notes.push(format!("what `{}` has changed is on trial", trial.principal));
        }
        Ok(table)
    }

    /// Puts all of it out of force, or what has one realm. Nothing is removed.
    fn reset(&mut self) -> Result<Table, Refusal> {
        let active = self.active()?;
        let (chosen, rest): (Vec<_>, Vec<_>) = active.into_iter().partition(|one| match self.realm {
            None => true,
            Some(realm) => one.object.as_ref().is_some_and(|object| has_realm(object, realm)),
        });
        if let Some(realm) = self.realm {
            self.check_rest(realm, &chosen, &rest)?;
        }
        for one in &chosen {
            self.append(&Record::Transition(Transition {
                time_ms: time_ms(),
                principal: &self.principal,
                command: &self.id,
                kind: &one.id.kind,
                name: &one.id.name,
                version: &one.id.version,
                from: "active",
                to: "inactive",
                digest: &one.digest,
            }))?;
        }
        let is_open = self.realm.is_none() || self.store.administration_realm()?.as_deref() == self.realm;
        let steps: Vec<_> = chosen.iter().map(|one| (one.id.clone(), one.digest.clone())).collect();
        self.store.reset(&steps, is_open, Act { principal: &self.principal, now_ms: now_ms() })?;
        let mut table = Table::new(&["Type", "Name", "Version", "State"]);
        for one in chosen {
            let ObjectId { kind, name, version } = one.id;
            table.push([kind, name, version, "Inactive".to_owned()]);
        }
        table.notes.push(match self.realm {
            None => "nothing is in force any more: after its next start the node is administered at its socket, by its own user and root, and whoever the socket lets in may run code".to_owned(),
            Some(realm) => format!("the realm `{realm}` is not in force any more after the node's next start"),
        });
        table.notes.push("nothing was removed: objects are loaded, users are kept".to_owned());
        Ok(table)
    }

    /// What would be left must make sense without the realm, since the node looks at it no more.
    fn check_rest(&mut self, realm: &str, chosen: &[Active], rest: &[Active]) -> Result<(), Refusal> {
        let shown = stockade_core::text::shown(realm, 100);
        let refused = |kind: Kind, why: String| {
            Refusal::new(kind, "nothing was reset", why, "leave --realm out, which puts everything out of force")
        };
        if chosen.is_empty() {
            return Err(refused(Kind::Missing, format!("no realm `{shown}` is in force")));
        }
        if self.store.trial()?.is_some() {
            let why = "a configuration is on trial, and what was in force before comes back when the node is started";
            return Err(refused(Kind::Conflict, why.to_owned()));
        }
        let rest: Vec<&Object> = rest.iter().filter_map(|one| one.object.as_ref()).collect();
        let found = whole::check(&rest, &whole::Needs::default());
        match found.iter().find(|finding| finding.fact.refuses()) {
            Some(bad) => Err(refused(Kind::Conflict, bad.to_string())),
            None => Ok(()),
        }
    }

    fn record(&self, phase: Phase, reason: &str) -> Result<(), Refusal> {
        let parameters: BTreeMap<_, _> = self.realm.iter().map(|realm| ("realm", Parameter::Given(realm))).collect();
        self.append(&Record::Command(Command {
            time_ms: time_ms(),
            id: &self.id,
            principal: &self.principal,
            source: OFFLINE,
            target: "authentication",
            command: self.command,
            phase,
            reason,
            parameters: &parameters,
            unknown_parameters: 0,
        }))
    }

    fn append(&self, record: &Record<'_>) -> Result<(), Refusal> {
        self.trail.append(record).map(drop).map_err(|error| {
            Refusal::new(Kind::Failed, "nothing was done: it cannot be put on record", error.to_string(), error.next())
        })
    }
}

/// A realm's name and what it is called.
fn realm_of(root: &Root) -> Option<(&str, &'static str)> {
    match root {
        Root::Local(realm) => Some((&realm.name, "local")),
        Root::Ldap(realm) => Some((&realm.name, "ldap")),
        Root::Oidc(realm) => Some((&realm.name, "oidc")),
        Root::TrustedHosts(_) | Root::Mappings(_) | Root::Server(_) | Root::Client(_) | Root::Settings(_) => None,
    }
}

fn has_realm(object: &Object, realm: &str) -> bool {
    object.roots.iter().filter_map(realm_of).any(|(name, _)| name == realm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reset_is_not_told_as_undone_when_that_cannot_be_put_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join(crate::start::STORE);
        let place = store.join(FOLDER);
        std::fs::create_dir_all(&place).unwrap();
        let rescue = Rescue {
            store: Store::open(&store.join("node.sqlite")).unwrap(),
            trail: trail(folder.path()).unwrap(),
            principal: "uid-0@local".to_owned(),
            id: "0".to_owned(),
            command: "reset",
            realm: None,
        };
        rescue.record(Phase::Intent, "").unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::write(&place, "").unwrap();
        let told = rescue.told(Ok(())).unwrap_err();
        assert_eq!(told.what, "it was done, and its outcome is not on record");
        assert!(rescue.done().unwrap_err().what.starts_with("nothing was done"));
    }
}
