# SPDX-License-Identifier: Apache-2.0
"""The UDP socket of the agent.

What is for all servers is sent once, to the broadcast address of the back LAN. A datagram for each
member would cost a large farm most of its agents' time, and the kernel an ARP entry for every pair
of servers. Members on other networks, and all of them where back is the clients' LAN too, get one
each. A datagram is believed for its tag, not for the address it was sent to.

Nothing wakes the agent when a datagram comes. All agents speak at the same tenth of a second, so it
reads what has come a moment later, all in one go.
"""

import socket
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from ipos.agent.heartbeat.datagrams import Inbox, Source
from ipos.agent.heartbeat.message import PORT
from ipos.agent.network.interfaces import Interface, NetworkError
from ipos.closing import Closing

PIECE = 256
"""Datagrams that are read in one go; between the pieces of a flood all else has its turn."""
SIZE_MAX = 2048
"""Longer datagrams are cut, and then have no valid tag."""
ROOM = 4 << 20
"""Bytes of the socket's queue: a datagram can take 4 KiB of it, and 255 may come at once."""
_SO_RCVBUFFORCE = 33
_PAIR = 31
"""A network so small has no broadcast address."""


class Port(Closing):
    """Takes datagrams from one interface only. NetworkError when another has the port."""

    def __init__(self, interface: str) -> None:
        self._audience: list[tuple[str, int]] = []
        self._last: Sequence[bytes] = ()
        self._inbox = Inbox(PIECE, SIZE_MAX)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
            self._socket.setblocking(False)
            self._socket.bind(("", PORT))
        except OSError as error:
            self._socket.close()
            raise NetworkError(
                f"cannot take UDP port {PORT} on {interface}: {error.strerror}; is another agent "
                "running on this server?"
            ) from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def address(self, audience: Collection[str]) -> None:
        """Set the servers to which `tell` sends."""
        self._audience = [(one, PORT) for one in audience]

    def tell(self, datagrams: Sequence[bytes]) -> None:
        self._last = datagrams
        for address in self._audience:
            for datagram in datagrams:
                self.send(datagram, address)

    def is_full(self, taken: Sequence[object]) -> bool:
        """Whether more may wait than were taken; some of a piece may have been our own."""
        return len(taken) >= PIECE - len(self._last)

    def send(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send it; it may be lost. A server that cannot be reached is noticed by its silence."""
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            pass

    def take(self, most: int = PIECE) -> list[tuple[bytes, Source]]:
        """What waits, with its senders; without our own, which a broadcast brings back."""
        try:
            found = self._inbox.take(self._socket.fileno(), most)
        except OSError:  # the interface is gone, and may come back
            return []
        return [one for one in found if one[0] not in self._last]

    def close(self) -> None:
        self._socket.close()


def audience(
    back: Interface, me: IPv4Address, others: Collection[IPv4Address], *, all_there: bool, lan: bool
) -> list[str]:
    """Addresses that reach all others. all_there: they are on the back LAN, known or not.

    lan: broadcasts on back disturb nobody, because only servers are there.
    """
    prefix = next((length for address, length in back.addresses if address == me), 32)
    mask = (1 << (32 - prefix)) - 1 if prefix < _PAIR else 0
    everybody = IPv4Address(int(me) | mask) if mask else IPv4Address("255.255.255.255")
    if all_there:
        return [str(everybody)]
    if not lan:
        return [str(address) for address in others]
    near = [address for address in others if mask and int(address) | mask == int(everybody)]
    far = [str(address) for address in others if address not in near]
    return [str(everybody), *far] if near else far
