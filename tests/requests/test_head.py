# SPDX-License-Identifier: Apache-2.0
"""Heads cut at every byte, with h11 and Python's own TLS as witnesses."""

from __future__ import annotations

import ssl

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.requests.h2 import PREFACE
from spec.requests.head import HEAD_MAX, Grammar, Head, Mode, Progress

# RFC 9112 section 3.2.1 and RFC 9110 section 10.1.1, as they stand there.
RFC_GET = b"GET /where?q=now HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
RFC_PUT = (
    b"PUT /somewhere/fun HTTP/1.1\r\nHost: origin.example.com\r\nContent-Type: video/h264\r\n"
    b"Content-Length: 1234567890987\r\nExpect: 100-continue\r\n\r\n"
)


def client_hello() -> bytes:
    """A first flight as OpenSSL sends it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        incoming, outgoing, server_hostname="www.example.org"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


LONG_HELLO = b"\x16\x03\x01\x40\x00\x01\0\x3f\xfc"


def in_one(data: bytes) -> Head:
    return Head().feed(data)


@pytest.mark.parametrize("head", [RFC_GET, RFC_PUT])
@pytest.mark.parametrize("body", [b"", b"body\r\n\r\nmore", RFC_GET])
def test_published_requests(head: bytes, body: bytes) -> None:
    done = in_one(head + body)
    assert (done.progress, done.length) == (Progress.COMPLETE, len(head))
    assert done.grammar is Grammar.HTTP1
    assert in_one(head[:-1]).progress is Progress.MORE


def test_a_client_hello_of_openssl() -> None:
    hello = client_hello()
    done = in_one(hello + b"more")
    assert (done.progress, done.length) == (Progress.COMPLETE, len(hello))
    assert done.grammar is Grammar.TLS
    assert in_one(hello[:-1]).progress is Progress.MORE


def test_the_http2_preface() -> None:
    # RFC 9113 section 3.4; a SETTINGS frame follows it, and then the client may wait.
    assert in_one(PREFACE).progress is Progress.MORE
    assert not in_one(PREFACE).waits
    first = in_one(PREFACE + b"\0\0\0\4\0\0\0\0\0")
    assert (first.progress, first.grammar, first.waits) == (Progress.MORE, Grammar.H2, True)
    done = first.feed(b"\0\0\1\1\5\0\0\0\1\x82more")
    assert (done.progress, done.length, done.waits) == (Progress.COMPLETE, 43, False)


@pytest.mark.parametrize("wrong", range(1, 24))
def test_almost_the_http2_preface(wrong: int) -> None:
    """It is HTTP/1, whose head is whole with the empty line in the preface."""
    data = PREFACE[:wrong] + b"x" + PREFACE[wrong + 1 :]
    done = in_one(data)
    assert done.grammar is Grammar.HTTP1
    assert done.progress is Progress.COMPLETE


@pytest.mark.parametrize(
    ("data", "length", "grammar"),
    [
        (b"A\n\n", 2, Grammar.HTTP1),
        (b"A / HTTP/1.1\r\n\n", 15, Grammar.HTTP1),
        (b"A / HTTP/1.1\n\r\n", 13, Grammar.HTTP1),
        (b"A / HTTP/1.1\r\r\n\r\n", 14, Grammar.HTTP1),
        (b"A / HTTP/1.0\r\n\r\nrest", 16, Grammar.HTTP1),
        (b"\r\nA / HTTP/1.1\r\nb:\r\n\r\n", 22, Grammar.HTTP1),
        (b"GET /\r\nmore", 6, Grammar.HTTP1),
        (b"PING\r\n", 5, Grammar.HTTP1),
        (b"A  / HTTP/1.1", 3, Grammar.HTTP1),
        (b"A / HTTP/1.2", 12, Grammar.HTTP1),
        (b"A / RTSP/1.0", 5, Grammar.HTTP1),
        (b"A / HTTP/1.1\r\nb c", 16, Grammar.HTTP1),
        (b"A / HTTP/1.1\r\nb: \0", 18, Grammar.HTTP1),
        (b"\r\n\x16\x03\x01\x00\x01X", 3, Grammar.HTTP1),
        (b"\x16\x03\x01\x00\x05\1\0\0\1X", 10, Grammar.TLS),
        (b"\x16\x03\x01\x00\x01\1\x16\x03\x01\x00\x09\0\0\0more", 14, Grammar.TLS),
        (b"\x16\x03\x01\x00\x01\1\x15\x03", 7, Grammar.TLS),
        (b"\x16\x03\x01\x40\x01", 5, Grammar.TLS),
        (b"\x16\x03\x01\x00\x00", 5, Grammar.TLS),
        (b"\x16\x03\xff\x00\x02abc", 6, Grammar.TLS),
        (b"\x16\x02\x01\x00\x02abc", 2, Grammar.TLS),
        (b"a", 1, Grammar.HTTP1),
        (b"\0", 1, Grammar.HTTP1),
        (b"\n\n@rest", 1, Grammar.HTTP1),
        (b"[GET / HTTP/1.1\r\n\r\n", 1, Grammar.HTTP1),
    ],
)
def test_where_heads_end(data: bytes, length: int, grammar: Grammar) -> None:
    done = in_one(data)
    assert (done.progress, done.length, done.grammar) == (Progress.COMPLETE, length, grammar)
    # Nothing shorter is a head.
    assert in_one(data[: length - 1]).progress is Progress.MORE


@pytest.mark.parametrize(
    ("mode", "data", "length", "grammar"),
    [
        (Mode.TCP, b"a", 1, Grammar.OPAQUE),
        (Mode.TCP, b"\x16\x03\x01", 1, Grammar.OPAQUE),
        (Mode.TLS, b"GET", 1, Grammar.UNKNOWN),
        (Mode.TLS, b"\x16\x03\x01\x00\x00", 5, Grammar.TLS),
        (Mode.HTTP, b"\x16\x03\x01", 1, Grammar.HTTP1),
        (Mode.HTTP, PREFACE + b"\0\0\1\1\5\0\0\0\1\x82more", 34, Grammar.H2),
        (Mode.LATER, b"\x16\x03\x01", 1, Grammar.HTTP1),
        (Mode.LATER, PREFACE, 12, Grammar.HTTP1),
    ],
)
def test_where_they_end_by_what_the_service_says(
    mode: Mode, data: bytes, length: int, grammar: Grammar
) -> None:
    done = Head(mode=mode).feed(data)
    assert (done.progress, done.length, done.grammar) == (Progress.COMPLETE, length, grammar)


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"A / HTTP/1.1\r\n", b"A b\x7e", b"GET /", b"\x16\x03\x01\x01"]
)
def test_where_heads_do_not_end(data: bytes) -> None:
    assert in_one(data).progress is Progress.MORE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"A" * (HEAD_MAX - 15) + b" / HTTP/1.1\r\n\r\n", Progress.COMPLETE),
        (b"A" * (HEAD_MAX - 14) + b" / HTTP/1.1\r\n\r\n", Progress.TOO_LONG),
        (b"A" * (HEAD_MAX - 1), Progress.MORE),
        (b"\r\n" * (HEAD_MAX // 2), Progress.TOO_LONG),
        (LONG_HELLO + bytes(HEAD_MAX), Progress.COMPLETE),
        (LONG_HELLO + bytes(HEAD_MAX - 10), Progress.MORE),
        (PREFACE + b"\0\x40\0\4" + bytes(HEAD_MAX), Progress.COMPLETE),
    ],
)
def test_the_limit(data: bytes, expected: Progress) -> None:
    head = in_one(data)
    assert head.progress is expected
    assert head.length == min(len(data), HEAD_MAX)
    assert head.feed(b"\n\n\n\n") == head or expected is Progress.MORE


@given(
    data=st.text("A\r\n\x16\1\0ab", max_size=30).map(str.encode)
    | st.binary(max_size=30)
    | st.text("\0\1\2\4\x09", max_size=90).map(lambda text: PREFACE + text.encode())
    | st.sampled_from([RFC_PUT, PREFACE, PREFACE + b"\0\0\1\1\4\0\0\0\1\x82"]),
    cuts=st.lists(st.integers(0, 200)),
)
def test_any_segmentation_is_the_same(data: bytes, cuts: list[int]) -> None:
    head, at = Head(), 0
    for cut in [*sorted(cuts), len(data)]:
        head = head.feed(data[at:cut])
        at = max(at, min(cut, len(data)))
    assert head == in_one(data)


TOKEN = st.text("ABCXYZ", min_size=1, max_size=7)
VALUE = st.text("abc \tXYZ:;,=\"'", max_size=20).map(str.strip)


@given(
    method=TOKEN,
    names=st.lists(st.tuples(st.text("abc-X", min_size=1, max_size=9), VALUE), max_size=5),
    rest=st.binary(max_size=10),
)
def test_h11_finds_the_same_end(method: str, names: list[tuple[str, str]], rest: bytes) -> None:
    lines = [f"{method} / HTTP/1.1", "Host: x", *(f"{n}: {v}" for n, v in names), "", ""]
    text = "\r\n".join(lines).encode()
    server = h11.Connection(h11.SERVER)
    server.receive_data(text + rest)
    assert isinstance(server.next_event(), h11.Request)
    trailing, _ = server.trailing_data
    done = in_one(text + rest)
    assert done.progress is Progress.COMPLETE
    assert done.length == len(text + rest) - len(trailing)
