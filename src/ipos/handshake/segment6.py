# SPDX-License-Identifier: Apache-2.0
"""One TCP segment in one IPv6 packet (RFC 8200)."""

import struct
from ipaddress import IPv6Address

from ipos.handshake.segment import PROTOCOL_TCP, Segment

HOP_LIMIT = 64


def packet6(segment: Segment, source: IPv6Address, destination: IPv6Address) -> bytes:
    """The packet between these addresses, in place of the segment's own: no extension headers,
    traffic class and flow label 0."""
    ends = source.packed + destination.packed
    tcp = segment.tcp(ends)
    return struct.pack("!IHBB", 6 << 28, len(tcp), PROTOCOL_TCP, HOP_LIMIT) + ends + tcp
