"""Compares the scripts that run inside the sandbox with plain python and Rscript.

Needs no sandbox: `python3 -m unittest` in this folder. STOCKADE_TEST_PYTHON names
another interpreter to test, one that has matplotlib, duckdb and so on.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

ASSETS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = os.environ.get("STOCKADE_TEST_PYTHON", sys.executable)
SITE, LIB = os.path.join(ASSETS, "site"), os.path.join(ASSETS, "lib")
MAIN = [PYTHON, "-I", os.path.join(ASSETS, "main.py")]

# Each is run by plain python and by us: standard output, standard error and exit
# status must be the same, byte for byte.
SCRIPTS = {
    "arguments": "import sys; print(sys.argv, sys.path[0])",
    "names": """
        print(sorted(k for k in globals()), __name__, __spec__, __doc__, __package__)
        print(globals().get('__file__'), globals().get('__cached__'), type(__builtins__))
        print(getattr(__loader__, 'path', None), getattr(__loader__, 'name', None))
        import sys; print(sys.modules['__main__'].__dict__ is globals())""",
    "docstring": "'''doc'''\nprint(__doc__)",
    "original arguments": "import sys; print([a for a in getattr(sys, 'orig_argv', [])[1:] if a != '-I'])",
    "uncaught": "def f():\n    return 1 / 0\nf()",
    "chained": """
        try:
            {}['a']
        except KeyError as e:
            raise ValueError('b') from e""",
    "context": """
        try:
            {}['a']
        except KeyError as e:
            int('x')""",
    "import error": "import nowhere_to_be_found",
    "missing file": "open('absent.csv')",
    "base exception": "class E(BaseException): pass\nraise E('x')",
    "odd exception": "class E(Exception):\n    def __str__(self): return 1/0\nraise E",
    "exit 3": "import sys; sys.exit(3)",
    "exit None": "import sys; sys.exit()",
    "exit message": "import sys; sys.exit('a message')",
    "exit big": "import sys; sys.exit(257)",
    "exit in excepthook": "import sys\nsys.excepthook = lambda *a: sys.exit(7)\n1/0",
    "own excepthook": "import sys\nsys.excepthook = lambda t, v, tb: print(t, v, tb.tb_lineno, tb.tb_next)\n1/0",
    "excepthook is python's": "import sys; print(sys.excepthook is sys.__excepthook__)",
    "os._exit": "import os; print('lost', end=''); os._exit(5)",
    "interrupt": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)",
    "interrupt raised": "raise KeyboardInterrupt",
    "abort": "import os; os.abort()",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "atexit after an error": "import atexit; atexit.register(print, 'bye')\nraise ValueError('x')",
    "thread error": "import threading\nt = threading.Thread(target=lambda: 1/0, name='T'); t.start(); t.join(); print('on')",
    "thread outlives": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as e: print('deep', e)",
    "partial line": "print('no end of line', end='')",
    "both streams": "import sys; print('o'); print('e', file=sys.stderr); print('o2')",
    "syntax": "print('never')\nx = = 1",
    "indentation": "if 1:\nprint(1)",
    "unfinished": "print((1,",
    "bad escape": r"print('\d')",
    "future": "from __future__ import annotations\ndef f(x: nope): pass\nprint(f.__annotations__)",
    "no future": "import sys\ntry:\n    def f(x: nope): pass\n    print(f.__annotations__)\nexcept NameError as e: print(e)",
    "latin-1": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))",
    "byte order mark": b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))",
    "no encoding": b"x = 1\nprint('\xe9')",
    "unknown encoding": b"# coding: nope\nprint(1)",
    "null byte": b"print(1)\x00\n",
    "carriage returns": b"print(1)\r\nif 1:\r\n    print('''a\r\nb''')\r\n",
    "empty": "",
    "source": "import inspect\ndef f():\n    return 1\ntry:\n    print(inspect.getsource(f))\nexcept OSError as e: print(e)",
    "doctest": "def f():\n    '''\n    >>> f()\n    2\n    '''\n    return 1\nimport doctest; print(doctest.testmod())",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))",
    "pickle": """
        import pickle
        class P: pass
        print(type(pickle.loads(pickle.dumps(P()))) is P, P.__module__)""",
    "format_exc": "import traceback\ntry:\n    1/0\nexcept ZeroDivisionError: print(traceback.format_exc())",
    "warning": "import warnings; warnings.warn('careful')",
    "logging": "import logging; logging.warning('careful'); logging.exception('x')",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\nunittest.main(verbosity=0, argv=['x'], exit=False) if 0 else print(unittest.defaultTestLoader.loadTestsFromName('__main__').countTestCases())",
    "destructor": "class D:\n    def __del__(self): print('gone')\nd = D()",
    "beside": "import beside; print(beside.X)",
    "variables": "import os; print(os.environ.get('STOCKADE_RESULT_FD'))",
    "no path": "import sys\nsys.path[:] = []\n1/0",
    "names deleted": "import sys\nfor n in list(sys.modules): n.startswith('stockade') and sys.modules.pop(n)\nraise ValueError('x')",
    "input": "try:\n    print(repr(input()))\nexcept EOFError: print('eof')",
    "asyncio": "import asyncio\nasync def f(): return 4\nprint(asyncio.run(f()))",
    "asyncio error": "import asyncio\nasync def f(): 1/0\nasyncio.run(f())",
}

# These need a file to find `__main__` again, so they run as scripts only.
PROCESSES = """
import multiprocessing as m, sys
class P: pass
def f(x): return type(x).__name__, x.n, sys.argv
if __name__ == '__main__':
    p = P(); p.n = 3
    with m.get_context('%s').Pool(1) as pool:
        print(pool.map(f, [p]))
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1, mp_context=m.get_context('%s')) as e:
        print(e.submit(f, p).result())
