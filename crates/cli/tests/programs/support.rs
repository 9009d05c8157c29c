//! What these tests share: a call, what it must come to, the one environment of them all.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use stockade_testkit::{Call, Ran, call};
pub(crate) use stockade_testkit::{Folder, User, skipped, users};

pub(crate) const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// One request for all tests, so that its environment is built once.
pub(crate) const PACKAGES: &str =
    "numpy,pandas,scikit-learn,matplotlib,pyarrow,polars,duckdb,statsmodels,joblib,nbclient,ipykernel";

/// A call of `stockade run` in this folder, reported as JSON.
pub(crate) fn run(user: User, folder: &Folder) -> Call {
    call(STOCKADE, user).within(folder.path()).args(["run", "--json", "--limit", "time=3m"])
}

/// Runs a script as this user; it must succeed without a word on standard error, nothing denied.
#[track_caller]
pub(crate) fn works(user: User, options: &[&str], script: &str) -> Ran {
    let folder = Folder::new();
    folder.write("x.py", script);
    quiet(run(user, &folder).args(options).arg("x.py").run().expect(0))
}

/// Honest code: nothing was denied, and nothing complained.
#[track_caller]
pub(crate) fn quiet(ran: Ran) -> Ran {
    let ran = honest(ran);
    assert_eq!(own_errors(&ran), "", "it complains");
    ran
}

/// Honest code: nothing was denied.
#[track_caller]
pub(crate) fn honest(ran: Ran) -> Ran {
    assert_eq!(ran.report()["denials"].as_array().unwrap(), &Vec::<serde_json::Value>::new(), "{ran:?}");
    ran
}

/// What the code wrote to standard error: all but our own lines.
pub(crate) fn own_errors(ran: &Ran) -> String {
    let said = ran.stderr.rsplit_once("{\"run\":").map_or(ran.stderr.as_str(), |(said, _)| said);
    // Progress, when the environment was built first.
    said.split_inclusive('\n').filter(|line| !line.starts_with("stockade: ")).collect()
}

/// The outputs by path, with their sizes.
pub(crate) fn outputs(ran: &Ran) -> BTreeMap<String, u64> {
    ran.report()["outputs"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap().to_owned(), file["bytes"].as_u64().unwrap()))
        .collect()
}

/// Names of the outputs, in order.
pub(crate) fn output_names(ran: &Ran) -> Vec<String> {
    outputs(ran).into_keys().collect()
}

/// The folder `results`, which every user may write to.
pub(crate) fn make_results(folder: &Folder) {
    let results = folder.path().join("results");
    std::fs::create_dir(&results).unwrap();
    std::fs::set_permissions(&results, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Whether a file is a PNG picture with something on it.
pub(crate) fn is_picture(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 1_000)
}

/// Whether the machine has a program; says so when it has not.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .output()
        .unwrap()
        .status
        .success();
    if !found {
        skipped(program, "it is not installed");
    }
    found
}
