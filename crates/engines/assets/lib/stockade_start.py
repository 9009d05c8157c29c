"""The happy path of `main.py`: makes the process what plain python would make it.

Inside the sandbox, trusts nothing, is trusted by nobody. Every microsecond here
is paid by every run: what happens rarely is in `stockade_rare`.
"""

import os
import sys

result = None  # the result descriptor and its inode, if the launcher gave one
folder = os.getcwd()


def prepare(given, lib, kind, plain):
    """Makes `__main__`, `sys.argv` and `sys.path` of `given`; returns the code to run."""
    sys.modules["stockade_state"] = sys.modules[__name__]
    _take_result_descriptor()
    here = sys.path.pop(0)[:-4]
    if sys.path[0] == here:
        del sys.path[0]  # started without -I
    if lib not in sys.path:
        sys.path.append(lib)

    source, loader, first = None, sys.__spec__.loader, ""
    if kind == "script":
        path = plain[0]
        argv = plain
        if path[:1] != "/" and sys.version_info >= (3, 9):
            path = folder + "/" + path
        given["__file__"] = path
        loader = type(given["__loader__"])("__main__", path)
        first = os.path.dirname(os.path.realpath(path))
    elif kind == "code":
        path, source = "<string>", plain[0]
        argv = ["-c"] + plain[1:]
        plain = ["-c"] + plain
        del given["__file__"], given["__cached__"]
    elif kind == "stdin":
        path = given["__file__"] = "<stdin>"
        argv = plain = ["-"] + plain
    else:
        sys.exit(_rare().other(kind, plain))
    given["__loader__"] = loader

    if hasattr(sys, "orig_argv"):
        _restore_orig_argv(plain)
    sys.argv[:] = argv
    sys.path.insert(0, first)
    code = _compile(kind, source, path, plain)

    main = type(sys)("__main__")
    main.__dict__.update(given)
    sys.modules["__main__"] = main
    return code


def uncaught(error, shim):
    """Reports `error`; never fails, whatever the script has done to the modules."""
    try:
        _rare().uncaught(error, shim)
    except Exception:
        pass


def _take_result_descriptor():
    # Taken out of the environment: children do not inherit the descriptor, and
    # its number may mean another file to them. The inode tells if it is still ours.
    global result
    number = os.environ.pop("STOCKADE_RESULT_FD", None)
    if number:
        try:
            number = int(number)
            inode = os.fstat(number).st_ino
            os.set_inheritable(number, False)
        except (ValueError, OverflowError, OSError):
            return
        result = number, inode


def _restore_orig_argv(plain):
    # [python, flags..., main.py, kind, ...] becomes [python, flags..., plain...]
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    sys.orig_argv[1:] = [flag for flag in flags if flag != "-I"] + plain


def _compile(kind, source, path, plain):
    try:
        if kind == "script":
            with open(path, "rb") as file:
                source = file.read()
        elif kind == "stdin":
            if sys.stdin.isatty():  # a conversation
                _rare().hand_over(plain)
            source = sys.stdin.buffer.read()
        else:
            if sys.version_info >= (3, 13):
                _remember_lines(source)
            # exec() compiles it just as well: the first call of compile() takes
            # 1 to 2 ms, to make the types of `ast`.
            return source
        code = compile(source, path, "exec", dont_inherit=True)
    except Exception as error:
        # A folder, a zip, a missing file, a syntax error: plain python knows best.
        _rare().hand_over(plain, source, error)
        raise
    return code


def _remember_lines(source):
    # Python does so too from 3.13 on: tracebacks show the lines of `-c`.
    import linecache

    lines = [line + "\n" for line in source.splitlines()]
    linecache.cache["<string>"] = len(source), None, lines, "<string>"


def _rare():
    # The script may have changed sys.path since.
    sys.path.insert(0, os.path.dirname(__file__))
    try:
        import stockade_rare
    finally:
        del sys.path[0]
    return stockade_rare
