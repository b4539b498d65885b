# SPDX-License-Identifier: Apache-2.0
"""Rows of the Cookie map, sent to the other agents on the port of the state datagrams.

    offset  size
    0       1     "C"; a state datagram has its version here
    1       8     when it was sent, milliseconds since 1970
    9       18 n  rows: hash 8, service port 2, first address of the server 4, and how long it lives
                  4, in milliseconds (0: forgotten)
    9+18n   16    tag: BLAKE2b (RFC 7693), keyed with the farm's state key, over all before it

All numbers are big-endian. The data plane tells a new row by a frame, which comes first and may be
lost; what it told lies in a queue for us. A server that begins, or is heard again after a silence,
is given the whole map by the one of the others with the lowest back address. Of two rows for one
cookie the one that lives longer is the newer one.
"""

import struct
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import islice
from typing import Protocol

from ipos.abi.layout import layout
from ipos.agent.heartbeat import datagram_tags
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE, Key
from ipos.agent.heartbeat.message import PORT

Send = Callable[[bytes, tuple[str, int]], None]

KIND = b"C"
CLOCK_MS = 5_000
"""How far a sender's clock may be from ours, as for state datagrams."""
ROWS_MAX = 72
NEWS_MAX = 2_000
"""Rows that one tick takes from the queue, and of a whole map."""
_HEAD = struct.Struct(">cQ")
_ROW = struct.Struct(">8sHII")
_MS = 1_000_000
_LIFE_MAX_MS = 0xFFFF_FFFF

_KEY = layout("ipos_cookie_key")
_VALUE = layout("ipos_cookie")
_NEWS = layout("ipos_cookie_news")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One row as it travels. `life_ms` 0: forgotten."""

    hash: bytes
    port: int
    server: IPv4Address
    life_ms: int


class Map(Protocol):
    """The methods of a kernel's map that are used here."""

    def get(self, key: bytes) -> bytes | None: ...
    def update(self, key: bytes, value: bytes, /) -> bool: ...
    def delete(self, key: bytes) -> bool: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...
    def pop(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server that is heard now. `boot` is when its agent started."""

    back_ip: IPv4Address
    boot: int


def encode(rows: Sequence[Cookie], sent_ms: int, key: Key) -> bytes:
    body = _HEAD.pack(KIND, sent_ms) + b"".join(
        _ROW.pack(row.hash, row.port, int(row.server), row.life_ms) for row in rows
    )
    return body + datagram_tags.tag(body, key)


def decode(datagram: bytes, now_ms: int, key: Key) -> list[Cookie] | None:
    """The rows of an authentic datagram of these seconds, None for any other."""
    body, tag = datagram[:-TAG_SIZE], datagram[-TAG_SIZE:]
    size = len(body) - _HEAD.size
    if size < 0 or size % _ROW.size or not datagram_tags.is_right(body, tag, key):
        return None
    kind, sent_ms = _HEAD.unpack_from(body)
    if kind != KIND or abs(now_ms - sent_ms) > CLOCK_MS:
        return None
    return [
        Cookie(hash_, port, IPv4Address(server), life_ms)
        for hash_, port, server, life_ms in _ROW.iter_unpack(body[_HEAD.size :])
    ]


@dataclass(slots=True)
class CookieGossip:
    """Sends and takes in rows. `cookies` and `news` are maps; `send` may lose a datagram.

    identified: is given the news of rows that are those of identified sessions.
    """

    cookies: Map
    news: Map
    key: Key
    me: IPv4Address
    send: Send
    identified: Callable[[dict[str, int], dict[str, int]], None] = lambda key, row: None
    _boots: dict[IPv4Address, int] = field(default_factory=dict)
    _giving: list[tuple[IPv4Address, Iterator[tuple[bytes, bytes]]]] = field(default_factory=list)

    def tick(self, peers: Collection[Peer], now_ns: int, now_ms: int) -> None:
        """Send new rows to all servers, and a part of the map to those that have started."""
        fresh: list[Cookie] = []
        for _ in range(NEWS_MAX):
            raw = self.news.pop()
            if raw is None:
                break
            said = _NEWS.unpack(raw)
            if said["row"]["turn"]:
                self.identified(said["key"], said["row"])
            else:
                fresh.append(_cookie(said["key"], said["row"], now_ns))
        self._tell(fresh, [peer.back_ip for peer in peers], now_ms)
        self._welcome(peers)
        for giving in list(self._giving):
            to, rest = giving
            some = [(_KEY.unpack(key), _VALUE.unpack(row)) for key, row in islice(rest, NEWS_MAX)]
            found = [_cookie(key, row, now_ns) for key, row in some if not row["turn"]]
            self._tell([row for row in found if row.life_ms], [to], now_ms)
            if len(some) < NEWS_MAX:
                self._giving.remove(giving)

    def receive(self, datagram: bytes, now_ns: int, now_ms: int) -> bool:
        """Take in the rows of another server; False for a datagram of another kind."""
        if datagram[:1] != KIND:
            return False
        for row in decode(datagram, now_ms, self.key) or []:
            self._hear(row, now_ns)
        return True

    def _hear(self, row: Cookie, now_ns: int) -> None:
        key = _KEY.pack({"hash": int.from_bytes(row.hash, sys.byteorder), "service_port": row.port})
        if not row.life_ms:
            self.cookies.delete(key)
            return
        expires_ns = now_ns + row.life_ms * _MS
        known = self.cookies.get(key)
        if known is None or _VALUE.unpack(known)["expires_ns"] < expires_ns:
            self.cookies.update(
                key, _VALUE.pack({"server_ip": int(row.server), "expires_ns": expires_ns})
            )

    def _welcome(self, peers: Collection[Peer]) -> None:
        """Choose the servers that this one sends the whole map: those that have started since.

        One server sends it. A server that was not heard for a while has missed rows, and counts as
        started.
        """
        before = self._boots
        self._boots = {peer.back_ip: peer.boot for peer in peers}
        for peer in peers:
            begun = before.get(peer.back_ip) != peer.boot
            others = [other.back_ip for other in peers if other != peer]
            if begun and all(self.me < other for other in others):
                self._giving.append((peer.back_ip, self.cookies.items()))

    def _tell(self, rows: Sequence[Cookie], to: Sequence[IPv4Address], now_ms: int) -> None:
        for start in range(0, len(rows), ROWS_MAX):
            datagram = encode(rows[start : start + ROWS_MAX], now_ms, self.key)
            for address in to:
                self.send(datagram, (str(address), PORT))


def _cookie(key: dict[str, int], row: dict[str, int], now_ns: int) -> Cookie:
    life_ms = min(max(row["expires_ns"] - now_ns, 0) // _MS, _LIFE_MAX_MS)
    return Cookie(
        key["hash"].to_bytes(8, sys.byteorder),
        key["service_port"],
        IPv4Address(row["server_ip"]),
        life_ms,
    )
