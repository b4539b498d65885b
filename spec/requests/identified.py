# SPDX-License-Identifier: Apache-2.0
"""Identified sessions: the value of their cookie, and when a request that brings one is believed.
Pure; `select/identity.h` does the same in C.

The value is 40 characters, lower case hexadecimal of

    offset  size
    0       8     the identifier, the key of the session's row; not zero
    8       8     tag: SipHash-2-4 of identifier, day and a byte 1, 13 bytes
    16      4     day: since 1970, of 86,400 seconds, big-endian

under the key of the day, as the reference implementation emits it. The values of `insert` have tags
of 12 and of 8 bytes, so a value of one kind is never one of the other.

An identifier is SipHash-2-4 of 32 bytes under the same key: the wall clock in nanoseconds, the
server's first address, the CPU, both ISNs and 64 random bits. Nobody without the key can foresee
it, and time, server and CPU make it another one than any before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.handshake.siphash import siphash64
from ipos.selection.sessions import COOKIE_MAX, DAY_S, Standing

SIZE = 8
VALUE_SIZE = 40
_KIND = b"\x01"
_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the days: `ours` makes values, `others` is believed, too, while keys change."""

    ours: Mapping[int, bytes]
    others: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Holder:
    """A session's row. server: None for one that is revoked; expires_ns: the last moment."""

    server: IPv4Address | None
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a request's cookie says: the server that has its session, or why there is none.

    `standing` is KEPT, FORGED, UNKNOWN, or NONE without a cookie. `fresh`: the client need not
    have the value anew.
    """

    standing: Standing
    identity: bytes = bytes(SIZE)
    server: IPv4Address | None = None
    fresh: bool = False


def made(key: bytes, wall_ns: int, server: IPv4Address, cpu: int, iss: int, irs: int,
         random: int) -> bytes:  # fmt: skip
    """A new identifier. key: of the day; random: of 64 bits."""
    message = wall_ns.to_bytes(8, "little") + server.packed + cpu.to_bytes(4, "little")
    message += irs.to_bytes(4, "little") + iss.to_bytes(4, "little") + random.to_bytes(8, "little")
    return siphash64(key, message).to_bytes(SIZE, "little")


def day_of(wall_ns: int) -> int:
    return wall_ns // (DAY_S * 1_000_000_000)


def encode(identity: bytes, day: int, key: bytes) -> str:
    """The cookie's value under the key of its day, of 16 bytes."""
    said = day.to_bytes(4, "big")
    return (identity + _tag(identity, said, key) + said).hex()


def decode(text: str, keys: Mapping[int, bytes]) -> tuple[bytes, int] | None:
    """Identifier and day; None for a value that none of the days' keys made. keys: by day."""
    if len(text) != VALUE_SIZE or not set(text) <= _DIGITS:
        return None
    raw = bytes.fromhex(text)
    identity, tag, day = raw[:SIZE], raw[SIZE : 2 * SIZE], raw[2 * SIZE :]
    key = keys.get(int.from_bytes(day, "big"))
    if key is None or not any(identity) or _tag(identity, day, key) != tag:
        return None
    return identity, int.from_bytes(day, "big")


def accept(text: str, keys: Keys, rows: Mapping[bytes, Holder], now_ns: int,
           today: int) -> Accepted:  # fmt: skip
    """A cookie's value names a server if one of us made it, and its row lives.

    rows: of the request's service, by identifier. A row that is read in its last moment lives.
    """
    if not text or len(text) > COOKIE_MAX:
        return Accepted(Standing.NONE)
    ours = decode(text, keys.ours)
    known = ours or decode(text, keys.others)
    if known is None:
        return Accepted(Standing.FORGED)
    identity, day = known
    row = rows.get(identity)
    if row is None or row.server is None or row.expires_ns < now_ns:
        return Accepted(Standing.UNKNOWN, identity)
    return Accepted(Standing.KEPT, identity, row.server, known is ours and day == today)


def _tag(identity: bytes, day: bytes, key: bytes) -> bytes:
    return siphash64(key, identity + day + _KIND).to_bytes(8, "little")
