# SPDX-License-Identifier: Apache-2.0
"""Counts the pieces of the hold pool that the agent gave back, by the client network that had them.

The data plane counts in `hold_used` what each network holds, and the agent in `hold_returned` what
it has given back itself. Each map has one writer, so no addition is lost, and the difference is
exact, however many CPUs add at once.
"""

import struct
import sys
from collections import Counter

from ipos.abi.layout import constant
from ipos.handshake.siphash import siphash64
from ipos.kernel.libbpf.map_store import Map

SLOTS = constant("IPOS_SHARES")
ALL = constant("IPOS_SHARES_ALL")
NETWORK_BITS = 24


def slots(key: int, client_ip: bytes) -> tuple[int, int, int]:
    """The slots of a client's network, and the slot of all. key: `vouch` of the settings."""
    network = int.from_bytes(client_ip, "big") >> 32 - NETWORK_BITS
    hashed = siphash64(struct.pack("<QQ", key, 0), network.to_bytes(4, "little"))
    return hashed % SLOTS, SLOTS + (hashed >> 32) % SLOTS, ALL


class Shares:
    """Counts pieces that go back; `book` writes the sums."""

    def __init__(self, returned: Map) -> None:
        self._returned = returned
        self._pieces: Counter[int] = Counter()

    def returns(self, key: int, client_ip: bytes, pieces: int) -> None:
        for slot in slots(key, client_ip):
            self._pieces[slot] += pieces

    def book(self) -> None:
        for slot, pieces in self._pieces.items():
            where = slot.to_bytes(4, sys.byteorder)
            found = int.from_bytes(self._returned.get(where) or bytes(4), sys.byteorder)
            total = (found + pieces) % 2**32
            self._returned.update(where, total.to_bytes(4, sys.byteorder))
        self._pieces.clear()
