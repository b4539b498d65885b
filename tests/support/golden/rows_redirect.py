# SPDX-License-Identifier: Apache-2.0
"""Sessions by name: a redirect in place of the request, or the server that the host names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spec.requests.h2 import PREFACE
from tests.support.golden import packets as p
from tests.support.golden.answer_bytes import answered
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, rx, to_front
from tests.support.golden.rows_handshake import BARE, KEY, OPENED
from tests.support.golden.rows_request import (
    ADOPTING,
    ALL,
    HOLDING,
    LOCAL,
    OPEN_ROW,
    forward,
    offered,
)

NAMED = Config(candidates=(1, 2), policy="ROUND_ROBIN", turn=1, named=True)
LISTENING = replace(NAMED, listening=(1, 2, 3))
COUNTS = {"HELD": 1, "ANSWERED": 1, "REDIRECTED": 1}


def head(target: str = "/", host: str = "www.example", more: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


def first_flight(authority: str) -> bytes:
    """Of HTTP/2: empty SETTINGS and GET / (RFC 9113, 6; RFC 7541, 6.2.2)."""
    fields = b"\x82\x86\x84\1" + bytes([len(authority)]) + authority.encode()
    headers = len(fields).to_bytes(3, "big") + b"\1\5\0\0\0\1" + fields
    return PREFACE + b"\0\0\0\4\0\0\0\0\0" + headers


def response(target: str, server: int = 2) -> bytes:
    """Written down once more, from RFC 9110 and RFC 9112."""
    return (
        "HTTP/1.1 307 Temporary Redirect\r\nConnection: close\r\nCache-Control: no-store\r\n"
        f"Content-Length: 0\r\nLocation: http://s{server}.example{target}\r\n\r\n"
    ).encode()


def _sent(about: str, request: bytes, data: bytes, *, config: Config = NAMED,
          counts: dict[str, int] | None = None) -> Row:  # fmt: skip
    end = p.IRS + 1 + len(request)
    return Row(
        about=about,
        steps=[rx("front", p.client("PA", request), "shot", to_front(answered(data, ack=end)))],
        counts={**COUNTS, **(counts or {})}, config=config, before=OPEN_ROW,
        after={"temporary": [],
               "holding": [(KEY, {"answer": len(data), "client_end": end, "redirect": 0})]},
    )  # fmt: skip


def _migrated(about: str, request: bytes, counts: dict[str, int] | None = None, *,
              config: Config = NAMED) -> Row:  # fmt: skip
    return Row(
        about=about,
        steps=[rx("front", p.client("PA", request), "shot", *offered(request))],
        counts={"HELD": 1, "MIGRATED": 1, "FRAMES_SENT": 2, **(counts or {})}, config=config,
        before=OPEN_ROW, traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(KEY, forward(len(request)))],
               "holding": [(KEY, {**HOLDING, "held": len(request)})]},
    )  # fmt: skip


def _two_segments() -> Row:
    """The longest redirect, to a client without options, whose request came in two segments."""
    target = "/" + "a" * (1024 - len(response("/")))
    request, data = head(target), response(target)
    assert len(data) == 1024
    cut, end = 500, p.IRS + 1 + len(request)
    bare: dict[str, Any] = {"options": [], "window": p.WINDOW}

    def of_client(data: bytes, at: int) -> bytes:
        return p.client("PA", data, seq=p.IRS + 1 + at, ack=p.ISS_BARE + 1, options=[])

    def of_ours(at: int, to: int, flags: str) -> bytes:
        return answered(data[at:to], seq=p.ISS_BARE + 1 + at, ack=end, flags=flags, **bare)

    steps: list[Step] = [
        rx("front", of_client(request[:cut], 0), "redirect",
           to_front(p.answer("A", seq=p.ISS_BARE + 1, ack=p.IRS + 1 + cut, options=[],
                             window=p.WINDOW - cut))),
        rx("front", of_client(request[cut:], cut), "shot",
           to_front(of_ours(0, 536, "A")), to_front(of_ours(536, 1024, "FPA"))),
    ]  # fmt: skip
    return Row(
        about="a redirect of 1,024 bytes",
        steps=steps, counts={**COUNTS, "HELD": 2, "HOLD_ACKED": 1}, config=NAMED,
        before={"temporary": [(KEY, {**OPENED, "hs": BARE})]},
        after={"temporary": [], "holding": [(KEY, {"answer": 1024, "client_end": end})]},
    )  # fmt: skip


NAMED_HERE = head(host="S1.Example:80")
HERE = Row(
    about="this server's own name: served here, whatever the policy would choose",
    steps=[rx("front", p.client("PA", NAMED_HERE), "to kernel", adopted=ALL)],
    counts={"SERVED_HERE": 1, "SESSION_KEPT": 1}, traffic={1: (1, 0)}, config=NAMED,
    before=OPEN_ROW,
    after={"temporary": [], "local": [(KEY, {**LOCAL, "state": ADOPTING})]},
)  # fmt: skip
ODD = "/a/../b%2Cc//d?q=%20&x=/y?z"
UPGRADE = "Connection: upgrade\r\nUpgrade: websocket\r\n"

ROWS = [
    _sent("a request for the server chosen", head(), response("/")),
    _sent("a request for this server by another name", head(), response("/", 1),
          config=Config(named=True)),
    _sent("the target as it was sent", head(ODD), response(ODD)),
    _sent("a request with its body", head("/", more="Content-Length: 4\r\n") + b"body",
          response("/")),
    _sent("a request behind an empty line", b"\r\n" + head(), response("/")),
    _two_segments(),
    _migrated("a redirect of 1,025 bytes", head("/" + "a" * (1025 - len(response("/"))))),
    _migrated("a target that is no path", head("http://www.example/")),
    _migrated("an upgrade", head(more=UPGRADE)),
    HERE,
    _migrated("another server's own name", head(host="s2.example"), {"SESSION_KEPT": 1}),
    _migrated("the own name of a server in drain", head(host="s2.example"), {"SESSION_KEPT": 1},
              config=Config(candidates=(1, 2), named=True, states=((2, "DRAIN"),))),
    _sent("the own name of a server in maintenance", head(host="s2.example"), response("/", 1),
          counts={"SESSION_MOVED": 1},
          config=replace(NAMED, states=((2, "MAINT"),))),
    _sent("the own name of a server that is down", head(host="s2.example"), response("/", 1),
          counts={"SESSION_MOVED": 1},
          config=replace(NAMED, states=((2, "DOWN"),))),
    _migrated("the own name of a server that its route leaves out: no further redirect",
              head(host="s3.example"), {"SESSION_ELSEWHERE": 1},
              config=LISTENING),
    _sent("the own name of a server without its application", head(host="s3.example"),
          response("/"), counts={"SESSION_MOVED": 1}),
    _migrated("a server's own name in a ClientHello", p.client_hello("s2.example"),
              {"SESSION_KEPT": 1}, config=Config(candidates=(1, 2), named=True)),
    _migrated("another name in a ClientHello: no redirect", p.client_hello("www.example")),
    _migrated("a server's own name in HTTP/2", first_flight("s2.example"),
              {"SESSION_KEPT": 1}, config=Config(candidates=(1, 2), named=True)),
    _migrated("another name in HTTP/2: no redirect", first_flight("www.example")),
    _migrated("a name in a first flight that is not read: not looked for", b"\x00",
              config=replace(NAMED, mode="TCP")),
]  # fmt: skip
