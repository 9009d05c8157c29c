"""HTTP over a Unix socket: one connection a request."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
from typing import Any, Mapping, Optional, Tuple, Union

from ._types import NodeError

Content = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]"]


class UnixConnection(http.client.HTTPConnection):
    """A connection to a socket of this machine."""

    def __init__(self, path: str, timeout: Optional[float]) -> None:
        super().__init__("node", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


def ask(
    path: str,
    timeout: Optional[float],
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: Optional[bytes] = None,
) -> http.client.HTTPResponse:
    """Sends a request; raises `NodeError` for a problem."""
    connection = UnixConnection(path, timeout)
    try:
        try:
            connection.request(method, target, body=body, headers={**headers, "connection": "close"})
        except (BrokenPipeError, ConnectionResetError):
            # Refused before the whole of it was sent: the answer says why, if it came.
            if connection.sock is None:
                raise
        answer = connection.getresponse()
    except BaseException:
        connection.close()
        raise
    if answer.status < 400:
        return answer
    with answer:
        text = answer.read(1 << 20)
    try:
        problem: Any = json.loads(text)
    except ValueError:
        problem = {}
    after = answer.headers.get("retry-after", "")
    wait = float(after) if after.isascii() and after.isdigit() else None
    raise NodeError(answer.status, problem if isinstance(problem, dict) else {}, wait)


def form(request: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Tuple[str, bytes]:
    """A form of a request and files: its type and its bytes."""
    boundary = secrets.token_hex(16)
    parts = [_part(boundary, 'name="request"', json.dumps(request).encode())]
    for name, content in inputs.items():
        if any(character in name for character in '"\\\r\n'):
            raise ValueError(f"{name!r} cannot be the name of a file")
        parts.append(_part(boundary, f'name="input"; filename="{name}"', content))
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _part(boundary: str, about: str, content: bytes) -> bytes:
    head = f"--{boundary}\r\ncontent-disposition: form-data; {about}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def read(content: Content) -> bytes:
    """Bytes as they are; anything else is the path of a file."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    with open(content, "rb") as file:
        return file.read()
