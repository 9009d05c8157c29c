//! Files in and out, end to end: run.md, "Files in and out".
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod scene;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use scene::{Scene, listing, ordinary_user};
use serde_json::Value;
use stockade_testkit::{Ran, User, skipped, users};

/// Runs it with a report, as this user.
#[track_caller]
fn run(scene: &Scene, user: User, options: &[&str], code: &str) -> Ran {
    let mut arguments = vec!["--json"];
    arguments.extend(options);
    arguments.extend(["-c", code]);
    scene.run(user, &arguments)
}

/// The outputs of a report: path and whether it was created or changed.
fn outputs(ran: &Ran) -> Vec<(String, String)> {
    paths(&ran.report()["outputs"]["files"])
}

/// What was written back: path and whether it was created, changed or removed.
fn applied(ran: &Ran) -> Vec<(String, String)> {
    paths(&ran.report()["outputs"]["applied"])
}

fn paths(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut paths: Vec<_> =
        list.as_array().unwrap().iter().map(|one| (text(&one["path"]), text(&one["state"]))).collect();
    paths.sort();
    paths
}

fn names(list: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// What was left out: name and reason.
fn left_out(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut left: Vec<_> = ran.report()["outputs"]["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["name"]), text(&one["why"])))
        .collect();
    left.sort();
    left
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn a_file_is_found_under_its_name_and_its_original_never_changes() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data.csv", "a,b\n");
        let ran = run(
            &scene,
            user,
            &["--in", "data.csv"],
            "f = open('data.csv', 'r+'); print(f.read(), end=''); f.write('c,d\\n')",
        )
        .expect(0);
        assert_eq!(ran.stdout, "a,b\n");
        assert_eq!(scene.folder.read("data.csv"), "a,b\n");
        assert_eq!(outputs(&ran), pairs(&[("data.csv", "changed")]));
        assert_eq!(ran.report()["usage"]["bytes_in"], 4);
    }
}

#[test]
fn a_file_that_is_only_read_or_touched_is_no_output() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data.csv", "a,b\n");
        scene.folder.write("folder/inner.csv", "a,b\n");
        let code = "import os\nfor name in ('data.csv', 'folder/inner.csv'):\n    open(name).read(); os.utime(name, (1, 1)); os.chmod(name, 0o600)\nopen('data.csv', 'w').write('a,b\\n')\nopen('folder/inner.csv', 'w').write('a,b\\n')";
        let ran = run(&scene, user, &["--in", "data.csv", "--in", "folder"], code).expect(0);
        assert_eq!(outputs(&ran), []);
        let mode = |name: &str| scene.folder.path().join(name).metadata().unwrap().mode() & 0o777;
        assert_eq!((mode("data.csv"), mode("folder/inner.csv")), (0o644, 0o644));
    }
}

#[test]
fn a_folder_is_copy_on_write_and_its_changes_are_reported() {
    for user in users() {
        let scene = Scene::new();
        for name in ["kept.txt", "changed.txt", "removed.txt", "deep/er/changed.txt", "gone/one.txt"] {
            scene.folder.write(&format!("data/{name}"), "before\n");
        }
        let before = listing(scene.folder.path());
        let code = "import os, shutil\nos.chdir('data')\nopen('changed.txt', 'a').write('after\\n')\nos.remove('removed.txt')\nopen('deep/er/changed.txt', 'w').write('x')\nshutil.rmtree('gone')\nos.makedirs('new/deep')\nopen('new/deep/created.txt', 'w').write('y')";
        let ran = run(&scene, user, &["--in", "data"], code).expect(0);
        assert_eq!(
            outputs(&ran),
            pairs(&[
                ("data/changed.txt", "changed"),
                ("data/deep/er/changed.txt", "changed"),
                ("data/new/deep/created.txt", "created")
            ])
        );
        assert_eq!(names(&ran.report()["outputs"]["removed"]), ["data/gone", "data/gone/one.txt", "data/removed.txt"]);
        assert_eq!(listing(scene.folder.path()), before);
        assert_eq!(scene.folder.read("data/changed.txt"), "before\n");
    }
}

#[test]
fn a_folder_that_is_replaced_by_a_file_or_the_other_way_round_is_reported() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data/folder/one.txt", "1");
        scene.folder.write("data/file", "2");
        let code = "import os, shutil\nos.chdir('data')\nshutil.rmtree('folder'); open('folder', 'w').write('now a file')\nos.remove('file'); os.mkdir('file'); open('file/in', 'w').write('now a folder')";
        let ran = run(&scene, user, &["--in", "data", "--out", "out"], code).expect(0);
        assert_eq!(scene.folder.read("out/data/folder"), "now a file");
        assert_eq!(scene.folder.read("out/data/file/in"), "now a folder");
        assert_eq!(scene.folder.read("data/file"), "2");
        drop(ran);
    }
}

