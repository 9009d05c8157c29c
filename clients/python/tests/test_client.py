"""The client, against a real node."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from stockade_client import AsyncNode, CodeFailed, Event, Node, NodeError  # noqa: E402
from real_node import WithRealNode  # noqa: E402


class WithNode(WithRealNode):
    def test_code_runs_and_its_result_is_told(self) -> None:
        result = self.node.run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
        self.assertEqual((result.stdout, result.stderr, result.status, result.cause), ("out\n", "err\n", 3, "exited"))
        with self.assertRaises(CodeFailed) as failed:
            result.check()
        self.assertIn("status 3", str(failed.exception))
        self.assertEqual(self.node.run("print(1)").check().stdout, "1\n")

    def test_what_one_may_have_and_what_would_be_decided_is_told(self) -> None:
        me = self.node.me()
        self.assertEqual((me.principal, me.class_, me.cpu_most), (f"uid-{os.geteuid()}@local", "usual", None))
        self.node.run("sum(range(10**6))").check()
        self.assertGreater(self.node.me().cpu_used, 0)
        self.assertIn("python", self.node.policies()["languages"])
        self.assertTrue(self.node.check("print(open('a').read())", inputs={"a": b"1"}).is_permitted)
        refused = self.node.check("1", environment="nosuch")
        self.assertEqual((refused.decision, refused.is_permitted), ("refused", False))
        self.assertIn("nosuch", refused.what)
        self.assertTrue(refused.next)
        with self.assertRaises(NodeError) as limit:
            self.node.check("1", limits={"time": "100h"})
        self.assertEqual((limit.exception.status, limit.exception.retry_after), (422, None))
        self.assertEqual(self.node.environments(), [])
        with self.assertRaises(NodeError) as missing:
            self.node.environment("no such/thing?")
        self.assertEqual(missing.exception.status, 404)

    def test_the_same_is_told_to_who_awaits_it(self) -> None:
        async def ask() -> None:
            async with AsyncNode(self.node._path) as node:
                self.assertEqual((await node.me()).class_, "usual")
                self.assertEqual(await node.environments(), [])
                self.assertTrue((await node.check("1")).is_permitted)
                self.assertIn("limits", await node.policies())

        asyncio.run(ask())

    def test_inputs_go_in_and_outputs_come_out(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "b.bin")
            path.write_bytes(bytes(range(256)))
            code = (
                "import os; os.mkdir('x'); open('x/sum', 'w').write(open('a').read() * 2); "
                "open('copy', 'wb').write(open('b', 'rb').read())"
            )
            result = self.node.run(code, inputs={"a": b"1\r\n", "b": path}).check()
            self.assertEqual(sorted(result.outputs), ["copy", "x/sum"])
            self.assertEqual(result.output("copy"), bytes(range(256)))
            result.save(Path(folder, "out"))
            self.assertEqual(Path(folder, "out", "x", "sum").read_bytes(), b"1\n1\n")
            with self.assertRaises(FileExistsError):
                result.save(Path(folder, "out"))
            with self.assertRaises(ValueError):
                self.node.save(result.run.id, ["../x"], folder)

    def test_a_data_function_takes_files_and_gives_results(self) -> None:
        function = {
            "script": "y = t.sum().to_frame().T * factor",
            "inputs": [
                {"name": "t", "type": "table", "file": "t.csv"},
                {"name": "factor", "type": "value", "value": 2},
            ],
            "outputs": [{"name": "y", "format": "csv"}],
        }
        result = self.node.data_function(function, inputs={"t.csv": b"a\n1\n2\n"}).check()
        self.assertEqual(result.output("y.csv"), b"a\n6\n")
        missing = self.node.data_function(function)
        self.assertNotEqual(missing.status, 0)

    def test_events_come_as_they_happen(self) -> None:
        code = "import time\nprint('begun', flush=True)\ntime.sleep(1000)"
        events = self.node.stream(code)
        run = None
        for event in events:
            run = run or event.details.get("run")
            if event.data == b"begun\n":
                break
        assert run is not None
        self.assertEqual(self.node.show(run).state, "running")
        result = self.node.cancel(run)
        self.assertTrue(result.outcome["cancelled"])
        self.assertEqual(result.stdout, "begun\n")
        self.assertEqual([event.type for event in events][-1], "result")
        again = [event.type for event in self.node.events(run, 3)]
        self.assertEqual((again[0], again[-1]), ("stdout", "result"))
        self.assertEqual(list(self.node.events(run, 1000)), [])

    def test_bytes_that_are_no_text_arrive_whole(self) -> None:
        events = self.node.stream("import sys; sys.stdout.buffer.write(bytes(range(256)))")
        self.assertEqual(b"".join(event.data for event in events if event.type == "stdout"), bytes(range(256)))

    def test_a_refusal_says_what_to_do(self) -> None:
        with self.assertRaises(NodeError) as refused:
            self.node.run("1", limits={"time": "100h"})
        self.assertEqual((refused.exception.status, refused.exception.kind), (422, "invalid"))
        self.assertIn("time", refused.exception.what)
        self.assertTrue(refused.exception.next)
        with self.assertRaises(NodeError):
            self.node.run("1", environment="none-of-this-name").check()
        with self.assertRaises(NodeError) as missing:
            self.node.show("0123456789abcdef")
        self.assertEqual(missing.exception.status, 404)
        with self.assertRaises(TypeError):
            self.node.run("1", with_="pandas")

    def test_one_key_is_one_run(self) -> None:
        first = self.node.submit("print(1)", key="k")
        self.assertEqual(self.node.submit("print(1)", key="k").id, first.id)
        with self.assertRaises(NodeError) as conflict:
            self.node.submit("print(2)", key="k")
        self.assertEqual(conflict.exception.status, 409)

    def test_a_session_keeps_its_variables(self) -> None:
        with self.node.session(inputs={"a.txt": b"hello"}) as session:
            session.run("x = open('a.txt').read()").check()
            self.assertEqual(session.run("print(x)").stdout, "hello\n")
            failed = session.run("y = 1\n1 / 0")
            self.assertEqual((failed.status, failed.report["exception"]), (1, "ZeroDivisionError"))
            with self.assertRaises(CodeFailed):
                failed.check()
            late = session.run("while True: pass", time="200ms")
            self.assertEqual((late.cause, late.status), ("limit", 124))
            self.assertEqual(session.run("print(x, y)").stdout, "hello 1\n")
            session.put("in.bin", bytes(range(256)))
            session.run("open('out.bin', 'wb').write(open('in.bin', 'rb').read()[::-1])").check()
            self.assertEqual(session.get("out.bin"), bytes(range(255, -1, -1)))
            with self.assertRaises(NodeError) as missing:
                session.get("none")
            self.assertEqual(missing.exception.status, 404)
            self.assertEqual([event.type for event in session.stream("print(1)")][-2:], ["stdout", "result"])
            self.assertEqual(session.show().state, "open")
            self.assertIn(session.id, [one.id for one in self.node.sessions()])
        self.assertEqual(session.state, "ended")
        self.assertEqual(session.result().output("out.bin"), bytes(range(255, -1, -1)))
        with self.assertRaises(NodeError) as over:
            session.run("1")
        self.assertEqual(over.exception.status, 409)

    @unittest.skipUnless(os.path.exists("/usr/bin/Rscript"), "there is no R on this machine")
    def test_a_session_speaks_r(self) -> None:
        with self.node.session(language="r", inputs={"a.txt": b"hello\n"}) as session:
            session.run("x <- readLines('a.txt')").check()
            self.assertEqual(session.run("x").stdout, '[1] "hello"\n')
            failed = session.run("stop('bad')")
            self.assertEqual((failed.status, failed.stderr), (1, "Error: bad\n"))
            self.assertEqual(session.details["language"], "r")
        with self.assertRaises(NodeError) as refused:
            self.node.session(language="julia")
        self.assertEqual(refused.exception.status, 422)

    def test_what_a_session_executes_is_interrupted_and_restarted(self) -> None:
        with self.node.session(inputs={"in.txt": b"in"}) as session:
            session.run("x = 1").check()
            self.assertIsNone(session.interrupt())
            run = session.submit("print('begun', flush=True)\nwhile True: pass")
            for event in self.node.events(run.id):
                if event.data == b"begun\n":
                    self.assertEqual(session.interrupt(), run.id)
            self.assertEqual(self.node.result(run.id).status, 130)
            self.assertEqual(session.run("print(x)").stdout, "1\n")
            former = session.id
            self.assertEqual(session.restart().state, "open")
            self.assertNotEqual(session.id, former)
            self.assertEqual(session.run("print('x' in globals(), open('in.txt').read())").stdout, "False in\n")
        with self.assertRaises(TypeError):
            self.node.session(with_="pandas")
        with self.assertRaises(NodeError):
            self.node.session(idle="100h")

    def test_a_body_that_is_too_large_is_refused(self) -> None:
        with self.assertRaises(NodeError) as refused:
            self.node.run("1", inputs={"a": bytes(120 << 20)})
        self.assertEqual(refused.exception.status, 413)

    def test_runs_are_listed_and_forgotten(self) -> None:
        run = self.node.run("print(1)").run
        self.assertIn(run.id, [one.id for one in self.node.runs()])
        self.node.forget(run.id)
        self.assertNotIn(run.id, [one.id for one in self.node.runs()])
        self.assertTrue(self.node.is_ready())


    def asynchronous(self) -> AsyncNode:
        return AsyncNode(os.path.join(self.folder.name, "node.sock"))

    def test_many_tasks_wait_for_runs_at_once(self) -> None:
        async def main() -> None:
            async with self.asynchronous() as node:
                results = await asyncio.gather(*(node.run(f"print({number})") for number in range(12)))
                self.assertEqual([result.check().stdout for result in results], [f"{n}\n" for n in range(12)])
                made = await node.run("open('a', 'w').write('x')")
                self.assertEqual(await node.output(made.run.id, "a"), b"x")
                self.assertIn(made.run.id, [run.id async for run in node.runs()])
                with self.assertRaises(NodeError):
                    await node.show("0123456789abcdef")

        asyncio.run(main())

    def test_events_are_told_to_a_task_as_they_happen(self) -> None:
        async def main() -> "list[Event]":
            async with self.asynchronous() as node:
                return [event async for event in node.stream("print(1)")]

        events = asyncio.run(main())
        self.assertEqual([event.type for event in events], ["accepted", "started", "stdout", "result"])

    def test_a_task_that_is_cancelled_ends_its_run(self) -> None:
        async def main() -> str:
            async with self.asynchronous() as node:
                task = asyncio.ensure_future(node.run("import time; time.sleep(1000)", name="cancelled.py"))
                while True:
                    mine = [run async for run in node.runs() if run.details["script"] == "cancelled.py"]
                    if mine and mine[0].state == "running":
                        break
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                async for _ in node.events(mine[0].id):
                    pass
                return (await node.result(mine[0].id)).cause

        self.assertEqual(asyncio.run(main()), "cancelled")

    def test_a_task_has_a_session(self) -> None:
        async def main() -> None:
            async with self.asynchronous() as node, await node.session(inputs={"a.txt": b"in"}) as session:
                await session.run("x = open('a.txt').read()")
                async for event in session.stream("print('begun', flush=True)\nwhile True: pass"):
                    if event.data == b"begun\n":
                        self.assertIsNotNone(await session.interrupt())
                self.assertEqual(event.type, "result")
                begun = asyncio.Event()

                async def execute() -> None:
                    async for event in session.stream("x += '!'; print('begun', flush=True)\nwhile True: pass"):
                        if event.data == b"begun\n":
                            begun.set()

                task = asyncio.ensure_future(execute())
                await begun.wait()
                run = await session.submit("print(x)")
                task.cancel()
                async for _ in node.events(run.id):
                    pass
                self.assertEqual((await node.result(run.id)).stdout, "in!\n")
                await session.put("b", b"1")
                self.assertEqual(await session.get("b"), b"1")
            self.assertEqual(session.state, "ended")

        asyncio.run(main())


class WithoutNode(unittest.TestCase):
    def test_no_node_is_an_error_of_the_system(self) -> None:
        with self.assertRaises(OSError):
            Node("/nothing/here").run("1")


if __name__ == "__main__":
    unittest.main()
