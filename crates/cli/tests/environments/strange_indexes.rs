//! Indexes that lie, stall or have nothing that fits: a clear message in bounded time, and nothing half-built.

use std::time::{Duration, Instant};

use stockade_testkit::world::{Manner, World};
use stockade_testkit::{Call, User};

use crate::{Place, STOCKADE};

/// Seconds that an index may be silent; it is asked three times, by at most two tools.
const PATIENCE: &str = "2";
/// Far less than a stage may take, and enough for a busy machine.
const IN_TIME: Duration = Duration::from_secs(60);

fn build(world: &World, place: &Place, manner: Manner, words: &[&str]) -> Call {
    world
        .call(STOCKADE, User::Caller)
        .env("STOCKADE_CACHE_DIR", place.cache.path())
        .env("UV_DEFAULT_INDEX", manner.url())
        .env("UV_HTTP_TIMEOUT", PATIENCE)
        .env("SSL_CERT_FILE", world.authority())
        .within(place.folder.path())
        .args(["env", "build", "x"])
        .args(words)
}

/// What a refusal says, and that nothing half-built can be seen.
#[track_caller]
fn refused(world: &World, manner: Manner, words: &[&str], parts: &[&str]) {
    let place = Place::new();
    let started = Instant::now();
    let ran = build(world, &place, manner, words).run().expect(125);
    let took = started.elapsed();
    println!("{manner:?} {words:?}: {took:?}\n{}", ran.stderr);
    for part in parts.iter().chain(&["error: ", "  why:  ", "  next: "]) {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(took < IN_TIME, "{took:?}");
    // Its address may hold a password.
    assert!(!ran.stderr.contains(manner.url()), "{}", ran.stderr);
    for folder in ["envs", "building", "names", "requests"] {
        assert_eq!(place.count(folder), 0, "{folder} after {words:?}");
    }
}

/// Longer than what comes behind it, which is what uv wants.
fn long() -> String {
    "#".repeat(10_000)
}

#[test]
fn an_index_that_stalls_is_given_up_in_time_and_said_to_stall() {
    let Some(world) = World::new() else { return };
    world.put_wheel("demo", "1.0", &[("demo.py", &long())]);
    let asked = ["--with", "demo"];
    let silent = "gave no answer within 2 s";
    refused(&world, Manner::Silent, &asked, &["the package index could not be asked", silent, "UV_HTTP_TIMEOUT"]);
    refused(&world, Manner::Stalling, &asked, &["the package index could not be asked", silent]);
    // uv takes a file that stops for a broken one, and says which.
    refused(&world, Manner::StallingFiles, &asked, &["`demo` (v1.0)", "Failed to read from zip file"]);
    let needs = "Metadata-Version: 2.1\nName: needy\nVersion: 1.0\nRequires-Dist: stalling\n";
    world.put_wheel("needy", "1.0", &[("needy-1.0.dist-info/METADATA", needs)]);
    world.put_wheel("stalling", "1.0", &[]);
    let parts = ["the package index could not be asked what the packages need", "(index)/stalling/", "UV_HTTP_TIMEOUT"];
    refused(&world, Manner::Plain, &["--with", "needy"], &parts);
}

#[test]
fn a_file_that_stalls_is_given_up_in_time_and_what_arrived_is_kept() {
    let Some(world) = World::new() else { return };
    world.put_wheel("demo", "1.0", &[("demo.py", "")]);
    let place = Place::new();
    drop(build(&world, &place, Manner::Plain, &["--with", "demo"]).run().expect(0));
    let digest = place.document(&["env", "show", "x", "--json"])["digest"].as_str().unwrap().to_owned();
    let lock = std::fs::read_to_string(place.environment(&digest).join("pylock.toml")).unwrap();
    let other = Place::new();
    other.folder.write("pylock.toml", lock.replace("/shelf/plain/", "/shelf/stalling-files/"));
    let started = Instant::now();
    let ran = build(&world, &other, Manner::Plain, &["pylock.toml"]).run().expect(125);
    println!("{:?}\n{}", started.elapsed(), ran.stderr);
    for part in ["a package file could not be fetched", "demo-1.0-py3-none-any.whl", "no answer within 2 s"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(started.elapsed() < IN_TIME);
    assert_eq!((other.count("envs"), other.count("building"), other.count("names")), (0, 0, 0));
}

#[test]
fn an_index_that_lies_about_a_file_is_found_out() {
    let Some(world) = World::new() else { return };
    world.put_wheel("demo", "1.0", &[("demo.py", "")]);
    let parts = ["`demo-1.0-py3-none-any.whl` is not the one that was locked", "the lock says sha256"];
    refused(&world, Manner::Lying, &["--with", "demo"], &parts);
}

/// The one who is trusted least says it: a listing claims attestations, and nobody looked at them.
#[test]
fn attestations_are_told_as_the_word_of_the_index() {
    let Some(world) = World::new() else { return };
    world.put_wheel("attested", "1.0", &[]);
    world.put_wheel("plain", "1.0", &[]);
    let place = Place::new();
    drop(build(&world, &place, Manner::Plain, &["--with", "attested,plain"]).run().expect(0));
    let shown = place.ran(&["env", "show", "x"]).expect(0).stdout;
    assert!(
        shown.contains("attestations: the index says that it has some for 1 of 2 packages; none was verified"),
        "{shown}"
    );
    let known = &place.document(&["env", "show", "x", "--json"])["attestations"];
    assert_eq!(known["attested"], "published, says the index; not verified");
    assert_eq!(known["plain"], "not published, says the index");
    let bill = place.ran(&["env", "sbom", "x"]).expect(0).stdout;
    assert!(bill.contains("published, says the index; not verified"), "{bill}");
    assert!(world.requests("https").iter().all(|line| !line.contains("provenance")), "nothing is fetched of it");
}

#[test]
fn what_no_package_fits_is_explained_as_uv_explains_it() {
    let Some(world) = World::new() else { return };
    let needs = |what: &str| format!("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: {what}\n");
    world.put_wheel("base", "1.0", &[]);
    world.put_wheel("base", "2.0", &[]);
    world.put_wheel("demo", "1.0", &[("demo-1.0.dist-info/METADATA", &needs("base<2"))]);
    world.put_wheel_for("cp39-cp39-win_amd64", "windows", "1.0", &[]);
    world.put_source("unbuilt", "1.0", &[("PKG-INFO", "Metadata-Version: 2.1\nName: unbuilt\nVersion: 1.0\n")]);
    let what = "no set of packages meets the requirements";
    let refused = |list: &str, parts: &[&str]| refused(&world, Manner::Plain, &["--with", list], parts);
    refused("demo,base>=2", &[what, "all versions of demo depend on base<2", "base>=2"]);
    refused(
        "nothing-of-this-name",
        &["the package index does not have what is asked for", "none of: nothing-of-this-name"],
    );
    refused("demo,nothing-of-this-name", &[what, "nothing-of-this-name was not found in the package registry"]);
    refused("windows", &[what, "windows==1.0 has no wheels with a matching Python ABI tag"]);
    refused("unbuilt", &[what, "--allow-build"]);
    refused("base>=3", &[what, "base>=3"]);
}

#[test]
fn wheels_that_reach_out_are_refused_by_name() {
    let Some(world) = World::new() else { return };
    world.put_wheel("climbing", "1.0", &[("../../../../outside", "x")]);
    world.put_wheel("rooted", "1.0", &[("/outside", "x")]);
    for name in ["climbing", "rooted"] {
        refused(
            &world,
            Manner::Plain,
            &["--with", name],
            &[&format!("{name}-1.0-py3-none-any.whl"), "outside leads out of"],
        );
    }
}