#[test]
fn a_project_is_the_working_folder_and_its_modules_are_found() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write(
            "project/src/main.py",
            "import helper, os\nprint(helper.word, os.getcwd(), sorted(os.listdir('.')))\n",
        );
        scene.folder.write("project/src/helper.py", "word = 'helped'\n");
        scene.folder.write("project/data.txt", "x");
        let ran = scene.run(user, &["--json", "--project", "project", "project/src/main.py"]).expect(0);
        assert_eq!(ran.stdout, "helped /job ['data.txt', 'src']\n");
        assert_eq!(outputs(&ran), [], "byte code is no output");
        assert!(!scene.folder.path().join("project/src/__pycache__").exists());
    }
}

#[test]
fn what_looks_like_a_secret_is_left_out_of_a_project_and_named() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/main.py", "import os\nfor at, folders, files in os.walk('.'):\n    for name in sorted(folders + files): print(os.path.join(at, name))\nfor name in ('.env', '.git/config', 'deep/id_rsa', 'key.pem'):\n    try: print(open(name).read())\n    except FileNotFoundError: pass\n");
        for secret in [".env", ".git/config", "deep/id_rsa", "key.pem"] {
            scene.folder.write(&format!("p/{secret}"), "hidden treasure");
        }
        scene.folder.write("p/deep/data.txt", "x");
        let ran = scene.run(user, &["--project", "p", "p/main.py"]).expect(0);
        assert_eq!(ran.stdout, "./deep\n./main.py\n./deep/data.txt\n");
        assert!(ran.stderr.starts_with("stockade: left out of the project, for they look like secrets: .env .git deep/id_rsa key.pem (--all takes them)\n"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("removed"), "what was left out was not removed by the code: {}", ran.stderr);
        let ran = scene.run(user, &["--project", "p", "--all", "p/main.py"]).expect(0);
        assert_eq!(ran.stdout.matches("hidden treasure").count(), 4);
    }
}

#[test]
fn code_that_writes_where_a_secret_was_left_out_writes_a_new_file() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/.env", "KEY=treasure");
        scene.folder.write("p/.git/config", "treasure");
        let ran = run(&scene, user, &["--project", "p", "--out", "out"], "import os\nopen('.env', 'x').write('mine')\nos.mkdir('.git'); print(os.listdir('.git')); open('.git/config', 'x').write('mine')").expect(0);
        assert_eq!(ran.stdout, "[]\n", "a folder that was left out is empty when it is made anew");
        assert_eq!(
            (scene.folder.read("p/.env").as_str(), scene.folder.read("p/.git/config").as_str()),
            ("KEY=treasure", "treasure")
        );
        assert!(!ran.stderr.contains("treasure"));
    }
}

#[test]
fn inputs_lie_in_a_project_and_in_folders_of_their_own() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/main.py", "");
        scene.folder.write("p/sub/own.txt", "own");
        scene.folder.write("more/one.txt", "one");
        scene.folder.write("single.txt", "single");
        let code = "import os\nfor at, folders, files in sorted(os.walk('.')):\n    for name in sorted(files): print(os.path.join(at, name), open(os.path.join(at, name)).read())\nopen('sub/more/new.txt', 'w').write('n'); open('sub/own.txt', 'a').write('!'); open('a/b/c.txt', 'a').write('!')";
        let ran = run(
            &scene,
            user,
            &[
                "--project",
                "p",
                "--in",
                "more=sub/more",
                "--in",
                "single.txt=a/b/c.txt",
                "--in",
                "single.txt=sub/two.txt",
            ],
            code,
        )
        .expect(0);
        assert_eq!(
            ran.stdout,
            "./main.py \n./a/b/c.txt single\n./sub/own.txt own\n./sub/two.txt single\n./sub/more/one.txt one\n"
        );
        assert_eq!(
            outputs(&ran),
            pairs(&[("a/b/c.txt", "changed"), ("sub/more/new.txt", "created"), ("sub/own.txt", "changed")])
        );
        assert_eq!(listing(&scene.folder.path().join("p")).len(), 3, "nothing was made in the project");
    }
}

