"""A session: one interpreter that executes one piece of code after the other.

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
import linecache
import os
import signal
import socket
import sys
import traceback

HEAD = 24
TEXT_BYTES_MAX = 1024
EXECUTE, PUT, GET, TABLE = 3, 4, 5, 6
# A file that is fetched; the supervisor takes no more either.
GET_BYTES_MAX = 100 << 20
# As a shell tells that an interrupt ended something.
INTERRUPTED = 130


def main():
    """Serves on the result descriptor, which is a socket in a session."""
    number, _ = sys.modules["stockade_state"].result
    if hasattr(sys, "orig_argv"):
        # How it was started is nothing of the code's.
        sys.orig_argv[1:] = sys.argv
    serve(socket.socket(fileno=os.dup(number)))


def serve(channel):
    """Until the other end closes. All code shares the namespace of `__main__`."""
    own = os.getpid()
    main = sys.modules["__main__"].__dict__
    # As where code is typed in: modules beside it can be imported.
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    calm = signal.getsignal(signal.SIGINT)
    handler = calm if callable(calm) else signal.default_int_handler
    # It is blocked from the start of the process, so that one for the first piece of code waits for that.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    number, tables = 0, {}
    while True:
        frame, given = _receive(channel)
        if len(frame) < HEAD:
            return
        kind, name, text = frame[0], frame[16:HEAD], frame[HEAD:]
        if frame[1]:
            # One was sent for an order before this, whose answer it may have come after.
            _forget_interrupts()
        if kind == EXECUTE:
            number += 1
            status = _execute(given, number, main, handler)
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
            frame, beside, _, _ = channel.recvmsg(HEAD + TEXT_BYTES_MAX, socket.CMSG_SPACE(4 * space.itemsize))
            break
        except InterruptedError:
            continue
        except OSError:
            return b"", []
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            space.frombytes(data[: len(data) - len(data) % space.itemsize])
    given = list(space)
    for descriptor in given:
        os.set_inheritable(descriptor, False)
    return frame, given


def _execute(given, number, main, handler):
    """One piece of code; its output goes where the order says, and after it nowhere."""
    output, error, code = given
    with open(code, "rb") as file:
        source = file.read()
    # What threads have said meanwhile is nobody's.
    _flush()
    _connect(output, error)
    try:
        # What the code did to it, it did for itself only.
        signal.signal(signal.SIGINT, handler)
        try:
            # One that was sent before the code could begin waits for this.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            status = execute(source, "<execution %d>" % number, main)
            _flush()
        finally:
            _hold_interrupts()
    except KeyboardInterrupt:
        # It came before the code began, or between its end and here.
        _hold_interrupts()
        status = INTERRUPTED
        _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    _connect(nowhere, os.dup(nowhere))
    return status & 0xFF


def _hold_interrupts():
    """Until the next piece of code begins. The kernel keeps one that is blocked, ignored or not."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _forget_interrupts():
    while signal.SIGINT in signal.sigpending():
        signal.sigwait({signal.SIGINT})


def execute(source, filename, main):
    """As a script in `main`: its exceptions are shown as python shows them. Says with which status it ends."""
    try:
        text = source.decode("utf-8", "replace")
        # Tracebacks show its lines, also when a function of it is called later.
        linecache.cache[filename] = len(text), None, text.splitlines(True), filename
        exec(compile(source, filename, "exec", dont_inherit=True), main)
    except SystemExit as end:
        return _status_of(end.code)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals is globals():
            trace = trace.tb_next
        error.__traceback__ = trace
        _report(error)
        _show(error)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _show(error):
    """By the hook of the code's own, if it has set one."""
    hook = sys.excepthook
    if hook is not sys.__excepthook__:
        try:
            hook(type(error), error, error.__traceback__)
            return
        except BaseException:
            pass
    traceback.print_exception(type(error), error, error.__traceback__)


def _report(error):
    try:
        from stockade_result import report_exception

        report_exception(error)
    except Exception:
        pass


def _status_of(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _connect(output, error):
    # What the code closed may have been opened again as one of these.
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in (output, error)]
    for descriptor in {output, error} - {1, 2}:
        os.close(descriptor)
    for copy, number in zip(copies, (1, 2)):
        os.dup2(copy, number, inheritable=True)
        os.close(copy)
    for name, number in (("stdout", 1), ("stderr", 2)):
        plain = getattr(sys, "__%s__" % name, None)
        if plain is None or plain.closed:
            # The code has closed it; the next piece of code has it again.
            plain = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, "__%s__" % name, plain)
            setattr(sys, name, plain)


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
