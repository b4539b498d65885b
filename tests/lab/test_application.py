# SPDX-License-Identifier: Apache-2.0
"""The built-in application, over loopback."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable

import pytest

from ipos.lab import pattern
from ipos.lab.application import Application, BadRequest, listen, parse_head

Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _with_client(exchange: Exchange, speak_first: bool = False) -> None:
    """Serve on a free port of loopback and let one client talk."""

    async def scene() -> None:
        bound = ["127.0.0.1:0"]
        servers = await listen(
            Application("s2"), [] if speak_first else bound, bound if speak_first else [], None
        )
        port = servers[0].sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.wait_for(exchange(reader, writer), 10)
            finally:
                writer.close()
                await writer.wait_closed()
        finally:
            for server in servers:
                server.close()
                await server.wait_closed()

    asyncio.run(scene())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (x.split(":", 1) for x in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, body


def test_one_connection_serves_request_after_request() -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /bytes/1000 HTTP/1.1\r\n\r\n")
        status, headers, body = await _answer(reader)
        assert (status, body) == (200, b"s2\n")
        assert headers["x-served-by"] == "s2"
        assert headers["x-client"] == "127.0.0.1"
        _, _, body = await _answer(reader)
        assert body == bytes(index % 251 for index in range(1000))
        writer.write(b"GET /slow/0.01 HTTP/1.1\r\nConnection: close\r\n\r\n")
        status, headers, body = await _answer(reader)
        assert (status, headers["connection"], body) == (200, "close", b"s2\n")
        assert await reader.read() == b""

    _with_client(exchange)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Length: 11\r\n", b"hello\r\n\r\n!!"),
        (
            b"Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n6;x=y\r\n\r\n\r\n!!\r\n0\r\nA: b\r\n\r\n",
        ),
        (b"Content-Length: 0\r\n", b""),
    ],
)
def test_echo_tells_length_and_hash(headers: bytes, body: bytes) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):  # the second one shows that the first was read to its end
            writer.write(b"POST /echo HTTP/1.1\r\n" + headers + b"\r\n" + body)
            status, _, answer = await _answer(reader)
            content = b"hello\r\n\r\n!!" if body else b""
            assert status == 200
            assert json.loads(answer) == {
                "length": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }

    _with_client(exchange)


def test_it_invites_a_body_that_waits_to_be() -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x")
        assert (await _answer(reader))[0] == 200

    _with_client(exchange)


def test_a_client_that_ends_its_side_at_once_gets_everything() -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /bytes/3000000 HTTP/1.1\r\n\r\n")
        writer.write_eof()
        _, _, body = await _answer(reader)
        assert hashlib.sha256(body).hexdigest() == pattern.sha256(3_000_000)
        assert await reader.read() == b""

    _with_client(exchange)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /nope HTTP/1.1", 404),
        (b"GET /bytes/-1 HTTP/1.1", 404),
        (b"GET /bytes/1/2 HTTP/1.1", 404),
        (b"GET /slow/x HTTP/1.1", 404),
        (b"GET /echo HTTP/1.1", 405),
        (b"GET / HTTP/2", 400),
        (b"nonsense", 400),
    ],
)
def test_what_it_does_not_serve(request_line: bytes, status: int) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request_line + b"\r\n\r\n")
        answer = await _answer(reader)
        assert answer[0] == status
        assert answer[1]["x-served-by"] == "s2"

    _with_client(exchange)


def test_the_greeting_comes_before_the_client_says_anything() -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"220 s2 127.0.0.1\r\n"
        for line in (b"one\r\n", b"two\r\n"):
            writer.write(line)
            assert await reader.readline() == line
        writer.write_eof()
        assert await reader.read() == b""

    _with_client(exchange, speak_first=True)


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: Close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive\r\n", True),
    ],
)
def test_who_keeps_the_connection(version: str, connection: str, stays: bool) -> None:
    head = parse_head(f"GET / HTTP/{version}\r\n{connection}\r\n".encode())
    assert head.keep_alive is stays


def test_a_header_without_a_colon_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse_head(b"GET / HTTP/1.1\r\nHost\r\n\r\n")


@pytest.mark.parametrize("length", [0, 1, 251, 257_023, 257_024, 257_025, 600_000])
def test_the_pattern_is_one_sequence_across_its_pieces(length: int) -> None:
    whole = b"".join(pattern.chunks(length))
    assert whole == bytes(index % 251 for index in range(length))
    assert pattern.sha256(length) == hashlib.sha256(whole).hexdigest()
