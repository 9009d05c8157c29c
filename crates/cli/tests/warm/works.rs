//! What an engine is for.

use std::time::Duration;

use stockade_core::request::CgroupMode;
use stockade_engines::warm::{self, Bounds, Ended};

use crate::scene::{BOUNDS, Scene, pandas, text};

pub fn an_engine_with_pandas_answers() {
    let Some(environment) = pandas() else { return };
    let mut scene = Scene::start(Some(&environment), &["pandas"], CgroupMode::Auto);
    let answer = scene.run("import sys\nassert 'pandas' in sys.modules\nimport pandas as pd\nprint(1)\nprint(pd.DataFrame({'a': [1, 2, 2], 'b': [1.5, 2, 3]}).groupby('a').b.sum().to_dict())");
    assert_eq!(text(&answer.error), "");
    assert_eq!(text(&answer.output), "1\n{1: 1.5, 2: 5.0}\n");
    assert_eq!(answer.ended, Ended::Exited(0));
}

pub fn code_ends_as_a_script_does() {
    let mut scene = Scene::start(None, &["json"], CgroupMode::Off);
    for (code, status, output, error) in [
        ("print(__name__, __import__('sys').argv)", 0, "__main__ ['-c']\n", ""),
        ("import sys; sys.exit(3)", 3, "", ""),
        ("raise SystemExit('no')", 1, "", "no\n"),
        ("import sys; print(1); sys.stderr.write('warned')", 0, "1\n", "warned"),
        ("import atexit; atexit.register(print, 'at the end'); print('before')", 0, "before\nat the end\n", ""),
        ("import os; os._exit(7)", 0, "", ""),
        ("1 +", 1, "", "  File \"<string>\", line 1\n    1 +\n       ^\nSyntaxError: invalid syntax\n"),
        (
            "def f():\n  return 1/0\nf()",
            1,
            "",
            "Traceback (most recent call last):\n  File \"<string>\", line 3, in <module>\n  File \"<string>\", line 2, in f\nZeroDivisionError: division by zero\n",
        ),
        ("import os; os.write(3, b'{\"claim\": 1}')", 0, "", ""),
    ] {
        let answer = scene.run(code);
        assert_eq!((text(&answer.output), text(&answer.error)), (output, error), "{code}");
        let expected = if code.contains("_exit") { Ended::Silent } else { Ended::Exited(status) };
        assert_eq!(answer.ended, expected, "{code}");
        // As in a run, an exception that nobody caught is told.
        let says = code.contains("claim") || error.contains("Error:");
        assert_eq!(!answer.said.is_empty(), says, "{code}");
    }
}

pub fn long_code_is_carried_too() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    for length in [8_000, 8_192, 8_193, 3_000_000] {
        let line = "print(__import__('sys').argv)\n";
        let code = format!("{line}#{}", "x".repeat(length - line.len() - 1));
        assert_eq!(code.len(), length);
        assert_eq!(text(&scene.run(&code).output), "['-c']\n", "{length}");
    }
}

pub fn an_engine_that_dies_is_known_to_have() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    for (code, status) in [
        ("import os; os._exit(7)", 7 << 8),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 9),
        ("import ctypes; ctypes.string_at(1)", 11),
    ] {
        let engine = scene.engine().unwrap();
        let claimed = scene.claimed(engine);
        let answer = warm::run(&claimed, code.as_bytes(), BOUNDS).unwrap();
        assert_eq!(answer.ended, Ended::Silent, "{code}");
        let mut seen = None;
        for _ in 0..200 {
            seen = scene.template.end_of(claimed.engine()).unwrap();
            if seen.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // A dump of one byte is written, so the flag for it may be set.
        assert_eq!(seen.map(|seen| seen & !0x80), Some(status), "{code}");
    }
}

pub fn what_code_says_is_bounded() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let bounds = Bounds { longest: Duration::from_secs(2), stream_bytes_max: 10_000 };
    for (code, ended) in [
        ("while True: print('x' * 1000)", Ended::TooMuch),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", Ended::TooMuch),
        ("print('x' * 10_001)", Ended::TooMuch),
        ("print('x' * 9_998)", Ended::Exited(0)),
        ("while True: pass", Ended::TimedOut),
        ("import time; time.sleep(60)", Ended::TimedOut),
        // Its own socket is the code's to find: what it says there is at most its own end.
        ("import os\nfor d in range(4, 64):\n try: os.write(d, b'x' * 16)\n except OSError: pass", Ended::Nonsense),
        (
            "import os\nfor d in range(4, 64):\n try: os.write(d, b'x' * 100_000)\n except OSError: pass",
            Ended::Nonsense,
        ),
        ("import os\nwhile True: os.write(3, b'x' * 65536)", Ended::TimedOut),
    ] {
        let engine = scene.engine().unwrap();
        let claimed = scene.claimed(engine);
        let answer = warm::run(&claimed, code.as_bytes(), bounds).unwrap();
        assert_eq!(answer.ended, ended, "{code}");
        assert!(answer.output.len() + answer.error.len() <= 10_000, "{code}");
        assert!(answer.said.len() <= 1 << 20, "{code}");
    }
}

/// A claim is bound to a plan that is on record, and to the walls that it names.
pub fn an_engine_serves_one_run_once() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let (one, other) = (scene.engine().unwrap(), scene.engine().unwrap());
    let plan = scene.engine.clone().into_engine(other.user()).unwrap();
    assert!(one.claim(crate::scene::recorded(plan)).is_err(), "another engine's plan");
    let mut plan = scene.engine.clone().into_engine(other.user()).unwrap();
    plan.limits.memory_bytes += 1;
    assert!(other.claim(crate::scene::recorded(plan)).is_err(), "other limits");
    assert_eq!(text(&scene.run("print('ok')").output), "ok\n");
}

pub fn threads_and_processes_of_the_code_work() {
    let mut scene = Scene::start(None, &["json", "concurrent.futures"], CgroupMode::Off);
    let answer = scene.run(
        "import threading, subprocess, sys, multiprocessing, concurrent.futures as f
t = threading.Thread(target=print, args=('thread',), kwargs={'flush': True}); t.start(); t.join()
print(subprocess.run(['sh', '-c', 'echo process'], capture_output=True, text=True).stdout, end='')
print(f.ThreadPoolExecutor(2).submit(lambda: 'pool').result())
print(multiprocessing.get_context('fork').Pool(2).map(abs, [-1, -2]))
import tempfile; print(tempfile.TemporaryFile().write(b'xx'))
print(__import__('os').getcwd(), open('/proc/self/comm').read(1) != '')
threading.Thread(target=lambda: (__import__('time').sleep(0.2), print('late'))).start()",
    );
    assert_eq!(text(&answer.error), "");
    assert_eq!(text(&answer.output), "thread\nprocess\npool\n[1, 2]\n2\n/job True\nlate\n");
}
