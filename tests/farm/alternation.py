# SPDX-License-Identifier: Apache-2.0
"""Requests that go to one server after another on one connection."""

import time

from tests.support.farm import SERVERS, Farm, read_answer, request


def asked(server: str, path: str = "/", *headers: str) -> bytes:
    """A GET that only this server may answer."""
    text = request(path, *headers, close=False)
    return text.replace(b"farm.example", f"{server}.example".encode())


def posted(server: str, body: bytes) -> bytes:
    head = asked(server, "/echo", f"Content-Length: {len(body)}")
    return head.replace(b"GET", b"POST", 1) + body


def in_turn(farm: Farm, count: int, offset: int = 0) -> list[float]:
    """Requests on one connection, each for another server; seconds that each took."""
    took = []
    with farm.connect(server=SERVERS[offset % 3]) as connection:
        for number in range(count):
            server = SERVERS[(number * (offset % 2 + 1) + offset) % 3]
            started = time.monotonic()
            connection.sendall(asked(server))
            answer = read_answer(connection)
            took.append(time.monotonic() - started)
            assert (answer.status, answer.served_by) == (200, server), number
    return took


def chunked(server: str, pieces: list[bytes]) -> bytes:
    head = asked(server, "/echo", "Transfer-Encoding: chunked").replace(b"GET", b"POST", 1)
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*pieces, b""))


REFUSED = b"GET / HTTP/1.1\r\nA : b\r\n\r\n"

ENDLESS = b"GET / HTTP/1.1\r\nHost: farm.example\r\nX-Long: " + b"l" * 20_000

UNFINISHED = b"GET / HTTP/1.1\r\nHost: farm"
