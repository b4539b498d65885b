# SPDX-License-Identifier: Apache-2.0
"""What is approved is what servers read: nginx, HAProxy, Apache, Node, h11, http.server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.readers import approved, judged, run
from native.library import Node
from tests.support.readers import NEXT, Ask, running

POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
ADMIN = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"

STREAMS = {
    "a bare LF where a trailer ends": (POST + b"0\r\n\n" + ADMIN, 1),
    "a bare LF where a trailer begins": (POST + b"0\r\n\nX: y\r\n\r\n" + ADMIN, 1),
    "a bare LF in a trailer": (POST + b"0\r\nX: y\n\r\n" + ADMIN, 1),
    "a CR in a trailer": (POST + b"0\r\nX: \ry\r\n\r\n" + ADMIN, 1),
    "a bare LF behind a size": (POST + b"5\nhello\r\n0\r\n\r\n" + ADMIN, 1),
    "a bare LF behind an extension": (POST + b"5;a\nhello\r\n0\r\n\r\n" + ADMIN, 1),
    "a line end in an extension's quotes": (POST + b"5;a=\"\r\n\"hell\r\n0\r\n\r\n" + ADMIN, 2),
    "a bare LF behind a chunk": (POST + b"5\r\nhello\n0\r\n\r\n" + ADMIN, 1),
    "white space behind sizes": (POST + b"5 \r\nhello\r\n0\t\r\n\r\n" + ADMIN, 2),
    "a padded size": (POST + b"5      \r\nhello\r\n0\r\n\r\n" + ADMIN, 2),
    "an extension behind white space": (POST + b"5 ;a=b\r\nhello\r\n0\r\n\r\n" + ADMIN, 2),
    "an empty line behind a body": (
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n" + ADMIN, 2,
    ),
    "a later ClientHello": (GET + b"\x16\x03\x01\0\x05\1\0\0\1x" + ADMIN, 1),
    "a later preface": (GET + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + ADMIN, 1),
    "half a preface": (b"PRI * HTTP/2.0\r\n\r\n" + ADMIN, 0),
    "a preface behind an empty line": (b"\r\nPRI * HTTP/2.0\r\n\r\n" + ADMIN, 0),
    **{
        f"a method that begins with {start!r}": (start + GET, taken)
        for start, taken in ((b"_", 1), (b"-", 1), (b"1", 0), (b"!", 0), (b"g", 0), (b"\0", 0),
                             (b"\x80", 0), (b" ", 0), (b"\t", 0))
    },
    "another host than the target's": (b"GET http://b/admin HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    "a tunnel, which Apache serves as /": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" + ADMIN, 1),
    "an encoded slash in a segment that goes": (b"GET /b%2Fx/../a HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    "a path in the query of a host": (b"GET http://a?/admin HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    "no version": (b"GET /admin\r\n" + ADMIN, 0),
    "a method alone": (b"PING\r\n" + ADMIN, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        yield made


@pytest.fixture(scope="module")
def asked() -> Iterator[dict[str, Ask]]:
    with (
        tempfile.TemporaryDirectory(prefix="readers-") as directory,
        running(Path(directory)) as found,
    ):
        yield found


@pytest.mark.parametrize("about", STREAMS)
def test_no_server_serves_what_was_not_looked_at(
    node: Node, asked: dict[str, Ask], about: str
) -> None:
    stream, taken = STREAMS[about]
    told = approved(node, stream + NEXT)
    assert len(told.requests) == taken + (told.delivered == len(stream + NEXT))
    for name, ask in asked.items():
        served = ask((stream + NEXT)[: told.delivered]) if told.delivered else []
        assert not judged(told, served), name


def test_nor_of_many_requests() -> None:
    with tempfile.TemporaryDirectory(prefix="readers-") as directory:
        tally, found = run(1, range(400), Path(directory))
    assert not found
    assert tally["core took 2"] > 50
    for name in ("nginx", "haproxy", "apache", "node", "h11"):
        assert tally[f"{name} took 2"] > 50, name
