"""A session: one process that executes one piece of code after the other, Python or SQL.

Inside the sandbox. `serve` takes orders from a SOCK_SEQPACKET descriptor, one at
a time, in the frames of `warm.py`: 16 bytes (kind; the length of the text behind
them in bytes 8 to 16) with descriptors beside them, here with 8 bytes more that
name the order, so that no answer is taken for another's.

    3 execute   descriptors: output, error, code
    4 put       descriptors: content; the text is a file's name
    5 get       descriptors: output; the text is a file's name
    6 table     descriptors: memory; the text is a file's name
    answer      2, then a status in byte 4, and the order's name in bytes 8 to 16

Whatever else is said (`stockade_result`) begins with `{`. Nothing that is said
here is believed outside: it is the word of the code.
"""

import array
import fcntl
import os
import signal
import socket
import sys

# The same as `signal.signal`, which takes ten times as long to find a name for what it returns.
from _signal import signal as _on_interrupt

HEAD = 24
TEXT_BYTES_MAX = 1024
EXECUTE, PUT, GET, TABLE = 3, 4, 5, 6
# A file that is fetched; the supervisor takes no more either.
GET_BYTES_MAX = 100 << 20
# As a shell tells that an interrupt ended something.
INTERRUPTED = 130
# For the descriptors of an order.
ROOM = socket.CMSG_SPACE(4 * array.array("i").itemsize)


def main(language="python"):
    """Serves on the result descriptor, which is a socket in a session."""
    number, _ = sys.modules["stockade_state"].result
    if hasattr(sys, "orig_argv"):
        # How it was started is nothing of the code's.
        sys.orig_argv[1:] = sys.argv
    if language == "sql":
        from stockade_sql import Session
    else:
        from stockade_python import Session
    serve(socket.socket(fileno=os.dup(number)), Session())


def serve(channel, session):
    """Until the other end closes. `session.execute` executes code, and says with which status it ends;
    `session.interrupt` is what an interrupt does."""
    own = os.getpid()
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    early = _Early()
    _on_interrupt(signal.SIGINT, early)
    # It is blocked from the start of the process, so that one for the first piece of code waits for that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    number, tables = 0, {}
    while True:
        frame, given = _receive(channel)
        if len(frame) < HEAD:
            return
        kind, name, text = frame[0], frame[16:HEAD], frame[HEAD:]
        if frame[1]:
            # One was sent for an order before this, whose answer it may have come after.
            early.has_come = False
        if kind == EXECUTE:
            number += 1
            status = _execute(given, number, session, early)
            # A child of the code's that came back here is none of ours.
            if os.getpid() != own:
                os._exit(status)
        elif kind == PUT:
            status = _put(folder, given, text)
        elif kind == GET:
            status = _get(folder, given, text)
        elif kind == TABLE:
            status = _table(folder, given, text, tables)
        else:
            return
        channel.send(bytes((2, 0, 0, 0, status & 0xFF, 0, 0, 0)) + name)


def _receive(channel):
    space = array.array("i")
    while True:
        try:
            # They close in children of the code's.
            frame, beside, _, _ = channel.recvmsg(HEAD + TEXT_BYTES_MAX, ROOM, socket.MSG_CMSG_CLOEXEC)
            break
        except InterruptedError:
            continue
        except OSError:
            return b"", []
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            space.frombytes(data[: len(data) - len(data) % space.itemsize])
    return frame, space.tolist()


class _Early:
    """What an interrupt does between two pieces of code: one that was sent before the code could begin waits for it.

    It is not blocked meanwhile, nor ignored: threads of libraries would take it, and nobody would hear of it.
    """

    has_come = False

    def __call__(self, number, frame):
        self.has_come = True


def _execute(given, number, session, early):
    """One piece of code; its output goes where the order says, and after it nowhere."""
    output, error, code = given
    source = _read(code)
    # What threads have said meanwhile is nobody's.
    _flush()
    _connect(output, error)
    try:
        try:
            # From here on one ends the code.
            _on_interrupt(signal.SIGINT, session.interrupt)
            if early.has_come:
                raise KeyboardInterrupt
            status = session.execute(source, "<execution %d>" % number)
            _flush()
        finally:
            # What the code did to it, it did for itself only.
            _on_interrupt(signal.SIGINT, early)
    except KeyboardInterrupt:
        # It came before the code began, or between its end and here.
        _on_interrupt(signal.SIGINT, early)
        status = INTERRUPTED
        _flush()
    early.has_come = False
    _connect_nowhere()
    return status & 0xFF


def _read(code):
    """A sealed file, to its end."""
    pieces = []
    while True:
        piece = os.read(code, 1 << 16)
        if not piece:
            break
        pieces.append(piece)
    os.close(code)
    return b"".join(pieces)


def _connect(output, error):
    if output < 3 or error < 3:
        # What the code closed has been opened again as one of these.
        output, error = [_moved(descriptor) for descriptor in (output, error)]
    os.dup2(output, 1)
    os.dup2(error, 2)
    os.close(output)
    os.close(error)
    for name, number in (("stdout", 1), ("stderr", 2)):
        plain = getattr(sys, "__%s__" % name, None)
        if plain is None or plain.closed:
            # The code has closed it; the next piece of code has it again.
            plain = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, "__%s__" % name, plain)
            setattr(sys, name, plain)


def _moved(descriptor):
    """The same by a number that is no standard stream's."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return copy


_nowhere = None


def _connect_nowhere():
    """What is written between two pieces of code reaches nobody."""
    global _nowhere
    try:
        if _nowhere is None:
            _nowhere = _moved(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        os.dup2(_nowhere, 1)
        os.dup2(_nowhere, 2)
    except OSError:
        # The code has closed it, or there is no room for more: nowhere then is what is closed.
        _nowhere = None
        os.closerange(1, 3)


def _flush():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def _put(folder, given, text):
    """Writes a file of the working folder; an errno if that cannot be done."""
    name = text.decode()
    partial = ".stockade.partial"
    try:
        with open(given[0], "rb") as content:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(partial, flags, 0o644, dir_fd=folder), "wb") as file:
                while True:
                    piece = content.read(1 << 20)
                    if not piece:
                        break
                    file.write(piece)
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        try:
            os.unlink(partial, dir_fd=folder)
        except OSError:
            pass
        return error.errno or 5
    return 0


def _table(folder, given, text, tables):
    """Keeps a descriptor open, which a link of the working folder leads to; an errno if that cannot be done."""
    name, memory = text.decode(), given[0]
    partial = ".stockade.partial"
    try:
        # As those that a run begins with: what is executed in its place has it too.
        os.set_inheritable(memory, True)
        os.symlink("/proc/self/fd/%d" % memory, partial, dir_fd=folder)
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        os.close(memory)
        try:
            os.unlink(partial, dir_fd=folder)
        except OSError:
            pass
        return error.errno or 5
    former = tables.pop(name, None)
    tables[name] = memory
    if former is not None:
        os.close(former)
    return 0


def _get(folder, given, text):
    """Sends a regular file of the working folder; an errno if that cannot be done."""
    output = given[0]
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(text.decode(), flags, dir_fd=folder), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o170000 != 0o100000:
                return 21
            if status.st_size > GET_BYTES_MAX:
                return 27
            left = GET_BYTES_MAX
            while left > 0:
                piece = file.read(min(1 << 16, left))
                if not piece:
                    break
                left -= len(piece)
                view = memoryview(piece)
                while view:
                    view = view[os.write(output, view) :]
    except OSError as error:
        return error.errno or 5
    finally:
        os.close(output)
    return 0
