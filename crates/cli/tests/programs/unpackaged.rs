//! Virtual environments that exist already, and programs of any kind.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Folder, User, has, own_errors, quiet, run, users};

/// A virtual environment of the machine's Python with one module in it.
fn venv(folder: &Folder, options: &[&str]) -> Option<PathBuf> {
    let venv = folder.path().join("venv");
    let made = Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--without-pip"])
        .args(options)
        .arg(&venv)
        .output()
        .ok()?;
    if !made.status.success() {
        stockade_testkit::skipped("virtual environments", "the machine's Python cannot make one");
        return None;
    }
    let site = std::fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path().join("site-packages");
    std::fs::write(site.join("greeting.py"), "WORD = 'hello'\n").unwrap();
    Some(venv)
}

#[test]
fn a_virtual_environment_is_used_with_its_own_interpreter_and_never_changed() {
    let version =
        Command::new("/usr/bin/python3").args(["-c", "import sys; print(sys.version_info[:3])"]).output().unwrap();
    for user in users() {
        let folder = Folder::new();
        let Some(_) = venv(&folder, &[]) else { return };
        folder.write("x.py", "import greeting, os, subprocess, sys\nprint(greeting.WORD)\nprint(sys.version_info[:3])\nassert sys.prefix != sys.base_prefix\nsubprocess.check_call([sys.executable, '-c', 'import greeting'])\ntry: open(os.path.join(sys.prefix, 'x'), 'w')\nexcept OSError as error: print(error.errno)\n");
        let ran = quiet(run(user, &folder).args(["--venv", "venv", "x.py"]).run().expect(0));
        assert_eq!(ran.stdout, format!("hello\n{}30\n", String::from_utf8_lossy(&version.stdout)));
        assert!(!folder.path().join("venv/x").exists());
    }
}

#[test]
fn a_virtual_environment_that_adds_to_the_system_still_does() {
    for (option, expected) in [(&["--system-site-packages"][..], "True\n"), (&[], "False\n")] {
        let folder = Folder::new();
        let Some(_) = venv(&folder, option) else { return };
        let code = "import sys; print(any(path.endswith('/dist-packages') or path.startswith('/usr') and path.endswith('site-packages') for path in sys.path))";
        let ran = quiet(run(User::Caller, &folder).args(["--venv", "venv", "-c", code]).run().expect(0));
        assert_eq!(ran.stdout, expected);
    }
}

#[test]
fn a_program_inside_a_virtual_environment_is_not_started_outside() {
    let folder = Folder::new();
    let Some(venv) = venv(&folder, &[]) else { return };
    let proof = folder.path().join("proof");
    std::fs::remove_file(venv.join("bin/python")).unwrap();
    folder.write("venv/bin/python", format!("#!/bin/sh\ntouch {}\n", proof.display()));
    std::fs::set_permissions(venv.join("bin/python"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = run(User::Caller, &folder).args(["--venv", "venv", "-c", "1"]).run().expect(125);
    assert!(ran.stderr.contains("--python"), "{ran:?}");
    assert!(!proof.exists());
}

#[test]
fn scripts_of_the_shell_and_perl_run() {
    for user in users() {
        let folder = Folder::new();
        let script = folder.write("x.sh", "#!/bin/bash\nset -e\ncat in.csv | sort -r | head -1\nfor i in 1 2; do (sleep 0.01; echo $1) & done; wait\nperl -MPOSIX -e 'fork or exit 3; wait; print $?>>8, \" \", floor(3.7), \"\\n\"'\n[[ $(awk -F, '{ n += $2 } END { print n }' <(cat in.csv)) == 3 ]]\nexit 5\n");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        folder.write("in.csv", "a,1\nb,2\n");
        let ran = quiet(run(user, &folder).args(["--in", "in.csv", "--", "./x.sh", "word"]).run().expect(5));
        assert_eq!(ran.stdout, "b,2\nword\nword\n3 3\n");
    }
}

#[test]
fn a_compiled_program_with_threads_runs() {
    if !has("gcc") {
        return;
    }
    let folder = Folder::new();
    folder.write("x.c", "#include <math.h>\n#include <pthread.h>\n#include <stdio.h>\nstatic void *root(void *x) { *(double *)x = sqrt(*(double *)x); return 0; }\nint main(int count, char **words) {\n  pthread_t threads[8]; double values[8];\n  for (int i = 0; i < 8; i++) { values[i] = i * i; pthread_create(&threads[i], 0, root, &values[i]); }\n  for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);\n  printf(\"%s %d %.0f\\n\", words[1], count, values[7]);\n  return 9;\n}\n");
    let compiled =
        Command::new("gcc").args(["x.c", "-o", "x", "-lpthread", "-lm"]).current_dir(folder.path()).status().unwrap();
    assert!(compiled.success());
    for user in users() {
        let ran = quiet(run(user, &folder).args(["--", "./x", "word"]).run().expect(9));
        assert_eq!(ran.stdout, "word 2 7\n");
    }
}

#[test]
fn a_java_machine_starts_with_threads_and_sockets() {
    if !has("java") || !has("javac") {
        return;
    }
    let folder = Folder::new();
    folder.write("Hello.java", r#"
import java.net.*; import java.util.*; import java.util.concurrent.*;
public class Hello {
  public static void main(String[] words) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    long sum = 0; List<Future<Integer>> parts = new ArrayList<>();
    for (int i = 0; i < 100; i++) { int n = i; parts.add(pool.submit(() -> n * n)); }
    for (Future<Integer> part : parts) sum += part.get();
    pool.shutdown();
    try (ServerSocket server = new ServerSocket(0)) {
      Thread thread = new Thread(() -> { try (Socket one = server.accept()) { one.getOutputStream().write(65); } catch (Exception error) { } });
      thread.start();
      try (Socket client = new Socket("localhost", server.getLocalPort())) { System.out.println(sum + " " + client.getInputStream().read()); }
    }
    System.out.println(System.getProperty("user.home") + " " + NetworkInterface.getByName("lo").isLoopback());
  }
}
"#);
    let ran = run(User::Caller, &folder).args(["--in", "Hello.java", "--", "java", "Hello.java"]).run().expect(0);
    assert_eq!((own_errors(&ran).as_str(), ran.stdout.as_str()), ("", "328350 65\n/home/runner true\n"));
}
