"""The same for asyncio: what waits for the node waits in threads of its own, not in the event loop."""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Callable, Iterator, Optional, Type, TypeVar, Union

from ._client import Node
from ._session import Session
from ._tables import TableLike
from ._types import Event, Result, Run

if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec

    from ._tables import Table

    _P = ParamSpec("_P")
_T = TypeVar("_T")


def _in_thread(method: "Callable[Concatenate[Node, _P], _T]") -> "Callable[Concatenate[AsyncNode, _P], Awaitable[_T]]":
    @functools.wraps(method)
    async def wrapped(self: AsyncNode, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._do(method, self._node, *args, **kwargs)

    return wrapped


def _to_end(submit: "Callable[Concatenate[Node, _P], Run]") -> "Callable[Concatenate[AsyncNode, _P], Awaitable[Result]]":
    @functools.wraps(submit)
    async def wrapped(self: AsyncNode, /, *args: _P.args, **kwargs: _P.kwargs) -> Result:
        """Runs to its end. When the task is cancelled, so is the run."""
        return await self._follow(submit, self._node, *args, **kwargs)

    return wrapped


def _as_it_happens(
    submit: "Callable[Concatenate[Node, _P], Run]",
) -> "Callable[Concatenate[AsyncNode, _P], AsyncIterator[Event]]":
    @functools.wraps(submit)
    async def wrapped(self: AsyncNode, /, *args: _P.args, **kwargs: _P.kwargs) -> AsyncIterator[Event]:
        """Tells what happens, as it happens. When the task is cancelled, so is the run."""
        async for event in self._stream(submit, self._node, *args, **kwargs):
            yield event

    return wrapped


class AsyncNode:
    """A node, for asyncio: the methods of `Node`, to be awaited. What a `Result` fetches, `output`, `table` and
    `save`, is fetched here by the methods of the same names.

    At most `threads` calls wait for the node at once; others wait for them.
    """

    def __init__(
        self,
        socket: "Union[str, os.PathLike[str], None]" = None,
        *,
        timeout: Optional[float] = None,
        threads: int = 32,
    ) -> None:
        self._node = Node(socket, timeout=timeout)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stockade")

    async def __aenter__(self) -> "AsyncNode":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._threads.shutdown(wait=False)

    run = _to_end(Node.submit)
    stream = _as_it_happens(Node.submit)
    submit = _in_thread(Node.submit)
    data_function = _to_end(Node.submit_data_function)
    show = _in_thread(Node.show)
    result = _in_thread(Node.result)
    cancel = _in_thread(Node.cancel)
    forget = _in_thread(Node.forget)
    output = _in_thread(Node.output)
    save = _in_thread(Node.save)
    table = _in_thread(Node.table)
    is_ready = _in_thread(Node.is_ready)
    me = _in_thread(Node.me)
    environments = _in_thread(Node.environments)
    environment = _in_thread(Node.environment)
    policies = _in_thread(Node.policies)
    check = _in_thread(Node.check)
    _open = _in_thread(Node.session)

    async def session(self, **asked: Any) -> "AsyncSession":
        """Opens a session, as `Node.session`; use it in an `async with` statement."""
        return AsyncSession(self, await self._open(**asked))

    def events(self, run: str, from_: int = 1) -> AsyncIterator[Event]:
        """What happened in a run from an event on, and what will."""
        return self._each(self._node.events(run, from_))

    def runs(self) -> AsyncIterator[Run]:
        """Your runs, the youngest first."""
        return self._each(self._node.runs())

    async def _do(self, method: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        return await asyncio.wrap_future(self._threads.submit(method, *args, **kwargs))

    async def _each(self, iterator: Iterator[_T]) -> AsyncIterator[_T]:
        end: Any = object()
        while True:
            one = await self._do(next, iterator, end)
            if one is end:
                return
            yield one

    async def _accepted(self, submit: Callable[..., Run], *args: Any, **kwargs: Any) -> Run:
        accepted: "Future[Run]" = self._threads.submit(submit, *args, **kwargs)
        try:
            # A request that has left may be accepted, whoever still waits for it.
            return await asyncio.shield(asyncio.wrap_future(accepted))
        except asyncio.CancelledError:
            accepted.add_done_callback(self._end_accepted)
            raise

    def _end_accepted(self, accepted: "Future[Run]") -> None:
        if not accepted.cancelled() and accepted.exception() is None:
            self._end(accepted.result().id)

    def _end(self, run: str) -> None:
        self._threads.submit(self._node.cancel, run)

    async def _follow(self, submit: Callable[..., Run], *args: Any, **kwargs: Any) -> Result:
        run = await self._accepted(submit, *args, **kwargs)
        async for _ in self._watched(run.id):
            pass
        return await self._do(self._node.result, run.id)

    async def _stream(self, submit: Callable[..., Run], *args: Any, **kwargs: Any) -> AsyncIterator[Event]:
        run = await self._accepted(submit, *args, **kwargs)
        async for event in self._watched(run.id):
            yield event

    async def _watched(self, run: str) -> AsyncIterator[Event]:
        try:
            async for event in self.events(run):
                yield event
        except asyncio.CancelledError:
            self._end(run)
            raise


class AsyncSession:
    """A session, for asyncio: the methods of `Session`, to be awaited."""

    def __init__(self, node: AsyncNode, session: Session) -> None:
        self._node, self._session = node, session

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def state(self) -> str:
        """As of when it was shown last."""
        return self._session.state

    async def __aenter__(self) -> "AsyncSession":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def run(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> Result:
        """Executes code to its end. When the task is cancelled, the code is interrupted; variables stay."""
        return await self._node._follow(self._session.submit, code, time=time, key=key)

    def stream(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> AsyncIterator[Event]:
        """Executes code and tells what happens, as it happens."""
        return self._node._stream(self._session.submit, code, time=time, key=key)

    async def submit(self, code: str, *, time: Optional[str] = None, key: Optional[str] = None) -> Run:
        """Has code executed in its turn, and does not wait for it."""
        return await self._node._do(self._session.submit, code, time=time, key=key)

    async def interrupt(self) -> Optional[str]:
        """Interrupts what is executed; tells which execution, if there is one."""
        return await self._node._do(self._session.interrupt)

    async def restart(self) -> "AsyncSession":
        """Itself, with another engine and another name."""
        await self._node._do(self._session.restart)
        return self

    async def put(self, name: str, content: Any) -> None:
        """Writes a file of the working folder: bytes, or the path of a file here."""
        await self._node._do(self._session.put, name, content)

    async def put_table(self, name: str, table: TableLike) -> None:
        """Gives it a table, as the file `NAME.arrow` of the working folder."""
        await self._node._do(self._session.put_table, name, table)

    async def table(self, name: str) -> "Table":
        """A file of the working folder that is an Arrow IPC file, `NAME` or `NAME.arrow`, as a table."""
        return await self._node._do(self._session.table, name)

    async def get(self, name: str) -> bytes:
        """The bytes of a file of the working folder."""
        return await self._node._do(self._session.get, name)

    async def close(self) -> "AsyncSession":
        """Ends it, with what is under way."""
        await self._node._do(self._session.close)
        return self

    async def result(self) -> Result:
        """How it ended, and what it made; it must be over."""
        return await self._node._do(self._session.result)
