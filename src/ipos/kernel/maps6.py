# SPDX-License-Identifier: Apache-2.0
"""The tables that the data plane has a second time, for IPv6. All others are of both families."""

import functools
from collections.abc import Callable

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.kernel.typed_tables import Index, Member, Store, Table


class Tables6:
    """Each is called as the one of IPv4. Opening one that is not there raises PinError."""

    def __init__(self, opener: Callable[[str], Store]) -> None:
        """opener: opens a map by its name."""
        self._open = opener

    @functools.cached_property
    def addresses(self) -> Table[rows.AddressKey6, rows.Address]:
        return Table(self._open("addresses6"), Codec(rows.AddressKey6), Codec(rows.Address))

    @functools.cached_property
    def deny(self) -> Table[rows.Prefix6, int]:
        return Table(self._open("deny6"), Codec(rows.Prefix6), Index(1))

    @functools.cached_property
    def identities(self) -> Table[rows.Identity, int]:
        """The four bytes that name a server to its index: the one map that only IPv6 reads."""
        return Table(self._open("identities"), Codec(rows.Identity), Member())

    @functools.cached_property
    def forward(self) -> Table[rows.Tuple6, rows.Forward]:
        return Table(self._open("forward6"), Codec(rows.Tuple6), Codec(rows.Forward))

    @functools.cached_property
    def local(self) -> Table[rows.Tuple6, rows.Endpoint]:
        return Table(self._open("local6"), Codec(rows.Tuple6), Codec(rows.Endpoint))

    @functools.cached_property
    def connect(self) -> Table[rows.Tuple6, rows.Endpoint]:
        return Table(self._open("connect6"), Codec(rows.Tuple6), Codec(rows.Endpoint))

    @functools.cached_property
    def temporary(self) -> Table[rows.Tuple6, rows.Temporary]:
        return Table(self._open("temporary6"), Codec(rows.Tuple6), Codec(rows.Temporary))

    @functools.cached_property
    def holding(self) -> Table[rows.Tuple6, rows.Holding]:
        return Table(self._open("holding6"), Codec(rows.Tuple6), Codec(rows.Holding))
