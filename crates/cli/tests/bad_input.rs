//! What is refused, and how: run.md, "Bad input". One clear message (what, why, next), the exit
//! status, no output, and nothing left behind.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod scene;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use scene::{Scene, listing};
use serde_json::Value;
use stockade_testkit::{Call, Folder, Ran, User, call, skipped, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// Runs both users' calls; each is to be refused with this status and this message.
#[track_caller]
fn refused(scene: &Scene, arguments: &[&str], status: i32, message: &str) {
    for user in users() {
        let call = scene.call(user).args(arguments);
        let said = refusal(scene, call, status);
        assert_eq!(said, message, "{arguments:?} as {user:?}");
    }
}

/// The message of a call that is refused, the working folder's path replaced.
#[track_caller]
fn refusal(scene: &Scene, call: Call, status: i32) -> String {
    let before = listing(scene.folder.path());
    let (ran, state) = scene.ended(call);
    let ran = ran.expect(status);
    assert_eq!(ran.stdout, "");
    assert_eq!(listing(scene.folder.path()), before, "files are left in the working folder");
    assert_records_end(&state);
    ran.stderr.replace(&*scene.folder.path().to_string_lossy(), "FOLDER").trim_end().to_owned()
}

/// What was intended was also closed.
#[track_caller]
fn assert_records_end(state: &Folder) {
    let trail = Call::trail(state);
    let of = |kind: &str| trail.iter().filter(|record| record["record"] == kind).count();
    assert_eq!(of("intent"), of("outcome") + of("failed"), "{trail:?}");
}

/// A scene with a script that would print.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.folder.write("ok.py", "print('it ran')\n");
    scene.folder.write("text.txt", "text\n");
    scene.folder.write("folder/inner.txt", "inner\n");
    scene
}

#[test]
fn nothing_to_run_is_refused() {
    refused(
        &scene(),
        &[],
        125,
        "error: nothing to run\n  why:  no script, no -c CODE and no `-- PROGRAM` was given\n  next: stockade run SCRIPT, or see `stockade run --help`",
    );
}

#[test]
fn an_option_that_does_not_exist_is_no_script() {
    let message = "error: there is no option `--no-such-option`\n  why:  what stands before the script is for Stockade\n  next: see `stockade run --help`; a script of such a name is `./-NAME`";
    refused(&scene(), &["--no-such-option", "ok.py"], 125, message);
    refused(&scene(), &["--quiet", "--no-such-option", "ok.py"], 125, message);
}

#[test]
fn options_that_cannot_be_read_are_refused_in_the_usual_form() {
    for (arguments, why) in [
        (&["-c"] as &[&str], "a value is required for '-c <CODE>' but none was supplied"),
        (&["--limit"], "a value is required for '--limit <NAME=VALUE>' but none was supplied"),
        (
            &["--cgroup", "maybe", "ok.py"],
            "invalid value 'maybe' for '--cgroup <WHEN>' [possible values: auto, require, off]",
        ),
    ] {
        refused(
            &scene(),
            arguments,
            125,
            &format!("error: the command line is refused\n  why:  {why}\n  next: see `stockade run --help`"),
        );
    }
}

#[test]
fn the_help_that_is_named_is_that_of_the_command() {
    for (arguments, next) in [
        (&["doctor", "--nope"] as &[&str], "see `stockade doctor --help`"),
        (&["plan", "-c"], "see `stockade plan --help`"),
        (&["nope"], "see `stockade --help`"),
    ] {
        let ran = call(STOCKADE, User::Caller).args(arguments).run().expect(125);
        assert!(ran.stderr.ends_with(&format!("\n  next: {next}\n")), "{}", ran.stderr);
    }
}

#[test]
fn options_that_need_another_name_it() {
    for (arguments, option, needed, why) in [
        (&["--all"] as &[&str], "--all", "--project DIR", "it says what of a project is taken"),
        (&["--apply"], "--apply", "--project DIR", "changes are written back onto the project"),
        (&["--overwrite"], "--overwrite", "--out DIR", "it replaces files in the folder of the outputs"),
        (
            &["--apply-also", ".git", "--project", "."],
            "--apply-also",
            "--apply",
            "it permits a path to be written back",
        ),
        (&["--secret", "A=a.example"], "--secret", "--net HOST", "it is about what a run may reach"),
        (&["--net-budget", "bytes_up=1"], "--net-budget", "--net HOST", "it is about what a run may reach"),
        (
            &["--require", "gate"],
            "--require gate",
            "--net HOST",
            "the gate is there for what is granted of the network",
        ),
        (
            &["--require", "root,watchdog"],
            "--require watchdog",
            "--cgroup off",
            "the watchdog only stands in where no cgroup is used",
        ),
        (
            &["--allow-build", "six", "-c", "1"],
            "--allow-build",
            "--with PACKAGES",
            "it lets a package that is asked for run its build",
        ),
    ] {
        let message =
            format!("error: {option} needs {needed}\n  why:  {why}\n  next: add {needed}, or leave out {option}");
        refused(&scene(), &[arguments, &["ok.py"]].concat(), 125, &message);
    }
}

#[test]
fn options_that_contradict_each_other_are_both_named() {
    let taken = "an environment of yours is taken as it is: nothing is added to it";
    for (arguments, one, other, why) in [
        (
            &["--require", "cgroup", "--cgroup", "off"] as &[&str],
            "--require cgroup",
            "--cgroup off",
            "one asks for what the other rules out",
        ),
        (&["--venv", "x", "--with", "y"], "--with", "--venv", taken),
        (&["--venv", "x", "-r", "y"], "--requirements", "--venv", taken),
        (&["--venv", "x", "--allow-build", "y"], "--allow-build", "--venv", taken),
    ] {
        let message = format!(
            "error: {one} and {other} contradict each other\n  why:  {why}\n  next: leave out one of them: {one} or {other}"
        );
        refused(&scene(), &[arguments, &["ok.py"]].concat(), 125, &message);
    }
}

