//! What a run says of itself: run.md, "The result".
#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod scene;

use scene::{Scene, listing};
use serde_json::Value;
use stockade_testkit::{Call, Ran, User, call, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// The layers every run here has, whatever bounds its memory.
const ALWAYS: [&str; 14] = [
    "user",
    "mount",
    "pid",
    "network",
    "ipc",
    "uts",
    "root",
    "throw-away-user",
    "no-new-privileges",
    "no-capabilities",
    "seccomp",
    "landlock",
    "rlimits",
    "scratch",
];

fn python(scene: &Scene, user: User, options: &[&str], code: &str) -> Ran {
    let mut arguments = options.to_vec();
    arguments.extend(["-c", code]);
    scene.run(user, &arguments)
}

fn enforced(report: &Value) -> Vec<&str> {
    report["enforced"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn the_document_has_these_parts_and_no_others() {
    for user in users() {
        let report = python(&Scene::new(), user, &["--json"], "print(1)").expect(0).report();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(
            sorted(keys(&report)),
            "accounting begun cause denials enforced environment hints host_user notes outputs processes_left remarks run scratch tier usage"
        );
        assert_eq!(sorted(keys(&report["usage"])), "bytes_in bytes_out cpu_ms memory_peak_bytes stream_bytes wall_ms");
        assert_eq!(
            sorted(keys(&report["outputs"])),
            "applied bytes caches files folder left_out left_out_more removed removed_more"
        );
        assert_eq!(report["environment"], "none");
        assert_eq!(report["run"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn the_cause_decides_where_the_status_is_ambiguous() {
    for user in users() {
        let scene = Scene::new();
        for (arguments, status, cause) in [
            (&["--", "true"] as &[&str], 0, r#"{"kind":"exited","status":0}"#),
            (&["--", "sh", "-c", "exit 124"], 124, r#"{"kind":"exited","status":124}"#),
            (&["--", "sh", "-c", "exit 125"], 125, r#"{"kind":"exited","status":125}"#),
            (&["--", "sh", "-c", "exit 127"], 127, r#"{"kind":"exited","status":127}"#),
            (&["--", "sh", "-c", "exit 137"], 137, r#"{"kind":"exited","status":137}"#),
            (&["--", "sh", "-c", "kill -9 $$"], 137, r#"{"kind":"signalled","signal":9}"#),
            (&["--limit", "time=200ms", "--", "sleep", "60"], 124, r#"{"kind":"limit","limit":"time"}"#),
            (
                &["--limit", "streams=1KiB", "--", "sh", "-c", "while :; do echo much; done"],
                125,
                r#"{"kind":"limit","limit":"streams"}"#,
            ),
            (&["--", "surely-no-program"], 127, r#"{"kind":"not-found"}"#),
            (&["--", "/usr"], 126, r#"{"kind":"not-executable"}"#),
        ] {
            let mut all = vec!["--json"];
            all.extend(arguments);
            let ran = scene.run(user, &all).expect(status);
            assert_eq!(
                ran.report()["cause"].to_string(),
                serde_json::from_str::<Value>(cause).unwrap().to_string(),
                "{arguments:?} as {user:?}"
            );
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_code() {
    for user in users() {
        for cgroup in ["auto", "off"] {
            let scene = Scene::new();
            scene.folder.write("data.bin", vec![0; 12_345]);
            let code = "import time\nb = bytearray(200 << 20)\nfor at in range(0, len(b), 4096): b[at] = 1\nt = time.process_time()\nwhile time.process_time() - t < 0.3: pass\nopen('out.bin', 'wb').write(b'x' * 1000)\nprint('y' * 99)\ntime.sleep(0.2)";
            let ran = python(&scene, user, &["--json", "--cgroup", cgroup, "--in", "data.bin", "--out", "out"], code)
                .expect(0);
            let report = ran.report();
            let usage = |name: &str| report["usage"][name].as_u64().unwrap();
            assert!((500..60_000).contains(&usage("wall_ms")), "{report}");
            assert!((300..30_000).contains(&usage("cpu_ms")), "{report}");
            assert!((200 << 20..400 << 20).contains(&usage("memory_peak_bytes")), "{report}");
            assert_eq!((usage("bytes_in"), usage("bytes_out"), usage("stream_bytes")), (12_345, 1_000, 100));
        }
    }
}

#[test]
fn the_layers_are_those_in_force_and_sampling_is_never_called_a_wall() {
    for user in users() {
        let with = |options: &[&str]| python(&Scene::new(), user, options, "pass").expect(0).report();
        let report = with(&["--json", "--cgroup", "off"]);
        for layer in ALWAYS {
            assert!(enforced(&report).contains(&layer), "{layer} is missing: {report}");
        }
        assert!(enforced(&report).contains(&"watchdog") && !enforced(&report).contains(&"cgroup"), "{report}");
        assert_eq!(report["accounting"], "watchdog");
        let report = with(&["--json"]);
        let has_cgroup = enforced(&report).contains(&"cgroup");
        assert_eq!(report["accounting"] != "watchdog", has_cgroup);
        assert_eq!(enforced(&report).contains(&"watchdog"), !has_cgroup);
        assert_eq!(
            report["notes"].as_array().unwrap().is_empty(),
            has_cgroup,
            "without a cgroup the report says why: {report}"
        );
    }
}

#[test]
fn a_name_that_was_asked_for_is_told_with_what_to_do() {
    for user in users() {
        let scene = Scene::new();
        let code = "import socket\nfor name in ('api.example.com', 'api.example.com', 'other.example.com'):\n    try: socket.getaddrinfo(name, 80)\n    except OSError: pass";
        let report = python(&scene, user, &["--json"], code).expect(0).report();
        let names: Vec<&str> = report["denials"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|denial| denial["kind"] == "name")
            .map(|denial| denial["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["api.example.com", "other.example.com"]);
        let ran = python(&scene, user, &[], code).expect(0);
        assert!(
            ran.stderr.contains("\n  denied: network to api.example.com (no network was granted)\n  denied: network to other.example.com (no network was granted)\n    next: "),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stderr.matches("next: ").count(), 1, "one next step for all of a kind: {}", ran.stderr);
    }
}

#[test]
fn many_denials_are_counted_and_the_document_has_them_all() {
    for user in users() {
        let scene = Scene::new();
        let code = "import socket\nfor n in range(25):\n    try: socket.getaddrinfo(f'{n}.example.com', 80)\n    except OSError: pass";
        let ran = python(&scene, user, &[], code).expect(0);
        assert_eq!(ran.stderr.matches("\n  denied: network to ").count(), 20, "{}", ran.stderr);
        assert!(ran.stderr.contains("\n  denied: 5 more (--json lists them)\n    next: "), "{}", ran.stderr);
        let report = python(&scene, user, &["--json"], code).expect(0).report();
        assert_eq!(report["denials"].as_array().unwrap().len(), 25);
    }
}

#[test]
fn refused_addresses_system_calls_and_full_scratch_are_told() {
    for user in users() {
        let scene = Scene::new();
        let code = "import socket, ctypes\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nfor n in range(3):\n    try: s.sendto(b'x', ('192.0.2.1', 9))\n    except OSError: pass\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())\ntry: open('/tmp/full', 'wb').write(b'x' * (3 << 20))\nexcept OSError as e: print(e.errno)";
        let ran = python(&scene, user, &["--json", "--limit", "scratch=1MiB"], code).expect(0);
        assert_eq!(ran.stdout, "-1 1\n28\n");
        let report = ran.report();
        let has = |kind: &str| report["denials"].as_array().unwrap().iter().any(|denial| denial["kind"] == kind);
        assert!(has("addresses") && has("system-call") && has("full"), "{report}");
        assert!(report["denials"].as_array().unwrap().iter().any(|denial| denial["name"] == "ptrace"), "{report}");
    }
}

#[test]
fn processes_that_outlive_the_code_are_ended_and_counted() {
    for user in users() {
        let scene = Scene::new();
        let ran =
            scene.run(user, &["--json", "--", "sh", "-c", "sleep 600 & (setsid sleep 600 &) ; echo done"]).expect(0);
        assert_eq!(ran.stdout, "done\n");
        assert_eq!(ran.report()["processes_left"], 2);
        let ran = scene.run(user, &["--", "sh", "-c", "sleep 600 & :"]).expect(0);
        assert!(ran.stderr.contains("\n  ended with the code: 1 process still running"), "{}", ran.stderr);
    }
}

#[test]
fn people_read_one_line_of_numbers_and_one_of_layers() {
    for user in users() {
        let ran = python(&Scene::new(), user, &[], "print('hello')").expect(0);
        assert_eq!(ran.stdout, "hello\n");
        let mut lines = ran.stderr.lines();
        let first = lines.next().unwrap();
        assert!(
            first.starts_with("stockade: done · ") && first.contains(" · cpu ") && first.contains(" · memory "),
            "{first}"
        );
        assert!(lines.next().unwrap().starts_with("  layers: user mount pid network "), "{}", ran.stderr);
    }
}

#[test]
fn a_quiet_run_that_went_well_says_nothing_of_itself() {
    for user in users() {
        let scene = Scene::new();
        let ran =
            python(&scene, user, &["--quiet"], "import sys; print('out'); print('err', file=sys.stderr)").expect(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
        let ran = python(&scene, user, &["--quiet"], "raise SystemExit(4)").expect(4);
        assert!(ran.stderr.starts_with("stockade: the code failed with status 4 · "), "{}", ran.stderr);
    }
}

#[test]
fn a_quiet_run_still_says_what_was_refused() {
    for user in users() {
        let ran = python(
            &Scene::new(),
            user,
            &["--quiet"],
            "import socket\ntry: socket.getaddrinfo('api.example.com', 80)\nexcept OSError: pass",
        )
        .expect(0);
        assert!(
            ran.stderr.contains("denied: network to api.example.com"),
            "`--quiet` prints no report unless something was refused: {:?}",
            ran.stderr
        );
    }
}

#[test]
fn a_line_that_the_code_left_open_is_not_continued() {
    for user in users() {
        let scene = Scene::new();
        let code = "import sys; sys.stderr.write('no end'); sys.exit(3)";
        for (option, start) in [("--quiet", "no end\nstockade: the code failed"), ("--json", "no end\n{\"run\":")] {
            let ran = python(&scene, user, &[option], code).expect(3);
            assert!(ran.stderr.starts_with(start), "{}", ran.stderr);
        }
        let ran = python(&scene, user, &["--quiet"], "import sys; sys.stderr.write('no end')").expect(0);
        assert_eq!(ran.stderr, "no end");
        // A refusal after the run, too: the folder for the outputs is gone.
        std::fs::create_dir_all(scene.folder.path().join("work/out")).unwrap();
        let code = "import os, sys; os.rmdir('work/out'); open('a', 'w').write('x'); sys.stderr.write('no end')";
        let ran = python(&scene, user, &["--json", "--share", "work:rw", "--out", "work/out"], code).expect(125);
        let document = ran.stderr.strip_prefix("no end\n").unwrap_or_else(|| panic!("{}", ran.stderr));
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["cause"]["kind"], "failed", "{document}");
        assert_eq!(document["why"], "no such file or directory; 0 outputs collected before it", "{document}");
    }
}

#[test]
fn a_reader_that_went_away_does_not_change_how_a_run_ends() {
    for user in users() {
        let scene = Scene::new();
        let (mut child, _state) = scene.call(user).args(["-c", "print(input())"]).start();
        drop(child.stderr.take());
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), b"go\n".as_slice()));
    }
}

#[test]
fn the_document_says_what_was_left_out_of_the_project() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/.env", "treasure");
        scene.folder.write("p/a key.pem", "treasure");
        let ran = python(&scene, user, &["--json", "--project", "p"], "pass").expect(0);
        assert_eq!(
            ran.report()["remarks"].to_string(),
            r#"["left out of the project, for they look like secrets: .env 'a key.pem' (--all takes them)"]"#
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn a_module_that_lies_beside_the_script_is_explained() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("code/main.py", "import utils\n");
        scene.folder.write("code/utils.py", "");
        scene.folder.write("code/main2.py", "import package.part\n");
        scene.folder.write("code/package/part.py", "");
        scene.folder.write("code/main3.py", "import surely_no_such_package\n");
        let hint = |script: &str| scene.run(user, &["--json", script]).expect(1).report()["hints"].to_string();
        assert_eq!(
            hint("code/main.py"),
            r#"["no module named utils: utils.py lies beside the script but was not given\n    next: --project code or --in code/utils.py"]"#
        );
        assert_eq!(
            hint("code/main2.py"),
            r#"["no module named package: a folder package lies beside the script but was not given\n    next: --project code or --in code/package"]"#
        );
        assert!(hint("code/main3.py").contains("next: --with PACKAGE"));
        scene.folder.write("my code/main.py", "import utils\n");
        scene.folder.write("my code/utils.py", "");
        assert!(hint("my code/main.py").ends_with(r#"next: --project 'my code' or --in 'my code/utils.py'"]"#));
    }
}

#[test]
fn a_file_that_exists_only_outside_is_explained() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data.csv", "a");
        scene.folder.write("sub/data.csv", "a");
        let absolute = scene.folder.path().join("data.csv").to_string_lossy().into_owned();
        for (asked, next) in [
            ("data.csv", "--in data.csv"),
            ("sub/data.csv", "--in sub/data.csv=sub/data.csv"),
            (&absolute, "and read it by its name, `data.csv`"),
        ] {
            scene.folder.write("main.py", format!("open({asked:?})\n"));
            let ran = scene.run(user, &["main.py"]).expect(1);
            assert!(
                ran.stderr.contains(&format!(
                    "\n  hint: no such file inside: `{asked}` exists here but was not given\n    next: "
                )) && ran.stderr.contains(next),
                "{}",
                ran.stderr
            );
        }
        scene.folder.write("main.py", "open('nowhere.csv')\n");
        assert_eq!(scene.run(user, &["--json", "main.py"]).expect(1).report()["hints"].to_string(), "[]");
    }
}

#[test]
fn a_proposal_grants_nothing_and_says_who_said_what() {
    for user in users() {
        let scene = Scene::new();
        let code = "import socket\nfor name in ('api.example.com', 'evil\\\"}\\n[[egress]]'):\n    try: socket.getaddrinfo(name, 80)\n    except (OSError, UnicodeError): pass";
        assert_eq!(python(&scene, user, &["--quiet", "--learn", "proposal.toml"], code).status, 0);
        let text = scene.folder.read("proposal.toml");
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
        assert!(text.contains("# evidence: network to api.example.com (no network was granted)\n# egress = [ { host = \"api.example.com\" } ]   # said by the code\n"), "{text}");
        assert_eq!(python(&scene, user, &["--quiet", "--learn", "empty.toml"], "pass").status, 0);
        assert!(scene.folder.read("empty.toml").ends_with("\n# Nothing was refused that can be known.\n"));
    }
}

#[test]
fn a_plan_is_printed_and_nothing_is_run_or_recorded() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data.csv", "a");
        let before = listing(scene.folder.path());
        let arguments = ["--in", "data.csv", "--out", "out", "--limit", "memory=1GiB", "-c", "open('ran', 'w')"];
        let (explained, state) = scene.ended(scene.call(user).arg("--explain").args(arguments));
        let explained = explained.expect(0);
        assert_eq!(Call::trail(&state), Vec::<Value>::new());
        assert_eq!(listing(scene.folder.path()), before);
        let planned = call(STOCKADE, user)
            .within(scene.folder.path())
            .arg("plan")
            .args(["--env", &mark(&explained)])
            .args(arguments)
            .run()
            .expect(0);
        assert_eq!(stable(&planned.stdout), stable(&explained.stdout));
        for line in [
            "limit     memory 1 GiB",
            "network   none",
            "streams   pipes",
            "mount     proc /proc",
            "required  network root no-new-privileges no-capabilities seccomp landlock",
        ] {
            assert!(explained.stdout.lines().any(|found| found == line), "{line}: {}", explained.stdout);
        }
        assert!(
            explained
                .stdout
                .contains(&format!("mount     copied {}/data.csv at /job/data.csv\n", scene.folder.path().display())),
            "{}",
            explained.stdout
        );
    }
}

#[test]
fn paths_in_a_plan_cannot_be_mistaken_for_others() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("a at /job/b", "x");
        let ran = scene.run(user, &["--explain", "--in", "a at /job/b=c d", "--", "true"]).expect(0);
        let folder = scene.folder.path().display();
        let line = format!("\nmount     copied '{folder}/a at /job/b' at '/job/c d'\n");
        assert!(ran.stdout.contains(&line), "{}", ran.stdout);
    }
}

/// The mark that the scene gives its calls.
fn mark(ran: &Ran) -> String {
    ran.stdout.lines().find_map(|line| line.strip_prefix("var       MARK=")).map(|mark| format!("MARK={mark}")).unwrap()
}

/// A plan without what is made anew for each run: its id, and the throw-away user made of a process id.
fn stable(plan: &str) -> Vec<&str> {
    plan.lines().filter(|line| !line.starts_with("run ") && !line.starts_with("identity ")).collect()
}

#[test]
fn help_has_examples() {
    for (arguments, texts) in [
        (&["--help"] as &[&str], &["Run a script", "run", "plan"] as &[&str]),
        (
            &["run", "--help"],
            &[
                "Examples:\n  stockade run analysis.py\n",
                "--in <PATH[=NAME]>",
                "Options of Stockade come before the script",
                "\nUsage: stockade run [OPTIONS] SCRIPT [ARGUMENT]...\n       stockade run [OPTIONS] -c CODE",
                "  -h, --help  Print help\n",
            ],
        ),
        (&["plan", "--help"], &["Takes the same options as `stockade run`."]),
        (&["--version"], &[env!("CARGO_PKG_VERSION")]),
    ] {
        let ran = call(STOCKADE, User::Caller).args(arguments).run().expect(0);
        assert_eq!(ran.stderr, "");
        for text in texts {
            assert!(ran.stdout.contains(text), "{arguments:?}: {}", ran.stdout);
        }
    }
}

#[test]
fn the_trail_holds_what_was_intended_and_what_became_of_it() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("main.py", "print(1)\n");
        scene.folder.write("data.csv", "treasure");
        let (ran, state) =
            scene.ended(scene.call(user).args(["--json", "--env", "TOKEN=treasure", "--in", "data.csv", "main.py"]));
        let report = ran.expect(0).report();
        let trail = Call::trail(&state);
        assert_eq!(
            trail.iter().map(|record| record["record"].as_str().unwrap()).collect::<Vec<_>>(),
            ["intent", "outcome"]
        );
        assert!(trail.iter().all(|record| record["run"] == report["run"]));
        assert_eq!(trail[0]["label"], "main.py");
        assert_eq!(trail[0]["code_digest"], digest("print(1)\n"));
        assert!(trail[0]["principal"].as_str().unwrap().ends_with("@local"));
        assert!(
            trail[0]["sources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|source| source.as_str().unwrap().ends_with("/data.csv"))
        );
        assert_eq!(trail[1]["outcome"]["cause"], report["cause"]);
        assert!(!format!("{trail:?}").contains("treasure"), "neither data nor variables are on record");
    }
}

fn digest(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// README and decision 13 promise one static file: nothing is loaded beside it, by name or by search.
#[test]
fn the_program_asks_for_no_loader() {
    const INTERPRETER: u32 = 3; // PT_INTERP, elf(5)
    let program = std::fs::read(env!("CARGO_BIN_EXE_stockade")).unwrap();
    let number = |at: usize, bytes: usize| {
        program[at..at + bytes].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    let kinds: Vec<u32> = (0..count).map(|entry| u32::try_from(number(table + entry * size, 4)).unwrap()).collect();
    assert!(!kinds.is_empty() && !kinds.contains(&INTERPRETER), "{kinds:?}");
}

/// What the node builds on: nothing of Stockade's own in the code's streams, one document beside them.
#[test]
fn a_program_that_asks_on_behalf_of_others_gets_the_report_apart() {
    for user in users() {
        let scene = Scene::new();
        let (state, folder) = (scene.folder.path().join("state"), scene.folder.path());
        let ask = |words: &str| {
            let line = format!("exec 7>report; STOCKADE_STATE_DIR={} {STOCKADE} run {words}", state.display());
            let ran = stockade_testkit::call("sh", user).within(folder).args(["-c", &line]).run();
            (ran, serde_json::from_str::<Value>(&scene.folder.read("report")).unwrap_or_default())
        };
        let (ran, report) = ask(
            "--report-fd 7 --principal ann@example --parent $$ -c 'import sys, os; print(os.listdir(\"/proc/self/fd\")); sys.stderr.write(\"no end\"); sys.exit(3)'",
        );
        assert_eq!((ran.status, ran.stderr.as_str()), (3, "no end"), "{ran:?}");
        assert!(!ran.stdout.contains("'7'"), "the code does not have it: {}", ran.stdout);
        assert_eq!((report["cause"]["kind"].as_str(), report["cause"]["status"].as_i64()), (Some("exited"), Some(3)));
        let trail = std::fs::read_to_string(state.join("audit.jsonl")).unwrap();
        assert!(trail.contains("\"record\":\"intent\"") && trail.contains("\"principal\":\"ann@example\""), "{trail}");

        let (ran, report) = ask("--report-fd 7 --environment none-of-this-name -c 1");
        assert_eq!((ran.status, ran.stderr.as_str(), ran.stdout.as_str()), (125, "", ""), "{ran:?}");
        assert_eq!(report["cause"]["kind"], "refused");
        let (ran, _) = ask("--report-fd 7 --parent 1 -c 'print(1)'");
        assert_eq!((ran.status, ran.stdout.as_str()), (125, ""), "its parent is another: {ran:?}");
        let (ran, report) = ask("--report-fd 7 --parent $$ --host-user 1900500000 -c 'print(1)'");
        if user == User::Caller && rustix::process::geteuid().is_root() {
            assert_eq!((ran.stdout.as_str(), report["host_user"].as_u64()), ("1\n", Some(1_900_500_000)), "{ran:?}");
        } else {
            assert!(ran.status == 125 && ran.stderr.contains("the code cannot have the user"), "{ran:?}");
        }
        let (ran, _) = ask("--report-fd 77 -c 'print(1)'");
        assert!(ran.stderr.contains("give --report-fd a descriptor that is open"), "{ran:?}");
    }
}

/// Whoever writes to the descriptor of results can claim anything: no advice in our name comes of a run that went well.
#[test]
fn code_that_ends_well_has_no_hints_put_into_our_mouth() {
    for user in users() {
        let code = |status: u8| {
            format!(
                "import os\nfor number in range(3, 64):\n  try: os.write(number, b'{{\"kind\":\"exception\",\"type\":\"ModuleNotFoundError\",\"name\":\"strange\"}}\\n')\n  except OSError: pass\nos._exit({status})"
            )
        };
        let scene = Scene::new();
        assert_eq!(python(&scene, user, &["--json"], &code(0)).expect(0).report()["hints"].to_string(), "[]");
        let hints = python(&scene, user, &["--json"], &code(1)).expect(1).report()["hints"].to_string();
        assert!(hints.contains("strange"), "{hints}");
    }
}
