//! A configuration on trial: in force, and given back for the former one unless somebody confirms it in time.
//!
//! What there was and how long the trial lasts are written in the transaction that begins it, so that a process that
//! is killed at any moment leaves either no trial or a whole one. When it is over is not decided here.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::Store;
use crate::configuration::{Act, Beginning, ObjectId, Transition, note};
use crate::error::Result;

/// How long a trial lasts, by a clock that no one sets: that of the machine since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What the machine calls itself since it was started.
    pub boot: String,
    /// When the trial began, milliseconds since the machine was started.
    pub began_ms: i64,
    /// For how long, milliseconds.
    pub within_ms: i64,
}

/// A trial that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTrial {
    /// The command that begins it, by its own name in the audit trail.
    pub command: String,
    /// How long it lasts.
    pub term: Term,
}

/// A trial that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Who began it.
    pub principal: String,
    /// The command that began it, by its own name in the audit trail.
    pub command: String,
    /// How long it lasts.
    pub term: Term,
    /// What was in force before.
    pub former: Vec<ObjectId>,
}

/// A step of the way back: an object, SHA-256 of its text, and what is done to it.
pub type Step = (ObjectId, String, Transition);

impl Store {
    /// The trial that goes on, if there is one.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn trial(&mut self) -> Result<Option<Trial>> {
        let query = "SELECT principal, command, boot, began_ms, within_ms FROM trial";
        let found = self.durable.prepare_cached(query)?.query_row([], |row| {
            Ok(Trial {
                principal: row.get(0)?,
                command: row.get(1)?,
                term: Term { boot: row.get(2)?, began_ms: row.get(3)?, within_ms: row.get(4)? },
                former: Vec::new(),
            })
        });
        let Some(trial) = found.optional()? else { return Ok(None) };
        let mut select =
            self.durable.prepare_cached("SELECT type, name, version FROM trial_former ORDER BY type, name, version")?;
        let former =
            select.query_map([], |row| Ok(ObjectId { kind: row.get(0)?, name: row.get(1)?, version: row.get(2)? }))?;
        Ok(Some(Trial { former: former.collect::<rusqlite::Result<_>>()?, ..trial }))
    }

    /// Ends the trial: what is in force stays. False when there is none.
    ///
    /// # Errors
    /// [`crate::Error`]; it goes on then.
    pub fn confirm(&mut self) -> Result<bool> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let was = end(&transaction)?;
        transaction.commit()?;
        Ok(was)
    }

    /// Ends the trial: what was in force before is so again, and realms that began with the trial have not begun. They
    /// keep their types: their people may have left runs.
    ///
    /// # Errors
    /// [`crate::Error`]; it goes on then.
    pub fn give_back(&mut self, steps: &[Step], act: Act<'_>) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Out of force first: of one name one version is.
        for active in [false, true] {
            let of_turn = |(_, _, what): &&Step| matches!(what, Transition::Activate) == active;
            for (id, digest, what) in steps.iter().filter(of_turn) {
                transaction
                    .prepare_cached(
                        "UPDATE configuration SET active = ?4 WHERE type = ?1 AND name = ?2 AND version = ?3",
                    )?
                    .execute(params![id.kind, id.name, id.version, active])?;
                note(&transaction, *what, id, digest, act)?;
            }
        }
        transaction.execute_batch(
            "DELETE FROM principals WHERE realm IN (SELECT name FROM trial_realms);
             UPDATE realms SET begun = 0 WHERE name IN (SELECT name FROM trial_realms);",
        )?;
        end(&transaction)?;
        transaction.commit()?;
        Ok(())
    }
}

/// Notes what there is, before it is changed. Part of the transaction that puts an object in force or out of it; there
/// is one trial at a time.
pub(crate) fn begin(connection: &Connection, trial: &NewTrial, begins: &[Beginning], act: Act<'_>) -> Result<()> {
    let Term { boot, began_ms, within_ms } = &trial.term;
    connection
        .prepare_cached(
            "INSERT INTO trial (one, principal, command, boot, began_ms, within_ms) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![act.principal, trial.command, boot, began_ms, within_ms])?;
    connection
        .execute_batch("INSERT INTO trial_former SELECT type, name, version FROM configuration WHERE active = 1")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO trial_realms SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM realms WHERE name = ?1 AND begun = 1)",
    )?;
    for beginning in begins {
        insert.execute([&beginning.realm])?;
    }
    Ok(())
}

