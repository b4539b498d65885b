# SPDX-License-Identifier: Apache-2.0
"""Requests that servers may read differently: real ones are asked, and the core must not be fooled.

    python -m fuzz.readers [--count N] [--seed S] [--minutes M]

A grammar makes requests with bodies, most of them nearly right, and another request behind each.
What the core approves of such a stream, byte for byte, goes to nginx, HAProxy, Apache and Node, and
to h11 and Python's http.server in this process. None of them may take anything else for a request
than what the core has read as one, with the same host and path: otherwise bytes that were never
looked at have been served as a request. Servers may take less. With --minutes it goes on for so
long, whatever the count, and prints each difference when it finds it.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from native.library import Node
from spec.requests import url
from spec.requests.answered import Asked, Stands
from spec.requests.head import Mode
from spec.requests.head_result import Body, Outcome, Request
from tests.support import heads, readers
from tests.support.readers import Taken
from tests.support.responses import core_answers

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n"
# The first of each is what it mostly is.
METHODS = (
    b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"get", b"_GET",
    b"-GET", b"1GET", b"G!T", b"GET\t", b"PRI", b"M-SEARCH", b"PATCH", b"TRACE", b"PROPFIND",
    b"BREW", b"LOCK", b"SOURCE", b"A",
)  # fmt: skip
SPACES = (
    b" ", b"  ", b"\t", b"\x0b", b"\r", b"",
)  # fmt: skip
TARGETS = (
    b"/a", b"/", b"//a", b"/a/../b", b"/a/%2e%2e/b", b"/a?b", b"/a#b", b"/a;b", b"/%61", b"/a%",
    b"/a\\b", b"http://a.example/a", b"http://b.example/a", b"http://a.example",
    b"http://a.example:80/a", b"HTTP://A.EXAMPLE/a", b"http://u@a.example/a",
    b"http://a.example:81/a", b"*", b"a.example:80", b"a", b"/a\x80", b"/a b", b"?a",
    b"http:///a", b"http://a.example?/a", b"/..", b"/a\0",
)  # fmt: skip
SEGMENTS = (
    b"a", b"b", b"", b".", b"..", b"%2e", b"%2e%2e", b".%2e", b"%2E.", b"a;x", b"..;", b"%61",
    b"a%2fb", b"%2f", b"..%2f", b"%2F..", b"%5c", b"a.", b".a", b"...", b"%20", b"+", b"a%25",
    b"%252e", b"~", b"a:b", b"@", b"%7e", b"%c0%ae", b"a%3fb", b"a%23b", b"%3b", b"'", b"(", b"*",
    b"a%26", b"%e2%82%ac", b"\"", b"<", b"|", b"{", b"^", b"`", b"[", b"a%0ab", b"%09",
)  # fmt: skip
VERSIONS = (
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/01.1", b"HTTP/1.10",
    b"", b"HTTP/1.1 ",
)  # fmt: skip
ENDS = (
    b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n",
)  # fmt: skip
HOSTS = (
    b"Host: a.example", b"Host:a.example", b"Host: A.example", b"Host: a.example.",
    b"Host: a.example:80", b"Host: b.example", b"Host:", b"Host : a.example",
    b"Host: a.example, b.example", b" Host: b", b"Host: a.example\r\nHost: b.example",
    b"Host: a.example/b", b"Host: u@a.example", b"Host: a.example\r\n b", b"hOST:\ta.example",
    b"Host: [::1]", b"Ho\0st: a", b"Host\0: b.example", b"X: y\nHost: b.example",
    b"X: y\rHost: b.example", b"",
)  # fmt: skip
LENGTHS = (
    b"Content-Length: %d", b"Content-Length:%d", b"content-length: 0%d", b"Content-Length: +%d",
    b"Content-Length: %d ", b"Content-Length: %d, %d",
    b"Content-Length: %d\r\nContent-Length: %d", b"Content-Length : %d",
    b"Content-Length: 0x%x", b"Content-Length: %d\t", b"Content_Length: %d",
    b"Content-Length: -%d", b"Content-Length: %d\r\n ", b"Content-Length: %d.0",
    b"Content-Length: 1%d", b"Content-Length:",
)  # fmt: skip
ENCODINGS = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked", b"transfer-encoding: Chunked",
    b"Transfer-Encoding: chunked ", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunke", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding:",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: \"chunked\"", b"X: y\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
)  # fmt: skip
OTHERS = (
    b"Accept: */*", b"Connection: keep-alive", b"Connection: close", b"X-Y: z",
    b"Expect: 100-continue", b"Connection: Transfer-Encoding", b"X: \x01", b": x", b"X",
    b"X Y: z", b"Upgrade: h2c", b"X:\0", b"Connection: Content-Length",
    b"Upgrade: websocket\r\nConnection: Upgrade", b"Connection: Keep-Alive, Upgrade",
    b"Range: bytes=0-1", b"If-None-Match: x", b"Connection: Host", b"Proxy-Connection: close",
    b"Connection: close, Content-Length", b"Content-Encoding: gzip", b"Trailer: X",
    b"Max-Forwards: 0", b"Expect: 200-ok", b"X-HTTP-Method-Override: PUT", b"TE: trailers",
    b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings",
    b"Upgrade: TLS/1.2\r\nConnection: Upgrade",
)  # fmt: skip
SIZES = (
    b"%x", b"0%x", b"%x ", b"%x\t", b"%x;a=b", b"%x ;a", b"%x a", b" %x", b"0x%x", b"+%x",
    b"%x;a=\"\n\"", b"%x;\r", b"0000000000000000000%x", b"%X;\0", b"-%x", b"%x,",
    b"FFFFFFFFFFFFFFFF", b"10000000000000001", b"7fffffffffffffff", b"8000000000000000",
    b"100000000", b"000%x", b"%x" + 40 * b" ", b"%x" + 9 * b"\t", b"%x;" + 300 * b"x",
)  # fmt: skip
LINES = (
    b"\r\n", b"\n", b"\r", b"\r\r\n", b"", b" \r\n", b"\0\r\n",
)  # fmt: skip
TRAILERS = (
    b"", b"X: y\r\n", b"X: y\n", b"X\r\n", b" X: y\r\n", b"\n", b"\r", b"X: \ry\r\n",
    b"Content-Length: 5\r\n", b"X: \0\r\n", b":\r\n",
)  # fmt: skip
STRAY = b"\r\n \t\0:;,/?#%.ab0159xXA\x0b\x0c\x7f\x80\xff\x85\xa0\"'=-_+{}\1"


def request(rng: random.Random) -> bytes:
    """One request, head and body; some of them damaged anywhere."""
    raw = bytearray(_formed(rng))
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 3))):
        at, kind = rng.randrange(len(raw)), rng.randrange(4)
        if kind == 0:
            raw[at] = rng.choice(STRAY)
        elif kind == 1:
            raw.insert(at, rng.choice(STRAY))
        elif kind == 2:
            del raw[at]
        else:
            raw[at:at] = raw[at : at + rng.randrange(1, 12)]
    return bytes(raw)


def path(rng: random.Random) -> bytes:
    """Of a few segments, plain, encoded, and of dots; a target."""
    some = b"".join(b"/" + rng.choice(SEGMENTS) for _ in range(rng.choice((1, 2, 3, 4))))
    return b"http://a.example" + some if rng.random() < 0.2 else some


def _formed(rng: random.Random) -> bytes:

    def some(choices: tuple[bytes, ...], usual: float = 0.96) -> bytes:
        """Mostly the first."""
        return choices[0] if rng.random() < usual else rng.choice(choices)

    target = path(rng) if rng.random() < 0.4 else some(TARGETS, 0.7)
    line = some(METHODS, 0.5) + some(SPACES) + target + some(SPACES) + some(VERSIONS)
    fields = [some(HOSTS, 0.9)]
    fields += [some(OTHERS, 0.5) for _ in range(rng.choice((0, 0, 1, 2)))]
    kind = rng.random()
    body = b""
    if kind < 0.25:
        body = some((b"x", b"", SMUGGLED), 0.3)
        fields.append(_number(some(LENGTHS, 0.8), len(body)))
    elif kind < 0.7:
        fields.append(some(ENCODINGS, 0.9))
        if rng.random() < 0.1:
            fields.append(_number(some(LENGTHS), 4))
        body = chunks(rng)
    rng.shuffle(fields)
    head = some((b"", b"\r\n", b"\n", b"\r", b" ", b"\r\n\r\n"), 0.9) + line
    for field in fields:
        head += some(ENDS, 0.98) + field
    head += b"\r\n" + some(ENDS, 0.98)
    return head + body + some((b"", b"\r\n", b"\n", b"\r", b"\0"), 0.8)


def chunks(rng: random.Random) -> bytes:
    """A chunked body."""

    def some(choices: tuple[bytes, ...], usual: float = 0.93) -> bytes:
        return choices[0] if rng.random() < usual else rng.choice(choices)

    text = b""
    for data in (*(rng.choice((b"x", SMUGGLED))
                   for _ in range(rng.choice((0, 1, 1, 2)))), b""):  # fmt: skip
        text += _number(some(SIZES), len(data)) + some(LINES)
        if data:
            text += data + some(LINES)
    return text + some(TRAILERS, 0.8) + some(LINES)


def _number(text: bytes, number: int) -> bytes:
    for form in (b"%d", b"%x", b"%X"):
        text = text.replace(form, form % number)
    return text


@dataclass(frozen=True, slots=True)
class Approved:
    """What the core takes the bytes of a connection for, and how many of them a server gets."""

    requests: tuple[Request, ...]
    delivered: int


def approved(node: Node, data: bytes) -> Approved:
    """As the owner of a connection that is decided at every request reads it."""
    found: list[Request] = []
    at = 0
    while at < len(data):
        rest = data[at:]
        pieces = [rest[begin : begin + heads.CHUNK] for begin in range(0, len(rest), heads.CHUNK)]
        said = heads.core(node, pieces, Mode.LATER if found else Mode.HTTP)
        if said.outcome is not Outcome.DONE:
            break  # held, and refused or let wait
        found.append(said)
        at += said.length
        if said.body is Body.OPAQUE:
            break
        if said.body is Body.CHUNKED:
            over, at = _chunked(node, data, at)
            if not over:
                break
        else:
            at += said.content_length
    return Approved(tuple(found), min(at, len(data)))


def _chunked(node: Node, data: bytes, start: int) -> tuple[bool, int]:
    """Whether the chunks end, and where, or how far they are any."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for end in range(start, len(data) + 1):
        known = core_answers(node, [head + data[start:end]], [Asked.PLAIN])
        if known.stands is Stands.UNKNOWN:
            return False, end - 1
        if known.answered:
            return True, end
    return False, len(data)


