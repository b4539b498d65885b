# SPDX-License-Identifier: Apache-2.0
"""What an application sends, sound and damaged, against `spec.requests.answered`,
`spec.requests.learning` and `ipos.selection.sessions.insertion`.

The core sees the bytes in pieces, cut anywhere, the oracle all of them. Both must say the same of
how many requests are answered, of the session cookies set and deleted, and of the place where the
iNIC's own Set-Cookie goes.
"""

from __future__ import annotations

import random

from ipos.abi.layout import constant, layout
from ipos.selection import sessions
from native.library import Node
from native.responses import answer, insertion, learn
from spec.requests.answered import Answers, Asked, Stands, read
from spec.requests.learning import noticed

CHUNK = constant("IPOS_CHUNK")
NAME = b"SID"
_KEY = bytes(range(16))
_FOLLOW = {
    Asked.UPGRADE: constant("IPOS_FOLLOW_UPGRADE"),
    Asked.CONNECT: constant("IPOS_FOLLOW_CONNECT"),
}
_LENGTH, _OPAQUE = constant("IPOS_FOLLOW_LENGTH"), constant("IPOS_FOLLOW_OPAQUE")
_NEWS = layout("ipos_cookie_news")

STATUSES = (
    *(b"200 OK",) * 8, b"204 No Content", b"304", b"100 Continue", b"103 Early Hints", b"191 x",
    b"101 Switching Protocols", b"404 Not Found", b"199 x", b"20x", b"2000",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 20 + (b"HTTP/1.0", b"http/1.1", b"HTTP/2.0", b"HTTP/1.1 ")
FIELDS = (
    b"Date: now", b"Server: a", b"X:", b"T", b"Content-Type: text/html", b"C", b"Trailer: x",
    b"Set-Cookie: SID=abc; Path=/; HttpOnly", b"set-cookie:SID=1 2\t ;secure",
    b"Set-Cookie: SID=; Max-Age=0", b"Set-Cookie: SID=x; max-age=0", b"Set-Cookie: SIDE=1",
    b"Set-Cookie: SID=z; Expires=Thu, 01 Jan 1970 00:00:00 GMT", b"Set-Cookie: SID=y;Max-Age=-1",
    b"Set-Cookie",
    b"Set-Cookie: SID=u; Expires=Fri, 11 Jan 2970; Max-Age=0; Max-Age=60", b"Set-Cookie: SID =1",
    b"Set-Cookie: SID=" + b"v" * 128, b"Set-Cookie: SID=" + b"v" * 129, b"Set-Cookies: SID=1",
    b"Set-Cookie:\t SID= q;Max-Age=;expires=1197019 70", b"Set-Cookie: other=SID=1; SID=2",
    b"Set-Cookie: SID=a\rb; MAX-AGE=\r0",
)  # fmt: skip
LENGTHS = (
    b"Content-Length: 5", b"content-length:5", b"Content-Length:  0", b"Content-Length: 0005 ",
    b"Content-Length: 1 2", b"Content-Length: +5", b"Content-Length: 300", b"Content-Length:",
    b"Content-Length: 576460752303423489", b"Content-Length: 5764607523034234880",
    b"Content-Lengt: 5", b"Content-Length : 5",
)  # fmt: skip
ENCODINGS = (b"Transfer-Encoding: chunked",) * 6 + (b"TRANSFER-ENCODING:CHUNKED ",
             b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunke")  # fmt: skip
BEHIND_SIZES = (b"",) * 4 + (b";a=b", b" ", b"\t ", b" ;a", b" a", b";a\rb", b";\t\x80", b";\0")
LAST_CHUNKS = (b"0\r\n\r\n",) * 8 + (
    b"0\r\nX: y\r\n\r\n", b"00\r\n\r\n", b"0\n\r\n", b"0\r\n\n", b"0\r\nX: y\n\r\n",
    b"0\r\n\nX: y\r\n\r\n", b"0\r\nX: y\r\n\n", b"0  \r\n\r\n", b"0\r\n\r\r\n",
    b"0\r\nX: \r\r\n\r\n",
)  # fmt: skip
ALPHABET = b"\r\n\0\t :;=-019aAfFgcCtTsS"


def body(rng: random.Random) -> tuple[list[bytes], bytes]:
    """Fields that say how long a body is, and a body, which is seldom another."""
    kind = rng.randrange(8)
    if kind < 3:
        size = rng.choice((0, 1, 5, 30, 1500))
        return [b"Content-Length: %d" % size], rng.randbytes(size)
    if kind < 5:
        parts = [rng.randbytes(rng.choice((1, 5, 16, 1100))) for _ in range(rng.randrange(4))]
        text = b"".join(b"%x%s\r\n%s\r\n" % (len(part), rng.choice(BEHIND_SIZES), part)
                        for part in parts)  # fmt: skip
        return [rng.choice(ENCODINGS)], text + rng.choice(LAST_CHUNKS)
    if kind == 5:
        return [rng.choice(LENGTHS)], b"hello"[: rng.randrange(6)]
    if kind == 6:
        return [rng.choice(LENGTHS), rng.choice((*LENGTHS, *ENCODINGS))], b"5\r\nhello\r\n0\r\n\r\n"
    return [], b""


def response(rng: random.Random) -> bytes:
    fields = [rng.choice(FIELDS) for _ in range(rng.randrange(4))]
    told, text = body(rng)
    fields += told
    rng.shuffle(fields)
    end = b"\n" if rng.random() < 0.1 else b"\r\n"
    first = rng.choice(VERSIONS) + b" " + rng.choice(STATUSES)
    head = end.join((first, *fields, b"", b""))
    if head[9:10] == b"1" or head[9:12] in (b"204", b"304"):
        text = b""
    return head + text


def sent(rng: random.Random) -> bytes:
    """Some responses in a row, often damaged, and cut."""
    raw = bytearray(b"".join(response(rng) for _ in range(rng.choice((1, 1, 2, 3)))))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        at = rng.randrange(min(len(raw), 300))
        kind = rng.randrange(4)
        if kind == 0:
            raw[at:at] = bytes([rng.choice(ALPHABET)])
        elif kind == 1:
            raw[at] = rng.choice((rng.choice(ALPHABET), rng.randrange(256)))
        elif kind == 2:
            del raw[at : at + rng.randrange(1, 4)]
        else:
            raw[at] ^= 0x20
    if rng.random() < 0.2:
        del raw[rng.randrange(len(raw) + 1) :]
    return bytes(raw)


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = rng.choice((1, 2, 3, rng.randrange(1, 40), CHUNK, rng.randrange(1, CHUNK + 1)))
        found.append(data[at : at + size])
        at += size
    return found


def asked(rng: random.Random) -> list[Asked]:
    """Requests of a connection; only the last may ask to leave HTTP."""
    some = (rng.choice((Asked.PLAIN,) * 5 + (Asked.HEAD,)) for _ in range(rng.randrange(4)))
    return [*some, rng.choice((Asked.PLAIN, Asked.PLAIN, Asked.UPGRADE, Asked.CONNECT))]


def core_answers(node: Node, cut: list[bytes], requests: list[Asked]) -> Answers:
    """What the core makes of them; the numbers of requests begin anywhere, as after a while."""
    first = 62
    row = answer(
        node,
        {
            "asked": first + len(requests),
            "answered": first,
            "heads": sum(
                1 << (first + at) % 64 for at, one in enumerate(requests) if one is Asked.HEAD
            ),
            "follow": _FOLLOW.get(requests[-1], _LENGTH),
        },
        cut,
    )
    begins = row["answer"] == constant("IPOS_ANSWER_STATUS") and not row["answer_at"]
    stands = Stands.BETWEEN if begins else Stands.INSIDE
    if row["answer"] == constant("IPOS_ANSWER_UNKNOWN"):
        stands = Stands.UNKNOWN
    tunnel = row["follow"] == _OPAQUE if row["follow"] in (_LENGTH, _OPAQUE) else None
    return Answers(row["answered"] - first, stands, tunnel)


def core_learned(node: Node, cut: list[bytes]) -> list[tuple[int, bool]]:
    """(hash of the value, it is forgotten) of what the core tells the agent."""
    learn(node, 1, cut)
    found = []
    while (raw := node.store("cookie_news").pop()) is not None:
        news = _NEWS.unpack(raw)
        found.append((news["key"]["hash"], not news["row"]["expires_ns"]))
    return found


def oracle_learned(data: bytes) -> list[tuple[int, bool]]:
    return [(sessions.learned_hash(one.value, _KEY), one.deleted) for one in noticed(data, NAME)]


def prepare(node: Node) -> Node:
    """A node whose service 1 learns its sessions."""
    words = tuple(int.from_bytes(_KEY[at : at + 8], "little") for at in (0, 8))
    node.table("settings")[0] = {"learn_key": words, "self_ip": 1}
    node.table("services")[1] = {"used": 1, "port": 80}
    name = NAME.ljust(constant("IPOS_COOKIE_NAME_MAX"), b"\0")
    node.table("sessions")[1] = {"kind": constant("IPOS_SESSION_LEARN"), "name_len": len(NAME),
                                 "name": name, "lifetime_s": 60}  # fmt: skip
    return node


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many streams of responses; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    with Node() as node:
        prepare(node)
        while done < count and len(found) < 20:
            data = sent(rng)
            done += 1
            cut, requests = pieces(rng, data), asked(rng)
            judged: dict[str, tuple[object, object]] = {
                f"answers to {[one.value for one in requests]}": (
                    core_answers(node, cut, requests), read(data, requests)),
                "learned": (core_learned(node, cut), oracle_learned(data)),
                "insertion": (insertion(cut), sessions.insertion(data)),
            }  # fmt: skip
            for what, (said, wanted) in judged.items():
                if said != wanted:
                    found.append(f"{what}, response {done} of seed {seed} ({data!r} in "
                                 f"{[len(one) for one in cut]}): "
                                 f"oracle {wanted}, core {said}")  # fmt: skip
    return done, found
