//! `env export` and `env import`: to a machine without any network, which a network namespace without
//! an interface stands for. The attacks on archives are in `crates/environments/src/archive/tests.rs`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stockade_testkit::{Ran, skipped};

use crate::{Place, STOCKADE, refused, short};

impl Place {
    /// Runs a command where there is no network at all.
    fn ran_offline(&self, arguments: &[&str]) -> Ran {
        let mut command = apart("--net", "--map-current-user");
        command.arg(STOCKADE).args(arguments);
        command
            .env("STOCKADE_CACHE_DIR", self.cache.path())
            .env("STOCKADE_STATE_DIR", self.folder.path().join("state"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Ran::from(command.output().unwrap())
    }

    /// A store that nothing was ever put into.
    fn empty() -> Self {
        Self { cache: stockade_testkit::Folder::new(), folder: stockade_testkit::Folder::new() }
    }
}

/// Starts a program in a namespace of its own; who is not root needs one of users, too.
fn apart(namespace: &str, map: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", map]);
    }
    command.arg(namespace);
    command
}

fn can_be_apart(namespace: &str, map: &str) -> bool {
    let works = apart(namespace, map).arg("true").status().is_ok_and(|status| status.success());
    if !works {
        skipped("imports in a namespace", "no namespace can be made here");
    }
    works
}

/// Builds here, exports, imports there, checks there, runs there.
fn moves(packages: &str, code: &str) {
    if !can_be_apart("--net", "--map-current-user") {
        return;
    }
    let (here, there) = (Place::new(), Place::empty());
    let digest = here.built("x", &["--with", packages]);
    let file = there.folder.path().join("x.tar.gz");
    let path = file.to_str().unwrap();
    let (started, exported) = (Instant::now(), here.document(&["env", "export", "x", path, "--json"]));
    println!("export: {:?}, {exported}", started.elapsed());
    assert_eq!(exported["digest"], *digest);
    let started = Instant::now();
    let said = there.ran_offline(&["env", "import", path, "moved/x", "--digest", short(&digest)]).expect(0).stdout;
    println!("import: {:?}", started.elapsed());
    assert!(said.starts_with(&format!("moved/x: {}, ", short(&digest))) && !said.contains("note:"), "{said}");
    assert!(there.ran_offline(&["env", "verify", "moved/x"]).expect(0).stdout.contains("all as they were built"));
    let ran = there.ran_offline(&["run", "--quiet", "--environment", "moved/x", "-c", code]).expect(0);
    assert_eq!(ran.stdout, "moved\n");
    let shown: serde_json::Value =
        serde_json::from_str(&there.ran_offline(&["env", "show", "--json", &digest]).expect(0).stdout).unwrap();
    let built = here.document(&["env", "show", "--json", "x"]);
    for field in ["digest", "packages", "platform", "python", "executable"] {
        assert_eq!(shown[field], built[field], "{field}");
    }
    assert_eq!((&shown["imported"], &built["imported"]), (&true.into(), &false.into()));
    // Modules were compiled for the path at which they are mounted, and nothing is left of the import.
    assert_eq!((there.count("building"), there.count("envs")), (0, 1));
    // Again: there is nothing to do, and what is there exports as what came.
    let started = Instant::now();
    drop(there.ran_offline(&["env", "import", path, "again", "--quiet"]).expect(0));
    println!("import of what is there: {:?}", started.elapsed());
    drop(there.ran_offline(&["env", "export", "again", "again.tar.gz", "--quiet"]).expect(0));
    assert!(fs::read(there.folder.path().join("again.tar.gz")).unwrap() == fs::read(&file).unwrap());
}

#[test]
fn an_environment_moves_to_a_machine_without_network() {
    let code = "import six, idna, os; assert os.path.exists(idna.__cached__); print('moved')";
    moves("six,idna", code);
}

/// The packages that issue 4 names: 133 MiB from the index, and three minutes.
#[test]
fn r4_an_environment_of_large_packages_moves_to_a_machine_without_network() {
    if std::env::var_os("STOCKADE_TEST_LARGE").is_none() {
        return skipped(
            "moves pandas, scikit-learn, matplotlib, duckdb, statsmodels",
            "STOCKADE_TEST_LARGE is not set",
        );
    }
    let code = "import pandas, sklearn.linear_model, matplotlib.pyplot, duckdb, statsmodels.api
print('moved' if duckdb.sql('select 42').fetchall() == [(42,)] else '')";
    moves("pandas,scikit-learn,matplotlib,duckdb,statsmodels", code);
}

#[test]
fn launchers_and_records_are_made_anew() {
    let (here, there) = (Place::new(), Place::new());
    here.built("x", &["--with", "pygments"]);
    let file = there.folder.path().join("x");
    here.done(&["env", "export", "x", file.to_str().unwrap()]);
    there.done(&["env", "import", "x", "x"]);
    let said = there.ran(&["run", "--quiet", "--environment", "x", "--", "pygmentize", "-V"]).expect(0).stdout;
    assert!(said.starts_with("Pygments version"), "{said}");
    let code = "from importlib.metadata import files, packages_distributions as p
print(p()['pygments'], all(f.locate().exists() for f in files('pygments')), all(f.hash for f in files('pygments')[:-1]))";
    let said = there.ran(&["run", "--quiet", "--environment", "x", "-c", code]).expect(0).stdout;
    assert!(said.starts_with("['Pygments'") && said.ends_with(" True True\n"), "{said}");
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let place = Place::new();
    place.folder.write("text", "hello");
    place.folder.write("empty", "");
    refused(&place, &["env", "import", "text"], &["no archive of `stockade env export`"]);
    refused(&place, &["env", "import", "empty", "--dry-run"], &["no archive"]);
    refused(&place, &["env", "import", "/dev/zero"], &["no regular file"]);
    refused(&place, &["env", "import", "."], &["refused"]);
    refused(&place, &["env", "import", "missing"], &["no such file"]);
    refused(&place, &["env", "import", "text", "UPPER"], &["no name for an environment"]);
    refused(&place, &["env", "export", "missing", "x"], &["there is no environment `missing`"]);
    let ran = place.ran(&["env", "import", "text", "--json"]).expect(125);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.stderr).unwrap()["cause"]["kind"], "refused");
}

