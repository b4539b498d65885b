# SPDX-License-Identifier: Apache-2.0
"""What servers say of their uplinks, and which uplinks are out of service for all. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from ipaddress import IPv4Address

from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import State
from ipos.config.uplink import Uplink, uplink_of


class UplinkFault(IntEnum):
    """What a server says is wrong with an uplink. Numbers are never used again."""

    NONE = 0
    CARRIER = 1
    GATEWAY = 2
    UNKNOWN = 9
    """It has just begun to look."""


TEXTS = {
    UplinkFault.CARRIER: "its interface has no carrier",
    UplinkFault.GATEWAY: "its router does not answer ARP",
}
_USABLE = (UplinkFault.NONE, UplinkFault.UNKNOWN)


def out_of_service(
    uplinks: Sequence[Uplink], members: Members, now_ns: int
) -> dict[str, UplinkFault]:
    """The uplinks that are out for every server that is up and has looked; and why they are."""
    said: dict[str, list[int]] = {one.name: [] for one in uplinks}
    for member in members.by_ip.values():
        mine = member is members.myself
        if member.state is None or not (mine or member.age(now_ns) is not Age.DOWN):
            continue
        for name, fault in (member.state.uplinks or {}).items():
            if name in said and fault != UplinkFault.UNKNOWN:
                said[name].append(fault)
    return {
        name: UplinkFault(faults[0]) if faults[0] in TEXTS else UplinkFault.GATEWAY
        for name, faults in said.items()
        if faults and all(faults)
    }


def unusable(
    uplinks: Sequence[Uplink], state: State, addresses: Iterable[int]
) -> Mapping[int, str]:
    """The service addresses that a server cannot be reached by, and why."""
    if not uplinks or state.uplinks is None:
        return {}
    found = {}
    for address in addresses:
        uplink = uplink_of(uplinks, IPv4Address(address))
        if uplink is None:
            continue
        fault = state.uplinks.get(uplink.name)
        if fault is None:
            found[address] = f"{state.server} is not on the uplink {uplink.name}"
        elif fault not in _USABLE:
            found[address] = f"{state.server} has no uplink {uplink.name}"
    return found


def addresses_in(
    uplinks: Sequence[Uplink], names: Iterable[str], addresses: Iterable[int]
) -> list[int]:
    """Those of the addresses that belong to one of these uplinks."""
    wanted = set(names)
    found = []
    for address in sorted(set(addresses)):
        uplink = uplink_of(uplinks, IPv4Address(address))
        if uplink is not None and uplink.name in wanted:
            found.append(address)
    return found
