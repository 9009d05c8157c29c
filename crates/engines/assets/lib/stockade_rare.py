"""The rare paths of `main.py`: failures, and what is not a plain Python program.

Inside the sandbox. Imports only what plain python has imported already.
"""

import os
import sys

from stockade_result import report_exception


def uncaught(error, shim):
    """Reports `error`, and lets python print it without the shim's own frames."""
    source = shim["_code"]
    if isinstance(source, str) and error.__traceback__.tb_next is None:
        hand_over(["-c", source] + sys.argv[1:], source, error)
    report_exception(error)
    shown_by = sys.excepthook

    def hook(kind, value, trace):
        sys.excepthook = shown_by
        while trace and trace.tb_frame.f_globals is shim:
            trace = trace.tb_next
        value.__traceback__ = sys.last_traceback = trace
        shown_by(kind, value, trace)

    # Raised on, not printed here: python itself then sets the exit status, and
    # dies of SIGINT after a KeyboardInterrupt.
    sys.excepthook = hook


def hand_over(plain, source=None, error=None):
    """Becomes plain python, which has not begun yet; returns only if that fails.

    For what cannot be compiled (its message is then exactly python's), for
    folders and zip files, and for a terminal.
    """
    if isinstance(error, SyntaxError) and source and not _has_null(source):
        report_exception(error)
    if plain[0] == "-" and source is not None:
        _give_back(source)
    flags = []
    if hasattr(sys, "orig_argv"):
        flags = sys.orig_argv[1 : len(sys.orig_argv) - len(plain)]
    try:
        os.execv(sys.executable, [sys.executable] + flags + plain)
    except OSError:
        pass


def other(kind, arguments):
    """Runs a notebook or an SQL file; returns the exit status."""
    sys.argv[:] = arguments
    if kind == "notebook":
        from stockade_notebook import main
    elif kind == "sql":
        from stockade_sql import main
    else:
        sys.stderr.write("error: main.py knows no kind of program `%s`\n" % kind)
        return 2
    return main(arguments)


def _has_null(source):
    return ("\0" if isinstance(source, str) else b"\0") in source


def _give_back(source):
    """Puts a program read from standard input there again."""
    copy = os.memfd_create("program")
    with os.fdopen(copy, "wb", closefd=False) as file:
        file.write(source)
    os.lseek(copy, 0, os.SEEK_SET)
    os.dup2(copy, 0)
    os.close(copy)
