# SPDX-License-Identifier: Apache-2.0
"""The hosts, LANs and addresses of a lab. Pure: nothing here touches the machine.

    client1 .11  client2 .12                 s1 .1   s2 .2   s3 .3
        │           │                          │       │       │      front
    ────┴───────────┴──┐            ┌──────────┴───────┴───────┴───   203.0.113.0/24
     clients           │            │          │       │       │      back
     10.99.0.0/24    .254  router1  .254    ───┴───────┴───────┴───   10.77.0.0/24

That is `single` (Figure 2a of the source), which is called `back-lan` (2c), too. In `one-lan` (2d)
the servers have no `back` interface: `front` carries both addresses. In `dual-isp` (2b) there is a
second router, router2, at 10.99.0.253 and 192.0.2.254, and every server is on its LAN as well, by
the interface `front2`: s1 is 192.0.2.1. In `ecmp` all servers also have the address 198.51.100.1,
and router1 learns by BGP who has it now.

Inside a host an interface has the name of its LAN, except that a client's only one is `front`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ipos.lab.errors import LabError

TOPOLOGIES = ("single", "dual-isp", "back-lan", "one-lan", "ecmp")
DUAL_ISP = "dual-isp"
SWITCH_BRIDGE, SWITCH_XDP = SWITCHES = ("bridge", "xdp")
CLIENT_LAN, FRONT_LAN, BACK_LAN = "clients", "front", "back"
SECOND_LAN = "front2"
"""Of the second router."""
PREFIXES = {
    CLIENT_LAN: "10.99.0.", FRONT_LAN: "203.0.113.", BACK_LAN: "10.77.0.", SECOND_LAN: "192.0.2.",
}  # fmt: skip
ANYCAST = "198.51.100.1"
"""The service address that all servers have in the topology `ecmp`."""
PREFIX_LENGTH = 24
ROUTER_HOST = 254
SECOND_ROUTER_HOST = 253
"""Of router2 on the clients' LAN."""
FIRST_CLIENT_HOST = 11
MAX_HOSTS = 200
SWITCH = "switch"
"""The namespace that holds the LANs' bridges. It is not a node: nobody works on it."""

ROUTER, SECOND_ROUTER = "router1", "router2"
UPLINKS = {"isp1": FRONT_LAN, "isp2": SECOND_LAN}
"""The uplinks of `dual-isp`, and the LANs of their routers, which name the interfaces."""
BOX = "-box"
"""Behind a server's name: the namespace of the container that its application is in."""

NODE_PATTERN = r"(?:client|router|s)[1-9]\d*"
NAME_PATTERN = r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user asked for; two labs with equal settings are the same lab.

    app: "nginx", "builtin", "none", or a shell command that every server runs.
    config: the text (not the path) of a TOML file with the farm's common parts, or None.
    bare: hosts and applications only, nothing of ipOS.
    boxed: each server's application is in a network namespace of its own, as a container's is.
    ipv6: clients, router and fronts have IPv6 addresses, too (ipos.lab.second_family).
    switch: "bridge", or "xdp" for LANs that forward at next to no cost (ipos.lab.switch), and a
    cable for back where there are two servers.
    Raises LabError for a value out of range.
    """

    name: str = "farm"
    servers: int = 3
    clients: int = 1
    topology: str = "single"
    app: str = "nginx"
    config: str | None = None
    bare: bool = False
    switch: str = SWITCH_BRIDGE
    boxed: bool = False
    ipv6: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise LabError(
                f"a lab's name is 1 to 32 of a-z, 0-9 and inner hyphens; {self.name!r} is not"
            )
        if self.topology not in TOPOLOGIES:
            raise LabError(
                f"no topology is called {self.topology!r}; there are {', '.join(TOPOLOGIES)}"
            )
        if self.switch not in SWITCHES:
            raise LabError(
                f"no switch is called {self.switch!r}; there are {' and '.join(SWITCHES)}"
            )
        if not 1 <= self.servers <= MAX_HOSTS:
            raise LabError(f"a lab has 1 to {MAX_HOSTS} servers, not {self.servers}")
        if not 0 <= self.clients <= MAX_HOSTS:
            raise LabError(f"a lab has 0 to {MAX_HOSTS} clients, not {self.clients}")
        if not self.app.strip():
            raise LabError("the application is empty; say nginx, builtin, none or a shell command")


@dataclass(frozen=True, slots=True)
class Interface:
    """A host's port on a LAN. addresses: dotted quads, the first one makes the MAC."""

    name: str
    lan: str
    addresses: tuple[str, ...]

    @property
    def mac(self) -> str:
        """02:fe and the first IPv4 address: readable in a capture, unique on the LAN."""
        return "02:fe:" + ":".join(f"{int(part):02x}" for part in self.addresses[0].split("."))


