"""The servers of one side of a test's network world.

Everything they hear is written down, one JSON document a line, so that a test can say what arrived and
that nothing did. They are the first process of a namespace of processes: when standard input ends, they
end, and the kernel ends whatever they started.

    server.py LOG CERTIFICATE KEY PLACE [POSTGRES_PROGRAMS POSTGRES_FOLDER]

PLACE is `server` or `home`; only the server answers questions about names.
"""

import hashlib
import http.server
import json
import os
import pwd
import re
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time

LIFETIME_S = 900
"""No world is needed for longer, whatever happened to its test."""

RESOLVER = "203.0.113.80"
SECURE, PLAIN, OTHER_SECURE, ECHO, DATAGRAMS, NAMES = 443, 80, 8443, 7000, 7001, 53
PASSWORD = "correct horse"

_, LOG, CERTIFICATE, KEY, PLACE, *POSTGRES = sys.argv
HEARD = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def hear(service, at, what, **more):
    # One write: lines of several threads stay whole.
    line = {"service": service, "at": at.removeprefix("::ffff:"), "what": what, **more}
    os.write(HEARD, json.dumps(line).encode() + b"\n")


def listen(port, backlog=256):
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("0.0.0.0", port), backlog=backlog)


class Web(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, service, port, context=None):
        super().__init__(("", port), Page, bind_and_activate=False)
        self.service, self.context = service, context
        self.socket.close()
        self.socket = listen(port)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        connection, peer = super().get_request()
        hear(self.service, connection.getsockname()[0], "connection")
        return connection, peer

    def finish_request(self, request, peer):
        request.settimeout(60)
        if self.context is None:
            return super().finish_request(request, peer)
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, peer)

    def handle_error(self, request, peer):
        hear(self.service, "", "broken", why=repr(sys.exc_info()[1]))


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hear(
            self.server.service,
            self.connection.getsockname()[0],
            f"{self.command} {self.path}",
            host=self.headers.get("Host"),
            name=getattr(self.connection, "asked", None),
            headers=dict(self.headers),
            body=body[:300].decode("latin-1"),
        )
        if (index := re.fullmatch(r"/([a-z-]+)/simple/([^/]+)/", self.path)) is not None:
            return self.listing(*index.groups())
        if self.path.startswith("/shelf/"):
            return self.file(self.path.rpartition("/")[2], stalls="/stalling-files/" in self.path)
        if self.path == "/slow":
            return self.trickle()
        if self.path.startswith("/files/"):
            return self.given(self.path.removeprefix("/"))
        if self.path.startswith("/moved?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved?"))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path.startswith("/bytes/"):
            text = b"x" * int(self.path.removeprefix("/bytes/"))
        elif self.path == "/headers":
            text = json.dumps(dict(self.headers)).encode() + b"\n"
        elif self.path == "/numbers.csv":
            text = b"a,b\n1,2\n3,4\n"
        else:
            text = f"hello from {self.headers.get('Host')}{self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def given(self, path):
        """What the test put there, as it is."""
        if ".." in path.split("/") or not os.path.isfile(path):
            return self.send_error(404)
        with open(path, "rb") as file:
            self.say(200, "application/octet-stream", file.read())

    def listing(self, manner, name):
        """What an index says of a package (PEP 691). A `stalling` one stops in the middle, a `silent` one
        says nothing, every one stops so at a package named `stalling`, a `stalling-files` one does so with its files, and one that is `lying` about hashes."""
        if manner == "silent":
            return self.hang()
        files = []
        for file in sorted(os.listdir("shelf")):
            if re.sub(r"[-_.]+", "-", file.rpartition("-")[0] if file.endswith(".tar.gz") else file.split("-")[0]) != name:
                continue
            with open(f"shelf/{file}", "rb") as opened:
                body = opened.read()
            sha256 = hashlib.sha256(b"other" if manner == "lying" else body).hexdigest()
            provenance = {"provenance": "https://index.example.com/provenance"} if name == "attested" else {"provenance": None}
            files.append({**provenance, "filename": file, "url": f"/shelf/{manner}/{file}", "hashes": {"sha256": sha256}, "size": len(body)})
        if not files:
            return self.say(404, "text/plain", b"no such package\n")
        listing = {"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}
        self.say(200, "application/vnd.pypi.simple.v1+json", json.dumps(listing).encode(), "stalling" in (manner, name))

    def file(self, name, stalls):
        with open(f"shelf/{name}", "rb") as opened:
            self.say(200, "application/octet-stream", opened.read(), stalls)

    def say(self, status, kind, body, stalls=False):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if stalls else body)
            if stalls:
                self.hang()

    def hang(self):
        """Until the other side gives up."""
        self.wfile.flush()
        self.connection.settimeout(None)
        try:
            self.connection.recv(1)
        except OSError:
            pass
        hear(self.server.service, "", "cut")
        self.close_connection = True

    def trickle(self):
        """An answer that goes on until somebody cuts it."""
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 1000)
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            hear(self.server.service, "", "cut")
            self.close_connection = True


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        at = self.request.getsockname()[0]
        hear("echo", at, "connection")
        while data := self.request.recv(65536):
            hear("echo", at, data[:100].decode("latin-1"))
            self.request.sendall(data)


def echoes():
    server = socketserver.ThreadingTCPServer(("", ECHO), Echo, bind_and_activate=False)
    server.daemon_threads = True
    server.socket.close()
    server.socket = listen(ECHO)
    return server.serve_forever