def judged(told: Approved, taken: list[Taken]) -> str:
    """What a server did that the core has not approved; empty if nothing."""
    for place, one in enumerate(taken):
        if place >= len(told.requests):
            return f"behind {place} requests it served {one.host!r} {one.path!r}"
        if not _same(told.requests[place], one):
            return f"it served {one.host!r} {one.path!r} as number {place}"
    return ""


def _same(one: Request, taken: Taken) -> bool:
    try:
        path = taken.path if taken.path.startswith(b"/") else b""
        path = url.normalise(path).text if path and not taken.decoded else path
        host = url.host(taken.host)[0] if taken.host else b""
    except url.UrlError:
        return False
    return (not host or host == one.host) and path in (one.path, b"")


def run(
    seed: int, numbers: Iterable[int], directory: Path, *, aloud: bool = False
) -> tuple[Counter[str], list[str]]:
    """A request for each number: how the servers took them, and what the core did not foresee."""
    rng = random.Random(seed)
    found: list[str] = []
    tally: Counter[str] = Counter()
    with Node() as node, readers.running(directory) as asked:
        for number in numbers:
            data = request(rng) + readers.NEXT
            told = approved(node, data)
            tally[f"core took {min(len(told.requests), 3)}"] += 1
            for name, ask in asked.items():
                taken = ask(data[: told.delivered]) if told.delivered else []
                tally[f"{name} took {min(len(taken), 3)}"] += 1
                wrong = judged(told, taken)
                if wrong:
                    found.append(f"{name}, request {number} of seed {seed}, {data!r}: {wrong}")
                    if aloud:
                        print(f"differs: {found[-1]}", flush=True)
            if aloud and number % 10_000 == 9_999:
                print(f"{number + 1:,} streams, {len(found)} differences", flush=True)
    return tally, found


def _until(end: float) -> Iterator[int]:
    """0, 1, 2 and so on, until the monotonic clock says `end`."""
    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.readers", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    chosen = parser.parse_args()
    long = chosen.minutes is not None
    numbers: Iterable[int] = range(chosen.count)
    if long:
        numbers = _until(time.monotonic() + 60 * chosen.minutes)
    with tempfile.TemporaryDirectory(prefix="readers-") as directory:
        tally, found = run(chosen.seed, numbers, Path(directory), aloud=long)
    for name, number in sorted(tally.items()):
        print(f"{name}: {number:,}")
    for one in found[:20]:
        print(f"differs: {one}")
    print(f"{len(found)} differences" if found else "no difference")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
