# SPDX-License-Identifier: Apache-2.0
"""What is learned of an application's session cookie: the oracle and the core by known heads."""

from __future__ import annotations

import pytest

from native.library import Node
from spec.requests.learning import Noticed, noticed
from tests.support.responses import core_learned, oracle_learned, prepare

OK = b"HTTP/1.1 200 OK\r\n"
SENT = {
    "one": (b"Set-Cookie: SID=a b; Path=/\r\n\r\n", [Noticed(b"a b", deleted=False)]),
    "not its line's end yet": (b"Set-Cookie: SID=a", []),
    "another name": (b"Set-Cookie: SIDE=a\r\n\r\n", []),
    "no value": (b"Set-Cookie: SID= \t; Max-Age=0\r\n\r\n", []),
    "too long": (b"Set-Cookie: SID=" + b"v" * 129 + b"\r\n\r\n", []),
    "deleted by its age": (
        b"Set-Cookie: SID=a; Max-Age=0\r\n\r\n",
        [Noticed(b"a", deleted=True)],
    ),
    "the last age counts": (
        b"Set-Cookie: SID=a; max-age=-1; Max-Age=9\r\n\r\n",
        [Noticed(b"a", deleted=False)],
    ),
    "deleted by a date": (
        b"Set-Cookie: SID=a; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age\r\n\r\n",
        [Noticed(b"a", deleted=True)],
    ),
    "two": (
        b"set-cookie: SID=a\r\nSet-Cookie: SID=b\n\r\n",
        [Noticed(b"a", deleted=False), Noticed(b"b", deleted=False)],
    ),
    "in a body": (b"\r\nSet-Cookie: SID=a\r\n\r\n", []),
}


@pytest.mark.parametrize("about", SENT)
def test_what_a_head_says_of_the_session(about: str) -> None:
    fields, wanted = SENT[about]
    for sent in (OK + fields, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + fields):
        assert list(noticed(sent, b"SID")) == wanted
        with Node() as node:
            assert core_learned(prepare(node), [sent]) == oracle_learned(sent)


def test_101_is_final() -> None:
    sent = b"HTTP/1.1 101 x\r\n\r\n" + OK + b"Set-Cookie: SID=a\r\n\r\n"
    assert list(noticed(sent, b"SID")) == []


def test_a_status_line_that_ends_before_its_status_is_no_interim_response() -> None:
    """Whatever came before it."""
    early = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 \nSet-Cookie: SID=a\r\n\r\n"
    sent = early + OK + b"Set-Cookie: SID=b\r\n\r\n"
    assert list(noticed(sent, b"SID")) == [Noticed(b"a", deleted=False)]
    with Node() as node:
        assert core_learned(prepare(node), [sent]) == oracle_learned(sent)