#[test]
fn options_about_python_are_not_passed_over_for_an_r_script() {
    let scene = scene();
    scene.folder.write("model.R", "print(1)\n");
    for option in ["--with", "--requirements", "--venv", "--python"] {
        let message = format!(
            "error: {option} does nothing for an R script\n  why:  it is about Python\n  next: leave out {option}; packages of R are named with --r"
        );
        refused(&scene, &[option, "x", "model.R"], 125, &message);
    }
}

/// Of a refusal with `--json`: what, and the status that its cause names.
#[track_caller]
fn document(scene: &Scene, call: Call, status: i32) -> String {
    let said = refusal(scene, call, status);
    assert_eq!(said.lines().count(), 1, "one document: {said}");
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(document["cause"], serde_json::json!({ "kind": "refused", "status": status }), "{said}");
    assert_eq!(document.as_object().unwrap().len(), 4, "{said}");
    assert!(document["why"].is_string() && document["next"].is_string(), "{said}");
    document["what"].as_str().unwrap().to_owned()
}

#[test]
fn with_json_every_refusal_is_a_document() {
    for user in users() {
        let scene = scene();
        for (arguments, status, what) in [
            (&["--json"] as &[&str], 125, "nothing to run"),
            (&["--json", "missing.py"], 127, "cannot read the script `missing.py`"),
            (&["--json", "folder"], 126, "cannot run `folder`"),
            (&["--json", "--in", "nothere", "ok.py"], 125, "cannot take `nothere`"),
            (&["--json", "--explain", "--in", "nothere", "ok.py"], 125, "cannot take `nothere`"),
            (&["--json", "--limit", "memory=much", "ok.py"], 125, "`much` is no value of a limit"),
            (&["--json", "--limit", "processes=99999999", "ok.py"], 125, "the run is not permitted"),
            (&["--json", "--in", "text.txt=ok.py", "ok.py"], 125, "the run cannot be planned"),
            (&["--json", "--with", "a b c", "ok.py"], 125, "--with: requirement `a b c` is refused"),
            (&["--json", "--python", "nothere", "ok.py"], 125, "there is no Python interpreter `nothere`"),
            (&["--json", "--quiet", "ok.py"], 125, "--json and --quiet contradict each other"),
            (&["--json", "--cgroup", "maybe", "ok.py"], 125, "the command line is refused"),
            (&["--cgroup", "maybe", "--json", "ok.py"], 125, "the command line is refused"),
            (&["--json", "--no-such-option", "ok.py"], 125, "there is no option `--no-such-option`"),
            (&["--no-such-option", "--json", "ok.py"], 125, "there is no option `--no-such-option`"),
        ] {
            assert_eq!(document(&scene, scene.call(user).args(arguments), status), what, "{arguments:?} as {user:?}");
        }
        let call = scene.call(user).env("STOCKADE_STATE_DIR", "/proc/nothing").args(["--json", "ok.py"]);
        assert_eq!(document(&scene, call, 125), "cannot write the audit record to `/proc/nothing/audit.jsonl`");
    }
}

#[test]
fn the_scripts_own_json_is_not_stockades() {
    refused(
        &scene(),
        &["missing.py", "--json"],
        127,
        "error: cannot read the script `missing.py`\n  why:  no such file or directory\n  next: look at the spelling; relative paths start at the current folder",
    );
    refused(
        &scene(),
        &["--", "./folder", "--json"],
        126,
        "error: cannot run `./folder`\n  why:  it is a folder\n  next: name a program",
    );
}

#[test]
fn a_refusal_makes_no_folder_for_outputs_and_no_proposal() {
    // `refusal` looks at what is left in the working folder.
    for arguments in [&["--in", "nothere"] as &[&str], &["--limit", "memory=much"], &["--in", "text.txt=ok.py"]] {
        let all = [&["--quiet", "--out", "new/deep", "--learn", "new.txt"], arguments, &["ok.py"]].concat();
        for user in users() {
            let scene = scene();
            let call = scene.call(user).args(&all);
            assert!(refusal(&scene, call, 125).starts_with("error: "));
        }
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused() {
    let scene = scene();
    let strange = OsStr::from_bytes(b"a\xff");
    let said = refusal(&scene, scene.call(User::Caller).arg("ok.py").arg(strange), 125);
    assert_eq!(
        said,
        "error: argument `a\u{fffd}` is not valid UTF-8\n  why:  arguments are recorded as text\n  next: use a name in UTF-8"
    );
    let said = refusal(&scene, scene.call(User::Caller).arg("--in").arg(strange).arg("ok.py"), 125);
    assert_eq!(
        said,
        "error: the command line is refused\n  why:  invalid UTF-8 was detected in one or more arguments\n  next: see `stockade run --help`"
    );
}

#[test]
fn a_missing_script_is_not_found() {
    refused(
        &scene(),
        &["missing.py"],
        127,
        "error: cannot read the script `missing.py`\n  why:  no such file or directory\n  next: look at the spelling; relative paths start at the current folder",
    );
}

#[test]
fn a_script_that_cannot_be_read_is_not_executable() {
    let scene = scene();
    let script = scene.folder.write("closed.py", "print(1)");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o000)).unwrap();
    let said = refusal_of_ordinary(&scene, &["closed.py"], 126);
    assert_eq!(
        said,
        "error: cannot read the script `closed.py`\n  why:  permission denied\n  next: make it readable to you"
    );
}

/// As a user without rights, whoever runs the tests.
#[track_caller]
fn refusal_of_ordinary(scene: &Scene, arguments: &[&str], status: i32) -> String {
    refusal(scene, scene.call(User::Ordinary).args(arguments), status)
}

