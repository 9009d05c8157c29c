//! Tests that need a mount: they run themselves again inside `unshare`.

use crate::support::{now, open, paths, removed};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use stockade_launch::collect::{Area, Bounds, Destination, Existing, Leavings, Project, Step, apply, collect};

/// Runs one ignored test of this file where it may mount; false if it may not.
fn inside_a_mount_namespace(mount: &str, test: &str) -> bool {
    let place = tempfile::tempdir().unwrap();
    let script = format!("cd \"$PLACE\" && {mount} || exit 77; exec \"$0\" --exact --ignored {test} --nocapture");
    let status = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("PLACE", place.path())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => true,
        Ok(Some(1 | 77)) | Err(_) if !can_mount() => {
            eprintln!("skipped: this machine does not let an ordinary user mount");
            false
        }
        other => panic!("{test} inside a mount namespace: {other:?}"),
    }
}

fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "none", "/tmp"]).status();
    tried.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_stops_with_the_path_and_leaves_no_temporary_file() {
    inside_a_mount_namespace("mkdir job out && mount -t tmpfs -o size=300k none out", "mounted::inner_full_disk");
}

#[test]
#[ignore = "run by the test above, inside a mount namespace"]
fn inner_full_disk() {
    let place = PathBuf::from(std::env::var_os("PLACE").unwrap());
    for (name, length) in [("a", 100_000), ("b", 400_000), ("c", 10)] {
        fs::write(place.join("job").join(name), vec![1; length]).unwrap();
    }
    let (job, out) = (open(&place.join("job")), open(&place.join("out")));
    let areas = [Area { prefix: String::new(), changed: job.as_fd(), original: None }];
    let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds: Bounds::default() };
    let destination = Destination::Folder { folder: out.as_fd(), existing: Existing::Keep, allow: &[] };
    let Err(stopped) = collect(&leavings, &destination) else { panic!("the disk should be full") };
    assert_eq!((stopped.failure.step(), stopped.failure.path_shown()), (Step::Write, "b"));
    assert_eq!(stopped.failure.errno(), rustix::io::Errno::NOSPC);
    assert_eq!(stopped.failure.to_string(), "cannot write `b`");
    assert_eq!(paths(&stopped.done), ["a"], "what was moved stays and is listed");
    let left: Vec<_> = fs::read_dir(place.join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a"]);
}

#[test]
fn a_real_overlay_is_read_as_the_kernel_writes_it() {
    let mount = "mkdir lower work out scratch && mount -t tmpfs none scratch && mkdir scratch/upper scratch/work view \
                 && cd lower && mkdir opaque folder && echo a >a && echo b >b && echo c >opaque/c && echo d >folder/d \
                 && echo e >folder/e && cd .. && mount -t overlay -o \
                 userxattr,lowerdir=lower,upperdir=scratch/upper,workdir=scratch/work none view && cd view && rm a \
                 && chmod 700 b && rm -r opaque && mkdir -p opaque/sub && echo new >opaque/sub/n && mv folder/d folder/f \
                 && rm folder/e && mkdir folder/e && echo x >>b && touch folder && cd .. && umount view";
    inside_a_mount_namespace(mount, "mounted::inner_real_overlay");
}

#[test]
#[ignore = "run by the test above, inside a mount namespace"]
fn inner_real_overlay() {
    let place = PathBuf::from(std::env::var_os("PLACE").unwrap());
    let (upper, lower) = (open(&place.join("scratch/upper")), open(&place.join("lower")));
    let out = open(&place.join("out"));
    let areas = [Area { prefix: "data".to_owned(), changed: upper.as_fd(), original: Some(lower.as_fd()) }];
    let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds: Bounds::default() };
    let destination = Destination::Folder { folder: out.as_fd(), existing: Existing::Keep, allow: &[] };
    let collected = collect(&leavings, &destination).unwrap();
    assert_eq!(paths(&collected), ["data/b", "data/folder/f", "data/opaque/sub/n"]);
    assert_eq!(removed(&collected), ["data/a", "data/folder/d", "data/folder/e", "data/opaque/c"]);
    assert_eq!(collected.folders, ["data/folder/e", "data/opaque/sub"]);
    assert_eq!(fs::read_to_string(place.join("out/data/b")).unwrap(), "b\nx\n");
}

