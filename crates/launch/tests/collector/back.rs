//! Writing changes back onto a project.

use crate::support::{Place, make_node, now, open, set_mode, why_in};
use rustix::fs::FileType;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::time::Duration;
use stockade_launch::collect::{
    Applied, Area, Bounds, Collected, Destination, Leavings, Project, Stamp, Why, apply, collect,
};

struct Back {
    place: Place,
    began: Stamp,
}

impl Back {
    /// `lower` is the project; its files are older than the run.
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Place::new();
        for (path, content) in files {
            place.write(&format!("lower/{path}"), content);
        }
        std::thread::sleep(Duration::from_millis(20));
        Self { place, began: now() }
    }

    fn collected(&self) -> Collected {
        self.with(|areas, _| {
            let leavings = Leavings { areas, staged: &[], folders_given: &[], bounds: Bounds::default() };
            collect(&leavings, &Destination::List).unwrap()
        })
    }

    fn apply(&self, collected: &Collected, allow: &[&str]) -> Applied {
        let allow: Vec<String> = allow.iter().map(|&path| path.to_owned()).collect();
        self.with(|areas, project| apply(collected, areas, project, &allow).unwrap())
    }

    fn with<T>(&self, body: impl FnOnce(&[Area<'_>], &Project<'_>) -> T) -> T {
        let (job, lower) = (open(&self.place.at("job")), open(&self.place.at("lower")));
        let areas = [Area { prefix: String::new(), changed: job.as_fd(), original: Some(lower.as_fd()) }];
        body(&areas, &Project { prefix: "", folder: lower.as_fd(), run_began: self.began })
    }
}

#[test]
fn changes_go_back_onto_the_project() {
    let back = Back::new(&[("edited.py", "before"), ("gone.py", "x"), ("old/a", "a"), ("kept.py", "k")]);
    set_mode(&back.place.at("lower/edited.py"), 0o640);
    let back = Back {
        began: {
            std::thread::sleep(Duration::from_millis(20));
            now()
        },
        ..back
    };
    set_mode(&back.place.write("job/edited.py", "after"), 0o750);
    back.place.write("job/new/module.py", "new");
    back.place.write("job/conftest.py", "run by pytest");
    fs::create_dir(back.place.at("job/hollow")).unwrap();
    make_node(&back.place.at("job/gone.py"), FileType::CharacterDevice);
    make_node(&back.place.at("job/old"), FileType::CharacterDevice);
    let applied = back.apply(&back.collected(), &[]);
    let files: Vec<_> = applied.files.iter().map(|f| (f.path.as_str(), f.newly_executable, f.run_by_tools)).collect();
    assert_eq!(files, [("conftest.py", false, true), ("edited.py", true, false), ("new/module.py", false, false)]);
    assert_eq!(applied.removed, ["gone.py", "old/a", "old"]);
    assert_eq!(applied.folders, ["hollow", "new"]);
    assert!(applied.left_out.is_empty(), "{applied:?}");
    assert_eq!(back.place.read("lower/edited.py"), "after");
    assert_eq!(back.place.at("lower/edited.py").metadata().unwrap().mode() & 0o7777, 0o750);
    assert_eq!(back.place.read("lower/new/module.py"), "new");
    assert!(!back.place.exists("lower/gone.py") && !back.place.exists("lower/old"));
    assert_eq!(back.place.read("lower/kept.py"), "k");
}

#[test]
fn dotted_names_hooks_and_ci_files_are_not_applied_unless_named() {
    let back = Back::new(&[(".git/config", "before"), (".env", "before")]);
    for path in
        [".git/config", ".git/hooks/pre-commit", ".hidden", "hooks/post-merge", "Jenkinsfile", ".vscode/t", "ok"]
    {
        back.place.write(&format!("job/{path}"), "after");
    }
    make_node(&back.place.at("job/.env"), FileType::CharacterDevice);
    let collected = back.collected();
    let applied = back.apply(&collected, &[".vscode/t"]);
    let files: Vec<_> = applied.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, [".vscode/t", "ok"]);
    for name in [".env", ".git/config", ".git/hooks/pre-commit", ".hidden", "hooks/post-merge", "Jenkinsfile"] {
        assert_eq!(why_in(&applied.left_out, name), Some(Why::Guarded), "{name}");
    }
    assert_eq!(back.place.read("lower/.git/config"), "before");
    assert!(back.place.exists("lower/.env"));
}

