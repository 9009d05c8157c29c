//! With the real package index of this machine.
//!
//! `STOCKADE_TEST_WITH=pandas,matplotlib` measures another set.

use std::time::Instant;

use stockade_environments::{Error, Request};

use crate::place::{place, request};

#[test]
fn packages_are_built_once_found_after_and_imported_behind_walls() {
    let Some(place) = place() else { return };
    let list = std::env::var("STOCKADE_TEST_WITH").unwrap_or_else(|_| "six,idna>=3".to_owned());
    let request = request(&list);
    assert!(place.find(&request).is_none());
    let started = Instant::now();
    let (environment, steps, seen) = place.build(&request).unwrap();
    println!("first build {:?}: {steps:?}\n{:#?}", started.elapsed(), seen.steps);
    println!("{:?} dropped {:?}", environment.packages, environment.dropped_pth);
    assert_eq!(seen.bytes.map(|(done, total)| done == total), Some(true));

    let found = place.find(&request);
    let took = (0..200).map(|_| {
        let started = Instant::now();
        let _found = place.find(&request);
        started.elapsed()
    });
    println!("find, best of 200: {:?}", took.min());
    assert_eq!(found.as_ref(), Some(&environment));

    let names: Vec<String> = environment.packages.iter().map(|p| p.name.clone()).collect();
    let script = "import sys, importlib.metadata as m; print(sys.prefix); print(*sorted(d.metadata['Name'].lower() for d in m.distributions()))";
    let said = place.run(&environment, &["/opt/stockade/env/bin/python", "-I", "-c", script]);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("/opt/stockade/env"));
    assert_eq!(lines.next().map(|line| line.split(' ').count()), Some(names.len()));

    // Another request with the same answer: nothing is fetched, and the digest is the same.
    let again = self::request(&format!("{list},{}", names[0]));
    let started = Instant::now();
    let (second, steps, seen) = place.build(&again).unwrap();
    println!("second build {:?}: {steps:?}\n{:#?}", started.elapsed(), seen.steps);
    assert_eq!(second.digest, environment.digest);
    assert_eq!(steps, ["resolve", "sizes", "install"]);
    assert_eq!(std::fs::read_dir(place.store.root().join("building")).unwrap().count(), 0);
}

#[test]
fn startup_code_is_taken_out_and_launchers_start() {
    let Some(place) = place() else { return };
    let (environment, ..) = place.build(&request("setuptools==80.9.0,pygments")).unwrap();
    assert_eq!(environment.dropped_pth, ["distutils-precedence.pth"]);
    let said = place.run(&environment, &["/opt/stockade/env/bin/pygmentize", "-V"]);
    assert!(said.starts_with("Pygments version"), "{said}");
    let script = "import pygments; print(pygments.__cached__, __import__('os').path.exists(pygments.__cached__))";
    let said = place.run(&environment, &["/opt/stockade/env/bin/python", "-c", script]);
    assert!(said.trim().ends_with("True"), "{said}");
    // Nothing in it can be written, by anybody but root.
    let writable = std::process::Command::new("find")
        .arg(&environment.folder)
        .args(["-not", "-type", "l", "-perm", "/222"])
        .output();
    assert_eq!(String::from_utf8(writable.unwrap().stdout).unwrap(), "");
}

#[test]
fn a_source_distribution_is_built_only_when_it_is_named() {
    let Some(place) = place() else { return };
    let mut request = request("docopt==0.6.2");
    let refused = place.build(&request).unwrap_err();
    assert!(refused.next().contains("--allow-build"), "{}", refused.next());
    request.allow_build("docopt").unwrap();
    let (environment, steps, _) = place.build(&request).unwrap();
    println!("{steps:?}");
    let said =
        place.run(&environment, &["/opt/stockade/env/bin/python", "-c", "import docopt; print(docopt.__version__)"]);
    assert_eq!(said.trim(), "0.6.2");
    let lock = std::fs::read_to_string(environment.folder.join("pylock.toml")).unwrap();
    assert!(lock.contains("sdist = { name = \"docopt-0.6.2.tar.gz\""), "{lock}");
}

#[test]
fn what_cannot_be_resolved_is_said_plainly() {
    let Some(place) = place() else { return };
    let error = place.build(&request("six==0.0.1.dev7")).unwrap_err();
    assert_eq!(error.to_string(), "no set of packages meets the requirements");
    assert!(error.why().contains("six"), "{}", error.why());
    let mut script = Request::new();
    script.script(b"# /// script\n# requires-python = '>=4'\n# dependencies = ['six']\n# ///\n", "a.py").unwrap();
    assert!(matches!(place.build(&script), Err(Error::Python(_))));
}
