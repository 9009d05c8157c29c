"""A node, as its callers use it."""

from __future__ import annotations

import http.client
import json
import os
import uuid
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union
from urllib.parse import quote

from . import _http, _tables
from ._http import Content
from ._session import Session
from ._tables import TableLike
from ._types import Decision, Environment, Event, Me, NodeError, Result, Run

if TYPE_CHECKING:
    from ._tables import Table

_LINES = "application/x-ndjson"
_TRIES = 5


class Node:
    """A node at a Unix socket: the one that is named, `STOCKADE_NODE_SOCKET`, or the user's own."""

    def __init__(
        self, socket: "Union[str, os.PathLike[str], None]" = None, *, timeout: Optional[float] = None
    ) -> None:
        named = socket or os.environ.get("STOCKADE_NODE_SOCKET") or _own()
        self._path = os.fspath(named)
        self._timeout = timeout

    def run(
        self,
        code: str,
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        tables: Optional[Mapping[str, TableLike]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        arguments: Sequence[str] = (),
        language: Optional[str] = None,
        name: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
        key: Optional[str] = None,
    ) -> Result:
        """Runs code to its end. Code that fails is no error; see `Result.check`.

        `inputs` maps names to bytes, or to paths of files; `tables` maps names to tables, which the code finds as
        Arrow IPC files `NAME.arrow`. To a node of this machine they are written once, to memory that the code reads: nothing
        of it is copied. A connection that is lost is made anew, and the code is still run once.
        """
        request = _request(code, with_, environment, arguments, language, name, limits)
        run = self._submit(request, inputs, key or str(uuid.uuid4()), tables=tables)
        for _ in self.events(run.id):
            pass
        return self.result(run.id)

    def submit(
        self,
        code: str,
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        tables: Optional[Mapping[str, TableLike]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        arguments: Sequence[str] = (),
        language: Optional[str] = None,
        name: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
        key: Optional[str] = None,
    ) -> Run:
        """Has code accepted and does not wait for it."""
        request = _request(code, with_, environment, arguments, language, name, limits)
        return self._submit(request, inputs, key or str(uuid.uuid4()), tables=tables)

    def stream(
        self,
        code: str,
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        tables: Optional[Mapping[str, TableLike]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        arguments: Sequence[str] = (),
        language: Optional[str] = None,
        name: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
        key: Optional[str] = None,
    ) -> Iterator[Event]:
        """Runs code and tells what happens, as it happens; the last event is `result`."""
        request = _request(code, with_, environment, arguments, language, name, limits)
        run = self._submit(request, inputs, key or str(uuid.uuid4()), tables=tables)
        return self.events(run.id)

    def data_function(
        self,
        function: Mapping[str, Any],
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
        key: Optional[str] = None,
    ) -> Result:
        """Runs a Spotfire data function to its end; its results are outputs `NAME.FORMAT`.

        Each `file` of the description is a name in `inputs`. Status 0 says that every result is there.
        """
        run = self.submit_data_function(
            function, inputs=inputs, with_=with_, environment=environment, limits=limits, key=key
        )
        for _ in self.events(run.id):
            pass
        return self.result(run.id)

    def submit_data_function(
        self,
        function: Mapping[str, Any],
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
        key: Optional[str] = None,
    ) -> Run:
        """Has a Spotfire data function accepted and does not wait for it."""
        if isinstance(with_, str):
            raise TypeError("with_ is a list of words")
        request: Dict[str, Any] = {"function": dict(function), "with": list(with_)}
        optional = {"environment": environment, "limits": limits}
        request.update({name: value for name, value in optional.items() if value is not None})
        return self._submit(request, inputs, key or str(uuid.uuid4()), "/v1/data-functions")

    def session(
        self,
        *,
        language: Optional[str] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        inputs: Optional[Mapping[str, Content]] = None,
        limits: Optional[Mapping[str, str]] = None,
        idle: Optional[str] = None,
        key: Optional[str] = None,
    ) -> Session:
        """Opens a session: an engine that keeps its variables between pieces of code.

        `language="r"` or `"sql"` is for these; Python is meant when nothing is said.

        Close it, or use it in a `with` statement. `limits={"time": "20m"}` is its whole life, `idle="5m"` how long it
        may be idle.
        """
        if isinstance(with_, str):
            raise TypeError("with_ is a list of words")
        request: Dict[str, Any] = {"with": list(with_)}
        optional = {"language": language, "environment": environment, "limits": limits, "idle": idle}
        request.update({name: value for name, value in optional.items() if value is not None})
        headers = {"content-type": "application/json", "idempotency-key": key or str(uuid.uuid4())}
        document = self._again("/v1/sessions", headers, json.dumps(request).encode())
        session = Session(self, document, inputs)
        try:
            # Not in the request, where they would have to be small.
            session.put_inputs()
        except BaseException:
            session.close()
            raise
        return session

    def sessions(self) -> Iterator[Session]:
        """Your sessions, the youngest first."""
        before: Optional[int] = None
        while True:
            page = self._json("GET", "/v1/sessions" + (f"?before={before}" if before is not None else ""))
            for document in page["sessions"]:
                yield Session(self, document)
            before = page["before"]
            if before is None:
                return

    def events(self, run: str, from_: int = 1) -> Iterator[Event]:
        """What happened in a run from an event on, and what will. A connection that is lost is made anew."""
        tries = 0
        while True:
            try:
                with self._ask("GET", f"/v1/runs/{quote(run)}/events?from={from_}", {"accept": _LINES}) as answer:
                    for line in answer:
                        if not line.strip():
                            continue
                        event = Event.of(json.loads(line))
                        tries, from_ = 0, event.seq + 1
                        yield event
                        if event.type == "result":
                            return
                # All there is was told: the run was over before.
                if self.show(run).is_over:
                    return
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                tries += 1
                if tries >= _TRIES:
                    raise

    def show(self, run: str) -> Run:
        """A run, as far as it has come."""
        return Run.of(self._json("GET", f"/v1/runs/{quote(run)}"))

    def result(self, run: str) -> Result:
        """How a run ended; it must be over."""
        found = self.show(run)
        if not found.is_over:
            said = {"title": "the run is not over", "detail": f"it is {found.state}", "next": "follow its events"}
            raise NodeError(409, said)
        return Result(found, self)

    def runs(self) -> Iterator[Run]:
        """Your runs, the youngest first."""
        before: Optional[int] = None
        while True:
            page = self._json("GET", "/v1/runs" + (f"?before={before}" if before is not None else ""))
            yield from map(Run.of, page["runs"])
            before = page["before"]
            if before is None:
                return

    def cancel(self, run: str) -> Result:
        """Ends a run and tells how it ended; one that is over stays as it is."""
        return Result(Run.of(self._json("DELETE", f"/v1/runs/{quote(run)}")), self)

    def forget(self, run: str) -> None:
        """Removes a run that is over, with its outputs."""
        self._ask("DELETE", f"/v1/runs/{quote(run)}?forget=true", {}).close()

    def output(self, run: str, name: str) -> bytes:
        """The bytes of one output."""
        with self._ask("GET", f"/v1/runs/{quote(run)}/outputs/{quote(name)}", {}) as answer:
            return answer.read()

    def table(self, run: str, name: str) -> "Table":
        """An output that is an Arrow IPC file, `NAME` or `NAME.arrow`, as a table; its bytes are copied once, to here."""
        return _tables.read(self.output(run, _tables.file_name(name)))

    def save(self, run: str, names: Sequence[str], folder: "Union[str, os.PathLike[str]]") -> List[str]:
        """Writes outputs below a folder; nothing that exists is replaced."""
        saved = []
        for name in names:
            path = PurePosixPath(name)
            # The node collects no such name; that is not relied on.
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"{name!r} leads elsewhere")
            place = Path(folder, *path.parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with self._ask("GET", f"/v1/runs/{quote(run)}/outputs/{quote(name)}", {}) as answer:
                with open(place, "xb") as file:
                    while piece := answer.read(1 << 20):
                        file.write(piece)
            saved.append(str(place))
        return saved

    def me(self) -> Me:
        """Who you are to the node, what you may have and what you have used."""
        return Me.of(self._json("GET", "/v1/me"))

    def environments(self) -> List[Environment]:
        """The environments that have names."""
        return [Environment.of(one) for one in self._json("GET", "/v1/environments")["environments"]]

    def environment(self, name: str) -> Environment:
        """An environment by name or digest, with its packages."""
        return Environment.of(self._json("GET", f"/v1/environments/{quote(name)}"))

    def policies(self) -> Mapping[str, Any]:
        """The rules that hold for your runs: policies, languages, limits and what is required."""
        return self._json("GET", "/v1/policies")

    def check(
        self,
        code: str,
        *,
        inputs: Optional[Mapping[str, Content]] = None,
        with_: Sequence[str] = (),
        environment: Optional[str] = None,
        arguments: Sequence[str] = (),
        language: Optional[str] = None,
        name: Optional[str] = None,
        limits: Optional[Mapping[str, str]] = None,
    ) -> Decision:
        """What would be decided about this run; nothing is run. What the node would not accept is a `NodeError`."""
        request = _request(code, with_, environment, arguments, language, name, limits)
        kind, body = _body(request, inputs)
        return Decision.of(self._json("POST", "/v1/policies/check", {"content-type": kind}, body))

    def is_ready(self) -> bool:
        """Whether the node can run something: it runs a tiny job."""
        try:
            self._ask("GET", "/readyz", {}).close()
        except NodeError as refused:
            if refused.status == 503:
                return False
            raise
        return True

    def _submit(
        self,
        request: Mapping[str, Any],
        inputs: Optional[Mapping[str, Content]],
        key: str,
        target: str = "/v1/runs",
        tables: Optional[Mapping[str, TableLike]] = None,
    ) -> Run:
        files = {name: _http.read(content) for name, content in (inputs or {}).items()}
        if not tables:
            return self._post(request, files, key, target)
        for last in (False, True):
            # A token is good once, so each try has its own.
            handed = _tables.hand_over(self._path, self._timeout, tables)
            if handed is None:
                return self._post(request, {**files, **_tables.contents(tables)}, key, target)
            with handed:
                try:
                    return self._post({**request, "tables": handed.tables}, files, key, target, tries=1)
                except (ConnectionError, http.client.HTTPException):
                    if last:
                        raise
        raise AssertionError("one of the two tries returns or raises")

    def _post(
        self, request: Mapping[str, Any], files: Mapping[str, bytes], key: str, target: str, tries: int = 2
    ) -> Run:
        kind, body = _body(request, files)
        headers = {"content-type": kind, "prefer": "respond-async", "idempotency-key": key}
        return Run.of(self._again(target, headers, body, tries))

    def _again(self, target: str, headers: Mapping[str, str], body: bytes, tries: int = 2) -> Dict[str, Any]:
        """Asks for something that is done once, however often it is asked for: the headers have its key."""
        for left in reversed(range(tries)):
            try:
                return self._json("POST", target, headers, body)
            except (ConnectionError, http.client.HTTPException):
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _ask(
        self, method: str, target: str, headers: Mapping[str, str], body: Optional[bytes] = None
    ) -> http.client.HTTPResponse:
        return _http.ask(self._path, self._timeout, method, target, headers, body)

    def _json(
        self, method: str, target: str, headers: Optional[Mapping[str, str]] = None, body: Optional[bytes] = None
    ) -> Dict[str, Any]:
        with self._ask(method, target, headers or {}, body) as answer:
            document = json.load(answer)
        if not isinstance(document, dict):
            raise NodeError(answer.status, {"title": "the node's answer makes no sense"})
        return document


def _own() -> str:
    folder = os.environ.get("STOCKADE_NODE_DIR")
    if folder is None:
        state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
        folder = os.path.join(state, "stockade-node")
    return os.path.join(folder, "node.sock")


def _body(request: Mapping[str, Any], inputs: Optional[Mapping[str, Content]]) -> "tuple[str, bytes]":
    if inputs:
        return _http.form(request, {name: _http.read(content) for name, content in inputs.items()})
    return "application/json", json.dumps(request).encode()


def _request(
    code: str,
    with_: Sequence[str],
    environment: Optional[str],
    arguments: Sequence[str],
    language: Optional[str],
    name: Optional[str],
    limits: Optional[Mapping[str, str]],
) -> Dict[str, Any]:
    if isinstance(with_, str) or isinstance(arguments, str):
        raise TypeError("with_ and arguments are lists of words")
    request: Dict[str, Any] = {"code": code, "with": list(with_), "arguments": list(arguments)}
    optional = {"environment": environment, "language": language, "name": name, "limits": limits}
    request.update({key: value for key, value in optional.items() if value is not None})
    return request
