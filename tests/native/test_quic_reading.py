# SPDX-License-Identifier: Apache-2.0
"""Initial packets of QUIC: the RFCs' vectors, aioquic's flights, and the core beside the oracle."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Iterator

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from native import quic
from native.library import Node
from spec.quic import aes, initial
from spec.quic.initial import VERSION_1, VERSION_2, Flight
from tests.support import hellos
from tests.support import quic_packets as q

ID = bytes.fromhex("8394c8f03e515708")
HELLO = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c0002400100"
    "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
)
"""RFC 9001, A.2, and RFC 9369, A.2: the CRYPTO frame of the packet that both protect."""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        yield made


def test_aes_of_the_standard(node: Node) -> None:
    """FIPS 197, C.1."""
    key = bytes(range(16))
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    told = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
    assert aes.encrypt(aes.expand(key), block) == told == quic.aes_block(node, key, block)


def test_aes_and_hmac_beside_the_oracle(node: Node) -> None:
    rng = random.Random(1)
    for length in range(56):
        key, block = rng.randbytes(16), rng.randbytes(16)
        assert quic.aes_block(node, key, block) == aes.encrypt(aes.expand(key), block)
        key, message = rng.randbytes(rng.randrange(65)), rng.randbytes(length)
        told = hmac.digest(key, message, hashlib.sha256)
        assert quic.hmac_sha256(node, key, message) == told


@pytest.mark.parametrize(
    ("version", "key", "iv", "hp"),
    [
        (VERSION_1, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c",
         "9f50449e04a0e810283a1e9933adedd2"),
        (VERSION_2, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f",
         "45b95e15235d6f45a6b19cbcb0294ba9"),
    ],
)  # fmt: skip
def test_the_keys_of_the_rfcs(version: int, key: str, iv: str, hp: str) -> None:
    """RFC 9001, A.1, and RFC 9369, A.1."""
    made = initial.client_keys(version, ID)
    assert (made.key.hex(), made.iv.hex(), made.hp.hex()) == (key, iv, hp)


@pytest.mark.parametrize(
    ("version", "head"),
    [
        (VERSION_1, ("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"
                    "d242b123dc9bd8bab936b47d92ec356c")),
        (VERSION_2, ("d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485"
                    "dd04de806071bf03dceebfa162e75d6c")),
    ],
)  # fmt: skip
def test_the_packets_of_the_rfcs(node: Node, version: int, head: str) -> None:
    """RFC 9001, A.2, and RFC 9369, A.2: as they begin there, and as they are read."""
    packet = q.initial(ID, HELLO, number=2, number_size=4, version=version)
    assert packet.hex().startswith(head)
    assert len(packet) == 1200
    assert quic.read(node, [packet]) == ["whole"]
    assert quic.hello(node) == HELLO[4:]
    flight = Flight()
    assert flight.datagram(packet) == "whole"
    assert flight.hello == HELLO[4:]


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("long", [False, True])
def test_first_flights_of_aioquic(node: Node, version: int, long: bool) -> None:
    filler = [f"{number:0>200}" for number in range(9)] if long else []
    client = QuicConnection(
        configuration=QuicConfiguration(
            alpn_protocols=["h3", *filler], server_name="www.example.org",
            original_version=version, supported_versions=[version],
        )
    )  # fmt: skip
    client.connect(("192.0.2.1", 443), now=0)
    flight = [data for data, _ in client.datagrams_to_send(now=0)]
    assert len(flight) == 1 + long
    told = Flight()
    assert [told.datagram(one) for one in flight] == ["part", "whole"][-len(flight) :]
    for order in (flight, flight[::-1]):
        assert quic.read(node, order) == ["part", "whole"][-len(flight) :]
        assert quic.hello(node) == told.hello
    assert b"www.example.org" in told.hello


def _frames(rng: random.Random, hello: bytes) -> list[bytes]:
    """A ClientHello cut in CRYPTO frames, in any order, some of them twice, and others between."""
    at, frames = 0, []
    while at < len(hello):
        size = rng.choice((1, 3, 40, 300, 900))
        frames.append(q.crypto(at, hello[at : at + size]))
        at += size
    rng.shuffle(frames)
    frames += rng.sample(frames, rng.randrange(min(3, len(frames) + 1)))
    for _ in range(rng.randrange(4)):
        other = rng.choice((b"\0" * 9, b"\1", b"\2\5\0\1\1\0\0", b"\3\5\0\0\1\1\1\1"))
        frames.insert(rng.randrange(len(frames) + 1), other)
    if rng.random() < 0.1:
        broken = rng.choice((b"\x1c\0\0\0", b"\x06\x10\x44\0a", q.crypto(4000, bytes(200))))
        frames.insert(rng.randrange(len(frames) + 1), broken)
    return frames


def _datagrams(rng: random.Random, hello: bytes) -> list[bytes]:
    version = rng.choice((VERSION_1, VERSION_2))
    destination = rng.randbytes(rng.choice((0, 8, 8, 20)))
    token = rng.randbytes(rng.choice((0, 0, 70)))
    packets: list[bytes] = []
    body = b""
    frames = _frames(rng, hello)
    while frames or body:
        if frames and len(body) + len(frames[0]) < 1050:
            body += frames.pop(0)
            continue
        fill = rng.choice((1200, 1200, 0))
        packet = q.initial(destination, body, number=len(packets), version=version, token=token,
                           number_size=rng.choice((1, 2, 4)), fill=fill)  # fmt: skip
        if len(packet) < 500 and packets and len(packets[-1]) + len(packet) < 1400:
            packets[-1] += packet  # coalesced
        else:
            packets.append(packet)
        body = b""
    if rng.random() < 0.2:
        place = rng.randrange(len(packets))
        broken = bytearray(packets[place])
        broken[rng.randrange(min(60, len(broken)))] ^= 1 << rng.randrange(8)
        packets[place] = bytes(broken)
    if rng.random() < 0.1:
        packets[-1] = packets[-1][: rng.randrange(len(packets[-1]))]
    return packets


def test_random_flights_beside_the_oracle(node: Node) -> None:
    rng = random.Random(2)
    seen = set()
    for _ in range(60):
        hello = hellos.hello(rng)
        datagrams = [one for one in _datagrams(rng, hello[:6000]) if len(one) <= 1500]
        told = Flight()
        answers = []
        for one in datagrams:  # the data plane reads no further
            answers.append(told.datagram(one).value)
            if answers[-1] in ("whole", "too long"):
                break
        assert quic.read(node, datagrams[: len(answers)]) == answers
        assert quic.hello(node) == told.hello
        seen |= set(answers)
    assert seen == set(quic.READS)


def test_a_server_number() -> None:
    assert initial.server_number(b"\x01\x02\x03\x04", 1, 2) == 0x0203
    assert initial.server_number(b"\x01\x02", 1, 2) is None
