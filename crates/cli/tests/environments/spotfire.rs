//! Spotfire packages: what they name is built from the index. Hostile ones are in
//! `crates/environments/src/spk/tests.rs`.

use std::path::Path;
use std::process::Command;

use stockade_testkit::skipped;

use crate::{Place, refused};

/// Makes one as its own tools do: what is installed, what was asked for, and a file that no index has.
const MAKE: &str = r#"
import io, sys, zipfile
path, version = sys.argv[1:]
site = "root/python/lib/python3.11/site-packages"
inner = io.BytesIO()
with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as payload:
    payload.writestr(f"{site}/six.py", "print('of the Spotfire package')")
    payload.writestr(f"{site}/six-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: six\nVersion: {version}\n")
    payload.writestr("root/requirements-Demo.txt", 'six\nidna\n## spotfire.spk: {"BrandVersion":2,"Analyst":{},"Server":{"BuiltName":"Demo"}}\n')
    payload.writestr("module.xml", "<module/>")
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as outer:
    outer.writestr("module.xml", "<module/>")
    outer.writestr("Metadata.xml", "<Package/>")
    outer.writestr("Contents/Demo.zip", inner.getvalue())
"#;

fn make(path: &Path, version: &str) {
    let made = Command::new("python3").args(["-I", "-c", MAKE]).arg(path).arg(version).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_spotfire_package_is_built_from_what_it_names() {
    let place = Place::new();
    make(&place.folder.path().join("library.spk"), "1.16.0");
    let ran = place.ran(&["env", "build", "spotfire", "library.spk"]).expect(0);
    let remark =
        "`library.spk` names 1 package by version, which come from the package index; its own files are not used";
    assert!(ran.stderr.contains(remark), "{}", ran.stderr);
    // Its own files would have said so.
    let code = "import six, idna; print(six.__version__)";
    assert_eq!(place.ran(&["run", "-q", "--environment", "spotfire", "-c", code]).expect(0).stdout, "1.16.0\n");
    let digest = place.document(&["env", "show", "--json", "spotfire"])["digest"].clone();
    // The same in a run, which finds it.
    let ran = place.ran(&["run", "--json", "-r", "library.spk", "-c", code]).expect(0);
    assert_eq!(ran.report()["environment"], digest);
    assert!(ran.report()["remarks"].to_string().contains("its own files are not used"), "{}", ran.stderr);
    // What the index does not have is not taken from the file.
    let other = Place::new();
    make(&other.folder.path().join("library.spk"), "0.0.1.dev7");
    refused(&other, &["env", "build", "x", "library.spk"], &["no set of packages", "six==0.0.1.dev7"]);
    refused(&other, &["env", "build", "x", "library.spk", "--extra", "more"], &["has no optional dependencies `more`"]);
    refused(&other, &["env", "import", "library.spk"], &["stockade env build NAME library.spk"]);
    other.folder.write("broken.spk", "PK");
    refused(&other, &["env", "build", "x", "broken.spk"], &["the Spotfire package `broken.spk` is refused", "no zip"]);
}

/// The tool that people use, from the index: it writes what this reads.
#[test]
fn a_package_that_the_tool_of_spotfire_wrote_is_read() {
    if std::env::var_os("STOCKADE_TEST_LARGE").is_none() {
        return skipped("a package of `spotfire.spk`", "STOCKADE_TEST_LARGE is not set");
    }
    let place = Place::new();
    let venv = place.folder.path().join("venv");
    let python = venv.join("bin/python");
    assert!(Command::new("python3").args(["-m", "venv"]).arg(&venv).status().unwrap().success());
    let installed = Command::new(&python).args(["-m", "pip", "install", "-q", "spotfire==2.4.2"]).status().unwrap();
    assert!(installed.success(), "the tool cannot be installed");
    place.folder.write("requirements.txt", "humanize==4.9.0\npandas\n");
    let made = Command::new(&python)
        .args(["-m", "spotfire.spk", "packages", "library.spk", "requirements.txt"])
        .current_dir(place.folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    // Its brand is comments.
    assert!(place.folder.read("requirements.txt").contains("## spotfire.spk: {"));
    for file in ["library.spk", "requirements.txt"] {
        let built = place.document(&["env", "build", "--json", "spotfire", file]);
        let packages: Vec<&str> =
            built["packages"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();
        assert!(packages.contains(&"humanize") && packages.contains(&"pandas"), "{file}: {packages:?}");
    }
}
