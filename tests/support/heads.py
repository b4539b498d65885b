# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 request heads, sound and damaged, against `spec.requests.http`.

The core reads a head in pieces, cut anywhere, the oracle reads all of it; both must say the same
of its end, host, path, session cookie, body, flags and, if they refuse it, the reason. The machine
that finds the end of a head in what is held must find what `spec.requests.head` finds, and nothing
that the readers would go on with.
"""

from __future__ import annotations

import functools
import random
from dataclasses import replace

from ipos.abi.layout import constant, layout
from native.library import Node
from spec.requests import http
from spec.requests.head import HEAD_MAX, Head, Mode
from spec.requests.head_result import METHODS as KNOWN
from spec.requests.head_result import Ambiguity, Body, Flag, Outcome, Request

CHUNK = constant("IPOS_CHUNK")
COOKIE = b"IPOS"
_GRAMMARS = layout("ipos_request").field("grammar").offset
_H2 = constant("IPOS_GRAMMAR_H2")
_HTTP1 = constant("IPOS_GRAMMAR_HTTP1")

MODES = {
    Mode.AUTO: constant("IPOS_MODE_AUTO"),
    Mode.HTTP: constant("IPOS_MODE_HTTP"),
    Mode.LATER: constant("IPOS_MODE_LATER"),
}
METHODS = (
    b"GET",
    b"HEAD",
    b"POST",
    b"OPTIONS",
    b"CONNECT",
    b"PRI",
    b"PRI",
    b"DELETE",
    b"M-SEARCH",
    b"get",
    b"_GET",
    b"-GET",
    b"1GET",
    b"!GET",
    b"",
    b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\n\r\nGET",
)
BEGINNINGS = (
    b"GET /\r\n",
    b"PING\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"AMQP\0\0\x09\1",
    b"CONNECT\nhost:a\n\n\0",
    b"SSH-2.0-x\r\n",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    b"OPTIONS * RTSP/1.0\r\n\r\n",
    b"REGISTER sip:a SIP/2.0\r\n\r\n",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\x10\x0c\0\4MQTT",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
)
TARGETS = (
    b"/", b"/a/b", b"/a//b/./c/../d", b"/%61%2Fb%2e%2E/", b"/a?b=/../c", b"/a#b", b"*",
    b"http://A.example:80/x/..", b"https://b.example?q", b"http://[::1]", b"a.example:443",
    b"/" + b"x" * 250 + b"/./yy/..", b"/" + b"abc/" * 80 + b"../", b"/..", b"/%2e%2e/", b"/%",
    b"/%4", b"/%00", b"/a/..", b"/a/.", b"//", b"/.a/..b/...", b"http://a.example./", b"http:///",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 8 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1")
HEADERS = (
    b"Host: a.example", b"Host: a.example", b"host:  A.Example.:8080 ", b"Host: [FE80::1]:80",
    b"Host:", b"Host: a..b", b"Host: [::1 ", b"Host: u@a", b"Host: ::1", b"Host: a:b", b"Host: .",
    b"Content-Length: 5", b"Content-Length:  0005 ", b"Content-Length: 5,5",
    b"Content-Length: 9223372036854775807", b"Content-Length: 9223372036854775808",
    b"Content-Length: 0", b"Content-Length:", b"Content-Length: +1",
    b"Transfer-Encoding: chunked", b"transfer-encoding: CHUNKED ", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:", b"Transfer-Encoding: chunked, chunked",
    b"Connection: close", b"Connection: Keep-Alive, Upgrade", b"Connection:,close x,",
    b"Connection: keep-alive", b"connection: KEEP-ALIVE", b"Connection: keep\ralive",
    b"Upgrade: websocket", b"Upgrade:", b"Expect: 100-continue", b"Expect: 100-Continue x",
    b"Cookie: IPOS=abc", b"Cookie: a=b; IPOS = \"q;q\" ; IPOS=c", b"Cookie: IPOSX=1;IPOS=",
    b"Cookie: IPOS=" + b"v" * 128, b"Cookie: x=y;IPOS=" + b"v" * 129, b"Cookie: " + b"k=v; " * 40,
    b"cookie:IPOS=1 2\t; ", b"Accept: */*", b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept-Encoding: gzip, deflate, br", b"X-Long: " + b"z" * 1100, b"X:", b"X: a\tb",
    b"Transfer-Encodin: chunked", b"Content-Length-: 5", b"Hos: t", b"Cookies: IPOS=2",
)  # fmt: skip
ALPHABET = b"\r\n\0\t :;,=/.%?#[]@HhGg019aAfF-_~\x7f\x80\x01\x0b"


@functools.cache
def _places() -> dict[str, int]:
    return {field.name: field.offset for field in layout("ipos_request").fields}


def core(node: Node, pieces: list[bytes], mode: Mode = Mode.HTTP) -> Request:
    """The core's reading of a head; `length` of one that is not complete is 0."""
    raw, at = node.read(pieces, mode=MODES[mode]), _places()
    progress = raw[at["progress"]]
    if progress == constant("IPOS_READ_REFUSED"):
        return Request(Outcome.REFUSED, Ambiguity(raw[at["refusal"]]))
    if raw[at["grammar"]] == _H2:
        return Request(Outcome.PREFACE)
    if progress == constant("IPOS_READ_MORE"):
        return Request()
    return Request(
        Outcome.DONE,
        None,
        _text(raw, "host"),
        _text(raw, "path"),
        _text(raw, "cookie"),
        Body(raw[at["body"]]),
        _number(raw, "content_length", 8),
        Flag(raw[at["flags"]]),
        _number(raw, "head_len", 4),
        (b"", *KNOWN)[raw[at["method"]]],
    )


