//! From packages to an environment, and what can be done with it.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stockade_testkit::cran::{Cran, Source};
use stockade_testkit::{Ran, skipped};

use crate::{Place, STOCKADE, pure, withc};

const SCRIPT: &str = "library(pure)\ncat(three(), dirname(find.package('pure')), '\\n')";
const SAID: &str = "3 /opt/stockade/env/library \n";

#[test]
fn packages_are_fetched_compiled_named_and_found_by_a_script() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    place.folder.write("three.R", SCRIPT);
    let ran = place.ran(&["env", "build", "threes", "--r", "pure>=1.0"]).expect(0);
    assert!(ran.stdout.starts_with("threes: ") && ran.stdout.contains(", 2 packages, "), "{}", ran.stdout);
    assert!(ran.stderr.contains("compiling withc 0.5-1 (1 of 2)"), "{}", ran.stderr);
    assert!(ran.stderr.contains("compiling pure 1.0 (2 of 2)"), "{}", ran.stderr);
    // An honest build is denied nothing.
    assert!(!ran.stderr.contains("denied"), "{}", ran.stderr);

    let shown = place.document(&["env", "show", "--json", "threes"]);
    let digest = shown["digest"].as_str().unwrap();
    for reference in ["threes", digest, &digest[..12]] {
        let ran = place.ran(&["run", "--quiet", "--environment", reference, "three.R"]).expect(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (SAID, ""));
    }
    let ran = place.ran(&["run", "--quiet", "--environment", "threes", "--in", "three.R", "--", "Rscript", "three.R"]);
    assert_eq!(ran.expect(0).stdout, SAID);
    // Without them the report says how to have them.
    let missing = place.ran(&["run", "three.R"]).expect(1).stderr;
    assert!(missing.contains("no R package named pure") && missing.contains("--r pure"), "{missing}");
    // The same packages need no build, and no repository that answers.
    let again = place.call(&["run", "--json", "--r", "pure>=1.0", "three.R"]).run().expect(0);
    assert_eq!((again.stdout.as_str(), &again.report()["environment"]), (SAID, &shown["digest"]));
    assert_eq!(place.count("envs"), 1);

    // What is locked is what the repository has.
    let sum = |source: &Source| {
        let file = place.folder.write("sum", source.archive());
        let said = Command::new("sha256sum").arg(file).output().unwrap().stdout;
        String::from_utf8(said).unwrap().split(' ').next().unwrap().to_owned()
    };
    for (at, source, name) in [(0, pure(), "pure"), (1, withc(), "withc")] {
        let package = &shown["packages"][at];
        let file = json!({ "name": source.file_name(), "sha256": sum(&source) });
        assert_eq!((&package["name"], &package["ecosystem"]), (&json!(name), &json!("cran")));
        assert_eq!((&package["files"][0], &package["from_source"]), (&file, &json!(true)));
    }
    assert_eq!((&shown["python"], shown["r"].as_str().unwrap().starts_with('4')), (&Value::Null, true));
    assert_eq!(place.document(&["env", "list", "--json"])[0]["packages"], 2);
    assert!(place.ran(&["env", "list"]).expect(0).stdout.contains("  R 4."));
    assert!(place.ran(&["env", "verify", "threes"]).expect(0).stdout.contains("all as they were built"));
}

#[test]
fn the_same_packages_and_the_same_lock_give_the_same_digest() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    let digest = place.built("x", "pure");
    let shown = place.document(&["env", "show", "--json", "x"]);
    let lock = place.folder.write("rlock.toml", std::fs::read(shown["lock"].as_str().unwrap()).unwrap());
    let built = place.document(&["env", "build", "--json", "y", lock.to_str().unwrap()]);
    assert_eq!(built["digest"], *digest);

    // In another store, from the repository; and from the lock, when the repository has moved on.
    for arguments in [&["--r", "pure"][..], &[lock.to_str().unwrap()][..]] {
        if arguments.len() == 1 {
            place.world.serve("cran/src/contrib/PACKAGES.gz", "gone");
            place.world.serve("cran/src/contrib/Archive/pure/pure_1.0.tar.gz", pure().archive());
            place.world.withdraw("cran/src/contrib/pure_1.0.tar.gz");
        }
        let other = stockade_testkit::Folder::new();
        let command = [&["env", "build", "--json", "x"], arguments].concat();
        let call = place.call(&command).env("STOCKADE_CACHE_DIR", other.path());
        let built: Value = serde_json::from_str(&call.run().expect(0).stdout).unwrap();
        assert_eq!(built["digest"], *digest, "{arguments:?}");
    }
    // Another file under the name that the lock has is not it.
    place.world.serve("cran/src/contrib/pure_1.0.tar.gz", pure().file("R/more.R", "x <- 1").archive());
    let other = stockade_testkit::Folder::new();
    let call = place.call(&["env", "build", "x", lock.to_str().unwrap()]).env("STOCKADE_CACHE_DIR", other.path());
    let said = call.run().expect(125).stderr;
    assert!(said.contains("the source package `pure_1.0.tar.gz` is refused"), "{said}");
    assert!(said.contains("the lock says sha256"), "{said}");
    assert_eq!(std::fs::read_dir(other.path().join("environments/envs")).unwrap().count(), 0);
    // And a lock that somebody wrote into is none.
    let text = std::fs::read_to_string(&lock).unwrap();
    for (from, to) in [("pure\"", "../pure\""), ("https://", "http://"), ("cran", "crab"), ("1.0.tar.gz", "1.1.tar.gz")]
    {
        let bad = place.folder.write("rlock.bad.toml", text.replacen(from, to, 1));
        let said = place.ran(&["env", "build", "bad", bad.to_str().unwrap()]).expect(125).stderr;
        assert!(said.contains("refused"), "{to}: {said}");
    }
}

