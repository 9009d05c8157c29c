//! Principals of the realms that the node keeps itself. Passwords are here only as what they hash to.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::Store;
use crate::configuration::Beginning;
use crate::error::Result;

/// Somebody to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrincipal {
    /// The name, unique in its realm.
    pub user: String,
    /// What the password hashes to, as a PHC string; none where there is no password.
    pub password: Option<String>,
    /// The roles it holds.
    pub roles: Vec<String>,
    /// Whether it cannot log in.
    pub locked: bool,
    /// Days after which the password is of no use any more; 0 is never.
    pub password_days: u32,
}

/// Somebody who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The realm.
    pub realm: String,
    /// The name.
    pub user: String,
    /// What the password hashes to.
    pub password: Option<String>,
    /// The roles it holds.
    pub roles: Vec<String>,
    /// Whether it cannot log in.
    pub locked: bool,
    /// Days after which the password is of no use any more; 0 is never.
    pub password_days: u32,
    /// When the password was set, milliseconds since 1970.
    pub password_ms: i64,
}

/// What is changed of somebody; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new password's hash.
    pub password: Option<String>,
    /// The roles it holds from now on.
    pub roles: Option<Vec<String>>,
    /// Whether it cannot log in.
    pub locked: Option<bool>,
    /// Days after which the password is of no use any more; 0 is never.
    pub password_days: Option<u32>,
}

const COLUMNS: &str = "realm, user, password, roles, locked, password_days, password_ms";

impl Store {
    /// Everybody, by realm and name.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn principals(&mut self) -> Result<Vec<Principal>> {
        let query = format!("SELECT {COLUMNS} FROM principals ORDER BY realm, user");
        let mut select = self.durable.prepare_cached(&query)?;
        let found = select.query_map([], read)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Somebody of a realm.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn principal(&mut self, realm: &str, user: &str) -> Result<Option<Principal>> {
        let query = format!("SELECT {COLUMNS} FROM principals WHERE realm = ?1 AND user = ?2");
        let mut select = self.durable.prepare_cached(&query)?;
        Ok(select.query_row([realm, user], read).optional()?)
    }

    /// Adds somebody; false when there is somebody of this name already.
    ///
    /// # Errors
    /// [`crate::Error`]; nobody was added then.
    pub fn add_principal(&mut self, realm: &str, new: &NewPrincipal, now_ms: i64) -> Result<bool> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let added = insert(&transaction, realm, new, now_ms)?;
        transaction.commit()?;
        Ok(added)
    }

    /// Changes somebody; false when there is nobody of this name.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn change_principal(&mut self, realm: &str, user: &str, change: &Change, now_ms: i64) -> Result<bool> {
        let roles = change.roles.as_ref().map(|roles| written(roles));
        let changed = self
            .durable
            .prepare_cached(
                "UPDATE principals SET
                    password = coalesce(?3, password),
                    password_ms = CASE WHEN ?3 IS NULL THEN password_ms ELSE ?7 END,
                    roles = coalesce(?4, roles),
                    locked = coalesce(?5, locked),
                    password_days = coalesce(?6, password_days)
                 WHERE realm = ?1 AND user = ?2",
            )?
            .execute(params![realm, user, change.password, roles, change.locked, change.password_days, now_ms])?;
        Ok(changed == 1)
    }

    /// Takes somebody away; false when there is nobody of this name.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn remove_principal(&mut self, realm: &str, user: &str) -> Result<bool> {
        let mut delete = self.durable.prepare_cached("DELETE FROM principals WHERE realm = ?1 AND user = ?2")?;
        Ok(delete.execute([realm, user])? == 1)
    }
}

impl Store {
    /// Puts others in the place of all principals of a realm, with what they have: also when a password was set.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn replace_principals(&mut self, realm: &str, others: &[Principal]) -> Result<()> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM principals WHERE realm = ?1", [realm])?;
        for one in others {
            transaction
                .prepare_cached(
                    "INSERT INTO principals (realm, user, password, roles, locked, password_days, password_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    realm,
                    one.user,
                    one.password,
                    written(&one.roles),
                    one.locked,
                    one.password_days,
                    one.password_ms
                ])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The realm that administrators over the network must be of; any where there is none.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn administration_realm(&mut self) -> Result<Option<String>> {
        let mut select = self.durable.prepare_cached("SELECT realm FROM administration")?;
        Ok(select.query_row([], |row| row.get(0)).optional()?)
    }

    /// Changes the realm that administrators over the network must be of.
    ///
    /// # Errors
    /// [`crate::Error`]; nothing has changed then.
    pub fn set_administration_realm(&mut self, realm: Option<&str>) -> Result<()> {
        match realm {
            Some(realm) => self.durable.execute("INSERT OR REPLACE INTO administration VALUES (1, ?1)", [realm])?,
            None => self.durable.execute("DELETE FROM administration", [])?,
        };
        Ok(())
    }
}

