# SPDX-License-Identifier: Apache-2.0
"""The sweep of TIME_WAIT sockets, on the kernel's own in a namespace of the test's."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ipos.agent.expiry.timewait import INTERVAL_NS, TimeWait, any_there
from ipos.lab import namespaces

T = TypeVar("T")
pytestmark = pytest.mark.farm


@pytest.fixture
def inside() -> Iterator[Path]:
    name = f"tw{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def _within(namespace: Path, work: Callable[[], T]) -> T:
    results: list[T] = []

    def run() -> None:
        with namespaces.entered(namespace):
            results.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def _close_first() -> bytes:
    """One connection that the server closes first. The client's port, in network order."""
    with socket.create_server(("127.0.0.1", 8080)) as listener:
        client = socket.create_connection(("127.0.0.1", 8080))
        served, (_, port) = listener.accept()
        served.close()
        client.recv(1)
        client.close()
    return int(port).to_bytes(2, "big")


def test_only_what_is_remembered_is_ended(inside: Path) -> None:
    def work() -> tuple[int, int, int, bool]:
        ours, others = _close_first(), _close_first()
        asked: list[tuple[bytes, ...]] = []

        def remembered(client: bytes, service: bytes, client_port: bytes, port: bytes) -> bool:
            asked.append((client, service, port))
            return client_port == ours

        sweep = TimeWait(remembered)
        try:
            first = sweep.sweep(0)
            assert set(asked) == {(b"\x7f\0\0\1", b"\x7f\0\0\1", b"\x1f\x90")}
            assert ours != others
            again = sweep.sweep(INTERVAL_NS - 1)
            last = sweep.sweep(INTERVAL_NS)
        finally:
            sweep.close()
        return first, again, last, any_there()

    assert _within(inside, work) == (1, 0, 0, True)


def test_nothing_is_asked_without_any(inside: Path) -> None:
    def work() -> int:
        sweep = TimeWait(lambda *_: pytest.fail("nothing should be asked"))
        try:
            return sweep.sweep(0)
        finally:
            sweep.close()

    assert _within(inside, work) == 0