#[test]
fn renaming_a_folder_of_an_input_is_refused_by_the_overlay_and_programs_copy_instead() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data/folder/one.txt", "1");
        let ran = run(&scene, user, &["--in", "data"], "import os, shutil, errno\ntry: os.rename('data/folder', 'data/other')\nexcept OSError as e: print(errno.errorcode[e.errno])\nshutil.move('data/folder', 'data/other')\nprint(os.listdir('data'))\ntry: os.rename('data', 'else')\nexcept OSError as e: print(errno.errorcode[e.errno])").expect(0);
        assert_eq!(ran.stdout, "EXDEV\n['other']\nEBUSY\n");
        assert!(scene.folder.path().join("data/folder/one.txt").exists());
    }
}

#[test]
fn a_link_in_an_input_leads_nowhere_outside() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data/here.txt", "here");
        scene.folder.write("outside.txt", "treasure");
        let outside = scene.folder.path().join("outside.txt");
        symlink("/etc/shadow", scene.folder.path().join("data/shadow")).unwrap();
        symlink("/etc/passwd", scene.folder.path().join("data/passwd")).unwrap();
        symlink(&outside, scene.folder.path().join("data/absolute")).unwrap();
        symlink("../outside.txt", scene.folder.path().join("data/above")).unwrap();
        symlink("here.txt", scene.folder.path().join("data/fine")).unwrap();
        let code = "for name in ('shadow', 'absolute', 'above', 'fine', 'passwd'):\n    try: print(name, open('data/' + name).read())\n    except OSError as e: print(name, type(e).__name__)";
        let ran = run(&scene, user, &["--in", "data"], code).expect(0);
        assert!(
            ran.stdout.starts_with(
                "shadow FileNotFoundError\nabsolute FileNotFoundError\nabove FileNotFoundError\nfine here\npasswd "
            ),
            "{}",
            ran.stdout
        );
        let own: u32 = rustix::process::getuid().as_raw();
        assert!(
            !ran.stdout.contains("treasure") && ran.stdout.contains("runner:x:1000"),
            "uid {own}: the passwd file is the sandbox's: {}",
            ran.stdout
        );
    }
}

#[test]
fn a_link_given_by_the_caller_is_staged_under_the_name_it_was_called_by() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("v1/data.csv", "one");
        symlink("v1/data.csv", scene.folder.path().join("latest.csv")).unwrap();
        symlink("v1", scene.folder.path().join("current")).unwrap();
        let ran = run(
            &scene,
            user,
            &["--in", "latest.csv", "--in", "current"],
            "print(open('latest.csv').read(), open('current/data.csv').read())",
        )
        .expect(0);
        assert_eq!(ran.stdout, "one one\n");
    }
}

#[test]
fn hard_links_read_only_files_and_empty_folders_are_as_outside() {
    for user in users() {
        let scene = Scene::new();
        let first = scene.folder.write("data/first.txt", "same");
        std::fs::hard_link(&first, scene.folder.path().join("data/second.txt")).unwrap();
        let closed = scene.folder.write("data/read-only.txt", "r");
        std::fs::set_permissions(closed, PermissionsExt::from_mode(0o444)).unwrap();
        std::fs::create_dir(scene.folder.path().join("data/empty")).unwrap();
        let code = "import os\nopen('data/first.txt', 'w').write('other')\nprint(os.listdir('data/empty'))\ntry: open('data/read-only.txt', 'w')\nexcept PermissionError: print('refused')\nos.chmod('data/read-only.txt', 0o644); open('data/read-only.txt', 'w').write('w')";
        let ran = run(&scene, user, &["--in", "data"], code).expect(0);
        assert_eq!(ran.stdout, "[]\nrefused\n");
        assert_eq!(outputs(&ran), pairs(&[("data/first.txt", "changed"), ("data/read-only.txt", "changed")]));
        assert_eq!(
            (scene.folder.read("data/first.txt").as_str(), scene.folder.read("data/second.txt").as_str()),
            ("same", "same")
        );
    }
}

#[test]
fn files_of_others_in_an_input_are_readable_and_stay_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("files of several owners", "only root can make them");
        return;
    }
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data/own.txt", "own");
        scene.folder.write("data/theirs.txt", "theirs");
        scene.folder.write("single.txt", "single");
        std::fs::create_dir(scene.folder.path().join("out")).unwrap();
        let call = scene.call(user).args(["--json", "--in", "data", "--in", "single.txt", "--out", "out", "-c", "print(open('data/theirs.txt').read(), open('single.txt').read())\nopen('single.txt', 'w').write('mine'); open('data/own.txt', 'w').write('changed')\ntry: open('data/theirs.txt', 'w').write('taken')\nexcept OSError: print('refused')"]);
        // The call gave everything to the user.
        for name in ["data/theirs.txt", "single.txt"] {
            std::os::unix::fs::chown(scene.folder.path().join(name), Some(4321), Some(4321)).unwrap();
        }
        let ran = scene.ended(call).0.expect(0);
        assert_eq!(ran.stdout, "theirs single\nrefused\n");
        assert_eq!(scene.folder.read("data/theirs.txt"), "theirs");
        assert_eq!(outputs(&ran), pairs(&[("data/own.txt", "changed"), ("single.txt", "changed")]));
        let owner = scene.folder.path().join("out/data/own.txt").metadata().unwrap().uid();
        let caller = if user == User::Ordinary { ordinary_user() } else { rustix::process::geteuid().as_raw() };
        assert_eq!(owner, caller, "outputs are the caller's");
    }
}

