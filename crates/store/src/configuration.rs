//! Configuration objects: kept as text with the state each is in, and what was ever done to them.
//!
//! A transition is one transaction with what it causes (the principals that a realm begins with) and its line of the
//! history: after a crash there is the old configuration or the new one, never a mixture. Which transitions make
//! sense is not known here.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::Store;
use crate::error::Result;
use crate::principals::{self, NewPrincipal};
use crate::trial::{self, NewTrial};

/// What tells an object from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its type, by our own name.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Which.
    pub id: ObjectId,
    /// Its text.
    pub text: String,
    /// Whether it is in force. Of one type and name at most one version is.
    pub active: bool,
    /// When it was loaded, milliseconds since 1970.
    pub loaded_ms: i64,
    /// When it was put in force last, milliseconds since 1970.
    pub activated_ms: Option<i64>,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It came to be, inactive.
    Load,
    /// It is in force from now on, and no other version of its name is.
    Activate,
    /// It is in force no more.
    Deactivate,
    /// It is gone.
    Remove,
}

impl Transition {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Remove => "remove",
        }
    }
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// When, milliseconds since 1970.
    pub time_ms: i64,
    /// Who did it.
    pub principal: String,
    /// What: the name of a [`Transition`].
    pub transition: String,
    /// To which object.
    pub id: ObjectId,
    /// SHA-256 of its text.
    pub digest: String,
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// Who.
    pub principal: &'a str,
    /// When, milliseconds since 1970.
    pub now_ms: i64,
}

/// What a realm that is put in force for the first time begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The realm.
    pub realm: String,
    /// Its type, which it keeps.
    pub kind: String,
    /// Who is there; nobody where others look after its principals.
    pub principals: Vec<NewPrincipal>,
}

const COLUMNS: &str = "type, name, version, text, active, loaded_ms, activated_ms";

impl Store {
    /// Every object, by type, name and version.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn objects(&mut self) -> Result<Vec<Object>> {
        let query = format!("SELECT {COLUMNS} FROM configuration ORDER BY type, name, version");
        let mut select = self.durable.prepare_cached(&query)?;
        let found = select.query_map([], read)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps a new object, inactive; false when there is one of this identity already.
    ///
    /// # Errors
    /// [`crate::Error`]; it is not kept then.
    pub fn load(&mut self, id: &ObjectId, text: &str, digest: &str, act: Act<'_>) -> Result<bool> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let added = transaction
            .prepare_cached(
                "INSERT INTO configuration (type, name, version, text, active, loaded_ms) VALUES (?1, ?2, ?3, ?4, 0, ?5)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![id.kind, id.name, id.version, text, act.now_ms])?;
        if added == 0 {
            return Ok(false);
        }
        note(&transaction, Transition::Load, id, digest, act)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Puts an object in force, and every other version of its name out of it. Realms that were never in force before
    /// begin with their principals. With a trial, what was in force is noted.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn activate(
        &mut self,
        id: &ObjectId,
        digest: &str,
        begins: &[Beginning],
        new: Option<&NewTrial>,
        act: Act<'_>,
    ) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(new) = new {
            trial::begin(&transaction, new, begins, act)?;
        }
        transaction
            .prepare_cached("UPDATE configuration SET active = 0 WHERE type = ?1 AND name = ?2 AND active = 1")?
            .execute(params![id.kind, id.name])?;
        transaction
            .prepare_cached(
                "UPDATE configuration SET active = 1, activated_ms = ?4 WHERE type = ?1 AND name = ?2 AND version = ?3",
            )?
            .execute(params![id.kind, id.name, id.version, act.now_ms])?;
        for beginning in begins {
            principals::begin(&transaction, beginning, act.now_ms)?;
        }
        note(&transaction, Transition::Activate, id, digest, act)?;
        transaction.commit()?;
        Ok(())
    }

