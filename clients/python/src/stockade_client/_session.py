"""A session of a node: an engine that keeps its variables."""

from __future__ import annotations

import json
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Type
from urllib.parse import quote

from . import _http, _tables
from ._http import Content
from ._tables import TableLike
from ._types import Event, NodeError, Result, Run

if TYPE_CHECKING:
    from ._client import Node
    from ._tables import Table


class Session:
    """Opened by `Node.session`; pieces of code are executed in the order in which they are asked for."""

    def __init__(
        self, node: "Node", document: Mapping[str, Any], inputs: Optional[Mapping[str, Content]] = None
    ) -> None:
        self.node = node
        self._inputs = dict(inputs or {})
        self.id = str(document["id"])
        self.details: Mapping[str, Any] = document
        """What the node said of it when it was opened, or shown last."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.state}>"

    @property
    def state(self) -> str:
        """`open`, `ending`, `ended`, or `lost` when the node ended while it was open; as of when it was shown last."""
        return str(self.details["state"])

    def show(self) -> "Session":
        """Itself, with what the node says of it now."""
        return self._told(self.node._json("GET", self._path()))

    def run(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> Result:
        """Executes code to its end. Code that fails is no error and ends nothing; see `Result.check`.

        `time="30s"` is how long it may take: it is interrupted then, and variables stay.
        """
        run = self.submit(code, time=time, key=key)
        for _ in self.node.events(run.id):
            pass
        return self.node.result(run.id)

    def submit(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> Run:
        """Has code executed in its turn, and does not wait for it."""
        request: Dict[str, Any] = {"code": code}
        if time is not None:
            request["time"] = time
        headers = {
            "content-type": "application/json",
            "prefer": "respond-async",
            "idempotency-key": key or str(uuid.uuid4()),
        }
        return Run.of(self.node._again(self._path("/executions"), headers, json.dumps(request).encode()))

    def stream(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> Iterator[Event]:
        """Executes code and tells what happens, as it happens; the last event is `result`."""
        return self.node.events(self.submit(code, time=time, key=key).id)

    def interrupt(self) -> Optional[str]:
        """Interrupts what is executed, as Ctrl-C does; tells which execution, if there is one."""
        interrupted = self.node._json("POST", self._path("/interrupt"), {}, b"")["interrupted"]
        return None if interrupted is None else str(interrupted)

    def restart(self) -> "Session":
        """Itself, with another engine and another name: variables and files are gone, its inputs are put again."""
        document = self.node._json("POST", self._path("/restart"), {}, b"")
        self.id = str(document["id"])
        self._told(document)
        self.put_inputs()
        return self

    def put_inputs(self) -> None:
        """Puts what it was opened with."""
        for name, content in self._inputs.items():
            self.put(name, content)

    def put(self, name: str, content: Content) -> None:
        """Writes a file of the working folder: bytes, or the path of a file here."""
        headers = {"content-type": "application/octet-stream"}
        self.node._ask("PUT", self._path(f"/files/{quote(name, safe='')}"), headers, _http.read(content)).close()

    def put_table(self, name: str, table: TableLike) -> None:
        """Gives it a table, as the file `NAME.arrow` of the working folder."""
        file = _tables.file_name(name)
        handed = _tables.hand_over(self.node._path, self.node._timeout, {name: table})
        if handed is None:
            return self.put(file, _tables.contents({name: table})[file])
        with handed:
            body = json.dumps({"token": handed.tables[0]["token"]}).encode()
            headers = {"content-type": "application/json"}
            self.node._ask("PUT", self._path(f"/tables/{quote(file, safe='')}"), headers, body).close()

    def table(self, name: str) -> "Table":
        """A file of the working folder that is an Arrow IPC file, `NAME` or `NAME.arrow`, as a table."""
        return _tables.read(self.get(_tables.file_name(name)))

    def get(self, name: str) -> bytes:
        """The bytes of a file of the working folder."""
        with self.node._ask("GET", self._path(f"/files/{quote(name, safe='')}"), {}) as answer:
            return answer.read()

    def close(self) -> "Session":
        """Ends it, with what is under way; one that is over stays as it is."""
        return self._told(self.node._json("DELETE", self._path()))

    def result(self) -> Result:
        """How it ended, and what it made; it must be over."""
        found = self.node.show(self.id)
        if not found.is_over:
            said = {"title": "the session is not over", "detail": f"it is {found.state}", "next": "close it first"}
            raise NodeError(409, said)
        return Result(found, self.node)

    def _told(self, document: Mapping[str, Any]) -> "Session":
        self.details = document
        return self

    def _path(self, rest: str = "") -> str:
        return f"/v1/sessions/{quote(self.id)}{rest}"
