"""Tables, to a real node by descriptor and by stream: the same either way."""

from __future__ import annotations

import asyncio
import os
import sys
import unittest
from pathlib import Path
from typing import Any, Dict

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent))

from real_node import WithRealNode  # noqa: E402
from stockade_client import AsyncNode, NodeError  # noqa: E402

try:
    import pyarrow
except ImportError:
    pyarrow = None

# Without pyarrow inside: what is there, and that the output is what came in.
COPY = """
import mmap, os
with open('flights.arrow', 'rb') as file:
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        open('out.arrow', 'wb').write(mapped)
print('memory' if os.path.islink('flights.arrow') else 'file')
"""


@unittest.skipIf(pyarrow is None, "pyarrow is not installed here")
class OfTables(WithRealNode):
    way = "memory"

    @classmethod
    def setUpClass(cls) -> None:
        if cls is OfTables:
            raise unittest.SkipTest("see those that follow")
        super().setUpClass()

    def flights(self) -> Any:
        return pyarrow.table(
            {
                "carrier": pyarrow.array(["AA", "UA", None, "AA"]).dictionary_encode(),
                "delay": [1.5, -2.0, None, 0.25],
                "flight": [1, 2, 3, 4],
            }
        )

    def test_a_table_goes_in_and_comes_out(self) -> None:
        result = self.node.run(COPY, tables={"flights": self.flights()}).check()
        self.assertEqual(result.stdout.strip(), self.way)
        self.assertEqual(result.outputs, ["out.arrow"])
        for name in ("out", "out.arrow"):
            self.assertTrue(result.table(name).equals(self.flights()))

    def test_tables_lie_beside_inputs_and_events_are_told(self) -> None:
        code = COPY + "print(open('a.txt').read(), os.path.getsize('more.arrow') > 0)"
        tables = {"flights": self.flights(), "more": pyarrow.table({"x": list(range(1000))})}
        events = list(self.node.stream(code, inputs={"a.txt": b"hello"}, tables=tables))
        said = b"".join(event.data for event in events if event.type == "stdout").decode().split("\n")
        self.assertEqual(said, [self.way, "hello True", ""])

    def test_whatever_streams_rows_is_a_table(self) -> None:
        class Rows:
            def __init__(self, table: Any) -> None:
                self.table = table

            def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
                return self.table.__arrow_c_stream__(requested_schema)

        result = self.node.run(COPY, tables={"flights": Rows(self.flights())}).check()
        self.assertTrue(result.table("out").equals(self.flights()))
        try:
            import pandas
        except ImportError:
            pass
        else:
            frame = pandas.DataFrame({"x": [1, 2], "y": ["a", None]})
            made = self.node.run(COPY, tables={"flights": frame}).check().table("out")
            self.assertEqual(made.column("x").to_pylist(), [1, 2])
        with self.assertRaises(TypeError):
            self.node.run(COPY, tables={"flights": [1, 2, 3]})  # type: ignore[dict-item]

    def test_one_key_is_one_run(self) -> None:
        first = self.node.submit(COPY, tables={"flights": self.flights()}, key="k")
        self.assertEqual(self.node.submit(COPY, tables={"flights": self.flights()}, key="k").id, first.id)
        with self.assertRaises(NodeError) as conflict:
            self.node.submit(COPY, tables={"flights": pyarrow.table({"x": [1]})}, key="k")
        self.assertEqual(conflict.exception.status, 409)

    def test_a_session_has_tables(self) -> None:
        with self.node.session() as session:
            session.put_table("flights", self.flights())
            self.assertEqual(session.run(COPY).check().stdout.strip(), self.way)
            self.assertTrue(session.table("out").equals(self.flights()))
            # One that is replaced stays where it is still used.
            session.run("kept = open('flights.arrow', 'rb')").check()
            session.put_table("flights", pyarrow.table({"x": [1]}))
            self.assertEqual(session.run(COPY).check().stdout.strip(), self.way)
            self.assertEqual(session.table("out").to_pydict(), {"x": [1]})
            session.run("open('out.arrow', 'wb').write(kept.read())").check()
            self.assertTrue(session.table("out.arrow").equals(self.flights()))
        self.assertEqual(session.result().outputs, ["out.arrow"] if self.way == "memory" else ["flights.arrow", "out.arrow"])

    def test_tasks_have_tables(self) -> None:
        async def main() -> None:
            async with AsyncNode(os.path.join(self.folder.name, "node.sock")) as node:
                runs = (node.run(COPY, tables={"flights": self.flights()}) for _ in range(4))
                for result in await asyncio.gather(*runs):
                    self.assertEqual(result.check().stdout.strip(), self.way)
                    self.assertTrue((await node.table(result.run.id, "out")).equals(self.flights()))
                async with await node.session() as session:
                    await session.put_table("flights", self.flights())
                    await session.run(COPY)
                    self.assertTrue((await session.table("out")).equals(self.flights()))

        asyncio.run(main())

    def test_a_table_of_no_rows_and_one_of_no_columns_are_tables(self) -> None:
        for table in (self.flights().slice(0, 0), pyarrow.table({})):
            result = self.node.run(COPY, tables={"flights": table}).check()
            self.assertTrue(result.table("out").equals(table))

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def test_nothing_is_left_open_here(self) -> None:
        self.node.run(COPY, tables={"flights": self.flights()}).check()
        before = self.descriptors()
        for limits in ({}, {"time": "100h"}):  # type: Dict[str, str]
            try:
                self.node.run(COPY, tables={"flights": self.flights()}, limits=limits)
            except NodeError:
                pass
        self.assertEqual(self.descriptors(), before)


class ByDescriptor(OfTables):
    flags = ["--table-mib", "64"]

    def test_more_than_one_may_have_is_refused(self) -> None:
        with self.assertRaises(NodeError) as refused:
            self.node.run(COPY, tables={"flights": pyarrow.table({"x": pyarrow.array(range(10_000_000))})})
        self.assertEqual((refused.exception.status, refused.exception.kind), (413, "too-large"))
        self.assertTrue(refused.exception.next)


class ByStream(OfTables):
    way = "file"
    flags = ["--table-mib", "0"]


if __name__ == "__main__":
    unittest.main()
