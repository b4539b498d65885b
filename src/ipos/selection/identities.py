# SPDX-License-Identifier: Apache-2.0
"""Identified sessions as agents read them: the identifier in a cookie's value, and which of two
rows is the newer one. Pure; `lib/cookie_turn.h` does the second in C.

`spec/requests/identified.py` states what a value is and when it is believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.handshake.siphash import siphash64

SIZE = 8
"""Bytes of an identifier."""
VALUE_SIZE = 40
TURNS_MAX = 65_534
REVOKED = 65_535
"""The turn of a session that is revoked: no row is newer."""


@dataclass(frozen=True, slots=True)
class Row:
    """Who has a session. `turn`: how often it got a server; `expires`: in any unit.

    `server` is None for a session that is revoked.
    """

    turn: int
    server: IPv4Address | None
    expires: int


def decode(text: str, keys: Mapping[int, bytes]) -> bytes | None:
    """The identifier in a value; None if none of the days' keys made it. keys: by day."""
    if len(text) != VALUE_SIZE or not set(text) <= set("0123456789abcdef"):
        return None
    raw = bytes.fromhex(text)
    identity, tag, day = raw[:SIZE], raw[SIZE : 2 * SIZE], raw[2 * SIZE :]
    key = keys.get(int.from_bytes(day, "big"))
    if key is None or not any(identity):
        return None
    made = siphash64(key, identity + day + b"\x01").to_bytes(8, "little")
    return identity if made == tag else None


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
