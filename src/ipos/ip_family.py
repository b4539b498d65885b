# SPDX-License-Identifier: Apache-2.0
"""Addresses of either family, and their numbers.

The agent keeps a service address as a number where it only compares and counts. A number of more
than 32 bits is an IPv6 address; no smaller one is a service address of IPv6 (`unusable`).
"""

from abc import ABCMeta
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

FOUR_MAX = 0xFFFF_FFFF
_NEVER = (
    (IPv6Network("::/96"), "no address of a host"),
    (IPv6Network("::ffff:0:0/96"), "an IPv4 address in IPv6; name the IPv4 address itself"),
    (IPv6Network("fe80::/10"), "link-local; clients behind a router cannot reach it"),
    (IPv6Network("ff00::/8"), "multicast"),
)

if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network
else:
    # msgspec takes one type that it does not know in a field, and no union of two.
    Address = ABCMeta("Address", (), {})
    Network = ABCMeta("Network", (), {})
    for _kind in (IPv4Address, IPv6Address):
        Address.register(_kind)
    for _kind in (IPv4Network, IPv6Network):
        Network.register(_kind)


def parse_address(text: str) -> Address:
    """ValueError for what is no address, and for one with a zone, as in fe80::1%eth0."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ip_address(text)


def parse_network(text: str) -> Network:
    """ValueError for what is no network by its first address."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ip_network(text)


def address_of(number: int) -> Address:
    """The address that a number is of."""
    return IPv4Address(number) if number <= FOUR_MAX else IPv6Address(number)


def packed(number: int) -> bytes:
    """The address as it is in packets: 4 or 16 bytes."""
    return number.to_bytes(4 if number <= FOUR_MAX else 16, "big")


def fours(addresses: Iterable[Any]) -> list[IPv4Address]:
    """Those of IPv4."""
    return [one for one in addresses if isinstance(one, IPv4Address)]


def sixes(addresses: Iterable[Any]) -> list[IPv6Address]:
    """Those of IPv6."""
    return [one for one in addresses if isinstance(one, IPv6Address)]


def numbers(addresses: Iterable[Address]) -> list[int]:
    """As numbers, IPv4 first: the first of these names a server in frames."""
    found = list(addresses)
    return [int(one) for one in (*fours(found), *sixes(found))]


def identity(addresses: Iterable[int], back: int) -> int:
    """The four bytes that name a server in frames and rows: its first IPv4 service address, or,
    where it has none, its back address."""
    return next((one for one in addresses if one <= FOUR_MAX), back)


def unusable(address: Address) -> str:
    """Why clients could not connect to an IPv6 address as a service address; "" if they could."""
    if isinstance(address, IPv4Address):
        return ""
    return next((why for network, why in _NEVER if address in network), "")
