"""Runs code on a Stockade node: unaudited Python, R and SQL, inside walls."""

from ._async import AsyncNode, AsyncSession
from ._client import Node
from ._session import Session
from ._tables import ArrowStream, TableLike
from ._types import CodeFailed, Decision, Environment, Event, Me, NodeError, Result, Run

__all__ = [
    "ArrowStream",
    "AsyncNode",
    "AsyncSession",
    "CodeFailed",
    "Decision",
    "Environment",
    "Event",
    "Me",
    "Node",
    "NodeError",
    "Result",
    "Run",
    "Session",
    "TableLike",
]
