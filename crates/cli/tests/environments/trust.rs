//! `env trust`: libraries that nobody vouches for do not get secrets, and whose word counts.

use std::fs;

use stockade_testkit::{Ran, User, call, skipped};

use crate::{Place, STOCKADE};

const SECRET: [&str; 4] = ["--net", "api.example.com", "--secret", "TOKEN=api.example.com:authorization"];

/// A run with a secret, in this environment.
fn with_secret(place: &Place, environment: &[&str], more: &[&str]) -> Ran {
    let line = [&["run"], more, environment, &SECRET, &["-c", "print('ran')"]].concat();
    place.call(&line).env("TOKEN", "a-real-token-0123456789").run()
}

#[track_caller]
fn refused(ran: Ran, why: &str) -> String {
    let ran = ran.expect(125);
    assert!(ran.stderr.contains(why), "{why}: {}", ran.stderr);
    assert!(!ran.stdout.contains("ran"), "it ran: {}", ran.stdout);
    ran.stderr
}

#[test]
fn a_library_nobody_vouches_for_gets_no_secret() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six,idna"]);
    let used = ["--environment", "x"];
    let said = refused(
        with_secret(&place, &used, &[]),
        "policy `default` keeps secrets for runs whose libraries are all trusted: idna",
    );
    assert!(said.contains("six 1.17.0 (no entry names it)"), "{said}");
    // The refusal tells the command that would do.
    let next = said.lines().find_map(|line| line.split_once("stockade env trust add ")).unwrap().1;
    assert_eq!(next, format!("--environment {} --reason TEXT", &digest[..12]));

    // One of two is not enough: they share a process.
    place.done(&["env", "trust", "add", "six", "--environment", "x", "--reason", "read it"]);
    let said = refused(with_secret(&place, &used, &[]), "idna");
    assert!(!said.contains("six 1.17.0"), "{said}");
    place.done(&["env", "trust", "add", "idna>=3", "--reason", "kept by people we know", "--expires", "30d"]);
    assert_eq!(with_secret(&place, &used, &[]).expect(0).stdout, "ran\n");
    // What needs no trust is not asked about, and code without libraries of strangers has its secrets.
    assert_eq!(place.ran(&["run", "--with", "attrs", "-c", "print('ran')"]).expect(0).stdout, "ran\n");
    assert_eq!(with_secret(&place, &[], &[]).expect(0).stdout, "ran\n");
    refused(with_secret(&place, &["--with", "attrs"], &[]), "attrs");

    let shown = place.document(&["env", "show", "--json", "x"]);
    assert_eq!((&shown["trusted"], shown["doubts"].as_array().unwrap().len()), (&true.into(), 0));
    assert!(place.ran(&["env", "trust", "check", "x"]).expect(0).stdout.contains("trusted: all of 2 packages"));

    // Taken back, it counts no more, and says so.
    let listed = place.document(&["env", "trust", "list", "--json"]);
    let entry = listed.as_array().unwrap().iter().find(|entry| entry["library"] == "idna>=3").unwrap();
    place.done(&["env", "trust", "remove", entry["id"].as_str().unwrap(), "--reason", "a flaw was found"]);
    refused(with_secret(&place, &used, &[]), "took the trust in it back: a flaw was found");
    let checked = place.ran(&["env", "trust", "check", "--json", "x"]).expect(1).stdout;
    assert!(checked.contains("\"trusted\":false") && checked.contains("a flaw was found"), "{checked}");
    assert!(place.ran(&["env", "show", "x"]).expect(0).stdout.contains("not trusted: 1 of 2"));
}

#[test]
fn packages_without_a_lock_get_no_secret() {
    let place = Place::new();
    let made =
        call("python3", User::Caller).within(place.folder.path()).args(["-m", "venv", "--without-pip", "v"]).run();
    if made.status != 0 {
        skipped("a virtual environment", "python3 cannot make one");
        return;
    }
    let said = refused(with_secret(&place, &["--venv", "v"], &[]), "a virtual environment has no lock");
    assert!(said.contains("build an environment with `stockade env build`"), "{said}");
}

