# SPDX-License-Identifier: Apache-2.0
"""A state that is too long for one datagram, in parts.

    offset  size
    0       1     2; a whole state has its version here
    1       1     which part this is, from 0
    2       1     how many there are, 2 to 8
    3       8     `boot` of the state
    11      8     its `sequence`; both say which parts belong together
    19      4     the sender's back address
    23      n     the piece: joined in order they are a state datagram without its tag
    23 + n  16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

All numbers are big-endian. A part that is lost loses its state; the next one comes 100 ms later.
"""

import struct
from dataclasses import dataclass, field

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key

KIND = 2
PARTS_MAX = 8
PIECE = 1280
"""Bytes; with head and tag, IP and UDP it fits any LAN of 1,400 bytes and more."""
SENDERS_MAX = 1024
_HEAD = struct.Struct(">BBBQQI")
_FORGET_NS = 15_000_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a state. (boot, sequence) says of which."""

    number: int
    count: int
    boot: int
    sequence: int
    back_ip: int
    piece: bytes


def split(body: bytes, boot: int, sequence: int, back_ip: int, key: Key) -> list[bytes]:
    """The datagrams for a state of any length up to `PARTS_MAX` pieces."""
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    assert 2 <= len(pieces) <= PARTS_MAX
    found = []
    for number, piece in enumerate(pieces):
        part = _HEAD.pack(KIND, number, len(pieces), boot, sequence, back_ip) + piece
        found.append(part + datagram_tags.tag(part, key))
    return found


def decode(datagram: bytes, key: Key) -> Part | None:
    """An authentic part; None for anything else."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    if len(body) < _HEAD.size or not datagram_tags.is_right(body, tag, key):
        return None
    _, number, count, boot, sequence, back_ip = _HEAD.unpack_from(body)
    if not 2 <= count <= PARTS_MAX or number >= count:
        return None
    return Part(number, count, boot, sequence, back_ip, body[_HEAD.size :])


@dataclass(slots=True)
class _Begun:
    newest: tuple[int, int]
    when_ns: int
    pieces: dict[int, bytes]


@dataclass(slots=True)
class Parts:
    """The parts of each sender's newest state that have come. Pure; bounded by SENDERS_MAX."""

    _begun: dict[int, _Begun] = field(default_factory=dict)

    def join(self, part: Part, source: int, now_ns: int) -> bytes | None:
        """The whole body when this is its last part to come, else None. Older parts are ignored."""
        newest = (part.boot, part.sequence)
        begun = self._begun.get(source)
        if begun is None or begun.newest < newest or now_ns - begun.when_ns > _FORGET_NS:
            if begun is None and len(self._begun) >= SENDERS_MAX:
                del self._begun[next(iter(self._begun))]
            begun = self._begun[source] = _Begun(newest, now_ns, {})
        if begun.newest != newest:
            return None
        begun.pieces[part.number] = part.piece
        if len(begun.pieces) < part.count:
            return None
        pieces, begun.pieces = begun.pieces, {}
        return b"".join(pieces.get(number, b"") for number in range(part.count))
