# SPDX-License-Identifier: Apache-2.0
"""`[[uplink]]`: the ways by which clients come, where a farm has several routers or ISPs."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from msgspec import Meta, Struct

from ipos.abi.layout import constant
from ipos.ip_family import fours

UPLINKS_MAX = constant("IPOS_UPLINKS_MAX")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
_INTERFACE = r"^[^\s/:\x00-\x1f\x7f]{1,15}$"


class Uplink(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[uplink]]`: a router, and the service addresses that clients reach by it.

    All but `interface` is the same on every server.
    """

    name: Annotated[
        str,
        Meta(
            pattern=_NAME,
            description='1 to 32 letters, digits, hyphens and underscores, such as "isp1"',
        ),
    ]
    prefix: Annotated[
        IPv4Network,
        Meta(description='a network by its first address, such as "203.0.113.0/24"'),
    ]
    gateway: Annotated[
        IPv4Address, Meta(description='the address of a router, such as "203.0.113.254"')
    ]
    interface: (
        Annotated[
            str,
            Meta(
                pattern=_INTERFACE,
                description='the name of a network interface of this server, such as "eth0"',
            ),
        ]
        | None
    ) = None


def uplink_of(uplinks: Sequence[Uplink], address: IPv4Address) -> Uplink | None:
    """The uplink that a service address belongs to; None where there is none."""
    return next((one for one in uplinks if address in one.prefix), None)


def here(uplinks: Sequence[Uplink]) -> list[Uplink]:
    """Those that this server is on."""
    return [one for one in uplinks if one.interface is not None]


def check_uplinks(config: Any, say: Callable[[tuple[Any, ...], str], None]) -> None:
    """What is wrong with the uplinks of a `Config`. say: is told where, and a sentence."""
    if not config.uplink:
        if config.farm.return_ != "source":
            say(
                ("farm", "return"),
                f'farm.return is "{config.farm.return_}" and there is no [[uplink]]; add them, or '
                "leave it out",
            )
        return
    _check_farm(config, say)
    _check_each(config, say)
    mine = here(config.uplink)
    if config.farm.return_ == "source":
        for nth, one in enumerate(config.uplink):
            if one.interface is None:
                say(
                    ("uplink", nth),
                    f'the uplink "{one.name}" has no interface, and where farm.return is "source" '
                    "every server answers by every uplink; say its interface",
                )
    elif len(mine) != 1:
        say(
            ("farm", "return"),
            f'farm.return is "owner" and {len(mine)} uplinks have an interface; a server answers '
            "by its own router then, so say the interface of exactly one",
        )
    for address in fours(config.server.addresses):  # IPv6: `family_rules`
        if not any(address in one.prefix for one in mine):
            say(
                ("server", "addresses"),
                f"server.addresses has {address}, which is in the prefix of no [[uplink]] with an "
                "interface; clients would not be answered",
            )


def _check_farm(config: Any, say: Callable[[tuple[Any, ...], str], None]) -> None:
    """What does not go together with uplinks."""
    farm, server = config.farm, config.server
    if len(config.uplink) > UPLINKS_MAX:
        say(
            ("uplink", UPLINKS_MAX),
            f"there are {len(config.uplink)} uplinks; there may be {UPLINKS_MAX}",
        )
    if farm.own_programs == "farm":
        say(
            ("farm", "own_programs"),
            'farm.own_programs is "farm" and there are uplinks; own programs are clients by one '
            'front only, so say "refuse"',
        )
    if farm.announce == "bgp":
        say(
            ("farm", "announce"),
            'farm.announce is "bgp" and there are uplinks; routers are told of addresses by ARP '
            'there, so say "arp"',
        )
    if server.front_vlan:
        say(
            ("server", "front_vlan"),
            f"server.front_vlan is {server.front_vlan} and there are uplinks; make an interface "
            "of each VLAN, and name those",
        )
    mine = here(config.uplink)
    if server.front not in {one.interface for one in mine}:
        say(
            ("server", "front"),
            f'server.front is "{server.front}", and no [[uplink]] has that interface; it must be '
            "one of theirs",
        )
    for nth, one in enumerate(config.uplink):
        if one.interface == server.back and server.front != server.back:
            say(
                ("uplink", nth, "interface"),
                f'the uplink "{one.name}" is on the back interface "{server.back}"; clients come '
                "by others",
            )
        if one.interface and server.front == server.back and one.interface != server.front:
            say(
                ("uplink", nth, "interface"),
                f'the uplink "{one.name}" is on "{one.interface}" while front and back are one '
                f'interface; it must be "{server.front}" too',
            )


def _check_each(config: Any, say: Callable[[tuple[Any, ...], str], None]) -> None:
    for nth, one in enumerate(config.uplink):
        if any(one.name == other.name for other in config.uplink[:nth]):
            say(
                ("uplink", nth, "name"),
                f'a second uplink is called "{one.name}"; give each its own name',
            )
        for other in config.uplink[:nth]:
            if one.prefix.overlaps(other.prefix):
                say(
                    ("uplink", nth, "prefix"),
                    f'the uplinks "{other.name}" and "{one.name}" have prefixes that overlap; a '
                    "service address must belong to one of them",
                )
        if one.gateway in config.server.addresses:
            say(
                ("uplink", nth, "gateway"),
                f'the uplink "{one.name}" has the gateway {one.gateway}, which is a service '
                "address of this server; it must be a router's",
            )
