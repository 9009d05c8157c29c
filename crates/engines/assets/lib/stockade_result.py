"""Tells the launcher what the code knows: JSON lines on the result descriptor.

Inside the sandbox; what is said here is a claim. Never raises, never writes to
a descriptor that is no longer the launcher's pipe, imports nothing of the
standard library by name (a file `json.py` beside the script would win).
"""

import os
import sys

# Longest text of each field once escaped; together below a line's 4096 bytes.
ROOM = {"kind": 64, "type": 256, "name": 768, "path": 1024, "message": 1536, "names": 3072}


def report(**fields):
    """Writes one line; absent and unusable fields are left out."""
    try:
        number, inode = sys.modules["stockade_state"].result
        if os.fstat(number).st_ino == inode:
            os.write(number, _line(fields))
    except Exception:
        pass


def report_exception(error):
    """Reports an uncaught exception with the module or file it missed."""
    missing = isinstance(error, ImportError)
    absent = isinstance(error, FileNotFoundError)
    try:
        message = str(error)
    except Exception:
        message = ""
    report(
        kind="exception",
        type=type(error).__qualname__,
        message=message,
        name=error.name if missing else None,
        path=_path(error.filename) if absent else None,
    )


def _path(filename):
    return os.fsdecode(filename) if isinstance(filename, (str, bytes)) else None


def _line(fields):
    pairs = [
        '"%s":%s' % (key, _quoted(value, ROOM[key]))
        for key, value in fields.items()
        if isinstance(value, str)
    ]
    return ("{" + ",".join(pairs) + "}\n").encode("ascii")


def _quoted(text, room):
    pieces, used = [], 2
    # Lone surrogates (undecodable file names) are not valid JSON for a strict reader.
    for char in text[:room].encode("utf-8", "replace").decode("utf-8"):
        piece = _escaped(char)
        used += len(piece)
        if used > room:
            break
        pieces.append(piece)
    return '"' + "".join(pieces) + '"'


def _escaped(char):
    if " " <= char <= "~" and char not in '"\\':
        return char
    units = char.encode("utf-16-be")
    return "".join(
        "\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2)
    )
