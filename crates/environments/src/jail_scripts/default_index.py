"""Inside a jail without network: write the default package index of the machine's own tools.

Asked in turn: pip, the pip that ensurepip carries, the pip wheel of the distribution, uv's help.
usage: default_index.py OUTPUT WHEEL_FOLDER UV
"""
import glob
import os
import re
import site
import subprocess
import sys

# Steps start without the interpreter's own packages; pip is one.
site.main()


def of_pip():
    from pip._internal.models.index import PyPI

    return PyPI.simple_url


def of_wheel(pattern):
    def ask():
        for wheel in sorted(glob.glob(pattern)):
            sys.path.insert(0, wheel)
            return of_pip()

    return ask


def of_uv():
    help_text = subprocess.run(
        [sys.argv[3], "pip", "install", "--help"], capture_output=True, text=True
    ).stdout
    return re.search(r"default: <(https://[^>]+)>", help_text).group(1)


bundled = os.path.join(os.path.dirname(os.__file__), "ensurepip", "_bundled", "pip-*.whl")
for source in (of_pip, of_wheel(bundled), of_wheel(os.path.join(sys.argv[2], "pip-*.whl")), of_uv):
    try:
        url = source()
    except Exception:
        url = None
    if url:
        with open(sys.argv[1], "w", encoding="ascii") as output:
            output.write(url)
        break
else:
    sys.exit("neither pip nor uv names a default package index")
