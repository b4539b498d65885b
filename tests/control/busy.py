# SPDX-License-Identifier: Apache-2.0
"""A busy client in the background, and what it says in the end."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.farm import Farm


@dataclass(slots=True)
class Load:
    """What wrk said when it was ended. errors: lines about sockets and answers that are not 2xx."""

    requests: int = 0
    errors: list[str] = field(default_factory=list)


@contextmanager
def load(farm: Farm, connections: int = 16, server: str = "s1") -> Iterator[Load]:
    """A connection for each request to a server, as long as the block lasts."""
    url = f"http://{farm.address(server)}/"
    options = ["-t2", f"-c{connections}", "-d900s", "--timeout", "10s", "-H", "Connection: close"]
    said = Load()
    running = farm.lab.popen(
        "client1",
        ["wrk", *options, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield said
    finally:
        running.send_signal(signal.SIGINT)
        try:
            output, _ = running.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            running.kill()
            output, _ = running.communicate()
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    said.requests = int(found[1])
    said.errors = [
        line.strip() for line in output.splitlines() if "rrors" in line or "Non-2xx" in line
    ]
