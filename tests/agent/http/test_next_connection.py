# SPDX-License-Identifier: Apache-2.0
"""One connection out of all that is captured, and the API's answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipos.abi import rows
from ipos.agent.http import next_connection
from ipos.agent.http.api import application
from ipos.kernel.capture import Frame
from tests.agent.http.test_api import Client
from tests.agent.running import Running
from tests.support.golden import packets as p

STRANGER = p.from_router(p.ip("A", port=41_000), pad=False)
FRAMES = [p.from_router(p.ip(flags, data), pad=False)
          for flags, data in (("S", b""), ("A", b""), ("PA", p.HEAD))]  # fmt: skip


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    made = Running()
    settings = rows.Settings(front_mac=mac(p.FRONT), back_mac=mac(p.BACK), ethertype=7)
    made.tables.settings.put(0, settings)
    frames = [Frame(at * 1_000_000, 12, False, len(data), data)
              for at, data in enumerate([STRANGER, FRAMES[0], STRANGER, *FRAMES[1:]])]  # fmt: skip

    @contextmanager
    def capturing(directory: Path) -> Iterator[Iterator[Frame | None]]:
        yield iter([*frames, None])

    monkeypatch.setattr(next_connection, "capturing", capturing)
    return made


def test_the_first_connection_that_begins_and_no_other(running: Running) -> None:
    told = next_connection.document(running.view(), 5, lambda: False)
    assert (told["port"], told["frames"]) == (p.PORT, 3)
    header, *lines = told["ladder"].splitlines()
    assert header.split() == ["ms", "client", "s1"]
    assert [line.split()[0] for line in lines] == ["0.000", "2.000", "3.000"]
    assert "SYN" in lines[0]


def test_no_connection_and_an_agent_that_ends(running: Running) -> None:
    told = next_connection.document(running.view(), 5, lambda: True)
    assert told == {"port": 0, "frames": 0, "ladder": ""}


def test_by_the_api(running: Running) -> None:
    client = Client(application(running))
    assert client.post("/v1/ladder", json={"seconds": 5}).json()["frames"] == 3
    for body in ("{}", "[]", '{"seconds": 0}', '{"seconds": 61}', '{"seconds": true}', "x"):
        refused = client.post("/v1/ladder", content=body)
        assert (refused.status_code, "at most 60" in refused.json()["error"]) == (400, True)
    assert client.get("/v1/ladder").status_code == 405