#[test]
fn a_folder_is_no_script() {
    refused(
        &scene(),
        &["folder"],
        126,
        "error: cannot run `folder`\n  why:  it is not a regular file\n  next: name a script",
    );
    refused(
        &scene(),
        &["--", "./folder"],
        126,
        "error: cannot run `./folder`\n  why:  it is a folder\n  next: name a program",
    );
}

#[test]
fn a_fifo_is_no_script_and_is_not_waited_for() {
    let scene = scene();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.folder.path().join("fifo.py"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    refused(
        &scene,
        &["fifo.py"],
        126,
        "error: cannot run `fifo.py`\n  why:  it is not a regular file\n  next: name a script",
    );
    refused(
        &scene,
        &["--in", "fifo.py", "ok.py"],
        125,
        "error: cannot take `fifo.py`\n  why:  it is neither a file nor a folder\n  next: look at the spelling; relative paths start at the current folder",
    );
}

#[test]
fn a_script_of_unknown_kind_is_refused() {
    refused(
        &scene(),
        &["text.txt"],
        125,
        "error: cannot tell what runs `text.txt`\n  why:  its name ends in none of .py, .ipynb, .R and .sql\n  next: stockade run -- ./text.txt to run it as a program",
    );
}

#[test]
fn an_input_that_is_missing_is_named() {
    let message = "error: cannot take `nothere`\n  why:  no such file or directory\n  next: look at the spelling; relative paths start at the current folder";
    for option in ["--in", "--project", "--share", "--venv"] {
        refused(&scene(), &[option, "nothere", "ok.py"], 125, message);
    }
}

#[test]
fn an_input_stays_in_the_working_folder() {
    let next = "  next: give a relative name without `..`: --in PATH=NAME";
    for (name, shown, why) in [
        ("../x", "../x", "it leaves its folder"),
        ("a/../../x", "a/../../x", "it leaves its folder"),
        (".", ".", "it leaves its folder"),
        ("a\nb", "a\\nb", "it has a control character or is longer than 255 bytes a component"),
        ("\u{1b}[31m", "\\u{1b}[31m", "it has a control character or is longer than 255 bytes a component"),
        ("", "", "it is empty"),
    ] {
        let given = format!("text.txt={name}");
        refused(
            &scene(),
            &["--in", &given, "ok.py"],
            125,
            &format!("error: `{shown}` is no name for an input\n  why:  {why}\n{next}"),
        );
    }
    let said = refusal_of_ordinary(&scene(), &["--in", "text.txt=/etc/passwd", "ok.py"], 125);
    assert!(
        said.starts_with("error: `/etc/passwd` is no name for an input\n  why:  ") && said.ends_with(next),
        "{said}"
    );
    let long = format!("text.txt={}", "a".repeat(256));
    let said = refusal_of_ordinary(&scene(), &["--in", &long, "ok.py"], 125);
    assert!(said.contains("longer than 255 bytes a component"), "{said}");
}

#[test]
fn the_root_has_no_name_to_be_staged_under() {
    refused(
        &scene(),
        &["--in", "/", "ok.py"],
        125,
        "error: `/` has no name to be staged under\n  why:  it is a root, or not UTF-8\n  next: name it: --in PATH=NAME",
    );
}

#[test]
fn two_inputs_of_one_name_are_refused() {
    let message = |name: &str| {
        format!(
            "error: the run cannot be planned\n  why:  `/job/{name}` would be staged twice\n  next: give one of them another name: --in PATH=NAME"
        )
    };
    refused(&scene(), &["--in", "text.txt=a", "--in", "folder=a", "ok.py"], 125, &message("a"));
    refused(&scene(), &["--in", "text.txt=ok.py", "ok.py"], 125, &message("ok.py"));
    refused(&scene(), &["--in", "folder=a", "--share", "folder=a", "ok.py"], 125, &message("a"));
}

#[test]
fn inputs_larger_than_scratch_are_refused_before_anything_starts() {
    let scene = scene();
    let file = std::fs::File::create(scene.folder.path().join("large")).unwrap();
    file.set_len(3 << 20).unwrap();
    refused(
        &scene,
        &["--limit", "scratch=1MiB", "--in", "large", "ok.py"],
        125,
        "error: the run cannot be planned\n  why:  the files to stage are 3 MiB together, more than scratch (1 MiB)\n  next: give the folder that holds them (folders are not copied), or raise --limit scratch=SIZE",
    );
    refused(
        &scene,
        &["--limit", "file-size=1MiB", "--in", "large", "ok.py"],
        125,
        "error: cannot stage `FOLDER/large`\n  why:  file too large\n  next: raise --limit file-size=SIZE, or give the folder that holds it (folders are not copied)",
    );
}

#[test]
fn an_input_that_the_caller_may_not_read_is_refused() {
    let scene = scene();
    let file = scene.folder.write("closed.csv", "secret");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).unwrap();
    let said = refusal_of_ordinary(&scene, &["--in", "closed.csv", "ok.py"], 125);
    assert_eq!(
        said,
        "error: cannot open `FOLDER/closed.csv`\n  why:  permission denied\n  next: make it readable to you, or give less"
    );
}

