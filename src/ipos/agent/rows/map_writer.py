# SPDX-License-Identifier: Apache-2.0
"""Writes rows into the pinned maps: only what has changed, and removes nothing too early.

An agent that starts finds the rows of the one before it. They hold until it has heard the other
servers itself, so rows that its plan does not have are removed only when it is told to.
"""

import dataclasses
import errno
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TypeVar

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.families import AnyAddressKey, AnyPrefix
from ipos.abi.layout import layout
from ipos.agent.rows.desired import Rows
from ipos.agent.rows.gates import Gates
from ipos.agent.rows.pools import pool_row
from ipos.agent.rows.url_rows import UrlMap
from ipos.agent.rows.url_writer import UrlWriter
from ipos.errors import IposError
from ipos.kernel.libbpf.errors import MapError
from ipos.kernel.maps import Table, Tables

K = TypeVar("K")
V = TypeVar("V")
P = TypeVar("P", rows.Prefix, rows.Prefix6)

NO_SERVER = bytes(layout("ipos_server").size)
_SERVER = Codec(rows.Server)
_BACK_IP = layout("ipos_server").field("back_ip").offset
NO_SERVICE = rows.Service()
NO_SESSION = rows.Session()


class Writer:
    """Writes the maps that only the agent writes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._urls = UrlWriter(tables)
        self._gates = Gates(tables)
        self._idle: set[int] = set()
        self._idle_slots: set[int] = set()
        self._servers = {
            index: row for index, row in tables.server_rows.items() if row != NO_SERVER
        }
        self._services = {index: row for index, row in tables.services.items() if row.used}
        self._judging = not self._services
        self._pools = {
            index: _still(pool) for index, pool in tables.pools.items() if pool.candidates
        }
        self._sessions = {index: row for index, row in tables.sessions.items() if row != NO_SESSION}
        self._slots: dict[int, tuple[int, ...]] = {
            key // rows.SLOTS_BLOCKS: () for key, _ in tables.slots.items()
        }
        self._addresses = dict(tables.addresses.items())
        self._names = dict(tables.names.items())
        self._numbers = dict(tables.quic_numbers.items())
        self._redirects = dict(tables.redirects.items())
        self._members = dict(tables.members.items())
        self._deny = dict(tables.deny.items())
        self._addresses6: dict[rows.AddressKey6, rows.Address] = {}
        self._deny6: dict[rows.Prefix6, int] = {}
        self._identities: dict[rows.Identity, int] = {}
        self._has_six = False
        self.find_six()

    def find_six(self) -> bool:
        """Whether the maps of IPv6 are there; what they hold is read when they are found first."""
        if not self._has_six and self._tables.has_six:
            self._addresses6 = dict(self._tables.six.addresses.items())
            self._deny6 = dict(self._tables.six.deny.items())
            self._identities = dict(self._tables.six.identities.items())
            self._has_six = True
        return self._has_six

    def known_servers(self) -> dict[IPv4Address, int]:
        """Back address -> index of the servers that have a row."""
        return {
            IPv4Address(row[_BACK_IP : _BACK_IP + 4]): index for index, row in self._servers.items()
        }

    def found_servers(self) -> dict[int, rows.Server]:
        """Their rows, by index."""
        return {index: _SERVER.decode(row) for index, row in self._servers.items()}

    def servers(self, said: Mapping[int, bytes]) -> None:
        """Rows of Server state, which change ten times a second."""
        self._servers |= said
        self._tables.server_rows.put_all(said)

    def pools(self, wanted: Mapping[int, rows.Pool]) -> None:
        """Pools alone: while servers are starting these change, and nothing else does."""
        for index, pool in wanted.items():
            if self._pools.get(index) != pool:
                found = self._tables.pools.get(index)
                turn = found.turn if found is not None else 0
                self._tables.pools.put(index, dataclasses.replace(pool, turn=turn))
                self._pools[index] = pool

    def prepare(self, wanted: UrlMap) -> None:
        """Have a URL map ready for the next `write`. MapError when it has no room."""
        self._urls.prepare(wanted)

    def write(self, wanted: Rows, *, prune: bool) -> None:
        """Write these rows into the maps.

        Without `prune`, other rows stay, and so do the rules and services of an earlier agent:
        their new pools may lack servers that were not heard yet.

        What the kernel refuses holds back nothing else: NotInForce, at the end, says what it was.
        In an order that never points at what is not there yet: servers before pools before the
        rules, services and addresses that lead to them. Pools that nothing leads to any more stay
        until `tidy`, because requests are being decided by them.
        """
        left = Left()
        self._put_all(wanted, left, prune=prune)
        if prune:
            with left.of("rows that are no longer wanted"):
                self._prune(wanted)
            if left:  # there may be room now
                left = Left()
                self._put_all(wanted, left, prune=prune)
                with left.of("rows that are no longer wanted"):
                    self._prune(wanted)
        with left.of("gates"):
            self._gates.close(denies=bool(self._deny), denies6=bool(self._deny6))
        left.tell()

    def _put_all(self, wanted: Rows, left: "Left", *, prune: bool) -> None:
        tables = self._tables
        with left.of("gates"):
            self._gates.open(
                {*wanted.addresses, *self._addresses, *wanted.addresses6, *self._addresses6},
                denies=bool(wanted.deny or self._deny),
                denies6=bool(wanted.deny6 or self._deny6),
            )
        left.put("denied networks", tables.deny, self._deny, wanted.deny)
        if self._has_six:
            left.put("denied networks of IPv6", tables.six.deny, self._deny6, wanted.deny6)
        left.put("servers", tables.server_rows, self._servers, wanted.servers)
        if self._has_six:
            known = self._identities
            left.put("names of servers", tables.six.identities, known, wanted.identities)
        left.put("MAC addresses of servers", tables.members, self._members, wanted.members)
        for index, slots in wanted.slots.items():
            if self._slots.get(index) != slots:
                with left.of("tables of source-hash pools"):
                    self._put_slots(index, slots)
        with left.of("pools"):
            self.pools(
                wanted.pools
                if prune
                else {
                    index: self._with_unheard(index, pool, wanted)
                    for index, pool in wanted.pools.items()
                }
            )
        self._judging |= prune
        left.put("redirects", tables.redirects, self._redirects, wanted.redirects)
        left.put("servers' numbers", tables.quic_numbers, self._numbers, wanted.quic_numbers)
        left.put("servers' own names", tables.names, self._names, wanted.names)
        if self._judging:
            with left.of("routes"):
                self._urls.switch()
            left.put("sessions", tables.sessions, self._sessions, wanted.sessions)
            left.put("services", tables.services, self._services, wanted.services)
        left.put("service addresses", tables.addresses, self._addresses, wanted.addresses)
        if self._has_six:
            left.put("IPv6 addresses", tables.six.addresses, self._addresses6, wanted.addresses6)

    def _put_slots(self, pool: int, slots: tuple[int, ...]) -> None:
        """Block by block: for a moment some clients go by the old table and some by the new."""
        for number in range(rows.SLOTS_BLOCKS):
            block = slots[number * rows.SLOTS_BLOCK : (number + 1) * rows.SLOTS_BLOCK]
            self._tables.slots.put(pool * rows.SLOTS_BLOCKS + number, rows.Slots(block))
        self._slots[pool] = slots

    def _with_unheard(self, index: int, pool: rows.Pool, wanted: Rows) -> rows.Pool:
        """A pool with the candidates it has already whose servers have not spoken yet."""
        found = self._pools.get(index, pool).candidates
        silent = [one for one in found if one.server not in wanted.servers]
        together = sorted((*pool.candidates, *silent), key=lambda one: one.server)
        return pool_row(pool.policy, together, pool.firsts)

    def tidy(self) -> None:
        """Empty the pools that the last `write` left without a use; a moment later."""
        for index in self._idle:
            self._tables.pools.put(index, rows.Pool())
            del self._pools[index]
        for index in self._idle_slots:
            for number in range(rows.SLOTS_BLOCKS):
                self._tables.slots.delete(index * rows.SLOTS_BLOCKS + number)
            del self._slots[index]
        self._idle, self._idle_slots = set(), set()

    def _prune(self, wanted: Rows) -> None:
        tables = self._tables
        _drop(tables.deny, self._deny, _needed(self._deny, wanted.deny))
        _drop(tables.addresses, self._addresses, wanted.addresses)
        if self._has_six:
            _drop(tables.six.deny, self._deny6, _needed(self._deny6, wanted.deny6))
            _drop(tables.six.addresses, self._addresses6, wanted.addresses6)
            _drop(tables.six.identities, self._identities, wanted.identities)
        for index in self._services.keys() - wanted.services.keys():
            tables.services.put(index, NO_SERVICE)
            del self._services[index]
        for index in self._sessions.keys() - wanted.sessions.keys():
            tables.sessions.put(index, NO_SESSION)
            del self._sessions[index]
        _drop(tables.names, self._names, wanted.names)
        _drop(tables.quic_numbers, self._numbers, wanted.quic_numbers)
        _drop(tables.redirects, self._redirects, wanted.redirects)
        self._idle = self._pools.keys() - wanted.pools.keys()
        self._idle_slots = self._slots.keys() - wanted.slots.keys()
        _drop(tables.members, self._members, wanted.members)
        for index in self._servers.keys() - wanted.servers.keys():
            tables.server_rows.put(index, NO_SERVER)
            del self._servers[index]


class NotInForce(IposError):
    """Rows that the kernel did not take; all others are as they should be."""


class Left:
    """What one call could not write, by kind of row."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[int, str, str]] = {}

    def put(
        self, what: str, table: Table[K, V], written: dict[K, V], wanted: Mapping[K, V]
    ) -> None:
        """Write the rows that differ. One that is refused holds back none of the rest."""
        is_full = False
        for key, row in wanted.items():
            if written.get(key) == row:
                continue
            if is_full and key not in written:  # a row that is there takes no room
                self._add(what, key, "")
                continue
            try:
                table.put(key, row)
                written[key] = row
            except MapError as error:
                is_full |= error.errno in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM)
                self._add(what, key, str(error))

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """The same for what is written in another way."""
        try:
            yield
        except MapError as error:
            self._add(what, None, str(error))

    def tell(self) -> None:
        """NotInForce when there is any."""
        if self._left:
            raise NotInForce(
                "not in force: "
                + "; ".join(
                    f"{f'{count} ' if count > 1 else ''}{what}{first}, because {why}"
                    for what, (count, first, why) in self._left.items()
                )
            )

    def __bool__(self) -> bool:
        return bool(self._left)

    def _add(self, what: str, key: object, why: str) -> None:
        count, first, known = self._left.get(what, (0, _shown(key), why))
        self._left[what] = count + 1, first, known or why


