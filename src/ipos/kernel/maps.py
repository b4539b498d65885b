# SPDX-License-Identifier: Apache-2.0
"""The tables of a running data plane as typed rows.

Every map is opened from its pin, when it is first used: this needs neither the agent nor the
process that loaded the data plane. `lib/maps.h` says which side writes each map, and what happens
when one is full.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.layout import Counter, header, layout
from ipos.kernel import loading
from ipos.kernel.maps6 import Tables6
from ipos.kernel.tallies import Tallies
from ipos.kernel.typed_tables import (
    Coding,
    Hosts,
    Index,
    Mac,
    Member,
    PerCpuTable,
    Raw,
    Store,
    Table,
)

V = TypeVar("V")


def _open_pinned(path: Path) -> Store:
    from ipos.kernel.libbpf.map_store import Map

    return Map.open(path)


class Tables:
    """All maps under one pin directory. Opening one that is not there raises PinError."""

    def __init__(self, directory: Path, opener: Callable[[Path], Store] = _open_pinned) -> None:
        """`directory` holds the pinned maps by name."""
        self.directory = directory
        self._opener = opener

    def _open(self, name: str) -> Store:
        return self._opener(self.directory / name)

    def _array(self, name: str, codec: Codec[V]) -> Table[int, V]:
        return Table(self._open(name), Index(), codec)

    def _connections(self, name: str, codec: Codec[V]) -> Table[rows.Tuple, V]:
        return Table(self._open(name), Codec(rows.Tuple), codec)

    @functools.cached_property
    def settings(self) -> Table[int, rows.Settings]:
        return self._array("settings", Codec(rows.Settings))

    @functools.cached_property
    def tag_keys(self) -> Table[int, rows.TagKeys]:
        return self._array("tag_keys", Codec(rows.TagKeys))

    @functools.cached_property
    def cookie_keys(self) -> Table[int, rows.EpochKey]:
        return self._array("cookie_keys", Codec(rows.EpochKey))

    @functools.cached_property
    def cookie_key_rows(self) -> Table[int, bytes]:
        """The rows of `cookie_keys` as the map has them."""
        return Table(self._open("cookie_keys"), Index(), Raw())

    @functools.cached_property
    def session_keys(self) -> Table[int, rows.EpochKey]:
        return self._array("session_keys", Codec(rows.EpochKey))

    @functools.cached_property
    def sessions(self) -> Table[int, rows.Session]:
        """By the index of the service."""
        return self._array("sessions", Codec(rows.Session))

    @functools.cached_property
    def cookies(self) -> Table[rows.CookieKey, rows.Cookie]:
        """The Cookie map: which server has the session of a learned cookie."""
        return Table(
            self._open("cookies"),
            Codec(rows.CookieKey),
            Codec(rows.Cookie),
        )

    @functools.cached_property
    def names(self) -> Table[rows.NameKey, int]:
        """A server's own name in a service to its index."""
        return Table(self._open("names"), Codec(rows.NameKey), Index())

    @functools.cached_property
    def quic_numbers(self) -> Table[rows.QuicNumber, int]:
        """A server's number in connection IDs to its index."""
        return Table(self._open("quic_numbers"), Codec(rows.QuicNumber), Index())

    @functools.cached_property
    def redirects(self) -> Table[rows.RedirectKey, rows.Redirect]:
        return Table(
            self._open("redirects"),
            Codec(rows.RedirectKey),
            Codec(rows.Redirect),
        )

    @functools.cached_property
    def servers(self) -> Table[int, rows.Server]:
        return self._array("servers", Codec(rows.Server))

    @functools.cached_property
    def server_rows(self) -> Table[int, bytes]:
        """The rows of `servers` as the map has them."""
        return Table(self._open("servers"), Index(), Raw())

    @functools.cached_property
    def services(self) -> Table[int, rows.Service]:
        return self._array("services", Codec(rows.Service))

    @functools.cached_property
    def pools(self) -> Table[int, rows.Pool]:
        return self._array("pools", Codec(rows.Pool))

    @functools.cached_property
    def slots(self) -> Table[int, rows.Slots]:
        """The source-hash tables of pools, in blocks."""
        return self._array("slots", Codec(rows.Slots))

    def slots_of(self, pool: int) -> tuple[int, ...]:
        """The server's index for each slot of a pool's source-hash table; empty without one."""
        first = pool * rows.SLOTS_BLOCKS
        blocks = [self.slots.get(first + number) for number in range(rows.SLOTS_BLOCKS)]
        whole = [server for block in blocks if block is not None for server in block.servers]
        return tuple(whole[: rows.SLOTS]) if len(whole) >= rows.SLOTS else ()

    @functools.cached_property
    def url_bank(self) -> Table[int, int]:
        """One element: which bank of the URL map requests look at, 0 or 1."""
        return Table(self._open("url_bank"), Index(), Index())

    @functools.cached_property
    def urls(self) -> Table[int, rows.Urls]:
        return self._array("urls", Codec(rows.Urls))

    @functools.cached_property
    def patterns(self) -> Table[int, rows.Pattern]:
        return self._array("patterns", Codec(rows.Pattern))

    @functools.cached_property
    def hosts(self) -> "Hosts":
        return Hosts(
            Table(self._open("hosts"), Codec(rows.HostKey, layout("ipos_host_key")), Index()),
            Table(
                self._open("short_hosts"),
                Codec(rows.HostKey, layout("ipos_short_host_key")),
                Index(),
            ),
        )

    @functools.cached_property
    def paths(self) -> Table[rows.PathKey, rows.Rule]:
        key = Codec(rows.PathKey)
        return Table(self._open("paths"), key, Codec(rows.Rule))

    @functools.cached_property
    def gates(self) -> Table[int, rows.Gates]:
        """One element: look-ups that the data plane need not make."""
        return self._array("gates", Codec(rows.Gates))

    @functools.cached_property
    def addresses(self) -> Table[rows.AddressKey, rows.Address]:
        return Table(
            self._open("addresses"),
            Codec(rows.AddressKey),
            Codec(rows.Address),
        )

    @functools.cached_property
    def six(self) -> Tables6:
        """Those that IPv6 has for itself; only where `has_six`."""
        return Tables6(self._open)

    @property
    def has_six(self) -> bool:
        """Whether the programs of IPv6 are loaded, and their maps are there."""
        return loading.has_six(self.directory.parent)

    @functools.cached_property
    def members(self) -> Table[bytes, int]:
        """Back MAC address to server index: the senders whose frames are believed."""
        return Table(self._open("members"), Mac(), Member())

    @functools.cached_property
    def forward(self) -> Table[rows.Tuple, rows.Forward]:
        return self._connections("forward", Codec(rows.Forward))

    @functools.cached_property
    def local(self) -> Table[rows.Tuple, rows.Endpoint]:
        return self._connections("local", Codec(rows.Endpoint))

    @functools.cached_property
    def connect(self) -> Table[rows.Tuple, rows.Endpoint]:
        """Forward-Connect: endpoints whose first server is another."""
        return self._connections("connect", Codec(rows.Endpoint))

    @functools.cached_property
    def temporary(self) -> Table[rows.Tuple, rows.Temporary]:
        return self._connections("temporary", Codec(rows.Temporary))

    @functools.cached_property
    def holding(self) -> Table[rows.Tuple, rows.Holding]:
        return self._connections("holding", Codec(rows.Holding))

    @functools.cached_property
    def udp_flows(self) -> Table[rows.Tuple, rows.Flow]:
        return self._connections("udp_flows", Codec(rows.Flow))

    @functools.cached_property
    def udp_new(self) -> Table[rows.Tuple, rows.Flow]:
        return self._connections("udp_new", Codec(rows.Flow))

    @functools.cached_property
    def deny(self) -> Table[rows.Prefix, int]:
        return Table(self._open("deny"), Codec(rows.Prefix), Index(1))

    @functools.cached_property
    def capture_until(self) -> Table[int, int]:
        """One element: until when frames are copied, boottime ns."""
        return Table(self._open("capture_until"), Index(), Index(8))

    @functools.cached_property
    def traffic(self) -> Table[int, rows.Traffic]:
        return self._array("traffic", Codec(rows.Traffic))

    @functools.cached_property
    def editions(self) -> Table[int, rows.Edition]:
        """By server index: the newest state of it that the agent has read whole."""
        return self._array("editions", Codec(rows.Edition))

    @functools.cached_property
    def tallies(self) -> Tallies:
        return Tallies(self._open)

    @functools.cached_property
    def _counters(self) -> PerCpuTable[int]:
        return PerCpuTable(self._open("counters"), Index(8))

    def counts(self, numbers: Iterable[int]) -> list[int]:
        """Some counters, summed over the CPUs."""
        return self._counters.totals(numbers)

    def counter(self, number: int) -> int:
        """One of them."""
        return self.counts((number,))[0]

    def counters(self) -> list[tuple[Counter, int]]:
        """Every named counter with its sum, in the header's order."""
        sums = {number: sum(values) for number, values in self._counters.items()}
        return [(counter, sums.get(counter.number, 0)) for counter in header().counters]


def switch(tables: Tables, flag: rows.SettingsFlags, *, on: bool) -> None:
    """Set or clear a flag of the settings, where there are any, and leave the rest."""
    settings = tables.settings.get(0)
    if settings is not None:
        flags = settings.flags | flag if on else settings.flags & ~flag
        tables.settings.put(0, replace(settings, flags=flags))


__all__ = [
    "Coding",
    "Hosts",
    "Index",
    "Mac",
    "Member",
    "PerCpuTable",
    "Raw",
    "Store",
    "Table",
    "Tables",
    "switch",
]
