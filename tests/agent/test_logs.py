# SPDX-License-Identifier: Apache-2.0
"""What an agent says of itself must not be able to end it, or to hold it up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipos.agent.logs import Stderr

SCRIPT = """
import structlog
from ipos.agent import logs
logs.configure()
for number in range(20_000):
    structlog.get_logger().error("it is so", reason="caf\\udce9 " + "x" * 100, number=number)
print("done", flush=True)
"""


@pytest.mark.parametrize("where", ["full", "closed", "gone", "unread"])
def test_logs_that_nobody_takes_end_nobody(where: str) -> None:
    reader, writer = os.open("/dev/full", os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
    if where in ("gone", "unread"):
        os.close(reader)
        os.close(writer)
        reader, writer = os.pipe()
    if where == "gone":
        os.close(reader)
    argv = [sys.executable, "-c", SCRIPT]
    if where == "closed":
        argv = ["sh", "-c", 'exec "$@" 2>&-', "sh", *argv]
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=writer, text=True, timeout=60, check=False
        )
    finally:
        os.close(writer)
        if where != "gone":
            os.close(reader)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_what_is_taken_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    Stderr(fd).write("one line\n")
    os.close(fd)
    assert file.read_bytes() == b"one line\n"
