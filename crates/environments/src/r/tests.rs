//! What becomes of a library that was installed, and of an archive that claims to be one.

use std::fs;
use std::path::PathBuf;

use crate::archive::{Archive, export};
use crate::digest;
use crate::environment::Environment;
use crate::error::Error;
use crate::install::Installed;
use crate::interpreter::Interpreter;
use crate::layout;
use crate::lock::{Lock, Locked, Wheel};
use crate::progress::Silent;
use crate::publish::Building;
use crate::publish::tests::store;
use crate::store::Store;
use crate::verify;

fn r(version: &str) -> Interpreter {
    Interpreter {
        inside_executable: "/usr/bin/Rscript".into(),
        version: version.into(),
        abi: format!("R{version}"),
        platform: "x86_64-pc-linux-gnu".into(),
        glibc: None,
    }
}

fn lock(url: &str) -> Lock {
    let package = |name: &str, needs: &[&str]| Locked {
        name: name.into(),
        version: "1.0".into(),
        wheels: Vec::new(),
        source: Some(Wheel {
            url: format!("{url}/{name}_1.0.tar.gz"),
            file: format!("{name}_1.0.tar.gz"),
            sha256: digest::of_text(name),
            size: Some(1),
        }),
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
    };
    Lock::of_r(vec![package("bb", &["aa"]), package("aa", &[])])
}

const FILES: [(&str, &str); 3] = [
    ("library/aa/DESCRIPTION", "Package: aa\n"),
    ("library/bb/DESCRIPTION", "Package: bb\n"),
    ("library/bb/R/bb", "x"),
];

/// Lays out these files and some more.
fn laid_out(
    root: PathBuf,
    more: &[(&str, &str)],
    interpreter: &Interpreter,
    url: &str,
) -> Result<(PathBuf, String), Error> {
    for (path, text) in FILES.iter().chain(more) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let installed =
        Installed { prefix: root, standard: std::collections::BTreeSet::new(), denied: Vec::new(), imported: false };
    layout::assemble(&installed, &lock(url), interpreter)
}

fn digest_of(more: &[(&str, &str)], version: &str, url: &str) -> Result<String, Error> {
    let root = tempfile::tempdir().unwrap();
    laid_out(root.path().join("prefix"), more, &r(version), url).map(|(_, digest)| digest)
}

fn published(store: &Store) -> Environment {
    let building = Building::begin(store).unwrap();
    let (tree, digest) = laid_out(building.folder().join("prefix"), &[], &r("4.2.2"), "https://r.invalid").unwrap();
    building.publish(store, &tree, &digest).unwrap()
}

#[test]
fn the_digest_covers_files_lock_and_the_whole_version_of_r_and_no_place() {
    let digest = digest_of(&[], "4.2.2", "https://r.invalid").unwrap();
    assert_eq!(digest_of(&[], "4.2.2", "https://mirror.invalid").unwrap(), digest);
    assert_ne!(digest_of(&[], "4.2.3", "https://r.invalid").unwrap(), digest);
    assert_ne!(digest_of(&[("library/aa/more", "x")], "4.2.2", "https://r.invalid").unwrap(), digest);
    // What nobody would make anew does not stay, so that an archive has all there is.
    let cached = ("library/aa/python/__pycache__/x.cpython-311.pyc", "x");
    assert_eq!(digest_of(&[cached], "4.2.2", "https://r.invalid").unwrap(), digest);
}

#[test]
fn nothing_lies_beside_the_packages_of_the_lock() {
    for stray in ["library/cc/DESCRIPTION", "lib/x", "bin/tool", "x", "manifest.json", "library2/aa/x"] {
        let refused = digest_of(&[(stray, "x")], "4.2.2", "https://r.invalid").unwrap_err();
        assert!(refused.why().contains("no package of the lock"), "{stray}: {}", refused.why());
    }
}

#[test]
fn an_environment_of_r_is_exported_and_held_against_its_digest_like_others() {
    let (_root, store) = store();
    let environment = published(&store);
    assert_eq!(verify::verify(&store, &environment.digest).unwrap().wrong, []);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("archive");
    export(&environment, &path, &mut Silent).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!((archive.digest(), archive.packages().len()), (&*environment.digest, 2));
    assert_eq!(archive.interpreter(), r("4.2.2"));

    let lock_file = environment.folder.join("rlock.toml");
    crate::tree::set_mode(&lock_file, 0o644).unwrap();
    let text = fs::read_to_string(&lock_file).unwrap();
    for (from, to) in
        [("name = \"aa\"", "name = \"zz\""), ("ecosystem = \"cran\"\n", ""), ("1.0\"\nsdist", "1.1\"\nsdist")]
    {
        fs::write(&lock_file, text.replacen(from, to, 1)).unwrap();
        assert!(!verify::verify(&store, &environment.digest).unwrap().wrong.is_empty(), "{to}");
        assert!(export(&environment, &place.path().join("bad"), &mut Silent).is_err(), "{to}");
    }
}

#[test]
fn a_lock_of_r_has_one_form_and_reads_back() {
    let lock = lock("https://r.invalid");
    let text = lock.to_text();
    assert_eq!(Lock::of_environment(&text).unwrap(), lock);
    assert!(lock.locked().all(super::is_plain));
    let of = |from: &str, to: &str| Lock::of_environment(&text.replacen(from, to, 1));
    for (from, to) in
        [("\"aa\"", "\"../aa\""), ("\"aa\"", "\"stats\""), ("version = \"1.0\"\ns", "version = \"1.0/..\"\ns")]
    {
        assert!(of(from, to).is_err(), "{to}");
    }
    for (from, to) in [
        ("https://r.invalid/aa", "http://r.invalid/aa"),
        ("https://r.invalid/aa", "https://a:b@r.invalid/aa"),
        ("name = \"aa_1.0.tar.gz\"", "name = \"other_1.0.tar.gz\""),
        ("needs = [\"aa\"]", "needs = [\"../aa\"]"),
    ] {
        assert!(!of(from, to).unwrap().locked().all(super::is_plain), "{to}");
    }
}
