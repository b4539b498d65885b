# SPDX-License-Identifier: Apache-2.0
"""A server's expiry, run by a test, and what is left of its hold pool and its tables."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ipos.abi.layout import layout
from ipos.agent.expiry import network_shares
from ipos.agent.expiry.expiry_rules import Limits
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.host import own_state
from ipos.agent.loop import grace
from ipos.handshake.keys import FarmKeys
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.pins import directory_name
from ipos.lab import namespaces
from tests.support.farm import (
    Farm,
    readable,
    wait_until,
)

_MS = 1_000_000
SHORT = Limits(
    offer_ns=700 * _MS,
    unattached_ns=200 * _MS,
    silent_ns=200 * _MS,
    owner_down_ns=300 * _MS,
    again_ns=0,
)
"""For what the configuration has no name for; header_timeout_ms and idle_s are the farm's."""


def maps_of(farm: Farm, server: str) -> dict[str, Map]:
    place = farm.lab.place(server)
    directory = place.pin_dir / directory_name(farm.lab.name, server) / "maps"
    names = ("hold_free", "hold_used", "hold_returned", "holding", "connect", "local", "roles")
    return {name: Map.open(directory / name) for name in names}


def free_pieces(farm: Farm, server: str) -> set[bytes]:
    """What the hold pool has, each piece once. Nothing may use it meanwhile."""
    queue = maps_of(farm, server)["hold_free"]
    pieces = []
    while (piece := queue.pop()) is not None:
        pieces.append(piece)
    for piece in pieces:
        queue.push(piece)
    assert len(set(pieces)) == len(pieces), "a piece was given back twice"
    held = len(held_pieces(farm, server))
    wait_until("the shares are booked", lambda: charged(farm, server) == held)
    return set(pieces)


def held_pieces(farm: Farm, server: str) -> list[int]:
    """Every piece that a held request has."""
    raw = maps_of(farm, server)["holding"].items()
    rows = [layout("ipos_holding").unpack(value) for _, value in raw]
    return [chunk for row in rows for chunk in row["chunks"] if chunk]


def charged(farm: Farm, server: str) -> int:
    """The pieces that networks have: what the data plane and the agent have counted."""
    return charge_of(maps_of(farm, server))


def charge_of(maps: dict[str, Map]) -> int:
    """The same of maps that are open."""
    where = network_shares.ALL.to_bytes(4, sys.byteorder)
    used, back = (
        int.from_bytes(maps[name].get(where) or bytes(4), sys.byteorder)
        for name in ("hold_used", "hold_returned")
    )
    return used - back


@dataclass(frozen=True, slots=True)
class Sweeper:
    """A server's tables swept by the test, with limits of its own, beside the agent."""

    expiry: Sweep
    datagrams: socket.socket

    def sweep(self) -> None:
        grace.wait()
        for _ in self.expiry.steps(own_state.boottime_ns()):
            pass

    def answers(self) -> int:
        """Take the answers that come; how many."""
        count = 0
        while readable(self.datagrams, 0.3):
            datagram, source = self.datagrams.recvfrom(2048)
            assert self.expiry.receive(datagram, source, own_state.boottime_ns())
            count += 1
        return count

    def until(self, what: str, true: Callable[[], bool]) -> None:
        def swept() -> bool:
            self.sweep()
            return true()

        wait_until(what, swept, 5)


@contextmanager
def sweeper_of(farm: Farm, server: str, limits: Limits = SHORT) -> Iterator[Sweeper]:
    place = farm.lab.place(server)
    key = FarmKeys((farm.lab.run_dir / "farm.key").read_bytes().strip(), farm.lab.name).state
    directory = place.pin_dir / directory_name(farm.lab.name, server) / "maps"

    def send(datagram: bytes, to: tuple[str, int]) -> None:
        datagrams.sendto(datagram, to)

    with namespaces.entered(place.namespace):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sweep = Sweep(directory, ("front", "back"), key, send, limits)
    with datagrams, sweep:
        yield Sweeper(sweep, datagrams)


def traffic(farm: Farm, first: str, owner: str) -> int:
    """Endpoints given to the owner that have not ended, as the first server counts."""
    row = farm.tables[first].traffic.get(int(owner[1:]))
    assert row is not None
    return row.sent - row.closed


# ---- heads that never complete ---------------------------------------------------------------