def datagrams():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("0.0.0.0", DATAGRAMS))

    def serve():
        while True:
            data, peer = one.recvfrom(65536)
            hear("datagrams", "", data[:100].decode("latin-1"))
            one.sendto(data, peer)

    return serve


def pings():
    """Sees echo requests; the kernel answers them."""
    one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def serve():
        while True:
            packet = one.recv(65536)
            kind = packet[(packet[0] & 15) * 4]
            if kind == 8:
                hear("ping", socket.inet_ntoa(packet[16:20]), "echo request")

    return serve


class Names:
    """A resolver for what is not in the file of hosts: answers that change, mix and lead on."""

    KNOWN = {
        "dns.example.com": [["203.0.113.80"]],
        "turning.example.com": [["203.0.113.80"], ["127.0.0.1"]],
        "returning.example.com": [["127.0.0.1"], ["203.0.113.80"]],
        "mixed.example.com": [["203.0.113.80", "10.77.0.5"]],
        "alias.example.com": [["10.77.0.5"]],
    }
    ALIAS = {"alias.example.com": "private.example.com"}

    def __init__(self):
        self.asked = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((RESOLVER, NAMES))

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            try:
                self.socket.sendto(self.answer(query), peer)
            except (IndexError, struct.error):
                hear("names", RESOLVER, "malformed")

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        question = query[12 : at + 5]
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        name = ".".join(labels).lower()
        hear("names", RESOLVER, f"{ {1: 'A', 28: 'AAAA'}.get(kind, kind) } {name}")
        answers = self.KNOWN.get(name)
        records = []
        if answers and kind == 1:
            number = self.asked[name] = self.asked.get(name, -1) + 1
            owner = b"\xc0\x0c"
            if alias := self.ALIAS.get(name):
                target = wire(alias)
                records.append(owner + struct.pack("!HHIH", 5, 1, 0, len(target)) + target)
                owner = target
            for address in answers[min(number, len(answers) - 1)]:
                records.append(owner + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address))
        status = 0 if answers else 3
        return query[:2] + struct.pack("!HHHHH", 0x8580 | status, 1, len(records), 0, 0) + question + b"".join(records)


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def secure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    # Old clients are not what is tested.
    context.set_alpn_protocols(["http/1.1"])

    def asked(connection, name, _):
        connection.asked = name
        hear("tls", connection.getsockname()[0], f"name {name}")

    context.sni_callback = asked
    return context


def postgres(programs, folder):
    """A real server, made for this world, that speaks only TLS and wants a password."""
    owner = pwd.getpwnam("postgres" if any(one.pw_name == "postgres" for one in pwd.getpwall()) else "nobody")
    owned = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": folder}
    for name, source in (("server.pem", CERTIFICATE), ("server.key", KEY)):
        shutil.copy(source, f"{folder}/{name}")
        os.chmod(f"{folder}/{name}", 0o600)
        os.chown(f"{folder}/{name}", owner.pw_uid, owner.pw_gid)
    with open(f"{folder}/password", "w") as file:
        file.write(PASSWORD)
    os.chmod(f"{folder}/password", 0o644)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    data, log = f"{folder}/data", f"{folder}/log"
    setup = [f"{programs}/initdb", "-D", data, "-U", "analyst", "-A", "scram-sha-256", f"--pwfile={folder}/password"]
    subprocess.run(
        setup + ["--no-sync", "-E", "UTF8", "--locale=C"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **owned
    )
    with open(f"{data}/pg_hba.conf", "w") as file:
        file.write("hostssl all all 0.0.0.0/0 scram-sha-256\n")
    settings = {
        "listen_addresses": "203.0.113.81",
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": f"{folder}/server.pem",
        "ssl_key_file": f"{folder}/server.key",
        # Nothing of it may outlive it.
        "dynamic_shared_memory_type": "mmap",
        "shared_buffers": "8MB",
        "max_connections": "60",
        "fsync": "off",
        "log_connections": "on",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with open(log, "wb") as file:
        server = subprocess.Popen(
            [f"{programs}/postgres", "-D", data, *words], stdin=subprocess.DEVNULL, stdout=file, stderr=file, **owned
        )
    threading.Thread(target=follow, args=(log,), daemon=True).start()
    until = time.monotonic() + 60
    while "ready to accept connections" not in open(log).read():
        if server.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"postgres: {open(log).read()}")
        time.sleep(0.02)


def follow(log):
    """What PostgreSQL writes about connections, among what the others heard."""
    with open(log) as file:
        while True:
            line = file.readline()
            if "connection received" in line:
                hear("postgres", "203.0.113.81", "connection")
            elif "connection authorized" in line:
                hear("postgres", "203.0.113.81", "authorized")
            elif not line:
                time.sleep(0.02)


def main():
    # A first process of a namespace ignores what it does not handle.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
    signal.alarm(LIFETIME_S)
    context = secure()
    Web("https", SECURE, context)
    Web("https", OTHER_SECURE, context)
    Web("http", PLAIN)
    services = [echoes(), datagrams(), pings()]
    if PLACE == "server":
        services.append(Names().serve)
    for service in services:
        threading.Thread(target=service, daemon=True).start()
    if POSTGRES:
        postgres(*POSTGRES)
    print("ready", flush=True)
    for line in sys.stdin:
        # What is under way is heard before the answer.
        time.sleep(0.1)
        print(line, end="", flush=True)
    os._exit(0)


main()