/// What a realm begins with, unless it was in force before. Part of the transaction that puts it in force.
pub(crate) fn begin(connection: &Connection, beginning: &Beginning, now_ms: i64) -> Result<()> {
    let mut insert_realm = connection.prepare_cached(
        "INSERT INTO realms (name, type, begun) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET begun = 1 WHERE begun = 0 AND type = excluded.type",
    )?;
    if insert_realm.execute([&beginning.realm, &beginning.kind])? == 0 {
        return Ok(());
    }
    for new in &beginning.principals {
        insert(connection, &beginning.realm, new, now_ms)?;
    }
    Ok(())
}

fn insert(connection: &Connection, realm: &str, new: &NewPrincipal, now_ms: i64) -> Result<bool> {
    let added = connection
        .prepare_cached(
            "INSERT INTO principals (realm, user, password, roles, locked, password_days, password_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![realm, new.user, new.password, written(&new.roles), new.locked, new.password_days, now_ms])?;
    Ok(added == 1)
}

/// As JSON: whatever is in the name of a role, it is one role when it is read again.
fn written(roles: &[String]) -> String {
    serde_json::Value::from(roles.to_vec()).to_string()
}

fn read_roles(text: &str) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(text).map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, error.into()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Principal> {
    let roles: String = row.get(3)?;
    Ok(Principal {
        realm: row.get(0)?,
        user: row.get(1)?,
        password: row.get(2)?,
        roles: read_roles(&roles)?,
        locked: row.get(4)?,
        password_days: row.get(5)?,
        password_ms: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_replaced_whole_or_not_at_all_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("node.sqlite")).unwrap();
        let one = |realm: &str, user: &str| Principal {
            realm: realm.to_owned(),
            user: user.to_owned(),
            password: Some("h".to_owned()),
            roles: vec!["user".to_owned()],
            locked: true,
            password_days: 3,
            password_ms: 7,
        };
        store.replace_principals("people", &[one("people", "ann"), one("people", "bob")]).unwrap();
        store.replace_principals("others", &[one("others", "ann")]).unwrap();
        assert!(store.replace_principals("people", &[one("people", "eve"), one("people", "eve")]).is_err());
        let names = |store: &mut Store| store.principals().unwrap().into_iter().map(|one| one.user).collect::<Vec<_>>();
        assert_eq!(names(&mut store), ["ann", "ann", "bob"]);
        store.replace_principals("people", &[one("people", "eve")]).unwrap();
        assert_eq!(names(&mut store), ["ann", "eve"]);
        assert_eq!(store.principal("people", "eve").unwrap(), Some(one("people", "eve")));
    }

    #[test]
    fn there_is_one_administration_realm_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("node.sqlite")).unwrap();
        for realm in [None, Some("people"), Some("others"), None] {
            store.set_administration_realm(realm).unwrap();
            assert_eq!(store.administration_realm().unwrap().as_deref(), realm);
        }
    }

    #[test]
    fn somebody_is_added_changed_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("node.sqlite")).unwrap();
        let bob = NewPrincipal {
            user: "bob".to_owned(),
            password: None,
            // The second would be two, were they told apart by lines.
            roles: vec!["user".to_owned(), "a\nadministrator".to_owned()],
            locked: false,
            password_days: 30,
        };
        assert!(store.add_principal("people", &bob, 5).unwrap());
        assert!(!store.add_principal("people", &bob, 6).unwrap());
        let found = store.principal("people", "bob").unwrap().unwrap();
        assert_eq!((found.roles, found.password_days, found.password_ms), (bob.roles, 30, 5));
        assert!(store.principal("others", "bob").unwrap().is_none());

        let change = Change { password: Some("h".to_owned()), ..Change::default() };
        assert!(store.change_principal("people", "bob", &change, 9).unwrap());
        let lock = Change { locked: Some(true), roles: Some(Vec::new()), ..Change::default() };
        assert!(store.change_principal("people", "bob", &lock, 11).unwrap());
        assert!(!store.change_principal("people", "eve", &lock, 11).unwrap());
        let found = store.principal("people", "bob").unwrap().unwrap();
        assert_eq!(
            (found.password.as_deref(), found.password_ms, found.locked, found.roles),
            (Some("h"), 9, true, Vec::new())
        );
        assert!(store.remove_principal("people", "bob").unwrap());
        assert!(!store.remove_principal("people", "bob").unwrap());
        assert!(store.principals().unwrap().is_empty());
    }
}
