"""What a node says, as Python values."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Mapping, Optional

if TYPE_CHECKING:
    import os

    from ._client import Node
    from ._tables import Table


class NodeError(Exception):
    """The node refused or failed: what happened, why, and what to do next."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: Optional[float] = None) -> None:
        self.status = status
        self.retry_after = retry_after
        """Seconds after which to ask again, if the node knows."""
        self.kind = str(problem.get("type", "")).rsplit(":", 1)[-1]
        self.what = str(problem.get("title", "the node refused"))
        self.why = str(problem.get("detail", "it does not say why"))
        self.next = str(problem.get("next", ""))
        self.request_id = str(problem.get("request_id", ""))
        super().__init__(f"{self.what}: {self.why}; {self.next}")


class CodeFailed(Exception):
    """The code did not end well; the result has all there is."""

    def __init__(self, result: "Result") -> None:
        self.result = result
        last = result.stderr.strip().splitlines()[-1:] or [""]
        super().__init__(f"{result.cause} with status {result.status}: {last[0]}")


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    seq: int
    type: str
    data: bytes = b""
    """What was written, for `stdout` and `stderr`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """All that the node said of it."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Event":
        if document.get("base64") is not None:
            data = base64.b64decode(document["base64"])
        else:
            data = (document.get("text") or "").encode()
        return cls(int(document["seq"]), str(document["type"]), data, document)


@dataclass(frozen=True)
class Run:
    """A run, as far as it has come."""

    id: str
    state: str
    """`queued`, `running`, `ended`, or `lost` when the node ended while it ran."""
    position: Optional[int]
    details: Mapping[str, Any]

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "lost")

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Run":
        return cls(str(document["id"]), str(document["state"]), document.get("position"), document)


@dataclass(frozen=True)
class Result:
    """How a run ended, and what it made."""

    run: Run
    node: "Node" = field(repr=False, compare=False)

    @property
    def outcome(self) -> Mapping[str, Any]:
        outcome: Mapping[str, Any] = self.run.details.get("outcome") or {}
        return outcome

    @property
    def status(self) -> int:
        """The exit status that `stockade run` ends with."""
        return int(self.outcome.get("status", 125))

    @property
    def cause(self) -> str:
        """`exited`, `signalled`, `limit`, `cancelled`, `refused`, `failed`, `lost` and the like."""
        return str(self.outcome.get("cause", "unknown"))

    @property
    def report(self) -> Mapping[str, Any]:
        """The report of `stockade run --json`; empty when there is none."""
        report: Mapping[str, Any] = self.outcome.get("report") or {}
        return report

    @property
    def stdout(self) -> str:
        """The beginning of standard output; `node.events` has all of it."""
        return str(self.run.details.get("stdout") or "")

    @property
    def stderr(self) -> str:
        """The beginning of standard error."""
        return str(self.run.details.get("stderr") or "")

    @property
    def outputs(self) -> "list[str]":
        """The files that the code made or changed."""
        files = (self.report.get("outputs") or {}).get("files") or []
        return [str(file["path"]) for file in files]

    def output(self, name: str) -> bytes:
        """The bytes of one output."""
        return self.node.output(self.run.id, name)

    def table(self, name: str) -> "Table":
        """An output that is an Arrow IPC file, `NAME` or `NAME.arrow`, as a table."""
        return self.node.table(self.run.id, name)

    def save(self, folder: "str | os.PathLike[str]") -> "list[str]":
        """Writes all outputs below a folder; nothing that exists is replaced."""
        return self.node.save(self.run.id, self.outputs, folder)

    def check(self) -> "Result":
        """Itself, when the code ended well.

        Raises `NodeError` when the run was refused, `CodeFailed` when the code failed.
        """
        refusal = self.outcome.get("refusal")
        if refusal:
            said = {"title": refusal.get("what"), "detail": refusal.get("why"), "next": refusal.get("next")}
            raise NodeError(0, said)
        if self.status != 0:
            raise CodeFailed(self)
        return self


@dataclass(frozen=True)
class Me:
    """Who asks, what it may have and what it has used."""

    principal: str
    class_: str
    """The class of principals: `usual`, or one of the node's file."""
    cpu_used: float
    """CPU time of today (UTC), seconds."""
    cpu_most: Optional[float]
    """The most of a day; none when there is no bound."""
    details: Mapping[str, Any]
    """All that the node said."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Me":
        cpu = document["cpu"]
        most = cpu["most_ms"]
        return cls(
            str(document["principal"]),
            str(document["class"]),
            int(cpu["used_ms"]) / 1000,
            None if most is None else int(most) / 1000,
            document,
        )


@dataclass(frozen=True)
class Environment:
    """An environment that runs can name."""

    names: "tuple[str, ...]"
    digest: str
    python: Optional[str]
    """The version of Python that it is for."""
    r: Optional[str]
    """The version of R that it is for."""
    packages: "Mapping[str, str]"
    """Names and versions; empty in a list, where `details["packages"]` says how many they are."""
    trusted: Optional[bool]
    """Whether the machine's trust list vouches for all of it; none in a list."""
    details: Mapping[str, Any]
    """All that the node said."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Environment":
        packages = {str(one["name"]): str(one["version"]) for one in document.get("contents", ())}
        names = tuple(str(name) for name in document["names"])
        python, r, trusted = document["python"], document["r"], document.get("trusted")
        return cls(names, str(document["digest"]), python, r, packages, trusted, document)


@dataclass(frozen=True)
class Decision:
    """What would be decided about a run."""

    decision: str
    """`permitted`, `refused`, or `unknown` where its environment is to be built first."""
    what: str
    why: str
    next: str
    details: Mapping[str, Any]
    """All that the node said."""

    @property
    def is_permitted(self) -> bool:
        return self.decision == "permitted"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Decision":
        what, why, next_ = (str(document.get(part) or "") for part in ("what", "why", "next"))
        return cls(str(document["decision"]), what, why, next_, document)
