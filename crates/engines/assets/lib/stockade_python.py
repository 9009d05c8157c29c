"""A session's Python: all code shares the namespace of `__main__`.

Inside the sandbox, trusts nothing, is trusted by nobody.
"""

import linecache
import signal
import sys
import traceback

import stockade_execute

# As a shell tells that an interrupt ended something.
INTERRUPTED = 130


class Session:
    """One interpreter, as where code is typed in."""

    interrupt = staticmethod(signal.default_int_handler)

    def __init__(self):
        self.main = sys.modules["__main__"].__dict__
        # Modules beside the code can be imported.
        if sys.path[:1] != [""]:
            sys.path.insert(0, "")

    def execute(self, source, filename):
        """As a script, in the namespace of those before it. Says with which status it ends."""
        text = source.decode("utf-8", "replace")
        # Tracebacks show its lines, also when a function of it is called later.
        linecache.cache[filename] = len(text), None, text.splitlines(True), filename
        caught = []
        status = stockade_execute.execute(source, filename, self.main, lambda error, trace: _show(error, trace, caught))
        return INTERRUPTED if KeyboardInterrupt in caught else status


def _show(error, trace, caught):
    caught.append(type(error))
    _report(error)
    if sys.excepthook is sys.__excepthook__:
        # Python's own reads files, not `linecache`.
        traceback.print_exception(type(error), error, trace)
    else:
        stockade_execute.show(error, trace)


def _report(error):
    try:
        from stockade_result import report_exception

        report_exception(error)
    except Exception:
        pass