#[test]
fn a_shared_folder_is_live_and_cannot_be_written_to() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("shared/data.txt", "before");
        let code = "import errno, os\nprint(open('shared/data.txt').read())\nfor act in (lambda: open('shared/data.txt', 'a'), lambda: open('shared/new', 'w'), lambda: os.remove('shared/data.txt'), lambda: os.mkdir('shared/d'), lambda: os.chmod('shared/data.txt', 0o777)):\n    try: act(); print('done')\n    except OSError as e: print(errno.errorcode[e.errno] in ('EROFS', 'EACCES'))";
        for option in ["shared", "shared:ro"] {
            let ran = run(&scene, user, &["--share", option], code).expect(0);
            assert_eq!(ran.stdout, "before\nTrue\nTrue\nTrue\nTrue\nTrue\n", "{option}");
            assert_eq!(outputs(&ran), []);
        }
        assert_eq!(listing(&scene.folder.path().join("shared")).len(), 1);
    }
}

#[test]
fn a_change_outside_is_seen_in_a_shared_folder_while_the_code_runs() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("shared/data.txt", "before");
        let code = "import sys, os\nprint('ready', flush=True); sys.stdin.readline(); print(sorted(os.listdir('shared')), open('shared/late.txt').read(), flush=True)";
        let (mut child, _state) = scene.call(user).args(["--share", "shared", "-c", code]).start();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        scene.folder.write("shared/late.txt", "live");
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
        line.clear();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "['data.txt', 'late.txt'] live\n");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn what_is_written_to_a_writable_share_is_the_callers() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("shared/data.txt", "before");
        let ran = scene.run(user, &["--json", "--share", "shared:rw=there", "-c", "import os\nopen('there/data.txt', 'a').write(' after'); os.mkdir('there/new'); open('there/new/file.txt', 'w').write('new'); os.symlink('/etc/shadow', 'there/link')"]).expect(0);
        assert_eq!(
            (scene.folder.read("shared/data.txt").as_str(), scene.folder.read("shared/new/file.txt").as_str()),
            ("before after", "new")
        );
        let owner = |name: &str| scene.folder.path().join(name).symlink_metadata().unwrap().uid();
        assert_eq!(
            (owner("shared/new/file.txt"), owner("shared/new"), owner("shared/link")),
            (owner("shared"), owner("shared"), owner("shared"))
        );
        assert_eq!(outputs(&ran), [], "what is shared is no output");
    }
}

#[test]
fn no_set_uid_file_appears_in_a_writable_share() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("shared/data.txt", "x");
        let code = "import os\nopen('shared/tool', 'w').write('x')\nfor act in (lambda: os.chmod('shared/tool', 0o4755), lambda: os.chmod('shared/tool', 0o2755), lambda: os.open('shared/tool2', os.O_CREAT | os.O_WRONLY, 0o4755), lambda: os.mknod('shared/tool3', 0o104755)):\n    try: act(); print('done')\n    except OSError: print('refused')";
        let ran = run(&scene, user, &["--share", "shared:rw"], code).expect(0);
        assert!(!ran.stdout.starts_with("done"), "{}", ran.stdout);
        for name in listing(&scene.folder.path().join("shared")) {
            let mode = scene.folder.path().join("shared").join(&name).metadata().unwrap().mode();
            assert_eq!(mode & 0o6000, 0, "{name} has mode {mode:o}");
        }
    }
}

#[test]
fn outputs_go_to_a_folder_that_is_made_for_them() {
    for user in users() {
        let scene = Scene::new();
        let ran = run(&scene, user, &["--out", "results/deep"], "import os\nos.makedirs('figures/a')\nopen('figures/a/b.txt', 'w').write('b'); open('top.txt', 'w').write('top')\nopen('run.sh', 'w').write('#!/bin/sh\\n'); os.chmod('run.sh', 0o755); open('/tmp/else', 'w').write('x')").expect(0);
        assert_eq!(
            outputs(&ran),
            pairs(&[("figures/a/b.txt", "created"), ("run.sh", "created"), ("top.txt", "created")])
        );
        assert_eq!(
            listing(&scene.folder.path().join("results/deep")).into_iter().collect::<Vec<_>>(),
            ["figures", "figures/a", "figures/a/b.txt", "run.sh", "top.txt"]
        );
        assert_eq!(scene.folder.read("results/deep/top.txt"), "top");
        let mode = |name: &str| scene.folder.path().join("results/deep").join(name).metadata().unwrap().mode() & 0o7111;
        assert_eq!((mode("run.sh"), mode("top.txt")), (0o111, 0), "what can be executed still can, and nothing else");
        assert_eq!(ran.report()["outputs"]["folder"], "results/deep");
        assert_eq!(ran.report()["usage"]["bytes_out"], 14);
    }
}

