"""Says which library of the environment reached for the network or another program.

Inside the sandbox, called by an audit hook (PEP 578). What is said here is a
claim: code that shares a process with a library can name any other as the one
that did it. Good for finding out, never for keeping out. Never raises.
"""

import sys

from stockade_result import report

# Told once each, and no more than this of one process.
_TOLD_MAX = 50
_told = set()


def note(event, arguments):
    """Reports an attempt, if a library of the environment is among its callers."""
    target = _target(event, arguments)
    libraries = target and _libraries(sys._getframe(2))
    if not libraries:
        return
    key = event, libraries, target
    if key in _told or len(_told) >= _TOLD_MAX:
        return
    _told.add(key)
    report(kind="attempt", type=event, name=libraries, path=target)


def _target(event, arguments):
    """What was reached for, as far as the event tells."""
    if event == "socket.connect":
        return _address(arguments[1])
    if event == "socket.getaddrinfo":
        return _text(arguments[0])
    if event == "urllib.Request":
        return _text(arguments[0]).partition("?")[0]
    if event == "http.client.send":
        return _through_the_proxy(arguments[1])
    if event == "os.system":
        return _text(arguments[0])
    return _text(arguments[0]) or " ".join(_text(word) for word in arguments[1][:1])


def _address(address):
    if isinstance(address, tuple) and len(address) >= 2:
        # The proxy of the run: the request that follows says where to.
        return None if address[:2] == ("127.0.0.1", 3128) else "%s:%s" % address[:2]
    return _text(address)


def _through_the_proxy(data):
    """The place that a request to a proxy names: the beginning of what is sent."""
    words = bytes(data[:1024]).split(b" ", 2) if isinstance(data, (bytes, bytearray)) else []
    if len(words) < 3 or not (words[0] == b"CONNECT" or words[1].startswith(b"http://")):
        return None
    return _text(words[1]).partition("?")[0]


def _text(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _libraries(frame):
    """The libraries among the callers, the nearest first; at most five."""
    packages = "%s/lib/python%d.%d/site-packages/" % (sys.prefix, *sys.version_info[:2])
    found = []
    while frame is not None and len(found) < 5:
        name = frame.f_code.co_filename
        if name.startswith(packages):
            library = name[len(packages) :].partition("/")[0].partition(".py")[0]
            if library not in found:
                found.append(library)
        frame = frame.f_back
    return " ".join(found)
