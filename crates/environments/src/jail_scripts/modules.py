"""In front of scripts that install: compiling what is installed, and naming the standard library.

Bytecode carries no times (unchecked hashes). Folders named `tests` are left out: they are half of the files
and nobody imports them. Compiling is a gift: when its time is over or a file does not compile, Python does it
at import.
"""
import importlib.util
import os
import py_compile
import sys
import time
import warnings


def compile_modules(folder, inside, deadline, cache=None):
    """Compiles every module below `folder`, as it will be found at `inside`; below `cache` if that is given,
    which is for folders that cannot be written."""
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
            cached = importlib.util.cache_from_source(path)
            try:
                py_compile.compile(
                    path,
                    cfile=cached if cache is None else cache + cached[len(folder):],
                    dfile=inside + path[len(folder):],
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


def list_standard_library():
    """Writes its names into `stdlib`: told outside, where modules that nobody can import are listed."""
    names = getattr(sys, "stdlib_module_names", None)
    if names is None:
        files = os.listdir(os.path.dirname(os.__file__))
        names = {name.partition(".")[0] for name in files} | set(sys.builtin_module_names)
    with open("stdlib", "w", encoding="ascii") as listed:
        listed.writelines(f"{name}\n" for name in sorted(names - {"test"}) if name.isidentifier())


