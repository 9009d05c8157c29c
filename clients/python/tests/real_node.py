"""A node of the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from stockade_client import Node  # noqa: E402

PROGRAM = os.environ.get("STOCKADE_NODE_PROGRAM", "")


@unittest.skipUnless(PROGRAM, "STOCKADE_NODE_PROGRAM does not say where stockade-node is")
class WithRealNode(unittest.TestCase):
    folder: "tempfile.TemporaryDirectory[str]"
    process: "subprocess.Popen[bytes]"
    node: Node
    flags: "list[str]" = []

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="stockade-client-")
        os.chmod(cls.folder.name, 0o777)
        socket = os.path.join(cls.folder.name, "node.sock")
        words = [PROGRAM, "start", "--folder", os.path.join(cls.folder.name, "node"), "--socket", socket]
        words += ["--socket-mode", "666", *cls.flags]
        if os.geteuid() == 0:
            words += ["--run-as", "61234"]
        else:
            words += ["--shared-user"]
        vars_ = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"}
        cls.process = subprocess.Popen(words, env=vars_, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not os.path.exists(socket):
            if cls.process.poll() is not None or time.monotonic() > until:
                raise AssertionError("the node does not start")
            time.sleep(0.02)
        cls.node = Node(socket)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.process.terminate()
        assert cls.process.wait(60) == 0
        cls.folder.cleanup()
