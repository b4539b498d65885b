# SPDX-License-Identifier: Apache-2.0
"""IPv6 in a lab: which address each host has, and what its kernel must not say by itself.

    clients 2001:db8:63::11 ...  ── router1 ::254 ──  front 2001:db8:71::/64, s1 ::1, s2 ::2 ...

A host has the number of its IPv4 address. That of a server is its service address, which its agent
makes local; by itself s1 has ::1:1. Back has no IPv6 addresses, because servers speak IPv4
there. Nobody solicits routers, detects duplicates or reports groups again and again, so a capture
shows only neighbour discovery that a packet needs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ipos.lab.plan import (
    CLIENT_LAN,
    DUAL_ISP,
    FRONT_LAN,
    PREFIXES,
    ROUTER_HOST,
    Node,
    Settings,
)

PREFIXES6 = {CLIENT_LAN: "2001:db8:63::", FRONT_LAN: "2001:db8:71::"}
PREFIX_LENGTH6 = 64
OFF = {"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1}
"""Of a host without IPv6: neighbour discovery would only clutter captures."""
_QUIET = {
    "accept_ra": 0,
    "accept_dad": 0,
    "router_solicitations": 0,
    "addr_gen_mode": 1,
    "mldv1_unsolicited_report_interval": 86_400_000,
    "mldv2_unsolicited_report_interval": 86_400_000,
}
_FORWARDS = {"net.ipv6.conf.all.forwarding": 1}


def may_have(settings: Settings, common: Mapping[str, Any]) -> bool:
    """Whether a lab may have IPv6: not with what a farm does for IPv4 only."""
    farm = common.get("farm", {})
    services = common.get("service", [])
    by_source = any(_is_by_source(one.get("session")) for one in services)
    boxed = settings.boxed or any(":/" in _box_of(one) for one in services)
    return not (
        settings.topology in (DUAL_ISP, "ecmp")
        or boxed
        or by_source
        or farm.get("own_programs") == "farm"
    )


def _is_by_source(session: object) -> bool:
    return isinstance(session, Mapping) and session.get("kind") == "source"


def _box_of(service: Mapping[str, Any]) -> str:
    found = str(service.get("application", ""))
    return found.replace("container:", "container:/")


def address6(host: Node, lan: str) -> str:
    """A host's address in that LAN. KeyError if it has none."""
    for _, of, address in addresses(host):
        if of == lan:
            return address
    raise KeyError(lan)


def addresses(host: Node) -> Iterator[tuple[str, str, str]]:
    """Interface, LAN and address, once per LAN of a host that has IPv6."""
    for interface in host.interfaces:
        prefix = PREFIXES6.get(interface.lan)
        for four in interface.addresses if prefix else ():
            if four.startswith(PREFIXES[interface.lan]):
                yield interface.name, interface.lan, f"{prefix}{four.rpartition('.')[2]}"


def own_addresses(host: Node, *, bare: bool) -> Iterator[tuple[str, str]]:
    """Interface and address, as its interfaces have them from the beginning."""
    for interface, lan, address in addresses(host):
        if host.kind == "server" and not bare:
            prefix = PREFIXES6[lan]
            address = f"{prefix}1:{address.removeprefix(prefix)}"
        yield interface, address


def gateway(host: Node) -> str | None:
    """The next hop of its default route; None for a router."""
    if host.gateway is None:
        return None
    lan = next(lan for _, lan, _ in addresses(host))
    return f"{PREFIXES6[lan]}{ROUTER_HOST}"


def link_local(number: int, address: str) -> str:
    """Of a host's nth interface: without one, neighbours are solicited for its own packets only."""
    return f"fe80::{number}:{address.rpartition(':')[2]}"


def sysctls(host: Node) -> dict[str, int]:
    """What its kernel is told before its interfaces are up."""
    names = ("all", "default", *(interface.name for interface in host.interfaces))
    found = {
        f"net.ipv6.conf.{name}.{key}": value for name in names for key, value in _QUIET.items()
    }
    return found | (_FORWARDS if host.kind == "router" else {})
