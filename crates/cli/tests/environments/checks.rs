//! `env verify`: whatever changes is named.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::Place;

fn writable(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_change_is_named() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    let root = place.environment(&digest);
    assert!(place.ran(&["env", "verify", "x"]).expect(0).stdout.contains("all as they were built"));
    let site = fs::read_dir(root.join("lib")).unwrap().flatten().next().unwrap().path().join("site-packages");
    let tag =
        site.parent().unwrap().file_name().unwrap().to_str().unwrap().replace('.', "").replace("python", "cpython-");
    let below = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let (module, cached) = (site.join("six.py"), site.join(format!("__pycache__/six.{tag}.pyc")));
    let metadata = site.join("six-1.17.0.dist-info/METADATA");
    for folder in [&root, &site, &site.join("__pycache__"), &root.join("bin"), metadata.parent().unwrap()] {
        writable(folder);
    }
    let wrong = |arguments: &[&str]| -> Vec<String> {
        let ran = place.ran(arguments).expect(1);
        let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let wrong = found[0]["wrong"].as_array().unwrap().iter();
        wrong.map(|one| format!("{} {}", one["path"].as_str().unwrap(), one["what"].as_str().unwrap())).collect()
    };

    for (path, what) in [
        (&module, "has other contents"),
        (&cached, "has other contents"),
        (&root.join("pyvenv.cfg"), "has other contents"),
    ] {
        let before = fs::read(path).unwrap();
        writable(path);
        fs::write(path, [&before[..], b"#"].concat()).unwrap();
        assert_eq!(wrong(&["env", "verify", "--json", "x"]), [format!("{} {what}", below(path))]);
        fs::write(path, before).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::write(site.join("evil.pth"), "import os").unwrap();
    fs::remove_file(&metadata).unwrap();
    fs::set_permissions(&module, fs::Permissions::from_mode(0o555)).unwrap();
    fs::remove_file(root.join("bin/python")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", root.join("bin/python")).unwrap();
    let found = wrong(&["env", "verify", "--json", "--all"]);
    for expected in [
        format!("{} was not there when the environment was built", below(&site.join("evil.pth"))),
        format!("{} is missing", below(&metadata)),
        format!("{} is executable now, or no longer", below(&module)),
        "bin/python leads to another interpreter".to_owned(),
    ] {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    let shown = place.ran(&["env", "verify", "x"]).expect(1).stdout;
    assert!(shown.contains("not as built") && shown.contains("next: do not use it"), "{shown}");
}

#[test]
fn a_list_or_lock_that_was_changed_with_the_files_does_not_fit_the_digest() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    let root = place.environment(&digest);
    for name in ["files.txt", "pylock.toml"] {
        let path = root.join(name);
        let before = fs::read_to_string(&path).unwrap();
        writable(&path);
        // Whoever changes a file may change its line too.
        let changed = if name == "files.txt" {
            before.lines().skip(1).map(|line| format!("{line}\n")).collect()
        } else {
            before.replace("sha256 = \"4", "sha256 = \"5")
        };
        fs::write(&path, changed).unwrap();
        let said = place.ran(&["env", "verify", "x"]).expect(1).stdout;
        assert!(said.contains("the environment is not what its digest says"), "{name}: {said}");
        fs::write(&path, before).unwrap();
    }
    writable(&root.join("manifest.json"));
    fs::write(root.join("manifest.json"), "{").unwrap();
    assert!(place.ran(&["env", "verify", &digest]).expect(1).stdout.contains("it is no manifest"));
    // It is no environment any more, and its digest still takes it away.
    let gone = place.ran(&["run", "--environment", "x", "-c", "1"]).expect(125);
    assert!(gone.stderr.contains("gone or damaged"), "{}", gone.stderr);
    place.done(&["env", "rm", "x", &digest]);
    assert_eq!(place.built("x", &["--with", "six"]), digest);
    place.done(&["env", "verify", "x"]);
}
