"""Set-up without a shim: plain `python NAME` imports this before the program.

Inside the sandbox, in the main process only: with PYTHONPATH=.../site, which it
changes to .../lib, so that child interpreters find the environment's own
`sitecustomize`, as this one does at its end. Every run pays for what is here.
"""

import os
import sys

_site = os.path.dirname(__file__)
_lib = _site[:-4] + "lib"
_packages = sys.prefix + "/lib"
_plain_hook = sys.excepthook

result = None  # the result descriptor and its inode, if the launcher gave one
folder = os.getcwd()


def _excepthook(kind, value, trace):
    try:
        from stockade_result import report_exception

        report_exception(value)
    except Exception:
        pass
    _plain_hook(kind, value, trace)


def _imported():
    # At the very end, and never in the way of it.
    try:
        found = []
        for name, module in list(sys.modules.items()):
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            if type(origin) is str and origin.startswith(_packages) and "." not in name:
                found.append(name)
        if found:
            from stockade_result import report

            report(kind="imported", names=" ".join(found[:100]))
    except BaseException:
        pass


# What a library of strangers could do with what the run was given.
_WATCHED = frozenset(
    "socket.connect socket.getaddrinfo urllib.Request http.client.send "
    "subprocess.Popen os.exec os.posix_spawn os.system".split()
)


def _audit(event, arguments):
    # Called for every event: the first line is all that most of them cost.
    if event in _WATCHED:
        try:
            from stockade_attempts import note

            note(event, arguments)
        except Exception:
            pass


def _begin():
    global result
    number = os.environ.pop("STOCKADE_RESULT_FD", None)
    if number:
        try:
            number = int(number)
            inode = os.fstat(number).st_ino
            os.set_inheritable(number, False)
            result = number, inode
            # Both, so that a library that asks whether the hook is python's own hears yes.
            sys.excepthook = sys.__excepthook__ = _excepthook
            if sys.prefix == "/opt/stockade/env":
                import atexit  # built in

                atexit.register(_imported)
                sys.addaudithook(_audit)
        except (ValueError, OverflowError, OSError):
            pass
    sys.modules["stockade_state"] = sys.modules.pop("sitecustomize")
    # Children have the modules in `lib`, and the environment's `sitecustomize`.
    paths = os.environ.get("PYTHONPATH", "").split(":")
    os.environ["PYTHONPATH"] = ":".join(_lib if path == _site else path for path in paths)
    # PYTHONPATH comes before the standard library; ours belongs behind all.
    sys.path.remove(_site)
    sys.path.append(_lib)


_begin()
_unread = []
if os.path.exists("/opt/stockade/env/complete"):
    # Nothing that `env build` installs is called so, and looking would read the whole folder.
    _unread = [path for path in sys.path if path.startswith(_packages)]
    sys.path[:] = [path for path in sys.path if path not in _unread]
try:
    import sitecustomize
except ImportError as _error:
    if _error.name != "sitecustomize":
        raise
    # What the import system expects to find under the name it has just loaded.
    sys.modules["sitecustomize"] = sys.modules["stockade_state"]
finally:
    if _unread:
        _at = sys.path.index(_lib) if _lib in sys.path else len(sys.path)
        sys.path[_at:_at] = _unread
