# What a template of warm engines runs: imports, then forks; and what each of its engines runs.
#
# In the template: behind walls, with nothing of anyone. In an engine: behind walls of its own, which stand before
# the first line below `engine`. Arguments: the library that forks, the file an engine seals itself with, modules.
_given = globals().copy()  # what python put into `__main__`
import sys

import stockade_execute


def _import_all(names):
    import importlib

    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Code that imports what is not there is told so when it does.
            if error.name != name:
                raise


def _random_sources():
    """Every generator of random numbers that the imports made: a fork would continue each one's stream.

    One function for each, which gives it a stream of its own. They are made here, so that an engine writes to as
    little memory as can be.
    """
    import gc
    import random

    # `random` sees to its own by itself (`os.register_at_fork`).
    found = [
        lambda one=one: one.seed()
        for one in gc.get_objects()
        if isinstance(one, random.Random) and one is not random._inst and not isinstance(one, random.SystemRandom)
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kinds = (numpy.random.RandomState, numpy.random.Generator, numpy.random.BitGenerator)
        bits = {id(numpy.random.mtrand._rand._bit_generator): numpy.random.mtrand._rand._bit_generator}
        for one in gc.get_objects():
            if isinstance(one, kinds):
                one = getattr(one, "_bit_generator", one)
                bits[id(one)] = one
            if isinstance(one, numpy.random.RandomState):
                # The second of a pair of normal numbers may wait in it.
                one.seed()
        numpy.random.seed()
        found.extend(_numpy_source(numpy, one) for one in bits.values())
    return found


def _numpy_source(numpy, bits):
    import os

    if isinstance(bits, numpy.random.MT19937):
        import ctypes

        # Its state is 624 words and a position (randomkit); written where it lies, or by its own method if it does not.
        address = bits.ctypes.state_address
        state = bits.state["state"]
        size = state["key"].nbytes
        there = ctypes.string_at(address, size + 4)
        if there == state["key"].tobytes() + state["pos"].to_bytes(4, sys.byteorder):
            end = (size // 4).to_bytes(4, sys.byteorder)
            return lambda: ctypes.memmove(address, os.urandom(size) + end, size + 4)

    def seed():
        bits.state = type(bits)().state

    return seed


def _reseed(sources):
    """Gives each a stream that no other engine has."""
    import os

    for source in sources:
        source()
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(64), 64.0)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        # The C library behind it keeps the address and the clock's number of all that were forked from one.
        uuid._generate_time_safe = uuid._UuidCreate = uuid._last_timestamp = None
        uuid._node = int.from_bytes(os.urandom(6), "big") | 1 << 40
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)


def main(words):
    import ctypes
    import gc
    import os
    import random  # noqa: F401, for `_random_sources`
    import select  # noqa: F401, for `engine`
    import signal  # noqa: F401
    import socket
    import threading

    library, sealing, names = words[0], words[1], words[2:]
    # Nothing of ours is found beside the code.
    del sys.path[0]
    state = sys.modules.get("stockade_state")
    if state is not None:
        # Orders come there: what is told of imports is not for whoever gives them.
        state.result = None
    serve = ctypes.PyDLL(library).stockade_serve
    serve.argtypes, serve.restype = (ctypes.c_int, ctypes.c_char_p), ctypes.c_int
    after_fork = ctypes.pythonapi.PyOS_AfterFork_Child
    after_fork.argtypes, after_fork.restype = (), None
    _import_all(["stockade_session", *names])
    if threading.active_count() != 1:
        sys.exit("a library that was imported ahead has started a thread")
    # What is imported from here on, in engines, may start threads.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ.pop(name, None)
    sources = _random_sources()
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = serve(3, sealing.encode())
    if descriptor < 0:
        os._exit(0 if descriptor == -1 else 1)
    after_fork()
    _reseed(sources)
    _take_result_descriptor()
    engine(socket.socket(fileno=descriptor))


def _take_result_descriptor():
    # The number is that of the template, what it stands for is not.
    import os

    state = sys.modules.get("stockade_state")
    if state is not None:
        os.set_inheritable(3, False)
        state.result = 3, os.fstat(3).st_ino


# Claim: 16 bytes (kind, then the length of the text in bytes 8 to 16), the text. Longer text comes as a descriptor.
# Kind 1: the text is code. Kind 6: the text is the words of a script in the working folder, each ended by a zero.
# Kind 7: no text; what follows are the orders of a session (`stockade_session`).
CLAIM_BYTES_MAX = 8192
CODE, SCRIPT, SESSION = 1, 6, 7
_ended_by_interrupt = []