@dataclass(frozen=True, slots=True)
class Node:
    """A host. kind: "client", "router" or "server". gateway: next hop of its default route.

    routes: other networks, as "192.0.2.0/24", and their next hops. filters: it drops packets whose
    source its routes lead elsewhere for, as an ISP does (BCP 38).
    """

    name: str
    kind: str
    interfaces: tuple[Interface, ...]
    gateway: str | None = None
    routes: tuple[tuple[str, str], ...] = ()
    filters: bool = False

    def interface(self, name: str) -> Interface:
        """Its interface of that name. KeyError if there is none."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        raise KeyError(name)

    def address(self, lan: str) -> str:
        """Its address in that LAN's prefix. KeyError if it has none."""
        for interface in self.interfaces:
            for address in interface.addresses:
                if address.startswith(PREFIXES[lan]):
                    return address
        raise KeyError(lan)

    def port(self, interface: Interface) -> str:
        """Name of the switch's end of this interface's cable."""
        return f"{self.name}-{interface.name}"


def _address(lan: str, host: int) -> str:
    return f"{PREFIXES[lan]}{host}"


def _server(number: int, topology: str) -> Node:
    front, back = _address(FRONT_LAN, number), _address(BACK_LAN, number)
    if topology == "one-lan":
        interfaces: tuple[Interface, ...] = (Interface("front", FRONT_LAN, (front, back)),)
    else:
        interfaces = (
            Interface("front", FRONT_LAN, (front,)),
            Interface("back", BACK_LAN, (back,)),
        )
    if topology == DUAL_ISP:
        second = Interface(SECOND_LAN, SECOND_LAN, (_address(SECOND_LAN, number),))
        interfaces = (interfaces[0], second, interfaces[1])
    return Node(f"s{number}", "server", interfaces, _address(FRONT_LAN, ROUTER_HOST))


def _client(number: int, topology: str) -> Node:
    address = _address(CLIENT_LAN, FIRST_CLIENT_HOST + number - 1)
    interfaces = (Interface("front", CLIENT_LAN, (address,)),)
    routes: tuple[tuple[str, str], ...] = ()
    if topology == DUAL_ISP:
        network = f"{PREFIXES[SECOND_LAN]}0/{PREFIX_LENGTH}"
        routes = ((network, _address(CLIENT_LAN, SECOND_ROUTER_HOST)),)
    gateway = _address(CLIENT_LAN, ROUTER_HOST)
    return Node(f"client{number}", "client", interfaces, gateway, routes)


def _second_router() -> Node:
    return Node(
        SECOND_ROUTER,
        "router",
        (
            Interface(CLIENT_LAN, CLIENT_LAN, (_address(CLIENT_LAN, SECOND_ROUTER_HOST),)),
            Interface(SECOND_LAN, SECOND_LAN, (_address(SECOND_LAN, ROUTER_HOST),)),
        ),
        filters=True,
    )


def nodes(settings: Settings) -> dict[str, Node]:
    """Every host of the lab by name: clients, router, servers."""
    router = Node(
        ROUTER,
        "router",
        tuple(
            Interface(lan, lan, (_address(lan, ROUTER_HOST),)) for lan in (CLIENT_LAN, FRONT_LAN)
        ),
        filters=settings.topology == DUAL_ISP,
    )
    hosts = [
        *(_client(number, settings.topology) for number in range(1, settings.clients + 1)),
        router,
        *([_second_router()] if settings.topology == DUAL_ISP else []),
        *(_server(number, settings.topology) for number in range(1, settings.servers + 1)),
    ]
    return {host.name: host for host in hosts}


Port = tuple[Node, Interface]
"""A host and one of its interfaces."""


def crossover(hosts: Iterable[Node], switch: str) -> tuple[Port, Port] | None:
    """The two ports of back if one cable does for it, and no switch.

    Where switches are to cost nothing (`switch = "xdp"`) a LAN of two needs none.
    """
    ports = [
        (host, interface)
        for host in hosts
        for interface in host.interfaces
        if interface.lan == BACK_LAN
    ]
    return (ports[0], ports[1]) if switch == SWITCH_XDP and len(ports) == 2 else None


def lans(settings: Settings) -> tuple[str, ...]:
    """The LANs the lab has a bridge for."""
    if settings.topology == "one-lan":
        return (CLIENT_LAN, FRONT_LAN)
    if settings.topology == DUAL_ISP:
        return (CLIENT_LAN, FRONT_LAN, SECOND_LAN, BACK_LAN)
    return (CLIENT_LAN, FRONT_LAN, BACK_LAN)
