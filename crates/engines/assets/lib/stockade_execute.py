"""Executes a piece of code as python executes a script, in an interpreter that goes on.

Inside the sandbox, in sessions and warm engines, which differ in what they do
with an exception (`caught`).
"""

import sys


def execute(source, filename, main, caught):
    """In this namespace; `caught` is given an exception, without our own frames. Says with which status it ends."""
    try:
        exec(compile(source, filename, "exec", dont_inherit=True), main)
    except SystemExit as end:
        return _status_of(end.code)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals is globals():
            trace = trace.tb_next
        error.__traceback__ = trace
        caught(error, trace)
        return 1
    return 0


def show(error, trace):
    """By the hook that is set, as python does at its end."""
    try:
        sys.excepthook(type(error), error, trace)
    except SystemExit:
        pass
    except BaseException:
        import traceback

        traceback.print_exc()
        traceback.print_exception(type(error), error, trace)


def _status_of(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1