def _still(pool: rows.Pool) -> rows.Pool:
    """A pool's row without its turn, which the data plane writes."""
    return dataclasses.replace(pool, turn=0)


def _needed(written: Mapping[P, int], wanted: Mapping[P, int]) -> set[P]:
    """The denied networks that must stay: those wanted, and those that cover one not yet there.

    A network that is denied before and after is so at every moment between.
    """
    lengths = {key.prefix_len for key in written}
    covering = {
        (length, _bits(key, length))
        for key in wanted
        if key not in written
        for length in lengths
        if length < key.prefix_len
    }
    return {
        key
        for key in written
        if key in wanted or (key.prefix_len, _bits(key, key.prefix_len)) in covering
    }


def _bits(key: AnyPrefix, length: int) -> int:
    """The first bits of a network."""
    return int(key.ip) >> key.ip.max_prefixlen - length


def _shown(key: object) -> str:
    """A row's key as an example in a sentence, where it is one that people know."""
    if isinstance(key, AnyPrefix):
        return f" ({key.ip}/{key.prefix_len})"
    return f" ({key.ip}:{key.port})" if isinstance(key, AnyAddressKey) else ""


def _drop(table: Table[K, V], written: dict[K, V], wanted: Collection[K]) -> None:
    for key in written.keys() - set(wanted):
        table.delete(key)
        del written[key]