/// The lock of an archive is the word of who made it: it can name packages that are trusted, beside other files.
#[test]
fn what_came_in_an_archive_is_trusted_by_its_digest_only() {
    let (from, to) = (Place::new(), Place::new());
    let digest = from.built("x", &["--with", "six"]);
    from.done(&["env", "export", "x", "x.tar.gz"]);
    let archive = from.folder.path().join("x.tar.gz");
    to.done(&["env", "import", archive.to_str().unwrap(), "x"]);
    to.done(&["env", "trust", "add", "six>=1", "--reason", "read it"]);
    let used = ["--environment", "x"];
    refused(with_secret(&to, &used, &[]), "it came in an archive, so its lock proves nothing");
    // Vouching for it as it is means its digest.
    let added = to.document(&["env", "trust", "add", "--json", "--environment", "x", "--reason", "from our builder"]);
    assert_eq!(added[0]["library"], format!("env:/{digest}"));
    assert_eq!(with_secret(&to, &used, &[]).expect(0).stdout, "ran\n");
}

#[test]
fn a_list_that_somebody_changed_stops_what_needs_it() {
    let place = Place::new();
    place.built("x", &["--with", "six"]);
    place.done(&["env", "trust", "add", "--environment", "x", "--reason", "read it"]);
    let list = place.folder.path().join("config/trust/list.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("read it", "Read it")).unwrap();
    refused(with_secret(&place, &["--environment", "x"], &[]), "its signature does not fit what it says");
    // What needs no trust runs, and the environment can be looked at.
    place.done(&["run", "--environment", "x", "-c", "1"]);
    assert!(place.ran(&["env", "show", "x"]).expect(0).stdout.contains("is refused at line 1"));
    // A word signed with another key does not count.
    fs::write(&list, text).unwrap();
    fs::remove_dir_all(place.folder.path().join("config/trust/keys")).unwrap();
    refused(with_secret(&place, &["--environment", "x"], &[]), "is signed with no key of");
}

#[test]
fn a_policy_says_what_needs_trust() {
    let place = Place::new();
    place.built("x", &["--with", "six"]);
    place.folder.write("kept.conf", policy("trust.requiredFor = [egress, writableShares], egress = named"));
    place.folder.write("open.conf", policy("trust.requiredFor = [], egress = named"));
    place.folder.write(
        "one.conf",
        policy("egress = [a.example.com, api.example.com, { host = b.example.com, requiresTrust = true }]"),
    );
    fs::create_dir(place.folder.path().join("shared")).unwrap();
    let run = |more: &[&str]| place.ran(&[&["run", "--environment", "x"], more, &["-c", "print('ran')"]].concat());
    refused(run(&["--policy", "kept.conf", "--net", "a.example.com"]), "keeps the network for runs");
    refused(run(&["--policy", "kept.conf", "--share", "shared:rw"]), "keeps folders to write to for runs");
    assert_eq!(run(&["--policy", "kept.conf", "--share", "shared"]).expect(0).stdout, "ran\n");
    assert_eq!(run(&["--policy", "one.conf", "--net", "a.example.com"]).expect(0).stdout, "ran\n");
    refused(run(&["--policy", "one.conf", "--net", "b.example.com"]), "keeps `b.example.com` for runs");
    refused(
        with_secret(&place, &["--environment", "x"], &["--policy", "one.conf"]),
        "policy `team` (one.conf) keeps secrets",
    );
    assert_eq!(with_secret(&place, &["--environment", "x"], &["--policy", "open.conf"]).expect(0).stdout, "ran\n");
    place.done(&["env", "trust", "add", "--environment", "x", "--reason", "read it"]);
    for (policy, more) in [("kept.conf", ["--net", "a.example.com"]), ("one.conf", ["--net", "b.example.com"])] {
        assert_eq!(run(&[&["--policy", policy], &more[..]].concat()).expect(0).stdout, "ran\n");
    }
}

fn policy(lines: &str) -> String {
    format!(
        "name = team, version = 1, type = stockade.policy\nconfiguration {{ StockadePolicy {{ name = team\n{lines}\n}} }}\n"
    )
}

#[test]
fn what_cannot_be_vouched_for_is_refused_with_what_to_do() {
    let place = Place::new();
    for (arguments, why) in [
        (&["numpy", "--reason", "x"] as &[&str], "every version that there will ever be"),
        (&["pypi:/numpy@2.0", "--reason", "x"], "a URI is trusted with its hashes only"),
        (&["numpy>=2", "--reason", ""], "its reason is a line"),
        (&["numpy>=2", "--reason", "x", "--expires", "soon"], "a number of days"),
        (&["--reason", "x"], "LIBRARY"),
        (&["--environment", "nothing", "--reason", "x"], "nothing"),
    ] {
        let ran = place.ran(&[&["env", "trust", "add"], arguments].concat());
        assert_eq!(ran.status, 125, "{arguments:?}");
        assert!(ran.stderr.contains(why) && ran.stderr.contains("next:"), "{arguments:?}: {}", ran.stderr);
    }
    assert!(place.ran(&["env", "trust", "list"]).expect(0).stdout.contains("nobody vouches"));
    let ran = place.ran(&["env", "trust", "remove", "abc", "--reason", "x"]).expect(125);
    assert!(ran.stderr.contains("there is no entry `abc`"), "{}", ran.stderr);
}

/// The machine's list lies at its real place, in a mount namespace of the test's own.
#[test]
fn where_the_machine_has_a_policy_its_administrator_alone_vouches() {
    if !rustix::process::geteuid().is_root() {
        skipped("a machine's trust list", "only root can put one there");
        return;
    }
    let place = Place::new();
    place.built("x", &["--with", "six"]);
    place.done(&["env", "trust", "add", "--environment", "x", "--reason", "mine"]);
    place.folder.write("etc/stockade/policy.conf", policy("egress = named"));
    let script = |body: &str| {
        const MOUNT: &str = "chmod 755 . etc etc/stockade; \
            mkdir w u; mount -t tmpfs none w; mkdir w/u w/w; \
            mount -t overlay overlay -o lowerdir=$PWD/etc:/etc,upperdir=$PWD/w/u,workdir=$PWD/w/w /etc";
        let run = format!("'{STOCKADE}' run --environment x {} -c 'print(1)'", SECRET.join(" "));
        let text = format!("set -e; {MOUNT}; run() {{ {run}; }}; {body}");
        let _clean = fs::remove_dir(place.folder.path().join("w"));
        let _clean = fs::remove_dir(place.folder.path().join("u"));
        call("unshare", User::Caller)
            .within(place.folder.path())
            .env("STOCKADE_CACHE_DIR", place.cache.path())
            .env("STOCKADE_CONFIG_DIR", place.folder.path().join("config"))
            .env("TOKEN", "a-real-token-0123456789")
            .args(["--mount", "--", "sh", "-c", &text])
            .run()
    };
    let own = script("run");
    assert!(own.status == 125 && own.stderr.contains("no entry names it"), "{own:?}");
    let add = format!("'{STOCKADE}' env trust add --environment x --reason ours");
    let remark = script(&add).expect(0).stderr;
    assert!(remark.contains("only its administrator's list counts"), "{remark}");
    assert_eq!(script(&format!("{add} --machine >/dev/null; run")).expect(0).stdout, "1\n");
    for spoil in [
        "chmod 666 /etc/stockade/trust/list.jsonl",
        "chown 1000 /etc/stockade/trust/keys/*",
        "chmod 777 /etc/stockade/trust",
    ] {
        let spoilt = script(&format!("{add} --machine >/dev/null; {spoil}; run"));
        assert!(spoilt.status == 125 && spoilt.stderr.contains("cannot be relied on"), "{spoil}: {spoilt:?}");
    }
    let removed = script(&format!(
        "{add} --machine --json | grep -o '[0-9a-f]\\{{12\\}}' | head -1 > id; '{STOCKADE}' env trust remove $(cat id) --machine --reason flaw; run"
    ));
    assert!(removed.status == 125 && removed.stderr.contains("took the trust in it back: flaw"), "{removed:?}");
}

/// "Inside the engine a PEP 578 audit hook attributes what was attempted to the library whose frame did it, for the
/// report and the audit trail: a guide, never the wall."
#[test]
fn a_report_says_by_the_codes_own_word_which_library_it_was() {
    let place = Place::new();
    place.built("x", &["--with", "requests"]);
    let code = "
import requests, subprocess, socket
try: requests.get('http://index.invalid/upload?secret')
except requests.exceptions.RequestException: pass
try: socket.getaddrinfo('own.invalid', 80)
except OSError: pass
print('ran')";
    let (ran, state) = place.call(&["run", "--json", "--environment", "x", "-c", code]).run_keeping();
    let ran = ran.expect(0);
    let report = ran.report();
    let said = report["attempts"].as_array().unwrap();
    let first = said.iter().find(|attempt| attempt["event"] == "socket.getaddrinfo").unwrap();
    assert_eq!(first["target"], "index.invalid");
    assert_eq!(first["libraries"][0], "urllib3");
    assert!(first["libraries"].as_array().unwrap().contains(&"requests".into()), "{first}");
    // What the script itself does is no library's doing.
    assert!(said.iter().all(|attempt| attempt["target"] != "own.invalid"), "{said:?}");
    let trail = format!("{:?}", stockade_testkit::Call::trail(&state));
    assert!(trail.contains("\"attempts\"") && trail.contains("urllib3"), "{trail}");
    let shown = place.ran(&["run", "--environment", "x", "-c", code]).expect(0).stderr;
    assert!(shown.contains("  the code says: urllib3 called by requests reached for index.invalid"), "{shown}");

    // Anybody inside can say anything: it is bounded, and acts on no terminal.
    let lie = "
import os
for number in range(3, 64):
    try: os.write(number, b'{\"kind\":\"attempt\",\"type\":\"os.system\",\"name\":\"\\\\u001b[2Jnumpy\",\"path\":\"x\"}\\n' * 900)
    except OSError: pass";
    let ran = place.ran(&["run", "--json", "--environment", "x", "-c", lie]).expect(0);
    let said = &ran.report()["attempts"];
    assert_eq!(said.as_array().unwrap().len(), 100);
    assert!(!said[0]["libraries"][0].as_str().unwrap().contains('\u{1b}'), "{said}");
}

#[test]
fn nobody_vouches_for_an_environment_that_is_not_as_it_was_built() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    let lock = place.environment(&digest).join("pylock.toml");
    let text = fs::read_to_string(&lock).unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    let hash = text.split("sha256 = \"").nth(1).unwrap().get(..64).unwrap();
    fs::write(&lock, text.replace(hash, &"a".repeat(64))).unwrap();
    let ran = place.ran(&["env", "trust", "add", "--environment", "x", "--reason", "read it"]).expect(125);
    assert!(ran.stderr.contains("the environment is not as it was built"), "{}", ran.stderr);
    assert!(place.ran(&["env", "trust", "list"]).expect(0).stdout.contains("nobody vouches"));
}

/// A run says once what it imported; who says it a thousand times keeps nobody busy.
#[test]
fn of_what_a_run_says_it_imported_the_first_word_counts() {
    let place = Place::new();
    place.built("x", &["--with", "six,idna"]);
    let code = "
import os
for number in range(3, 64):
    for name in (b'six', b'idna'):
        try: os.write(number, b'{\"kind\":\"imported\",\"names\":\"' + name + b'\"}\\n')
        except OSError: pass";
    place.done(&["run", "--quiet", "--environment", "x", "-c", code]);
    let preload = place.document(&["env", "show", "--json", "x"])["preload"].clone();
    let modules: Vec<&str> = preload.as_array().unwrap().iter().map(|one| one["module"].as_str().unwrap()).collect();
    assert_eq!(modules, ["six"]);
}
