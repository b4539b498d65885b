# SPDX-License-Identifier: Apache-2.0
"""Tells the other agents which rows of identified sessions have changed, until they have them.

The data plane tells a new row by a frame, before the response leaves; a frame may be lost. So each
row also goes to each server in a datagram, which is repeated until that server's agent says that it
has taken it. What is queued is the row's key, and what is sent is the row as it is then.

A server that begins is given all rows by the one of the others with the lowest back address, or by
the next one if that dies within half a minute. A server that was silent for a while and has not
begun is given all rows by everybody: it may have missed any of them.
"""

from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import islice

from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.learned_cookies import Peer, Send
from ipos.agent.heartbeat.message import PORT
from ipos.agent.sessions import row_message
from ipos.agent.sessions.row_message import ROWS_MAX
from ipos.agent.sessions.row_store import Entry, RowStore, from_message, to_message

WINDOW = 32
"""Datagrams to one server that it has not answered yet."""
LOOKED_MAX = 4_096
"""Rows of the map that are looked at in one tick, of those that are given to one server."""
WAITING_MAX = 16_384
"""Keys that wait for one server; with more of them it is given all rows."""
REPEAT_NS = 250_000_000
YOUNG_NS = 30_000_000_000


@dataclass(slots=True)
class _Audience:
    """What one other server is still to be told.

    `sent`: keys and the time, by datagram. `giving`: the rest of all rows, and `giving_told`: what
    had waited is among them.
    """

    boot: int
    since_ns: int
    was_away: bool
    waiting: dict[bytes, None] = field(default_factory=dict)
    sent: dict[int, tuple[tuple[bytes, ...], int]] = field(default_factory=dict)
    giving: Iterator[Entry | None] | None = None
    giving_told: bool = False
    given: bool = False

    def is_told(self, keys: Set[bytes]) -> bool:
        """Whether it has confirmed all of them. It takes one look at each key that is not told."""
        if self.giving is not None and self.giving_told:
            return False
        return keys.isdisjoint(self.waiting) and all(
            keys.isdisjoint(sent) for sent, _ in self.sent.values()
        )


class SessionNews:
    """`send` may lose a datagram. `number`: of the first datagram, one that was never used."""

    def __init__(self, rows: RowStore, key: Key, me: IPv4Address, send: Send, number: int) -> None:
        self._rows = rows
        self._key = key
        self._me = me
        self._send = send
        self._number = number
        self._audiences: dict[IPv4Address, _Audience] = {}
        self._boots: dict[IPv4Address, int] = {}

    def note(self, entry: Entry, now_ns: int) -> None:
        """Our data plane has changed a row."""
        self._rows.hear(entry, now_ns)
        self.tell(entry.key)

    def tell(self, key: bytes) -> None:
        """Tell all others the row of this key."""
        for audience in self._audiences.values():
            audience.waiting[key] = None

    def untold(self, keys: Set[bytes]) -> list[IPv4Address]:
        """The servers that have not said yet that they have all these rows."""
        return [
            address for address, audience in self._audiences.items() if not audience.is_told(keys)
        ]

    def tick(self, peers: Collection[Peer], now_ns: int, now_ms: int) -> None:
        """Send what is due to the servers that are heard now."""
        self._meet(peers, now_ns)
        lowest = sorted(self._audiences)
        for address, audience in self._audiences.items():
            is_young = now_ns - audience.since_ns < YOUNG_NS
            others = [other for other in lowest if other != address]
            mine = not others or self._me < others[0]
            if is_young and not audience.given and (mine or audience.was_away):
                self._give(audience, now_ns)
            if len(audience.waiting) > WAITING_MAX:
                self._give(audience, now_ns)
            self._repeat(address, audience, now_ns, now_ms)
            self._fill(address, audience, now_ns, now_ms)

    def receive(self, datagram: bytes, host: str, now_ns: int, now_ms: int) -> bool:
        """Take what another agent has sent; False for a datagram of another kind."""
        if datagram[:1] not in row_message.KINDS:
            return False
        told = row_message.decode(datagram, now_ms, self._key)
        if told is None:
            return True
        if told.is_answer:
            audience = self._audiences.get(IPv4Address(host))
            if audience is not None:
                audience.sent.pop(told.number, None)
            return True
        taken = [self._rows.hear(from_message(row, now_ns), now_ns) for row in told.rows]
        if all(taken):
            answer = row_message.encode_answer(told.number, now_ms, self._key)
            self._send(answer, (host, PORT))
        return True

    def _meet(self, peers: Collection[Peer], now_ns: int) -> None:
        heard = {peer.back_ip: peer.boot for peer in peers}
        for gone in self._audiences.keys() - heard.keys():
            del self._audiences[gone]
        for address, boot in heard.items():
            known = self._audiences.get(address)
            if known is None or known.boot != boot:
                was_away = self._boots.get(address) == boot
                self._audiences[address] = _Audience(boot, now_ns, was_away)
        self._boots.update(heard)

    def _give(self, audience: _Audience, now_ns: int) -> None:
        audience.given = True
        audience.giving_told = bool(audience.waiting) or (
            audience.giving is not None and audience.giving_told
        )
        audience.waiting.clear()
        audience.giving = self._rows.all(now_ns)

    def _repeat(self, to: IPv4Address, audience: _Audience, now_ns: int, now_ms: int) -> None:
        for number, (keys, sent_ns) in list(audience.sent.items()):
            if now_ns - sent_ns >= REPEAT_NS:
                self._tell(to, audience, number, keys, now_ns, now_ms)

    def _fill(self, to: IPv4Address, audience: _Audience, now_ns: int, now_ms: int) -> None:
        looked = iter(range(LOOKED_MAX))
        while len(audience.sent) < WINDOW:
            keys = _take(audience, looked)
            if not keys:
                return
            self._number += 1
            self._tell(to, audience, self._number, keys, now_ns, now_ms)

    def _tell(
        self,
        to: IPv4Address,
        audience: _Audience,
        number: int,
        keys: tuple[bytes, ...],
        now_ns: int,
        now_ms: int,
    ) -> None:
        """One datagram; rows that have gone meanwhile are not in it."""
        entries = [entry for key in keys if (entry := self._rows.get(key, now_ns)) is not None]
        if not entries:
            audience.sent.pop(number, None)
            return
        audience.sent[number] = keys, now_ns
        rows = [to_message(entry, now_ns) for entry in entries]
        self._send(row_message.encode_rows(number, rows, now_ms, self._key), (str(to), PORT))


def _take(audience: _Audience, looked: Iterator[int]) -> tuple[bytes, ...]:
    """The keys of the next datagram; none: nothing is to be told, or enough was looked at."""
    keys = list(islice(audience.waiting, ROWS_MAX))
    for key in keys:
        del audience.waiting[key]
    while audience.giving is not None and len(keys) < ROWS_MAX:
        if next(looked, None) is None:
            break
        for entry in audience.giving:
            if entry is not None:
                keys.append(entry.key)
            break
        else:
            audience.giving = None
    return tuple(keys)
