"""Inside a jail without network: compile the modules of a folder that cannot be written.

usage: compile.py FOLDER SECONDS
Writes bytecode below `cache` in the working folder, where FOLDER would have it, and the names of the
standard library into `stdlib`. As when packages are installed: no times (unchecked hashes), nothing of
folders named `tests`, and what does not compile in time is compiled by Python at import.
"""
import importlib.util
import os
import py_compile
import sys
import time
import warnings

folder, deadline = sys.argv[1], time.monotonic() + float(sys.argv[2])
sources = []
for here, folders, files in os.walk(folder):
    folders[:] = sorted(set(folders) - {"tests", "bin"})
    sources += [os.path.join(here, file) for file in files if file.endswith(".py")]
sources.sort(key=lambda path: (-os.path.getsize(path), path))


def compile_share(share):
    warnings.simplefilter("ignore")
    for path in share:
        if time.monotonic() > deadline:
            return
        try:
            py_compile.compile(
                path,
                cfile="cache" + importlib.util.cache_from_source(path)[len(folder):],
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except Exception:
            pass


# Forked by hand: process pools need semaphores, which a jail may not have.
workers = min(8, len(os.sched_getaffinity(0)))
print(f"compiling {len(sources)}", file=sys.stderr, flush=True)
children = []
for worker in range(workers):
    child = os.fork()
    if child == 0:
        try:
            compile_share(sources[worker::workers])
        finally:
            os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)

names = getattr(sys, "stdlib_module_names", None)
if names is None:
    files = os.listdir(os.path.dirname(os.__file__))
    names = {name.partition(".")[0] for name in files} | set(sys.builtin_module_names)
with open("stdlib", "w", encoding="ascii") as listed:
    listed.writelines(f"{name}\n" for name in sorted(names - {"test"}) if name.isidentifier())