/// One step of code that works in an overlay.
#[derive(Debug, Clone)]
enum Act {
    Write(String, String),
    Append(String, String),
    MakeFolders(String),
    Remove(String),
    Rename(String, String),
    Touch(String),
    Empty(String),
}

impl Act {
    fn perform(&self, top: &Path) {
        // Acts that make no sense in the present tree simply fail.
        match self {
            Self::Write(path, content) => drop(fs::write(top.join(path), content)),
            Self::Append(path, content) => {
                let file = fs::File::options().append(true).open(top.join(path));
                drop(file.map(|mut file| file.write_all(content.as_bytes())));
            }
            Self::MakeFolders(path) => drop(fs::create_dir_all(top.join(path))),
            Self::Remove(path) => {
                drop(fs::remove_file(top.join(path)));
                drop(fs::remove_dir_all(top.join(path)));
            }
            Self::Rename(from, to) => drop(fs::rename(top.join(from), top.join(to))),
            Self::Touch(path) => drop(fs::set_permissions(top.join(path), fs::Permissions::from_mode(0o755))),
            Self::Empty(path) => {
                drop(fs::remove_dir_all(top.join(path)));
                drop(fs::create_dir_all(top.join(path)));
            }
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let path = || {
        prop::collection::vec(prop::sample::select(&["a", "b", "c", "d"][..]), 1..4).prop_map(|parts| parts.join("/"))
    };
    let text = || prop::sample::select(&["", "x", "y", "longer"][..]).prop_map(str::to_owned);
    prop_oneof![
        4 => (path(), text()).prop_map(|(path, text)| Act::Write(path, text)),
        1 => (path(), text()).prop_map(|(path, text)| Act::Append(path, text)),
        3 => path().prop_map(Act::MakeFolders),
        2 => path().prop_map(Act::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => path().prop_map(Act::Touch),
        1 => path().prop_map(Act::Empty),
    ]
}

/// Path and content of every file below a folder; a folder has no content.
fn tree(top: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            tree.insert(path.strip_prefix(top).unwrap().to_owned(), content);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    tree
}

#[test]
fn applying_makes_of_any_project_what_the_code_saw() {
    inside_a_mount_namespace("mount -t tmpfs none .", "mounted::inner_any_project");
}

#[test]
#[ignore = "run by the test above, inside a mount namespace"]
fn inner_any_project() {
    let place = PathBuf::from(std::env::var_os("PLACE").unwrap());
    let acts = || prop::collection::vec(act(), 0..25);
    let number = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&(acts(), acts()), |(before, during)| {
        number.set(number.get() + 1);
        let case = place.join(number.get().to_string());
        for name in ["lower", "upper", "work", "view"] {
            fs::create_dir_all(case.join(name)).unwrap();
        }
        before.iter().for_each(|act| act.perform(&case.join("lower")));
        std::thread::sleep(Duration::from_millis(12));
        let run_began = now();
        let mount = "mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work none view";
        let mounted = Command::new("sh").args(["-c", mount]).current_dir(&case).status().unwrap();
        assert!(mounted.success());
        during.iter().for_each(|act| act.perform(&case.join("view")));
        let seen = tree(&case.join("view"));
        assert!(Command::new("umount").arg(case.join("view")).status().unwrap().success());

        let (upper, lower) = (open(&case.join("upper")), open(&case.join("lower")));
        let areas = [Area { prefix: "p".to_owned(), changed: upper.as_fd(), original: Some(lower.as_fd()) }];
        let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds: Bounds::default() };
        let collected = collect(&leavings, &Destination::List).unwrap();
        let project = Project { prefix: "p", folder: lower.as_fd(), run_began };
        let applied = apply(&collected, &areas, &project, &[]).unwrap();
        prop_assert!(applied.left_out.is_empty() && collected.left_out.is_empty(), "{:?}", applied);
        prop_assert_eq!(tree(&case.join("lower")), seen);
        let again = collect(&leavings, &Destination::List).unwrap();
        prop_assert!(again.files.is_empty() && again.removed.is_empty() && again.folders.is_empty(), "{:?}", again);
        Ok(())
    });
    run.unwrap();
}