#[test]
fn a_file_that_is_there_already_is_replaced_only_when_asked() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("out/report.txt", "old");
        scene.folder.write("out/other.txt", "other");
        let code = "open('report.txt', 'w').write('new'); open('more.txt', 'w').write('more')";
        let ran = run(&scene, user, &["--out", "out"], code).expect(0);
        assert_eq!(
            (scene.folder.read("out/report.txt").as_str(), scene.folder.read("out/more.txt").as_str()),
            ("old", "more")
        );
        assert_eq!(left_out(&ran), pairs(&[("report.txt", "a file of this name exists")]));
        let ran = run(&scene, user, &["--out", "out", "--overwrite"], code).expect(0);
        assert_eq!(
            (scene.folder.read("out/report.txt").as_str(), scene.folder.read("out/other.txt").as_str()),
            ("new", "other")
        );
        assert_eq!(left_out(&ran), []);
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/code.py", "old\n");
        let before = listing(scene.folder.path());
        let ran = run(
            &scene,
            user,
            &["--project", "p", "--out", "out", "--apply", "--dry-run"],
            "open('code.py', 'w').write('new\\n'); open('more.txt', 'w').write('x')",
        )
        .expect(0);
        assert_eq!(outputs(&ran), pairs(&[("code.py", "changed"), ("more.txt", "created")]));
        assert_eq!(listing(scene.folder.path()), before);
        assert_eq!(scene.folder.read("p/code.py"), "old\n");
        assert!(ran.stdout.contains("-old\n+new\n"), "{}", ran.stdout);
    }
}

#[test]
fn a_diff_shows_changes_and_steers_no_terminal() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/code.py", "one\ntwo\nthree\n");
        scene.folder.write("p/gone.txt", "x");
        scene.folder.write("p/bytes.bin", [0_u8, 159, 146, 150]);
        let code = "import os\nopen('code.py', 'w').write('one\\n2\\nthree\\n'); open('new.txt', 'w').write('\\x1b]0;title\\x07 \\x1b[2J \\u202e hidden\\n'); os.remove('gone.txt'); open('bytes.bin', 'wb').write(bytes([0, 255, 1])); open('text.bin', 'wb').write(bytes(3)); open('empty.txt', 'w')";
        let ran = run(&scene, user, &["--project", "p", "--diff"], code).expect(0);
        assert!(
            ran.stdout.contains("--- a/code.py\n+++ b/code.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"),
            "{}",
            ran.stdout
        );
        assert!(
            ran.stdout.contains("removed: gone.txt\n")
                && ran.stdout.contains("bytes.bin: 3 B (not shown: binary or large)\n"),
            "{}",
            ran.stdout
        );
        assert!(
            ran.stdout.contains("\ntext.bin: 3 B (not shown: binary or large)\n")
                && ran.stdout.contains("\nempty.txt: an empty file\n"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("\n\n"), "{}", ran.stdout);
        assert!(ran.stdout.contains("+\\u{1b}]0;title\\u{7} \\u{1b}[2J \\u{202e} hidden\n"), "{}", ran.stdout);
        assert!(!ran.stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']));
        assert_eq!(scene.folder.read("p/code.py"), "one\ntwo\nthree\n");
    }
}

#[test]
fn changes_are_applied_to_the_project_after_they_were_shown() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/changed.txt", "before\n");
        scene.folder.write("p/removed.txt", "x");
        scene.folder.write("p/kept.txt", "kept");
        let ran = run(&scene, user, &["--project", "p", "--apply"], "import os\nopen('changed.txt', 'w').write('after\\n'); os.remove('removed.txt'); os.makedirs('new'); open('new/created.txt', 'w').write('c')").expect(0);
        assert_eq!(
            listing(&scene.folder.path().join("p")).into_iter().collect::<Vec<_>>(),
            ["changed.txt", "kept.txt", "new", "new/created.txt"]
        );
        assert_eq!(scene.folder.read("p/changed.txt"), "after\n");
        assert!(ran.stdout.contains("-before\n+after\n"), "{}", ran.stdout);
        assert_eq!(
            applied(&ran),
            pairs(&[("changed.txt", "changed"), ("new/created.txt", "created"), ("removed.txt", "removed")])
        );
        let owner = |name: &str| scene.folder.path().join(name).metadata().unwrap().uid();
        assert_eq!(owner("p/new/created.txt"), owner("p"));
    }
}

