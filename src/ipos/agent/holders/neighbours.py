# SPDX-License-Identifier: Apache-2.0
"""Who answers on front for a service address, and announcing one: by ARP (RFC 5227), and by
neighbour discovery (RFC 4861) for IPv6.

Questions have no sender's address, so no neighbour learns from them which server has an address.
"""

from collections.abc import Callable, Sequence

from ipos.agent.network.arp import ArpSocket
from ipos.agent.network.interfaces import Interface
from ipos.agent.network.ndp import NdpSocket
from ipos.closing import Closing
from ipos.ip_family import FOUR_MAX


class Neighbours(Closing):
    """Speaks on one interface. NetworkError when it cannot."""

    def __init__(self, front: Interface, vlan: int) -> None:
        self._front, self._vlan = front, vlan
        self._arp = ArpSocket(front, vlan)
        self._discovery: NdpSocket | None = None

    @property
    def _ndp(self) -> NdpSocket:
        """Opened with the first question about an IPv6 address."""
        if self._discovery is None:
            self._discovery = NdpSocket(self._front, self._vlan)
        return self._discovery

    def ask(self, address: int) -> None:
        """Ask all neighbours whether one of them answers for an address."""
        if address > FOUR_MAX:
            self._ndp.ask(address)
        else:
            self._arp.ask(address, 0)

    def announce(self, address: int) -> None:
        """Tell all neighbours that the address is here: gratuitous ARP, or an unsolicited
        neighbour advertisement."""
        if address > FOUR_MAX:
            self._ndp.announce(address)
        else:
            self._arp.ask(address, address)

    def answered(self) -> set[int]:
        """Addresses that other machines have answered for, or announced, since the last call."""
        own = self._front.mac
        found = {
            heard.address
            for heard in self._arp.heard()
            if heard.address and own not in (heard.mac, heard.source_mac)
        }
        if self._discovery is not None:
            found |= {heard.address for heard in self._discovery.heard() if heard.mac != own}
        return found

    def close(self) -> None:
        self._arp.close()
        if self._discovery is not None:
            self._discovery.close()


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
