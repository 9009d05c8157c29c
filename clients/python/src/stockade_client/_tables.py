"""Tables: in memory of a node of this machine, as files otherwise. Needs pyarrow."""

from __future__ import annotations

import fcntl
import importlib
import json
import mmap
import os
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Protocol, Tuple, Type, Union

from ._types import NodeError

if TYPE_CHECKING:
    # Some of its versions have types, and some have none.
    from pyarrow import Table as Table  # type: ignore[import-untyped, unused-ignore]

_ENDING = ".arrow"
_BESIDE = ".tables"
_ANSWER_BYTES = 64 << 10
_PATIENCE = 30.0
# F_ADD_SEALS, F_SEAL_WRITE and F_SEAL_SEAL of linux/fcntl.h; its length is sealed by the node.
_ADD_SEALS, _SEALS = 1033, 8 | 1


class ArrowStream(Protocol):
    """What has rows and can tell them: tables of pyarrow and polars, frames of pandas from 2.2 on, results of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None) -> object: ...


TableLike = Union["Table", ArrowStream]


def file_name(name: str) -> str:
    """The file that a table is in the working folder."""
    return name if name.endswith(_ENDING) else name + _ENDING


class Handed:
    """Tables in memory of a node of this machine, written once, which nobody can change any more."""

    def __init__(self) -> None:
        self.tables: List[Dict[str, str]] = []
        """Names and tokens, for the next request."""
        self._memories: List[int] = []

    def __enter__(self) -> "Handed":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        # What the node has stays there.
        while self._memories:
            os.close(self._memories.pop())

    def write(self, node: socket.socket, name: str, table: TableLike) -> None:
        """Asks for memory of the table's size, and writes it there."""
        arrow = _pyarrow()
        whole = _whole(arrow, table)
        counted = arrow.MockOutputStream()
        _write(arrow, counted, whole)
        memory, token = _memory(node, counted.size())
        self._memories.append(memory)
        # By a map, since its mode lets nobody open it for writing; it must be gone before the seals.
        with mmap.mmap(memory, 0) as mapped:
            sink = arrow.FixedSizeBufferWriter(arrow.py_buffer(mapped))
            try:
                _write(arrow, sink, whole)
            finally:
                sink.close()
                del sink
        fcntl.fcntl(memory, _ADD_SEALS, _SEALS)
        self.tables.append({"name": file_name(name), "token": token})


def hand_over(path: str, timeout: Optional[float], tables: Mapping[str, TableLike]) -> Optional[Handed]:
    """Writes tables to memory of the node at `path`; none when it has no memory to give."""
    if not hasattr(socket, "SOCK_SEQPACKET"):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as node:
        node.settimeout(_PATIENCE if timeout is None else timeout)
        try:
            node.connect(path + _BESIDE)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        handed = Handed()
        try:
            for name, table in tables.items():
                handed.write(node, name, table)
        except BaseException:
            handed.__exit__(None, None, None)
            raise
        return handed


def contents(tables: Mapping[str, TableLike]) -> Dict[str, bytes]:
    """Tables as files."""
    return {file_name(name): _bytes(table) for name, table in tables.items()}


def read(content: bytes) -> "Table":
    """A table from the bytes of a file or a stream of Arrow IPC; it lies in them, and is not copied."""
    arrow = _pyarrow()
    buffer = arrow.py_buffer(content)
    is_file = content[:6] == b"ARROW1"
    opened = arrow.ipc.open_file(buffer) if is_file else arrow.ipc.open_stream(buffer)
    table: "Table" = opened.read_all()
    return table


def _pyarrow() -> Any:
    try:
        arrow = importlib.import_module("pyarrow")
        importlib.import_module("pyarrow.ipc")
    except ImportError as error:
        raise ImportError("tables need pyarrow: pip install pyarrow") from error
    return arrow


def _whole(arrow: Any, table: Any) -> Any:
    """A whole table, since dictionaries that differ from batch to batch fit into no file."""
    if isinstance(table, arrow.Table):
        return table.unify_dictionaries()
    if hasattr(table, "__arrow_c_stream__"):
        return arrow.table(table).unify_dictionaries()
    if hasattr(table, "columns") and hasattr(table, "index"):
        # pandas before 2.2
        return arrow.Table.from_pandas(table)
    raise TypeError(f"{type(table).__name__} is no table: it has no __arrow_c_stream__")


def _write(arrow: Any, sink: Any, table: Any) -> None:
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _bytes(table: TableLike) -> bytes:
    arrow = _pyarrow()
    sink = arrow.BufferOutputStream()
    _write(arrow, sink, _whole(arrow, table))
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _memory(node: socket.socket, size: int) -> Tuple[int, str]:
    node.send(json.dumps({"ask": "table", "bytes": size}).encode())
    said, given, _, _ = socket.recv_fds(node, _ANSWER_BYTES, 1)
    if not said:
        raise ConnectionError("the node takes no more tables at the moment")
    answer = json.loads(said)
    if "token" not in answer or not given:
        raise NodeError(int(answer.get("status", 0)), answer)
    os.set_inheritable(given[0], False)
    return given[0], str(answer["token"])
