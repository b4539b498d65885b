# SPDX-License-Identifier: Apache-2.0
"""The native library against the oracle of TLS: random ClientHellos, in records and pieces.

For each: the same end, and refused, or the same server name and the same protocols.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from ipos.abi.layout import constant, layout
from native.library import Node
from native.shapes import unpack
from spec.requests import tls
from spec.requests.head import HEAD_MAX, Head
from spec.requests.head_result import Ambiguity
from spec.requests.tls import HANDSHAKE
from tests.support.clients import records

PIECE = 1024  # bytes; as the data plane reads what it holds
_REQUEST = layout("ipos_request")


def vector(rng: random.Random, size: int, data: bytes) -> bytes:
    """A vector behind its length, which is seldom a wrong one."""
    length = len(data)
    if rng.random() < 0.01:
        length = max(0, length + rng.choice((-1, 1, 2, 256)))
    return (length & (1 << 8 * size) - 1).to_bytes(size, "big") + data


def server_name(rng: random.Random) -> bytes:
    """The body of a server_name extension."""
    name = bytes(rng.choice(b"abcXYZ019-._") for _ in range(rng.choice((1, 2, 11, 40, 255))))
    if rng.random() < 0.05:
        name = rng.choice((b"", b".", b"a\0b", b"x" * 256, b"a.."))
    kind = b"\0" if rng.random() < 0.97 else b"\1"
    names = kind + vector(rng, 2, name)
    return vector(rng, 2, names * rng.choice((1,) * 20 + (0, 2)))


def alpn(rng: random.Random) -> bytes:
    """The body of an ALPN extension."""
    names = (b"h2", b"http/1.1", b"http/1.0", b"h2c", b"h3", b"x" * 255)
    some = [vector(rng, 1, rng.choice(names)) for _ in range(rng.choice((1, 1, 2, 3, 9)))]
    return vector(rng, 2, b"".join(some) if rng.random() < 0.97 else b"")


def hello(rng: random.Random) -> bytes:
    """A ClientHello message."""
    extensions = []
    for _ in range(rng.randrange(6)):
        extensions.append((rng.choice((10, 13, 43, 51, 0xFE0D)), rng.randbytes(rng.randrange(50))))
    if rng.random() < 0.8:
        extensions += [(0, server_name(rng))] * rng.choice((1,) * 30 + (2,))
    if rng.random() < 0.6:
        extensions.append((16, alpn(rng)))
    if rng.random() < 0.3:
        extensions.append((51, rng.randbytes(rng.choice((1216, 4000, 13_000)))))
    rng.shuffle(extensions)
    block = b"".join(kind.to_bytes(2, "big") + vector(rng, 2, body) for kind, body in extensions)
    body = b"\3\3" + rng.randbytes(32)
    body += vector(rng, 1, rng.randbytes(rng.choice((0, 32, 33 if rng.random() < 0.05 else 32))))
    body += vector(rng, 2, rng.randbytes(2 * rng.randrange(1, 30)))
    body += vector(rng, 1, b"\0")
    if block or rng.random() < 0.5:
        body += vector(rng, 2, block)
    return b"\1" + vector(rng, 3, body)


MORE, DONE, REFUSED = (constant(f"IPOS_READ_{name}") for name in ("MORE", "DONE", "REFUSED"))


Told = tuple[int, int, bytes, tuple[bytes, ...]]
"""Progress, length, host, protocols."""


def read(node: Node, data: bytes) -> Told:
    """What the data plane makes of the bytes."""
    return read_pieces(node, pieces(data))


def read_pieces(node: Node, cut: list[bytes]) -> Told:
    """The same of pieces, each of at most 1,024 bytes."""
    row = unpack(_REQUEST, node.read(cut))
    if row["progress"] == REFUSED:
        assert row["refusal"] == Ambiguity.NO_HELLO
        return REFUSED, row["head_len"], b"", ()
    host = bytes(row["host"])
    if row["progress"] and any(host[row["host_len"] :]):
        raise AssertionError(f"bytes behind a host of {row['host_len']}: {host!r}")
    offers = bytes(row["offers"])[: row["offers_len"]]
    return row["progress"], row["head_len"], host[: row["host_len"]], tuple(_names(offers))


def _names(sent: bytes) -> Iterator[bytes]:
    """Each is behind its length."""
    while sent:
        yield sent[1 : 1 + sent[0]]
        sent = sent[1 + sent[0] :]


def pieces(data: bytes) -> list[bytes]:
    """As the data plane reads what it holds."""
    held = data[:HEAD_MAX]
    return [held[at : at + PIECE] for at in range(0, len(held), PIECE)]


def told(data: bytes) -> Told:
    """What the oracle makes of them."""
    head = Head().feed(data)
    if not head.found:
        return MORE, head.length, b"", ()
    said = tls.read(tls.message(head.data, 0))
    if said is None:
        return REFUSED, head.length, b"", ()
    return DONE, head.length, said.server_name, said.protocols


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many hellos; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    with Node({"forward": 16, "local": 16, "connect": 16, "temporary": 16, "holding": 16}) as node:
        for _ in range(count):
            data = records(rng, hello(rng)) + rng.randbytes(rng.choice((0, 0, 7)))
            if data[0] != HANDSHAKE:
                continue  # no TLS: `tests.support.heads` has those
            if rng.random() < 0.2:
                broken = bytearray(data)
                broken[rng.randrange(1, min(len(broken), 400))] ^= 1 << rng.randrange(8)
                data = bytes(broken)
            if rng.random() < 0.1:
                data = data[: rng.randrange(1, len(data))]
            core, oracle = read(node, data), told(data)
            if core[0] == oracle[0] == 0:
                continue  # what it says counts when it is whole
            if core != oracle:
                found.append(f"{data[:400].hex()}: the core has {core}, the oracle {oracle}")
    return count, found[:20]
