# SPDX-License-Identifier: Apache-2.0
"""Rows into the pinned maps: only what has changed, nothing away before its time.

An agent that starts finds the rows of the one before it. They are the truth until it has heard
the others itself, so rows that its plan does not have are removed only when it is told to.
"""

import dataclasses
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TypeVar

from ipos.agent.plan import Rows
from ipos.agent.urls import UrlMap
from ipos.agent.urlwriter import UrlWriter
from ipos.inic import rows
from ipos.inic.layout import layout
from ipos.inic.maps import Table, Tables

K = TypeVar("K")
V = TypeVar("V")

NO_SERVER = bytes(layout("ipos_server").size)
_BACK_IP = layout("ipos_server").field("back_ip").offset
NO_SERVICE = rows.Service(0, rows.Select.REQUEST, 0, 0, IPv4Address(0), 0, used=False)
NO_SESSION = rows.Session()


class Writer:
    """The agent's hand on the maps it alone writes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._urls = UrlWriter(tables)
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
        self._slots: dict[int, bytes] = {
            key // rows.SLOTS_BLOCKS: b"" for key, _ in tables.slots.items()
        }
        self._addresses = dict(tables.addresses.items())
        self._names = dict(tables.names.items())
        self._redirects = dict(tables.redirects.items())
        self._members = dict(tables.members.items())
        self._deny = dict(tables.deny.items())

    def known_servers(self) -> dict[IPv4Address, int]:
        """Back address -> index of the servers that have a row."""
        return {
            IPv4Address(row[_BACK_IP : _BACK_IP + 4]): index for index, row in self._servers.items()
        }

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
        """Make the maps say this. Without `prune`, other rows stay, and so do the rules and
        services of an agent before us: their new pools may lack servers we have not heard yet.

        In an order that never points at what is not there yet: servers before pools before the
        rules, services and addresses that lead to them. Pools that nothing leads to any more stay
        until `tidy`, for the requests that are being decided.
        """
        tables = self._tables
        _put(tables.deny, self._deny, wanted.deny)
        _put(tables.server_rows, self._servers, wanted.servers)
        _put(tables.members, self._members, wanted.members)
        for index, slots in wanted.slots.items():
            if self._slots.get(index) != slots:
                self._put_slots(index, slots)
        self.pools(
            wanted.pools
            if prune
            else {
                index: self._with_unheard(index, pool, wanted)
                for index, pool in wanted.pools.items()
            }
        )
        self._judging |= prune
        _put(tables.redirects, self._redirects, wanted.redirects)
        _put(tables.names, self._names, wanted.names)
        if self._judging:
            self._urls.switch()
            _put(tables.sessions, self._sessions, wanted.sessions)
            _put(tables.services, self._services, wanted.services)
        _put(tables.addresses, self._addresses, wanted.addresses)
        if prune:
            self._prune(wanted)

    def _put_slots(self, pool: int, slots: bytes) -> None:
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
        return dataclasses.replace(pool, candidates=tuple(together))

    def tidy(self) -> None:
        """Empty the pools that the last `write` left without a use; a moment later."""
        for index in self._idle:
            self._tables.pools.put(index, rows.Pool(rows.Policy.LEAST_LOADED, ()))
            del self._pools[index]
        for index in self._idle_slots:
            for number in range(rows.SLOTS_BLOCKS):
                self._tables.slots.delete(index * rows.SLOTS_BLOCKS + number)
            del self._slots[index]
        self._idle, self._idle_slots = set(), set()

    def _prune(self, wanted: Rows) -> None:
        tables = self._tables
        _drop(tables.deny, self._deny, wanted.deny)
        _drop(tables.addresses, self._addresses, wanted.addresses)
        for index in self._services.keys() - wanted.services.keys():
            tables.services.put(index, NO_SERVICE)
            del self._services[index]
        for index in self._sessions.keys() - wanted.sessions.keys():
            tables.sessions.put(index, NO_SESSION)
            del self._sessions[index]
        _drop(tables.names, self._names, wanted.names)
        _drop(tables.redirects, self._redirects, wanted.redirects)
        self._idle = self._pools.keys() - wanted.pools.keys()
        self._idle_slots = self._slots.keys() - wanted.slots.keys()
        _drop(tables.members, self._members, wanted.members)
        for index in self._servers.keys() - wanted.servers.keys():
            tables.server_rows.put(index, NO_SERVER)
            del self._servers[index]


def _still(pool: rows.Pool) -> rows.Pool:
    """A pool as we write it: the turn is the data plane's."""
    return dataclasses.replace(pool, turn=0)


def _put(table: Table[K, V], written: dict[K, V], wanted: Mapping[K, V]) -> None:
    for key, row in wanted.items():
        if written.get(key) != row:
            table.put(key, row)
            written[key] = row


def _drop(table: Table[K, V], written: dict[K, V], wanted: Mapping[K, V]) -> None:
    for key in written.keys() - wanted.keys():
        table.delete(key)
        del written[key]
