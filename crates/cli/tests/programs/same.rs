//! A script under `stockade run` and under plain `python3`: the same output, errors and status.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use stockade_testkit::Ran;

use crate::support::{Folder, User, own_errors, run};

/// Name and script; each is run with the arguments `a -b --c=d` and two lines of standard input.
const SCRIPTS: &[(&str, &str)] = &[
    ("arguments", "import sys; print(sys.argv, sys.path[0], __file__, __name__)"),
    (
        "flags",
        "import sys; print(sys.flags, sys.dont_write_bytecode, sys.getrecursionlimit(), sys.stdout.line_buffering, sys.stdout.encoding, sys.stderr.errors, sys.stdin.encoding)",
    ),
    (
        "hooks",
        "import sys; print(sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__, sys.stdin.isatty(), sys.stdout.isatty())",
    ),
    (
        "names",
        "import __main__, sys; print(__main__.__file__, sys.modules['__main__'].__spec__, __loader__.__class__.__name__, sorted(globals()))",
    ),
    ("place", "import os; print(os.getcwd() == os.path.dirname(os.path.abspath(__file__)), sorted(os.listdir()))"),
    ("chained error", "def f():\n    1/0\ntry:\n    f()\nexcept Exception as e:\n    raise KeyError('x') from e"),
    ("deep recursion", "def f(): f()\nf()"),
    ("error in a thread", "import threading; threading.Thread(target=lambda: 1/0, name='T').start()"),
    ("error after atexit", "import atexit; atexit.register(print, 'bye'); 1/0"),
    ("syntax error", "print(1)\nx = = 2"),
    ("missing module", "import nothing_of_this_name"),
    ("missing file", "open('absent.csv')"),
    ("warnings", "import warnings; warnings.warn('w'); warnings.warn('d', DeprecationWarning)"),
    ("exit 3", "import sys; sys.exit(3)"),
    ("exit with words", "import sys; sys.exit('bye')"),
    ("exit with a list", "import sys; sys.exit([1])"),
    ("exit with nothing", "raise SystemExit"),
    ("exit 256", "import sys; sys.exit(256)"),
    ("exit -1", "import sys; sys.exit(-1)"),
    ("exit at once", "import os; print('lost', end=''); os._exit(5)"),
    ("interrupt", "raise KeyboardInterrupt"),
    ("abort", "import os; os.abort()"),
    ("terminated", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    ("killed", "import os; os.kill(os.getpid(), 9)"),
    ("segmentation fault", "import ctypes; ctypes.string_at(0)"),
    ("no end of line", "print('no end of line', end='')"),
    ("letters", "import sys; print('é ü 漢字 😀'); print('ß', file=sys.stderr)"),
    ("bytes", "import sys; sys.stdout.buffer.write(bytes(range(128)))"),
    ("much", "import sys; print('x' * 3_000_000); sys.stderr.write('y' * 300_000 + '\\n')"),
    ("standard output closed", "import os; os.close(1); print('x')"),
    ("all of standard input", "import sys; print(repr(sys.stdin.read()))"),
    ("questions", "print(input('name? ')); print(input())\ntry: input()\nexcept EOFError: print('end')"),
    (
        "signals",
        "import signal; print([s.name for s in signal.Signals if signal.getsignal(s) not in (signal.SIG_DFL, None)], signal.pthread_sigmask(0, []))",
    ),
    (
        "profile",
        "import cProfile, pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__); cProfile.run('sum(range(10))', '/tmp/profile')",
    ),
];

#[test]
fn a_script_writes_and_ends_as_with_plain_python() {
    let base = Command::new("python3")
        .args(["-c", "import os, sys; print(os.path.realpath(sys.base_prefix))"])
        .output()
        .unwrap();
    let base = String::from_utf8(base.stdout).unwrap().trim().to_owned();
    for (name, script) in SCRIPTS {
        let folder = Folder::new();
        folder.write("x.py", script);
        let here = folder.path().to_str().unwrap();
        let inside = |text: &str| {
            let text = text.replace(here, "/job");
            if base.starts_with("/usr") { text } else { text.replace(&base, "/opt/stockade/interpreter") }
        };
        let plain = plain(&folder);
        let walled = run(User::Caller, &folder).args(["x.py", "a", "-b", "--c=d"]).input("l1\nl2").run();
        assert_eq!(
            (walled.status, walled.stdout.as_str(), own_errors(&walled)),
            (plain.status, inside(&plain.stdout).as_str(), inside(&plain.stderr)),
            "{name}"
        );
    }
}

fn plain(folder: &Folder) -> Ran {
    let mut command = Command::new("python3");
    command.args(["x.py", "a", "-b", "--c=d"]).current_dir(folder.path()).env_clear();
    // What the caller's variables change is not to be compared.
    command
        .envs(["PATH", "HOME", "PYENV_VERSION"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("LANG", "C.UTF-8");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"l1\nl2").unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

/// Interrupts `stockade` when the script has said that it waits.
fn interrupted(script: &str) -> Ran {
    let folder = Folder::new();
    folder.write("x.py", script);
    let (mut child, _state) = run(User::Caller, &folder).arg("x.py").start();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut stdout = String::new();
    lines.read_line(&mut stdout).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    lines.read_to_string(&mut stdout).unwrap();
    let mut ran = Ran::from(child.wait_with_output().unwrap());
    ran.stdout = stdout;
    ran
}

#[test]
fn an_interrupt_is_a_keyboard_interrupt_inside() {
    let ran = interrupted("import time\nprint('waiting', flush=True)\ntime.sleep(60)\n").expect(130);
    assert!(own_errors(&ran).trim_end().ends_with("KeyboardInterrupt"), "{ran:?}");
    let ran = interrupted("import time\ntry:\n    print('waiting', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('caught')\n").expect(0);
    assert_eq!(ran.stdout, "waiting\ncaught\n");
}

#[test]
fn lines_arrive_in_the_order_they_are_written() {
    let folder = Folder::new();
    let both = "import os\nfor n in range(50):\n    os.write(1, b'out %d\\n' % n); os.write(2, b'err %d\\n' % n)\n";
    let ran = run(User::Caller, &folder).args(["-c", both]).run().expect(0);
    assert_eq!(ran.stdout, (0..50).map(|n| format!("out {n}\n")).collect::<String>());
    assert_eq!(own_errors(&ran), (0..50).map(|n| format!("err {n}\n")).collect::<String>());
}

#[test]
fn code_on_the_command_line_and_on_standard_input_sees_what_it_sees_outside() {
    let folder = Folder::new();
    let code = "import sys; print(sys.argv, repr(sys.path[0]), __name__, '__file__' in globals())";
    for words in [vec!["-c", code, "a"], vec!["-", "a"]] {
        let mut plain = Command::new("python3")
            .args(&words)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        plain.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let plain = plain.wait_with_output().unwrap();
        let ran = run(User::Caller, &folder).args(&words).input(code).run().expect(0);
        assert_eq!(ran.stdout, String::from_utf8_lossy(&plain.stdout), "{words:?}");
    }
}