#[test]
fn it_is_told_apart_described_and_held_against_advisories() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc()).put(&Source::new("lonely").version("2.1-10"));
    place.built("one", "pure");
    place.built("two", "withc,lonely");
    let found = place.document(&["env", "diff", "--json", "one", "two"]);
    assert_eq!((&found["added"][0]["name"], &found["removed"][0]["name"]), (&json!("lonely"), &json!("pure")));

    let bill = place.document(&["env", "sbom", "one"]);
    let components = bill["components"].as_array().unwrap();
    let purls: Vec<&str> = components.iter().map(|component| component["purl"].as_str().unwrap()).collect();
    assert_eq!(purls, ["pkg:cran/pure@1.0", "pkg:cran/withc@0.5-1"]);
    assert_eq!(components[0]["licenses"][0]["expression"], "MIT");
    assert_eq!(components[0]["externalReferences"][0]["url"], format!("{}/src/contrib/pure_1.0.tar.gz", Cran::URL));
    assert_eq!(bill["dependencies"][1], json!({ "ref": purls[0], "dependsOn": [purls[1]] }));

    let advisory = |fixed: &str| {
        json!({ "id": "X-1", "affected": [{
            "package": { "ecosystem": "CRAN", "name": "lonely" },
            "ranges": [{ "type": "ECOSYSTEM", "events": [{ "introduced": "0" }, { "fixed": fixed }] }],
        }] })
    };
    place.folder.write("osv/x.json", advisory("2.1-11").to_string());
    assert!(place.ran(&["env", "audit", "two", "--advisories", "osv"]).expect(1).stdout.contains("X-1"));
    place.folder.write("osv/x.json", advisory("2.1-9").to_string());
    drop(place.ran(&["env", "audit", "two", "--advisories", "osv"]).expect(0));

    // What changed is named, and what nobody needs goes.
    let shown = place.document(&["env", "show", "--json", "two"]);
    let file = std::path::Path::new(shown["folder"].as_str().unwrap()).join("library/withc/libs/withc.so");
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, writable).unwrap();
    std::fs::write(&file, "other").unwrap();
    let said = place.ran(&["env", "verify", "two"]).expect(1).stdout;
    assert!(said.contains("library/withc/libs/withc.so"), "{said}");
    drop(place.ran(&["env", "rm", "one", "two"]).expect(0));
    let gone = place.document(&["env", "gc", "--keep-days", "0", "--json"]);
    assert_eq!(gone["environments"].as_array().unwrap().len(), 2);
    assert_eq!((place.count("envs"), place.count("wheels"), place.count("requests")), (0, 0, 0));
}

#[test]
fn packages_of_r_can_be_vouched_for_like_others() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    place.built("x", "pure");
    let config = place.folder.path().join("config");
    let ran = |arguments: &[&str]| place.call(arguments).env("STOCKADE_CONFIG_DIR", &config).run();
    let check = ["env", "trust", "check", "x"];
    let said = ran(&check).expect(1).stdout;
    assert!(said.contains("pure 1.0") && said.contains("withc 0.5-1"), "{said}");
    let shown = place.document(&["env", "show", "--json", "x"]);
    let hash = shown["packages"][1]["files"][0]["sha256"].as_str().unwrap();
    let add = ["env", "trust", "add", "--reason", "read it"];
    // A package of Python of this name is another one, and so are other bytes.
    drop(ran(&[&add[..], &["pypi:/withc@0.5", "--hash", hash]].concat()).expect(0));
    drop(ran(&[&add[..], &["cran:/withc@0.5-1", "--hash", &"0".repeat(64)]].concat()).expect(0));
    assert!(ran(&check).expect(1).stdout.contains("another hash"));
    drop(ran(&[&add[..], &["cran:/withc@0.5-1", "--hash", hash]].concat()).expect(0));
    let said = ran(&check).expect(1).stdout;
    assert!(said.contains("pure 1.0") && !said.contains("withc"), "{said}");
    drop(ran(&[&add[..], &["--environment", "x"]].concat()).expect(0));
    assert!(ran(&check).expect(0).stdout.contains("trusted: all of 2 packages"));
}

