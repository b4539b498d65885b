# SPDX-License-Identifier: Apache-2.0
"""Service addresses and denied networks of both families, as views ask for them."""

from ipaddress import IPv4Address, IPv6Address

from ipos.abi import rows
from ipos.ip_family import Address
from ipos.kernel.maps import Tables


def place(host: Address | str, port: int) -> str:
    """Address or name, and port, as a URL has them."""
    return f"[{host}]:{port}" if isinstance(host, IPv6Address) else f"{host}:{port}"


def service_row(tables: Tables, address: Address, port: int) -> rows.Address | None:
    """The row of a service of TCP at an address."""
    if isinstance(address, IPv4Address):
        return tables.addresses.get(rows.AddressKey(address, port, rows.PROTOCOL_TCP))
    if not tables.has_six:
        return None
    return tables.six.addresses.get(rows.AddressKey6(address, port, rows.PROTOCOL_TCP))


def is_denied(tables: Tables, client: Address) -> bool:
    """Whether a client's packets are dropped."""
    if isinstance(client, IPv4Address):
        return tables.deny.get(rows.Prefix(32, client)) is not None
    return tables.has_six and tables.six.deny.get(rows.Prefix6(128, client)) is not None
