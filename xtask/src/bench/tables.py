"""A table to code on a node of this machine: by descriptor beside by stream, in turn, in one run.

usage: tables.py STOCKADE_NODE CLIENT_SOURCES

Needs pyarrow here, and the package index of this machine for the code's. What counts are ratios, and the goal.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

program, sources = sys.argv[1:3]
sys.path.insert(0, sources)
import pyarrow  # noqa: E402
from stockade_client import Node, _tables  # noqa: E402

ROUNDS = 9
MIB = 1 << 20
GOAL_MS = 5.0
WRITTEN = "written, before it is handed over"
# The most that goes by stream is a form of 100 MiB.
BOTH = 96
CODE = """
import time, pyarrow
begun = time.perf_counter()
table = pyarrow.ipc.open_file(pyarrow.memory_map("t.arrow")).read_all()
value = table["x"][-1].as_py()
print(value, round((time.perf_counter() - begun) * 1e6), pyarrow.total_allocated_bytes(), flush=True)
"""


def table(mib):
    rows = max(mib * MIB // 8, 1)
    noise = os.urandom(min(MIB, rows * 8))
    column = pyarrow.Array.from_buffers(pyarrow.int64(), rows, [None, pyarrow.py_buffer(noise * max(mib, 1))])
    return pyarrow.table({"x": column})


class Times:
    """Milliseconds of what happened, round by round."""

    def __init__(self):
        self.all = {}

    def add(self, what, began):
        self.all.setdefault(what, []).append((time.perf_counter() - began) * 1e3)

    def p50(self, what):
        return statistics.median(self.all[what])

    def show(self, what, note=""):
        print(f"  {what:<48} p50 {self.p50(what):9.2f} ms   most {max(self.all[what]):9.2f} ms{note}")


def first_value(node, run, times, began, expected):
    inside = None
    for event in node.events(run.id):
        if event.type == "stdout" and inside is None:
            times.add("until the code has its first value", began)
            value, micros, allocated = map(int, event.data.split())
            assert value == expected
            inside = micros / 1e3
            # Nothing of the table is copied inside either.
            assert allocated < MIB, allocated
    result = node.result(run.id).check()
    node.forget(result.run.id)
    times.all.setdefault("of that, to open it and read the value", []).append(inside)


def by_descriptor(node, given, times):
    expected = given["x"][-1].as_py()
    began = time.perf_counter()
    with _tables.hand_over(node._path, None, {"t": given}) as handed:
        times.add(WRITTEN, began)
        began = time.perf_counter()
        run = node._post({**REQUEST, "tables": handed.tables}, {}, os.urandom(8).hex(), "/v1/runs")
        times.add("the run accepted with it", began)
        first_value(node, run, times, began, expected)


def by_stream(node, given, times):
    expected = given["x"][-1].as_py()
    began = time.perf_counter()
    contents = _tables.contents({"t": given})
    times.add(WRITTEN, began)
    began = time.perf_counter()
    run = node._post(REQUEST, contents, os.urandom(8).hex(), "/v1/runs")
    times.add("the run accepted with it", began)
    first_value(node, run, times, began, expected)


REQUEST = {"code": CODE, "with": ["pyarrow"], "limits": {"memory": "2GiB"}}


def measure(node):
    node.run("import pyarrow", with_=["pyarrow"]).check()
    gigabyte, both, one = table(1024), table(BOTH), table(0)
    whole, small, medium, streamed = Times(), Times(), Times(), Times()
    for _ in range(ROUNDS):
        by_descriptor(node, gigabyte, whole)
        by_descriptor(node, one, small)
        by_descriptor(node, both, medium)
        by_stream(node, both, streamed)
    print(f"a table of 1 GiB by descriptor, {ROUNDS} rounds")
    for what in whole.all:
        note = ""
        if what == "the run accepted with it":
            holds = "holds" if whole.p50(what) <= GOAL_MS else "is missed"
            note = f"   goal {GOAL_MS:.0f} ms: {holds}; with one row {small.p50(what):.2f} ms"
        elif what == "until the code has its first value":
            note = f"   with one row {small.p50(what):.2f} ms, which is the run's start and its imports"
        whole.show(what, note)
    print(f"a table of {BOTH} MiB by descriptor and by stream, which takes no more than that")
    for what in streamed.all:
        medium.show(what, ", by descriptor")
        streamed.show(what, f", by stream: {streamed.p50(what) / medium.p50(what):.1f} times as long")


def main():
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as folder:
        os.chmod(folder, 0o777)
        socket = os.path.join(folder, "node.sock")
        words = [program, "start", "--folder", os.path.join(folder, "node"), "--socket", socket, "--socket-mode", "666"]
        words += ["--run-as", "61234"] if os.geteuid() == 0 else ["--shared-user"]
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while not os.path.exists(socket):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit("the node does not start")
                time.sleep(0.02)
            measure(Node(socket))
        finally:
            process.terminate()
            process.wait(90)


main()
