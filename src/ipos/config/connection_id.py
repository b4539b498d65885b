# SPDX-License-Identifier: Apache-2.0
"""Where the connection IDs of a service of QUIC say which server they are of: `connection_id`."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Annotated

from msgspec import Meta, Struct


class ConnectionId(Struct, frozen=True, forbid_unknown_fields=True):
    """`connection_id = { ... }` of a service: where its application's connection IDs name a server.

    A connection ID has at most 20 bytes (RFC 9000, 17.2). The number is not encrypted, as in the
    plaintext form of QUIC-LB. A server's number is the last `server_id_bytes` bytes of its back
    address.
    """

    server_id_at: Annotated[int, Meta(ge=0, le=16, description="bytes from 0 to 16")] = 1
    server_id_bytes: Annotated[int, Meta(ge=1, le=4, description="1 to 4 bytes")] = 2

    def number(self, back_ip: int) -> int:
        """Of the server with this back address."""
        return back_ip & (1 << 8 * self.server_id_bytes) - 1

    def shared(self, members: list[IPv4Address]) -> Iterator[tuple[IPv4Address, IPv4Address]]:
        """Members that would have one number."""
        known: dict[int, IPv4Address] = {}
        for member in members:
            first = known.setdefault(self.number(int(member)), member)
            if first != member:
                yield first, member
