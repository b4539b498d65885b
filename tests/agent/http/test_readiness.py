# SPDX-License-Identifier: Apache-2.0
"""Whether a server is to get new connections: the file, the port and the API."""

import asyncio
import dataclasses
import json
import socket
from pathlib import Path

import msgspec
import pytest

from ipos.abi.rows import ServerState
from ipos.agent.http.readiness import Readiness, unready
from ipos.agent.loop.undone import Undone
from ipos.agent.view.table_views import View
from tests.agent.running import Running


def with_state(state: ServerState) -> View:
    running = Running()
    me = next(one for one in running.snapshot.servers if one.server == "s1")
    row = running.tables.servers.get(me.index)
    assert row is not None
    running.tables.servers.put(me.index, dataclasses.replace(row, state=state))
    return running.view()


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (ServerState.READY, ""),
        (ServerState.DRAIN, "it drains"),
        (ServerState.MAINT, "it is in maintenance"),
    ],
)
def test_by_the_state_of_this_server(state: ServerState, why: str) -> None:
    assert unready(with_state(state)) == why


def test_before_anything_is_known_and_with_a_fault() -> None:
    view = Running().view()
    nobody = msgspec.structs.replace(view.snapshot, servers=[])
    assert unready(dataclasses.replace(view, snapshot=nobody)) == "it has just begun"
    faulty = [msgspec.structs.replace(one, fault="no carrier") for one in view.snapshot.servers]
    out = msgspec.structs.replace(view.snapshot, servers=faulty)
    assert unready(dataclasses.replace(view, snapshot=out)) == "no carrier"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _ask(port: int, line: bytes) -> tuple[bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line + b"\r\nHost: s1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


def test_the_file_and_the_port(tmp_path: Path) -> None:
    file, undone, port = tmp_path / "serving", Undone(), _free_port()
    why = ""

    async def story() -> None:
        nonlocal why
        readiness = Readiness(file, "127.0.0.1", lambda: why, undone)
        await readiness.keep(port)
        assert file.exists()
        assert await _ask(port, b"GET /v1/ready HTTP/1.1") == (
            b"HTTP/1.0 200 OK",
            json.dumps({"ready": True, "why": None}).encode(),
        )
        why = "it drains"
        await readiness.keep(port)
        assert not file.exists()
        assert await _ask(port, b"HEAD /v1/ready HTTP/1.0") == (
            b"HTTP/1.0 503 Service Unavailable",
            b"",
        )
        for other in (b"GET / HTTP/1.0", b"POST /v1/ready HTTP/1.0", b"", b"x" * 5000):
            assert (await _ask(port, other))[0] in (b"HTTP/1.0 404 Not Found", b"")
        await readiness.keep(0)
        with pytest.raises(ConnectionRefusedError):
            await _ask(port, b"GET /v1/ready HTTP/1.0")
        readiness.close()

    asyncio.run(story())
    assert not undone.reasons()


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    undone = Undone()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        readiness = Readiness(tmp_path / "no" / "serving", "127.0.0.1", str, undone)
        asyncio.run(readiness.keep(port))
        readiness.close()
    assert any("cannot keep" in reason for reason in undone.reasons())
    assert any(f"cannot listen on 127.0.0.1:{port}" in reason for reason in undone.reasons())
