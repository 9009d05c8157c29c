"""What a template of warm engines runs: imports, then forks; and what each of its engines runs.

In the template: behind walls, with nothing of anyone. In an engine: behind walls of its own, which stand before
the first line below `engine`. Arguments: the library that forks, the file an engine seals itself with, modules.
"""
import sys


def _import_all(names):
    import importlib

    for name in names:
        importlib.import_module(name)


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
    import socket
    import threading

    library, sealing, names = words[0], words[1], words[2:]
    serve = ctypes.PyDLL(library).stockade_serve
    serve.argtypes, serve.restype = (ctypes.c_int, ctypes.c_char_p), ctypes.c_int
    after_fork = ctypes.pythonapi.PyOS_AfterFork_Child
    after_fork.argtypes, after_fork.restype = (), None
    _import_all(names)
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
    engine(socket.socket(fileno=descriptor))


# Claim: 16 bytes (1, then the length of the code), the code. Longer code comes as a descriptor.
CLAIM_BYTES_MAX = 8192


def engine(channel):
    """Waits for its claim, runs the code, says how it ended, and ends."""
    import os
    import select
    import socket

    # Memory that the first lines of any code write to is its own before it is waited for, unless it waits already.
    if not select.select((channel,), (), (), 0)[0]:
        execute(b"0", fresh_main())
    main = fresh_main()
    packet, descriptors, _, _ = socket.recv_fds(channel, 16 + CLAIM_BYTES_MAX, 4)
    if len(packet) < 16 or packet[0] != 1:
        os._exit(0)
    length = int.from_bytes(packet[8:16], "little")
    if descriptors:
        with open(descriptors[0], "rb") as file:
            text = file.read(length)
    else:
        text = packet[16:16 + length]
    status = finish(execute(text, main))
    # The answer comes before the end, which takes the kernel longer.
    channel.send(bytes((2, 0, 0, 0, status & 0xFF)) + bytes(11))
    os._exit(status & 0xFF)


def fresh_main():
    main = type(sys)("__main__")
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    sys.argv = ["-c"]
    return main


def execute(text, main):
    """As a script: its own module, its exceptions shown. Says with which status it ends."""
    status = 0
    try:
        exec(compile(text, "<string>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as end:
        status = _status_of(end.code)
    except BaseException:
        import traceback

        kind, error, trace = sys.exc_info()
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        traceback.print_exception(kind, error, trace)
        status = 1
    return status


def finish(status):
    """What the interpreter does at its end: threads are waited for, streams written out."""
    import atexit
    import threading

    try:
        if len(threading._active) > 1 or getattr(threading, "_threading_atexits", True):
            threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        status = status or 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            status = status or 120
    return status


def _status_of(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main(sys.argv[1:])