    /// Puts an object out of force. With a trial, what was in force is noted.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn deactivate(&mut self, id: &ObjectId, digest: &str, new: Option<&NewTrial>, act: Act<'_>) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(new) = new {
            trial::begin(&transaction, new, &[], act)?;
        }
        put_out(&transaction, (id, digest), act)?;
        transaction.commit()?;
        Ok(())
    }

    /// Forgets an object that is not in force.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn remove(&mut self, id: &ObjectId, digest: &str, act: Act<'_>) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("DELETE FROM configuration WHERE type = ?1 AND name = ?2 AND version = ?3 AND active = 0")?
            .execute(params![id.kind, id.name, id.version])?;
        note(&transaction, Transition::Remove, id, digest, act)?;
        transaction.commit()?;
        Ok(())
    }

    /// Puts objects out of force, each with SHA-256 of its text, ends a trial, and if it is to be open lets administrators be of any realm:
    /// the way back for who can get in no more.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn reset(&mut self, objects: &[(ObjectId, String)], is_open: bool, act: Act<'_>) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        trial::end(&transaction)?;
        if is_open {
            transaction.execute("DELETE FROM administration", [])?;
        }
        for (id, digest) in objects {
            put_out(&transaction, (id, digest), act)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// What was done to objects, the last first.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn history(&mut self, most: u32) -> Result<Vec<Past>> {
        let mut select = self.durable.prepare_cached(
            "SELECT time_ms, principal, transition, type, name, version, digest FROM configuration_history
             ORDER BY number DESC LIMIT ?1",
        )?;
        let found = select.query_map([most], |row| {
            Ok(Past {
                time_ms: row.get(0)?,
                principal: row.get(1)?,
                transition: row.get(2)?,
                id: ObjectId { kind: row.get(3)?, name: row.get(4)?, version: row.get(5)? },
                digest: row.get(6)?,
            })
        })?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a realm of this name was ever in force, other than on trial.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn has_realm(&mut self, realm: &str) -> Result<bool> {
        let mut select = self.durable.prepare_cached("SELECT 1 FROM realms WHERE name = ?1 AND begun = 1")?;
        Ok(select.query_row([realm], |_| Ok(())).optional()?.is_some())
    }

    /// The type of every realm that was ever in force, also of those that were on trial only.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn realm_types(&mut self) -> Result<BTreeMap<String, String>> {
        let mut select = self.durable.prepare_cached("SELECT name, type FROM realms")?;
        let found = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes the types of realms, the first of a name, where none is known: of those that were in force before that was
    /// noted.
    ///
    /// # Errors
    /// [`crate::Error`]; none is noted then.
    pub fn note_realms(&mut self, types: &[(String, String)]) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (realm, kind) in types {
            transaction
                .prepare_cached("INSERT INTO realms (name, type, begun) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING")?
                .execute([realm, kind])?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        id: ObjectId { kind: row.get(0)?, name: row.get(1)?, version: row.get(2)? },
        text: row.get(3)?,
        active: row.get(4)?,
        loaded_ms: row.get(5)?,
        activated_ms: row.get(6)?,
    })
}

fn put_out(connection: &Connection, (id, digest): (&ObjectId, &str), act: Act<'_>) -> Result<()> {
    connection
        .prepare_cached("UPDATE configuration SET active = 0 WHERE type = ?1 AND name = ?2 AND version = ?3")?
        .execute(params![id.kind, id.name, id.version])?;
    note(connection, Transition::Deactivate, id, digest, act)
}

/// A line of the history. Part of the transaction that does what it says.
pub(crate) fn note(connection: &Connection, what: Transition, id: &ObjectId, digest: &str, act: Act<'_>) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO configuration_history (time_ms, principal, transition, type, name, version, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![act.now_ms, act.principal, what.name(), id.kind, id.name, id.version, digest])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principals::{Change, Principal};

    fn id(version: &str) -> ObjectId {
        ObjectId { kind: "stockade.security".to_owned(), name: "realm".to_owned(), version: version.to_owned() }
    }

    fn act(now_ms: i64) -> Act<'static> {
        Act { principal: "root@local", now_ms }
    }

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(&folder.path().join("node.sqlite")).unwrap()
    }

    fn ann() -> NewPrincipal {
        NewPrincipal {
            user: "ann".to_owned(),
            password: Some("$argon2id$x".to_owned()),
            roles: vec!["author".to_owned()],
            locked: false,
            password_days: 0,
        }
    }

    #[test]
    fn of_one_name_one_version_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        for version in ["1", "2"] {
            assert!(store.load(&id(version), "text", "d", act(1)).unwrap());
            assert!(!store.load(&id(version), "other", "d", act(2)).unwrap());
        }
        for (version, active) in [("1", [true, false]), ("2", [false, true]), ("2", [false, true])] {
            store.activate(&id(version), "d", &[], None, act(3)).unwrap();
            let found: Vec<bool> = store.objects().unwrap().iter().map(|object| object.active).collect();
            assert_eq!(found, active);
        }
        // What is in force is not forgotten.
        store.remove(&id("2"), "d", act(4)).unwrap();
        assert_eq!(store.objects().unwrap().len(), 2);
        store.deactivate(&id("2"), "d", None, act(5)).unwrap();
        store.remove(&id("2"), "d", act(6)).unwrap();
        assert_eq!(store.objects().unwrap().len(), 1);
        let past: Vec<String> = store.history(3).unwrap().into_iter().map(|past| past.transition).collect();
        assert_eq!(past, ["remove", "deactivate", "remove"]);
    }

    #[test]
    fn a_realm_begins_with_its_principals_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let begins = [Beginning { realm: "people".to_owned(), kind: "local".to_owned(), principals: vec![ann()] }];
        // As it is known of one that was there before types were noted; the first that is said counts.
        let types = [("people", "local"), ("people", "other"), ("corp", "ldap")];
        let types = types.map(|(realm, kind)| (realm.to_owned(), kind.to_owned()));
        store.note_realms(&types).unwrap();
        assert!(!store.has_realm("people").unwrap());
        store.load(&id("1"), "text", "d", act(1)).unwrap();
        store.activate(&id("1"), "d", &begins, None, act(2)).unwrap();
        assert!(store.has_realm("people").unwrap() && !store.has_realm("corp").unwrap());
        let [people, _, corp] = types;
        assert_eq!(store.realm_types().unwrap(), [people, corp].into());
        store.change_principal("people", "ann", &Change { locked: Some(true), ..Change::default() }, 3).unwrap();
        store.activate(&id("1"), "d", &begins, None, act(4)).unwrap();
        let found: Vec<Principal> = store.principals().unwrap();
        assert_eq!(found.len(), 1);
        assert!(found.first().unwrap().locked, "who was changed stays so");
    }
}