def engine(channel):
    """Waits for its claim, runs the code, says how it ended, and ends."""
    import os
    import select
    import signal
    import socket

    # One for code that has not begun waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    last, own = next(reversed(sys.modules)), os.getpid()
    # Memory that any run writes to is its own before it is waited for, unless it waits already: where pages are slow
    # to come by, they are most of what a short run takes.
    if not select.select((channel,), (), (), 0)[0]:
        rehearse()
    packet, descriptors, _, _ = socket.recv_fds(channel, 16 + CLAIM_BYTES_MAX, 4)
    if len(packet) < 16 or packet[0] not in (CODE, SCRIPT, SESSION):
        os._exit(0)
    if packet[0] == SESSION:
        session(channel)
        os._exit(finish(0, last) & 0xFF)
    length = int.from_bytes(packet[8:16], "little")
    if descriptors:
        with open(descriptors[0], "rb") as file:
            text = file.read(length)
    else:
        text = packet[16:16 + length]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if packet[0] == CODE:
            status = execute(text, "<string>", fresh_main())
        else:
            status = script(os.fsdecode(text).split("\0")[:-1], os.getcwd())
    except KeyboardInterrupt:
        status = 1
        _ended_by_interrupt.append(True)
    status = finish(status, last)
    # A child of the code may come here too; its end is not the run's.
    if os.getpid() == own:
        try:
            # The answer comes before the end, which takes the kernel longer.
            channel.send(bytes((2, 0, 0, 0, status & 0xFF)) + bytes(11))
        except OSError:
            pass  # the code has closed it; the end itself tells
    os._exit(status & 0xFF)


def rehearse():
    """Does what a claim makes an engine do, with code that does nothing, and leaves nothing of it."""
    import os
    import socket

    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        far.send(b"null\0")
        words = os.fsdecode(socket.recv_fds(near, 16 + CLAIM_BYTES_MAX, 4)[0]).split("\0")[:-1]
    path = list(sys.path)
    script(words, "/dev")
    execute(b"print(end='')", "<string>", fresh_main())
    _flush()
    sys.path[:] = path


def script(argv, folder):
    """As `python SCRIPT WORDS` in this folder."""
    path = folder + "/" + argv[0] if sys.version_info >= (3, 9) else argv[0]
    main = fresh_main()
    main.__file__ = path
    main.__loader__ = type(_given["__loader__"])("__main__", path)
    sys.argv = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = argv
    sys.path.insert(0, folder)
    with open(path, "rb") as file:
        text = file.read()
    return execute(text, path, main)


def session(channel):
    """As `python -c` that serves a session: what is said of it goes the same way as its answers."""
    import os

    main = fresh_main()
    del main.__cached__
    main.__loader__ = sys.modules["_frozen_importlib"].BuiltinImporter
    os.dup2(channel.detach(), 3, inheritable=False)
    sys.modules["stockade_state"].result = 3, os.fstat(3).st_ino
    sys.modules["stockade_session"].main()


def fresh_main():
    main = type(sys)("__main__")
    main.__dict__.update(_given)
    main.__doc__ = None
    del main.__file__
    sys.modules["__main__"] = main
    sys.argv = ["-c"]
    return main


def execute(text, name, main):
    """As a script: its own module, its exceptions shown. Says with which status it ends."""
    return stockade_execute.execute(text, name, main.__dict__, _caught)


def _caught(error, trace):
    sys.last_traceback, sys.last_type, sys.last_value = trace, type(error), error
    stockade_execute.show(error, trace)
    if isinstance(error, KeyboardInterrupt):
        _ended_by_interrupt.append(True)


def finish(status, last):
    """What the interpreter does at its end: threads are waited for, what is open is written out and closed."""
    import atexit
    import gc
    import threading

    try:
        if len(threading._active) > 1 or getattr(threading, "_threading_atexits", True):
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        status = status or 1
    is_whole = _flush()
    try:
        main = sys.modules.pop("__main__", None)
        own = [sys.modules.pop(name, None) for name in _imported_since(last)]
        sys.last_traceback = sys.last_value = None
        # In the order in which python does it: what is open in a cycle is written out or not by it.
        gc.collect()
        _clear(main)
        del main
        # Whoever still uses one keeps it; python empties those too.
        for module in own:
            _clear(module)
        del own
        gc.collect()
    except BaseException:
        pass
    if not _flush() or not is_whole:
        status = 120  # as python has it, whatever else the status was
    if _ended_by_interrupt:
        # As python does: whoever started it sees what it ended of.
        _interrupted()
    return status


def _imported_since(last):
    """Names of modules that the code has imported, in order. Whoever looks at all the others writes to the memory that
    each name is counted in, which a fork shares until then."""
    names = []
    for name in reversed(sys.modules):
        if name == last:
            return names[::-1]
        names.append(name)
    return []  # the code has taken modules away: what is whose is not known


def _clear(module):
    names = getattr(module, "__dict__", None)
    if type(names) is not dict:
        return
    for first in (True, False):
        for name in list(names):
            is_private = type(name) is str and name[:1] == "_" and name[1:2] != "_"
            if is_private if first else name != "__builtins__":
                names[name] = None


def _flush():
    """Writes out what is open, and says whether all could be."""
    is_whole = True
    for name in ("stdout", "stderr"):
        try:
            stream = getattr(sys, name, None)
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException:
            is_whole = False
    return is_whole


def _interrupted():
    import os
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main(sys.argv[1:])
