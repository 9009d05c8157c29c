import json, re, ssl, threading, urllib.request
PROXY = ("127.0.0.1", 3128)
PATIENCE_S = 15
def read_all(stream):
    data = b""
    try:
        while part := stream.recv(65536):
            data += part
    except OSError as broken:
        data += b" " + error(broken.errno).encode()
    return data
def proxy():
    return socket.create_connection(PROXY, PATIENCE_S)
def talk(request):
    """What the proxy answers to these bytes, until it or the silence ends the connection."""
    with proxy() as stream:
        stream.sendall(request)
        stream.settimeout(2)
        return read_all(stream)
def status(answer):
    found = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    return found[1].decode() if found else "none"
def ask(line, *headers):
    """The status of one HTTP request to the proxy."""
    text = "\r\n".join([line, *headers, "", ""])
    return status(talk(text.encode("latin-1")))
def connect(target, host=None):
    return ask(f"CONNECT {target} HTTP/1.1", f"Host: {host or target}")
def tunnel(target):
    stream = proxy()
    stream.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = stream.recv(1)
        if not part:
            break
        answer += part
    return stream, status(answer)
def socks(name, port, kind=3):
    """The answer of SOCKS5 to a name, or to the bytes of an address."""
    name = name if isinstance(name, bytes) else name.encode()
    with proxy() as stream:
        stream.settimeout(PATIENCE_S)
        stream.sendall(b"\x05\x01\x00")
        if stream.recv(2) != b"\x05\x00":
            return "no greeting"
        length = bytes([len(name)]) if kind == 3 else b""
        stream.sendall(b"\x05\x01\x00" + bytes([kind]) + length + name + struct.pack("!H", port))
        answer = stream.recv(2)
        return str(answer[1]) if len(answer) == 2 else "closed"
def by_every_way(host, port):
    """How CONNECT, a plain request, SOCKS and a program that knows no proxy fare."""
    bare = f"[{host}]" if ":" in host else host
    ways = [connect(f"{bare}:{port}"), ask(f"GET http://{bare}:{port}/ HTTP/1.1", f"Host: {bare}:{port}"), socks(host, port)]
    return " ".join(ways + [direct(host, port)])
def direct(host, port):
    """A connection of a program that knows no proxy; it is refused, or cut before any byte came."""
    try:
        stream = socket.create_connection((host, port), PATIENCE_S)
    except (socket.gaierror, UnicodeError):
        return "no-such-name"
    except OSError as refused:
        # Accepted and reset before it was noticed.
        return "cut" if refused.errno == errno.ECONNRESET else error(refused.errno)
    with stream:
        stream.settimeout(3)
        try:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n")
        except OSError:
            return "cut"
        answer = read_all(stream)
        return "cut" if answer in (b"", b" ECONNRESET", b" EPIPE") else f"answered {answer[:60]!r}"
def trust():
    return ssl.create_default_context(cafile="ca.pem")
def careless():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
def secure(stream, name, path="/", host=None):
    """A request in TLS on this stream that asks for `name`; the body of the answer, or how it failed."""
    try:
        with careless().wrap_socket(stream, server_hostname=name) as inner:
            inner.settimeout(PATIENCE_S)
            inner.sendall(f"GET {path} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode())
            return read_all(inner).rpartition(b"\r\n\r\n")[2].decode().strip()
    except ssl.SSLError as refused:
        return type(refused).__name__
    except OSError as refused:
        return error(refused.errno)
def without_proxies():
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