def _number(raw: bytes, name: str, size: int) -> int:
    start = _places()[name]
    return int.from_bytes(raw[start : start + size], "little")


def _text(raw: bytes, name: str) -> bytes:
    """A text of the request; what is behind a host, which is a key as it stands, must be zero."""
    length, size = _number(raw, f"{name}_len", 2), layout("ipos_request").field(name).size
    start = _places()[name]
    text, rest = raw[start : start + length], raw[start + length : start + size]
    return text if name != "host" or not any(rest) else b"behind it: " + text + rest


def oracle(data: bytes, mode: Mode = Mode.HTTP) -> Request:
    """What `spec.requests.http` says, with what a refused or a foreign head has no use for gone."""
    said = http.read(data, COOKIE, later=mode is Mode.LATER)
    return replace(said, length=0) if said.outcome is Outcome.PREFACE else said


def prepare(node: Node) -> Node:
    """A node whose service 0 has a session cookie."""
    name = COOKIE.ljust(constant("IPOS_COOKIE_NAME_MAX"), b"\0")
    node.table("sessions")[0] = {"kind": 1, "name_len": len(COOKIE), "name": tuple(name)}
    return node


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """The data as the hold pool would give it, or cut anywhere."""
    if rng.random() < 0.4:
        return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    found, at = [], 0
    while at < len(data):
        size = rng.choice((1, 2, 3, rng.randrange(1, 40), rng.randrange(1, CHUNK + 1)))
        found.append(data[at : at + size])
        at += size
    return found


def head(rng: random.Random) -> bytes:
    """A head out of known parts, and then often not quite."""
    if rng.random() < 0.03:
        return rng.choice(BEGINNINGS) + rng.randbytes(rng.choice((0, 0, 9)))
    lines = [b" ".join((rng.choice(METHODS) if rng.random() < 0.3 else b"GET",
                        rng.choice(TARGETS), rng.choice(VERSIONS)))]  # fmt: skip
    lines += [rng.choice(HEADERS) for _ in range(rng.randrange(0, 6))]
    if rng.random() < 0.7 and not any(line[:5].lower() == b"host:" for line in lines):
        lines.append(b"Host: a.example")
    end = b"\n" if rng.random() < 0.03 else b"\r\n"
    raw = bytearray(rng.choice((b"", b"", b"", b"\r\n", b"\n")) + end.join([*lines, b"", b""]))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        at = rng.randrange(len(raw) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            raw[at:at] = bytes([rng.choice(ALPHABET)])
        elif kind == 1:
            raw[at : at + 1] = bytes([rng.choice(ALPHABET)])
        elif kind == 2:
            del raw[at : at + rng.randrange(1, 4)]
        elif kind == 3:
            raw[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 4:
            raw[at:at] = raw[at : at + rng.randrange(1, 20)]
        else:
            del raw[at:]
        if not raw:
            raw = bytearray(b"G")
    if rng.random() < 0.2:
        raw += b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
    if rng.random() < 0.01:
        at = rng.randrange(len(raw))
        raw[at:at] = b"q" * rng.choice((HEAD_MAX - len(raw), HEAD_MAX))
    return bytes(raw[:HEAD_MAX])


def ends(node: Node, cut: list[bytes], mode: Mode) -> str:
    """Where the head ends in what is held, and what does not fit; empty if all does."""
    data = b"".join(cut)
    found, wanted = node.head_end(cut, MODES[mode]), Head(mode=mode).feed(data)
    if found != (wanted.length if wanted.found else None):
        return f"the head ends at {found}, the oracle says {wanted.length}, {wanted.found}"
    if found is None:
        return ""
    said = http.read(data[:found], later=mode is Mode.LATER)
    if said.outcome is Outcome.MORE or (said.outcome is Outcome.DONE and said.length != found):
        return f"the head ends at {found}, and its reader says {said}"
    return ""


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many heads; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    with Node() as node:
        prepare(node)
        while done < count and len(found) < 20:
            data = head(rng)
            mode = rng.choice((Mode.HTTP, Mode.HTTP, Mode.AUTO, Mode.LATER))
            if mode is Mode.AUTO and data[0] == 0x16:
                continue
            done += 1
            cut = pieces(rng, data)
            said, wanted = core(node, cut, mode), oracle(data, mode)
            differs = f"oracle {wanted}, core {said}" if said != wanted else ends(node, cut, mode)
            if differs:
                found.append(f"head {done} of seed {seed} ({data!r} in {[len(c) for c in cut]}, "
                             f"{mode.name}): {differs}")  # fmt: skip
    return done, found
