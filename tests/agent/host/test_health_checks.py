# SPDX-License-Identifier: Apache-2.0
"""Rise and fall, and what counts as an answer, against real sockets on this machine."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.host import health_checks
from ipos.agent.host.health_checks import Checks, Health, trouble
from ipos.config.health_check import Check
from ipos.config.listener import Listener
from ipos.config.schema import Service

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = IPv4Address("127.0.0.1")
HTTP = Check(http="/health")


async def answers(listener: Listener, check: Check) -> bool:
    context = None if check.https is None else health_checks._tls(verify=check.verify)
    return not await trouble(listener, check, context)


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


def test_an_application_is_asked_from_loopback_wherever_it_listens() -> None:
    """Who calls a service address from another address may be refused: sock/lookup.bpf.c."""
    callers: list[str] = []

    async def asked(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername")[0])
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    async def run() -> bool:
        async with await asyncio.start_server(asked, "127.0.0.2", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await answers(Listener(IPv4Address("127.0.0.2"), port), HTTP)

    assert asyncio.run(run())
    assert callers == [str(LOOPBACK)]


def test_an_application_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checks, "TIMEOUT_S", 0.05)

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
    async def never(*_: object) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(health_checks, "trouble", never)
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that signs itself, with its key, for www.example.org."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 "
        f"-subj /CN=www.example.org -addext subjectAltName=DNS:www.example.org -keyout {file} "
        f"-out {file}.crt"
    )
    subprocess.run(words.split(), check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


def of_tls(certificate: Path, answer: bytes, check: Check, names: list[str | None]) -> str:
    """What a check finds wrong with an application that speaks TLS and answers this."""

    async def run() -> str:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _, name, __: names.append(name)
        server = await asyncio.start_server(saying(answer, asked), str(LOOPBACK), 0, ssl=context)
        async with server:
            listener = Listener(LOOPBACK, server.sockets[0].getsockname()[1])
            tls = None if check.https is None else health_checks._tls(verify=check.verify)
            return await trouble(listener, check, tls)

    asked: list[bytes] = []
    return asyncio.run(run())


@pytest.mark.parametrize(
    ("check", "answer", "wrong"),
    [
        (Check(https="/health"), b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (Check(https="/", host="www.example.org:8443"), b"HTTP/1.1 302 Found\r\n\r\n", ""),
        (Check(https="/", status="404"), b"HTTP/1.1 404 Gone\r\n\r\n", ""),
        (
            Check(https="/", status="200-299"),
            b"HTTP/1.1 302 Found\r\n\r\n",
            "it answered 302, not 200-299",
        ),
        (Check(https="/"), b"x" * 5000, "its answer begins with a line that is too long for HTTP"),
        (Check(https="/"), b"", "it closed the connection without an answer"),
        (
            Check(https="/", host="www.example.org", verify=True),
            b"HTTP/1.1 200 OK\r\n\r\n",
            "certificate verify failed",
        ),
    ],
)
def test_an_application_that_speaks_tls(
    certificate: Path, check: Check, answer: bytes, wrong: str
) -> None:
    names: list[str | None] = []
    found = of_tls(certificate, answer, check, names)
    assert found == wrong or (wrong and wrong in found)
    if check.host is not None:
        assert names == ["www.example.org"]


def test_http_to_what_speaks_tls_says_so(certificate: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    found = of_tls(certificate, answer, HTTP, [])
    assert "without an answer" in found or 'say check = { https = "/health" }' in found
    assert "if it speaks TLS" in health_checks._wrong(b"HTTP/1.1 400 Bad Request\r\n", HTTP)
    assert "it speaks TLS" in health_checks._wrong(b"\x15\x03\x03\x00\x02\x02\x0a", HTTP)


def test_https_to_what_does_not_speak_it_is_a_sentence() -> None:
    async def run() -> str:
        async with application(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as listener:
            return await trouble(listener, Check(https="/"), health_checks._tls(verify=False))

    assert asyncio.run(run())


def test_a_service_that_is_not_well_says_why() -> None:
    async def run() -> dict[str, str]:
        async with application(saying(b"HTTP/1.1 503 Busy\r\n\r\n")) as listener:
            running = Checks()
            web = Service(name="web", port=80, application=listener, check=HTTP)
            running.converge([web])
            while not (found := running.troubles()):
                await asyncio.sleep(0)
            running.stop()
        return found

    assert asyncio.run(run()) == {"web": "it answered 503, not 200-399"}
