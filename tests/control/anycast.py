# SPDX-License-Identifier: Apache-2.0
"""A farm whose servers all announce one address to a router, which sends each flow to one."""

from collections.abc import Iterator
from contextlib import contextmanager

from ipos.lab import Lab, Settings, bird
from ipos.lab.plan import ANYCAST, FRONT_LAN, ROUTER
from tests.control.conftest import CONFIG
from tests.support.farm import SERVERS, Farm, wait_until


class AnycastFarm(Farm):
    """Its clients connect to the one address, whichever server is meant."""

    def address(self, server: str) -> str:
        return ANYCAST

    def hops(self) -> list[str]:
        """The servers to which the router sends flows."""
        names = {node.address(FRONT_LAN): node.name for node in self.lab.servers}
        return [names[hop] for hop in bird.next_hops(self.lab.place(ROUTER))]

    def routed(self, *servers: str) -> bool:
        """Whether the router sends flows to exactly these."""
        return self.hops() == sorted(servers)


@contextmanager
def anycast_farm(name: str, config: str = CONFIG) -> Iterator[AnycastFarm]:
    """All servers are ready, and announced."""
    with Lab(Settings(name=name, config=config, topology="ecmp")) as lab:
        farm = AnycastFarm(lab)
        wait_until("every server ready", farm.ready, 30)
        assert farm.routed(*SERVERS)
        yield farm