#[test]
fn what_was_edited_outside_since_the_run_began_is_not_replaced_or_removed() {
    let back = Back::new(&[("edited", "before"), ("late", "before"), ("gone", "x"), ("away", "x")]);
    for path in ["edited", "late", "fresh", "away"] {
        back.place.write(&format!("job/{path}"), "by the run");
    }
    make_node(&back.place.at("job/gone"), FileType::CharacterDevice);
    back.place.write("lower/edited", "by the user, during the run");
    let collected = back.collected();
    back.place.write("lower/late", "by the user, after collecting");
    back.place.write("lower/gone", "by the user");
    back.place.write("lower/fresh", "by the user");
    fs::remove_file(back.place.at("lower/away")).unwrap();
    let applied = back.apply(&collected, &[]);
    assert!(applied.files.is_empty() && applied.removed.is_empty(), "{applied:?}");
    for name in ["edited", "late", "fresh", "gone", "away"] {
        assert_eq!(why_in(&applied.left_out, name), Some(Why::Conflict), "{name}");
    }
    assert_eq!(back.place.read("lower/late"), "by the user, after collecting");
}

#[test]
fn applying_follows_no_symlink_and_removes_no_folder_that_holds_something() {
    let back = Back::new(&[("old/a", "a"), ("target", "outside")]);
    fs::create_dir(back.place.at("elsewhere")).unwrap();
    symlink(back.place.at("elsewhere"), back.place.at("lower/linked")).unwrap();
    symlink("target", back.place.at("lower/file-link")).unwrap();
    back.place.write("job/linked/file", "x");
    back.place.write("job/file-link", "x");
    make_node(&back.place.at("job/old"), FileType::CharacterDevice);
    let mut collected = back.collected();
    collected.removed.retain(|removed| !removed.path.starts_with("linked") && removed.path != "file-link");
    back.place.write("lower/old/since", "x");
    let applied = back.apply(&collected, &[]);
    assert_eq!(applied.removed, ["old/a"]);
    assert_eq!(why_in(&applied.left_out, "old"), Some(Why::NotEmpty));
    assert_eq!(why_in(&applied.left_out, "linked/file"), Some(Why::InTheWay));
    assert_eq!(why_in(&applied.left_out, "file-link"), Some(Why::InTheWay));
    assert_eq!(fs::read_dir(back.place.at("elsewhere")).unwrap().count(), 0);
    assert_eq!(back.place.read("lower/target"), "outside");
}

#[test]
fn an_edit_is_noticed_by_what_the_file_is_and_not_by_the_clock_alone() {
    let back = Back::new(&[("edited", "before"), ("gone", "before")]);
    let later = Stamp { seconds: back.began.seconds + 3_600, ..back.began };
    let back = Back { began: later, ..back };
    back.place.write("job/edited", "by the run");
    make_node(&back.place.at("job/gone"), FileType::CharacterDevice);
    let collected = back.collected();
    back.place.write("lower/edited", "by the user");
    back.place.write("lower/gone", "by the user");
    let applied = back.apply(&collected, &[]);
    for name in ["edited", "gone"] {
        assert_eq!(why_in(&applied.left_out, name), Some(Why::Conflict));
        assert_eq!(back.place.read(&format!("lower/{name}")), "by the user");
    }
}

#[test]
fn a_symlink_within_the_project_is_not_followed_either() {
    let back = Back::new(&[("real/file", "before")]);
    symlink("real", back.place.at("lower/alias")).unwrap();
    back.place.write("job/alias/file", "by the run");
    let mut collected = back.collected();
    collected.removed.clear();
    let applied = back.apply(&collected, &[]);
    assert_eq!(why_in(&applied.left_out, "alias/file"), Some(Why::InTheWay));
    assert_eq!(back.place.read("lower/real/file"), "before");
}
