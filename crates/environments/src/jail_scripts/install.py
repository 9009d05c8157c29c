"""Inside a jail without network: install the verified wheels, then compile them to bytecode.

usage: install.py COMPILE_SECONDS PREFIX INSIDE_PREFIX UNPACKED UV_COMMAND...
What uv unpacked goes before anything else is written: it is linked into the prefix, and counts
once. Bytecode that packages brought goes too: Python would believe it, whatever the source says.
Ours carries no times (unchecked hashes) and names the path it will be mounted at. Folders named
`tests` are left out: they are half of the files and nobody imports them. Compiling is a gift:
when its time is over or a file does not compile, Python does it at import.
"""
import os
import py_compile
import shutil
import subprocess
import sys
import time
import warnings

deadline = time.monotonic() + float(sys.argv[1])
prefix, inside_prefix, unpacked, command = sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]

code = subprocess.call(command)
shutil.rmtree(unpacked, ignore_errors=code != 0)
if code:
    sys.exit(code)
for folder, folders, files in os.walk(prefix):
    if "__pycache__" in folders:
        folders.remove("__pycache__")
        shutil.rmtree(os.path.join(folder, "__pycache__"))

sources = []
for folder, folders, files in os.walk(prefix):
    folders[:] = sorted(set(folders) - {"tests", "bin"})
    sources += [os.path.join(folder, file) for file in files if file.endswith(".py")]
sources.sort(key=lambda path: (-os.path.getsize(path), path))


def compile_share(share):
    warnings.simplefilter("ignore")
    for path in share:
        if time.monotonic() > deadline:
            return
        try:
            py_compile.compile(
                path,
                dfile=inside_prefix + path[len(prefix):],
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

# Told outside, where modules of packages that nobody can import are listed.
names = getattr(sys, "stdlib_module_names", None)
if names is None:
    files = os.listdir(os.path.dirname(os.__file__))
    names = {name.partition(".")[0] for name in files} | set(sys.builtin_module_names)
with open("stdlib", "w", encoding="ascii") as listed:
    listed.writelines(f"{name}\n" for name in sorted(names - {"test"}) if name.isidentifier())
