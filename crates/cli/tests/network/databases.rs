//! A database driver, which knows no proxy.

use stockade_testkit::world::DATABASE;

use crate::support::{Over, World, built, granted, users};

const PACKAGE: &str = "psycopg[binary]";

fn query(words: &str) -> String {
    let (user, password, base) = DATABASE;
    format!(
        "import psycopg\nwith psycopg.connect('host=db.example.com user={user} dbname={base} connect_timeout=20 {words}', password='{password}') as connection:\n    print(connection.execute('select sum(n) from generate_series(1, 1000) as n').fetchone()[0])"
    )
}

#[test]
fn a_driver_reaches_the_database_that_is_granted() {
    let Some(world) = World::with_database() else { return };
    for user in users() {
        built(user, PACKAGE);
        for words in ["sslmode=require", "sslmode=verify-full sslrootcert=ca.pem"] {
            world.forget();
            let call = granted(&world, user, &["postgres://db.example.com"]);
            let over = Over::of(&world, call.args(["--with", PACKAGE, "-c", &query(words)]));
            assert_eq!(over.ran.stdout, "500500\n", "{words}: {}", over.ran.stderr);
            over.assert_nothing_denied().assert_connected("db.example.com", 5432, "postgres");
            assert_eq!(over.ways(), ["transparent"].into());
            assert!(world.requests("postgres").contains(&"authorized".to_owned()));
        }
    }
}

#[test]
fn a_driver_that_wants_no_encryption_reaches_nothing() {
    let Some(world) = World::with_database() else { return };
    for user in users() {
        built(user, PACKAGE);
        world.forget();
        let call = granted(&world, user, &["postgres://db.example.com"]);
        let over = Over::of(&world, call.args(["--with", PACKAGE, "-c", &query("sslmode=disable")]));
        assert_ne!(over.ran.status, 0);
        over.assert_refused(&[("db.example.com:5432", "postgres-plain")]);
        assert!(!world.requests("postgres").contains(&"authorized".to_owned()));
    }
}

#[test]
fn another_database_is_not_reached() {
    let Some(world) = World::with_database() else { return };
    for user in users() {
        built(user, PACKAGE);
        world.forget();
        let call = granted(&world, user, &["postgres://api.example.com"]);
        let code = query("sslmode=require").replace("host=db.example.com", "host=203.0.113.81");
        let over = Over::of(&world, call.args(["--with", PACKAGE, "-c", &code]));
        assert!(over.ran.stderr.contains("unreachable"), "{}", over.ran.stderr);
        world.assert_silent();
    }
}