#[test]
fn an_archive_can_be_looked_at_and_expected() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    place.done(&["env", "export", "x", "x.tar.gz"]);
    refused_again(&place, &["env", "export", "x", "x.tar.gz"], "already");
    refused_again(&place, &["env", "export", "x", "missing/x.tar.gz"], "no such file");
    let said = place.ran(&["env", "import", "x.tar.gz", "--dry-run"]).expect(0).stdout;
    assert!(said.starts_with(&format!("good, and not imported: {}, 1 package", short(&digest))), "{said}");
    assert!(said.contains("note: "), "{said}");
    refused_again(&place, &["env", "import", "x.tar.gz", "--digest", &"0".repeat(12)], "was asked for");
    // A package file that is not what its list says is not exported either.
    let module = fs::read_dir(place.environment(&digest).join("lib")).unwrap().flatten().next().unwrap();
    let module = module.path().join("site-packages/six.py");
    fs::set_permissions(&module, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&module, "evil").unwrap();
    refused_again(&place, &["env", "export", "x", "y.tar.gz"], "not the file that was built");
    assert!(!place.folder.path().join("y.tar.gz").exists());
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
}

#[track_caller]
fn refused_again(place: &Place, arguments: &[&str], why: &str) {
    let said = place.ran(arguments).expect(125).stderr;
    assert!(said.contains(why), "{said}");
}

#[test]
fn an_import_that_is_killed_leaves_nothing_that_looks_finished() {
    let (here, there) = (Place::new(), Place::new());
    let digest = here.built("x", &["--with", "pygments"]);
    let file = there.folder.path().join("x");
    here.done(&["env", "export", "x", file.to_str().unwrap(), "--quiet"]);
    for delay_ms in [0, 5, 20, 50, 100, 200, 400, 800] {
        let (mut child, _state) = there.call(&["env", "import", "x", "x", "--quiet"]).start();
        std::thread::sleep(Duration::from_millis(delay_ms));
        drop(child.kill());
        child.wait().unwrap();
        // Whatever is there was checked to the end.
        if there.count("envs") > 0 {
            there.done(&["env", "verify", &digest]);
            drop(there.ran(&["env", "rm", "x"]));
            there.done(&["env", "rm", &digest]);
        }
    }
    there.done(&["env", "import", "x", "x", "--quiet"]);
    assert_eq!((there.count("building"), there.count("envs")), (0, 1));
    there.done(&["env", "verify", "x"]);
}

#[test]
fn an_import_onto_a_full_disk_leaves_nothing() {
    let (here, there) = (Place::new(), Place::empty());
    if !can_be_apart("--mount", "--map-root-user") {
        return;
    }
    here.built("x", &["--with", "pygments"]);
    let file = there.folder.path().join("x");
    here.done(&["env", "export", "x", file.to_str().unwrap(), "--quiet"]);
    // Too small for all; large enough for all that the archive owns up to, and not for folders and bytecode.
    for (size, why) in [("1m", "the disk of the store has"), ("6m", "no space left on device")] {
        let script = format!(
            "mount -t tmpfs -o size={size} none \"$STOCKADE_CACHE_DIR\" && \"$0\" env import x x; echo $?; \
             ls \"$STOCKADE_CACHE_DIR\"/environments/envs \"$STOCKADE_CACHE_DIR\"/environments/names \"$STOCKADE_CACHE_DIR\"/environments/building"
        );
        let mut command = apart("--mount", "--map-root-user");
        command.args(["sh", "-c", &script, STOCKADE]);
        command
            .env("STOCKADE_CACHE_DIR", there.cache.path())
            .env("STOCKADE_STATE_DIR", there.folder.path().join("state"));
        let ran = Ran::from(command.current_dir(there.folder.path()).stdin(Stdio::null()).output().unwrap());
        assert!(ran.stderr.contains(why), "{size}: {} {}", ran.stdout, ran.stderr);
        let listed: Vec<&str> = ran.stdout.lines().filter(|line| !line.is_empty() && !line.ends_with(':')).collect();
        assert_eq!(listed, ["125"], "{size}");
    }
}
