# SPDX-License-Identifier: Apache-2.0
"""Checks this server's uplinks: the carrier of each one's interface, and its router by ARP.

It stands in for `Links` where there are uplinks. An uplink that is out is no fault of this server
while it is out for all of them: its addresses are out of service then, and connections by other
uplinks go on. It is one where it is out here and well elsewhere, when that has lasted: other
servers cannot lose it at quite the same moment.
"""

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.host.links import CUT_NS, WELL_NS, Damped, NextHops, has_carrier
from ipos.agent.network.arp import REPLY, ArpSocket
from ipos.agent.network.interfaces import Interface
from ipos.agent.uplinks.uplink_faults import UplinkFault
from ipos.closing import Closing
from ipos.config.uplink import Uplink

ALONE_NS = 1_500_000_000
"""An uplink that is out here and well elsewhere for so long is a fault of this server."""
NEVER_NS = 3_000_000_000
"""A router that has not answered so long after the first question does not."""
_NOBODY = IPv4Address(0)


@dataclass(slots=True)
class _State:
    uplink: Uplink
    front: Interface
    hops: NextHops
    silence: Damped
    fault: UplinkFault = UplinkFault.UNKNOWN


@dataclass(slots=True)
class Verdict:
    """What uplinks that are out mean for this server. Pure."""

    _alone_ns: int | None = None

    def fault(
        self, mine: Mapping[str, UplinkFault], well_elsewhere: Collection[str], now_ns: int
    ) -> Fault:
        """mine: all its uplinks. well_elsewhere: those that some other server finds well."""
        out = {name for name, fault in mine.items() if fault in _FAULTS}
        alone = out & set(well_elsewhere)
        if not alone:
            self._alone_ns = None
        elif self._alone_ns is None:
            self._alone_ns = now_ns
        lasts = self._alone_ns is not None and now_ns - self._alone_ns >= ALONE_NS
        if out and (lasts or len(out) == len(mine)):
            return _FAULTS[mine[min(alone or out)]]
        return Fault.NONE


_FAULTS = {
    UplinkFault.CARRIER: Fault.FRONT_CARRIER,
    UplinkFault.GATEWAY: Fault.FRONT_NEIGHBOUR,
}


@dataclass(slots=True)
class _Asked:
    """When a router that has never answered was first asked."""

    since_ns: dict[str, int] = field(default_factory=dict)

    def is_over(self, name: str, now_ns: int) -> bool:
        return now_ns - self.since_ns.setdefault(name, now_ns) >= NEVER_NS


class UplinkLinks(Closing):
    """Looks at the uplinks' interfaces and at back. NetworkError when ARP cannot be spoken."""

    def __init__(
        self, uplinks: Sequence[Uplink], fronts: Sequence[Interface], back: Interface
    ) -> None:
        """uplinks: those that this server is on. fronts: their interfaces, each once."""
        by_name = {front.name: front for front in fronts}
        self._states = [
            _State(one, by_name[one.interface], NextHops(), Damped(0, WELL_NS))
            for one in uplinks
            if one.interface
        ]
        for state in self._states:
            state.hops.expect([state.uplink.gateway])
        self._carriers = {name: Damped(CUT_NS, WELL_NS) for name in (*by_name, back.name)}
        self._back = back
        self._arps = {front.name: ArpSocket(front, 0) for front in fronts}
        self._asked = _Asked()
        self._verdict = Verdict()
        self._any = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.silent: Collection[int] = ()
        """Addresses in whose name nobody is asked: another server holds them, or nobody."""
        self.well_elsewhere: Collection[str] = ()
        """The uplinks that some other server finds well."""

    @property
    def faults(self) -> dict[str, UplinkFault]:
        """What this server says of each of its uplinks."""
        return {state.uplink.name: state.fault for state in self._states}

    @property
    def answered_ns(self) -> int:
        """When a router was last found to have answered, 0 for never."""
        return max(state.hops.answered_ns for state in self._states)

    def look(self, now_ns: int) -> Fault:
        """What is wrong with this server; front's faults come first."""
        out = {
            name: damped.look(has_carrier(self._any, name), now_ns)
            for name, damped in self._carriers.items()
        }
        for name, arp in self._arps.items():
            for heard in arp.heard():
                if heard.operation == REPLY:
                    for state in self._states:
                        if state.front.name == name:
                            state.hops.answered(IPv4Address(heard.address), heard.mac, now_ns)
        for state in self._states:
            if out[state.front.name]:
                state.fault = UplinkFault.CARRIER
            else:
                self._ask(state, now_ns)
        fault = self._verdict.fault(self.faults, self.well_elsewhere, now_ns)
        if fault is Fault.NONE and out[self._back.name]:
            return Fault.BACK_CARRIER
        return fault

    def _ask(self, state: _State, now_ns: int) -> None:
        for address, known in state.hops.due(now_ns):
            arp = self._arps[state.front.name]
            arp.ask(int(address), int(self._asker(state.front, address)), known)
        if not state.hops.answered_ns:
            if self._asked.is_over(state.uplink.name, now_ns):
                state.fault, state.silence.out = UplinkFault.GATEWAY, True
            return
        silent = state.silence.look(not state.hops.silent(now_ns), now_ns)
        state.fault = UplinkFault.GATEWAY if silent else UplinkFault.NONE

    def _asker(self, front: Interface, address: IPv4Address) -> IPv4Address:
        """Our address in its network; none that this server does not answer for."""
        for own, prefix in front.addresses:
            if (int(own) ^ int(address)) >> (32 - prefix) == 0 and int(own) not in self.silent:
                return own
        return _NOBODY

    def close(self) -> None:
        self._any.close()
        for arp in self._arps.values():
            arp.close()
