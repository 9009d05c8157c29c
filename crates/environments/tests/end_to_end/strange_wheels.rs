//! With wheels that no honest index has.

use std::path::Path;

use stockade_environments::{Ended, Environment, Error, verify};

use crate::place::{Place, place_without_index, request};
use crate::shelf::{Member, Shelf, text};

const MIB: u64 = 1 << 20;

/// Builds an environment of one wheel.
fn build(place: &Place, name: &str, members: &[Member<'_>]) -> Result<Environment, Error> {
    let mut shelf = Shelf::new(place);
    shelf.put(name, members);
    place.build_in(&mut shelf, &request(name)).map(|(environment, _)| environment)
}

fn python(place: &Place, environment: &Environment, code: &str) -> String {
    place.run(environment, &["/opt/stockade/env/bin/python", "-I", "-c", code])
}

/// Every path below a folder that is not a link of ours in `bin`.
fn listed(environment: &Environment) -> String {
    let find = std::process::Command::new("find").arg(&environment.folder).args(["-printf", "%y %P\n"]).output();
    String::from_utf8(find.unwrap().stdout).unwrap()
}

#[test]
fn what_a_step_cannot_hold_at_once_is_installed_piece_by_piece() {
    let Some(mut place) = place_without_index() else { return };
    // With what a step may write beyond it, not enough for twice 80 MiB: uv must not copy.
    place.limits.scratch_bytes_max = 88 * MIB;
    let mut shelf = Shelf::new(&place);
    for name in ["one", "two"] {
        let (module, data) = (format!("both/{name}.py"), format!("both/{name}.bin"));
        shelf.put(name, &[text(&module, "x = 1\n"), (&data, "zeros", (80 * MIB).into())]);
    }
    let (environment, seen) = place.build_in(&mut shelf, &request("one,two")).unwrap();
    assert_eq!(shelf.inner.steps, ["index", "resolve", "fetch", "sizes", "install", "install"]);
    assert_eq!(seen.steps.iter().filter(|(_, what)| what == "installing 1 package").count(), 2);
    let code = "import both.one, both.two, os; print(os.stat(both.two.__file__[:-2] + 'bin').st_size)";
    assert_eq!(python(&place, &environment, code), format!("{}\n", 80 * MIB));
    assert!(!listed(&environment).contains("unpacked"));
}

#[test]
fn what_no_step_can_hold_is_refused_with_its_size() {
    let Some(mut place) = place_without_index() else { return };
    place.limits.scratch_bytes_max = 50 * MIB;
    let mut shelf = Shelf::new(&place);
    shelf.put("small", &[text("small.py", "")]);
    shelf.put("large", &[("large.bin", "zeros", (60 * MIB).into())]);
    let error = place.build_in(&mut shelf, &request("small,large")).unwrap_err();
    assert_eq!(error.to_string(), "the package `large` is too large for a build");
    assert_eq!(error.why(), "it takes 61 MiB; a build step may write 50 MiB");
    assert!(error.next().contains("--venv"));
    assert_eq!(shelf.inner.steps, ["index", "resolve", "fetch", "sizes"]);
    assert_eq!(std::fs::read_dir(place.store.root().join("building")).unwrap().count(), 0);
}

#[test]
fn no_code_of_a_wheel_runs_before_the_code_that_was_asked_for() {
    let Some(place) = place_without_index() else { return };
    let evil = "print('evil')\n";
    let environment = build(
        &place,
        "evil",
        &[
            text("evil.pth", "import sys; print('evil')\n"),
            text("path.pth", "more\npacked.zip\n"),
            text("more/sitecustomize.py", evil),
            text("more/usercustomize.py", evil),
            text("sitecustomize/__init__.py", evil),
            text(
                "evil-1.0.data/scripts/pyvenv.cfg",
                "home = /opt/stockade/env/bin\ninclude-system-site-packages = true\n",
            ),
            text("evil-1.0.data/scripts/python._pth", "/opt/stockade/env/more\n"),
            text("evil-1.0.data/data/pyvenv.cfg", "home = /evil\n"),
            text("evil-1.0.data/data/lib/python3/dist-packages/evil.pth", "import sys; print('evil')\n"),
        ],
    )
    .unwrap();
    let code = "import sys; print(sys.prefix, sys.flags.no_site, any('dist-packages' in p for p in sys.path))";
    assert_eq!(python(&place, &environment, code), "/opt/stockade/env 0 False\n");
    assert_eq!(
        environment.dropped_pth,
        ["evil.pth", "more/sitecustomize.py", "more/usercustomize.py", "sitecustomize", "evil.pth"]
    );
}

#[test]
fn bytecode_that_a_wheel_brings_is_not_believed() {
    let Some(place) = place_without_index() else { return };
    let members = ["evil", "evil/tests"].map(|folder| {
        ["__init__.py", "__pycache__/__init__.cpython-311.pyc", "__pycache__/__init__.cpython-312.pyc"]
            .map(|file| format!("{folder}/{file}"))
    });
    let members: Vec<Member<'_>> = members.iter().flatten().map(|path| text(path, "x = 1\n")).collect();
    let environment = build(&place, "evil", &members).unwrap();
    let tree = listed(&environment);
    let cached: Vec<&str> = tree.lines().filter(|line| line.ends_with(".pyc")).collect();
    assert_eq!(cached.len(), 1, "{tree}");
    assert!(cached[0].ends_with("/evil/__pycache__/__init__.cpython-311.pyc"), "{tree}");
    assert_eq!(python(&place, &environment, "import evil, evil.tests; print(evil.x)"), "1\n");
}

#[test]
fn a_module_that_the_standard_library_has_is_listed_and_never_imported() {
    let Some(place) = place_without_index() else { return };
    let members = [
        text("json/__init__.py", "print('evil')\n"),
        text("ssl.py", "print('evil')\n"),
        text("fine.py", "import json, ssl; print(json.__name__, ssl.__name__)\n"),
        text("evil-1.0.data/data/lib/python3.11/os.py", "print('evil')\n"),
    ];
    let environment = build(&place, "evil", &members).unwrap();
    assert_eq!(environment.shadowed, ["json", "ssl.py"]);
    assert_eq!(python(&place, &environment, "import fine"), "json ssl\n");
}

#[test]
fn what_a_hostile_wheel_brought_verifies_as_it_was_published() {
    let Some(place) = place_without_index() else { return };
    let members = [
        text("evil.pth", "import os\n"),
        text("files.txt", "- x evil\n"),
        text("evil-1.0.data/data/files.txt", "- x evil\n"),
        text("evil-1.0.data/data/recorded.txt", "- x evil\n"),
        text("evil-1.0.data/data/complete", "x"),
        text("evil-1.0.data/scripts/tool", "#!python\nprint(1)\n"),
        ("large.bin", "zeros", MIB.into()),
    ];
    let environment = build(&place, "evil", &members).unwrap();
    let verified = verify(&place.store, &environment.digest).unwrap();
    assert_eq!(verified.wrong, []);
    // Large files are shared, so what changes here changes for all: and is found, and shared no more.
    let large = std::fs::read_dir(place.store.root().join("files")).unwrap().flatten().next().unwrap().path();
    std::process::Command::new("chmod").arg("644").arg(&large).status().unwrap();
    std::fs::write(&large, "other").unwrap();
    let verified = verify(&place.store, &environment.digest).unwrap();
    let wrong: Vec<&str> = verified.wrong.iter().map(|wrong| wrong.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(wrong, ["large.bin"]);
    assert!(!large.exists());
}

#[test]
fn members_and_scripts_that_lead_outside_are_refused() {
    let Some(place) = place_without_index() else { return };
    let outside = ["../../../../../outside", "/outside", "evil-1.0.data/data/../../../outside"];
    let entry = "[console_scripts]\n../../../outside = evil:main\n../lib/python3.11/site-packages/sitecustomize.py = evil:main\n";
    let wheels: Vec<(&str, &str, Vec<Member<'_>>)> = vec![
        (
            "linked",
            "linked.txt is a symbolic link",
            vec![("linked.txt", "link", "/etc/passwd".into()), ("folder", "link", "/etc".into())],
        ),
        ("climbing", "../../../../../outside leads out of", vec![text(outside[0], "x")]),
        ("rooted", "/outside leads out of", vec![text(outside[1], "x")]),
        ("dataful", "/outside leads out of", vec![text("dataful-1.0.data/data/../../../outside", "x")]),
        (
            "entering",
            "must resolve to a file within the scripts directory",
            vec![text("evil.py", "main = print\n"), text("entering-1.0.dist-info/entry_points.txt", entry)],
        ),
    ];
    for (name, why, members) in wheels {
        std::fs::remove_dir_all(place.root.path().join("shelf")).ok();
        let error = build(&place, name, &members).unwrap_err();
        println!("{name}: {error}: {}", error.why());
        assert!(error.why().contains(why), "{name}: {}", error.why());
        assert_eq!(std::fs::read_dir(place.store.root().join("envs")).unwrap().count(), 0);
        assert!(!Path::new("/outside").exists());
    }
}

#[test]
fn of_the_files_of_a_package_only_the_one_that_is_installed_is_fetched_and_locked() {
    let Some(place) = place_without_index() else { return };
    let python = &place.python.interpreter;
    if python.glibc.is_none() {
        return println!("SKIPPED: which wheel fits best is known with the GNU C library only");
    }
    let mut shelf = Shelf::new(&place);
    let machine = python.platform.strip_prefix("linux_").unwrap();
    let of = |family: &str| format!("{0}-{0}-{family}_{machine}", python.abi);
    let (best, newer, musl) = (of("manylinux_2_17"), of("manylinux_9_9"), of("musllinux_1_2"));
    for tags in ["py3-none-any", &best, &newer, &musl] {
        shelf.put_for(tags, "pick", &[text("pick.py", &format!("tags = '{tags}'"))]);
    }
    let (environment, _) = place.build_in(&mut shelf, &request("pick")).unwrap();
    assert_eq!(self::python(&place, &environment, "import pick; print(pick.tags)").trim(), best);
    assert_eq!(kept(&place), [format!("pick-1.0-{best}.whl")]);
    let lock = std::fs::read_to_string(environment.folder.join("pylock.toml")).unwrap();
    assert!(lock.contains(&best) && lock.matches("sha256").count() == 1, "{lock}");
    assert!(verify(&place.store, &environment.digest).unwrap().wrong.is_empty());
}

/// The package files of the store.
fn kept(place: &Place) -> Vec<String> {
    let folders = std::fs::read_dir(place.store.root().join("wheels")).unwrap().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| file.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_that_is_not_the_one_that_was_locked_is_refused_and_the_others_are_kept() {
    let Some(place) = place_without_index() else { return };
    let mut shelf = Shelf::new(&place);
    shelf.put("bad", &[text("bad.py", "")]);
    shelf.put("good", &[text("good.py", "")]);
    shelf.tamper = |name, path| {
        if name.starts_with("bad") {
            std::fs::write(path, "other").unwrap();
        }
    };
    let error = place.build_in(&mut shelf, &request("bad,good")).unwrap_err();
    assert_eq!(error.to_string(), "the package file `bad-1.0-py3-none-any.whl` is not the one that was locked");
    assert_eq!(kept(&place), ["good-1.0-py3-none-any.whl"]);

    std::fs::remove_dir_all(place.store.root().join("wheels")).unwrap();
    shelf.tamper = |name, path| {
        if name.starts_with("bad") {
            std::fs::remove_file(path).unwrap();
        }
    };
    shelf.fetched = Ended::Exited(1);
    let error = place.build_in(&mut shelf, &request("bad,good")).unwrap_err();
    assert_eq!(error.to_string(), "a package file could not be fetched");
    assert_eq!(kept(&place), ["good-1.0-py3-none-any.whl"]);
}
