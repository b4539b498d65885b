# SPDX-License-Identifier: Apache-2.0
"""Rows of identified sessions as agents send them, on the port of the state datagrams. Pure.

    offset  size
    0       1     "I"
    1       8     when it was sent, milliseconds since 1970
    9       8     number of the datagram, which the answer repeats
    17      20 n  rows: identifier 8, service port 2, turn 2, first address of the server 4 (0: the
                  session is revoked), and how long the row lives 4, in milliseconds
    17+20n  16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

The answer has "K" in the first byte, and no rows. All numbers are big-endian.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key

KINDS = ROWS, TAKEN = b"I", b"K"
CLOCK_MS = 5_000
"""How far a sender's clock may be from ours, as for state datagrams."""
ROWS_MAX = 64
LIFE_MAX_MS = 0xFFFF_FFFF
_HEAD = struct.Struct(">cQQ")
_ROW = struct.Struct(">8sHHII")


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One row as it travels. `server` is 0.0.0.0 of a session that is revoked."""

    identity: bytes
    port: int
    turn: int
    server: IPv4Address
    life_ms: int


@dataclass(frozen=True, slots=True)
class Told:
    """A datagram: rows, or the answer that they were taken."""

    number: int
    rows: list[SessionRow]
    is_answer: bool = False


def encode_rows(number: int, rows: Sequence[SessionRow], sent_ms: int, key: Key) -> bytes:
    """rows: at most `ROWS_MAX`."""
    body = _HEAD.pack(ROWS, sent_ms, number) + b"".join(
        _ROW.pack(row.identity, row.port, row.turn, int(row.server), row.life_ms) for row in rows
    )
    return body + datagram_tags.tag(body, key)


def encode_answer(number: int, sent_ms: int, key: Key) -> bytes:
    body = _HEAD.pack(TAKEN, sent_ms, number)
    return body + datagram_tags.tag(body, key)


def decode(datagram: bytes, now_ms: int, key: Key) -> Told | None:
    """None for what is not authentic, or not of these seconds."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    size = len(body) - _HEAD.size
    if size < 0 or size % _ROW.size or not datagram_tags.is_right(body, tag, key):
        return None
    kind, sent_ms, number = _HEAD.unpack_from(body)
    if kind not in KINDS or abs(now_ms - sent_ms) > CLOCK_MS or (kind == TAKEN and size):
        return None
    rows = [
        SessionRow(identity, port, turn, IPv4Address(server), life_ms)
        for identity, port, turn, server, life_ms in _ROW.iter_unpack(body[_HEAD.size :])
    ]
    return Told(number, rows, kind == TAKEN)
