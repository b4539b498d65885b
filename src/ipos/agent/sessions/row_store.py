# SPDX-License-Identifier: Apache-2.0
"""The rows of identified sessions in the Cookie map: read, and changed if what comes is newer.

The data plane writes the same map. Where both change one row at once, one of the two is lost here,
and the agent repeats the data plane's: what that has changed lies in its queue, too.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.abi.layout import layout
from ipos.agent.heartbeat.learned_cookies import Map
from ipos.agent.sessions.row_message import LIFE_MAX_MS, SessionRow
from ipos.selection import identities

_KEY = layout("ipos_cookie_key")
_VALUE = layout("ipos_cookie")
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A row with the key that it has in the map. expires_ns: boottime clock."""

    key: bytes
    identity: bytes
    port: int
    turn: int
    server: IPv4Address
    expires_ns: int

    @property
    def is_revoked(self) -> bool:
        return self.turn == identities.REVOKED


def key_of(identity: bytes, port: int) -> bytes:
    return _KEY.pack({"hash": int.from_bytes(identity, sys.byteorder), "service_port": port})


class RowStore:
    """`cookies`: the map, which has learned cookies, too."""

    def __init__(self, cookies: Map) -> None:
        self._map = cookies

    def get(self, key: bytes, now_ns: int) -> Entry | None:
        """None if there is no such session, or not any more."""
        raw = self._map.get(key)
        return None if raw is None else _entry(key, raw, now_ns)

    def all(self, now_ns: int) -> Iterator[Entry | None]:
        """One for each row of the map: None for a learned cookie, and for an expired session."""
        return (_entry(key, raw, now_ns) for key, raw in self._map.items())

    def put(self, entry: Entry) -> bool:
        """Whatever is there now."""
        value = {
            "server_ip": int(entry.server), "turn": entry.turn, "expires_ns": entry.expires_ns,
        }  # fmt: skip
        return self._map.update(entry.key, _VALUE.pack(value))

    def hear(self, told: Entry, now_ns: int) -> bool:
        """Take a row if it is newer. False if it should be there now and is not."""
        known = self.get(told.key, now_ns)
        if known is not None and not identities.is_newer(_rank(told), _rank(known)):
            return True
        return self.put(told)


def from_message(row: SessionRow, now_ns: int) -> Entry:
    key = key_of(row.identity, row.port)
    expires_ns = now_ns + row.life_ms * _MS
    return Entry(key, row.identity, row.port, row.turn, row.server, expires_ns)


def to_message(entry: Entry, now_ns: int) -> SessionRow:
    life_ms = min((entry.expires_ns - now_ns) // _MS, LIFE_MAX_MS)
    return SessionRow(entry.identity, entry.port, entry.turn, entry.server, life_ms)


def from_news(key: dict[str, int], row: dict[str, int]) -> Entry:
    """What the data plane says that it has changed."""
    identity = key["hash"].to_bytes(8, sys.byteorder)
    place = key_of(identity, key["service_port"])
    server = IPv4Address(row["server_ip"])
    return Entry(place, identity, key["service_port"], row["turn"], server, row["expires_ns"])


def _entry(key: bytes, raw: bytes, now_ns: int) -> Entry | None:
    row = _VALUE.unpack(raw)
    if not row["turn"] or row["expires_ns"] - now_ns < _MS:
        return None
    return from_news(_KEY.unpack(key), row)


def _rank(entry: Entry) -> identities.Row:
    return identities.Row(entry.turn, entry.server, entry.expires_ns)
