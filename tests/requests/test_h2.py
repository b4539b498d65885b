# SPDX-License-Identifier: Apache-2.0
"""First flights of HTTP/2: the core, the oracle, and flights as real clients sent them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ipos.abi.layout import layout
from ipos.selection import sessions
from native.library import Node
from native.shapes import unpack
from spec.requests import h2, hpack
from spec.requests.h2 import PREFACE, Asked

CURL = bytes.fromhex(
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a0000120400000000000003000000640004020000"
    "0000020000000000000408000000000001ff0001000027010500000001820487606c47fe79803f86418b089d"
    "5c0b8170dc0bc0783f7a8825b650c3abbcf2e153032a2f2a"
)
H2LOAD = bytes.fromhex(
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00000c040000000000000200000000000"
    "43fffffff0000040800000000003fff00000000250105000000010483606c4786418b089d5c0b8170dc0bc078"
    "3f827a8f9c541c722954d3a5358980aed89707"
)
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        yield made


def core(node: Node, data: bytes, size: int = 1024) -> Asked:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    row = unpack(layout("ipos_request"), node.read(pieces))
    assert row["grammar"] == 4
    host, path = bytes(row["host"])[: row["host_len"]], bytes(row["path"])[: row["path_len"]]
    return Asked(host, path)


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags, 0, 0, 0, 1)) + payload


def literal(index: int, value: bytes, first: int = 0x40) -> bytes:
    return bytes((first | index, len(value))) + value


@pytest.mark.parametrize("size", [1, 2, 5, 24, 1024])
@pytest.mark.parametrize(("flight", "path"), [(CURL, b"/a/b"), (H2LOAD, b"/a/b")])
def test_real_clients(node: Node, flight: bytes, path: bytes, size: int) -> None:
    assert h2.block_end(flight) == len(flight)
    assert h2.asked(flight) == core(node, flight, size) == Asked(b"127.0.0.1", path)


@pytest.mark.parametrize("raw", [b"/x/../y//z/./%41?q=/b", b"/", b"/%2e%2e/a", b"*", b"/a b"])
def test_a_path_is_called_as_in_http1(node: Node, raw: bytes) -> None:
    block = b"\x82\x86" + literal(4, raw, 0) + literal(1, b"Shop.Example.ORG:8443")
    flight = PREFACE + SETTINGS + frame(1, 5, block)
    told = core(node, flight)
    assert told == h2.asked(flight)
    assert bool(told.path) == (raw in (b"/x/../y//z/./%41?q=/b", b"/"))


def test_a_block_over_frames_with_padding_and_priority(node: Node) -> None:
    block = b"\x82\x86" + literal(4, b"/split", 0) + literal(1, b"example.org")
    for cut in range(len(block)):
        first = b"\3" + b"\0\0\0\0\x10" + block[:cut] + b"\0\0\0"
        flight = PREFACE + SETTINGS + frame(1, 0x28, first) + frame(9, 4, block[cut:])
        assert core(node, flight) == h2.asked(flight) == Asked(b"example.org", b"/split")


COOKIES = {
    "one": [b"IPOS=0123456789abcdef0123456789abcdef"],
    "among others": [b"theme=dark; IPOS=abc; lang=en"],
    "in crumbs": [b"theme=dark", b"IPOS=abc", b"lang=en"],
    "twice": [b"IPOS=first; IPOS=second"],
    "empty": [b"IPOS=; a=b"],
    "a name that begins alike": [b"IPOSX=1; XIPOS=2; IPOS=3"],
    "as long as may be": [b"IPOS=" + b"v" * 128],
    "longer": [b"IPOS=" + b"v" * 129],
    "none": [],
}


@pytest.mark.parametrize("name", COOKIES)
@pytest.mark.parametrize("size", [1, 7, 1024])
def test_the_sessions_cookie(node: Node, name: str, size: int) -> None:
    """The first of its name, as it is in HTTP/1's header."""
    node.table("sessions")[0] = {"kind": 1, "name_len": 4, "name": b"IPOS".ljust(64, b"\0")}
    block = b"\x82\x86" + literal(4, b"/", 0) + literal(1, b"example.org")
    for crumb in COOKIES[name]:  # its name is index 32 of the static table; its length two bytes
        over = len(crumb) - 127
        block += b"\x0f\x11" + (b"\x7f" + bytes((over,)) if over >= 0 else bytes((len(crumb),)))
        block += crumb
    flight = PREFACE + SETTINGS + frame(1, 5, block)
    pieces = [flight[at : at + size] for at in range(0, len(flight), size)]
    row = unpack(layout("ipos_request"), node.read(pieces))
    assert h2.cookies(flight) == b"; ".join(COOKIES[name])
    told = bytes(row["cookie"])[: row["cookie_len"]].decode()
    assert told == sessions.cookie_of(h2.cookies(flight).decode(), "IPOS")
    assert bytes(row["path"])[: row["path_len"]] == b"/"


def test_huffman_codes_every_byte() -> None:
    codes = sorted((length, code, symbol) for (length, code), symbol in hpack._codes().items())
    assert codes[-1] == (30, 0x3FFFFFFF, 256)
    # RFC 7541 appendix C.4.1.
    assert hpack.huffman(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == b"www.example.com"


def test_random_damage_against_the_core(node: Node) -> None:
    """Where the oracle reads a request, the core reads the same one."""
    rng = random.Random(7)
    for _ in range(1500):
        flight = bytearray(rng.choice((CURL, H2LOAD)))
        at = rng.randrange(len(PREFACE) + 27, len(flight))
        flight[at] ^= 1 << rng.randrange(8)
        told = h2.asked(bytes(flight))
        if told != Asked():
            assert core(node, bytes(flight)) == told
