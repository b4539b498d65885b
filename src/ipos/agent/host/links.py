# SPDX-License-Identifier: Apache-2.0
"""Checks this server's own links: the carrier of front and back, and the next hop on front.

Whether back works is seen by the states that are heard, see `member_faults`. On front no other
server sends by itself, so the agent asks the routers that routes lead to by ARP, four times a
second, and more often when they do not answer. A router that has never answered proves nothing.
Neither does a time in which the agent was stopped: it reads the answers that have come before it
calls a router silent.
"""

import fcntl
import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.network.arp import REPLY, ArpSocket
from ipos.agent.network.interfaces import Interface
from ipos.closing import Closing

CUT_NS = 150_000_000
"""Without carrier for two looks: out."""
WELL_NS = 2_000_000_000
"""And in again when it has been there for so long."""
ASK_NS = 240_000_000
SILENT_NS = 600_000_000
ASKED_LEAST = 4
"""Questions in a row without an answer, and that long: then a next hop is silent."""
_ROUTES = Path("/proc/thread-self/net/route")
_ROUTES_NS = 5_000_000_000
_ROUTES_SIZE = 1 << 16
_SIOCGIFFLAGS, _RUNNING = 0x8913, 0x40
_NOBODY = IPv4Address(0)
_ROUTE_UP, _ROUTE_GATEWAY = 1, 2


@dataclass(slots=True)
class Damped:
    """A contact that is believed when it has lasted: out after `cut_ns`, in after `well_ns`."""

    cut_ns: int
    well_ns: int
    out: bool = False
    _since_ns: int | None = None

    def look(self, well: bool, now_ns: int) -> bool:
        """Whether it is out."""
        if well is not self.out:
            self._since_ns = None
            return self.out
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns >= (self.well_ns if self.out else self.cut_ns):
            self.out, self._since_ns = not self.out, None
        return self.out


@dataclass(slots=True)
class _Hop:
    mac: bytes | None = None
    asked_ns: int | None = None
    first_ns: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class NextHops:
    """The routers on front: whom to ask when, and whether they are all silent. Pure."""

    _hops: dict[IPv4Address, _Hop] = field(default_factory=dict)
    answered_ns: int = 0
    """When one of them last answered, 0 for never."""

    def expect(self, addresses: Iterable[IPv4Address]) -> None:
        self._hops = {address: self._hops.get(address, _Hop()) for address in addresses}

    def due(self, now_ns: int) -> Iterator[tuple[IPv4Address, bytes | None]]:
        """Who is to be asked now, and by which MAC address, None for all that are there."""
        for address, hop in self._hops.items():
            rests = hop.asked_ns is not None and now_ns - hop.asked_ns < ASK_NS
            if rests and not hop.unanswered:
                continue
            if not hop.unanswered:
                hop.first_ns = now_ns
            hop.asked_ns = now_ns
            hop.unanswered += 1
            yield address, hop.mac if hop.unanswered < ASKED_LEAST else None

    def answered(self, address: IPv4Address, mac: bytes, now_ns: int) -> None:
        hop = self._hops.get(address)
        if hop is not None:
            hop.mac, hop.unanswered, self.answered_ns = mac, 0, now_ns

    def silent(self, now_ns: int) -> bool:
        """Whether all that ever answered have stopped to."""
        known = [hop for hop in self._hops.values() if hop.mac is not None]
        return bool(known) and all(
            hop.unanswered >= ASKED_LEAST and now_ns - hop.first_ns >= SILENT_NS for hop in known
        )


def has_carrier(any_socket: socket.socket, name: str) -> bool:
    """Whether an interface of this network namespace is there, up, and plugged in."""
    try:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16s16x", name.encode()))
    except OSError:  # the interface has gone
        return False
    (flags,) = struct.unpack_from("=H", answer, 16)
    return bool(flags & _RUNNING)


class Links(Closing):
    """Looks at two interfaces of this network namespace. `source` asks on front.

    NetworkError when ARP cannot be spoken there.
    """

    def __init__(self, front: Interface, back: Interface, source: IPv4Address, vlan: int) -> None:
        self._front, self._back = front, back
        self._source = source
        self._carriers = {name: Damped(CUT_NS, WELL_NS) for name in (front.name, back.name)}
        self._silence = Damped(0, WELL_NS)
        self.silent: Collection[int] = ()
        """Addresses in whose name nobody is asked: another server holds them."""
        self._hops = NextHops()
        self._routes_ns: int | None = None
        self._arp = ArpSocket(front, vlan)
        self._any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @property
    def answered_ns(self) -> int:
        """When a next hop on front was last found to have answered, 0 for never."""
        return self._hops.answered_ns

    def look(self, now_ns: int) -> Fault:
        """What is wrong; front's faults come first."""
        out = {
            name: damped.look(has_carrier(self._any, name), now_ns)
            for name, damped in self._carriers.items()
        }
        if out[self._front.name]:
            return Fault.FRONT_CARRIER
        self._ask(now_ns)
        if self._silence.look(not self._hops.silent(now_ns), now_ns):
            return Fault.FRONT_NEIGHBOUR
        return Fault.BACK_CARRIER if out[self._back.name] else Fault.NONE

    def _ask(self, now_ns: int) -> None:
        if self._routes_ns is None or now_ns - self._routes_ns >= _ROUTES_NS:
            self._routes_ns = now_ns
            self._hops.expect(next_hops(self._front.name))
        for heard in self._arp.heard():
            if heard.operation == REPLY:
                self._hops.answered(IPv4Address(heard.address), heard.mac, now_ns)
        for address, known in self._hops.due(now_ns):
            self._arp.ask(int(address), int(self._asker(address)), known)

    def _asker(self, address: IPv4Address) -> IPv4Address:
        """Our address in its network, as our kernel would ask; none that another server holds."""
        for own, prefix in self._front.addresses:
            if (int(own) ^ int(address)) >> (32 - prefix) == 0 and int(own) not in self.silent:
                return own
        return _NOBODY if int(self._source) in self.silent else self._source

    def close(self) -> None:
        self._any.close()
        self._arp.close()


def next_hops(interface: str, table: Path = _ROUTES) -> set[IPv4Address]:
    """The gateways of the routes that leave by an interface."""
    with table.open() as lines:
        text = lines.read(_ROUTES_SIZE)
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] != interface:
            continue
        gateway, flags = int(fields[2], 16), int(fields[3], 16)
        if flags & (_ROUTE_UP | _ROUTE_GATEWAY) == _ROUTE_UP | _ROUTE_GATEWAY:
            found.add(IPv4Address(socket.ntohl(gateway)))
    return found
