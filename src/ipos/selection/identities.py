# SPDX-License-Identifier: Apache-2.0
"""Which of two rows of one identified session is the newer one. Pure; `lib/cookie_turn.h` does the
same in C. `spec/requests/identified.py` states the value of the cookie.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

SIZE = 8
"""Bytes of an identifier."""
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