"""
LOKY = """
from joblib import Parallel, delayed
class P:
    def __init__(self, n): self.n = n
def f(p): return p.n + 1
if __name__ == '__main__':
    print(Parallel(n_jobs=2)(delayed(f)(P(i)) for i in range(4)))
"""


def lines(text):
    """The text of a table entry without its common indentation."""
    if isinstance(text, bytes):
        return text
    if text.startswith("\n        "):
        text = text.replace("\n        ", "\n")[1:]
    return text.encode()


def has(module):
    return subprocess.call([PYTHON, "-c", "import " + module], stderr=subprocess.DEVNULL) == 0


def needs(*modules):
    missing = [module for module in modules if not has(module)]
    return unittest.skipIf(missing, "%s lacks %s" % (PYTHON, ", ".join(missing)))


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def put(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(lines(text))

    def files(self, start=""):
        return sorted(n for n in os.listdir(self.folder) if n.startswith(start))

    def run_plain(self, command, stdin=b"", **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "STOCKADE", "MPL"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=dict(kept, PYTHONDONTWRITEBYTECODE="1", **variables),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=120,
            **self.passed
        )
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    passed = {}

    def run_reported(self, command, **variables):
        """As `run_plain`, with a result descriptor: the outcome, and the reports."""
        ours, theirs = os.pipe()
        try:
            self.passed = {"pass_fds": [theirs]}
            outcome = self.run_plain(command, STOCKADE_RESULT_FD=str(theirs), **variables)
        finally:
            os.close(theirs)
            self.passed = {}
        with os.fdopen(ours, "rb") as pipe:
            return outcome, [json.loads(line) for line in pipe]


class TheSameAsPlainPython(Case):
    def compare(self, plain, shim, stdin=b""):
        expected = self.run_plain([PYTHON] + plain, stdin)
        self.assertEqual(expected, self.run_plain(MAIN + shim, stdin), "main.py")
        outcome = self.run_plain([PYTHON] + plain, stdin, PYTHONPATH=SITE)
        self.assertEqual(expected, outcome, "sitecustomize")
        outcome, _ = self.run_reported_with(stdin, [PYTHON] + plain, PYTHONPATH=SITE)
        self.assertEqual(expected, outcome, "sitecustomize, reporting")
        outcome, _ = self.run_reported_with(stdin, MAIN + shim)
        self.assertEqual(expected, outcome, "main.py, reporting")

    def run_reported_with(self, stdin, command, **variables):
        run_plain = self.run_plain
        try:
            self.run_plain = lambda command, **v: run_plain(command, stdin, **v)
            return self.run_reported(command, **variables)
        finally:
            self.run_plain = run_plain

    def test_scripts(self):
        self.put("beside.py", "X = 1")
        for name, text in SCRIPTS.items():
            with self.subTest(script=name):
                self.put("x.py", text)
                self.compare(["x.py", "a", "-b"], ["script", "x.py", "a", "-b"], b"line\n")

    def test_commands(self):
        self.put("beside.py", "X = 1")
        for name, text in SCRIPTS.items():
            if isinstance(text, bytes) or name == "bad escape":
                continue  # main.py's warning has one line more than python 3.13's
            with self.subTest(command=name):
                text = lines(text).decode()
                self.compare(["-c", text, "a", "-b"], ["code", text, "a", "-b"], b"line\n")

    def test_standard_input(self):
        self.put("beside.py", "X = 1")
        for name, text in SCRIPTS.items():
            if name == "latin-1":
                continue  # plain python refuses it on standard input, by a bug of its own
            with self.subTest(program=name):
                self.compare(["-", "a", "-b"], ["stdin", "a", "-b"], lines(text))

    def test_other_places(self):
        self.put("src/app/x.py", "import sys, y; print(sys.argv, sys.path[0], __file__, y)\n1/0")
        self.put("src/app/y.py", "")
        os.symlink("src/app/x.py", os.path.join(self.folder, "link.py"))
        for name in ("src/app/x.py", "./src/app/../app/x.py", "link.py", self.folder + "/src/app/x.py"):
            with self.subTest(name=name):
                self.compare([name], ["script", name])

    def test_what_is_no_script(self):
        self.put("folder/__main__.py", "import sys; print(sys.argv, sys.path[0]); 1/0")
        shutil.make_archive(os.path.join(self.folder, "app"), "zip", os.path.join(self.folder, "folder"))
        for name in ("absent.py", "folder", "app.zip", "/", ""):
            with self.subTest(name=name):
                self.compare([name, "a"], ["script", name, "a"])

    def test_multiprocessing(self):
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method=method):
                self.put("x.py", PROCESSES % (method, method))
                self.compare(["x.py", "a"], ["script", "x.py", "a"])

    @needs("joblib")
    def test_joblib(self):
        self.put("x.py", LOKY)
        self.compare(["x.py"], ["script", "x.py"])

    def test_a_broken_pipe(self):
        self.put("x.py", "import os, sys\nos.close(1)\nprint('x')")
        self.compare(["x.py"], ["script", "x.py"])

    def test_interrupt_kills_with_the_signal(self):
        self.put("x.py", "raise KeyboardInterrupt")
        self.assertEqual(self.run_plain(MAIN + ["script", "x.py"])[0], -signal.SIGINT)


class Reports(Case):
    def both(self, text):
        self.put("x.py", text)
        for command, variables in (
            (MAIN + ["script", "x.py"], {}),
            ([PYTHON, "x.py"], {"PYTHONPATH": SITE}),
        ):
            with self.subTest(command=command[1:]):
                yield self.run_reported(command, **variables)

    def test_a_missing_module(self):
        for _, reports in self.both("import utils"):
            self.assertEqual(
                reports,
                [{"kind": "exception", "type": "ModuleNotFoundError", "message": "No module named 'utils'", "name": "utils"}],
            )

    def test_a_missing_file(self):
        for _, reports in self.both("open(b'data\\xff\\n.csv')"):
            self.assertEqual(reports[0]["type"], "FileNotFoundError")
            self.assertEqual(reports[0]["path"], "data?\n.csv")

    def test_a_syntax_error(self):
        for _, reports in self.both("x = = 1"):
            self.assertEqual([r["type"] for r in reports], ["SyntaxError"])

    def test_an_exit_is_not_reported(self):
        for _, reports in self.both("raise SystemExit(3)"):
            self.assertEqual(reports, [])

    def test_a_long_message_is_one_line_within_the_limit(self):
        for text in ("'x' * 10**6", "'\\n' * 10**6", "chr(0x1f600) * 9999", "chr(0xdc80) * 9999"):
            for _, reports in self.both("raise ValueError(%s)" % text):
                self.assertEqual(len(reports), 1)
                self.assertLessEqual(len(json.dumps(reports[0])), 4096)

    def test_children_do_not_get_the_descriptor(self):
        text = """
            import os, subprocess, sys
            look = "import os; print(os.listdir('/proc/self/fd'), os.environ.get('STOCKADE_RESULT_FD'))"
            print(subprocess.check_output([sys.executable, '-c', look], close_fds=False).decode())"""
        for (status, out, _), _ in self.both(text.replace("\n            ", "\n")):
            self.assertEqual((status, len(eval(out.rpartition(" ")[0])), out.split()[-1]), (0, 4, "None"))

    def test_a_file_that_took_the_number_is_not_written_to(self):
        text = "import os\nos.closerange(3, 50)\nfor i in range(40): os.open('f%d' % i, os.O_CREAT | os.O_RDWR)\n1/0"
        for _, reports in self.both(text):
            self.assertEqual(reports, [])
            sizes = [os.path.getsize(os.path.join(self.folder, "f%d" % i)) for i in range(40)]
            self.assertEqual(set(sizes), {0})

    def test_a_closed_or_senseless_descriptor_changes_nothing(self):
        self.put("x.py", "print(1)\n1/0")
        expected = self.run_plain([PYTHON, "x.py"])
        for number in ("77", "x", "-1", "99999999999999999999"):
            outcome = self.run_plain(MAIN + ["script", "x.py"], STOCKADE_RESULT_FD=number)
            self.assertEqual(outcome, expected)
            outcome = self.run_plain([PYTHON, "x.py"], STOCKADE_RESULT_FD=number, PYTHONPATH=SITE)
            self.assertEqual(outcome, expected)

    def test_child_interpreters_have_the_library_and_not_the_start_up(self):
        text = "import subprocess, sys\nsubprocess.check_call([sys.executable, '-c', 'import sys, stockade_figures as s; print(s.__file__, \"stockade_state\" in sys.modules)'])"
        self.put("x.py", text.replace("stockade_figures", "stockade_result"))
        status, out, _ = self.run_plain([PYTHON, "x.py"], PYTHONPATH=SITE)
        self.assertEqual((status, out), (0, LIB + "/stockade_result.py False\n"))

    def test_the_environments_own_sitecustomize_runs_too(self):
        self.put("own/sitecustomize.py", "print('own')")
        self.put("x.py", "import sitecustomize; print(sitecustomize.__file__)")
        _, out, _ = self.run_plain([PYTHON, "x.py"], PYTHONPATH=SITE + ":own")
        self.assertEqual(out, "own\n%s/own/sitecustomize.py\n" % self.folder)


@needs("matplotlib")
class Figures(Case):
    def draw(self, text):
        self.put("x.py", "import matplotlib.pyplot as plt\n" + lines(text).decode())
        outcome, reports = self.run_reported(
            MAIN + ["script", "x.py"],
            MPLBACKEND="module://stockade_figures",
            PYTHONPATH=LIB,
            MPLCONFIGDIR=CACHE,
        )
        self.assertEqual((outcome[0], outcome[2]), (0, ""))
        self.assertEqual([r["name"] for r in reports], [n for n in self.files("figure-") if n not in self.staged])
        return outcome[1], self.files("figure-")

    staged = ()

    def test_show_writes_and_closes_every_open_figure(self):
        text = "plt.plot([1]); plt.figure(); plt.plot([2]); plt.show(); print(plt.get_fignums())\nplt.plot([3]); plt.show(block=True)"
        self.assertEqual(self.draw(text), ("[]\n", ["figure-1.png", "figure-2.png", "figure-3.png"]))

    def test_show_without_a_figure_writes_nothing(self):
        self.assertEqual(self.draw("plt.show(); plt.show()"), ("", []))

    def test_a_figure_not_shown_is_not_written(self):
        self.assertEqual(self.draw("plt.plot([1])"), ("", []))

    def test_a_staged_file_is_not_overwritten(self):
        self.put("figure-1.png", "mine")
        self.staged = ("figure-1.png",)
        self.assertEqual(self.draw("plt.plot([1]); plt.show()")[1], ["figure-1.png", "figure-2.png"])
        with open(os.path.join(self.folder, "figure-1.png")) as file:
            self.assertEqual(file.read(), "mine")

    def test_figure_show(self):
        text = "f, a = plt.subplots(); a.plot([1]); f.show(); print(plt.get_fignums()); f.show(); plt.show()"
        self.assertEqual(self.draw(text), ("[1]\n", ["figure-1.png"]))

    def test_an_animation_is_one_figure_with_its_last_state(self):
        text = """
            import os
            for i in range(5):
                plt.plot([i] * 3); plt.pause(0.001)
            print(os.path.getsize('figure-1.png'))"""
        out, files = self.draw(text.replace("\n            ", "\n"))
        self.assertEqual(files, ["figure-1.png"])
        self.assertNotEqual(int(out), os.path.getsize(os.path.join(self.folder, "figure-1.png")))

    def test_not_blocking_leaves_figures_open(self):
        text = "plt.plot([1]); plt.show(block=False); print(plt.get_fignums()); plt.show()"
        self.assertEqual(self.draw(text), ("[1]\n", ["figure-1.png"]))

    def test_interactive_mode_writes_at_the_end(self):
        self.assertEqual(self.draw("plt.ion(); plt.plot([1])"), ("", ["figure-1.png"]))

    def test_a_figure_the_script_saved_has_no_second_copy(self):
        self.assertEqual(self.draw("plt.plot([1]); plt.savefig('a.pdf'); plt.show()"), ("", []))
        self.assertIn("a.pdf", self.files())

    def test_a_figure_saved_then_changed_is_written(self):
        text = "plt.plot([1]); plt.savefig('a.png', bbox_inches='tight'); plt.title('t'); plt.show()"
        self.assertEqual(self.draw(text)[1], ["figure-1.png"])

    def test_a_figure_saved_elsewhere_is_written(self):
        text = "import io; plt.plot([1]); plt.savefig(io.BytesIO()); plt.show()"
        self.assertEqual(self.draw(text)[1], ["figure-1.png"])

    def test_figures_go_to_the_first_working_folder(self):
        text = "import os, tempfile; os.chdir(tempfile.mkdtemp()); plt.plot([1]); plt.show()"
        self.assertEqual(self.draw(text)[1], ["figure-1.png"])

    def test_figures_of_spawned_processes(self):
        text = """
            import multiprocessing as m
            def f(i):
                plt.plot([i]); plt.show()
            if __name__ == '__main__':
                with m.get_context('spawn').Pool(2) as pool: pool.map(f, range(3))"""
        self.put("x.py", "import matplotlib.pyplot as plt\n" + text.replace("\n            ", "\n"))
        for command, path in ((MAIN + ["script"], LIB), ([PYTHON], SITE)):
            outcome = self.run_plain(
                command + ["x.py"], MPLBACKEND="module://stockade_figures", PYTHONPATH=path, MPLCONFIGDIR=CACHE
            )
            self.assertEqual(outcome, (0, "", ""))
        self.assertEqual(len(self.files("figure-")), 6)


@needs("duckdb")
class Sql(Case):
    def query(self, text):
        self.put("q.sql", text)
        (status, out, err), reports = self.run_reported(MAIN + ["sql", "q.sql"])
        return status, out, err, reports

    def result(self):
        with open(os.path.join(self.folder, "result.csv")) as file:
            return file.read()

    def test_every_result_is_printed_and_the_last_is_kept(self):
        self.put("sales.csv", "a,b\n1,x\n2,y\n")
        self.put("data/p-1.tsv", "c\td\n7\tz\n")
        status, out, err, _ = self.query("select sum(a) from SALES; -- one\nfrom data_p_1; create table t (i int)")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("sum(a)", out)
        self.assertIn("7", out)
        self.assertEqual(self.result(), "c,d\n7,z\n")

    def test_files_by_path(self):
        self.put("s.jsonl", '{"a":1}\n{"a":2}\n')
        self.assertEqual(self.query("select count(*) n from 's.jsonl'")[0], 0)
        self.assertEqual(self.result(), "n\n2\n")

    def test_names_that_collide_are_told(self):
        self.put("s.csv", "a\n1\n")
        self.put("s.json", '[{"a":2}]')
        status, _, err, _ = self.query("select s.a, s_json.a b from s, s_json")
        self.assertEqual((status, self.result()), (0, "a,b\n1,2\n"))
        self.assertEqual(err, "note: `s.json` is the table `s_json`, since `s.csv` is `s`\n")

    def test_an_existing_result_is_kept(self):
        self.put("result.csv", "mine")
        status, _, err, _ = self.query("select 1")
        self.assertEqual((status, self.result()), (0, "mine"))
        self.assertIn("`result.csv` exists and is kept", err)

    def test_errors_name_the_line(self):
        for text, line in (
            ("select 1;\n\n\nselect *\nfrom nope", 5),
            ("select 1;\nselec 2", 2),
            ("-- a\n\nselect 1;\n-- b\nselect cast('x' as int)", 5),
        ):
            with self.subTest(text=text):
                status, _, err, reports = self.query(text)
                self.assertEqual(status, 1)
                self.assertIn("`q.sql` line %d: " % line, err)
                self.assertEqual(reports[0]["kind"], "exception")

    def test_variables_of_ours_are_no_tables(self):
        self.assertEqual(self.query("from views")[0], 1)

    def test_our_table_is_not_among_those_listed(self):
        for text in ("show tables", "-- what is there\nSHOW ALL TABLES", "from information_schema.tables"):
            with self.subTest(text=text):
                status, out, err, _ = self.query("create table mine (i int); select 1; %s; select 2" % text)
                self.assertEqual((status, err), (0, ""))
                self.assertIn("mine", out)
                self.assertNotIn("stockade", out)
                os.unlink(os.path.join(self.folder, "result.csv"))

    def test_a_description_is_a_result(self):
        for word in ("describe", "summarize"):
            with self.subTest(word=word):
                status, _, err, _ = self.query("create table mine (i int); %s mine" % word)
                self.assertEqual((status, err), (0, ""))
                self.assertIn("INTEGER", self.result())
                os.unlink(os.path.join(self.folder, "result.csv"))

    def test_a_broken_file_that_is_not_used_does_no_harm(self):
        self.put("bad.parquet", "no")
        self.assertEqual(self.query("select 1")[0], 0)

    @needs("pyarrow")
    def test_arrow(self):
        self.put(
            "make.py",
            "import pyarrow as p, pyarrow.feather as f, pyarrow.parquet as q\nt = p.table({'k': [1, 2]})\n"
            "f.write_feather(t, 'a.feather'); q.write_table(t, 'b.parquet')\n"
            "with p.ipc.new_stream('c.arrow', t.schema) as w: w.write_table(t)",
        )
        self.run_plain([PYTHON, "make.py"])
        status, _, err, _ = self.query("select sum(k)::int s from a join b using (k) join c using (k) join 'a.feather' using (k)")
        self.assertEqual((status, err, self.result()), (0, "", "s\n3\n"))


@needs("nbclient", "ipykernel")
class Notebooks(Case):
    def execute(self, *cells):
        notebook = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5, "cells": []}
        for number, text in enumerate(cells):
            cell = {"cell_type": "code", "id": "c%d" % number, "metadata": {}, "execution_count": None, "outputs": []}
            notebook["cells"].append(dict(cell, source=text))
        self.put("n.ipynb", json.dumps(notebook))
        outcome, reports = self.run_reported(
            MAIN + ["notebook", "n.ipynb", "a"], MPLBACKEND="module://stockade_figures", MPLCONFIGDIR=CACHE
        )
        with open(os.path.join(self.folder, "n.executed.ipynb")) as file:
            return outcome, reports, json.load(file)["cells"]

    def test_output_passes_through_and_is_kept(self):
        outcome, _, cells = self.execute("import os, sys; print(os.getcwd(), sys.argv)", "x = 2", "x")
        self.assertEqual(outcome, (0, "%s ['n.ipynb', 'a']\n" % self.folder, ""))
        self.assertEqual(cells[2]["outputs"][0]["data"]["text/plain"], ["2"])

    def test_the_first_error_stops_and_the_notebook_is_written(self):
        (status, out, err), reports, cells = self.execute("print('one')", "import utils", "print('two')")
        self.assertEqual((status, out), (1, "one\n"))
        self.assertIn("ModuleNotFoundError: No module named 'utils'", err)
        self.assertNotIn("WARNING", err)
        self.assertEqual(reports[0]["name"], "utils")
        self.assertEqual([len(cell["outputs"]) for cell in cells], [1, 1, 0])

    def test_a_kernel_that_dies(self):
        (status, _, err), _, _ = self.execute("import os; os._exit(1)")
        self.assertEqual(status, 1)
        self.assertIn("its kernel ended before the notebook did", err)

    @needs("matplotlib")
    def test_figures_stay_and_are_written(self):
        outcome, reports, cells = self.execute("import matplotlib.pyplot as plt", "plt.plot([1]); plt.show()", "plt.plot([2]);")
        self.assertEqual(outcome, (0, "", ""))
        self.assertEqual([r["name"] for r in reports], ["figure-1.png", "figure-2.png"])
        self.assertIn("image/png", cells[1]["outputs"][-1]["data"])

    def test_what_is_no_notebook(self):
        self.put("x.ipynb", "no")
        status, _, err = self.run_plain(MAIN + ["notebook", "x.ipynb"])
        self.assertEqual((status, err.splitlines()[0]), (1, "error: cannot read the notebook `x.ipynb`"))


@unittest.skipIf(shutil.which("Rscript") is None, "no Rscript here")
class R(Case):
    main = os.path.join(ASSETS, "main.R")
    profile = ["Rscript", "--no-environ", "--no-site-file", "--no-save", "--no-restore"]

    def both(self, text):
        """By R with main.R as its profile, and by main.R itself."""
        self.put("x.R", text)
        for command, variables in (
            (self.profile + ["x.R"], {"R_PROFILE_USER": self.main}),
            (["Rscript", "--vanilla", self.main, "x.R"], {}),
        ):
            for name in self.files("figure-"):
                os.unlink(os.path.join(self.folder, name))
            with self.subTest(command=command[:2]):
                yield self.run_reported(command + ["a", "b c"], LC_ALL="C.UTF-8", **variables)
                self.assertNotIn("Rplots.pdf", self.files())

    def test_arguments_and_values(self):
        for outcome, _ in self.both("commandArgs(trailingOnly = TRUE)\ninvisible(2)\n1 + 1"):
            self.assertEqual(outcome, (0, '[1] "a"   "b c"\n[1] 2\n', ""))

    def test_as_profile_the_same_as_plain_rscript(self):
        for text in (
            "f <- function() stop('x')\nf()",
            "1 +",
            "warning('w')\nprint(sys.calls())\nquit(status = 3)",
            "g <- function() warning('w')\ng()\nprint(1)\nlibrary(nowhere)",
            "try(stop('a')); tryCatch(stop('b'), error = function(e) print(conditionMessage(e)))",
            "sub('.*=', '', grep('--file', commandArgs(), value = TRUE))",
        ):
            with self.subTest(text=text):
                self.put("x.R", text)
                expected = self.run_plain(["Rscript", "--vanilla", "x.R"])
                outcome = self.run_plain(self.profile + ["x.R"], R_PROFILE_USER=self.main)
                self.assertEqual(expected, outcome)

    def test_errors_are_reported_and_caught_ones_are_not(self):
        for (status, _, err), reports in self.both("try(stop('a'), silent = TRUE)\nread.csv('no.csv')"):
            self.assertEqual(status, 1)
            self.assertIn("Execution halted", err)
            self.assertEqual([r.get("path") for r in reports], ["no.csv"])
        for _, reports in self.both("library(nowhere)"):
            self.assertEqual([r.get("name") for r in reports], ["nowhere"])

    def test_figures(self):
        text = "plot(1); plot(2)\ninvisible(dev.off())\ncat(list.files(pattern = 'figure'))\nplot(3)\ndev.new(width = 3)\nplot(4)"
        for outcome, reports in self.both(text):
            self.assertEqual(outcome, (0, "figure-1.png figure-2.png", ""))
            self.assertEqual(self.files("figure-"), ["figure-%d.png" % n for n in (1, 2, 3, 4)])
            self.assertEqual(len(reports), 4)

    def test_a_figure_before_an_error_is_kept(self):
        for _ in self.both("plot(1)\nstop('x')"):
            self.assertEqual(self.files("figure-"), ["figure-1.png"])

    def test_a_device_of_the_scripts_own_is_left_alone(self):
        for _ in self.both("png('own.png'); plot(1); invisible(dev.off())"):
            self.assertEqual(self.files("figure-"), [])
            self.assertIn("own.png", self.files())

    def test_ggplot(self):
        text = "if (requireNamespace('ggplot2', quietly = TRUE)) { library(ggplot2) }\nif ('ggplot2' %in% loadedNamespaces()) ggplot(mtcars, aes(mpg, wt)) + geom_point() else plot(1)"
        for _ in self.both(text):
            self.assertEqual(self.files("figure-"), ["figure-1.png"])


class Session(unittest.TestCase):
    """`stockade_session`, asked over a socket as the supervisor asks it."""

    START = "__import__('sys').path.pop(0); __import__('stockade_session').main()"

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.ours.close)
        self.ours.settimeout(30)
        vars_ = dict(os.environ, PYTHONPATH=SITE, STOCKADE_RESULT_FD=str(theirs.fileno()))
        vars_.pop("PYTHONUNBUFFERED", None)
        self.engine = subprocess.Popen(
            [PYTHON, "-c", self.START], cwd=self.folder, env=vars_, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self.number = 0
        self.said = []
        self.addCleanup(self.end)

    def end(self):
        self.engine.kill()
        self.engine.wait()

    def order(self, kind, text=b"", descriptors=(), was_interrupted=False):
        self.number += 1
        head = bytes((kind, was_interrupted)) + bytes(6) + len(text).to_bytes(8, "little")
        socket.send_fds(self.ours, [head + self.number.to_bytes(8, "little") + text], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def answer(self):
        while True:
            frame = self.ours.recv(4096)
            if not frame.startswith(b"{"):
                break
            self.said.append(json.loads(frame))
        self.assertEqual((len(frame), frame[0], frame[8:]), (16, 2, self.number.to_bytes(8, "little")))
        return frame[4]

    def pipe(self):
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        return ours, theirs

    def begin(self, code, was_interrupted=False):
        (out, out_far), (err, err_far) = self.pipe(), self.pipe()
        file = os.memfd_create("code")
        os.write(file, code.encode())
        os.lseek(file, 0, os.SEEK_SET)
        self.order(3, descriptors=[out_far, err_far, file], was_interrupted=was_interrupted)
        return out, err

    def finish(self, streams):
        status = self.answer()
        texts = []
        for stream in streams:
            os.set_blocking(stream, False)
            try:
                texts.append(os.read(stream, 1 << 16).decode())
            except BlockingIOError:
                texts.append("")
        return (status, *texts)

    def execute(self, code):
        return self.finish(self.begin(code))

    def put(self, name, content):
        file = os.memfd_create("content")
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        self.order(4, name.encode(), [file])
        return self.answer()

    def get(self, name):
        out, far = self.pipe()
        self.order(5, name.encode(), [far])
        status = self.answer()
        return status, os.read(out, 1 << 16)

    def test_variables_stay_and_errors_end_nothing(self):
        self.assertEqual(self.execute("x = 1\nprint('a')"), (0, "a\n", ""))
        status, out, err = self.execute("y = 2\nx / 0")
        self.assertEqual((status, out), (1, ""))
        self.assertIn('File "<execution 2>", line 2, in <module>\n    x / 0\n', err)
        self.assertTrue(err.endswith("ZeroDivisionError: division by zero\n") and "stockade" not in err, err)
        self.assertEqual(self.said[-1]["type"], "ZeroDivisionError")
        self.assertEqual(self.execute("import sys; print(x, y, __name__, sys.argv, sys.path[0] == '')"), (0, "1 2 __main__ ['-c'] True\n", ""))
        self.assertEqual(self.execute("sys.exit(3)"), (3, "", ""))
        self.assertEqual(self.execute("sys.exit('why')"), (1, "", "why\n"))
        self.assertEqual(self.execute("print('no end', end='')"), (0, "no end", ""))
        names = "print(sorted(k for k in globals() if not k.startswith('__')))"
        self.assertEqual(self.execute(names), (0, "['sys', 'x', 'y']\n", ""))

    def test_streams_that_code_closes_or_replaces_are_there_again(self):
        self.execute("import io, os, sys; sys.stdout.close(); sys.stderr.close()")
        self.assertEqual(self.execute("print('back')"), (0, "back\n", ""))
        self.execute("os.close(1); os.close(2)")
        self.assertEqual(self.execute("print('again'); os.write(2, b'e')"), (0, "again\n", "e"))

    def test_an_interrupt_is_for_what_is_executed_only(self):
        self.execute("import time")
        self.engine.send_signal(signal.SIGINT)
        self.assertEqual(self.execute("print('it waits for the next')"), (130, "", ""))
        self.engine.send_signal(signal.SIGINT)
        # Whoever sent it for what is over by now says so.
        self.assertEqual(self.finish(self.begin("print('on')", was_interrupted=True)), (0, "on\n", ""))
        # One that comes before the code begins is for that, also when a thread of a library's takes it.
        self.execute("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()")
        self.engine.send_signal(signal.SIGINT)
        self.assertEqual(self.execute("print('on')"), (130, "", ""))
        self.assertEqual(self.execute("print('on')"), (0, "on\n", ""))
        self.execute("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
        out, err = self.begin("print('begun', flush=True)\ntime.sleep(100)")
        self.assertEqual(os.read(out, 100), b"begun\n")
        self.engine.send_signal(signal.SIGINT)
        status, _, err = self.finish((out, err))
        self.assertEqual(status, 130)
        self.assertTrue(err.endswith("KeyboardInterrupt\n"), err)

    def test_a_child_never_answers(self):
        self.assertEqual(self.execute("import os\nif os.fork(): os.wait()\nelse: print('twin')"), (0, "twin\n", ""))
        self.assertEqual(self.execute("print('one')"), (0, "one\n", ""))

    def test_files_go_in_and_out(self):
        self.assertEqual(self.put("a", b"content"), 0)
        self.assertEqual(self.get("a"), (0, b"content"))
        self.execute("import os; os.mkdir('d'); os.mkfifo('f'); os.symlink('a', 'l'); os.chdir('d')")
        self.assertEqual([self.get(name)[0] for name in ("none", "d", "f", "l", "a")], [2, 21, 21, 40, 0])
        self.assertEqual(self.put("l", b"x"), 0)
        self.assertEqual((self.get("a"), self.get("l")), ((0, b"content"), (0, b"x")))
        self.assertEqual(self.put("d", b"x"), 21)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a", "d", "f", "l"])

    def table(self, name, content):
        memory = os.memfd_create("table")
        os.write(memory, content)
        self.order(6, name.encode(), [memory])
        return self.answer()

    def test_a_table_is_a_link_to_memory_that_stays_open(self):
        self.assertEqual(self.table("t", b"first"), 0)
        self.assertEqual(self.execute("import os; print(open('t').read(), os.path.islink('t'))"), (0, "first True\n", ""))
        count = "print(len(os.listdir('/proc/self/fd')))"
        before = self.execute(count)
        for number in range(5):
            self.assertEqual(self.table("t", b"%d" % number), 0)
        self.assertEqual(self.execute(count), before)
        self.assertEqual(self.execute("print(open('t').read())"), (0, "4\n", ""))
        self.execute("os.mkdir('d')")
        self.assertEqual(self.table("d", b"x"), 21)
        self.assertEqual(self.execute(count), before)
        self.assertEqual(sorted(os.listdir(self.folder)), ["d", "t"])

    def test_it_ends_when_nobody_asks_any_more(self):
        self.execute("import atexit; atexit.register(open, 'ended', 'w')")
        self.ours.shutdown(socket.SHUT_WR)
        self.assertEqual(self.engine.wait(30), 0)
        self.assertIn("ended", os.listdir(self.folder))


def setUpModule():
    global CACHE
    CACHE = tempfile.mkdtemp()
    unittest.addModuleCleanup(shutil.rmtree, CACHE)


if __name__ == "__main__":
    unittest.main()
