//! The form of the file, one step a version; a step that was released is never changed.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

const STEPS: &[M<'static>] = &[
    M::up(
        "CREATE TABLE runs (
        id TEXT PRIMARY KEY NOT NULL,
        number INTEGER NOT NULL UNIQUE,
        principal TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('accepted', 'running', 'ended', 'lost')),
        request TEXT NOT NULL,
        digest TEXT NOT NULL,
        idempotency_key TEXT,
        outcome TEXT,
        bytes INTEGER NOT NULL DEFAULT 0,
        accepted_ms INTEGER NOT NULL,
        started_ms INTEGER,
        ended_ms INTEGER,
        UNIQUE (principal, idempotency_key)
    ) STRICT;
    CREATE INDEX runs_of_principal ON runs (principal, number);
    CREATE INDEX runs_by_state ON runs (state);
    CREATE TABLE file_chunks (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        file INTEGER NOT NULL,
        chunk INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (run, file, chunk)
    ) STRICT;
    CREATE TABLE events (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT;",
    ),
    // Sessions, and what is executed in them, go the way of runs.
    M::up(
        "ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run'
            CHECK (kind IN ('run', 'session', 'execution'));
        ALTER TABLE runs ADD COLUMN session TEXT;
        CREATE INDEX runs_of_session ON runs (session, number);",
    ),
    // Runs whose callers wait for them need not outlive the machine; by its boot it is known whether they have to.
    M::up(
        "ALTER TABLE runs ADD COLUMN durable INTEGER NOT NULL DEFAULT 1 CHECK (durable IN (0, 1));
        CREATE TABLE boot (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT;",
    ),
    // CPU time of principals by the day, which outlives the runs that it was counted from.
    M::up(
        "CREATE TABLE cpu_use (
            principal TEXT NOT NULL,
            day INTEGER NOT NULL,
            ms INTEGER NOT NULL,
            PRIMARY KEY (principal, day)
        ) STRICT, WITHOUT ROWID;",
    ),
    // Who may do what: configuration, what was done to it, and the principals of realms that the node keeps.
    M::up(
        "CREATE TABLE configuration (
            type TEXT NOT NULL,
            name TEXT NOT NULL,
            version TEXT NOT NULL,
            text TEXT NOT NULL,
            active INTEGER NOT NULL CHECK (active IN (0, 1)),
            loaded_ms INTEGER NOT NULL,
            activated_ms INTEGER,
            PRIMARY KEY (type, name, version)
        ) STRICT;
        CREATE UNIQUE INDEX configuration_in_force ON configuration (type, name) WHERE active = 1;
        CREATE TABLE configuration_history (
            number INTEGER PRIMARY KEY,
            time_ms INTEGER NOT NULL,
            principal TEXT NOT NULL,
            transition TEXT NOT NULL,
            type TEXT NOT NULL,
            name TEXT NOT NULL,
            version TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT;
        CREATE TABLE realms (name TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE principals (
            realm TEXT NOT NULL,
            user TEXT NOT NULL,
            password TEXT,
            roles TEXT NOT NULL,
            locked INTEGER NOT NULL CHECK (locked IN (0, 1)),
            password_days INTEGER NOT NULL,
            password_ms INTEGER NOT NULL,
            PRIMARY KEY (realm, user)
        ) STRICT, WITHOUT ROWID;",
    ),
    // A configuration on trial, and what there was before it.
    M::up(
        "CREATE TABLE trial (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            principal TEXT NOT NULL,
            command TEXT NOT NULL,
            boot TEXT NOT NULL,
            began_ms INTEGER NOT NULL,
            within_ms INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE trial_former (
            type TEXT NOT NULL,
            name TEXT NOT NULL,
            version TEXT NOT NULL,
            PRIMARY KEY (type, name, version)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE trial_realms (name TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;",
    ),
    // The realm that administrators over the network must be of, where there is one.
    M::up(
        "CREATE TABLE administration (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            realm TEXT NOT NULL
        ) STRICT;",
    ),
    // The type of every realm there ever was: people of another one must not have what belongs to its people. Before,
    // only local ones were noted. One that was only on trial keeps its type, and has not begun.
    M::up(
        "ALTER TABLE realms ADD COLUMN type TEXT NOT NULL DEFAULT 'LocalAuthenticationRealm';
        ALTER TABLE realms ADD COLUMN begun INTEGER NOT NULL DEFAULT 1 CHECK (begun IN (0, 1));",
    ),
];

pub(crate) fn migrate(connection: &mut Connection) -> Result<(), rusqlite_migration::Error> {
    Migrations::from_slice(STEPS).to_latest(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_made() {
        assert!(Migrations::from_slice(STEPS).validate().is_ok());
    }

    #[test]
    fn what_the_first_version_wrote_is_still_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sqlite");
        let mut first = Connection::open(&path).unwrap();
        Migrations::from_slice(STEPS).to_version(&mut first, 1).unwrap();
        first
            .execute_batch(
                "INSERT INTO runs (id, number, principal, state, request, digest, idempotency_key, accepted_ms)
                 VALUES ('00000000000000aa', 1, 'ann@local', 'accepted', '{}', 'd', 'k', 5);
                 INSERT INTO events VALUES ('00000000000000aa', 1, 5, 'accepted', X'7b7d');",
            )
            .unwrap();
        drop(first);
        let mut store = crate::Store::open(&path).unwrap();
        let run = store.run("ann@local", "00000000000000aa").unwrap().unwrap();
        assert_eq!((run.kind, run.state, run.accepted_ms), (crate::Kind::Run, crate::State::Accepted, 5));
        assert_eq!(store.events(&run.id, 1, 100).unwrap().len(), 1);
        assert_eq!(store.recover("boot", "{}", &[], 6).unwrap().waiting, [run]);
    }

    #[test]
    fn realms_of_before_are_local_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sqlite");
        let mut before = Connection::open(&path).unwrap();
        Migrations::from_slice(STEPS).to_version(&mut before, 7).unwrap();
        before.execute("INSERT INTO realms VALUES ('people')", []).unwrap();
        drop(before);
        let mut store = crate::Store::open(&path).unwrap();
        assert!(store.has_realm("people").unwrap());
        let known = [("people".to_owned(), "LocalAuthenticationRealm".to_owned())];
        assert_eq!(store.realm_types().unwrap(), known.into());
    }

    #[test]
    fn what_a_later_version_wrote_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sqlite");
        drop(crate::Store::open(&path).unwrap());
        let later = Connection::open(&path).unwrap();
        later.pragma_update(None, "user_version", 99).unwrap();
        let refused = crate::Store::open(&path).unwrap_err();
        assert!(matches!(refused, crate::Error::Form(_)), "{refused}");
        let version: i64 = later.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 99);
    }
}
