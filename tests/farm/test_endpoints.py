# SPDX-License-Identifier: Apache-2.0
"""Endpoints that migrate in mid-stream with their application's state."""

import hashlib
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from ipos.lab import Lab, Settings
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = pytest.mark.farm
PORT = 4007
CONFIG = f"""\
[[service]]
name = "echo"
port = {PORT}
"""


@dataclass
class Application:
    """An echo server in a node, and what it has printed."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def echoing(farm: Farm, server: str, *options: str) -> Iterator[Application]:
    place = farm.lab.place(server)
    argv = [sys.executable, "-m", "tests.support.echo_server", "--port", str(PORT), *options]
    process = place.popen(argv, cgroup=place.app_cgroup, stdout=subprocess.PIPE, text=True)
    made = Application(process)
    reader = threading.Thread(target=made.read)
    reader.start()
    try:
        wait_until(f"{server} listens", lambda: "ready" in made.lines, 30)
        yield made
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    lab = Lab(Settings(name="ftstate", config=CONFIG, app="none"))
    with lab:
        for server in SERVERS:
            place = lab.place(server)
            place.app_cgroup.mkdir(parents=True, exist_ok=True)
        yield Farm(lab)


def given(farm: Farm) -> int:
    return sum(counts["given"] for counts in farm.all_counters().values())


def taken(farm: Farm) -> int:
    return sum(counts["taken"] for counts in farm.all_counters().values())


def connected(farm: Farm, server: str = "s1") -> socket.socket:
    """A connection that has been echoed once: its application may be at any server."""
    deadline = time.monotonic() + 20
    while True:
        try:
            made = farm.connect(PORT, server)
            made.sendall(b"hello")
            assert made.recv(5, socket.MSG_WAITALL) == b"hello"
            return made
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def exchange(
    connection: socket.socket, length: int, seed: int, timeout_s: float
) -> tuple[str, str]:
    """Send so many bytes in random pieces, and read as many: the hashes of both."""
    chance = random.Random(seed)
    out, back = hashlib.sha256(), hashlib.sha256()
    sent = got = 0
    block = chance.randbytes(1 << 20)
    pending = memoryview(b"")
    deadline = time.monotonic() + timeout_s
    connection.setblocking(False)
    while got < length:
        assert time.monotonic() < deadline, f"{sent} sent, {got} came back"
        if not pending and sent < length:
            size = min(chance.randint(1, 65536), length - sent)
            at = chance.randrange(len(block) - size + 1)
            pending = memoryview(block)[at : at + size]
        writers = [connection] if pending else []
        readable, writable, _ = select.select([connection], writers, [], 1)
        if writable:
            count = connection.send(pending)
            out.update(pending[:count])
            sent += count
            pending = pending[count:]
        if readable:
            data = connection.recv(chance.randint(1, 1 << 17))
            assert data, f"the end after {got} bytes"
            back.update(data)
            got += len(data)
    return out.hexdigest(), back.hexdigest()


def test_an_endpoint_moves_once_and_goes_on(farm: Farm) -> None:
    with ExitStack() as stack:
        apps = {server: stack.enter_context(echoing(farm, server)) for server in SERVERS}
        connection = stack.enter_context(connected(farm))
        client = "{}:{}".format(*connection.getsockname())
        before = given(farm)
        owner = next(s for s in SERVERS if farm.rows(s)["local"] + farm.rows(s)["connect"])
        other = next(s for s in SERVERS if s not in (owner, "s1"))
        print(farm.run(owner, "ipos", "migrate", client, "--to", other))
        assert given(farm) == before + 1
        connection.sendall(b"after")
        assert connection.recv(5, socket.MSG_WAITALL) == b"after"
        assert farm.rows(other)["connect"] == 1
        assert farm.rows(owner)["local"] + farm.rows(owner)["connect"] == 0
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        wait_until("it ends there", lambda: any(" 1 0" in line for line in apps[other].lines))


def test_bytes_are_the_same_after_moves_between_three_servers(farm: Farm) -> None:
    length, moves = 8_000_000, 100
    with ExitStack() as stack:
        for server in SERVERS:
            others = ",".join(one for one in SERVERS if one != server)
            every = str(length // moves)
            stack.enter_context(echoing(farm, server, "--others", others, "--every", every))
        connection = stack.enter_context(connected(farm))
        before = given(farm), taken(farm)
        out, back = exchange(connection, length, 1, 120)
        assert out == back
        made = given(farm) - before[0]
        assert made >= moves // 2, made
        wait_until("all have come", lambda: taken(farm) - before[1] == given(farm) - before[0])