/// Forgets the trial.
pub(crate) fn end(connection: &Connection) -> Result<bool> {
    let ended = connection.execute("DELETE FROM trial", [])?;
    connection.execute_batch("DELETE FROM trial_former; DELETE FROM trial_realms;")?;
    Ok(ended > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::principals::NewPrincipal;

    fn id(name: &str, version: &str) -> ObjectId {
        let kind = "stockade.security".to_owned();
        ObjectId { kind, name: name.to_owned(), version: version.to_owned() }
    }

    fn trial() -> NewTrial {
        let term = Term { boot: "b".to_owned(), began_ms: 5, within_ms: 10_000 };
        NewTrial { command: "c".to_owned(), term }
    }

    const ACT: Act<'static> = Act { principal: "root@local", now_ms: 1 };

    fn active(store: &mut Store) -> Vec<ObjectId> {
        store.objects().unwrap().into_iter().filter(|one| one.active).map(|one| one.id).collect()
    }

    #[test]
    fn what_is_given_back_is_what_was_and_a_realm_of_the_trial_has_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("node.sqlite")).unwrap();
        for version in ["1", "2"] {
            store.load(&id("x", version), "text", "d", ACT).unwrap();
        }
        store.activate(&id("x", "1"), "d", &[], None, ACT).unwrap();
        assert_eq!(store.trial().unwrap(), None);
        let ann =
            NewPrincipal { user: "ann".to_owned(), password: None, roles: Vec::new(), locked: false, password_days: 0 };
        let begins = [Beginning { realm: "people".to_owned(), kind: "local".to_owned(), principals: vec![ann] }];
        store.activate(&id("x", "2"), "d", &begins, Some(&trial()), ACT).unwrap();
        assert_eq!((active(&mut store), store.principals().unwrap().len()), (vec![id("x", "2")], 1));
        let found = store.trial().unwrap().unwrap();
        assert_eq!(
            (found.former, found.term, found.principal.as_str()),
            (vec![id("x", "1")], trial().term, "root@local")
        );
        // One at a time, and what does not begin one leaves everything as it was.
        assert!(store.deactivate(&id("x", "2"), "d", Some(&trial()), ACT).is_err());
        assert_eq!(active(&mut store), [id("x", "2")]);
        let steps = [
            (id("x", "1"), "d".to_owned(), Transition::Activate),
            (id("x", "2"), "d".to_owned(), Transition::Deactivate),
        ];
        store.give_back(&steps, ACT).unwrap();
        assert_eq!((active(&mut store), store.principals().unwrap().len()), (vec![id("x", "1")], 0));
        assert!(!store.has_realm("people").unwrap() && store.trial().unwrap().is_none());
        assert_eq!(store.realm_types().unwrap()["people"], "local", "its people may have left runs");
        // It begins when it comes to stay.
        store.activate(&id("x", "2"), "d", &begins, None, ACT).unwrap();
        assert!(store.has_realm("people").unwrap() && store.principals().unwrap().len() == 1);
    }

    #[test]
    fn what_is_confirmed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("node.sqlite")).unwrap();
        assert!(!store.confirm().unwrap());
        store.load(&id("x", "1"), "text", "d", ACT).unwrap();
        store.activate(&id("x", "1"), "d", &[], Some(&trial()), ACT).unwrap();
        assert!(store.confirm().unwrap());
        assert_eq!((active(&mut store), store.trial().unwrap()), (vec![id("x", "1")], None));
        // A later trial has nothing of the former.
        store.deactivate(&id("x", "1"), "d", Some(&trial()), ACT).unwrap();
        assert_eq!(store.trial().unwrap().unwrap().former, [id("x", "1")]);
    }
}
