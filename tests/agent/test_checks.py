# SPDX-License-Identifier: Apache-2.0
"""Rise and fall, and what counts as an answer, against real sockets on this machine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest

from ipos.agent import checks
from ipos.agent.checks import Checks, Health, answers
from ipos.config.schema import Check, Listener, Service

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = IPv4Address("127.0.0.1")
HTTP = Check(http="/health")


def outcomes(rise: int, fall: int, results: str) -> str:
    """'+' and '-' in; after each, whether it is up."""
    health = Health(rise, fall)
    told = ""
    for result in results:
        health.result(result == "+")
        told += "+" if health.up else "-"
    return told


def test_rise_and_fall() -> None:
    assert outcomes(2, 3, "+--+---++") == "++++++--+"
    assert outcomes(2, 3, "-+-++-") == "----++"
    assert outcomes(1, 1, "+-+-") == "+-+-"
    assert Health(1, 1).up is None


@asynccontextmanager
async def application(handler: Handler) -> AsyncIterator[Listener]:
    server = await asyncio.start_server(handler, str(LOOPBACK), 0)
    async with server:
        yield Listener(LOOPBACK, server.sockets[0].getsockname()[1])


def saying(answer: bytes, asked: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked is not None:
            asked.append(await reader.readline())
        writer.write(answer)
        writer.close()

    return handler


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False),
        (b"HTTP/1.1 404 Gone\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"x" * 5000, False),
        (b"", False),
    ],
)
def test_what_counts_as_an_answer(answer: bytes, good: bool) -> None:
    asked: list[bytes] = []

    async def run() -> bool:
        async with application(saying(answer, asked)) as listener:
            return await answers(listener, HTTP)

    assert asyncio.run(run()) is good
    assert asked == [b"GET /health HTTP/1.0\r\n"]


def test_without_a_path_a_connection_is_enough_and_none_is_not() -> None:
    async def run() -> tuple[bool, bool]:
        async with application(saying(b"")) as listener:
            there = await answers(listener, Check())
        return there, await answers(listener, Check())

    assert asyncio.run(run()) == (True, False)


def test_an_application_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "TIMEOUT_S", 0.05)

    async def run() -> bool:
        release = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.close()

        async with application(hang) as listener:
            good = await answers(listener, HTTP)
            release.set()
        return good

    assert asyncio.run(run()) is False


def test_who_was_well_is_so_until_its_check_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(listener: Listener, check: Check) -> bool:
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(checks, "answers", never)
    check = Check(http="/", interval_ms=50, fall=2)
    web = Service(name="web", port=80, check=check)

    async def run() -> list[bool]:
        running = Checks(well=["web"])
        running.converge([web, Service(name="new", port=81, check=check)])
        told = [running.well("web"), running.well("new")]
        running.converge([Service(name="web", port=80, policy="random", check=check)])
        told.append(running.well("web"))
        running.converge([Service(name="web", port=80)])
        running.converge([web])
        told.append(running.well("web"))
        running.converge([])
        running.converge([web])
        told.append(running.well("web"))
        running.stop()
        return told

    assert asyncio.run(run()) == [True, False, True, True, False]
    health = Health(2, 2, up=True)
    health.result(False)
    assert health.up
    health.result(False)
    assert not health.up


def test_a_service_is_well_once_its_check_has_passed() -> None:
    async def run() -> list[bool]:
        asked = asyncio.Event()

        async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()
            asked.set()

        running = Checks()
        told = [running.well("web")]
        async with application(good) as listener:
            check = Check(http="/", interval_ms=50)
            running.converge([Service(name="web", port=80, application=listener, check=check)])
            told.append(running.well("web"))
            while not running.well("web"):
                await asked.wait()
                asked.clear()
                await asyncio.sleep(0)
            running.converge([Service(name="web", port=80)])
            told.append(running.well("web"))
        running.stop()
        return told

    assert asyncio.run(run()) == [True, False, True]
