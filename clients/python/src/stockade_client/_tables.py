"""Tables: as descriptors of sealed memory to a node of this machine, as files otherwise. Needs pyarrow."""

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
_ASK = b'{"ask":"table"}'
_ANSWER_BYTES = 64 << 10
_PATIENCE = 30.0
# Of linux/memfd.h and linux/fcntl.h; the standard library has them only since 3.8 or 3.13, or not at all.
_CLOEXEC, _ALLOW_SEALING, _NOEXEC_SEAL = 1, 2, 8
_ADD_SEALS = 1033
_ALL_SEALS = 1 | 2 | 4 | 8


class ArrowStream(Protocol):
    """What has rows and can tell them: tables of pyarrow and polars, frames of pandas from 2.2 on, results of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None) -> object: ...


TableLike = Union["Table", ArrowStream]


def file_name(name: str) -> str:
    """The file that a table is in the working folder."""
    return name if name.endswith(_ENDING) else name + _ENDING


class Written:
    """Tables as Arrow IPC files, each written once, into memory that nobody can change any more."""

    def __init__(self, tables: Mapping[str, TableLike]) -> None:
        self._files: List[Tuple[str, int]] = []
        try:
            for name, table in tables.items():
                self._files.append((file_name(name), _write(table)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Written":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """What a node was handed stays there."""
        while self._files:
            os.close(self._files.pop()[1])

    def hand_over(self, path: str, timeout: Optional[float]) -> Optional[List[Dict[str, str]]]:
        """Names and tokens for the next request to the node at `path`; none when it takes no descriptors."""
        if not self._files:
            return []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as node:
            node.settimeout(_PATIENCE if timeout is None else timeout)
            try:
                node.connect(path + _BESIDE)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            return [{"name": name, "token": _token(node, memory)} for name, memory in self._files]

    def contents(self) -> Dict[str, bytes]:
        """Their bytes."""
        return {name: _bytes(memory) for name, memory in self._files}


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


def _write(table: TableLike) -> int:
    arrow = _pyarrow()
    memory = _memory()
    try:
        reader = _batches(arrow, table)
        options = arrow.ipc.IpcWriteOptions(unify_dictionaries=True)
        # By its own path, so that pyarrow writes it without the interpreter.
        with arrow.OSFile(f"/proc/self/fd/{memory}", "wb") as sink:
            with arrow.ipc.new_file(sink, reader.schema, options=options) as writer:
                if isinstance(reader, arrow.Table):
                    writer.write_table(reader)
                else:
                    for batch in reader:
                        writer.write_batch(batch)
        os.fchmod(memory, 0o444)
        fcntl.fcntl(memory, _ADD_SEALS, _ALL_SEALS)
    except BaseException:
        os.close(memory)
        raise
    return memory


def _batches(arrow: Any, table: Any) -> Any:
    if isinstance(table, arrow.Table):
        return table
    if hasattr(table, "__arrow_c_stream__"):
        # A whole table, since dictionaries that differ from batch to batch fit into no file.
        return arrow.table(table)
    if hasattr(table, "columns") and hasattr(table, "index"):
        return arrow.Table.from_pandas(table)
    raise TypeError(f"{type(table).__name__} is no table: it has no __arrow_c_stream__")


def _memory() -> int:
    try:
        return os.memfd_create("stockade-table", _CLOEXEC | _ALLOW_SEALING | _NOEXEC_SEAL)
    except OSError:
        # Before Linux 6.3.
        return os.memfd_create("stockade-table", _CLOEXEC | _ALLOW_SEALING)


def _bytes(memory: int) -> bytes:
    with mmap.mmap(memory, 0, prot=mmap.PROT_READ) as mapped:
        return mapped[:]


def _token(node: socket.socket, memory: int) -> str:
    socket.send_fds(node, [_ASK], [memory])
    said = node.recv(_ANSWER_BYTES)
    if not said:
        raise ConnectionError("the node takes no more tables at the moment")
    answer = json.loads(said)
    if "token" not in answer:
        raise NodeError(int(answer.get("status", 0)), answer)
    return str(answer["token"])
