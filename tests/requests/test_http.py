# SPDX-License-Identifier: Apache-2.0
"""Examples of the oracle for request heads, one for each thing it can say."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.abi.layout import header
from native.library import Node
from spec.requests import http, url
from spec.requests.head_result import Ambiguity, Body, Flag, Outcome, Request
from tests.support import heads

HOST = b"Host: a.example\r\n"


def read(line: bytes, headers: bytes = HOST) -> Request:
    return http.read(line + b"\r\n" + headers + b"\r\n", b"IPOS")


def refusal(line: bytes, headers: bytes = HOST) -> Ambiguity | None:
    return read(line, headers).refusal


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", b"/"),
        (b"//a///b/", b"/a/b/"),
        (b"/a/./b/../c", b"/a/c"),
        (b"/a/..", b"/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/%2e/%61%2Fb%2f.", b"/a/b/"),
        (b"/a%25%32%35", b"/a%25"),
        (b"/.a/..b/...", b"/.a/..b/..."),
        (b"/" + b"a" * 300 + b"/.", b"/" + b"a" * 255),
    ],
)
def test_normalised(raw: bytes, path: bytes) -> None:
    assert url.normalise(raw).text == path


@pytest.mark.parametrize(
    ("raw", "fault", "at"),
    [
        (b"/..", url.Fault.ABOVE_ROOT, 3),
        (b"/a%2fb/..", url.Fault.ENCODED_SLASH, 9),
        (b"/a%2Fb/%2e%2E/c", url.Fault.ENCODED_SLASH, 13),
        (b"/a/..%2Fb", url.Fault.ENCODED_SLASH, 7),
        (b"/a/../b%2F", url.Fault.ENCODED_SLASH, 9),
        (b"/..%2F", url.Fault.ENCODED_SLASH, 5),
        (b"/a/../../b", url.Fault.ABOVE_ROOT, 8),
        (b"/a%", url.Fault.PERCENT, 3),
        (b"/a%4g", url.Fault.PERCENT, 4),
        (b"/%00", url.Fault.PERCENT, 3),
        (b"/" + b"a" * 300 + b"/../b", url.Fault.ABOVE_ROOT, 304),
    ],
)
def test_no_path(raw: bytes, fault: url.Fault, at: int) -> None:
    with pytest.raises(url.UrlError) as raised:
        url.normalise(raw)
    assert (raised.value.fault, raised.value.at) == (fault, at)


def test_the_whole() -> None:
    asked = read(
        b"POST /a//b?c HTTP/1.1",
        b'hOST: A.Example.:80 \r\nCookie: x=y; IPOS="q" ; IPOS=z\r\nContent-Length: 007\r\n'
        b"Connection: close, x\r\nExpect: 100-Continue\r\n",
    )
    assert (asked.outcome, asked.host, asked.path) == (Outcome.DONE, b"a.example", b"/a/b")
    assert (asked.cookie, asked.body, asked.content_length) == (b'"q"', Body.LENGTH, 7)
    assert asked.flags == Flag.CLOSE | Flag.CONTINUE


@pytest.mark.parametrize(
    ("line", "headers", "host", "path", "body"),
    [
        (b"GET http://A.example.:80 HTTP/1.1", HOST, b"a.example", b"/", Body.NONE),
        (b"GET / HTTP/1.0", b"", b"", b"/", Body.NONE),
        (b"OPTIONS * HTTP/1.1", HOST, b"a.example", b"", Body.NONE),
        (b"CONNECT a.example:443 HTTP/1.1", HOST, b"a.example", b"/", Body.OPAQUE),
        (b"GET / HTTP/1.1", b"Host: [FE80::1]:80\r\n", b"[fe80::1]", b"/", Body.NONE),
        (b"PUT / HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n", b"a.example", b"/",
         Body.CHUNKED),
        (b"GET / HTTP/1.1", HOST + b"Connection: Upgrade\r\nUpgrade: x\r\n", b"a.example", b"/",
         Body.OPAQUE),
        (b"GET / HTTP/1.1", HOST + b"Upgrade: x\r\n", b"a.example", b"/", Body.NONE),
    ],
)  # fmt: skip
def test_forms(line: bytes, headers: bytes, host: bytes, path: bytes, body: Body) -> None:
    asked = read(line, headers)
    assert (asked.outcome, asked.host, asked.path, asked.body) == (Outcome.DONE, host, path, body)


@pytest.mark.parametrize(
    ("line", "headers", "reason"),
    [
        (b"GET / HTTP/1.1\n", HOST, Ambiguity.LINE_FEED),
        (b"GET /\r", HOST, Ambiguity.CARRIAGE_RETURN),
        (b"GET /\0 HTTP/1.1", HOST, Ambiguity.NUL),
        (b"GET /\x01 HTTP/1.1", HOST, Ambiguity.CONTROL),
        (b"GET / HTTP/1.1", HOST + b" x\r\n", Ambiguity.FOLD),
        (b"GET / HTTP/1.1", b" Host: a\r\n", Ambiguity.LEADING_SPACE),
        (b"GET / HTTP/1.1", b"Host : a\r\n", Ambiguity.SPACE_BEFORE_COLON),
        (b"Get / HTTP/1.1", HOST, Ambiguity.METHOD),
        (b"GET * HTTP/1.1", HOST, Ambiguity.TARGET),
        (b"GET  / HTTP/1.1", HOST, Ambiguity.TARGET),
        (b"CONNECT b HTTP/1.1", HOST, Ambiguity.TARGET),
        (b"GET /%4 HTTP/1.1", HOST, Ambiguity.PERCENT),
        (b"GET /.. HTTP/1.1", HOST, Ambiguity.ABOVE_ROOT),
        (b"GET / HTTP/1.2", HOST, Ambiguity.VERSION),
        (b"GET / HTTP/1.1", b"Host\r\n", Ambiguity.CARRIAGE_RETURN),
        (b"GET / HTTP/1.1", HOST + b"A(b): c\r\n", Ambiguity.HEADER_NAME),
        (b"GET / HTTP/1.1", b"Host: u@a\r\n", Ambiguity.HOST),
        (b"GET / HTTP/1.1", b"", Ambiguity.HOST_MISSING),
        (b"GET / HTTP/1.1", HOST + HOST, Ambiguity.HOST_TWICE),
        (b"GET http://b/ HTTP/1.1", HOST, Ambiguity.HOST_DIFFERS),
        (b"CONNECT a.example:444 HTTP/1.1", HOST, Ambiguity.HOST_DIFFERS),
        (b"GET / HTTP/1.1", HOST + b"Content-Length: 1,1\r\n", Ambiguity.LENGTH),
        (b"GET / HTTP/1.1", HOST + b"Content-Length: 1\r\n" * 2, Ambiguity.LENGTH_TWICE),
        (b"GET / HTTP/1.1", HOST + b"Transfer-Encoding: gzip\r\n", Ambiguity.ENCODING),
        (b"GET / HTTP/1.0", b"Transfer-Encoding: chunked\r\n", Ambiguity.ENCODING),
        (b"GET / HTTP/1.1", HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
         Ambiguity.LENGTH_AND_ENCODING),
        (b"GET /" + b"x" * 15_000, HOST, Ambiguity.TOO_LONG),
    ],
)  # fmt: skip
def test_refused(line: bytes, headers: bytes, reason: Ambiguity) -> None:
    assert refusal(line, headers) is reason


def test_reasons_are_those_of_the_header() -> None:
    assert {r.name: r.value for r in Ambiguity} == {
        reason.name: reason.number for reason in header().ambiguities
    }


@given(st.sampled_from(heads.TARGETS), st.lists(st.sampled_from(heads.HEADERS), max_size=6),
       st.lists(st.integers(1, 2_500), max_size=8, unique=True))  # fmt: skip
def test_the_core_reads_any_pieces_alike(
    target: bytes, headers: list[bytes], cuts: list[int]
) -> None:
    raw = b"\r\n".join([b"GET " + target + b" HTTP/1.1", *headers, b"Host: a.example", b"", b""])
    places = sorted(
        {0, len(raw), *range(0, len(raw), heads.CHUNK), *(c for c in cuts if c < len(raw))}
    )
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]
    assert heads.core(_node(), pieces) == heads.oracle(raw)


@functools.cache
def _node() -> Node:
    """One for all examples: a head is read from nothing."""
    return heads.prepare(Node())
