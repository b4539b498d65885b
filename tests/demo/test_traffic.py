# SPDX-License-Identifier: Apache-2.0
"""The demo's client against the real built-in application and against bad ones."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ipos.demo import traffic
from ipos.demo.tally import FAULTS_KEPT, Tally
from ipos.demo.traffic import Traffic
from ipos.lab.application import Application

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _tally_of(handler: Handler, requests: int = 20, addressed: str = "s1") -> Tally:
    """What one client has seen after at least so many requests."""

    async def run() -> Tally:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = Traffic("127.0.0.1", port, addressed, seed=1)
        task = asyncio.create_task(client.client(pause_s=0))
        while client.tally.requests < requests:
            await asyncio.sleep(0)
        client.stopped.set()
        await task
        server.close()
        await server.wait_closed()
        return client.tally

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BETWEEN_S", 0)


@pytest.mark.parametrize(("addressed", "all_migrated"), [("s1", True), ("s2", False)])
def test_right_answers_are_counted_by_who_gave_them(addressed: str, all_migrated: bool) -> None:
    tally = _tally_of(Application("s2").serve_http, addressed=addressed)
    assert tally.requests >= 20
    assert tally.failures == 0, tally.faults
    assert tally.answered_by == {"s2": tally.requests}
    assert tally.migrated == (tally.requests if all_migrated else 0)
    assert tally.clients == ["127.0.0.1"]


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-Served-By: s2\r\n\r\nonly this")
    writer.close()


async def _answer_wrongly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Served-By: s2\r\n\r\ns3\n")
    writer.close()


async def _answer_unsigned(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nX-Served-By: s2\r\n\r\n")
    writer.close()


async def _babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"220 s2 ready\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("handler", [_hang_up, _answer_wrongly, _answer_unsigned, _refuse, _babble])
def test_anything_but_a_right_answer_is_a_failure(handler: Handler) -> None:
    tally = _tally_of(handler)
    assert tally.failures == tally.requests >= 20
    assert tally.answered_by == {}
    assert len(tally.faults) == FAULTS_KEPT


def test_silence_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "TIMEOUT_S", 0.01)
    ended = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    tally = _tally_of(stay_silent, requests=1)
    assert tally.failures == 1
    assert tally.faults == ["TimeoutError"]


def test_a_tally_travels_as_one_line() -> None:
    tally = Tally()
    tally.answered("s2", "10.99.0.11", addressed="s1")
    tally.answered("s1", "10.99.0.11", addressed="s1")
    tally.failed("reset")
    assert "\n" not in tally.to_json()
    assert Tally.from_json(tally.to_json()) == tally
    assert (tally.requests, tally.failures, tally.migrated) == (3, 1, 1)
    assert tally.since(Tally(answered_by={"s2": 1})) == {"s2": 0, "s1": 1}
