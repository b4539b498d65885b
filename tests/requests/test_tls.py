# SPDX-License-Identifier: Apache-2.0
"""ClientHellos, with OpenSSL (through Python's ssl) as the witness, and the core beside."""

from __future__ import annotations

import random
import ssl
import struct
from collections.abc import Iterator

import pytest

from native.library import Node
from spec.requests import tls
from spec.requests.head import HEAD_MAX, Head, Progress
from spec.requests.tls import Hello
from tests.support import hellos

BOTH = (b"h2", b"http/1.1")
LONG_LIST = [f"protocol-number-{n:04}" for n in range(80)]
NOTED = tuple(one.encode() for one in LONG_LIST[:12])  # of 21 bytes with their lengths, in 256


def client_hello(name: str | None, protocols: list[str] | None = None) -> bytes:
    """A first flight as OpenSSL sends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(hello: bytes, sizes: list[int]) -> bytes:
    """The same message in records of these sizes, the last of which takes the rest."""
    message, cut = hello[5:], b""
    for size in [*sizes, len(message)]:
        piece, message = message[:size], message[size:]
        if piece:
            cut += hello[:3] + struct.pack("!H", len(piece)) + piece
    return cut


def said(data: bytes) -> Hello | None:
    return tls.read(tls.message(data))


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.org", b"www.example.org"),
        ("WWW.Example.ORG", b"www.example.org"),
        ("example.org.", b"example.org"),
        ("a", b"a"),
        (None, b""),
        (".".join(["x" * 62] * 4), b".".join([b"x" * 62] * 4)),
    ],
)
@pytest.mark.parametrize(
    ("offered", "protocols"),
    [
        (None, ()),
        (["h2", "http/1.1"], BOTH),
        (["http/1.1"], (b"http/1.1",)),
        (["http/1.1", "h2"], BOTH[::-1]),
        (["x" * 255, "h2"], (b"x" * 255,)),
        (["x" * 252, "h2"], (b"x" * 252, b"h2")),
        (["x" * 253, "h2", "y"], (b"x" * 253,)),
        ([*LONG_LIST, "h2"], NOTED),
    ],
)
def test_openssl(
    node: Node,
    name: str | None,
    expected: bytes,
    offered: list[str] | None,
    protocols: tuple[bytes, ...],
) -> None:
    hello = client_hello(name, offered)
    assert tls.hello_end(hello) == len(hello)
    assert said(hello) == Hello(expected, protocols)
    assert hellos.read(node, hello) == (1, len(hello), expected, protocols)


def test_a_long_hello_cut_at_every_byte(node: Node) -> None:
    """As many bytes as a post-quantum key share makes."""
    hello = client_hello("shop.example.org", [*LONG_LIST, "h2"])
    assert len(hello) > 1900
    for cut in range(1, len(hello)):
        head = Head().feed(hello[:cut])
        assert head.progress is Progress.MORE
        assert head.feed(hello[cut:]) == Head().feed(hello)
    expected = (1, len(hello), b"shop.example.org", NOTED)
    for size in (1, 2, 7, 100, 1000):
        pieces = [hello[at : at + size] for at in range(0, len(hello), size)]
        assert hellos.told(hello) == expected
        assert hellos.read_pieces(node, pieces) == expected


def test_any_split_over_records_says_the_same(node: Node) -> None:
    hello = client_hello("shop.example.org", ["h2", "http/1.1"])
    whole = Hello(b"shop.example.org", BOTH)
    rng = random.Random(4)
    splits = [[n] for n in range(1, len(hello) - 5)]
    splits += [[1] * 30, [1, 1, 1, 1, 1, 500], [rng.randrange(1, 9) for _ in range(40)]]
    for sizes in splits:
        data = in_records(hello, sizes)
        assert tls.hello_end(data) == len(data)
        assert said(data) == whole
        assert hellos.read(node, data + b"more") == (1, len(data), whole.server_name, BOTH)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\0\x04\2\0\0\0",  # another message
        b"\x16\x03\x01\0\0",  # a record of no bytes
        b"\x16\x03\x01\x40\1",  # a record that is too long
        b"\x16\x03\x01\0\x02\1\0\x15\x03\x03\0\2\1\0",  # an alert inside
        b"\x16\x03\x01\0\x04\1\0\0\0",  # a message of no bytes
        b"\x16\x02",  # a version before SSL 3.0
        b"\x16GET /admin HTTP/1.1\r\n\r\n",  # a request of who takes any byte for a method
    ],
)
def test_what_is_no_hello_is_refused_at_once(node: Node, data: bytes) -> None:
    assert Head().feed(data).progress is Progress.COMPLETE
    assert said(data) is None
    assert hellos.read(node, data)[0] == hellos.REFUSED


def test_a_hello_of_14_600_bytes_is_read(node: Node) -> None:
    hello = client_hello("shop.example.org")
    body = hello[9:]
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = body[at + 2 :]
    fill = HEAD_MAX - 9 - at - 2 - len(extensions) - 4
    extensions += struct.pack("!HH", 21, fill) + bytes(fill)
    body = body[:at] + struct.pack("!H", len(extensions)) + extensions
    whole = b"\1" + len(body).to_bytes(3, "big") + body
    data = hello[:3] + struct.pack("!H", len(whole)) + whole
    assert len(data) == HEAD_MAX
    expected = (1, HEAD_MAX, b"shop.example.org", ())
    assert hellos.read(node, data) == hellos.told(data) == expected


@pytest.mark.parametrize("flip", range(60))
def test_a_broken_hello_is_refused_or_names_somebody_as_the_oracle_has_it(
    node: Node, flip: int
) -> None:
    hello = bytearray(client_hello("shop.example.org", ["h2"]))
    hello[5 + flip * 4] ^= 0x41
    assert hellos.read(node, bytes(hello))[1:] == hellos.told(bytes(hello))[1:]


def test_random_hellos_against_the_core() -> None:
    count, found = hellos.run(1, 2_000)
    assert count == 2_000
    assert not found
