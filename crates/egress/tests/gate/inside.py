"""The inside of a sandbox, for tests of the gate: sets a network namespace up as the launcher does, passes its
sockets out over descriptor 0, then does what it is told, line by line, as code of a run would."""

import ctypes, fcntl, json, os, socket, ssl, struct, sys

PATIENCE = 20
SYN_WITHOUT_ACK = [(0xB1, 0, 0, 0), (0x50, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (6, 0, 0, 128), (6, 0, 0, 0)]
NOT_TO_LOOPBACK = [(0x30, 0, 0, 16), (0x15, 1, 0, 127), (6, 0, 0, 128), (6, 0, 0, 0)]


def interface(name, address, mask):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        def ask(code, value):
            fcntl.ioctl(one, code, struct.pack("16s", name.encode()) + value.ljust(24, b"\0"))
        in_family = lambda text: struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(text))
        ask(0x8916, in_family(address))
        ask(0x891C, in_family(mask))
        ask(0x8914, struct.pack("=H", 0x41))


def raw(protocol, program):
    one = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    one.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(program), ctypes.addressof(code)))
    return one


def listen(address, port, family=socket.AF_INET):
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, port))
    one.listen(512)
    return one


def set_up(spec):
    """The sockets in the order of the gate's messages, and how many of each."""
    interface("lo", "198.18.0.1", "255.255.0.0")
    for number, block in enumerate(spec.get("addresses", [])):
        address, mask = block.split("/")
        interface(f"lo:{number + 1}", address, mask)
    proxies = [listen("127.0.0.1", 3128)]
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))
    transparent = [listen("0.0.0.0", port) for port in spec["ports"]]
    transparent += [listen("::", port, socket.AF_INET6) for port in spec.get("ports6", [])]
    watchers = [raw(socket.IPPROTO_TCP, SYN_WITHOUT_ACK), raw(socket.IPPROTO_UDP, NOT_TO_LOOPBACK)]
    return proxies, resolver, transparent, watchers


def pass_out(control, sockets):
    proxies, resolver, transparent, watchers = sockets
    every = [*proxies, resolver, *transparent, *watchers]
    counts = [len(proxies), len(transparent), len(watchers)]
    socket.send_fds(control, [json.dumps(counts).encode().ljust(64)], [one.fileno() for one in every])
    for one in every:
        one.close()


def question(name, kind):
    labels = name if isinstance(name, list) else name.split(".")
    wire = b"".join(bytes([len(label)]) + label for label in (label.encode("latin-1") for label in labels))
    return struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + wire + b"\0" + struct.pack("!HH", kind, 1)


def lookup(name, kind=1):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        # As every resolver does, ask again what got no answer.
        one.settimeout(PATIENCE / 20)
        for turn in range(20):
            try:
                one.sendto(question(name, kind), ("127.0.0.1", 53))
                answer = one.recv(2000)
                break
            except TimeoutError:
                if turn == 19:
                    raise
    answers = struct.unpack("!H", answer[6:8])[0]
    address = socket.inet_ntoa(answer[-4:]) if answers else None
    return {"code": answer[3] & 15, "address": address}


def connect(to):
    one = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_STREAM)
    one.settimeout(PATIENCE)
    one.connect(tuple(to))
    return one


def read_all(one):
    got = b""
    while part := one.recv(65536):
        got += part
    return got


def exchange(to, send):
    """Everything that comes back for `send`, until as much has come."""
    with connect(to) as one:
        one.sendall(send)
        got = b""
        while len(got) < len(send):
            part = one.recv(65536)
            if not part:
                break
            got += part
        return got


kept = []


def do(order):
    what, to = order["do"], order.get("to")
    if what == "lookup":
        return lookup(order["name"], order.get("kind", 1))
    if what == "query":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(order.get("patience", PATIENCE))
            for _ in range(order.get("times", 1)):
                one.sendto(bytes.fromhex(order["hex"]), ("127.0.0.1", 53))
            return {"hex": one.recv(2000).hex()} if order.get("wait", True) else {}
    if what == "exchange":
        return {"got": exchange(to, order.get("send", "ping").encode()).decode()}
    if what == "socks":
        with connect(["127.0.0.1", 3128]) as one:
            one.sendall(bytes.fromhex(order["hex"]))
            got = b""
            while len(got) < 12 and (part := one.recv(12)):
                got += part
            return {"hex": got.hex()}
    if what == "keep":
        one = connect(to)
        one.sendall(b"ping")
        kept.append(one)
        return {"got": one.recv(100).decode()}
    if what == "kept":
        return {"got": read_all(kept[order["number"]]).decode("latin-1")}
    if what == "datagram":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(PATIENCE)
            one.connect(tuple(to))
            one.send(b"x")
            return {"got": one.recv(10).hex()}
    if what == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with connect(to) as one, context.wrap_socket(one, server_hostname=order["name"]) as tls:
            tls.sendall(b"ping")
            return {"got": tls.recv(100).decode()}
    raise ValueError(what)


def obey(control):
    for line in control.makefile("r"):
        try:
            answer = do(json.loads(line))
        except ssl.SSLError as error:
            answer = {"error": f"TLS {error.reason}"}
        except OSError as error:
            answer = {"error": type(error).__name__}
        control.sendall(json.dumps(answer).encode() + b"\n")


def rounds(number, spec):
    """What one of many runs does: granted and refused things by each way. Returns how many of each."""
    name, port, closed = spec["name"], spec["ports"][0], spec["closed"]
    done = {"connections": 0, "up": 0, "refused": 0}
    for turn in range(spec["rounds"]):
        address = lookup(name)["address"]
        text = f"run {number} turn {turn} ".encode() * 99
        assert exchange([address, port], text) == text
        head = f"CONNECT {name}:{port} HTTP/1.1\r\n\r\n".encode()
        with connect(["127.0.0.1", 3128]) as one:
            one.sendall(head)
            while not (answer := one.recv(999)).endswith(b"\r\n\r\n"):
                assert answer
            one.sendall(text)
            got = b""
            while len(got) < len(text):
                got += one.recv(65536)
            assert got == text
        done["connections"] += 2
        done["up"] += 2 * len(text)
        assert lookup(f"n{turn}.evil.test") == {"code": 3, "address": None}
        assert exchange(["127.0.0.1", 3128], b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
        for to in ([address, closed], ["198.18.99.99", port]):
            try:
                exchange(to, b"ping")
                raise AssertionError(to)
            except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                pass
        done["refused"] += 4
    return done


def many(control, spec):
    """Many namespaces of one process; each is used by a child of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespaces = []
    for _ in range(spec["runs"]):
        if libc.unshare(0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        namespaces.append(os.open("/proc/self/ns/net", os.O_RDONLY))
        pass_out(control, set_up(spec))
        control.recv(1)
    results = []
    for number, namespace in enumerate(namespaces):
        out, into = os.pipe()
        if os.fork() == 0:
            if libc.setns(namespace, 0x40000000) != 0:
                os._exit(1)
            os.write(into, json.dumps(rounds(number, spec)).encode())
            os._exit(0)
        os.close(into)
        results.append(out)
    for out in results:
        with os.fdopen(out) as one:
            control.sendall((one.read() or "null").encode() + b"\n")


control = socket.socket(fileno=0)
spec = json.loads(sys.argv[1])
if "runs" in spec:
    many(control, spec)
else:
    pass_out(control, set_up(spec))
    obey(control)
