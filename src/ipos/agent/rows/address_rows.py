# SPDX-License-Identifier: Apache-2.0
"""Rows of service addresses and of denied networks, of both families. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ipos.abi import rows
from ipos.agent.heartbeat.member import Member
from ipos.config.schema import Config, Service
from ipos.ip_family import FOUR_MAX, identity

PROTOCOLS = {"tcp": rows.PROTOCOL_TCP, "udp": rows.PROTOCOL_UDP}


@dataclass(frozen=True, slots=True)
class Arps:
    """Who answers for an address, where that is not the kernel; and those that `asks` is for."""

    who: Mapping[int, rows.Arp]
    asks: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class AddressRows:
    """The maps `addresses` and `addresses6`."""

    four: Mapping[rows.AddressKey, rows.Address] = field(default_factory=dict)
    six: Mapping[rows.AddressKey6, rows.Address] = field(default_factory=dict)


def address_rows(
    numbered: Sequence[tuple[int, Service]], heard: Collection[Member], arps: Arps
) -> AddressRows:
    """Every service on every address of every server, and each address alone.

    That row is for fragments, and for ARP and neighbour discovery. The first address of a server
    names it in frames, so of several that list an address the one has the row whose first it is.
    Services of UDP have no rows at IPv6 addresses: their datagrams pass to the kernel.
    """
    listed = []
    for member in heard:
        own = member.state.addresses if member.state else []
        listed += [(nth == 0, member.index, address) for nth, address in enumerate(own)]
    fours: dict[rows.AddressKey, rows.Address] = {}
    sixes: dict[rows.AddressKey6, rows.Address] = {}
    for _, server, number in sorted(listed):
        alone = rows.Address(0, server, arps.who.get(number, rows.Arp.KERNEL))
        asks = number in arps.asks
        if number <= FOUR_MAX:
            four = IPv4Address(number)
            if numbered:
                fours[rows.AddressKey(four, 0, 0)] = alone
            for index, service in numbered:
                key = rows.AddressKey(four, service.port, PROTOCOLS[service.protocol])
                fours[key] = rows.Address(index, server, asks=asks)
            continue
        six = IPv6Address(number)
        if numbered:
            sixes[rows.AddressKey6(six, 0, 0)] = alone
        for index, service in numbered:
            if service.protocol == "tcp":
                key6 = rows.AddressKey6(six, service.port, rows.PROTOCOL_TCP)
                sixes[key6] = rows.Address(index, server, asks=asks)
    return AddressRows(fours, sixes)


def identity_rows(members: Iterable[Member]) -> dict[rows.Identity, int]:
    """By the four bytes that name each server: its index. Of two with one name the last counts."""
    return {
        rows.Identity(IPv4Address(identity(member.state.addresses, member.state.back_ip))): (
            member.index
        )
        for member in members
        if member.state is not None
    }


def deny_rows(config: Config) -> dict[rows.Prefix, int]:
    """Denied networks of IPv4."""
    return {
        rows.Prefix(one.prefixlen, one.network_address): 1
        for one in config.farm.deny
        if isinstance(one, IPv4Network)
    }


def deny6_rows(config: Config) -> dict[rows.Prefix6, int]:
    """And of IPv6."""
    return {
        rows.Prefix6(one.prefixlen, one.network_address): 1
        for one in config.farm.deny
        if isinstance(one, IPv6Network)
    }


def application6(service: Service) -> IPv6Address:
    """Where its application takes IPv6 connections: on loopback, as it does of IPv4; else ::."""
    return IPv6Address("::1") if service.listener.ip.is_loopback else IPv6Address("::")
