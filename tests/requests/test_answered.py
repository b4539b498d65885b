# SPDX-License-Identifier: Apache-2.0
"""Where an application's answers end: the oracle and the core by known streams."""

from __future__ import annotations

import pytest

from native.library import Node
from spec.requests.answered import Answers, Asked, Stands, read
from tests.support.responses import core_answers

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN, HEAD = Asked.PLAIN, Asked.HEAD
WHOLE = Answers(1, Stands.BETWEEN)
UNKNOWN = Answers(0, Stands.UNKNOWN)

STREAMS = {
    "a length": ([PLAIN], OK + b"Content-Length: 5\r\n\r\nhello", WHOLE),
    "a length in small letters": ([PLAIN], OK + b"content-length:5\r\n\r\nhello", WHOLE),
    "one byte is missing": (
        [PLAIN],
        OK + b"Content-Length: 5\r\n\r\nhell",
        Answers(0, Stands.INSIDE),
    ),
    "chunks": (
        [PLAIN],
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        WHOLE,
    ),
    "a chunk's extension is no part of its size": (
        [PLAIN],
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n",
        WHOLE,
    ),
    "white space behind a chunk's size": (
        [PLAIN],
        OK + b"Transfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\t;c\r\n\r\n",
        WHOLE,
    ),
    **{
        f"no chunks: {body!r}": (
            [PLAIN],
            OK + b"Transfer-Encoding: chunked\r\n\r\n" + body,
            UNKNOWN,
        )
        for body in (
            b"5\nhello\r\n",
            b"5;a\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5 a\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"0\r\n\n",
            b"0\r\n\nX: y\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\nX: \rz\r\n\r\n",
            b"0\r\n\r\r\n",
            b"0\r\nX: \0\r\n\r\n",
        )
    },
    "a chunk's size of other signs": (
        [PLAIN],
        OK + b"Transfer-Encoding: chunked\r\n\r\n?\r\n",
        UNKNOWN,
    ),
    "a trailer": (
        [PLAIN],
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        WHOLE,
    ),
    "chunks win over a length": (
        [PLAIN],
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        WHOLE,
    ),
    "CR is no hyphen": ([PLAIN], OK + b"Content\rLength: 5\r\n\r\nhello", UNKNOWN),
    "a control byte is no slash": ([PLAIN], b"HTTP\x0f1.1 204 x\r\n\r\n", UNKNOWN),
    "two lengths": ([PLAIN], OK + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", UNKNOWN),
    "another encoding": ([PLAIN], OK + b"Transfer-Encoding: gzip\r\n\r\n", UNKNOWN),
    "until the connection closes": ([PLAIN], OK + b"\r\nhello", UNKNOWN),
    "HEAD has no body": ([HEAD], OK + b"Content-Length: 5\r\n\r\n", WHOLE),
    "nor has 304": ([PLAIN], b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", WHOLE),
    "103 before the answer": (
        [PLAIN],
        b"HTTP/1.1 103 x\r\nLink: y\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
        WHOLE,
    ),
    "nobody has asked": (
        [PLAIN],
        (OK + b"Content-Length: 0\r\n\r\n") * 2,
        Answers(1, Stands.UNKNOWN),
    ),
    "an upgrade": (
        [PLAIN, Asked.UPGRADE],
        OK + b"Content-Length: 0\r\n\r\nHTTP/1.1 101 x\r\n\r\n",
        Answers(1, Stands.UNKNOWN, tunnel=True),
    ),
    "an upgrade that is not taken": (
        [Asked.UPGRADE],
        OK + b"Content-Length: 0\r\n\r\n",
        Answers(1, Stands.BETWEEN, tunnel=False),
    ),
    "an upgrade that is not answered": (
        [PLAIN, Asked.UPGRADE],
        OK + b"Content-Length: 0\r\n\r\n",
        Answers(1, Stands.BETWEEN, tunnel=None),
    ),
    "CONNECT": ([Asked.CONNECT], OK + b"\r\n", Answers(0, Stands.UNKNOWN, tunnel=True)),
    "no HTTP": ([PLAIN], b"SSH-2.0-x\r\n", UNKNOWN),
}


@pytest.mark.parametrize("about", STREAMS)
def test_how_many_requests_are_answered(about: str) -> None:
    asked, sent, wanted = STREAMS[about]
    assert read(sent, asked) == wanted
    with Node() as node:
        assert core_answers(node, [sent], asked) == wanted
        assert core_answers(node, [bytes([one]) for one in sent], asked) == wanted
