//! A full disk: refused where it can be, ended where it must be, never wrong.

use std::process::Command;

use serde_json::json;
use stockade_testkit::skipped;

use crate::support::{Node, open_folder};

/// A small file system of the test's own, unmounted at its end.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(folder: &std::path::Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size},mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_refuses_runs_loses_none_and_is_survived() {
    let folder = open_folder();
    let place = folder.path().join("small");
    let Some(_small) = Small::mount(&place, "16M") else {
        skipped("a full disk", "a tmpfs cannot be mounted here");
        return;
    };
    let node = Node::within(&place.join("node"), &["--reserve-mib", "5"]);
    let before = node.run("print('before')");
    // What prints more than fits is ended, and says that not all of it was kept.
    let loud = node.post(&[], &json!({"code": "for _ in range(15): print('x' * (1 << 20))"})).whole().unwrap();
    let loud = loud.expect(200).json();
    assert_eq!(loud["outcome"]["output_cut"], true, "{}", loud["outcome"]);
    let id = loud["id"].as_str().unwrap();
    node.send("DELETE", &format!("/v1/runs/{id}?forget=true"), &[], b"").whole().unwrap().expect(204);
    // So is what makes more files than fit; nothing of it stays in the way.
    let files = "for n in range(30): open(f'{n}', 'wb').write(bytes(1 << 20))";
    let many = node.run(files);
    assert_eq!(many["outcome"]["cause"], "failed", "{}", many["outcome"]);
    assert!(many["outcome"]["refusal"]["why"].as_str().unwrap().contains("no space left"), "{}", many["outcome"]);
    let filler = place.join("filler");
    let filled =
        Command::new("sh").arg("-c").arg(format!("cat /dev/zero > {} 2>/dev/null; true", filler.display())).status();
    filled.unwrap();
    let large = json!({"code": "#".repeat(1 << 20)});
    let refused = node.post(&[], &large).whole().unwrap();
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.json()["next"].as_str().unwrap().contains("space"), "{}", refused.text());
    assert_eq!(node.show(before["id"].as_str().unwrap())["stdout"], "before\n", "what is kept can be read");
    node.get("/livez").expect(200);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(node.run("print('after')")["stdout"], "after\n");
    drop(node);
}

/// As a backup does, or a shell of SQLite.
#[test]
fn a_state_file_that_somebody_locks_for_a_moment_only_delays() {
    let node = Node::start(&[]);
    let connection = rusqlite::Connection::open(node.folder.join("store/node.sqlite")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let unlocking = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        connection.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(node.run("print('in the end')")["stdout"], "in the end\n");
    unlocking.join().unwrap();
}