#[test]
fn what_was_applied_is_not_reported_as_lost() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/changed.txt", "before\n");
        scene.folder.write("p/removed.txt", "x");
        let code = "import os\nopen('changed.txt', 'w').write('after\\n'); os.remove('removed.txt'); open('.bashrc', 'w').write('evil'); open('run.sh', 'w').write('x'); os.chmod('run.sh', 0o755)";
        let lines = |options: &[&str]| {
            let ran = scene.run(user, &[options, &["--project", "p", "-c", code]].concat()).expect(0);
            let lines = ran.stderr.lines().skip_while(|line| !line.starts_with("  outputs: "));
            lines.filter(|line| !line.starts_with("  note: ")).collect::<Vec<_>>().join("\n")
        };
        let found = "    created .bashrc (4 B)\n    changed changed.txt (6 B)\n    created run.sh (1 B)";
        let untouched = "  removed: removed.txt (the original is untouched)";
        assert_eq!(
            lines(&["--dry-run", "--apply", "--out", "out"]),
            format!("  outputs: 3 files, 11 B, not written (--dry-run)\n{found}\n{untouched}")
        );
        assert_eq!(
            lines(&[]),
            format!("  outputs: 3 files, 11 B, not kept (--out DIR keeps them)\n{found}\n{untouched}")
        );
        assert_eq!(
            lines(&["--apply"]),
            format!(
                "  outputs: 3 files, 11 B, 2 applied to the project\n{found}\n  left out: .bashrc (tools act upon this name, and it was not allowed)\n  applied: changed.txt\n  applied: run.sh (now executable)\n  applied: removed.txt (removed)"
            )
        );
    }
}

#[test]
fn what_tools_act_upon_is_applied_only_when_it_is_named() {
    const GUARDED: [&str; 6] = [
        ".git/hooks/pre-commit",
        ".github/workflows/ci.yml",
        ".vscode/tasks.json",
        ".bashrc",
        ".gitlab-ci.yml",
        "sub/.git/config",
    ];
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/plain.txt", "before");
        scene.folder.write("p/.git/config", "[core]\n");
        scene.folder.write("p/.vscode/tasks.json", "{}");
        let code = format!(
            "import os\nfor name in {GUARDED:?}:\n    os.makedirs(os.path.dirname('./' + name), exist_ok=True); open(name, 'w').write('evil')\nopen('plain.txt', 'w').write('after')"
        );
        for options in [&["--project", "p", "--apply"] as &[&str], &["--project", "p", "--all", "--apply"]] {
            let ran = run(&scene, user, options, &code).expect(0);
            assert_eq!(scene.folder.read("p/plain.txt"), "after");
            for name in GUARDED {
                let there = std::fs::read_to_string(scene.folder.path().join("p").join(name)).unwrap_or_default();
                assert_ne!(there, "evil", "{name} with {options:?}");
                assert!(
                    left_out(&ran).iter().any(|(left, why)| name.starts_with(left.as_str())
                        && why == "tools act upon this name, and it was not allowed"),
                    "{name} with {options:?}: {:?}",
                    left_out(&ran)
                );
            }
            scene.folder.write("p/plain.txt", "before");
        }
        let ran = run(&scene, user, &["--project", "p", "--apply", "--apply-also", ".github/workflows/ci.yml"], &code)
            .expect(0);
        assert_eq!(scene.folder.read("p/.github/workflows/ci.yml"), "evil");
        assert!(!scene.folder.path().join("p/.bashrc").exists());
        assert!(applied(&ran).contains(&(".github/workflows/ci.yml".to_owned(), "created".to_owned())));
    }
}

#[test]
fn what_the_caller_changed_meanwhile_is_not_overwritten_by_apply() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/code.py", "before\n");
        let (mut child, _state) = scene.call(user).args(["--json", "--project", "p", "--apply", "-c", "import sys\nopen('code.py', 'w').write('by the code\\n')\nprint('ready', flush=True); sys.stdin.readline()"]).start();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
        scene.folder.write("p/code.py", "by the caller\n");
        drop(child.stdin.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(scene.folder.read("p/code.py"), "by the caller\n");
    }
}

