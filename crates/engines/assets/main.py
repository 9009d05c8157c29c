# Entry for Python inside the sandbox: runs a script, a command or standard
# input as plain `python` would. Compiled anew for every run, so it stays tiny;
# the work is in `lib/`. A docstring would become the script's `__doc__`.

_given = globals().copy()  # what python put into `__main__`
import sys

_lib = __file__.rpartition("/")[0] + "/lib"
sys.path.insert(0, _lib)
import stockade_start

_code = stockade_start.prepare(_given, _lib, sys.argv[1], sys.argv[2:])
try:
    exec(_code, sys.modules["__main__"].__dict__)
except SystemExit:
    raise
except BaseException as _error:
    stockade_start.uncaught(_error, globals())
    raise