/// In a namespace of its own, with something laid over a part of the machine.
fn apart(place: &Place, prepare: &str, arguments: &[&str]) -> Option<Ran> {
    if !rustix::process::geteuid().is_root() {
        skipped("R of another machine", "the tests are run by an ordinary user");
        return None;
    }
    let script = format!("{prepare} && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", &script, STOCKADE]).args(arguments);
    command
        .env("STOCKADE_CACHE_DIR", place.cache.path())
        .env("STOCKADE_STATE_DIR", place.folder.path().join("state"))
        .env("STOCKADE_R_REPOSITORY", Cran::URL);
    Some(Ran::from(command.current_dir(place.folder.path()).stdin(Stdio::null()).output().unwrap()))
}

#[test]
fn it_moves_to_a_machine_without_network_that_has_the_same_r_and_to_no_other() {
    let (Some(place), Some(there)) = (Place::new(), Place::new()) else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    let digest = place.built("x", "pure");
    let file = there.folder.path().join("x.tar.gz");
    drop(place.ran(&["env", "export", "x", file.to_str().unwrap(), "--quiet"]).expect(0));
    drop(there.ran(&["env", "import", "x.tar.gz", "--dry-run"]).expect(0));
    assert_eq!(there.count("envs"), 0);
    let Some(ran) = apart(&there, "true", &["env", "import", "x.tar.gz", "x", "--digest", &digest]) else { return };
    let said = ran.expect(0).stdout;
    assert!(said.contains("2 packages, R 4."), "{said}");
    assert!(apart(&there, "true", &["env", "verify", "x"]).unwrap().expect(0).stdout.contains("all as they were"));
    there.folder.write("three.R", SCRIPT);
    assert_eq!(
        apart(&there, "true", &["run", "--quiet", "--environment", "x", "three.R"]).unwrap().expect(0).stdout,
        SAID
    );
    drop(there.ran(&["env", "export", "x", "again.tar.gz", "--quiet"]).expect(0));
    let read = |name: &str| std::fs::read(there.folder.path().join(name)).unwrap();
    assert!(read("x.tar.gz") == read("again.tar.gz"));

    // Another R, as its own package says; and none.
    let stats = "/usr/lib/R/library/stats/DESCRIPTION";
    let described = std::fs::read_to_string(stats).unwrap();
    let version = described.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap();
    there.folder.write("other", described.replace(&format!("Built: R {version}"), "Built: R 9.9.9"));
    let other = format!("mount --bind other {stats}");
    let none = "mount -t tmpfs none /usr/lib/R";
    for arguments in [&["run", "--environment", "x", "three.R"][..], &["env", "import", "x.tar.gz", "y"][..]] {
        let said = apart(&there, &other, arguments).unwrap().expect(125).stderr;
        assert!(said.contains("cannot be used with this R") && said.contains("R 9.9.9"), "{said}");
    }
    for arguments in [&["run", "--environment", "x", "three.R"][..], &["env", "build", "y", "--r", "pure"][..]] {
        let said = apart(&there, none, arguments).unwrap().expect(125).stderr;
        assert!(said.contains("there is no R on this machine") && said.contains("r-base-core"), "{said}");
    }
}