#[test]
fn what_is_no_plain_file_is_left_out_and_named() {
    for user in users() {
        let scene = Scene::new();
        let code = "import os, socket\nos.symlink('/etc/passwd', 'link'); os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('socket'); open('a\\nb', 'w').write('x'); open('fine.txt', 'w').write('x')\nopen('\\u202egpj.exe', 'w').write('x')\nos.link('fine.txt', 'second.txt')";
        let ran = run(&scene, user, &["--out", "out"], code).expect(0);
        assert_eq!(
            listing(&scene.folder.path().join("out")).into_iter().collect::<Vec<_>>(),
            ["fine.txt", "second.txt"]
        );
        let left = left_out(&ran);
        for (name, why) in [("link", "a symbolic link"), ("fifo", "a FIFO"), ("socket", "a socket")] {
            assert!(left.contains(&(name.to_owned(), why.to_owned())), "{left:?}");
        }
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(left.iter().all(|(name, _)| !name.contains(['\n', '\u{202e}'])), "{left:?}");
    }
}

#[test]
fn outputs_are_bounded_in_number_size_and_depth() {
    for user in users() {
        let scene = Scene::new();
        let ran = run(
            &scene,
            user,
            &["--out", "out", "--limit", "output-files=5"],
            "for n in range(9): open(f'{n}.txt', 'w').write('x')",
        )
        .expect(0);
        assert_eq!((outputs(&ran).len(), left_out(&ran).len()), (5, 4));
        let ran = run(
            &scene,
            user,
            &["--out", "out2", "--limit", "output=10KiB"],
            "for n in range(3): open(f'{n}.txt', 'w').write('x' * 4096)",
        )
        .expect(0);
        assert_eq!(outputs(&ran).len(), 2);
        let ran = run(&scene, user, &["--out", "out3", "--limit", "output-depth=3"], "import os\nos.makedirs('a/b/c/d'); open('a/b/c/d/deep.txt', 'w').write('x'); open('a/b/near.txt', 'w').write('x')").expect(0);
        assert_eq!(outputs(&ran), pairs(&[("a/b/near.txt", "created")]));
        assert!(!left_out(&ran).is_empty());
        let ran = run(
            &scene,
            user,
            &["--out", "out4", "--limit", "output=1MiB"],
            "open('bomb', 'wb').truncate(1 << 29); open('small', 'wb').write(b'x')",
        )
        .expect(0);
        assert_eq!(outputs(&ran), pairs(&[("small", "created")]));
        assert_eq!(listing(&scene.folder.path().join("out4")).len(), 1);
    }
}

#[test]
fn many_outputs_and_deep_ones_come_out_whole() {
    for user in users() {
        let scene = Scene::new();
        let ran = run(&scene, user, &["--out", "out"], "import os\nfor n in range(2000):\n    os.makedirs(f'f{n % 50}', exist_ok=True); open(f'f{n % 50}/{n}.txt', 'w').write(str(n))\nd = '/'.join(['d'] * 40); os.makedirs(d); open(d + '/end.txt', 'w').write('end')").expect(0);
        assert_eq!(outputs(&ran).len(), 2001);
        assert_eq!(scene.folder.read("out/f49/1999.txt"), "1999");
        assert_eq!(scene.folder.read(&format!("out/{}/end.txt", ["d"; 40].join("/"))), "end");
    }
}

#[test]
fn caches_are_no_outputs() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/main.py", "");
        scene.folder.write("p/helper.py", "");
        let ran = run(&scene, user, &["--project", "p"], "import os, sys\nsys.path.insert(0, '.')\nimport helper\nprint(os.path.exists('__pycache__'))\nos.makedirs('sub/__pycache__'); open('sub/__pycache__/a.pyc', 'w').write('x')").expect(0);
        assert_eq!(ran.stdout, "True\n");
        assert_eq!(outputs(&ran), []);
        assert_eq!(ran.report()["outputs"]["caches"], 2);
    }
}

#[test]
fn caches_of_tools_are_left_out_and_the_report_says_so_in_one_line() {
    for user in users() {
        let scene = Scene::new();
        let folders = stockade_launch::collect::CACHE_FOLDERS;
        let code = format!(
            "import os\nfor name in {folders:?}:\n    os.makedirs('deep/' + name); open('deep/' + name + '/x', 'w').write('x')\nopen('deep/kept.txt', 'w').write('x')"
        );
        let ran = scene.run(user, &["--out", "out", "-c", &code]).expect(0);
        assert_eq!(
            listing(&scene.folder.path().join("out")).into_iter().collect::<Vec<_>>(),
            ["deep", "deep/kept.txt"]
        );
        let line = format!("  left out: {} caches of tools", folders.len());
        assert!(ran.stderr.lines().any(|found| found == line), "{}", ran.stderr);
        let ran = scene.run(user, &["-c", "import os\nos.mkdir('__pycache__')"]).expect(0);
        assert!(ran.stderr.contains("\n  left out: 1 cache of tools\n"), "{}", ran.stderr);
    }
}

