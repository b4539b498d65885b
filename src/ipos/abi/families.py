# SPDX-License-Identifier: Apache-2.0
"""Rows that the data plane has twice: with addresses of IPv4, and of IPv6."""

from ipaddress import IPv4Address

from ipos.abi import rows
from ipos.ip_family import Address, Network

AnyTuple = rows.Tuple | rows.Tuple6
AnyAddressKey = rows.AddressKey | rows.AddressKey6
AnyPrefix = rows.Prefix | rows.Prefix6
AnyDecision = rows.Decision | rows.Decision6


def address_key(address: Address, port: int = 0, protocol: int = 0) -> AnyAddressKey:
    """A service address as a key of `addresses` or `addresses6`."""
    if isinstance(address, IPv4Address):
        return rows.AddressKey(address, port, protocol)
    return rows.AddressKey6(address, port, protocol)


def prefix_of(network: Network) -> AnyPrefix:
    """A network as a key of `deny` or `deny6`."""
    first = network.network_address
    if isinstance(first, IPv4Address):
        return rows.Prefix(network.prefixlen, first)
    return rows.Prefix6(network.prefixlen, first)