#[test]
fn what_is_installed_on_the_machine_is_taken_as_it_is() {
    let Some(place) = Place::new() else { return };
    if !std::path::Path::new("/usr/lib/R/site-library/magrittr").is_dir() {
        return skipped("packages of the machine's library", "r-cran-magrittr is not installed");
    }
    let build =
        |name: &str| place.document(&["env", "build", "--json", name, "--r", "magrittr>=1.0", "--r-from-machine"]);
    let built = build("x");
    assert_eq!(built["packages"].as_array().unwrap().len(), 1);
    place.folder.write("pipe.R", "library(magrittr)\ncat(4 %>% sqrt, dirname(find.package('magrittr')), '\\n')");
    let ran = place.ran(&["run", "--quiet", "--environment", "x", "pipe.R"]).expect(0);
    assert_eq!(ran.stdout, "2 /opt/stockade/env/library \n");
    let shown = place.document(&["env", "show", "--json", "x"]);
    let file = &shown["packages"][0]["files"][0];
    assert!(file["name"].as_str().unwrap().ends_with(".installed") && file["sha256"].as_str().unwrap().len() == 64);
    // Nothing was asked of anybody.
    place.world.assert_silent();
    drop(place.ran(&["env", "verify", "x"]).expect(0));
    // Without an environment a run sees the machine's library; in one it does not.
    place.folder.write("there.R", "cat(requireNamespace('magrittr', quietly = TRUE), '\\n')");
    Cran::new(&place.world).put(&withc());
    place.built("other", "withc");
    assert_eq!(place.ran(&["run", "--quiet", "there.R"]).expect(0).stdout, "TRUE \n");
    assert_eq!(place.ran(&["run", "--quiet", "--environment", "other", "there.R"]).expect(0).stdout, "FALSE \n");

    let arguments = |packages: &'static str| ["env", "build", "y", "--r", packages, "--r-from-machine"];
    let said = place.ran(&arguments("absent")).expect(125).stderr;
    assert!(said.contains("`absent`") || said.contains("'absent' is not installed on this machine"), "{said}");
    let said = place.ran(&arguments("magrittr>=99.0")).expect(125).stderr;
    assert!(said.contains("magrittr' >= 99.0 is asked for, and this machine has"), "{said}");
    // The lock of it names what nobody can fetch.
    let lock = place.folder.write("rlock.toml", std::fs::read(shown["lock"].as_str().unwrap()).unwrap());
    let said = place.ran(&["env", "build", "z", lock.to_str().unwrap()]).expect(125).stderr;
    assert!(said.contains("taken from the library of a machine"), "{said}");
}

#[test]
fn an_ordinary_user_builds_and_runs_and_so_does_the_tier_without_namespaces() {
    let Some(place) = Place::new() else { return };
    Cran::new(&place.world).put(&pure()).put(&withc());
    place.folder.write("three.R", SCRIPT);
    let cache = stockade_testkit::Folder::new();
    let call = place
        .world
        .call(STOCKADE, stockade_testkit::User::Ordinary)
        .env("STOCKADE_CACHE_DIR", cache.path())
        .env("STOCKADE_R_REPOSITORY", Cran::URL)
        .env("SSL_CERT_FILE", place.world.authority())
        .within(place.folder.path());
    assert_eq!(
        call.args(["run", "--quiet", "--r", "pure", "three.R"]).run().expect(0).stdout.lines().last(),
        Some(SAID.trim_end_matches('\n'))
    );
    place.built("x", "pure");
    let ran = place.ran(&["run", "--quiet", "--tier", "landlock", "--environment", "x", "three.R"]).expect(0);
    assert!(ran.stdout.starts_with("3 "), "{}", ran.stdout);
}

/// Real source packages, from a folder that is laid out as `src/contrib` of a repository: minutes.
#[test]
fn r4_real_packages_compile_and_compile_to_the_same() {
    let (Some(folder), Ok(packages)) =
        (std::env::var_os("STOCKADE_TEST_CRAN"), std::env::var("STOCKADE_TEST_CRAN_PACKAGES"))
    else {
        return skipped("real R packages", "STOCKADE_TEST_CRAN and STOCKADE_TEST_CRAN_PACKAGES are not set");
    };
    let Some(place) = Place::new() else { return };
    for item in std::fs::read_dir(folder).unwrap().flatten() {
        let name = format!("cran/src/contrib/{}", item.file_name().to_str().unwrap());
        place.world.serve(&name, std::fs::read(item.path()).unwrap());
    }
    let mut digests = Vec::new();
    for _ in 0..2 {
        let other = stockade_testkit::Folder::new();
        let started = std::time::Instant::now();
        let build = ["env", "build", "--json", "x", "--r", &packages];
        let ran = place.call(&build).env("STOCKADE_CACHE_DIR", other.path()).run().expect(0);
        println!("{:?} {}", started.elapsed(), ran.stdout);
        digests.push(serde_json::from_str::<Value>(&ran.stdout).unwrap()["digest"].clone());
        let loads: String = packages.split(',').map(|name| format!("library({name})\n")).collect();
        place.folder.write("load.R", loads + "cat('loaded\\n')");
        let run =
            place.call(&["run", "--quiet", "--environment", "x", "load.R"]).env("STOCKADE_CACHE_DIR", other.path());
        assert_eq!(run.run().expect(0).stdout, "loaded\n");
    }
    assert_eq!(digests[0], digests[1]);
}
