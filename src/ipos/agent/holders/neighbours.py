# SPDX-License-Identifier: Apache-2.0
"""ARP on front, for service addresses (RFC 5227): who answers for one, and announcing.

Questions have no sender's address, so no neighbour learns from them which server has an address.
"""

from collections.abc import Callable, Sequence

from ipos.agent.network.arp import ArpSocket
from ipos.agent.network.interfaces import Interface
from ipos.closing import Closing


class Neighbours(Closing):
    """Speaks on one interface. NetworkError when it cannot."""

    def __init__(self, front: Interface, vlan: int) -> None:
        self._front = front
        self._arp = ArpSocket(front, vlan)

    def ask(self, address: int) -> None:
        """Ask all neighbours whether one of them answers for an address."""
        self._arp.ask(address, 0)

    def announce(self, address: int) -> None:
        """Tell all neighbours that the address is here: gratuitous ARP."""
        self._arp.ask(address, address)

    def answered(self) -> set[int]:
        """Addresses that other machines have answered for, or announced, since the last call."""
        own = self._front.mac
        return {
            heard.address
            for heard in self._arp.heard()
            if heard.address and own not in (heard.mac, heard.source_mac)
        }

    def close(self) -> None:
        self._arp.close()


class SeveralFronts(Closing):
    """The same on several interfaces. pick: the name of the one that an address belongs on."""

    def __init__(self, fronts: Sequence[Interface], pick: Callable[[int], str]) -> None:
        self._fronts = {front.name: Neighbours(front, 0) for front in fronts}
        self._pick = pick

    def ask(self, address: int) -> None:
        """Ask all neighbours whether one of them answers for an address."""
        self._fronts[self._pick(address)].ask(address)

    def announce(self, address: int) -> None:
        """Tell all neighbours that the address is here: gratuitous ARP."""
        self._fronts[self._pick(address)].announce(address)

    def answered(self) -> set[int]:
        """Addresses that other machines have answered for, where these belong."""
        return {
            address
            for name, front in self._fronts.items()
            for address in front.answered()
            if self._pick(address) == name
        }

    def close(self) -> None:
        for front in self._fronts.values():
            front.close()