#[test]
fn a_large_input_folder_costs_no_scratch() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data/small.txt", "x");
        scene.folder.write("data/large.bin", vec![7_u8; 16 << 20]);
        let ran = run(
            &scene,
            user,
            &["--limit", "scratch=4MiB", "--in", "data"],
            "import os\nprint(os.path.getsize('data/large.bin'), len(open('data/large.bin', 'rb').read(1000)))",
        )
        .expect(0);
        assert_eq!(ran.stdout, format!("{} 1000\n", 16 << 20));
        let ran = run(
            &scene,
            user,
            &["--limit", "scratch=4MiB", "--in", "data"],
            "open('data/large.bin', 'r+b').write(b'x')",
        )
        .expect(1);
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
        assert_eq!(ran.report()["cause"]["status"], 1);
    }
}

#[test]
fn outputs_without_a_folder_are_listed_and_the_way_to_keep_them_is_told() {
    for user in users() {
        let scene = Scene::new();
        let ran = scene.run(user, &["-c", "open('a.txt', 'w').write('x')"]).expect(0);
        assert!(
            ran.stderr.contains("\n  outputs: 1 file, 1 B, not kept (--out DIR keeps them)\n    created a.txt (1 B)\n"),
            "{}",
            ran.stderr
        );
        assert_eq!(listing(scene.folder.path()).len(), 0);
    }
}

#[test]
fn code_that_fails_still_leaves_its_outputs() {
    for user in users() {
        let scene = Scene::new();
        let ran = run(&scene, user, &["--out", "out"], "open('partial.txt', 'w').write('so far'); raise SystemExit(3)")
            .expect(3);
        assert_eq!(scene.folder.read("out/partial.txt"), "so far");
        assert_eq!(outputs(&ran), pairs(&[("partial.txt", "created")]));
    }
}

#[test]
fn an_own_program_is_staged_and_its_folder_is_not() {
    for user in users() {
        let scene = Scene::new();
        let tool = scene.folder.write("tools/hello", "#!/bin/sh\necho hello from $0 in $(pwd); ls\n");
        scene.folder.write("tools/neighbour.txt", "x");
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
        let ran = scene.run(user, &["--", "./tools/hello"]).expect(0);
        assert_eq!(ran.stdout, "hello from ./hello in /job\nhello\n");
    }
}

#[test]
fn standard_input_from_a_file_cannot_change_the_file() {
    for user in users() {
        let scene = Scene::new();
        let path = scene.folder.write("data.txt", "before\n");
        let code = "import os, sys\nprint(sys.stdin.read(), end='')\nfor flags in (os.O_WRONLY, os.O_RDWR | os.O_APPEND):\n    try: os.write(os.open('/proc/self/fd/0', flags), b'taken')\n    except OSError: pass";
        let call = scene.call(user).args(["-c", code]).input_file(std::fs::File::open(&path).unwrap());
        let ran = scene.ended(call).0.expect(0);
        assert_eq!(ran.stdout, "before\n");
        assert_eq!(scene.folder.read("data.txt"), "before\n");
    }
}

#[test]
fn an_input_below_a_share_is_seen_or_refused() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("shared/live.txt", "live");
        scene.folder.write("more/one.txt", "one");
        for (given, inner) in
            [("more/one.txt=shared/one.txt", "shared/one.txt"), ("more=shared/more", "shared/more/one.txt")]
        {
            let ran = scene.run(user, &["--share", "shared", "--in", given, "--", "cat", inner]);
            assert!(ran.status == 125 || ran.stdout == "one", "{ran:?}");
        }
    }
}

#[test]
fn files_of_others_that_the_code_cannot_change_are_reported() {
    if !rustix::process::geteuid().is_root() {
        skipped("files of several owners", "only root can make them");
        return;
    }
    for user in users() {
        let scene = Scene::new();
        let theirs = scene.folder.write("data/theirs.txt", "theirs");
        let call = scene.call(user).args(["--in", "data", "--", "sh", "-c", "echo more >> data/theirs.txt"]);
        std::os::unix::fs::chown(theirs, Some(4321), Some(4321)).unwrap();
        let ran = scene.ended(call).0;
        let is_told = |line: &str| {
            (line.starts_with("stockade: ") || line.starts_with("  note: ")) && line.contains("theirs.txt")
        };
        assert!(ran.stderr.lines().any(is_told), "{}", ran.stderr);
    }
}
