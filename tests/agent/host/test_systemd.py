# SPDX-License-Identifier: Apache-2.0
"""sd_notify: what is sent, where to, how often, and silence without a service manager."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.agent.host.systemd import READY, WATCHDOG, Watchdog, notify, reloading

SECOND_NS = 1_000_000_000


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager's end."""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield end


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_lines_arrive_in_one_datagram(manager: socket.socket) -> None:
    assert notify(READY, "STATUS=well")
    assert heard(manager) == ["READY=1\nSTATUS=well"]


def test_a_reload_carries_the_time(manager: socket.socket) -> None:
    notify(*reloading())
    first, second = heard(manager)[0].split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_nobody_is_told_without_a_manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1")
    assert not notify(READY)


def test_the_watchdog_is_fed_at_half_its_interval(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    dog = Watchdog()
    for tenths in range(10, 35):
        dog.alive(tenths * SECOND_NS // 10)
    assert heard(manager) == [WATCHDOG] * 3


@pytest.mark.parametrize(("usec", "pid"), [("", ""), ("2000000", "1")])
def test_a_watchdog_nobody_asked_of_us_is_not_fed(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    Watchdog().alive(SECOND_NS)
    assert heard(manager) == []
