# SPDX-License-Identifier: Apache-2.0
"""Identified sessions: the value of their cookie, and which of two rows is the newer one. Pure;
`select/identity.h` and `lib/cookie_turn.h` do the same in C.

The value is 40 characters, lower case hexadecimal of

    offset  size
    0       8     the identifier, the key of the session's row
    8       8     tag: SipHash-2-4 of identifier, day and a byte 1, 13 bytes
    16      4     day: since 1970, of 86,400 seconds, big-endian

under the key of the day, as the reference implementation emits it. The values of `insert` have tags
of 12 and of 8 bytes, so a value of one kind is never one of the other.

An identifier is SipHash-2-4 of 32 bytes under the same key: the wall clock in nanoseconds, the
server's first address, the CPU, both ISNs and 64 random bits. Nobody without the key can foresee
it, and time, server and CPU make it another one than any before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.handshake.siphash import siphash64

SIZE = 8
VALUE_SIZE = 40
TURNS_MAX = 65_534
REVOKED = 65_535
"""The turn of a session that is revoked: no row is newer."""
_KIND = b"\x01"


@dataclass(frozen=True, slots=True)
class Row:
    """Who has a session. `turn`: how often it got a server; `expires`: in any unit.

    `server` is None for a session that is revoked.
    """

    turn: int
    server: IPv4Address | None
    expires: int


def made(key: bytes, wall_ns: int, server: IPv4Address, cpu: int, iss: int, irs: int,
         random: int) -> bytes:  # fmt: skip
    """A new identifier. key: of the day; random: of 64 bits."""
    message = wall_ns.to_bytes(8, "little") + server.packed + cpu.to_bytes(4, "little")
    message += irs.to_bytes(4, "little") + iss.to_bytes(4, "little") + random.to_bytes(8, "little")
    return siphash64(key, message).to_bytes(SIZE, "little")


def encode(identity: bytes, day: int, key: bytes) -> str:
    """The cookie's value under the key of its day, of 16 bytes."""
    said = day.to_bytes(4, "big")
    return (identity + _tag(identity, said, key) + said).hex()


def decode(text: str, keys: Mapping[int, bytes]) -> tuple[bytes, int] | None:
    """Identifier and day; None for a value that none of the days' keys made. keys: by day."""
    if len(text) != VALUE_SIZE or not set(text) <= set("0123456789abcdef"):
        return None
    raw = bytes.fromhex(text)
    identity, tag, day = raw[:SIZE], raw[SIZE : 2 * SIZE], raw[2 * SIZE :]
    key = keys.get(int.from_bytes(day, "big"))
    if key is None or not any(identity) or _tag(identity, day, key) != tag:
        return None
    return identity, int.from_bytes(day, "big")


def is_newer(told: Row, known: Row) -> bool:
    """Whether `told` takes the place of `known`: all servers say the same of any two rows.

    The higher turn wins. Two servers that have decided at once have made the same turn: then the
    higher address wins. The same row again counts if it lives longer.
    """
    return _rank(told) > _rank(known)


def next_turn(turn: int) -> int:
    """The turn of a session that is given another server."""
    return min(turn + 1, TURNS_MAX)


def _rank(row: Row) -> tuple[int, int, int]:
    return row.turn, int(row.server) if row.server else 0, row.expires


def _tag(identity: bytes, day: bytes, key: bytes) -> bytes:
    return siphash64(key, identity + day + _KIND).to_bytes(8, "little")
