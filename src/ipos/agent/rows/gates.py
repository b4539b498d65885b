# SPDX-License-Identifier: Apache-2.0
"""Gates of the data plane: which look-ups it need not make for a packet that is not ours.

A gate is open before the first row that it leads to is written. The gate of denied networks closes
when the last row has gone. A port or an address that was a service's once stays open for as long as
this data plane is loaded: its connections may live longer than the service, and their rows are the
data plane's own.
"""

import dataclasses
from collections.abc import Iterable

from ipos.abi import rows
from ipos.abi.families import AnyAddressKey
from ipos.abi.layout import constant
from ipos.ip_family import Address
from ipos.kernel.maps import Tables

_ALL_PORTS = b"\xff" * constant("IPOS_GATE_PORTS")
_ALL_ADDRESSES = b"\xff" * constant("IPOS_GATE_ADDRESSES")


def kind_of(address: Address) -> int:
    """Which bit of `foreign_addresses` is an address's. The words of an IPv6 address are taken for
    one."""
    number, word = int(address), 0
    while number:
        word, number = word ^ number & 0xFFFF_FFFF, number >> 32
    return word * constant("IPOS_GATE_MIX") % 2**32 >> 19


class Gates:
    """Writes the map `gates`."""

    def __init__(self, tables: Tables) -> None:
        self._table = tables.gates
        self._now = tables.gates.get(0) or rows.Gates()

    def open(
        self, services: Iterable[AnyAddressKey], *, denies: bool, denies6: bool = False
    ) -> None:
        """Open what rows need, before they are written: services at these addresses, denied
        networks."""
        # Without a single foreign port it was never written, and no service was served yet.
        is_new = not any(self._now.foreign_ports)
        ports = bytearray(_ALL_PORTS if is_new else self._now.foreign_ports)
        addresses = bytearray(_ALL_ADDRESSES if is_new else self._now.foreign_addresses)
        for service in services:
            _clear(ports, service.port)
            _clear(addresses, kind_of(service.ip))
        deny_empty = self._now.deny_empty and not denies
        deny6_empty = self._now.deny6_empty and not denies6
        self._put(rows.Gates(bytes(ports), bytes(addresses), deny_empty, deny6_empty))

    def close(self, *, denies: bool, denies6: bool = False) -> None:
        """Close what no row needs, after rows have gone."""
        self._put(dataclasses.replace(self._now, deny_empty=not denies, deny6_empty=not denies6))

    def _put(self, wanted: rows.Gates) -> None:
        if wanted != self._now:
            self._table.put(0, wanted)
            self._now = wanted


def _clear(bits: bytearray, number: int) -> None:
    bits[number >> 3] &= ~(1 << (number & 7))
