# SPDX-License-Identifier: Apache-2.0
"""A server that is short of memory, bandwidth or CPU gets less than a tenth of new requests within
a second, and its part again within two seconds of having enough.

What a server serves is counted from then on, in as many requests as it takes to tell a tenth from
a third.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from ipos.lab import Lab, Settings, faults
from tests.control.test_busy_server import hog
from tests.support.farm import CLIENT, SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]

LINK = 100_000_000
CONFIG = f"""\
[server]
bandwidth = {LINK}

[[service]]
name = "web"
port = 80
"""
SHORT, GONE_S, BACK_S = "s2", 1.0, 2.0
REQUESTS = 100
MIB = 1 << 20
SINK_PORT = 5001


@pytest.fixture(scope="module")
def limited() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}-short", config=CONFIG)) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        wait_until("their needs are known", lambda: applications(farm) == set(SERVERS), 30)
        yield farm


def applications(farm: Farm) -> set[str]:
    """The servers with rows in Application information."""
    told = json.loads(farm.run("s1", "ipos", "table", "application", "-o", "json"))
    return {row["server"] for row in told}


class Requests:
    """One after the other, each with a connection of its own: when it began, and who served it."""

    def __init__(self, farm: Farm) -> None:
        self.served: list[tuple[float, str]] = []
        self.error: BaseException | None = None
        self._farm = farm
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Requests":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _ask(self) -> None:
        try:
            while not self._enough.is_set():
                began = time.monotonic()
                self.served.append((began, self._farm.get().served_by))
        except BaseException as error:
            self.error = error

    def share_since(self, since: float) -> float:
        """Of `REQUESTS` that began at this time or later, once there are so many."""

        def later() -> list[str]:
            assert self.error is None, self.error
            found = [server for began, server in list(self.served) if began >= since]
            return found if len(found) >= REQUESTS else []

        found = wait_until(f"{REQUESTS} requests", later, 60)[:REQUESTS]
        return float(found.count(SHORT)) / REQUESTS


@contextmanager
def little_memory(farm: Farm) -> Iterator[None]:
    """Its limit leaves the application less than the 16 MiB that it needs at least."""
    faults.leave_memory(farm.lab, SHORT, 8 * MIB)
    try:
        yield
    finally:
        faults.leave_memory(farm.lab, SHORT, None)


@contextmanager
def full_link(farm: Farm) -> Iterator[None]:
    """A stream to the client that its link is too slow for."""
    shaped = f"root tbf rate {LINK} burst 32k latency 20ms".split()
    with farm.inside("client1"):
        sink = socket.create_server((CLIENT, SINK_PORT))
    with farm.inside(SHORT):
        stream = socket.socket()
    with sink, stream:
        threading.Thread(target=drain, args=(sink,), daemon=True).start()
        stream.connect((CLIENT, SINK_PORT))
        farm.run(SHORT, "tc", "qdisc", "add", "dev", front(farm), *shaped)
        try:
            with filling(stream):
                yield
        finally:
            farm.run(SHORT, "tc", "qdisc", "del", "dev", front(farm), "root")


def front(farm: Farm) -> str:
    return next(each.name for each in farm.lab.nodes[SHORT].interfaces)


def drain(sink: socket.socket) -> None:
    accepted, _ = sink.accept()
    with accepted:
        while accepted.recv(MIB):
            pass


@contextmanager
def filling(stream: socket.socket) -> Iterator[None]:
    enough, data = threading.Event(), bytes(MIB // 4)

    def send() -> None:
        while not enough.is_set():
            stream.sendall(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def busy_cpu(farm: Farm) -> Iterator[None]:
    with hog(farm, SHORT):
        yield


def explained(farm: Farm) -> dict[str, Any]:
    """What s1's agent says of it, asked without a process: one would wait long for a CPU."""
    asked = f"GET /v1/explain?url=http://{farm.address('s1')}/ HTTP/1.0\r\nHost: ipos\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(str(farm.lab.place("s1").run_dir / "api.sock"))
        agent.sendall(asked.encode())
        said = b"".join(iter(lambda: agent.recv(1 << 16), b""))
    servers: list[dict[str, Any]] = json.loads(said.partition(b"\r\n\r\n")[2])["servers"]
    return next(one for one in servers if one["server"] == SHORT)


@pytest.mark.parametrize(
    ("what", "cause"), [("memory", little_memory), ("bandwidth", full_link), ("cpu", busy_cpu)]
)
def test_a_server_that_is_short_is_left_alone_until_it_is_not(
    limited: Farm, what: str, cause: Callable[[Farm], AbstractContextManager[None]]
) -> None:
    faults.leave_memory(limited.lab, SHORT, None)
    for node in SERVERS:
        faults.share_cpu(limited.lab, node)
    with Requests(limited) as requests:
        before = requests.share_since(time.monotonic())
        with cause(limited):
            began = time.monotonic()
            short = requests.share_since(began + GONE_S)
            told = explained(limited)
            assert (told["short_of"], told["usable"]) == (what, True), told
            assert told["price"] > 1, told
        ended = time.monotonic()
        after = requests.share_since(ended + BACK_S)
    print(f"{what}: {before:.0%} before, {short:.0%} while short, {after:.0%} after")
    assert before > 0.15
    assert short < 0.1, f"{short:.0%} of the requests: {told}"
    assert after > 0.15, f"{after:.0%} of the requests: {explained(limited)}"