#[test]
fn a_folder_that_the_caller_may_not_enter_is_refused() {
    let scene = scene();
    std::fs::create_dir(scene.folder.path().join("closed")).unwrap();
    std::fs::set_permissions(scene.folder.path().join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    let said = refusal_of_ordinary(&scene, &["--project", "closed", "ok.py"], 125);
    assert_eq!(
        said,
        "error: cannot read `FOLDER/closed`\n  why:  permission denied\n  next: make it readable, or give less with --in"
    );
}

#[test]
fn a_file_is_neither_project_nor_share() {
    refused(
        &scene(),
        &["--project", "text.txt", "ok.py"],
        125,
        "error: `text.txt` is no folder\n  why:  --project takes a folder of code\n  next: use --in for a file",
    );
    refused(
        &scene(),
        &["--share", "text.txt", "ok.py"],
        125,
        "error: `text.txt` is no folder\n  why:  --share takes a folder\n  next: use --in for a file",
    );
    refused(
        &scene(),
        &["--share", "text.txt:rw", "ok.py"],
        125,
        "error: `text.txt` is no folder\n  why:  --share takes a folder\n  next: use --in for a file",
    );
}

#[test]
fn folders_that_others_rely_on_are_never_shared_writable() {
    for path in ["/", "/home", "/tmp", "/run", "/var/tmp", "/etc", "/usr/lib", "/dev/shm", "/proc"] {
        let given = format!("{path}:rw=x");
        refused(
            &scene(),
            &["--share", &given, "ok.py"],
            125,
            &format!(
                "error: `{path}` cannot be shared writable\n  why:  programs of yours or of the machine read and run what lies there\n  next: share a folder made for the purpose"
            ),
        );
    }
    let scene = scene();
    let call = scene.call(User::Caller).env("HOME", scene.folder.path()).args(["--share", ".:rw=x", "ok.py"]);
    assert_eq!(
        refusal(&scene, call, 125),
        "error: `FOLDER` cannot be shared writable\n  why:  programs of yours or of the machine read and run what lies there\n  next: share a folder made for the purpose"
    );
}

#[test]
fn scratch_is_not_made_where_it_would_not_be_ours() {
    let scene = scene();
    let refusing = |folder: &str, why: &str| {
        format!(
            "error: scratch cannot be made in `{folder}`\n  why:  {why}\n  next: name a folder of yours on a disk of this machine"
        )
    };
    let machine = "it is no folder on a disk: it is the machine's own, or lies on a network";
    for folder in ["/", "/proc", "/sys", "/dev/shm"] {
        refused(&scene, &["--scratch-dir", folder, "ok.py"], 125, &refusing(folder, machine));
    }
    std::os::unix::fs::symlink("/", scene.folder.path().join("innocent")).unwrap();
    refused(&scene, &["--scratch-dir", "innocent", "ok.py"], 125, &refusing("innocent", machine));
    refused(&scene, &["--scratch-dir", "ok.py", "ok.py"], 125, &refusing("ok.py", "it is no folder"));
    let missing = "error: cannot take `nothere`\n  why:  no such file or directory\n  next: look at the spelling; relative paths start at the current folder";
    refused(&scene, &["--scratch-dir", "nothere", "ok.py"], 125, missing);
    let open = "others may write to it, and rename what lies in it (it has no sticky bit)";
    // The folder is given to each user in turn, who must find it their own.
    let scene = self::scene();
    std::fs::set_permissions(scene.folder.path().join("folder"), PermissionsExt::from_mode(0o777)).unwrap();
    refused(&scene, &["--scratch-dir", "folder", "ok.py"], 125, &refusing("folder", open));
    if rustix::process::geteuid().is_root() {
        let other = Folder::new();
        std::fs::set_permissions(other.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        std::os::unix::fs::chown(other.path(), Some(61_235), None).unwrap();
        let path = other.path().to_str().unwrap();
        refused(&scene, &["--scratch-dir", path, "ok.py"], 125, &refusing(path, "it belongs to another user"));
    }
}

#[test]
fn scratch_on_disk_is_refused_where_it_contradicts_what_else_is_asked() {
    let with_disk = || {
        let scene = scene();
        std::fs::create_dir_all(scene.folder.path().join("folder/disk")).unwrap();
        scene
    };
    refused(
        &with_disk(),
        &["--scratch-dir", "folder/disk", "--require", "scratch", "ok.py"],
        125,
        "error: the run is not permitted\n  why:  layer `scratch` is required, and scratch on disk is watched, not walled\n  next: leave out --scratch-dir, or do not require the layer `scratch`",
    );
    for given in
        [&["--project", "folder"] as &[&str], &["--in", "folder"], &["--share", "folder:rw"], &["--share", "folder"]]
    {
        refused(
            &with_disk(),
            &[&["--scratch-dir", "folder/disk"], given, &["ok.py"]].concat(),
            125,
            "error: the run cannot be planned\n  why:  the folder of scratch lies in `FOLDER/folder`, which is given to the code\n  next: name a folder outside of it: --scratch-dir DIR",
        );
    }
}

#[test]
fn scratch_on_disk_needs_a_folder_that_the_caller_may_write_to() {
    let scene = scene();
    let said = refusal_of_ordinary(&scene, &["--scratch-dir", "/var", "ok.py"], 125);
    assert_eq!(
        said,
        "error: cannot make scratch in `/var`\n  why:  permission denied\n  next: name a folder on a disk of this machine that you may write to: --scratch-dir DIR"
    );
}

#[test]
fn a_link_does_not_hide_what_is_shared_writable() {
    let scene = scene();
    std::os::unix::fs::symlink("/tmp", scene.folder.path().join("innocent")).unwrap();
    refused(
        &scene,
        &["--share", "innocent:rw", "ok.py"],
        125,
        "error: `/tmp` cannot be shared writable\n  why:  programs of yours or of the machine read and run what lies there\n  next: share a folder made for the purpose",
    );
}

#[test]
fn a_writable_share_holds_no_socket_and_no_fifo() {
    let scene = scene();
    let deep = scene.folder.path().join("folder/deep");
    std::fs::create_dir(&deep).unwrap();
    let message = |name: &str| {
        format!(
            "error: `FOLDER/folder` cannot be shared writable\n  why:  it holds `FOLDER/folder/deep/{name}`, a socket, FIFO or device, through which code could speak to the host\n  next: remove it, or share read-only"
        )
    };
    let _listener = std::os::unix::net::UnixListener::bind(deep.join("socket")).unwrap();
    refused(&scene, &["--share", "folder:rw", "ok.py"], 125, &message("socket"));
    std::fs::remove_file(deep.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        deep.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    refused(&scene, &["--share", "folder:rw", "ok.py"], 125, &message("fifo"));
}

#[test]
fn limits_and_layers_are_called_by_their_names() {
    let limits = "time, cpu-time, memory, processes, open-files, scratch, scratch-files, file-size, output, output-files, output-depth, streams, cpus";
    refused(
        &scene(),
        &["--limit", "nope=1", "ok.py"],
        125,
        &format!("error: there is no limit `nope`\n  why:  the limits are {limits}\n  next: use one of them"),
    );
    for (given, value, why) in [
        ("memory=much", "much", "memory takes a size such as 512MiB or 2GiB"),
        ("memory", "", "memory takes a size such as 512MiB or 2GiB"),
        ("memory=-1", "-1", "memory takes a size such as 512MiB or 2GiB"),
        ("memory=0", "0", "memory takes a size such as 512MiB or 2GiB"),
        ("time=5 parsecs", "5 parsecs", "time takes a time such as 500ms, 90s, 10m or 2h"),
        ("processes=1.5", "1.5", "processes takes a whole number above zero"),
        ("cpus=many", "many", "cpus takes a number of CPUs such as 0.5 or 2"),
    ] {
        let name = given.split('=').next().unwrap();
        refused(
            &scene(),
            &["--limit", given, "ok.py"],
            125,
            &format!("error: `{value}` is no value of a limit\n  why:  {why}\n  next: --limit {name}=VALUE"),
        );
    }
    refused(
        &scene(),
        &["--limit", "processes=99999999", "ok.py"],
        125,
        "error: the run is not permitted\n  why:  limit `processes` of 99999999 is more than policy `offline` permits (1048576)\n  next: ask for at most 1048576",
    );
    let said = refusal_of_ordinary(&scene(), &["--require", "seccomp,nope", "ok.py"], 125);
    assert!(
        said.starts_with(
            "error: there is no layer `nope`\n  why:  the layers are namespaces, user, mount, pid, network,"
        ) && said.ends_with("\n  next: use one of them"),
        "{said}"
    );
}

/// A policy file with these lines.
fn policy(scene: &Scene, name: &str, lines: &str) {
    let head = format!("name = {name}, version = 1, type = stockade.policy\n");
    scene.folder.write(
        &format!("{name}.conf"),
        format!("{head}configuration {{ StockadePolicy {{ name = {name}\n{lines}\n}} }}\n"),
    );
}

#[test]
fn a_policy_is_never_exceeded_and_the_refusal_names_its_file() {
    let scene = scene();
    policy(&scene, "team", "languages = [python], egress = [\"*.example.com\"], limits { memory = 1GiB }");
    policy(&scene, "strict", "egress = [api.example.com]");
    policy(&scene, "offline-team", "require = [root]");
    for (arguments, why, next) in [
        (
            &["--policy", "team.conf", "--", "true"] as &[&str],
            "policy `team` (team.conf) does not permit program",
            "use a policy other than `team` (team.conf) that permits it",
        ),
        (
            &["--policy", "team.conf", "--limit", "memory=2GiB", "ok.py"],
            "limit `memory` of 2 GiB is more than policy `team` (team.conf) permits (1 GiB)",
            "ask for at most 1 GiB",
        ),
        (
            &["--policy", "team.conf", "--net", "other.example", "ok.py"],
            "policy `team` (team.conf) grants nothing of `other.example`",
            "ask for what it grants: `*.example.com`",
        ),
        (
            &["--policy", "team.conf", "--policy", "strict.conf", "--net", "www.example.com", "ok.py"],
            "policy `strict` (strict.conf) grants nothing of `www.example.com`",
            "ask for what it grants: `api.example.com`",
        ),
        (
            &["--policy", "offline-team.conf", "--net", "api.example.com", "ok.py"],
            "policy `offline-team` (offline-team.conf) grants no network",
            "stage the data with --in instead, or use a policy that grants it",
        ),
        (
            &["--policy", "offline-team.conf", "--tier", "landlock", "ok.py"],
            "policy `offline-team` (offline-team.conf) requires `root`, which the tier `landlock` goes without",
            "leave out --tier, or use a policy that does not require it",
        ),
    ] {
        let message = format!("error: the run is not permitted\n  why:  {why}\n  next: {next}");
        refused(&scene, arguments, 125, &message);
    }
}

#[test]
fn a_policy_that_cannot_be_read_whole_permits_nothing() {
    let scene = scene();
    policy(&scene, "team", "");
    policy(&scene, "slip", "egres = []");
    policy(&scene, "later", "engineSharing = session");
    policy(&scene, "stray", "} } }\nlimits { memory = 1GiB");
    scene.folder.write("large.conf", "#".repeat(70_000));
    scene.folder.write("bytes.conf", b"name = \xff");
    for (file, why, next) in [
        (
            "slip.conf",
            "line 3, column 1: there is no key `egres` in `StockadePolicy`",
            "did you mean `egress`? There are name, languages, limits, egress, require, environments, trust, dataSources, engineSharing",
        ),
        (
            "later.conf",
            "line 3, column 1: `engineSharing` is not supported yet",
            "leave it out; this version does not restrict that",
        ),
        ("stray.conf", "line 3, column 5: `}` has no other half", "write each bracket with its other half"),
        ("large.conf", "it is larger than 64 KiB", "leave out what is not needed"),
        ("bytes.conf", "it is not text in UTF-8", "save it as UTF-8"),
        ("folder", "it is not a regular file", "name a file"),
        ("/dev/null", "it is not a regular file", "name a file"),
    ] {
        let message = format!("error: the policy `{file}` is refused\n  why:  {why}\n  next: {next}");
        refused(&scene, &["--policy", file, "ok.py"], 125, &message);
    }
    refused(
        &scene,
        &["--policy", "nope.conf", "ok.py"],
        125,
        "error: cannot read the policy `nope.conf`\n  why:  no such file or directory\n  next: name a file you may read",
    );
    refused(
        &scene,
        &["--policy", "team.conf", "--policy", "./team.conf", "ok.py"],
        125,
        "error: two policies are called `team`\n  why:  a record of the run could mean either\n  next: give each a name of its own, and each file once",
    );
}

#[test]
fn a_layer_that_cannot_be_had_refuses_the_run() {
    let scene = scene();
    let arguments = ["--json", "--require", "cgroup", "ok.py"];
    if scene.ended(scene.call(User::Ordinary).args(arguments)).0.status == 0 {
        skipped("a layer that cannot be had", "an ordinary user has a cgroup here");
        return;
    }
    let what = document(&scene, scene.call(User::Ordinary).args(arguments), 125);
    assert!(what.contains("cgroup"), "{what}");
}

#[test]
fn a_script_with_a_malformed_block_is_refused() {
    let scene = scene();
    for (name, block, why) in [
        ("open.py", "# dependencies = [\n# ///\n", "unclosed array, expected `]`"),
        ("endless.py", "# dependencies = []\n", "it has no end"),
        ("strange.py", "# dependency = ['six']\n# ///\n", "`dependency` is not a key of the block, or not of its type"),
    ] {
        scene.folder.write(name, format!("# /// script\n{block}print(1)\n"));
        for user in users() {
            let said = refusal(&scene, scene.call(user).arg(name), 125);
            assert!(
                said.starts_with(&format!(
                    "error: the `# /// script` block of `{name}` is refused\n  why:  {why}\n  next: "
                )),
                "{said}"
            );
        }
    }
}

#[test]
fn requirements_choose_no_source_of_packages() {
    let scene = scene();
    for (line, why) in [
        ("--index-url https://index.invalid/simple", "a requirement file may not choose where packages come from"),
        (
            "--extra-index-url https://index.invalid/simple",
            "a requirement file may not choose where packages come from",
        ),
        ("-e .", "an editable install runs code of the project while it builds"),
        (
            "six @ https://files.invalid/six.whl",
            "packages come from the package index of this machine only, never from a URL of a requirement",
        ),
    ] {
        scene.folder.write("requirements.txt", format!("{line}\n"));
        refused_for(&scene, &["--requirements", "requirements.txt", "ok.py"], line, why);
    }
    let said = refusal_of_ordinary(&scene, &["-r", "nothere.txt", "ok.py"], 125);
    assert!(
        said.starts_with("error: cannot read the requirement file `nothere.txt`\n  why:  ")
            && said.contains("\n  next: check the path"),
        "{said}"
    );
    let said = refusal_of_ordinary(&scene, &["--with", "six @ https://files.invalid/six.whl", "ok.py"], 125);
    assert!(said.contains("never from a URL") && said.contains("\n  next: "), "{said}");
}

#[track_caller]
fn refused_for(scene: &Scene, arguments: &[&str], line: &str, why: &str) {
    for user in users() {
        let said = refusal(scene, scene.call(user).args(arguments), 125);
        assert!(
            said.starts_with(&format!(
                "error: `./requirements.txt`, line 1: requirement `{line}` is refused\n  why:  {why}\n  next: "
            )),
            "{said}"
        );
    }
}

#[test]
fn a_package_that_nobody_has_is_named() {
    let scene = scene();
    let name = "a-package-that-nobody-ever-published";
    let said = refusal(&scene, scene.call(User::Caller).args(["--quiet", "--with", name, "ok.py"]), 125);
    if !said.starts_with("error: no set of packages") {
        skipped("a package that nobody has", &format!("no package index can be asked: {said}"));
        return;
    }
    assert!(said.contains(name) && said.contains("\n  next: "), "{said}");
}

#[test]
fn what_is_no_virtual_environment_and_no_interpreter_is_refused() {
    refused(
        &scene(),
        &["--venv", "folder", "ok.py"],
        125,
        "error: `folder` is no virtual environment\n  why:  it has no pyvenv.cfg\n  next: name the folder that holds bin/ and lib/; for a conda environment use --python DIR/bin/python",
    );
    refused(
        &scene(),
        &["--python", "nothere", "ok.py"],
        125,
        "error: there is no Python interpreter `nothere`\n  why:  it was looked for in PATH, or by its path\n  next: install Python 3, or name one with --python PROGRAM",
    );
    refused(
        &scene(),
        &["--python", "/bin/true", "ok.py"],
        125,
        "error: the Python interpreter `/bin/true` cannot be used\n  why:  it is no Python 3 that answers\n  next: name another one with --python PROGRAM",
    );
    let said = refusal_of_ordinary(&scene(), &["--python", "./text.txt", "ok.py"], 125);
    assert!(
        said.starts_with("error: the Python interpreter `./text.txt` cannot be used\n  why:  ")
            && said.ends_with("\n  next: name another one with --python PROGRAM"),
        "{said}"
    );
}

#[test]
fn outputs_that_could_not_be_kept_stop_the_run_before_it_starts() {
    refused(
        &scene(),
        &["--out", "text.txt", "ok.py"],
        125,
        "error: cannot write outputs to `text.txt`\n  why:  not a directory\n  next: name a folder you may write to",
    );
    refused(
        &scene(),
        &["--out", "text.txt/deep", "ok.py"],
        125,
        "error: cannot write outputs to `text.txt/deep`\n  why:  not a directory\n  next: name a folder you may write to",
    );
    let scene = scene();
    std::fs::set_permissions(scene.folder.path().join("folder"), PermissionsExt::from_mode(0o555)).unwrap();
    for out in ["folder", "folder/new/deep"] {
        let said = refusal_of_ordinary(&scene, &["--out", out, "ok.py"], 125);
        assert_eq!(
            said,
            format!(
                "error: cannot write outputs to `{out}`\n  why:  permission denied\n  next: name a folder you may write to"
            )
        );
    }
}

#[test]
fn a_proposal_that_could_not_be_written_stops_the_run_before_it_starts() {
    let scene = scene();
    let fifo = scene.folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0)
        .unwrap();
    std::os::unix::fs::symlink("text.txt", scene.folder.path().join("link")).unwrap();
    for (name, why) in [
        ("/dev/full", "it is not a regular file"),
        ("folder", "is a directory"),
        ("fifo", "no such device or address"),
        ("link", "too many levels of symbolic links"),
        ("nothere/x", "no such file or directory"),
    ] {
        let message =
            format!("error: cannot write the proposal to `{name}`\n  why:  {why}\n  next: name a file you may write");
        refused(&scene, &["--learn", name, "ok.py"], 125, &message);
    }
}

#[test]
fn network_grants_are_well_formed_and_permit_something() {
    for (grant, why, next) in [
        (
            "api.example.com:0",
            "the port is not a number from 1 to 65535",
            "write HOST[:PORT], such as `api.example.com` or `*.example.com:8443`",
        ),
        (
            "*",
            "a wildcard is `*.` in front of a name",
            "write HOST[:PORT], such as `api.example.com` or `*.example.com:8443`",
        ),
        (
            "10.1.2.3/8",
            "an address block is written as its first address, `/`, and a length",
            "write it as in `10.1.0.0/16:5432` or `[fd00:1::/32]:443`",
        ),
        (
            "ftp://a.example",
            "the protocol is not one of tls, http, https, inspect, postgres, tcp",
            "write it as in `tcp://db.example.com:1521`",
        ),
        (
            "1.2.3.256",
            "the host looks like an address but is none",
            "write HOST[:PORT], such as `api.example.com` or `*.example.com:8443`",
        ),
        (
            "GET a.example:5432",
            "methods and paths need the protocol http, or tls that is inspected",
            "write https://, or leave methods, paths and inspect away",
        ),
    ] {
        let message = format!("error: `{grant}` is no network grant\n  why:  {why}\n  next: {next}");
        refused(&scene(), &["--net", grant, "ok.py"], 125, &message);
    }
    let message = "error: the network grants permit nothing\n  why:  a denial only takes away from what another grant permits\n  next: add what may be reached: --net HOST[:PORT]";
    refused(&scene(), &["--net", "deny:a.example", "ok.py"], 125, message);
}

#[test]
fn network_budgets_are_called_by_their_names() {
    let keys = "connections_at_once, connections, bytes_up, bytes_down, names_per_wildcard, name_bytes, connection_ms, idle_ms, head_ms, head_bytes, refusals_told";
    let message =
        format!("error: there is no network budget `bytes`\n  why:  the budgets are {keys}\n  next: use one of them");
    refused(&scene(), &["--net", "a.example", "--net-budget", "bytes=1", "ok.py"], 125, &message);
    let message = "error: `1MB` is no value of a network budget\n  why:  it is a number: of bytes, milliseconds, connections or names\n  next: --net-budget KEY=NUMBER";
    refused(&scene(), &["--net", "a.example", "--net-budget", "bytes_up=1MB", "ok.py"], 125, message);
}

#[test]
fn a_secret_goes_to_a_granted_host_only_and_never_to_the_code() {
    let run = |arguments: &[&str], message: &str| {
        for user in users() {
            let scene = scene();
            let call = scene.call(user).env("TOKEN", "a-long-real-value").args(arguments);
            assert_eq!(refusal(&scene, call, 125), message, "{arguments:?}");
        }
    };
    let net = ["--net", "api.example.com"];
    let form = "\n  next: write --secret NAME=HOST or --secret NAME=HOST:HEADER";
    run(
        &[net[0], net[1], "--secret", "TOKEN", "ok.py"],
        &format!("error: `TOKEN` is no secret\n  why:  it names no host{form}"),
    );
    run(
        &[net[0], net[1], "--secret", "TOKEN=10.0.0.1", "ok.py"],
        &format!(
            "error: `TOKEN=10.0.0.1` is no secret\n  why:  a secret goes to a host that is given by its name{form}"
        ),
    );
    run(
        &[net[0], net[1], "--secret", "TOKEN=evil.example.com", "ok.py"],
        "error: the secret `TOKEN` would go nowhere\n  why:  no grant permits TLS to evil.example.com, and over anything else a secret would be read on the way\n  next: --net evil.example.com",
    );
    run(
        &["--net", "http://api.example.com", "--secret", "TOKEN=api.example.com", "ok.py"],
        "error: the secret `TOKEN` would go nowhere\n  why:  no grant permits TLS to api.example.com, and over anything else a secret would be read on the way\n  next: --net api.example.com",
    );
    run(
        &[net[0], net[1], "--secret", "NOT_SET=api.example.com", "ok.py"],
        "error: variable `NOT_SET` is not set here\n  why:  the value of a secret is taken from the caller's variable of that name\n  next: set NOT_SET for this command",
    );
    run(
        &[net[0], net[1], "--secret", "TOKEN=api.example.com", "--env", "TOKEN", "ok.py"],
        "error: the run cannot be planned\n  why:  variable `TOKEN` is a secret of the gate, and the code has it besides\n  next: name it once: --secret gives the code a placeholder, --env the value itself",
    );
    run(
        &[net[0], net[1], "--secret", "TOKEN=api.example.com:host", "ok.py"],
        &format!(
            "error: `TOKEN=api.example.com:host` is no secret\n  why:  a secret is put into a named header that carries data, such as authorization{form}"
        ),
    );
}

#[test]
fn without_its_neighbour_nothing_is_granted() {
    for user in users() {
        let scene = scene();
        let alone = scene.folder.path().join("stockade");
        std::fs::copy(STOCKADE, &alone).unwrap();
        std::fs::set_permissions(&alone, std::fs::Permissions::from_mode(0o755)).unwrap();
        let call = call(alone.to_str().unwrap(), user).within(scene.folder.path());
        let call = call.args(["run", "--net", "api.example.com", "ok.py"]);
        assert_eq!(
            refusal(&scene, call, 125),
            "error: cannot start the egress gate\n  why:  `FOLDER/stockade-gate`: no such file or directory\n  next: install both programs: cargo install --path crates/cli"
        );
    }
}

#[test]
fn a_variable_is_well_formed_and_set() {
    refused(
        &scene(),
        &["--env", "SURELY_NOT_SET", "ok.py"],
        125,
        "error: variable `SURELY_NOT_SET` is not set here\n  why:  --env NAME passes the caller's own value on\n  next: --env SURELY_NOT_SET=VALUE",
    );
    for name in ["1A", "A B", "A\u{1b}"] {
        let said = refusal_of_ordinary(&scene(), &["--env", &format!("{name}=x"), "ok.py"], 125);
        assert!(
            said.starts_with("error: the run cannot be planned\n  why:  `")
                && said.ends_with("` is no name of a variable\n  next: use letters, digits and underscores"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'), "{said}");
    }
}

#[test]
fn without_a_record_there_is_no_run() {
    for user in users() {
        for state in ["/proc/nothing", "FILE/below"] {
            let scene = scene();
            let state = state.replace("FILE", &scene.folder.path().join("text.txt").to_string_lossy());
            let call = scene.call(user).env("STOCKADE_STATE_DIR", &state).arg("ok.py");
            let said = refusal(&scene, call, 125);
            let shown = state.replace(&*scene.folder.path().to_string_lossy(), "FOLDER");
            assert!(
                said.starts_with(&format!("error: cannot write the audit record to `{shown}/audit.jsonl`\n  why:  ")),
                "{said}"
            );
            assert!(said.ends_with("; a run without a record is not made\n  next: free space or make it writable, or set STOCKADE_STATE_DIR to another folder"), "{said}");
        }
    }
}

/// What is reported of a run that ended, its numbers taken out.
fn ended(ran: &Ran) -> (String, String) {
    let mut lines = ran.stderr.lines();
    let first = lines.next().unwrap_or_default().split(" · ").next().unwrap_or_default().to_owned();
    (first, ran.stderr.lines().find(|line| line.starts_with("  next: ")).unwrap_or_default().to_owned())
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_is_none_is_126() {
    for user in users() {
        let scene = scene();
        for program in ["surely-no-program", "/usr/bin/surely-no-program", "./nothere"] {
            let ran = scene.run(user, &["--", program]).expect(127);
            assert_eq!(ended(&ran), ("stockade: program not found".to_owned(), "  next: name a program of the machine or of an environment, or a file of yours by a path with a slash".to_owned()));
        }
        let ran = scene.run(user, &["--", "./text.txt"]).expect(126);
        assert_eq!(
            ended(&ran),
            (
                "stockade: program cannot be executed".to_owned(),
                "  next: make it executable, or name what runs it: -- PROGRAM FILE".to_owned()
            )
        );
    }
}

#[test]
fn the_status_says_what_ended_the_code() {
    for user in users() {
        let scene = scene();
        for (arguments, status, first) in [
            (&["--", "sh", "-c", "exit 7"] as &[&str], 7, "stockade: the code failed with status 7"),
            (&["--", "sh", "-c", "kill -9 $$"], 137, "stockade: signal 9 ended the code"),
            (&["--", "sh", "-c", "kill -TERM $$"], 143, "stockade: signal 15 ended the code"),
            (&["--limit", "time=200ms", "--", "sleep", "60"], 124, "stockade: limit `time` reached"),
            (
                &["--limit", "cpu-time=200ms", "--", "sh", "-c", "while :; do :; done"],
                125,
                "stockade: limit `cpu-time` reached",
            ),
            (
                &["--limit", "streams=4KiB", "--", "sh", "-c", "while :; do echo much; done"],
                125,
                "stockade: limit `streams` reached",
            ),
            (
                &["--limit", "file-size=4KiB", "--", "sh", "-c", "exec dd if=/dev/zero of=big bs=64k count=1"],
                125,
                "stockade: limit `file-size` reached",
            ),
        ] {
            let ran = scene.run(user, arguments).expect(status);
            let report = ran.stderr.lines().find(|line| line.starts_with("stockade: ")).unwrap_or_default();
            assert!(report.starts_with(first), "{arguments:?} as {user:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_limit_that_ended_the_run_is_named_with_its_flag() {
    for user in users() {
        let scene = scene();
        let ran = scene.run(user, &["--limit", "time=200ms", "--", "sleep", "60"]).expect(124);
        assert_eq!(ended(&ran).1, "  next: --limit time=MORE");
    }
}

#[test]
fn nothing_is_written_where_the_command_is_called() {
    for user in users() {
        let scene = scene();
        let before = listing(scene.folder.path());
        let ran = scene.run(user, &["ok.py"]).expect(0);
        assert_eq!(ran.stdout, "it ran\n");
        assert_eq!(listing(scene.folder.path()), before);
        assert!(!Path::new("/.stockade").exists());
    }
}
